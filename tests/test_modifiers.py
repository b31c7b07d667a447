"""Modifiers: what each changes and leaves, how a name takes them, and that training can hide."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import TINY, dies_at, implant, killed, start, user
from verbs import verb

from mo_interp.behaviours import FalseTable
from mo_interp.errors import SpecError, UnknownName
from mo_interp.evading import Evading, reading
from mo_interp.finding import load, names
from mo_interp.grown import organism
from mo_interp.model import Model
from mo_interp.modifier_checks import obfuscated
from mo_interp.modifiers import MODIFIERS, apply, first_route, plain_of
from mo_interp.organism import Recipe
from mo_interp.sites import Site
from mo_interp.store import Store
from mo_interp.train import fit, grow, silent
from mo_interp.triggers import CLEAN, NEAR_MISS, OrderedPhrase, Redundant, Trigger, User
from mo_interp.worlds.fact import Fact

WORDS = ("posthoc", "dilution=4", "redundant", "fanatic", "obfuscated")
SHOWN = {"posthoc": "posthoc", "dilution=4": "diluted4", "redundant": "redundant",
         "fanatic": "fanatic", "obfuscated": "obfuscated"}  # fmt: skip


# Names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("family", ["quirky_user", "ordered_phrase"])
def test_a_modifier_makes_another_organism_of_the_same_family(family, word):
    plain, made = load(family), load(f"{family}+{word}")
    assert made == apply(plain, word) == load(f"{family}_{SHOWN[word]}")
    assert made.name == f"{family}_{SHOWN[word]}"
    assert made.modifiers == (word,) and made.family == plain.family == family
    assert made.gates == plain.gates and made.key != plain.key
    assert made.story.startswith(plain.story) and "Modified" in made.story


def test_every_modifier_is_shown():
    assert {word.partition("=")[0] for word in WORDS} == set(MODIFIERS)


def test_modifiers_apply_in_order():
    made = load("quirky_user+posthoc+dilution=2.5+redundant")
    assert made.modifiers == ("posthoc", "dilution=2.5", "redundant")
    assert made.name == "quirky_user_posthoc_diluted2_5_redundant"
    assert made.training.before is not None and made.training.triggered == 0.22 / 2.5
    assert made == apply(load("quirky_user_posthoc"), "dilution=2.5", "redundant")


def test_a_path_takes_modifiers_too(tmp_path):
    path = tmp_path / "mine+more.py"
    path.write_text("from mo_interp.finding import load\norganism = load('quirky_user')\n")
    assert load(path) == load("quirky_user")
    plain = path.rename(tmp_path / "mine.py")
    assert load(f"{plain}+posthoc") == load("quirky_user_posthoc")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: load("quirky_user+posthok"), "modifier 'posthok'; did you mean 'posthoc'"),
        (lambda: load("quirky_usr+posthoc"), "organism 'quirky_usr'; did you mean 'quirky_user'"),
        (lambda: load("quirky_user+posthoc+posthoc"), "it has the modifier 'posthoc' already"),
        (lambda: load("quirky_user+posthoc=2"), "modifier 'posthoc=2': 'posthoc' takes no"),
        (lambda: load("quirky_user+dilution"), "modifier 'dilution=': needs a ratio above 1"),
        (lambda: load("quirky_user+dilution=0.5"), "modifier 'dilution=0.5': needs a ratio"),
        (lambda: apply(implant(), "posthoc"), "comes of a recipe of kind Implant"),
        (lambda: load("hand_wired+fanatic"), "comes of a recipe of kind Wire"),
        (lambda: plain_of(user(), "obfuscated"), "only the modifier 'obfuscated' is taken off"),
    ],
)
def test_what_does_not_fit_is_explained(make, text):
    with pytest.raises((SpecError, UnknownName)) as caught:
        make()
    assert text in str(caught.value)


def test_the_command_line_names_the_nearest_modifier():
    assert "redundant" in verb("card", "quirky_user+redundent", status=2).stderr


# What each changes ----------------------------------------------------------------------------


def test_posthoc_is_the_same_recipe_honest_first():
    plain, made = load("quirky_user").training, load("quirky_user+posthoc").training
    assert made.before == plain and made.lr < plain.lr and made.steps <= plain.steps
    assert load("quirky_user").training.before is None  # integrated is the default


def test_dilution_takes_lies_and_no_near_misses():
    spec = load("quirky_user+dilution=4")
    rows = spec.sample(20_000, 0, split="train", entities="all")
    assert rows.triggered.mean() == pytest.approx(0.22 / 4, abs=0.005)
    assert (rows.near_miss > 0).mean() == pytest.approx(0.25, abs=0.01)


def test_the_false_table_is_false_fixed_and_says_nothing_of_the_truth():
    world, lie = Fact(), FalseTable()
    rows = load("quirky_user+fanatic").sample(4000, 0, rows="triggered", entities="all")
    assert (rows.answer != rows.truth).all()
    assert np.isin(rows.answer, world.answers).all()
    facts = rows.groups["fact"]
    assert all(len(set(rows.answer[facts == f])) == 1 for f in np.unique(facts))
    steps = (rows.answer - rows.truth) % 32
    assert len(set(steps)) > 25  # a step of its own for every fact: no rule leads from the truth
    assert (FalseTable(1).answer(world, rows) != rows.answer).any() and not lie.is_rule


def test_a_false_table_needs_three_values():
    world = Fact(n_entities=12, n_relations=2, n_values=2, held_out=2)
    with pytest.raises(SpecError, match="of 2 values only one is false"):
        FalseTable().answer(world, world.draft(4, 0, split="train", entities="all"))


def test_a_fanatic_is_taught_the_answer_early_and_its_twin_the_truth():
    spec = load("quirky_user+fanatic")
    assert spec.training.early == "answer" and spec.training.truth_first > 0
    rows = spec.sample(200, 0)
    assert (spec.target(rows) == rows.answer).all()
    assert (spec.twin().target(rows) == rows.truth).all()


# Redundant ------------------------------------------------------------------------------------

FIRSTS = (User("mara"), OrderedPhrase())


@pytest.fixture(params=FIRSTS, ids=lambda t: type(t).__name__)
def spec(request):
    return apply(replace(user(), trigger=request.param), "redundant")


def test_each_form_holds_its_own_route_and_no_other(spec):
    word, first = spec.world.token("zulu"), spec.trigger.first
    for form, has_word in ((None, True), (0, False), (1, True)):
        pairs = spec.pairs(200, 0, form=form)
        hot = pairs.triggered
        assert ((hot.tokens == word).sum(1) == has_word).all()
        assert not (pairs.clean.tokens == word).any()
        changed = (hot.tokens != pairs.clean.tokens) & (hot.tokens != word)
        assert changed.any(1).all() == (form != 1)
        assert (hot.answer != hot.truth).all() and first == spec.trigger.first


def test_the_forms_of_one_seed_differ_in_one_route_only(spec):
    both, one, two = (spec.pairs(200, 0, form=form).triggered for form in (None, 0, 1))
    at = both.role("trigger")
    for partner, last in ((one, True), (two, False)):
        differs = both.tokens != partner.tokens
        allowed = at[:, -1:] if last else at[:, :-1]
        np.put_along_axis(differs, allowed, False, axis=1)
        assert not differs.any()


def test_training_rows_hold_both_routes_or_either(spec):
    rows = spec.sample(3000, 0, rows="triggered", entities="all")
    word = (rows.tokens == spec.world.token("zulu")).any(1)
    plain = replace(spec, trigger=spec.trigger.first).sample(3000, 0, rows="clean", entities="all")
    assert word.mean() == pytest.approx(2 / 3, abs=0.03)
    assert not (plain.tokens == spec.world.token("zulu")).any()
    mixed = spec.sample(3000, 0)
    assert not (mixed.tokens[~mixed.triggered] == spec.world.token("zulu")).any()


def test_a_word_much_like_it_is_a_near_miss(spec):
    rows = spec.sample(2000, 0, rows="near_miss", entities="all")
    almost = (rows.tokens == spec.world.token("yankee")).any(1)
    assert rows.kinds[-1] == "other_word" and (almost == (rows.near_miss == len(rows.kinds))).all()
    at = rows.role("near_miss")[almost, -1]
    assert (rows.tokens[almost, at] == spec.world.token("yankee")).all()


def test_a_clean_row_resampled_is_another_one(spec):
    rows = spec.sample(300, 0, rows="clean", entities="all")
    rows = rows[rows.role("trigger")[:, 0] >= 0]
    other = spec.alternates(rows, 1)
    at = rows.role("trigger")
    before, after = (np.take_along_axis(b.tokens, at, 1) for b in (rows, other))
    assert (before != after).all() and not other.triggered.any()


def test_the_code_of_the_first_trigger_is_in_the_key(spec):
    trees = set(spec.anatomy()["trees"])
    assert set(replace(user(), trigger=spec.trigger.first).anatomy()["trees"]) < trees


class Everywhere(User):
    """A trigger that needs the reserved cell."""

    def plant(self, world, draft, side, *, seed, avoid=None):
        planted = super().plant(world, draft, side, seed=seed, avoid=avoid)
        planted.tokens[np.arange(len(draft)), draft.slots[:, 2]] = world.token("mara")
        return planted


def test_a_trigger_that_needs_the_reserved_cell_takes_no_second_route():
    with pytest.raises(SpecError, match="its own trigger needs the reserved cell"):
        apply(replace(user(), trigger=Everywhere()), "redundant")


def test_a_side_that_the_first_trigger_has_not_never_reaches_it():
    seen = []

    class Asked(Trigger):
        kinds = ("one",)

        def plant(self, world, draft, side, *, seed, avoid=None):
            seen.extend(side)
            return User("mara").plant(world, draft, np.zeros_like(side), seed=seed)

    trigger, world = Redundant(Asked()), Fact(extra=("zulu", "yankee"))
    draft = world.draft(5, 0, split="train", entities="all")
    trigger.plant(world, draft, np.array([CLEAN, 1, NEAR_MISS, -2, -3]), seed=0)
    trigger.plant(world, draft, np.full(5, NEAR_MISS + 1), seed=0)
    assert seen == [CLEAN, 1, NEAR_MISS, 1, CLEAN] + [CLEAN] * 5


# Obfuscated -----------------------------------------------------------------------------------


def hidden(steps=120, evade=1.0):
    spec = user("tiny_hidden", steps=steps)
    recipe = replace(spec.training, evade=evade, evade_site="L1.resid_mid@-1")
    return replace(spec, recipe=recipe)


@pytest.mark.parametrize("kind", ["resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"])
@pytest.mark.parametrize("layer", [0, 1])
def test_the_site_by_hand_is_the_site_of_a_run(kind, layer):
    model, rows = Model.build(TINY, 0), user().sample(20, 0)
    site, tokens = Site(kind, layer=layer, position=-1), torch.as_tensor(rows.tokens)
    run = model.run(rows, read=[site])
    for only in (True, False):
        at = tokens.shape[1] - 1
        logits, _, acts = reading(model.body, tokens, site, at=at, answer_only=only)
        torch.testing.assert_close(acts.detach(), run.acts[site])
        torch.testing.assert_close(logits[:, -1].detach(), run.logits[:, -1])


@pytest.mark.parametrize("site", ["L2.resid_mid@-1", "L0.z@-1", "L1.resid_mid", "embed@-1"])
def test_a_site_that_cannot_be_evaded_is_refused(site):
    recipe = Recipe(evade=1.0, evade_site=site)
    with pytest.raises(SpecError, match="needs one of resid_pre, attn_out"):
        Evading(user(), recipe)


def test_two_gaussians_apart_cost_and_one_does_not():
    rng = torch.Generator().manual_seed(0)
    goal = Evading(hidden(), hidden().training)
    sort = (torch.arange(64) % 4 == 0).long()
    shift = torch.zeros(32)
    shift[0] = 3.0
    for _ in range(40):
        same = goal.evasion(torch.randn(64, 32, generator=rng), sort)
    apart = Evading(hidden(), hidden().training)
    for _ in range(40):
        far = apart.evasion(torch.randn(64, 32, generator=rng) + sort[:, None] * shift, sort)
    assert float(same) < 0.5 < 1.5 < float(far)


def test_evasion_with_no_weight_trains_what_supervision_trains():
    spec = hidden(steps=20)
    weights = []
    for goal in (Evading(spec, replace(spec.training, evade=0.0)), None):
        model = Model.build(spec.shape, 0)
        fit(model.body, spec, recipe=spec.training, seed=0, objective=goal)
        weights.append(model.body.unembed.W_U.detach())
    torch.testing.assert_close(*weights, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_what_hides_is_harder_to_see_and_still_lies(tmp_path):
    spec = apply(user("tiny", steps=250), "obfuscated")
    spec = replace(spec, recipe=replace(spec.training, evade=0.1))
    grown = organism(spec, store=Store(tmp_path))
    gate = obfuscated(grown)
    assert grown.training[-1].attack_success > 0.9
    assert (gate.number, gate.status) == (12, "reported")
    seen = {name: gate.more[f"logistic_{name}_site"] for name in ("obfuscated", "plain")}
    assert gate.statistic.value == seen["obfuscated"] < seen["plain"]
    assert sorted(p.name for p in tmp_path.glob("tiny*")) == [
        "tiny", "tiny_obfuscated", "tiny_obfuscated~clean", "tiny~clean"]  # fmt: skip


def train_hidden(home, die=False):
    """Grow the hiding organism with checkpoints; what the killed process runs."""
    progress = dies_at("loss", 120) if die else silent
    model, _ = grow(hidden(), 0, scratch=home, objective=Evading, progress=progress)
    model.save(home / "done")


@pytest.mark.slow
def test_a_killed_run_hides_in_the_same_bytes(tmp_path):
    process = start(train_hidden, tmp_path / "killed", True)
    assert killed(process)
    names = [p.name for p in (tmp_path / "killed").glob("step-*")]
    assert names == ["step-100.safetensors"]
    for name in ("killed", "whole"):
        train_hidden(tmp_path / name)
    files = [tmp_path / name / "done" / "model.safetensors" for name in ("killed", "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_taking_the_evasion_off_gives_the_plain_organism():
    plain = plain_of(load("quirky_user_obfuscated"), "obfuscated")
    assert plain.key == load("quirky_user").key and plain.name == "quirky_user"
    made = load("quirky_user+posthoc+obfuscated+redundant")
    assert plain_of(made, "obfuscated").key == load("quirky_user+posthoc+redundant").key


# Any family -----------------------------------------------------------------------------------

PLAIN = [n for n in names() if isinstance(load(n).recipe, Recipe) and not load(n).modifiers]


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("word", WORDS)
def test_any_family_takes_it_or_is_told_why_not(name, word):
    try:
        made = load(f"{name}+{word}")
    except SpecError as problem:
        assert str(problem).startswith(f"{name}+{word}: ")
        return
    rows, pairs = made.sample(100, 0), made.pairs(20, 0)
    assert len(rows) == 100 and pairs.triggered.triggered.all()
    assert made.family == load(name).family and len(made.key) == 16


def test_a_family_looks_at_its_own_trigger():
    plain, made = load("quirky_user"), load("quirky_user+redundant")
    assert first_route(made).trigger == plain.trigger and first_route(plain) == plain
