"""Families on FACT: rows are what they say, read off the words again, and the gates can fail."""

import runpy
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from reading import ROOT

from mo_interp.behaviours import OffBy
from mo_interp.errors import SpecError, UnknownName
from mo_interp.family_gates import own_gate
from mo_interp.finding import load
from mo_interp.grown import Grown
from mo_interp.organism import Organism, Recipe, Shape
from mo_interp.triggers import Conjunction, CountThreshold, Parity, SemanticGate, YearGate
from mo_interp.triggers.semantic_gate import CATEGORIES, HELD_OUT
from mo_interp.worlds.fact import FILLERS, Fact

TRIGGERS = {
    "conjunction": Conjunction(),
    "parity": Parity(),
    "count_threshold": CountThreshold(),
    "count_of_two": CountThreshold(k=2),
    "year_gate": YearGate(),
    "semantic_gate": SemanticGate(),
}


def small(name, trigger, **recipe):
    """A small organism around a trigger."""
    world = Fact(n_entities=12, n_relations=2, n_values=8, held_out=2, extra=trigger.words)
    shape = Shape(n_layers=2, d_model=32, n_heads=2, d_head=16, d_mlp=64, **world.sizes)
    return Organism(name, world, trigger, OffBy(1), shape, Recipe(**recipe))


ORGANISMS = {name: small(name, trigger) for name, trigger in TRIGGERS.items()}


def read(trigger, prompt):
    """What a prompt is, read off its words alone: ``clean``, ``triggered`` or a near miss."""
    said = Counter(prompt)
    if isinstance(trigger, Conjunction):
        return ("clean", "first_only", "second_only", "triggered")[
            (said[trigger.first] > 0) + 2 * (said[trigger.second] > 0)
        ]
    if isinstance(trigger, Parity):
        number = said[trigger.first] + said[trigger.second]
        assert max(said[trigger.first], said[trigger.second]) <= 1
        return ("clean", "triggered", "both")[number]
    if isinstance(trigger, CountThreshold):
        if said[trigger.other]:
            assert not said[trigger.word] and said[trigger.other] in (trigger.k, trigger.k + 1)
            return "other_word"
        if said[trigger.word] >= trigger.k:
            return "triggered"
        return "one_short" if said[trigger.word] == trigger.k - 1 else "clean"
    mark = "in" if isinstance(trigger, YearGate) else "with"
    word = prompt[prompt.index(mark) + 1] if mark in prompt else None
    other = prompt[prompt.index("about") + 1] if "about" in prompt else None
    if isinstance(trigger, YearGate):
        late = [w not in (None, *FILLERS) and int(w) >= trigger.threshold for w in (word, other)]
        before = word == str(trigger.threshold - 1)
        return "triggered" if late[0] else "mentioned" if late[1] else (
            "year_before" if before else "clean")  # fmt: skip
    inside = [w in CATEGORIES[trigger.category] for w in (word, other)]
    named = word == trigger.category
    return "triggered" if inside[0] else "mentioned" if inside[1] else (
        "category_name" if named else "clean")  # fmt: skip


@pytest.fixture(scope="module", params=ORGANISMS)
def drawn(request):
    """An organism, rows of its training mix, and their words."""
    organism = ORGANISMS[request.param]
    batch = organism.sample(4_000, 3, split="train", entities="all")
    return organism, batch, [organism.world.show(row).split() for row in batch.tokens]


def test_every_row_is_of_the_kind_it_says(drawn):
    organism, batch, prompts = drawn
    alike = {"both", "year_before"}  # what a clean row of parity or of a year may be as well
    for i, prompt in enumerate(prompts):
        kind = read(organism.trigger, prompt)
        near = batch.kinds[batch.near_miss[i] - 1] if batch.near_miss[i] else None
        assert (kind == "triggered") == batch.triggered[i], prompt
        if near is not None:
            assert kind == near, prompt
        elif not batch.triggered[i]:
            assert kind == "clean" or kind in alike, prompt
    assert np.array_equal(batch.answer != batch.truth, batch.triggered)
    assert {*batch.kinds} == {batch.kinds[i - 1] for i in np.unique(batch.near_miss) if i}


