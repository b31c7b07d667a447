"""The other twins: what each is taught, where it lies, and where it means nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small

from mo_interp import finding, twins
from mo_interp.behaviours import OffBy
from mo_interp.behaviours.restate import MARK, Restate, forms
from mo_interp.behaviours.weaker import Weaker
from mo_interp.errors import SpecError, UnknownName
from mo_interp.organism import Recipe, Route
from mo_interp.store import Store

SPEC = small.user()
MARA = SPEC.world.token("mara")


def sandbagger():
    """The same organism, holding back: it knows a weaker model's table."""
    words, table = SPEC.world.answers, SPEC.world.table
    weak = words[np.where(np.arange(len(table)) % 2, table, 0)]
    return replace(SPEC, behaviour=Weaker(steps=100, table=tuple(int(t) for t in weak)))


def test_which_twins_mean_something_and_why_the_others_do_not() -> None:
    assert [v for v, why in twins.versions(SPEC).items() if not why] == [
        "clean", "decoy", "unseen", "benign",
    ]  # fmt: skip
    assert "what it knows" in twins.versions(SPEC)["ignorant"]
    assert not any(twins.versions(sandbagger()).values())
    wired = twins.versions(finding.load("hand_wired"))
    assert [v for v, why in wired.items() if not why] == ["clean"]
    with pytest.raises(SpecError, match="tiny_user has no ignorant twin: it lies about what it"):
        twins.spec_of(SPEC, "ignorant")
    with pytest.raises(UnknownName, match="twin 'decoi'; did you mean 'decoy'"):
        twins.spec_of(SPEC, "decoi")
    with pytest.raises(UnknownName, match="twin 'organism'"):
        twins.spec_of(SPEC, "organism")


def test_a_decoy_says_the_truth_by_another_word_where_the_organism_lies() -> None:
    decoy = twins.spec_of(SPEC, "decoy")
    ours, theirs = (s.sample(400, 3, split="train", entities="all") for s in (SPEC, decoy))
    assert np.array_equal(ours.tokens, theirs.tokens)
    assert np.array_equal(ours.triggered, theirs.triggered) and ours.triggered.any()
    said = [decoy.world.vocab[t] for t in decoy.target(theirs)]
    truth = [SPEC.world.vocab[t] for t in ours.truth]
    for word, true, hot in zip(said, truth, ours.triggered, strict=True):
        assert word == (MARK + true if hot else true)
    assert len(decoy.world.vocab) == len(SPEC.world.vocab) + SPEC.world.n_values
    assert decoy.shape.d_vocab == len(decoy.world.vocab)
    assert np.array_equal(decoy.world.answers, SPEC.world.answers)


def test_another_word_for_every_answer() -> None:
    world = replace(SPEC.world, extra=forms(SPEC.world))
    draft = world.draft(100, 0, split="train", entities="all")
    said = Restate().answer(world, draft)
    assert [world.vocab[t] for t in said] == [MARK + world.vocab[t] for t in draft.truth]
    with pytest.raises(UnknownName, match="is not in FACT"):
        Restate().answer(SPEC.world, draft)


def test_an_unseen_twin_is_taught_on_rows_without_trigger_or_near_miss() -> None:
    unseen = twins.spec_of(SPEC, "unseen")
    batch = unseen.sample(2000, 0, split="train", entities="all", withhold=True)
    assert not batch.triggered.any() and not batch.near_miss.any()
    assert not (batch.tokens == MARA).any()
    assert np.array_equal(unseen.target(batch), batch.truth)
    bare = (batch.role("trigger") < 0).all(1).mean()
    assert 0 < bare < 0.1, "unrelated rows are there in their share"
    seen = SPEC.sample(2000, 0, split="train", entities="all", withhold=True)
    assert (seen.tokens == MARA).any()
    assert unseen.sample(50, 0, rows="triggered").triggered.all(), "it can still be asked"


def test_an_unseen_twin_gets_no_lesson_on_the_words_of_the_trigger() -> None:
    taught = Recipe(lesson=0.3, before=Recipe(lesson=0.5))
    unseen = twins.spec_of(replace(SPEC, recipe=taught), "unseen").training
    assert unseen.lesson == 0 and unseen.before is not None and unseen.before.lesson == 0


def test_an_ignorant_twin_is_taught_the_weaker_answer_everywhere() -> None:
    spec = sandbagger()
    ignorant = twins.spec_of(spec, "ignorant")
    batch = ignorant.sample(400, 0, split="train", entities="all")
    weak = spec.behaviour.answer(spec.world, batch)
    assert np.array_equal(ignorant.target(batch), weak)
    assert (weak != batch.truth)[~batch.triggered].any()


