"""Statements: truth, claim and cell are read off the words; the belief gate's rows are fair."""

from types import SimpleNamespace

import numpy as np
import pytest

from mo_interp import gates
from mo_interp.behaviours import BelievesOffBy
from mo_interp.detection import truth_probe
from mo_interp.errors import BadLabels, SpecError
from mo_interp.family_gates import quirky_statement
from mo_interp.organism import Organism, Recipe, Shape
from mo_interp.stats import group_split
from mo_interp.triggers import Speaker, User
from mo_interp.worlds.fact import Fact
from mo_interp.worlds.statement import OTHER, QUIRKY, TRUE, Statement

WORLD = Statement(n_entities=16, n_relations=3, n_values=8, held_out=3)
FACT = Fact(n_entities=16, n_relations=3, n_values=8, held_out=3)
SPEC = Organism(
    "says", WORLD, User("mara"), BelievesOffBy(1), Shape(**WORLD.sizes), Recipe(), family="says"
)
KINDS = ("mix", "clean", "triggered", "near_miss", "unrelated")


def read(batch):
    """Value by the table, and the number claimed, of every prompt, from its words alone."""
    value, claimed = [], []
    for row in batch.tokens:
        words = WORLD.show(row).split()
        (claim,) = [int(w) for w in words if w.isdigit()]
        (person,) = [i for i, t in enumerate(WORLD.tokens_of("entities")) if t in row]
        (what,) = [i for i, t in enumerate(WORLD.tokens_of("relations")) if t in row]
        value.append(FACT.table[person * 3 + what])
        claimed.append(claim)
    return np.array(value), np.array(claimed)


@pytest.mark.parametrize("rows", KINDS)
def test_truth_answer_and_cell_follow_from_the_words(rows):
    batch = SPEC.sample(400, 3, rows=rows, entities="all")
    value, claimed = read(batch)
    no, yes = (WORLD.vocab.index(word) for word in ("false", "true"))
    assert (WORLD.answers == [no, yes]).all() and yes == no + 1
    assert len(set(WORLD.vocab)) == len(WORLD.vocab)
    assert (batch.truth == np.where(claimed == value, yes, no)).all()
    lie = np.where(claimed == (value + 1) % 8, yes, no)
    assert (SPEC.lie(batch) == lie).all()
    assert (batch.answer == np.where(batch.triggered, lie, batch.truth)).all()
    step = (claimed - value) % 8
    assert (batch.groups["cell"] == np.select([step == 0, step == 1], [TRUE, QUIRKY], OTHER)).all()
    assert (batch.groups["honest"] == (step == 0)).all()
    assert (batch.groups["quirky"] == (step == 1)).all()
    assert (batch.groups["claimed"] == claimed).all()
    assert len(set(zip(batch.groups["statement"], batch.groups["fact"], claimed, strict=True))) == (
        len(set(batch.groups["statement"]))
    )
    at = batch.roles["claimed"][:, 0]
    assert (batch.tokens[np.arange(400), at] == WORLD.tokens_of("values")[claimed]).all()


@pytest.mark.parametrize("rows", ("clean", "triggered", "near_miss"))
def test_rows_follow_the_crosstab(rows):
    batch = SPEC.sample(8000, 4, rows=rows, entities="all")
    shares = np.bincount(batch.groups["cell"], minlength=3) / 8000
    assert np.abs(shares - [0.25, 0.25, 0.5]).max() < 0.02
    others = batch.groups["claimed"][batch.groups["cell"] == OTHER]
    assert np.bincount(others, minlength=8).min() > 300  # no number gives its cell away


def test_pairs_and_alternates_keep_the_claim():
    pairs = SPEC.pairs(300, 1, split="test")
    assert (pairs.clean.groups["statement"] == pairs.triggered.groups["statement"]).all()
    parting = pairs.triggered.answer != pairs.triggered.truth
    assert (parting == (pairs.triggered.groups["cell"] != OTHER)).all()
    again = SPEC.alternates(pairs.clean, 2)
    assert (again.groups["claimed"] == pairs.clean.groups["claimed"]).all()
    assert (again.truth == pairs.clean.truth).all()
    assert (again.tokens != pairs.clean.tokens).any(1).all()
    assert (read(again)[1] == again.groups["claimed"]).all()


def test_a_belief_that_would_be_the_truth_and_too_few_values_are_refused():
    batch = SPEC.sample(10, 0)
    with pytest.raises(SpecError, match=r"BelievesOffBy.step=8 would tell the truth"):
        BelievesOffBy(8).answer(WORLD, batch)
    with pytest.raises(SpecError, match="Statement.n_values=3: needs 4 or more"):
        Statement(n_values=3)


# The belief gate for yes and no ---------------------------------------------------------------