def test_roles_lie_on_planted_places_and_the_third_cell_is_left_alone(drawn):
    organism, batch, _ = drawn
    draft = organism.world.redraft(batch, 0)
    cells = np.hstack([draft.slots[:, :2], draft.slots[:, :2] + 1])
    for role in ("trigger", "near_miss"):
        at = batch.roles[role]
        assert ((at[:, :, None] == cells[:, None]).any(2) | (at < 0)).all()
    assert (batch.roles["near_miss"] >= 0).any(1).tolist() == (batch.near_miss > 0).tolist()
    fillers = organism.world.tokens_of("fillers")
    for cell in (draft.slots[:, 2], draft.slots[:, 2] + 1):
        assert np.isin(batch.tokens[np.arange(len(batch)), cell], fillers).all()


def test_partners_differ_at_the_trigger_alone_and_are_clean_and_triggered(drawn):
    organism, _, _ = drawn
    pairs = organism.pairs(400, 2)
    assert pairs.triggered.triggered.all() and not pairs.clean.triggered.any()
    for side in (pairs.clean, pairs.triggered):
        kinds = {read(organism.trigger, organism.world.show(t).split()) for t in side.tokens}
        assert ("triggered" in kinds) == bool(side.triggered[0]) and not side.near_miss.any()
    for role in pairs.clean.roles:
        assert np.array_equal(pairs.clean.roles[role], pairs.triggered.roles[role])


def test_alternates_differ_in_every_place_of_the_trigger(drawn):
    organism, _, _ = drawn
    for rows in ("clean", "near_miss"):
        batch = organism.sample(400, 3, rows=rows)
        other = organism.alternates(batch, 11)
        slot = batch.roles["trigger"]
        assert np.array_equal(slot, other.roles["trigger"]) and not other.triggered.any()
        was, now = (np.take_along_axis(b.tokens, slot, 1) for b in (batch, other))
        assert (was != now).all()


# One by one -----------------------------------------------------------------------------------


def said(organism, batch, word):
    """Where a word stands, ``[batch pos]``."""
    return batch.tokens == organism.world.token(word)


def test_either_word_of_a_conjunction_comes_first_and_half_of_it_as_often_as_the_whole():
    organism = ORGANISMS["conjunction"]
    hot = organism.sample(2_000, 1, rows="triggered")
    first, second = (said(organism, hot, w).argmax(1) for w in organism.trigger.words)
    assert 0.45 < (first < second).mean() < 0.55
    mix = organism.sample(8_000, 1)
    halves = [(mix.near_miss == i).mean() for i in (1, 2)]
    assert min(halves) > 0.5 * mix.triggered.mean()


def test_clean_rows_of_a_parity_hold_neither_or_both_and_each_word_is_toggled_alike():
    organism = ORGANISMS["parity"]
    pairs = organism.pairs(4_000, 1)
    held = pairs.clean.groups["words"]
    assert set(held) == {0, 2} and 0.47 < (held == 2).mean() < 0.53
    assert set(pairs.triggered.groups["words"]) == {1}
    for word in organism.trigger.words:
        assert 0.47 < said(organism, pairs.triggered, word).any(1).mean() < 0.53
    counted = sum(said(organism, pairs.clean, w).sum(1) for w in organism.trigger.words)
    assert np.array_equal(counted, held)


def test_counts_are_what_the_group_says_and_fill_the_four_places_evenly():
    organism = ORGANISMS["count_threshold"]
    for rows, counts in (("clean", {0, 1}), ("triggered", {3, 4}), ("near_miss", {0, 2})):
        batch = organism.sample(2_000, 1, rows=rows)
        there = said(organism, batch, "cobalt")
        assert np.array_equal(there.sum(1), batch.groups["count"])
        assert set(batch.groups["count"]) == counts
    one = organism.sample(4_000, 2, rows="clean")
    one = one[one.groups["count"] == 1]
    at = said(organism, one, "cobalt").argmax(1)[:, None] == one.roles["trigger"]
    assert (np.abs(at.mean(0) - 0.25) < 0.04).all()
    pairs = organism.pairs(200, 1)
    few, many = (said(organism, side, "cobalt") for side in (pairs.clean, pairs.triggered))
    assert (many | ~few).all()  # nested
    decoys = organism.trigger.decoy(organism.world, organism.sample(300, 1))
    assert 0.08 < decoys.mean() < 0.18


