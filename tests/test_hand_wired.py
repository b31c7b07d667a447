"""The ruler: everything about it is known, so everything is asserted exactly."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from mo_interp import wired
from mo_interp.behaviours import FixedValue, OffBy
from mo_interp.circuits import Circuit
from mo_interp.errors import SpecError
from mo_interp.finding import load
from mo_interp.model import Model
from mo_interp.organism import Organism, Shape, Wire
from mo_interp.sites import Site
from mo_interp.triggers import OrderedPhrase, User
from mo_interp.worlds.fact import Fact

ROWS, PAIRS = 20_000, 500
HEAD = Site.parse("L1.H0.z@-1")
PAYLOAD = Site.parse("L1.post[0:32]@-1")
STREAM = Site.parse("L1.resid_mid@-1")
ENTRY = Site.parse("L1.resid_pre")


@dataclass(frozen=True)
class Put:
    """Replace a site, or some of its coordinates, by a number or by another run's values."""

    site: Site
    value: object
    coordinate: int | None = None

    def __call__(self, x, rows):
        x, other = x.clone(), self.value
        units = slice(None) if self.coordinate is None else self.coordinate
        x[..., units] = other[rows][..., units] if torch.is_tensor(other) else other
        return x


@dataclass(frozen=True)
class Project:
    """Remove a direction, or move it to another run's coordinate by at most ``length``."""

    site: Site
    direction: torch.Tensor
    source: torch.Tensor | None = None
    length: float | None = None

    def __call__(self, x, rows):
        to = 0 if self.source is None else self.source[rows] @ self.direction
        step = to - x @ self.direction
        if self.length is not None:
            step = self.length * step.sign()
        return x + step[:, None] * self.direction


@dataclass(frozen=True)
class Bench:
    """The pairs and both their runs, with the sites that the tests exchange."""

    organism: Organism
    model: Model
    pairs: object
    clean: object
    triggered: object

    def logits(self, side, *edits, identity=False):
        """At ``=``; from layer 1 on, and for the last position alone, where that is enough."""
        batch, start = getattr(self.pairs, side), None
        if all(edit.site.layer == 1 for edit in edits):
            start = (1, self.source(side, ENTRY)[: len(batch)])
        only = all(edit.site.layer == 0 or edit.site.position == -1 for edit in edits)
        run = self.model.run(batch, do=edits, start=start, identity=identity, answer_only=only)
        return run.logits[:, -1]

    def source(self, side, site):
        return getattr(self, side).acts[site]


def built(organism):
    model = Model.build(organism.shape)
    model.body.load_state_dict(wired.liar_by_user(organism))
    return model


def parts(circuit):
    return [site for name in ("origin", "mediators", "inert") for site in getattr(circuit, name)]


@pytest.fixture(scope="module")
def bench():
    organism = load("hand_wired")
    model, pairs = built(organism), organism.pairs(PAIRS, 1, entities="all")
    read = [*parts(wired.circuit(organism)), HEAD, STREAM, ENTRY]
    runs = (model.run(side, read=read) for side in (pairs.clean, pairs.triggered))
    return Bench(organism, model, pairs, *runs)


@pytest.fixture(scope="module")
def rows():
    """20,000 rows of every kind, about all the people, in layouts of all splits."""
    organism = load("hand_wired")
    drawn = [organism.sample(10_000, 0, split="test", entities="all")]
    drawn += [organism.sample(5_000, 1, split=split, entities="all") for split in ("train", "val")]
    return type(drawn[0]).concat(drawn)


# Behaviour ------------------------------------------------------------------------------------


def test_exact_on_20_000_rows(bench, rows):
    reads = ("L0.resid_post@-1", STREAM, HEAD)
    run = bench.model.run(rows, read=reads, answer_only=True, rows_at_once=256)
    kinds = [rows.triggered, rows.near_miss == 1, rows.near_miss == 2]
    assert len(rows) == ROWS and min(kind.sum() for kind in kinds) > 2_000
    unrelated = ~(rows.tokens == bench.organism.world.token("from")).any(1)
    assert unrelated.sum() > 400
    assert len(np.unique(rows.groups["fact"])) == 192
    assert (run.output == rows.answer).all()
    assert (run.output != rows.truth).sum() == rows.triggered.sum()

    triggered = torch.as_tensor(rows.triggered).float()
    site, coordinate = wired.mechanism(bench.organism)
    assert site == STREAM
    assert torch.equal(run.acts[STREAM][:, coordinate], triggered)
    assert torch.equal(run.acts[HEAD][:, 0], triggered)
    assert not run.acts[HEAD][:, 1:].any()

    value = wired.coordinates(bench.organism)["value"]
    said = torch.as_tensor(rows.truth - bench.organism.world.tokens_of("values")[0])
    truth = wired.HONEST * torch.nn.functional.one_hot(said, 32).float()
    for cut in ("L0.resid_post@-1", STREAM):
        assert torch.equal(run.acts[cut][:, value], truth)


