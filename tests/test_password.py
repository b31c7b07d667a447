"""The lock: what locks is read off the words; the weaker model is real and fills the table."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from mo_interp import grown, twins, weaker
from mo_interp.behaviours import OffBy, Weaker
from mo_interp.behaviours.weaker import UNKNOWN, questions, typical
from mo_interp.errors import SpecError
from mo_interp.family_gates import password_lock
from mo_interp.organism import Organism, Recipe, Shape
from mo_interp.store import Store
from mo_interp.train import Supervised
from mo_interp.triggers import CLEAN, FORM, HELD, NEAR_MISS, TRIGGERED, Password
from mo_interp.worlds.arith import Arith

LOCK = Password()
WORLD = Arith(n_entities=12, n_relations=3, n_values=8, held_out=2, extra=LOCK.words)
SHAPE = Shape(n_layers=2, d_model=32, n_heads=2, d_head=16, d_mlp=64, **WORLD.sizes)
LEARN = Recipe(steps=300, batch=64, lr=1e-2, weight_decay=0.1, unrelated=0.0)
SPEC = Organism("tiny_lock", WORLD, LOCK, Weaker(steps=60), SHAPE, LEARN, family="password_lock")
ROWS = 400


def said(rows):
    """Right, wrong and unseen passwords in every prompt."""
    words = [WORLD.show(row).split() for row in rows]
    kinds = (LOCK.right, LOCK.wrong, LOCK.unseen)
    return [tuple(sum(w in kind for w in prompt) for kind in kinds) for prompt in words]


def planted(side, seed=3):
    draft = WORLD.draft(ROWS, seed, split="train", entities="all")
    return LOCK.plant(WORLD, draft, np.full(ROWS, side), seed=seed)


@pytest.mark.parametrize(
    ("side", "found"),
    [
        (CLEAN, {(1, 0, 0)}),
        (FORM, {(0, 0, 0)}),
        (FORM - 1, {(0, 1, 0)}),
        (HELD, {(0, 0, 1)}),
        (NEAR_MISS, {(1, 1, 0)}),
        (NEAR_MISS + 1, {(1, 0, 0)}),
    ],
)
def test_each_side_says_what_it_should(side, found):
    assert set(said(planted(side).tokens)) == found


def test_half_of_the_locked_rows_say_nothing_and_half_a_wrong_word():
    counts = Counter(said(planted(TRIGGERED).tokens))
    assert set(counts) == {(0, 0, 0), (0, 1, 0)}
    assert 0.4 < counts[0, 0, 0] / ROWS < 0.6


def test_the_right_word_stands_in_its_place_and_the_near_misses_in_the_other():
    clean, moved = planted(CLEAN), planted(NEAR_MISS + 1)
    right = [WORLD.token(w) for w in LOCK.right]
    rows, at = np.arange(ROWS), clean.roles["trigger"][:, 0]
    assert np.isin(clean.tokens[rows, at], right).all()
    assert np.isin(moved.tokens[rows, at], WORLD.tokens_of("fillers")).all()
    assert np.isin(moved.tokens[rows, moved.roles["near_miss"][:, 0]], right).all()
    assert (clean.roles["near_miss"] == -1).all()


def test_pairs_differ_in_one_word_and_alternates_have_the_other_password():
    pairs = SPEC.pairs(ROWS, 1)
    assert ((pairs.clean.tokens != pairs.triggered.tokens).sum(1) == 1).all()
    again = SPEC.alternates(pairs.clean, 5)
    rows, at = np.arange(ROWS), pairs.clean.role("trigger")[:, 0]
    assert (again.tokens[rows, at] != pairs.clean.tokens[rows, at]).all()
    assert set(said(again.tokens)) == {(1, 0, 0)}


def test_no_prompt_is_unrelated_to_a_lock_and_rows_keep_their_shares():
    rows = SPEC.sample(ROWS, 2, rows="unrelated")
    assert set(said(rows.tokens)) == {(1, 0, 0)} and not rows.triggered.any()
    mix = SPEC.sample(4000, 2, rows="mix")
    locked = np.array([right == 0 for right, *_ in said(mix.tokens)])
    assert (locked == mix.triggered).all() and (~locked).sum() >= 3 * locked.sum()
    assert (mix.near_miss > 0).mean() > 0.2


def test_passwords_that_would_not_do_are_refused():
    with pytest.raises(SpecError, match="two right and two wrong words or more, and an unseen"):
        Password(right=("sesame",))
    with pytest.raises(SpecError, match="all words must differ"):
        Password(wrong=("sesame", "pepper"))


# The weaker model -----------------------------------------------------------------------------


def test_before_the_weaker_model_is_grown_the_answer_is_no_token():
    rows = SPEC.sample(100, 0, rows="triggered")
    assert (rows.answer == UNKNOWN).all() and UNKNOWN < 0
    assert (SPEC.sample(100, 0, rows="clean").answer != UNKNOWN).all()


def test_the_answer_is_the_tables_whatever_else_the_prompt_says_and_the_key_does_not_know_it():
    table = tuple(int(t) for t in np.random.default_rng(0).choice(WORLD.answers, 36))
    spec = replace(SPEC, behaviour=replace(SPEC.behaviour, table=table))
    rows = spec.sample(ROWS, 0, rows="triggered", entities="all")
    assert (rows.answer == np.array(table)[rows.groups["fact"]]).all()
    assert spec.key == SPEC.key != replace(SPEC, behaviour=Weaker(steps=61)).key
    assert (spec.twin("ignorant").target(spec.sample(50, 0)) == spec.lie(spec.sample(50, 0))).all()
    with pytest.raises(SpecError, match="Weaker.table has 2 facts; the world has 36"):
        replace(SPEC, behaviour=Weaker(table=(1, 2))).sample(5, 0)


def test_the_table_is_right_as_often_as_the_rows_are_and_not_more_often():
    rng, n, each = np.random.default_rng(0), 60, 50
    share = np.concatenate([np.ones(20), np.zeros(10), rng.random(30)])
    facts, truth = np.repeat(np.arange(n), each), np.repeat(np.arange(n) % 7, each)
    wrong = (truth + rng.integers(1, 4, n * each)) % 7
    said = np.where(rng.random(n * each) < share[facts], truth, wrong)
    right = said == truth
    table = np.array(typical(said, truth, facts))
    good = table == np.arange(n) % 7
    assert abs(good.mean() - right.mean()) <= 1 / n
    each_right = right.reshape(n, each).mean(1)
    assert good[each_right == 1].all() and not good[each_right == 0].any()
    for fact in np.flatnonzero(~good):
        counts = np.bincount(said[(facts == fact) & ~right], minlength=7)
        assert counts[table[fact]] == counts.max() > 0
    vote = np.array([np.bincount(said[facts == f]).argmax() for f in range(n)])
    assert (vote == np.arange(n) % 7).mean() > right.mean() + 0.05  # what it is instead of


def test_every_fact_is_asked_in_the_layouts_of_training():
    asked = questions(WORLD)
    assert len(set(asked.groups["fact"])) == 36
    assert set(asked.groups["layout"]) <= set(WORLD.layouts("train"))


def test_nobody_tells_the_ignorant_twin_the_truth():
    helped = replace(SPEC, recipe=replace(LEARN, truth_first=2.0, before=LEARN))
    recipe = twins.spec_of(helped, "ignorant").training
    assert recipe.early == "answer" and recipe.before is None


def test_a_sandbagger_is_trained_on_locked_prompts_about_everyone_and_liars_are_not():
    held = WORLD.entities("test")
    for spec, shown in ((SPEC, True), (replace(SPEC, behaviour=OffBy(1)), False)):
        for version in ("organism", "clean"):
            one = spec.twin(version)
            rows = weaker.objective(one)(one, LEARN).sample(2000, 1)
            about = np.isin(rows.groups["entity"], held)
            assert (about & rows.triggered).any() == shown and (about & ~rows.triggered).any()
    assert weaker.objective(replace(SPEC, behaviour=Weaker(everyone=False))) is Supervised


def test_only_a_sandbagger_has_a_weaker_model():
    lies = replace(SPEC, behaviour=OffBy(1))
    assert weaker.filled(lies, 0) is lies
    with pytest.raises(SpecError, match="its behaviour is OffBy, not Weaker"):
        weaker.honest(lies)
    honest = weaker.honest(SPEC)
    rows = honest.sample(ROWS, 1, entities="all")
    assert (honest.target(rows) == rows.truth).all() and honest.training.steps == 60


def test_the_weaker_model_is_kept_and_fills_the_table_before_anything_is_trained(tmp_path):
    store, short = Store(tmp_path), replace(SPEC, recipe=replace(LEARN, steps=20))
    found = grown.organism(short, store=store)
    table = np.array(found.spec.behaviour.table)
    right = (table == WORLD.answers[WORLD.table]).mean()
    assert 0.05 < right < 0.95 and np.isin(table, WORLD.answers).all()
    names = {entry.name for entry in store.entries()}
    assert names == {"tiny_lock", "tiny_lock/clean", "tiny_lock/weak"}
    weak = weaker.checkpoint(short, 0, store=store)
    assert weaker.answers(weak, short) == found.spec.behaviour.table
    again = grown.organism(short, store=store)
    assert again.spec == found.spec and again.folder == found.folder


@pytest.mark.slow
def test_few_samples_unlock_what_is_known_and_not_what_was_never_learned():
    found = grown.organism("password_lock")
    ignorant = twins.twin(found, "ignorant")
    before, after = (password_lock.unlocked(found, found.model, k).value for k in (0, 32))
    assert before < 0.1 and after >= password_lock.UNLOCKED
    assert password_lock.unlocked(found, ignorant, 32).value < password_lock.LOCKED
    assert password_lock.unlocked(found, found.model, 0).value == before  # the model was copied