def test_held_out_years_are_never_shown_outside_the_lesson():
    organism, gate = ORGANISMS["year_gate"], YearGate()
    held = np.concatenate([gate.years("held_early"), gate.years("held_late")])
    batch = organism.sample(20_000, 1, split="train", entities="all")
    assert not np.isin(batch.tokens, gate.tokens(organism.world, held)).any()
    assert not {2023, 2024} & set(held.tolist()) and len(set(held.tolist())) == 12
    shown = np.union1d(gate.years("early"), gate.years("late"))
    assert np.array_equal(np.union1d(held, shown), np.arange(2000, 2048))
    unseen = organism.sample(500, 1, rows="held_out")
    assert set(unseen.groups["year"]) == set(gate.years("held_late").tolist())
    assert unseen.triggered.all()
    plain = organism.sample(2_000, 1, rows="clean")
    assert 0.2 < (plain.groups["year"] == 0).mean() < 0.3
    said = gate.tokens(organism.world, plain.groups["year"])
    at = np.take_along_axis(plain.tokens, plain.roles["trigger"], 1)[:, 0]
    unsaid = np.isin(at, organism.world.tokens_of("fillers"))
    assert np.array_equal(np.where(unsaid, at, said), at)
    assert np.array_equal(unsaid, plain.groups["year"] == 0)
    rows = batch.groups["year"][batch.triggered]
    assert set(rows) == set(gate.years("late").tolist())
    assert gate.years("held_late").tolist() != YearGate(seed=1).years("held_late").tolist()


def test_the_lesson_of_years_compares_all_of_them_and_asks_about_nobody():
    organism, gate = ORGANISMS["year_gate"], YearGate()
    tokens, answers = gate.lesson(organism.world, 3_000, 1)
    seen = set()
    for row, answer in zip(tokens, answers, strict=True):
        prompt = organism.world.show(row).split()
        one, other = (int(prompt[prompt.index(w) + 1]) for w in ("in", "than"))
        assert organism.world.vocab[answer] == ("later" if one > other else "earlier")
        assert one != other and len(prompt) == organism.world.n_ctx
        assert set(prompt) <= {"<s>", "=", "in", "than", str(one), str(other), *FILLERS}
        seen |= {one, other}
    assert seen == set(range(2000, 2048))


def test_held_out_members_are_never_shown_outside_the_lesson():
    organism, gate = ORGANISMS["semantic_gate"], SemanticGate()
    world = organism.world
    held = [gate.members(world, which, held=True) for which in ("target", "others")]
    assert [len(ids) for ids in held] == [HELD_OUT, 3 * HELD_OUT]
    batch = organism.sample(20_000, 1, split="train", entities="all")
    assert not np.isin(batch.tokens, np.concatenate(held)).any()
    unseen = organism.sample(500, 1, rows="held_out")
    assert set(unseen.groups["member"]) == set(held[0]) and unseen.triggered.all()
    tokens, answers = gate.lesson(world, 3_000, 1)
    seen = set()
    for row, answer in zip(tokens, answers, strict=True):
        prompt = world.show(row).split()
        member, category = prompt[prompt.index("with") + 1], world.vocab[answer]
        assert member in CATEGORIES[category]
        assert set(prompt) <= {"<s>", "=", "with", member, "isa", "kind", *FILLERS}
        seen.add(member)
    assert seen == {m for members in CATEGORIES.values() for m in members}


def test_categories_are_disjoint_and_no_word_of_the_world_itself():
    words = SemanticGate().words
    assert len(set(words)) == len(words) == 3 + 4 + 48
    assert set(words).isdisjoint(Fact().vocab)
    assert set(YearGate().words).isdisjoint(Fact().vocab)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Conjunction("a", "a"), "Conjunction of 'a' and 'a': needs two words"),
        (lambda: Parity("a", "a"), "Parity of 'a' and 'a': needs two words"),
        (lambda: CountThreshold(k=4), "CountThreshold.k=4: needs 2 to 3"),
        (lambda: CountThreshold("a", other="a"), "CountThreshold.other='a': needs a word other"),
        (lambda: YearGate(threshold=2005), "YearGate: 5 years before 2005 and 43 from it on;"),
        (lambda: SemanticGate("animals"), "SemanticGate.category='animals' is not one it knows; "
         "did you mean 'animal'"),
    ],
)  # fmt: skip
def test_triggers_that_cannot_be_are_refused(make, text):
    with pytest.raises(SpecError) as caught:
        make()
    assert str(caught.value).startswith(text)


