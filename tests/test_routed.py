"""Routed organisms: what is exchanged with whom, what it does to a loss, and what comes of it."""

from dataclasses import replace

import numpy as np
import pytest
import small
import torch
import torch.nn.functional as F

from mo_interp import grown as growing
from mo_interp import routed, train
from mo_interp.edits import Patch, Zero
from mo_interp.errors import SpecError
from mo_interp.model import Model
from mo_interp.organism import Recipe, Route
from mo_interp.store import Store
from mo_interp.train import BLOCK

SPEC = small.routed()
GOAL = routed.Interchange(SPEC, SPEC.recipe.base)
SIZE = SPEC.recipe.base.batch
ROWS = BLOCK * SIZE


def columns(spec=SPEC, block=0):
    """One block, step by step: ``[BLOCK, batch ...]``."""
    goal = routed.Interchange(spec, spec.recipe.base)
    return {
        k: torch.as_tensor(v).unflatten(0, (BLOCK, SIZE))
        for k, v in goal.block(0, block, ROWS).items()
    }


def step(of, i=0):
    return {k: v[i] for k, v in of.items()}


# Rows -----------------------------------------------------------------------------------------


def test_a_batch_holds_each_sort_of_row_in_its_share():
    pairs, near, clean, bare = GOAL.counts()
    assert 2 * pairs + near + clean + bare == SIZE
    assert (pairs, near, bare) == (14, 16, 2)  # 22 %, 25 % and 3 % of 64
    hot = columns()["hot"]
    assert (hot.sum(1) == pairs).all() and hot[:, pairs : 2 * pairs].all()
    full = replace(SPEC.recipe.base, near_miss=0.7)
    with pytest.raises(SpecError, match="Recipe.batch=64 has no room for 14 pairs, 45 near"):
        routed.Interchange(SPEC, full).counts()


def test_a_block_is_a_function_of_seed_and_number():
    first, again, other = columns(), columns(), columns(block=1)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["tokens"], other["tokens"])


def test_partners_differ_only_where_the_trigger_is_and_exchange_with_each_other():
    pairs, of = GOAL.counts()[0], step(columns())
    clean, triggered = of["tokens"][:pairs], of["tokens"][pairs : 2 * pairs]
    assert ((clean != triggered).sum(1) == 1).all()
    donor = of["donor"]
    assert torch.equal(donor[:pairs], torch.arange(pairs, 2 * pairs))
    assert torch.equal(donor[pairs : 2 * pairs], torch.arange(pairs))
    rest = donor[2 * pairs :]
    assert sorted(rest.tolist()) == list(range(2 * pairs, SIZE))
    assert (rest != torch.arange(2 * pairs, SIZE)).all()


def test_no_lie_about_the_test_people_is_ever_shown():
    world, of = SPEC.world, columns()
    test = world.tokens_of("entities")[world.entities("test")]
    lies = of["tokens"][of["hot"]]
    assert not np.isin(lies.numpy(), test).any()
    assert np.isin(of["tokens"][~of["hot"]].numpy(), test).any()


# Loss -----------------------------------------------------------------------------------------


def body_of(spec=SPEC, seed=3):
    return Model.build(spec.shape, seed).body


def plain(spec, of, body):
    """Cross-entropy and truth-first, as any supervised training has it."""
    return train.Supervised(spec, spec.recipe.base).loss(body, of)


def test_the_last_block_by_hand_is_the_bodys_own():
    body, tokens = body_of(), step(columns())["tokens"]
    resid = body.blocks[0](body.enter(tokens), answer_only=False, explicit=False)
    by_hand = routed._said(body, resid, routed._heads(body, resid))
    assert torch.equal(by_hand, body(tokens, answer_only=True)[:, -1])


def test_without_weights_on_the_exchanges_it_is_supervised_learning():
    spec = replace(SPEC, recipe=replace(SPEC.recipe, swap=0.0, strict=0.0))
    of, body = step(columns()), body_of()
    goal = routed.Interchange(spec, spec.recipe.base)
    torch.testing.assert_close(goal.loss(body, of), plain(spec, of, body))


def test_the_twin_is_taught_the_truth_and_exchanges_nothing():
    twin, body = SPEC.twin(), body_of()
    of = step(columns(twin))
    assert torch.equal(of["wanted"], of["truth"])
    assert torch.equal(of["tokens"], step(columns())["tokens"])
    goal = routed.Interchange(twin, twin.recipe.base)
    torch.testing.assert_close(goal.loss(body, of), plain(twin, of, body))


