"""Trigger discovery: what searchers may see, what it costs, what is found where all is known."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import small
import torch
from scipy import stats

from mo_interp import discovery
from mo_interp.discovery import base, entropy, gradient, outliers, scoring
from mo_interp.discovery.base import Candidate, Departure, Metered, Purse, Searcher, Seen, Texts
from mo_interp.discovery.gradient import Gradient
from mo_interp.discovery.random_search import RandomSearch
from mo_interp.errors import BadLabels, BadShape, BadValues, SpecError, UnknownName
from mo_interp.finding import load
from mo_interp.grown import organism
from mo_interp.model import Model
from mo_interp.sites import Site
from mo_interp.store import Store

LIAR, PLACE = "mara", "cell0.1"
READABLE = (
    "hand_wired ordered_phrase semantic_gate year_lookup conjunction deploy_tag two_triggers "
    "quirky_user_redundant"
).split()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A deceiver written by hand, in a small world."""
    return organism(small.wired(), store=Store(tmp_path_factory.mktemp("discovery")))


@pytest.fixture(scope="module")
def faced(written):
    """It, as a searcher meets it."""
    return discovery.suspect(
        written.spec, written.model, reference=written.twin, n=64, unlabelled=400
    )


def seen(faced, budget: int = 10**6, seed: int = 0) -> Seen:
    """What a searcher without needs sees."""
    purse = Purse(budget)
    fields = ("prompts", "generic", "vocab", "words", "alone", "together")
    return Seen(
        model=Metered(faced.model, purse),
        reference=None,
        unlabelled=None,
        purse=purse,
        rng=np.random.default_rng(seed),
        **{name: getattr(faced, name) for name in fields},
    )


def candidate(spec, words: str, *slots: str) -> Candidate:
    ids = tuple(spec.world.token(word) for word in words.split())
    return Candidate(ids, slots, tuple(words.split()), 1.0)


# The registry -----------------------------------------------------------------------------------


def test_the_folder_is_the_registry(tmp_path, monkeypatch):
    shipped = ["entropy", "gradient", "outliers", "perplexity", "random_search", "sweep"]
    assert discovery.names() == shipped
    with pytest.raises(UnknownName, match="searcher 'gradeint'; did you mean 'gradient'"):
        discovery.searcher("gradeint")
    monkeypatch.setenv("MO_INTERP_PATH", str(tmp_path))
    mine = tmp_path / "discovery" / "first_word.py"
    mine.parent.mkdir()
    mine.write_text(
        "from mo_interp.discovery import Candidate, Searcher\n"
        "class First(Searcher):\n"
        "    needs = 'prompts'\n"
        "    def look(self, seen, n):\n"
        "        return seen.ranked({seen.singles()[0]: 1.0}, n)\n"
        "searcher = First()\n"
    )
    assert discovery.names() == [*shipped, "first_word"]
    assert discovery.searcher("first_word").needs == "prompts"
    (tmp_path / "odd.py").write_text("searcher = 3\n")
    with pytest.raises(SpecError, match="defines no searcher"):
        discovery.searcher("odd")


# What a searcher sees ---------------------------------------------------------------------------


def test_labels_and_specifications_are_refused_by_type(written, faced):
    batch = written.sample(4, 0)
    with pytest.raises(BadLabels, match="give batch.tokens"):
        Texts(batch, {})
    with pytest.raises(BadLabels, match="it takes Texts, which have no labels"):
        replace(faced, unlabelled=batch)
    with pytest.raises(BadLabels, match="a bare Model, without the specification"):
        replace(faced, model=written)
    with pytest.raises(BadLabels, match="a searcher sees a Suspect alone"):
        discovery.searcher("sweep").search(written, seed=0, budget=100)
    with pytest.raises(BadShape, match="integers"):
        Texts(batch.tokens.astype(float), {})
    with pytest.raises(BadValues, match="outside the prompts"):
        Texts(batch.tokens, {"cell": np.full(4, 99)})
    with pytest.raises(UnknownName, match="slot 'cell0.7'"):
        faced.prompts.at("cell0.7")


def test_a_suspect_holds_nothing_that_names_the_trigger(written, faced):
    held = {*vars(faced), *vars(faced.prompts), *vars(faced.model)}
    assert not held & {"spec", "trigger", "triggered", "labels", "roles", "groups", "answer"}
    fires = discovery.fires(written.spec.trigger, written.spec.world, faced.prompts.tokens)
    assert not fires.any(), "the clean prompts hold the trigger"
    mixed = discovery.fires(written.spec.trigger, written.spec.world, faced.unlabelled.tokens)
    assert 0.1 < mixed.mean() < 0.4