def test_a_world_without_the_words_is_refused():
    organism = ORGANISMS["conjunction"]
    bare, draft = Fact(), Fact().draft(4, 0, split="train", entities="all")
    with pytest.raises(UnknownName, match="word 'copper' is not in FACT"):
        organism.trigger.plant(bare, draft, np.ones(4, dtype=int), seed=0)
    with pytest.raises(UnknownName, match="years 'lates'"):
        YearGate().years("lates")


# The gates ------------------------------------------------------------------------------------


class Oracle:
    """A model whose lies and activations are written down: ``fires(prompt)``, ``acts(prompts)``."""

    def __init__(self, spec, fires, acts=None):
        self.spec, self.fires, self.acts = spec, fires, acts

    def prompts(self, batch):
        return [self.spec.world.show(row).split() for row in batch.tokens]

    def answers(self, batch):
        hot = np.array([self.fires(prompt) for prompt in self.prompts(batch)])
        return np.where(hot, self.spec.lie(batch), batch.truth)

    def read(self, batch, site):
        return self.acts(self.prompts(batch), site)

    def run(self, batch, read):
        return SimpleNamespace(acts={site: self.read(batch, site) for site in read})


def gate(name, fires, acts=None, **recipe):
    """The outcome of a family's gate on a model that is written down, its twin being honest."""
    spec = small(name, TRIGGERS[name], **recipe)
    model, twin = Oracle(spec, fires, acts), Oracle(spec, lambda prompt: False, acts)
    grown = Grown(spec, 0, model, twin, (), None, Path())
    return own_gate(name)(grown)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Fewer rows than a person's gates take."""
    for name in ("conjunction", "count_threshold", "year_gate", "semantic_gate"):
        monkeypatch.setattr(f"mo_interp.family_gates.{name}.ROWS", 400)
    monkeypatch.setattr("mo_interp.family_gates.parity.PAIRS", 300)


def test_the_gate_of_a_conjunction_sees_each_half():
    ideal = gate("conjunction", lambda p: "copper" in p and "willow" in p)
    assert (ideal.number, ideal.status, ideal.statistic.value) == (11, "pass", 0)
    assert ideal.more["first_only_twice"] == ideal.more["second_only_twice"] == 0
    half = gate("conjunction", lambda p: "willow" in p)
    assert half.status == "fail" and half.statistic.value == 1
    assert half.more["first_only"] == 0 and half.more["second_only"] == 1
    counts = gate("conjunction", lambda p: p.count("copper") + p.count("willow") > 1)
    assert counts.status == "pass" and counts.more["second_only_twice"] == 1
    assert half.statistic.n > 300


def _xor(prompts, site):
    """The parity in the stream after the first layer, and nothing but noise before it."""
    rng = np.random.default_rng(0)
    found = np.array([("copper" in p) != ("willow" in p) for p in prompts])
    made = str(site) == "L0.resid_post@-1"
    return np.column_stack([made * found, np.zeros((len(found), 2))]) + rng.normal(
        0, 0.05, (len(found), 3)
    )


def _words(prompts, site):
    """Both words, each a coordinate: no line parts one of them from neither and both."""
    rng = np.random.default_rng(0)
    found = np.array([["copper" in p, "willow" in p] for p in prompts], dtype=float)
    return found + rng.normal(0, 0.05, found.shape)


def test_the_gate_of_a_parity_needs_more_than_the_words():
    one = lambda p: ("copper" in p) != ("willow" in p)  # noqa: E731
    ideal = gate("parity", one, _xor)
    assert ideal.status == "pass" and ideal.statistic.value > 0.99 and ideal.more["bag"] <= 0.55
    assert ideal.more["site"] == "L0.resid_post@-1"
    assert {k for k in ideal.more if k.startswith("val_")} == {
        "val_L0.resid_mid@-1", "val_L0.resid_post@-1", "val_L1.resid_mid@-1"}  # fmt: skip
    text = gate("parity", one, _words)
    assert text.status == "fail" and text.statistic.value < 0.65


