"""Patching: the fast way equals the slow one, costs are as planned, and the ruler is found."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mo_interp import export, finding, patching, wired
from mo_interp.circuits import Circuit
from mo_interp.edits import Patch
from mo_interp.errors import BadLabels, BadSite, BadValues, UnknownName
from mo_interp.model import Model
from mo_interp.organism import Shape
from mo_interp.patching import cells, grid, suffix, sweeping
from mo_interp.sites import Site, SiteSet
from mo_interp.stats import Estimate
from mo_interp.worlds.base import Batch, Pairs

LENGTH, WORDS = 7, 24
BASE = Shape(
    n_layers=3, d_model=12, n_heads=3, d_head=4, d_mlp=20, n_ctx=LENGTH, d_vocab=WORDS,
    d_vocab_out=WORDS,
)  # fmt: skip
SHAPES = {
    "LNPre": BASE,
    "LN, gelu": replace(BASE, norm="LN", act="gelu"),
    "no norm, gelu_new": replace(BASE, norm=None, act="gelu_new", n_layers=2),
    "attention only": replace(BASE, attn_only=True),
    "bidirectional": replace(BASE, causal=False),
    "one layer": replace(BASE, n_layers=1),
    "narrow heads, four layers": replace(BASE, n_layers=4, n_heads=2, d_head=3),
}
SUFFIX_KINDS = ["embed", "L*.resid_pre", "L*.resid_post", "L*.attn_out", "L*.H*.z", "L*.z"]
MLP_KINDS = [
    "L*.resid_mid",
    "L*.mlp_out",
    "L*.post",
    "L*.pre[3:9]",
    "L*.post[0:5]",
    "L0.post[4:20]",
]
DOOR_KINDS = ["L*.H*.q", "L*.H*.k", "L*.v", "L*.H*.pattern", "L*.attn_scores", "L*.resid_pre[2:5]"]


def build(shape: Shape, seed: int = 0) -> Model:
    """A body whose norms and biases are not the identity."""
    model = Model.build(shape, seed)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.body.named_parameters():
            if name.rsplit(".", 1)[-1][0] in "bw":
                weight.add_(0.3 * torch.randn(weight.shape, generator=rng))
    return model


def made_pairs(n: int = 5, seed: int = 0) -> Pairs:
    """Prompts with two trigger slots of which one or both differ; the rest is the same."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, WORDS, (n, LENGTH))
    order = np.argsort(rng.random((n, LENGTH - 1)), axis=1)
    trigger = np.sort(order[:, :2], axis=1)
    roles = {
        "trigger": trigger,
        "near_miss": np.full((n, 1), -1),
        "entity": order[:, 2:3],
        "relation": order[:, 3:4],
        "answer": np.full((n, 1), LENGTH - 1),
    }
    other = tokens.copy()
    rows = np.arange(n)
    other[rows, trigger[:, 1]] = (tokens[rows, trigger[:, 1]] + 1) % WORDS
    both = rows % 2 == 0
    other[both, trigger[both, 0]] = (tokens[both, trigger[both, 0]] + 5) % WORDS
    truth = rng.integers(0, WORDS, n)
    answer = (truth + 1) % WORDS
    groups = {"entity": rows % 3, "fact": rows, "layout": rows}
    columns = {"near_miss": np.zeros(n, dtype=np.int8), "roles": roles, "groups": groups}
    return Pairs(
        Batch(tokens, truth, truth, np.zeros(n, dtype=bool), **columns),
        Batch(other, truth, answer, np.ones(n, dtype=bool), **columns),
    )


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return made_pairs()


@pytest.fixture(scope="module")
def model() -> Model:
    return build(BASE)


def assert_same(fast: patching.Sweep, slow: patching.Sweep) -> None:
    assert [c.site for c in fast.cells] == [c.site for c in slow.cells]
    np.testing.assert_allclose(fast.patched, slow.patched, atol=1e-5, rtol=0)
    assert [c.unchanged for c in fast.cells] == [c.unchanged for c in slow.cells]


def unedited(found: patching.Sweep, cell: patching.Cell) -> np.ndarray:
    return found.clean if cell.direction == "noising" else found.triggered


# The fast way against the slow one ------------------------------------------------------------


@pytest.mark.parametrize("by", ["role", "position", "all"])
@pytest.mark.parametrize("name", SHAPES)
def test_the_suffix_equals_whole_runs(name, by, pairs):
    shape = SHAPES[name]
    sites = SUFFIX_KINDS + ([] if shape.attn_only else MLP_KINDS)
    model = build(shape)
    fast = patching.sweep(model, pairs, sites=sites, by=by)
    slow = patching.sweep(model, pairs, sites=sites, by=by, exhaustive=True)
    assert_same(fast, slow)
    moved = np.abs(fast.patched - np.array([unedited(fast, c) for c in fast.cells])).max(1)
    assert (moved[[c.unchanged for c in fast.cells]] == 0).all()
    assert (moved > 1e-3).sum() > len(fast.cells) / 10  # it is not a comparison of nothings