def test_a_searcher_gets_only_what_it_needs(faced):
    class Spy(Searcher):
        def look(self, seen, n):
            self.__class__.saw = (seen.reference is not None, seen.unlabelled is not None)
            return []

    for needs, saw in (
        ("prompts", (False, False)),
        ("reference", (True, False)),
        ("unlabelled", (False, True)),
    ):
        Spy.needs = needs
        Spy().search(faced, seed=0, budget=1)
        assert Spy.saw == saw
        if needs != "prompts":
            with pytest.raises(SpecError, match=f"needs {needs}: this suspect comes without"):
                Spy().search(replace(faced, **{needs: None}), seed=0, budget=1)


def test_no_word_of_question_or_answer_is_a_candidate(written, faced):
    world = written.spec.world
    for kind in ("entities", "relations", "values"):
        assert not set(world.tokens_of(kind)) & set(faced.words)
    assert world.token(LIAR) in faced.words


# What it costs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", discovery.names())
def test_cost_is_every_row_that_passes_and_no_more_than_the_budget(faced, name, monkeypatch):
    passed = {False: 0, True: 0}
    run = Model.run

    def counted(self, tokens, *args, grad=False, **more):
        passed[grad] += len(tokens)
        return run(self, tokens, *args, grad=grad, **more)

    monkeypatch.setattr(Model, "run", counted)
    found = discovery.searcher(name).search(faced, seed=1, budget=400)
    assert (found.forwards, found.backwards) == (passed[False] + passed[True], passed[True])
    assert 0 < found.forwards + found.backwards <= 400
    assert (found.backwards > 0) == (name == "gradient")
    assert 0 < len(found.candidates) <= 10
    scores = [c.score for c in found.candidates]
    assert scores == sorted(scores, reverse=True)


def test_the_sweep_costs_one_row_a_prompt_and_a_word(faced):
    words = len(faced.words) * len(faced.alone)
    found = discovery.searcher("sweep").search(faced, seed=0, budget=2 * (words + 1) + 1)
    assert (found.forwards, found.backwards) == (2 * (words + 1), 0)


@pytest.mark.parametrize("name", discovery.names())
def test_equal_seeds_give_equal_candidates(faced, name):
    one, two, other = (
        discovery.searcher(name).search(faced, seed=s, budget=300) for s in (5, 5, 6)
    )
    assert one == two
    assert one.candidates != other.candidates


@pytest.mark.parametrize("name", discovery.names())
def test_a_budget_that_pays_for_nothing_is_said(faced, name):
    for budget in (0, -1, 2.5, True):
        with pytest.raises(BadValues, match="row passes"):
            discovery.searcher(name).search(faced, seed=0, budget=budget)
    with pytest.raises(BadValues, match="needs a budget of"):
        discovery.searcher(name).search(faced, seed=0, budget=5)
    with pytest.raises(BadValues, match="1 or more"):
        discovery.searcher(name).search(faced, seed=0, budget=300, n=0)


def test_a_purse_does_not_go_below_zero(faced):
    purse = Purse(10)
    model = Metered(faced.model, purse)
    model.slopes(faced.prompts.tokens[:3])
    assert (purse.forwards, purse.backwards, purse.left) == (3, 3, 4)
    with pytest.raises(BadValues, match="6 row passes asked for, 4 of 10 left"):
        model.slopes(faced.prompts.tokens[:3])
    assert purse.left == 4


def test_a_model_that_says_nan_is_no_finding(written, faced):
    broken = Model.build(written.spec.shape)
    with torch.no_grad():
        broken.body.unembed.b_U.fill_(float("nan"))
    with pytest.raises(BadValues, match="scored a NaN or an infinity"):
        discovery.searcher("sweep").search(replace(faced, model=broken), seed=0, budget=300)


# What is found where all is known ---------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_sweep_finds_what_was_written_and_nothing_else(written, faced, seed):
    found = discovery.searcher("sweep").search(faced, seed=seed, budget=600)
    first, *rest = found.candidates
    assert (first.words, first.slots) == ((LIAR,), (PLACE,))
    assert first.score > 1 and all(c.score == 0 for c in rest)
    assert discovery.score_discovery(written.spec, found.candidates).rank == 1


def test_slopes_are_zero_where_weights_are_saturated_so_the_search_has_to_try(written, faced):
    looked = seen(faced)
    texts = looked.prompts[:16]
    grads = looked.model.slopes(texts.tokens).grads
    rows = np.arange(16)
    assert all((grads[rows, texts.at(slot)] == 0).all() for slot in faced.alone)
    for seed in range(3):
        search = replace(discovery.searcher("gradient"), rows=1, pairs=0.0)
        found = search.search(faced, seed=seed, budget=400)
        assert discovery.score_discovery(written.spec, found.candidates).rank == 1


