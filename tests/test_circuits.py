"""Every circuit that is known is tested both ways, and so are equally many inert parts.

Written from the triggered run into the clean one, the origin causes the behaviour; from the clean
run into the triggered one, it ends it and brings the truth back. Inert parts of equal number and
size do neither.
"""

from dataclasses import replace

import pytest
import small
import torch

from mo_interp import grown as growing
from mo_interp import implant, origins
from mo_interp.behaviours import OffBy
from mo_interp.circuits import Circuit
from mo_interp.edits import Zero
from mo_interp.finding import load, names
from mo_interp.grown import organism
from mo_interp.ledger import published
from mo_interp.organism import Implant, Organism, Recipe, Shape
from mo_interp.origins import BAR, INERT, OriginTest, confirmed, controls, origin_test
from mo_interp.records import select
from mo_interp.stats import proportion
from mo_interp.store import Store
from mo_interp.triggers import Trigger, User

ROWS, SEEDS = 600, range(5)
KNOWN = [name for name in names() if growing.circuit(load(name)) is not None]


def pairs_of(grown, rows=ROWS):
    return grown.pairs(rows, 1000 * grown.seed + 71, entities="seen")


def assert_origin(grown):
    """The origin passes both ways; as many inert parts of equal size do neither."""
    pairs, origin = pairs_of(grown), grown.circuit.origin
    inert = controls(grown.circuit, grown.spec.shape.n_heads)
    assert len(inert) == len(origin) and not {s.bare for s in inert} & {s.bare for s in origin}
    ours, others = (origin_test(grown.model, pairs, parts) for parts in (origin, inert))
    assert ours is not None and others is not None, "it does not lie"
    assert ours.caused.value >= BAR and ours.ended.value >= BAR, ours
    assert others.caused.value <= INERT and others.ended.value <= INERT, others
    assert ours.caused.n >= 0.5 * len(pairs)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("circuits"))


def tiny_implant():
    """Two heads in a row, as it takes to know a user from a name that is only mentioned."""
    shape = Shape(n_layers=3, d_model=64, n_heads=4, d_head=12, d_mlp=192, **small.WORDS)
    honest = Recipe(steps=250, batch=64, lr=6e-3, weight_decay=1.0, truth_first=2.0)
    reserved = replace(honest, weight_decay=0.0, truth_first=0.0)
    recipe = Implant(
        honest=honest,
        distractor=replace(reserved, steps=200),
        liar=replace(reserved, steps=300),
        heads=((0, 2), (1, 2)),
        neurons=((2, 128, 160),),
        distractor_heads=((0, 3), (1, 3)),
        distractor_neurons=((2, 160, 192),),
    )
    name, lie = "tiny_circuit", OffBy(1)
    return Organism(name, small.WORLD, User("mara"), lie, shape, recipe, grade="implanted")


@pytest.mark.parametrize("make", [tiny_implant, small.routed], ids=lambda f: f.__name__)
def test_the_origin_of_a_small_one(make, store):
    assert_origin(organism(make(), store=store))


def test_the_origin_of_the_wired_one(store):
    assert_origin(organism("hand_wired", store=store))


def test_the_known_ones_are_of_every_grade():
    grades = [load(name).grade for name in KNOWN]
    least = {"wired": 1, "implanted": 5, "routed": 3}
    assert all(grades.count(grade) >= n for grade, n in least.items()), grades
    families = {type(load(n).trigger) for n in KNOWN if load(n).grade == "implanted"}
    assert len(families) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", KNOWN)
def test_the_origin_of_a_shipped_one(name, seed):
    if failed_to_lie(name, seed):
        pytest.skip(f"{name} seed {seed} fails gate 1 in its card: no lie was planted to locate")
    assert_origin(organism(name, seed=seed))


def failed_to_lie(name, seed):
    """Whether the published gates say that this seed of this specification lies too seldom."""
    told = {"organism": name, "seed": seed, "key": load(name).key, "number": 1, "status": "fail"}
    return bool(select(published(), kind="gate", **told))


def test_few_shipped_circuits_are_of_seeds_that_fail_to_lie():
    failed = [(name, seed) for name in KNOWN for seed in SEEDS if failed_to_lie(name, seed)]
    assert len(failed) * 10 <= len(KNOWN) * len(SEEDS), failed


# Implants: the liar is all that differs from the twin, and distractors are about as loud ---------

IMPLANTS = [name for name in KNOWN if load(name).grade == "implanted"]


def output_norms(grown):
    """Norms of the output weights of the liar's parts and of the distractors'."""
    recipe, body, found = grown.spec.implant, grown.model.body, []
    for heads, neurons in (
        (recipe.heads, recipe.neurons),
        (recipe.distractor_heads, recipe.distractor_neurons),
    ):
        masks = implant.masks(body, heads, neurons)
        written = [
            body.get_parameter(name).detach() * mask
            for name, mask in masks.items()
            if name.endswith(("W_O", "W_out"))
        ]
        found.append(sum(float(w.pow(2).sum()) for w in written) ** 0.5)
    return found


def silent(grown, rows):
    """Logits with the liar's activations at zero, and the twin's."""
    parts = implant.parts(grown.spec.implant.heads, grown.spec.implant.neurons)
    batch = grown.spec.sample(rows, 4, split="test", entities="all")
    cut = grown.model.run(batch, do=[Zero(part) for part in parts]).logits
    return cut, grown.twin.run(batch).logits


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", IMPLANTS)
def test_a_silent_liar_is_the_twin_and_distractors_are_about_as_loud(name, seed):
    found = organism(name, seed=seed)
    assert torch.equal(*silent(found, 500))
    liar, distractors = output_norms(found)
    assert 0.5 <= distractors / liar <= 2.0, (liar, distractors)


@pytest.mark.parametrize("name", IMPLANTS)
def test_the_harmless_act_has_rows_enough_and_says_nothing_of_the_trigger(name):
    spec = load(name)
    batch = spec.sample(4000, 5)
    decoys = implant.decoys(spec, batch)
    assert 0.07 < decoys.mean() < 0.25
    if type(spec.trigger).decoy is Trigger.decoy:  # two fillers, which stand anywhere
        sorts = [batch.triggered, *(batch.near_miss == i for i in range(1 + len(batch.kinds)))]
        assert min(decoys[rows].mean() for rows in sorts) > 0.07
    else:
        assert not decoys[batch.triggered].any()


# A circuit that was trained for is not yet one that is there ------------------------------------


def _test(caused, ended):
    shares = (proportion([i < 1000 * share for i in range(1000)]) for share in (caused, ended))
    return OriginTest(*shares)


@pytest.mark.parametrize(
    ("test", "good"), [((1.0, 0.99), True), ((1.0, 0.98), False), ((0.98, 1.0), False)]
)
def test_a_routed_circuit_stands_only_if_its_origin_passes(test, good, monkeypatch):
    monkeypatch.setattr(origins, "origin_test", lambda *_: _test(*test))
    circuit = Circuit(("L1.H3.z@-1",), (), (), "routed", "trained")
    found = confirmed(circuit, None, None)
    if not good:
        assert found is None
        return
    assert found.origin == circuit.origin and found.grade == "routed"
    assert found.established.startswith("trained; exchanged, written 1")
    assert "0.99" in found.established and "n=1000" in found.established


def test_a_circuit_that_cannot_be_tested_does_not_stand(monkeypatch):
    monkeypatch.setattr(origins, "origin_test", lambda *_: None)
    assert confirmed(Circuit(("L1.H3.z",), (), (), "routed", ""), None, None) is None