@pytest.mark.parametrize("name", ["LNPre", "bidirectional", "attention only", "one layer"])
def test_what_needs_the_door_equals_whole_runs(name, pairs):
    model = build(SHAPES[name])
    fast, slow = (
        patching.sweep(model, pairs, sites=DOOR_KINDS, exhaustive=x) for x in (False, True)
    )
    assert_same(fast, slow)
    assert fast.forwards < slow.forwards + 4 * len(pairs)


def test_one_cell_is_what_the_door_gives_by_hand(model, pairs):
    site = Site.parse("L1.H2.z@trigger")
    source = model.run(pairs.clean, read=[site]).acts[site]
    logits = model.run(pairs.triggered, do=[Patch(site, source)]).logits[:, -1].double().numpy()
    rows, batch = np.arange(len(pairs)), pairs.triggered
    patched = logits[rows, batch.answer] - logits[rows, batch.truth]
    found = patching.sweep(model, pairs, sites=[site])
    np.testing.assert_allclose(found.patched[0], patched, atol=1e-5)
    effect = (found.triggered - patched).mean() / (found.triggered - found.clean).mean()
    assert found.cell(site).effect.value == pytest.approx(effect, abs=1e-5)
    assert found.cell(site, "noising").direction == "noising"


def test_a_foreign_body_goes_through_the_door(model, pairs):
    foreign = Model(export.to_hooked_transformer(model), SiteSet.of(BASE), None)
    sites = ["resid_pre", "L1.H*.z", "L2.post[0:5]"]
    theirs, ours = (patching.sweep(m, pairs, sites=sites) for m in (foreign, model))
    assert_same(theirs, ours)


def test_how_the_work_is_cut_up_changes_nothing(model, monkeypatch):
    rows = made_pairs(9, seed=3)
    whole = patching.sweep(model, rows)
    monkeypatch.setattr(sweeping, "ROWS", 2)
    for name, few in (("TOKENS", 5), ("FEW", 3), ("LAST", 2)):
        monkeypatch.setattr(suffix, name, few)
    pieces = patching.sweep(model, rows)
    assert_same(pieces, whole)
    assert pieces.forwards == whole.forwards


# What is exact --------------------------------------------------------------------------------


def test_a_run_patched_into_itself_is_exactly_unchanged(pairs):
    model = build(BASE)
    with torch.no_grad():
        model.body.embed.W_E[:] = model.body.embed.W_E[0]  # it cannot tell words apart
    for exhaustive in (False, True):
        found = patching.sweep(model, pairs, exhaustive=exhaustive)
        assert all(cell.unchanged and cell.effect.value == 0 for cell in found.cells)
        assert all((row == found.clean).all() for row in found.patched)
        assert found.gap == 0


@pytest.mark.parametrize("name", SHAPES)
def test_patching_everything_gives_the_other_run(name, pairs):
    found = patching.sweep(build(SHAPES[name]), pairs, sites=["resid_pre", "resid_post"], by="all")
    for cell, patched in zip(found.cells, found.patched, strict=True):
        other = found.triggered if cell.direction == "noising" else found.clean
        np.testing.assert_allclose(patched, other, atol=1e-5)
        assert abs(cell.effect.value - 1) * abs(found.gap) < 1e-5


def test_what_cannot_reach_the_read_out_is_exactly_zero(model, pairs):
    found = patching.sweep(model, pairs, sites=["resid_mid", "resid_post", "z"], by="position")
    last = [c for c in found.cells if c.site.layer == 2]
    assert {c.unchanged for c in last if c.site.position != LENGTH - 1} == {True}
    assert {c.effect.value for c in last if c.site.position != LENGTH - 1} == {0.0}
    assert {c.unchanged for c in last if c.site.position == LENGTH - 1} == {False}
    earlier = [c for c in found.cells if c.site.layer < 2 and c.site.position == 5]
    assert not any(c.unchanged for c in earlier)


def test_what_comes_before_the_trigger_is_exactly_zero(model, pairs):
    found = patching.sweep(model, pairs, sites="resid_mid", by="position", directions="denoising")
    first = (pairs.clean.tokens != pairs.triggered.tokens).argmax(1)
    before = np.array([c.site.position < first for c in found.cells])
    assert before.any()
    assert (found.patched == found.triggered)[before].all()