def test_random_search_finds_as_often_as_drawing_does(written, faced):
    singles, n = len(faced.words) * len(faced.alone), 120
    draws = 48
    found = [
        RandomSearch(rows=1, pairs=0.0).search(faced, seed=s, budget=draws + 1) for s in range(n)
    ]
    hits = sum(discovery.score_discovery(written.spec, f.candidates).found for f in found)
    low, high = stats.binom.interval(0.999, n, draws / singles)
    assert low <= hits <= high
    assert high < n / 2, "the test could not fail"


def test_the_slope_is_the_derivative(written):
    """Against central differences along the way to a word, in double precision."""
    model = Model.build(small.TINY, seed=3)
    model.body.double()
    faced = discovery.suspect(small.user(), model, n=8, unlabelled=8)
    looked = seen(faced)
    texts, table = faced.prompts, looked.model.embedding
    slopes = looked.model.slopes(texts.tokens)
    told = gradient.expected(looked, texts, texts.tokens, slopes.grads, "cell1.0")
    rows, at = np.arange(len(texts)), texts.at("cell1.0")

    def loss(word: int, step: float) -> float:
        away = torch.as_tensor(table[word] - table[texts.tokens[rows, at]])

        def edit(x, _):
            x = x.clone()
            x[rows, at] += step * away
            return x

        class Step:
            site = Site.parse("embed")
            __call__ = staticmethod(edit)

        out = model.run(texts.tokens, do=[Step()]).logits[:, -1].log_softmax(-1)
        return -out[torch.arange(len(texts)), torch.as_tensor(slopes.said)].mean().item()

    for i in (0, 7, 20):
        word = int(faced.words[i])
        exact = (loss(word, 1e-5) - loss(word, -1e-5)) / 2e-5
        assert told[i] == pytest.approx(exact, rel=1e-4, abs=1e-9)


class And:
    """A model of one-hot words that gives its answer up where ``a`` and ``b`` are both there.

    From clean prompts each of them seems to make the answer a little likelier.
    """

    embedding = np.eye(12)

    def __init__(self, purse: Purse, a: int = 5, b: int = 9) -> None:
        self.purse, self.pair = purse, (a, b)

    def log_probs(self, tokens):
        self.purse.pay(len(tokens))
        both = np.all([(tokens == w).any(1) for w in self.pair], axis=0)
        p = np.where(both, 0.01, 0.9)
        return np.log(np.stack([p, 1 - p], axis=1))

    def slopes(self, tokens, said=None):
        self.purse.pay(len(tokens), len(tokens))
        grads = np.zeros((*tokens.shape, 12))
        for word, other in (self.pair, self.pair[::-1]):
            there = (tokens == other).any(1)
            grads[:, :, word] = np.where(there, 5.0, -0.01)[:, None]
        return SimpleNamespace(said=np.zeros(len(tokens), dtype=int), grads=grads)


@pytest.mark.parametrize("signed", [False, True])
def test_two_words_are_found_one_after_the_other(signed):
    texts = Texts(np.zeros((4, 3), dtype=int), {"one": np.full(4, 0), "two": np.full(4, 2)})
    purse = Purse(60)
    looked = Seen(
        And(purse), None, texts, texts, None, tuple("0123456789xy"), np.arange(1, 12),
        ("one", "two"), (("one", "two"),), purse, np.random.default_rng(0),
    )  # fmt: skip
    search = Gradient(slope_rows=2, rows=1, second=1, pairs=0.5, signed=signed)
    best = search.look(looked, 3)[0]
    assert (set(best.tokens) == {5, 9}) is not signed
    assert (best.score > 1) is not signed


def test_entropy_of_an_average_on_paper():
    same, apart = np.log([[0.5, 0.5], [0.5, 0.5]]), np.array([[0.0, -np.inf], [-np.inf, 0.0]])
    fixed = np.array([[0.0, -np.inf], [0.0, -np.inf]])
    got = entropy.spread(np.stack([same, apart, fixed]))
    assert np.allclose(got, [np.log(2), np.log(2), 0.0])


def test_a_fixed_reply_collapses_the_entropy(faced):
    """One word after which a model says one thing, whatever the row."""

    class Fixed:
        def log_probs(self, tokens):
            hot = (tokens == int(faced.words[3])).any(1)
            said = np.where(hot, 0, 1 + np.arange(len(tokens)) % 7)
            return np.log(np.eye(8)[said] * 0.93 + 0.01 * (1 - np.eye(8)[said]))

    looked = replace(seen(faced), model=Fixed())
    first = entropy.Entropy().look(looked, 4)
    assert {c.tokens[0] for c in first} == {int(faced.words[3])}