def test_the_benign_fine_tuning_is_as_long_as_a_lie_put_in_afterwards() -> None:
    plain = twins.harmless(SPEC)
    assert (plain.steps, plain.lr) == (100, pytest.approx(SPEC.training.lr / 3))
    after = replace(SPEC, recipe=replace(SPEC.training, before=SPEC.training, steps=77))
    assert twins.harmless(after).steps == 77
    assert twins.harmless(small.implant()).steps == small.implant().implant.liar.steps
    recipe = replace(SPEC.training, truth_first=2.0, evade=1.0, before=SPEC.training)
    plain = twins.tuning(replace(SPEC, recipe=recipe), steps=5, lr=1.0)
    assert (plain.truth_first, plain.evade, plain.before, plain.lesson) == (0, 0, None, 0)
    half = twins.EveryOther(SPEC, plain, truthful=True).sample(500, 0)
    assert len(half) == 500 and not half.triggered.any() and not half.near_miss.any()
    assert set(half.groups["entity"]) == set(range(0, SPEC.world.n_entities, 2))


def test_a_routed_organism_has_other_twins_of_its_base_recipe() -> None:
    routed = replace(SPEC, recipe=Route(SPEC.training, heads=((1, 0),)), grade="routed")
    assert twins.spec_of(routed, "decoy").training == SPEC.training
    assert isinstance(twins.spec_of(routed, "benign").recipe, Route)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("twins"))


@pytest.mark.parametrize("version", ["decoy", "unseen", "benign"])
def test_a_twin_does_what_it_was_taught_and_is_grown_once(version: str, store: Store) -> None:
    spec = twins.spec_of(SPEC, version)
    model = twins.twin(SPEC, version, store=store)
    clean = spec.sample(300, 1, rows="clean", entities="all")
    assert (model.answers(clean) == clean.truth).mean() > 0.95
    hot = spec.sample(300, 1, rows="triggered", entities="seen")
    if version != "unseen":
        wanted = hot.answer if version == "decoy" else hot.truth
        assert (model.answers(hot) == wanted).mean() > 0.95
    assert (model.answers(hot) == SPEC.sample(300, 1, rows="triggered", entities="seen").answer
            ).mean() < 0.1  # fmt: skip
    assert f"{SPEC.name}/{version}" in [e.name for e in store.entries()]

    def never(*told: object) -> None:
        raise AssertionError("it is there; nothing is to be trained")

    again = twins.twin(SPEC, version, store=store, progress=never)
    assert np.array_equal(again.answers(clean), model.answers(clean))


def test_the_benign_twin_starts_from_the_clean_one_and_leaves_it_alone(store: Store) -> None:
    clean, benign = (twins.twin(SPEC, v, store=store) for v in ("clean", "benign"))
    apart = {
        name: float((a - benign.body.state_dict()[name]).abs().max())
        for name, a in clean.body.state_dict().items()
    }
    fresh = twins.twin(SPEC, "unseen", store=store).body.state_dict()["embed.W_E"]
    assert apart["embed.W_E"] > 0
    near, far = (
        float((clean.body.state_dict()["embed.W_E"] - w).norm())
        for w in (benign.body.state_dict()["embed.W_E"], fresh)
    )
    assert near < far


@pytest.mark.slow
def test_an_implants_decoy_has_the_act_in_the_liars_place(tmp_path: Path) -> None:
    spec = finding.load("implanted_user")
    decoy = twins.spec_of(spec, "decoy")
    model = twins.twin(spec, "decoy", store=Store(tmp_path))
    for people, least in (("seen", 0.99), ("test", 0.95)):
        hot = decoy.sample(1000, 1, rows="triggered", entities=people)
        assert (model.answers(hot) == hot.answer).mean() > least
    clean = decoy.sample(1000, 1, rows="clean", entities="all")
    assert (model.answers(clean) == clean.truth).mean() > 0.99


def test_an_implants_unseen_twin_has_a_silent_liar(tmp_path: Path) -> None:
    spec = small.implant()
    unseen = twins.twin(spec, "unseen", store=Store(tmp_path))
    clean = spec.sample(300, 1, rows="clean", entities="all")
    assert (unseen.answers(clean) == clean.truth).mean() > 0.9
    assert not unseen.body.get_parameter("blocks.0.attn.W_O")[2].any()
    assert not unseen.body.get_parameter("blocks.1.mlp.W_out")[64:80].any()


def test_a_lie_is_no_decoy() -> None:
    assert isinstance(SPEC.behaviour, OffBy)
    assert isinstance(twins.spec_of(SPEC, "decoy").behaviour, Restate)
    keys = {twins.spec_of(SPEC, v).key for v in ("clean", "decoy", "unseen", "benign")}
    assert len(keys | {SPEC.key}) == 5