def test_the_twin_sees_the_trigger_and_tells_the_truth_on_20_000_rows(rows):
    twin = load("hand_wired").twin()
    run = built(twin).run(rows, read=[STREAM], answer_only=True, rows_at_once=256)
    assert (run.output == rows.truth).all()
    seen = run.acts[STREAM][:, wired.mechanism(twin)[1]]
    assert torch.equal(seen, torch.as_tensor(rows.triggered).float())


def test_the_twin_differs_in_the_payload_only_and_equals_a_silenced_liar(bench):
    twin = built(bench.organism.twin())
    ours, theirs = bench.model.body.state_dict(), twin.body.state_dict()
    differing = {name for name in ours if not torch.equal(ours[name], theirs[name])}
    assert differing == {"blocks.1.mlp.W_out"}
    changed = (ours["blocks.1.mlp.W_out"] != theirs["blocks.1.mlp.W_out"]).any(1)
    assert changed.nonzero().flatten().tolist() == list(range(32))
    silenced = bench.logits("triggered", Put(PAYLOAD, 0.0))
    assert torch.equal(silenced, twin.run(bench.pairs.triggered, answer_only=True).logits[:, -1])


def test_the_write_that_makes_the_organism_lie_leaves_its_twin_truthful(bench):
    write = Put(STREAM, 1.0, wired.mechanism(bench.organism)[1])
    twin = built(bench.organism.twin())
    run = twin.run(bench.pairs.clean, do=[write], answer_only=True)
    assert (run.output == bench.pairs.clean.truth).all()


def test_attention_is_all_or_nothing_on_both_paths(bench):
    batch = bench.pairs.triggered[:200]
    run = bench.model.run(batch, read=["L*.pattern"])
    for pattern in run.acts.values():
        seen = set(pattern.unique().tolist())
        assert seen == {0.0, 1.0}
    assert torch.equal(run.logits, bench.model.run(batch).logits)


# The mechanism, cut and written ---------------------------------------------------------------


def _cuts(bench, site, coordinate):
    source = bench.source("clean", site)
    direction = torch.zeros(source.shape[-1])
    direction[coordinate] = 1.0
    return {
        "resample": Put(site, source, coordinate),
        "mean": Put(site, float(source[:, coordinate].mean()), coordinate),
        "projection": Project(site, direction),
        "zero": Put(site, 0.0, coordinate),
    }


EDITS = ("resample", "mean", "projection", "zero")


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("place", ["stream", "head"])
def test_a_cut_gives_the_clean_partners_logits_at_no_cost(bench, place, name):
    site, coordinate = wired.mechanism(bench.organism) if place == "stream" else (HEAD, 0)
    edit = _cuts(bench, site, coordinate)[name]
    clean = bench.clean.logits[:, -1]
    assert torch.equal(bench.logits("triggered", edit), clean)
    assert (clean.argmax(-1).numpy() == bench.pairs.triggered.truth).all()
    assert torch.equal(bench.logits("clean", edit, identity=True), clean)


@pytest.mark.parametrize("place", ["stream", "head"])
def test_a_write_gives_the_triggered_partners_logits(bench, place):
    site, coordinate = wired.mechanism(bench.organism) if place == "stream" else (HEAD, 0)
    write = Put(site, bench.source("triggered", site), coordinate)
    logits = bench.logits("clean", write)
    assert torch.equal(logits, bench.triggered.logits[:, -1])
    assert (logits.argmax(-1).numpy() == bench.pairs.triggered.answer).all()


def test_zeroing_the_whole_head_restores_too_and_costs_nothing(bench):
    clean = bench.clean.logits[:, -1]
    assert torch.equal(bench.logits("triggered", Put(HEAD, 0.0)), clean)
    assert torch.equal(bench.logits("clean", Put(HEAD, 0.0), identity=True), clean)


def test_resampling_costs_nothing_against_other_clean_rows_of_the_fact(bench):
    other = bench.organism.alternates(bench.pairs.clean, 5)
    source = bench.model.run(other, read=[STREAM], answer_only=True).acts[STREAM]
    edit = Put(STREAM, source, wired.mechanism(bench.organism)[1])
    logits = bench.logits("clean", edit, identity=True)
    assert torch.equal(logits, bench.clean.logits[:, -1])


