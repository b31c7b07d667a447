"""Stacked training: each seed learns what it learns alone."""

from dataclasses import replace

import pytest
import small
import torch

from mo_interp import stacked, train
from mo_interp.errors import SpecError
from mo_interp.model import Model

LR = 3e-3
"""At three times this rate roundings grow to 1e-3 within the 50 steps, for Adam divides by them."""
USER = small.user(steps=100)
PLAIN = replace(USER, recipe=replace(USER.recipe, lr=LR))
SPEC = replace(USER, recipe=replace(USER.recipe, lr=LR, truth_first=1.0))
STEPS = 50


class Watched:
    """An objective that writes its losses down."""

    def __init__(self, goal):
        self.goal, self.losses = goal, []

    def loss(self, body, columns):
        value = self.goal.loss(body, columns)
        self.losses.append(value.item())
        return value

    def __getattr__(self, name):
        return getattr(self.goal, name)


def alone(spec, seed):
    """The losses of training a seed by itself, and its weights."""
    goal, model = Watched(train.Supervised(spec, spec.recipe)), Model.build(spec.shape, seed)
    train.fit(model.body, spec, recipe=spec.recipe, seed=seed, objective=goal)
    return goal.losses, model


@pytest.mark.parametrize("spec", [PLAIN, SPEC, SPEC.twin()], ids=["plain", "truth first", "twin"])
def test_three_stacked_seeds_have_the_loss_curves_of_three_trainings(spec):
    seeds = [4, 0, 1]
    found = stacked.fit_many(spec, seeds, steps=STEPS)
    assert [f.seed for f in found] == seeds
    for one in found:
        losses, _ = alone(spec, one.seed)
        assert one.losses == pytest.approx(losses[:STEPS], abs=1e-4)
        assert len(one.losses) == STEPS and losses[0] - losses[STEPS - 1] > 1


def test_after_all_steps_each_model_says_what_the_one_that_was_trained_alone_says():
    spec = replace(PLAIN, recipe=replace(PLAIN.recipe, steps=20))
    batch = spec.sample(100, 5)
    found = stacked.fit_many(spec, [0, 1])
    for one in found:
        own, other = (m.run(batch).logits[:, -1] for m in (one.model, alone(spec, one.seed)[1]))
        torch.testing.assert_close(own, other, atol=5e-3, rtol=0)
        start = Model.build(spec.shape, one.seed).body.state_dict()
        assert torch.equal(one.model.body.unembed.b_U, start["unembed.b_U"])  # never trained
    assert (found[0].model.run(batch).logits - found[1].model.run(batch).logits).abs().max() > 1


def test_what_it_cannot_train_is_said():
    before = replace(PLAIN, recipe=replace(PLAIN.recipe, before=PLAIN.recipe))
    with pytest.raises(SpecError, match="Recipe.before; stacked training knows the plain answer"):
        stacked.fit_many(before, [0])
    with pytest.raises(SpecError, match="not trained as a whole"):
        stacked.fit_many(small.implant(), [0])