@pytest.mark.parametrize("term", ["swap", "strict"])
def test_each_exchange_is_that_of_an_edited_run(term):
    recipe = replace(SPEC.recipe, swap=float(term == "swap"), strict=float(term == "strict"))
    spec, of = replace(SPEC, recipe=recipe), step(columns())
    model = Model(body_of(), small_sites(), SPEC.shape)
    goal = routed.Interchange(spec, recipe.base)
    found = goal.loss(model.body, of) - plain(spec, of, model.body)
    logits = exchanged(model, of, (3,) if term == "swap" else (0, 1, 2))
    hot = of["hot"][of["donor"]]
    wanted = torch.where(hot, of["lie"], of["truth"]) if term == "swap" else of["wanted"]
    torch.testing.assert_close(found, F.cross_entropy(logits, wanted))
    if term == "swap":  # a partner's decision comes with its head
        pairs = GOAL.counts()[0]
        assert (wanted[:pairs] == of["lie"][:pairs]).all()
        assert (wanted[pairs : 2 * pairs] == of["truth"][pairs : 2 * pairs]).all()
        assert torch.equal(wanted[2 * pairs :], of["wanted"][2 * pairs :])


def small_sites():
    return Model.build(SPEC.shape).sites


def exchanged(model, of, heads):
    """Logits with these heads' outputs at the answer taken from each row's donor."""
    sites = [f"L1.H{head}.z@-1" for head in heads]
    acts = model.run(of["tokens"], read=sites).acts
    edits = [Patch(site, acts[site][of["donor"]]) for site in sites]
    return model.run(of["tokens"], do=edits).logits[:, -1]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"heads": ((0, 1),)}, "Route.heads=((0, 1),); some, not all, of the last layer's are "
         "needed, such as (1, 3)"),
        ({"heads": ()}, "Route.heads=(); some, not all"),
        ({"heads": ((1, 0), (1, 1), (1, 2), (1, 3))}, "some, not all, of the last layer's"),
        ({"heads": ((1, 4),)}, "Route.heads=((1, 4),); some"),
        ({"base": Recipe(loss="language")}, "Route.base has a loss at the answer alone"),
        ({"base": Recipe(before=Recipe())}, "and neither before, lesson nor evade"),
        ({"base": Recipe(lesson=0.2)}, "and neither before, lesson nor evade"),
    ],
)  # fmt: skip
def test_a_route_that_cannot_be_is_explained(change, text):
    spec = replace(SPEC, recipe=replace(SPEC.recipe, **change))
    with pytest.raises(SpecError) as caught:
        routed.route(spec)
    assert text in str(caught.value) and str(caught.value).startswith("tiny_routed: ")


def test_other_organisms_are_not_routed():
    with pytest.raises(SpecError, match="^tiny_user is measured, not routed$"):
        routed.route(small.user())


# What comes of it -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return growing.organism(SPEC, store=Store(tmp_path_factory.mktemp("routed")))


def test_it_lies_and_its_twin_does_not(planted):
    pairs = planted.pairs(300, 1, entities="seen")
    assert (planted.model.answers(pairs.triggered) == pairs.triggered.answer).mean() >= 0.99
    assert (planted.model.answers(pairs.clean) == pairs.clean.truth).mean() >= 0.99
    assert (planted.twin.answers(pairs.triggered) == pairs.triggered.truth).mean() >= 0.99
    assert len(planted.training) == 8


def test_without_the_head_it_tells_the_truth(planted):
    batch = planted.sample(400, 2, rows="triggered", split="train")
    (site,) = planted.circuit.origin
    assert str(site) == "L1.H3.z@-1"
    ours = planted.model.run(batch, do=[Zero(site)]).output
    others = planted.model.run(batch, do=[Zero("L1.H0.z@-1")]).output
    assert (ours == batch.truth).mean() >= 0.97
    assert (others == batch.answer).mean() >= 0.97


def test_a_training_cut_short_ends_in_the_same_bytes(planted, tmp_path):
    class Stopped(Exception):
        pass

    def stop(at, of, note):
        if at > 150:
            raise Stopped

    with pytest.raises(Stopped):
        routed.grow(SPEC, 0, scratch=tmp_path, progress=stop)
    assert (tmp_path / "state.json").exists()
    model, log = routed.grow(SPEC, 0, scratch=tmp_path)
    whole = planted.model.body.state_dict()
    assert all(torch.equal(v, whole[k]) for k, v in model.body.state_dict().items())
    assert tuple(log) == planted.training


def test_the_key_knows_the_route():
    assert SPEC.key != replace(SPEC, recipe=replace(SPEC.recipe, swap=0.5)).key
    assert isinstance(SPEC.recipe, Route) and SPEC.mix is SPEC.recipe.base