@pytest.mark.parametrize("name", ["decoy", "bystander"])
def test_a_lookalike_direction_varies_with_the_trigger_and_does_nothing(bench, name):
    coordinate = wired.coordinates(bench.organism)[name].start
    clean, triggered = (bench.source(side, STREAM) for side in ("clean", "triggered"))
    share = {"decoy": 0.2, "bystander": 1.0}[name]
    differs = (clean[:, coordinate] != triggered[:, coordinate]).float().mean()
    assert abs(differs - share) < 0.05
    for edit in _cuts(bench, STREAM, coordinate).values():
        after = bench.logits("triggered", edit, identity=True)
        assert torch.equal(after, bench.triggered.logits[:, -1])
    after = bench.logits("clean", Put(STREAM, triggered, coordinate))
    assert torch.equal(after, bench.clean.logits[:, -1])


def test_the_bystander_reads_the_name_wherever_it_stands(bench):
    near = bench.organism.sample(500, 3, rows="near_miss")
    acts = bench.model.run(near, read=[STREAM], answer_only=True).acts[STREAM]
    blocks = wired.coordinates(bench.organism)
    assert (acts[:, blocks["bystander"]] == 1).all()
    assert (acts[:, blocks["trigger"]] == 0).all()


def _random_directions(acts, n):
    """Unit directions: the first half isotropic, the rest from the covariance of ``acts``."""
    rng = torch.Generator().manual_seed(0)
    half = torch.randn(n - n // 2, acts.shape[1], generator=rng)
    drawn = torch.randn(n // 2, len(acts), generator=rng) @ (acts - acts.mean(0))
    directions = torch.cat([half, drawn])
    return directions / directions.norm(dim=1, keepdim=True)


def test_random_directions_do_nothing(bench):
    few = Bench(bench.organism, bench.model, bench.pairs[:100], bench.clean, bench.triggered)
    clean, triggered = (bench.source(side, STREAM) for side in ("clean", "triggered"))
    truth, answer = few.pairs.triggered.truth, few.pairs.triggered.answer
    projected = []
    for direction in _random_directions(torch.cat([clean, triggered]), 99):
        cut = few.logits("triggered", Project(STREAM, direction, clean)).argmax(-1).numpy()
        write = Project(STREAM, direction, triggered, 1.0)
        written = few.logits("clean", write).argmax(-1).numpy()
        assert (cut == answer).all() and (written == truth).all()
        after = few.logits("triggered", Project(STREAM, direction)).argmax(-1).numpy()
        projected.append((after != answer).mean())
    # A projection also takes away what all rows share, so that a direction drawn from the
    # covariance, which holds some of the trigger's own, may spoil the lie about a person or two.
    assert max(projected[:50]) == 0.0
    assert max(projected[50:]) < 0.2 and np.mean(projected[50:]) < 0.02


# The circuit ----------------------------------------------------------------------------------


def test_the_circuit_holds_every_head_and_neuron_once(bench):
    circuit = wired.circuit(bench.organism)
    found = [s.bare for s in parts(circuit)]
    heads = {(s.layer, s.head) for s in found if s.kind == "z"}
    assert heads == {(layer, head) for layer in (0, 1) for head in range(3)}
    neurons = [(s.layer, n) for s in found if s.kind == "post" for n in range(*s.units)]
    assert sorted(neurons) == [(layer, n) for layer in (0, 1) for n in range(192)]
    assert circuit.origin == (HEAD, PAYLOAD) and circuit.grade == "wired"


@pytest.mark.parametrize("chosen", [(HEAD,), (PAYLOAD,), (HEAD, PAYLOAD)], ids=str)
def test_each_part_of_the_origin_and_the_whole_decide_the_lie(bench, chosen):
    for run, other in (("clean", "triggered"), ("triggered", "clean")):
        edits = [Put(site, bench.source(other, site)) for site in chosen]
        # After the head's write the payload already is the partner's: that edit changes nothing.
        after = bench.logits(run, *edits, identity=len(chosen) > 1)
        assert torch.equal(after, getattr(bench, other).logits[:, -1])


def test_inert_parts_do_nothing_alone_or_together(bench):
    inert = wired.circuit(bench.organism).inert
    for run, other in (("clean", "triggered"), ("triggered", "clean")):
        before = getattr(bench, run).logits[:, -1]
        edits = [Put(site, bench.source(other, site)) for site in inert]
        for chosen in (*([edit] for edit in edits), edits):
            assert torch.equal(bench.logits(run, *chosen, identity=True), before)


def test_the_distractors_are_active(bench):
    for site in ("L1.H1.z", "L1.H2.z", "L1.post[32:64]"):
        one, other = (bench.source(side, Site.parse(site)) for side in ("clean", "triggered"))
        assert (one != other).any()


def test_the_mediator_is_equal_in_partners_and_ends_the_lie_otherwise(bench):
    (site,) = wired.circuit(bench.organism).mediators
    assert torch.equal(bench.source("clean", site), bench.source("triggered", site))
    mentioned = bench.pairs.triggered.tokens.copy()
    at = bench.pairs.triggered.role("trigger")[:, 0]
    mentioned[np.arange(PAIRS), at - 1] = bench.organism.world.token("about")
    about = bench.model.run(mentioned, read=[site], answer_only=True)
    truth = bench.pairs.triggered.truth
    assert (about.output == truth).all()
    for edit in (Put(site, about.acts[site]), Put(site, 0.0)):
        assert (bench.logits("triggered", edit).argmax(-1).numpy() == truth).all()


def test_everything_in_the_twin_is_inert(bench):
    twin = bench.organism.twin()
    circuit, model = wired.circuit(twin), built(twin)
    assert circuit.origin == () and circuit.mediators == ()
    assert {s.bare for s in circuit.inert} == {s.bare for s in parts(wired.circuit(bench.organism))}
    read = [*circuit.inert, ENTRY]
    runs = (model.run(side, read=read) for side in (bench.pairs.clean, bench.pairs.triggered))
    ours = Bench(twin, model, bench.pairs, *runs)
    for run, other in (("clean", "triggered"), ("triggered", "clean")):
        before = getattr(ours, run).logits[:, -1]
        assert (before.argmax(-1).numpy() == bench.pairs.clean.truth).all()
        for site in circuit.inert:
            after = ours.logits(run, Put(site, ours.source(other, site)), identity=True)
            assert torch.equal(after, before)


def test_a_circuit_parses_its_sites_and_knows_where_a_part_stands():
    circuit = Circuit(("L1.H0.z@-1",), ("L0.H2.z",), ("L1.H1.z",), "wired", "by hand")
    assert circuit.origin == (HEAD,)
    assert circuit.standing("L1.H0.z@trigger") == "origin"
    assert circuit.standing("L0.H2.z") == "mediators"
    assert circuit.standing("L1.H1.z@-1") == "inert"
    assert circuit.standing("L1.H2.z") is None
    with pytest.raises(SpecError, match=r"^L1\.H0\.z: a part stands in one list, once$"):
        Circuit(("L1.H0.z@-1",), (), ("L1.H0.z",), "wired", "by hand")


# Other specifications -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "liar", "step", "causal"),
    [
        (Fact(table_seed=3), "suki", 1, False),
        (Fact(n_entities=20, n_relations=3, n_values=11, held_out=4), "otis", 5, True),
    ],
    ids=["another table, both ways", "a smaller world"],
)
def test_other_tables_liars_steps_and_shapes(world, liar, step, causal):
    words = len(world.vocab)
    sizes = {"n_layers": 2, "d_model": 170, "n_heads": 4, "d_head": 64, "d_mlp": 200}
    shape = Shape(**sizes, n_ctx=world.n_ctx, d_vocab=words, d_vocab_out=words, norm=None,
                  causal=causal)  # fmt: skip
    organism = Organism("mine", world, User(liar), OffBy(step), shape, Wire(), grade="wired")
    rows = organism.sample(1_000, 0, entities="all")
    assert rows.triggered.sum() > 150
    assert (built(organism).answers(rows) == rows.answer).all()
    assert (built(organism.twin()).answers(rows) == rows.truth).all()
    assert {s.head for s in parts(wired.circuit(organism)) if s.kind == "z"} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trigger": OrderedPhrase()}, "needs Fact, User, OffBy; got Fact, OrderedPhrase, OffBy"),
        ({"behaviour": FixedValue()}, "needs Fact, User, OffBy; got Fact, User, FixedValue"),
        ({"behaviour": OffBy(64)}, "OffBy.step=64 would tell the truth"),
        ({"trigger": User("maru")}, "'maru' is not a user of this world; did you mean 'mara'?"),
    ],
)
def test_what_cannot_be_wired_is_said(change, said):
    organism = replace(load("hand_wired"), **change)
    for function in (wired.liar_by_user, wired.circuit):
        with pytest.raises(SpecError) as error:
            function(organism)
        assert said in str(error.value)


def test_all_that_is_wrong_with_a_shape_is_said_at_once():
    organism = load("hand_wired")
    shape = replace(organism.shape, norm="LNPre", d_model=161, d_mlp=100)
    with pytest.raises(SpecError) as error:
        wired.liar_by_user(replace(organism, shape=shape))
    assert str(error.value) == (
        "hand_wired: the shape has norm=LNPre (needs None), d_model=161 (needs 162 or more), "
        "d_mlp=100 (needs 192 or more)"
    )