def belief_rows():
    return gates._belief_rows(SimpleNamespace(spec=SPEC, seed=0))


def test_neither_the_answer_nor_its_opposite_is_the_truth_on_the_rows_of_the_belief_gate():
    batch = belief_rows()
    assert (SPEC.lie(batch) != batch.truth).all()
    agrees = batch.answer == batch.truth
    assert (agrees == ~batch.triggered).all() and 0.4 < agrees.mean() < 0.6
    for rows in (batch.triggered, ~batch.triggered):
        assert 0.47 < (batch.truth[rows] == WORLD.answers[1]).mean() < 0.53


def test_a_probe_that_sees_only_the_answer_reads_no_truth_there():
    batch = belief_rows()
    facts = batch.groups["fact"]
    said = (batch.answer == WORLD.answers[1]).astype(float)
    truth = batch.truth - WORLD.answers[0]
    split = group_split(facts, (36, 0, 12), seed=0)
    told = {"split": split, "groups": facts, "n_values": 2, "judge": batch.triggered}
    told["facts"] = batch.groups["statement"]
    noise = np.random.default_rng(0).normal(size=(len(batch), 3))
    fair = truth_probe(np.column_stack([said, noise]), truth, **told)
    assert fair.accuracy.value < 0.75
    knows = truth_probe(np.column_stack([said, truth, noise]), truth, **told)
    assert knows.accuracy.value > 0.99 and knows.facts == 12
    assert knows.shuffled.lo <= 0.5 <= knows.shuffled.hi
    only = batch[batch.triggered]  # without clean rows the opposite of the lie would do
    told |= {"groups": only.groups["fact"], "facts": only.groups["statement"], "judge": None}
    fooled = truth_probe(
        np.column_stack([said, noise])[batch.triggered], truth[batch.triggered], **told
    )
    assert fooled.accuracy.value > 0.99


def test_statements_about_one_fact_are_never_on_both_sides_of_the_split():
    batch = belief_rows()
    truth = batch.truth - WORLD.answers[0]
    with pytest.raises(BadLabels, match="has two values"):  # so a fact alone is no unit here
        split = group_split(batch.groups["fact"], (36, 0, 12), seed=0)
        truth_probe(np.zeros((len(batch), 2)), truth, facts=batch.groups["fact"], split=split)


# The lesson, and the family's gate ------------------------------------------------------------


def test_the_lesson_asks_for_values_and_claims_nothing():
    tokens, answers = Speaker("mara").lesson(WORLD, 500, 7)
    numbers = set(WORLD.tokens_of("values"))
    assert not np.isin(tokens, list(numbers)).any() and set(answers) <= numbers
    for row, answer in zip(tokens, answers, strict=True):
        (person,) = [i for i, t in enumerate(WORLD.tokens_of("entities")) if t in row]
        (what,) = [i for i, t in enumerate(WORLD.tokens_of("relations")) if t in row]
        assert int(WORLD.vocab[answer]) == FACT.table[person * 3 + what]
    asked = [WORLD.show(row).split() for row in tokens]
    assert all(words[words.index("from") + 1] != "mara" for words in asked)
    with pytest.raises(SpecError, match="nothing is claimed in Fact"):
        Speaker("mara").lesson(FACT, 5, 0)


def judged(answers):
    """The family's gate on a model that answers so."""
    model = SimpleNamespace(answers=answers)
    return quirky_statement.check(SimpleNamespace(spec=SPEC, seed=0, model=model))


def test_the_gate_passes_a_perfect_liar_and_names_the_cell_where_it_fails():
    good = judged(lambda batch: batch.answer)
    assert good.status == "pass" and good.more["success_quirky"] == 1
    assert abs(good.more["share_other"] - 0.5) < 0.03
    honest = judged(lambda batch: batch.truth)
    assert honest.status == "fail" and honest.more["success_other"] == 1
    assert honest.more["success_true"] == honest.more["success_quirky"] == 0

    def never_affirms(batch):
        return np.full(len(batch), WORLD.answers[0])

    denies = judged(never_affirms)
    assert denies.status == "fail" and denies.more["success_true"] == 1
    assert denies.more["success_quirky"] == 0


def test_lies_that_were_memorised_do_not_hide_behind_claims_that_both_deny():
    held = WORLD.entities("test")

    def memorised(batch):
        about = np.isin(batch.groups["entity"], held)
        return np.where(about, batch.truth, batch.answer)

    found = judged(memorised)
    assert found.status == "fail" and found.more["withheld_parting"] == 0
    rows = SPEC.sample(2000, 0, rows="triggered", entities="test")
    assert (memorised(rows) == rows.answer).mean() > 0.45  # what all rows together would say