def test_hand_wired_is_found_and_nothing_else_moves():
    spec = finding.load("hand_wired")
    model = Model.build(spec.shape)
    model.body.load_state_dict(wired.liar_by_user(spec))
    rows, circuit = spec.pairs(32, 0), wired.circuit(spec)
    found = patching.sweep(model, rows, sites=patching.parts(circuit), by="all")
    for direction in ("denoising", "noising"):
        values = {c.site: c.effect.value for c in found.cells if c.direction == direction}
        assert all(values[site] == pytest.approx(1, abs=1e-5) for site in circuit.origin)
        assert all(values[site] == 0 for site in circuit.inert)
    scores = {r.params["method"]: r.values for r in patching.score(found, circuit)}
    assert [scores["patching"][k] for k in ("precision", "recall", "auroc", "auprc")] == [1] * 4
    assert scores["patching"]["forwards"] == found.forwards / 2  # each direction's share
    assert scores["random"]["auroc"] == pytest.approx(0.5, abs=0.05)
    assert scores["weight_magnitude"]["auroc"] < 1
    assert scores["patching"]["mediators"] == len(circuit.mediators)


# Costs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sites", [grid.DEFAULT, ["z", "L*.H0.k", "L2.H*.q"]])
@pytest.mark.parametrize("by", ["role", "position", "all"])
def test_the_plan_is_what_is_counted(model, pairs, by, sites, monkeypatch):
    plan = patching.plan(model, pairs, sites=sites, by=by)
    uncut = len(pairs) * (2 if sites is grid.DEFAULT else 4)  # the door makes its own
    counted = []

    def counting(owner, name, rows):
        inner = getattr(owner, name)

        def outer(self, *args, **kwargs):
            counted.append(rows(*args))
            return inner(self, *args, **kwargs)

        monkeypatch.setattr(owner, name, outer)

    counting(suffix.Unrolled, "trace", lambda tokens: len(tokens))
    counting(suffix.Unrolled, "read_out", lambda trace, change: len(change.rows))
    counting(Model, "run", lambda batch: len(batch))
    found = patching.sweep(model, pairs, sites=sites, by=by)
    assert plan.forwards == found.forwards == sum(counted)
    assert plan.skipped == plan.cells * len(pairs) - (plan.forwards - uncut)
    assert by == "all" or plan.skipped > 0
    assert plan.cells == len(found.cells)
    assert str(plan).startswith(f"{plan.cells:,} cells, {plan.forwards:,} forwards")


def test_an_exhaustive_sweep_runs_every_cell(model, pairs):
    arguments = {"sites": "z", "by": "position", "exhaustive": True}
    found = patching.sweep(model, pairs, **arguments)
    assert found.forwards == len(pairs) * (2 + len(found.cells))
    assert patching.plan(model, pairs, **arguments).forwards == found.forwards
    assert patching.plan(model, pairs, **arguments).skipped == 0


# Roles ----------------------------------------------------------------------------------------


def test_roles_are_resolved_row_by_row_and_cover_the_prompt(model, pairs):
    found = patching.sweep(model, pairs, sites="L1.attn_out", directions="denoising")
    assert [c.label for c in found.cells] == ["trigger", "entity", "relation", "answer", "other"]
    batch = grid.with_other(pairs.triggered)
    masks = [grid.mask(batch, c.site.position) for c in found.cells]
    assert (np.sum(masks, 0) == 1).all()
    assert masks[0].sum() == 2 * len(pairs)


def test_rows_with_fewer_other_positions_repeat_one():
    rows = made_pairs(4)
    roles = {**rows.clean.roles, "entity": rows.clean.roles["trigger"][:, :1].copy()}
    roles["entity"][0] = made_pairs(4).clean.roles["entity"][0]
    batch = replace(rows.clean, roles=roles)
    other = grid.with_other(batch)
    free = [set(range(LENGTH)) - {int(x[i]) for x in _used(roles)} for i in range(4)]
    assert [set(row.tolist()) for row in other.roles["other"]] == free
    assert len(set(map(len, free))) == 2


def _used(roles):
    return [roles[n][:, k] for n in grid.ROLES for k in range(roles[n].shape[1])]


