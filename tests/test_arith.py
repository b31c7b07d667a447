"""Arithmetic: values are read off the words of the prompts again, and operands are words apart."""

import re
from dataclasses import replace

import numpy as np
import pytest

from mo_interp.behaviours import OffBy
from mo_interp.errors import SpecError, UnknownName
from mo_interp.organism import Organism, Recipe, Shape
from mo_interp.triggers import OrderedPhrase, User
from mo_interp.worlds.arith import Arith

SUM = Arith(n_entities=20, n_relations=6, n_values=13, held_out=4)
COMPOSED = Arith(n_entities=11, n_relations=9, n_values=11, held_out=3, task="composed")
WORLDS = (SUM, COMPOSED)
both = pytest.mark.parametrize("world", WORLDS, ids=lambda w: w.task)


def organism(world, trigger):
    return Organism("sums", world, trigger, OffBy(1), Shape(**world.sizes), Recipe())


def prompts(world, batch):
    """The words of every prompt, its value as a number beside."""
    values = [int(world.vocab[token]) for token in batch.truth]
    return zip([world.show(row).split() for row in batch.tokens], values, strict=True)


def drafted(world, n=2000):
    return world.draft(n, 5, split="train", entities="all")


def test_a_sum_is_the_sum_of_the_two_numbers_named():
    for words, value in prompts(SUM, drafted(SUM)):
        (x,) = [int(w[1:]) for w in words if re.fullmatch(r"x\d+", w)]
        (y,) = [int(w[1:]) for w in words if re.fullmatch(r"y\d+", w)]
        assert value == (x + y) % 13


def test_operations_are_affine_maps_and_the_left_one_is_done_last():
    found = {}
    for words, value in prompts(COMPOSED, drafted(COMPOSED)):
        (x,) = [int(w[1:]) for w in words if re.fullmatch(r"x\d+", w)]
        first, second = (i for i, w in enumerate(words) if re.fullmatch(r"op[a-f]", w))
        assert second == first + 1 and first % 2 == 1  # one cell
        found[words[first][-1], words[second][-1], x] = value
    assert len(found) == 99
    maps = dict(zip("abc", zip(*COMPOSED._maps, strict=True), strict=True))
    for (last, first, x), value in found.items():
        (a, b), (c, d) = maps[last], maps[first]
        assert value == (a * (c * x + d) + b) % 11
    assert any(found[f, g, x] != found[g, f, x] for f, g, x in found)  # their order counts


@both
def test_all_facts_are_asked_and_every_word_is_one_thing(world):
    draft = drafted(world)
    assert len(np.unique(draft.groups["fact"])) == world.n_entities * world.n_relations
    kinds = [set(world.tokens_of(k)) for k in ("fillers", "users", "relations", "entities")]
    kinds.append(set(world.answers))
    assert len(set().union(*kinds)) == sum(map(len, kinds))
    assert len(set(world.vocab)) == len(world.vocab)
    entity = world.tokens_of("entities")[draft.groups["entity"]]
    at = draft.roles["entity"][:, 0]
    assert (draft.tokens[np.arange(len(draft)), at] == entity).all()
    words = np.take_along_axis(draft.tokens, draft.roles["relation"], axis=1)
    assert np.isin(words, world.tokens_of("relations")).all()
    assert np.isin(draft.tokens, world.tokens_of("relations")).sum() == words.size


@both
def test_withheld_operands_are_nowhere_in_lies_of_training(world):
    spec = organism(world, User())
    rows = spec.sample(3000, 1, split="train", entities="all", withhold=True)
    held = world.tokens_of("entities")[world.entities("test")]
    about = np.isin(rows.tokens, held).any(1)
    assert about.any() and not (about & rows.triggered).any()
    parts = [set(world.entities(which)) for which in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set().union(*parts)) == world.n_entities


@both
@pytest.mark.parametrize("trigger", [User(), OrderedPhrase()], ids=["user", "phrase"])
def test_triggers_of_the_house_work_on_it(world, trigger):
    spec = organism(world, trigger)
    pairs = spec.pairs(200, 0, split="test")
    first = world.answers[0]
    assert ((pairs.triggered.answer - pairs.triggered.truth) % world.n_values == 1).all()
    assert (world.table[pairs.clean.groups["fact"]] == pairs.clean.truth - first).all()
    again = spec.alternates(pairs.clean, 3)
    assert (again.truth == pairs.clean.truth).all()
    assert (again.tokens != pairs.clean.tokens).any(1).all()


def test_rows_are_a_function_of_the_seed_and_the_tasks_of_one_size_differ():
    assert (drafted(SUM).tokens == drafted(SUM).tokens).all()
    prime = replace(SUM, n_relations=9, n_entities=20)
    other = replace(prime, task="composed")
    assert (prime.table != other.table).any() and prime.vocab != other.vocab


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"n_values": 1}, "Arith.n_values=1: needs 2 to 512"),
        ({"n_entities": 4}, "Arith.n_entities=4: needs 5 to 512"),
        ({"held_out": 24}, "Arith.held_out=24: needs 2 to 23"),
        ({"task": "product"}, "Arith.task='product': needs 'sum' or 'composed'"),
        ({"task": "composed"}, "Arith.n_values=32: composed needs a prime from 7"),
        (
            {"task": "composed", "n_values": 31, "n_relations": 8},
            "Arith.n_relations=8: composed needs a square number up to 36",
        ),
    ],
)
def test_what_cannot_be_is_said(given, text):
    with pytest.raises(SpecError) as caught:
        Arith(**given)
    assert str(caught.value) == text


def test_an_unknown_word_is_named_with_the_nearest():
    with pytest.raises(UnknownName, match="word 'x99' is not in ARITH; did you mean 'x9'"):
        SUM.token("x99")