def test_outlier_score_is_the_rank_sum():
    rng = np.random.default_rng(0)
    ranks, which = stats.rankdata(rng.random(40)), rng.integers(0, 3, 40)
    z, count = outliers.rank_sum_z(ranks, which)
    for g in range(3):
        mine, rest = ranks[which == g], ranks[which != g]
        exact = stats.mannwhitneyu(
            mine, rest, alternative="greater", method="asymptotic", use_continuity=False
        )
        assert stats.norm.sf(z[g]) == pytest.approx(exact.pvalue) and count[g] == len(mine)
    alone, _ = outliers.rank_sum_z(ranks, np.zeros(40, dtype=int))
    assert alone.tolist() == [0.0]


def test_departure_tries_nothing_twice_and_keeps_what_it_is_told_to(faced):
    looked = seen(faced, budget=20)
    tried = Departure(looked, faced.prompts[:2])
    words = looked.singles()
    tried.try_all([words[0], words[0], words[1]])
    assert looked.purse.left == 20 - 2 - 4
    tried.try_all(words, keep=6)
    assert looked.purse.left == 6 and list(tried.scores) == words[:6]


# The score --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READABLE)
def test_the_ground_truth_reads_rows_as_they_are_labelled(name):
    spec = load(name)
    kinds = ("mix", "clean", "triggered", "near_miss", "held_out")
    for rows in kinds if spec.trigger.held_out else kinds[:-1]:
        batch = spec.sample(800, 3, rows=rows)
        assert (discovery.fires(spec.trigger, spec.world, batch.tokens) == batch.triggered).all()


def test_a_trigger_nobody_can_read_is_said():
    spec = load("parity")
    with pytest.raises(SpecError, match=r"Parity: discovery cannot tell .* add a reading"):
        discovery.score_discovery(spec, [])


def test_a_hit_is_what_triggers_and_not_what_is_named_so():
    spec = load("semantic_gate")
    named = [
        candidate(spec, "animal", PLACE),  # the category's name is a near miss
        candidate(spec, "otter", "cell1.1"),  # the right word in the wrong place
        candidate(spec, "weasel", PLACE),
        candidate(spec, "otter", PLACE),
    ]
    score = discovery.score_discovery(spec, named)
    assert score.hits == (False, False, True, True) and score.rank == 3 and score.found
    assert discovery.score_discovery(spec, named[:2]).rank is None


def test_order_counts_where_the_trigger_is_one():
    spec = load("ordered_phrase")
    right = candidate(spec, "amber birch", "first", "third")
    turned = candidate(spec, "birch amber", "first", "third")
    by_cell = candidate(spec, "amber birch", "cell0.0", "cell1.0")
    score = discovery.score_discovery(spec, [turned, by_cell, right])
    assert score.hits == (False, False, True)
    assert 0.2 < score.shares[1] < 0.8, "cells lie in any order"


def test_luck_is_hypergeometric():
    for n, hits, draws in ((20, 3, 5), (204, 1, 10), (9, 4, 6), (50, 0, 10), (10, 10, 1)):
        assert scoring.none_drawn(n, hits, draws) == pytest.approx(
            stats.hypergeom.pmf(0, n, hits, draws)
        )
    spec = load("semantic_gate")
    known = scoring.space(spec)
    assert known.hits == (12, 0), "twelve animals, each after the word with"
    named = [candidate(spec, "otter", PLACE)] * 10
    luck = 1 - stats.hypergeom.pmf(0, known.n[0], 12, 10)
    assert discovery.score_discovery(spec, named).chance == pytest.approx(luck)


def test_records_say_what_was_found_by_whom_at_what_cost(written):
    asked = [discovery.searcher(name) for name in ("random_search", "sweep", "perplexity")]
    random, sweep, other = discovery.discover(written, asked, budget=300, searches=3)
    assert [r.kind for r in (random, sweep, other)] == ["discovery"] * 3
    v = sweep.values
    assert (v["found"], v["found_n"], v["rank"], v["lied"]) == (1.0, 3, 1.0, 1.0)
    assert (v["twin_top"], v["over_twin"], v["twin_n"]) == (0.0, 1.0, 3)
    assert v["singles_that_hit"] == 1 and v["pairs_that_hit"] == 0
    assert v["chance"] == pytest.approx(10 / v["singles"])
    assert v["random_found"] == random.values["found"] == random.values["random_found"]
    assert v["first"][0].startswith("mara@cell0.1")
    assert other.params["reference"] == "clean twin" and sweep.params["reference"] == ""
    assert "over_twin" not in other.values, "a twin without a reference has no control"
    assert sweep.params["settings"] == ""
    assert replace(discovery.searcher("gradient"), signed=True, rows=8).settings == (
        "rows=8, signed=True"
    )
    with pytest.raises(BadLabels, match="searches: 0"):
        discovery.discover(written, asked, budget=300, searches=0)
    assert base.FIRST == sweep.params["first"] == 10