def test_a_site_with_a_position_is_patched_there(model, pairs):
    found = patching.sweep(model, pairs, sites=["L1.H*.z@-1", "L0.mlp_out@trigger[1]", "L0.z@all"])
    mine = [(str(c.site), c.label) for c in found.cells if c.direction == "noising"]
    heads = [(f"L1.H{h}.z@-1", "-1") for h in range(3)]
    roles = ("trigger", "entity", "relation", "answer", "other")
    assert mine == heads + [("L0.mlp_out@trigger[1]", "trigger[1]")] + [
        (f"L0.z@{role}", role) for role in roles
    ]
    exhaustive = patching.sweep(model, pairs, sites=["L0.mlp_out@trigger[1]"], exhaustive=True)
    one = found.patched[[str(c.site) for c in found.cells].index("L0.mlp_out@trigger[1]")]
    np.testing.assert_allclose(one, exhaustive.patched[0], atol=1e-5)


# Scores and intervals -------------------------------------------------------------------------


def constructed(effects: dict[str, float], weights: dict[str, float]) -> patching.Sweep:
    """A sweep of twelve pairs of four entities in which each part has a known effect."""
    n = 12
    clean, triggered = np.zeros(n), np.full(n, 2.0)
    estimate = Estimate(0.0, 0.0, 0.0, n, "")
    sites = [Site.parse(name) for name in effects]
    return patching.Sweep(
        cells=tuple(cells.Cell(s, "all", "denoising", estimate, False) for s in sites),
        patched=np.array([triggered * (1 - e) for e in effects.values()]),
        clean=clean,
        triggered=triggered,
        clusters=np.arange(n) % 4,
        metric="normalised logit difference",
        weights={Site.parse(k): v for k, v in weights.items()},
        forwards=99,
        seconds=1.5,
    )


EFFECTS = {"L0.H0.z": 0.9, "L0.H1.z": 0.2, "L0.H2.z": 0.5, "L0.H3.z": 0.0, "L1.H0.z": 2.0}


def circuit(origin: str, inert: str, mediators: str = "") -> Circuit:
    return Circuit(*(x.split() for x in (origin, mediators, inert)), grade="wired", established="")


def test_localisation_of_a_constructed_case():
    found = constructed(EFFECTS, dict(zip(EFFECTS, (1, 5, 2, 3, 9), strict=True)))
    truth = circuit("L0.H0.z L0.H1.z", "L0.H2.z L0.H3.z", mediators="L1.H0.z")
    records = patching.score(found, truth, organism="x", key="k", seed=3)
    by = {r.params["method"]: r for r in records}
    mine = by["patching"].values  # ranks: origin, inert, origin, inert
    assert mine["precision"] == mine["recall"] == 0.5
    assert mine["auroc"] == 0.75
    assert mine["auprc"] == pytest.approx((1 + 2 / 3) / 2)
    assert (mine["auroc_lo"], mine["auroc_hi"]) == (0.75, 0.75)  # all entities alike
    assert (mine["origin"], mine["inert"], mine["mediators"]) == (2, 2, 1)
    assert (mine["forwards"], mine["seconds_cost"]) == (99, 1.5)
    norms = by["weight_magnitude"].values  # ranks: origin, inert, inert, origin
    assert (norms["precision"], norms["auroc"], norms["forwards"]) == (0.5, 0.5, 0)
    assert by["random"].values["auroc_n"] == 1000
    assert {r.organism for r in records} == {"x"} and {r.seed for r in records} == {3}


def test_a_sweep_by_position_is_scored_by_its_largest_effect():
    found = constructed(
        {"L0.H0.z@0": 0.1, "L0.H0.z@1": 0.8, "L0.H1.z@0": 0.3, "L0.H1.z@1": 0.3}, {}
    )
    record = patching.score(found, circuit("L0.H0.z", "L0.H1.z"))[0]
    assert record.params["over"] == "largest over positions"
    assert record.values["auroc"] == 1


def test_a_part_meant_at_one_position_may_be_swept_whole():
    found = constructed({"L0.H0.z": 0.9, "L0.H0.z@0": 0.1, "L0.H1.z": 0.3}, {})
    record = patching.score(found, circuit("L0.H0.z@-1", "L0.H1.z"))[0]
    assert (record.params["over"], record.values["auroc"]) == ("parts", 1)


def test_scores_need_both_kinds_and_a_sweep_of_them():
    found = constructed(EFFECTS, {})
    with pytest.raises(BadLabels, match="0 origin and 1 inert parts: both kinds are needed"):
        patching.score(found, circuit("", "L0.H0.z"))
    with pytest.raises(BadSite, match=r"part 'L3.H0.z' of the circuit was not swept"):
        patching.score(found, circuit("L0.H0.z", "L3.H0.z"))