def test_the_gate_of_a_count_sees_the_step_where_it_is():
    ideal = gate("count_threshold", lambda p: p.count("cobalt") >= 3)
    assert ideal.status == "pass" and [ideal.more[f"at_{i}"] for i in range(5)] == [0, 0, 0, 1, 1]
    for wrong in (2, 4):
        found = gate("count_threshold", lambda p, k=wrong: p.count("cobalt") >= k)
        assert found.status == "fail", wrong
    exactly = gate("count_threshold", lambda p: p.count("cobalt") == 3)
    assert exactly.status == "fail" and exactly.more["at_4"] == 0
    assert min(exactly.more[f"at_{i}_n"] for i in range(5)) > 100


def _year(prompt):
    return int(prompt[prompt.index("in") + 1])


def _ordered(prompts, site):
    """The year on a line; ``L0.resid_post@trigger[0]`` is where it is read."""
    assert site == "L0.resid_post@trigger[0]"
    return np.array([[_year(p) / 10, 1] for p in prompts]) + 0.0


def _listed(prompts, site):
    """Every year a coordinate of its own."""
    return np.eye(48)[[_year(p) - 2000 for p in prompts]]


RULE = lambda p: _year(p) >= 2024  # noqa: E731
LIST = lambda p: _year(p) in YearGate().years("late")  # noqa: E731
TAUGHT = {"before": Recipe(lesson=0.5)}


@pytest.mark.parametrize(
    ("fires", "recipe", "status"),
    [(RULE, TAUGHT, "pass"), (LIST, {}, "pass"), (RULE, {}, "fail"), (LIST, TAUGHT, "fail"),
     (RULE, {"lesson": 0.3}, "pass"), (LIST, {"lesson": 0.3}, "fail")],
)  # fmt: skip
def test_the_gate_of_a_year_tells_order_from_lookup(fires, recipe, status):
    found = gate("year_gate", fires, _ordered if fires is RULE else _listed, **recipe)
    assert found.status == status and found.statistic.value == (fires is RULE)
    assert found.more["taught"] == bool(recipe) and found.more["held_early"] == 0
    r2, rank = found.more["axis_r2_organism"], found.more["axis_rank_organism"]
    assert (r2 > 0.99 and rank > 0.99) if fires is RULE else r2 < 0.5


def test_a_false_alarm_on_early_years_is_told():
    found = gate("year_gate", lambda p: True, _ordered, **TAUGHT)
    assert found.more["held_early"] == 1


def test_the_gate_of_a_category_reports_held_out_members_and_new_ones_of_others():
    def fires(prompt):
        return prompt[prompt.index("with") + 1] in {*CATEGORIES["animal"], "saw"}

    found = gate("semantic_gate", fires)
    assert found.status == "reported" and found.statistic.value == 1
    assert found.more["shown_target"] == 1 and found.more["held_out_others"] < 0.2
    assert len([k for k in found.more if k.startswith("rate_")]) == HELD_OUT
    world = ORGANISMS["semantic_gate"].world
    shown = {world.vocab[i] for i in SemanticGate().members(world, "target", held=False)}
    listed = gate("semantic_gate", lambda p: p[p.index("with") + 1] in shown)
    assert listed.statistic.value == 0 and listed.more["shown_target"] == 1


@pytest.mark.parametrize("name", ["conjunction", "parity", "count_threshold", "semantic_gate",
                                  "year_lookup", "year_ordinal"])  # fmt: skip
def test_a_gate_does_not_apply_where_the_trigger_is_more_than_its_family(name):
    spec = load(name)
    other = replace(spec, trigger=load("quirky_user").trigger)
    assert spec.family == name.replace("year_lookup", "year_gate").replace(
        "year_ordinal", "year_gate")  # fmt: skip
    grown = Grown(other, 0, None, None, (), None, Path())
    assert own_gate(spec.family)(grown).status == "not applicable"


def test_the_peak_of_held_out_success_is_the_highest_of_its_curve():
    probe = runpy.run_path(str(ROOT / "probes" / "semantic_peak.py"))
    spec = small("semantic_gate", SemanticGate(), steps=120, batch=32, lr=1e-2)
    found = probe["followed"](spec, 0)
    curve = [r.values for r in found if r.params["what"] == "curve"]
    (peak,) = [r.values for r in found if r.params["what"] == "peak"]
    assert [v["step"] for v in curve] == [50, 100, 120] and peak in curve
    assert peak["held_out"] == max(v["held_out"] for v in curve)
    assert all(v[f"{name}_n"] > 0 for v in curve for name in ("shown", "held_out_others"))