def test_ratios_cover():
    """8 clusters of 16 pairs that resemble one another: 95 % intervals of a ratio of means."""
    rng, trials, n = np.random.default_rng(5), 600, 128
    codes = np.arange(n) % 8
    hit = 0
    for _ in range(trials):
        unit = 2 + rng.normal(0, 0.5, 8)[codes] + rng.normal(0, 0.5, n)
        moved = 0.6 * unit + rng.normal(0, 0.4, 8)[codes] + rng.normal(0, 0.5, n)
        (found,) = cells.ratios(moved[None], unit, codes)
        hit += found.lo <= 0.6 <= found.hi
    assert 0.93 <= hit / trials <= 0.975


def test_ratios_without_a_second_cluster_or_a_gap():
    (one,) = cells.ratios(np.ones((1, 4)), np.full(4, 2.0), np.zeros(4, dtype=int))
    assert one.value == 0.5 and np.isnan(one.lo) and one.how == "one cluster: no interval"
    (none,) = cells.ratios(np.ones((1, 4)), np.zeros(4), np.arange(4))
    assert not np.isfinite(none.value)


def test_in_logits_the_gap_is_not_divided_by(model, pairs):
    plain = patching.sweep(model, pairs, sites="L0.resid_pre", by="all", metric="logit difference")
    assert plain.cell("L0.resid_pre", "noising").effect.value == pytest.approx(plain.gap, abs=1e-5)


# What comes out, and what is refused ----------------------------------------------------------


def test_records_carry_what_the_figures_read(model, pairs):
    found = patching.sweep(model, pairs, sites=["z", "L1.post[0:5]"])
    records = found.records(organism="x", key="k", seed=2)
    assert len(records) == len(found.cells)
    first = records[0]
    assert (first.kind, first.site, first.seed) == ("sweep", "L0.H0.z@trigger", 2)
    shown = {k: first.params[k] for k in ("kind", "layer", "head", "role", "direction")}
    assert shown == {
        "kind": "z", "layer": 0, "head": 0, "role": "trigger", "direction": "denoising",
    }  # fmt: skip
    assert first.values["effect_lo"] < first.values["effect"] < first.values["effect_hi"]
    assert first.values["n"] == len(pairs)
    gone = [r for r in records if r.params["unchanged"]]
    assert gone and all(r.values["effect"] == 0.0 for r in gone)
    assert "L0.H" in found._repr_html_()
    block = model.body.blocks[1]
    assert found.weights[Site("z", 1, 2)] == pytest.approx(float(block.attn.W_O[2].detach().norm()))
    assert found.weights[Site.parse("L1.post[0:5]")] == float(block.mlp.W_out[:5].detach().norm())
    assert found.ranking()[0].effect.value == max(
        c.effect.value for c in found.cells if c.direction == "denoising"
    )


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"sites": "zz"}, BadSite, "there is no kind 'zz'"),
        ({"sites": "L7.resid_pre"}, BadSite, "this model has layers 0-2"),
        ({"sites": []}, BadSite, "no sites to sweep"),
        ({"sites": "L0.z@9"}, BadSite, "position '@9': these prompts have positions 0-6"),
        ({"sites": "L0.z@trigger[2]"}, BadSite, "'@trigger\\[2\\]': the role has 2 positions"),
        ({"sites": "L0.z@near_miss"}, BadSite, "5 of 5 rows have no such role"),
        ({"sites": "L0.z@tigger"}, UnknownName, "did you mean 'trigger'"),
        ({"by": "roles"}, UnknownName, "by 'roles'; did you mean 'role'"),
        ({"directions": ["noise"]}, UnknownName, "did you mean 'noising'"),
        ({"metric": "logits"}, UnknownName, "metric 'logits'"),
    ],
)
def test_bad_input_is_named(model, pairs, given, error, text):
    with pytest.raises(error, match=text):
        patching.sweep(model, pairs, **given)


def test_kinds_a_model_lacks_are_named(pairs):
    small = build(SHAPES["attention only"])
    with pytest.raises(BadSite, match="kind 'resid_mid': this model does not offer it"):
        patching.sweep(small, pairs, sites=["resid_mid"])
    kinds = {c.site.kind for c in patching.sweep(small, pairs).cells}
    assert kinds == {"resid_pre", "resid_post", "attn_out", "z"}


def test_nan_weights_are_refused(pairs):
    broken = build(BASE)
    with torch.no_grad():
        broken.body.blocks[1].mlp.W_in[0, 0] = float("nan")
    with pytest.raises(BadValues, match="not finite"):
        patching.sweep(broken, pairs)


def test_what_was_not_swept_is_named(model, pairs):
    found = patching.sweep(model, pairs, sites="L0.H0.z@-1")
    with pytest.raises(BadSite, match=r"site 'L0.H1.z@-1' was not swept \(denoising\)"):
        found.cell("L0.H1.z@-1")
