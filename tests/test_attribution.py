"""Gradients in place of patches: where they are exact, what they cost, and where they fail."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from test_patching import BASE, SHAPES, build, made_pairs

from mo_interp import attribution, export, finding, patching, wired
from mo_interp.attribution import gradients, relp
from mo_interp.attribution.agreeing import spearman
from mo_interp.edits import Patch, Zero
from mo_interp.errors import BadShape, BadSite, BadValues, SpecError, UnknownName
from mo_interp.model import Model
from mo_interp.patching import cells
from mo_interp.sites import Site, SiteSet
from mo_interp.stats import Estimate
from mo_interp.worlds.base import Pairs

KINDS = ["embed", "L*.resid_pre", "L*.resid_post", "L*.attn_out", "L*.H*.z", "L*.z"]
HEADS = ["L*.H*.q", "L*.H*.k", "L*.H*.v", "L*.H*.pattern", "L*.attn_scores", "L*.resid_pre[2:5]"]
MLPS = ["L*.resid_mid", "L*.mlp_out", "L*.post", "L*.pre[3:9]", "L0.post[4:20]"]
BOTH = ("denoising", "noising")


def sites_of(shape) -> list[str]:
    return KINDS + HEADS + ([] if shape.attn_only else MLPS)


def double(shape, seed: int = 0) -> Model:
    """A body in double precision, so that a theorem can be told from its rounding."""
    model = build(shape, seed)
    model.body.double()
    return model


def linear(shape, seed: int = 0) -> Model:
    """A body without norm whose heads look everywhere alike and whose neurons are all on."""
    model = double(replace(shape, norm=None, act="relu"), seed)
    with torch.no_grad():
        for block in model.body.blocks:
            block.attn.W_Q.zero_()
            block.attn.b_Q.zero_()
            if not shape.attn_only:
                block.mlp.b_in.fill_(50.0)
                block.mlp.b_out.copy_(-50.0 * block.mlp.W_out.sum(0))
    return model


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return made_pairs()


@pytest.fixture(scope="module")
def ruler():
    """``hand_wired``: its model, pairs and parts, each at all positions."""
    spec = finding.load("hand_wired")
    model = Model.build(spec.shape)
    model.body.load_state_dict(wired.liar_by_user(spec))
    return model, spec.pairs(32, 0), patching.parts(wired.circuit(spec))


def effects(found, direction="denoising") -> dict[str, float]:
    return {str(c.site): c.effect.value for c in found.cells if c.direction == direction}


# Attribution patching -------------------------------------------------------------------------


@cache
def linearly_patched(name: str) -> tuple[Model, patching.Sweep]:
    model = linear(SHAPES[name])
    return model, patching.sweep(model, made_pairs(), sites=sites_of(SHAPES[name]))


@pytest.mark.parametrize("way", ["gradient", "along the input", "along the site", "relp"])
@pytest.mark.parametrize("name", ["LNPre", "attention only"])
def test_on_a_linear_model_it_is_activation_patching(name, way, pairs):
    model, exact = linearly_patched(name)
    asked = {"sites": sites_of(SHAPES[name])}
    told = {
        "gradient": lambda: attribution.attribute(model, pairs, **asked),
        "along the input": lambda: attribution.attribute(model, pairs, steps=2, **asked),
        "along the site": lambda: attribution.attribute(
            model, pairs, steps=1, path="site", **asked
        ),
        "relp": lambda: attribution.relevance(model, pairs, **asked),
    }[way]()
    assert [(c.site, c.label, c.direction) for c in told.cells] == [
        (c.site, c.label, c.direction) for c in exact.cells
    ]
    np.testing.assert_allclose(told.patched, exact.patched, atol=1e-8, rtol=0)
    for mine, theirs in zip(told.cells, exact.cells, strict=True):
        assert mine.effect.value == pytest.approx(theirs.effect.value, abs=1e-8)
    assert np.abs(exact.patched - exact.clean).max() > 0.1


@pytest.mark.parametrize("name", SHAPES)
def test_the_prediction_is_the_slope_of_patching(name, pairs):
    """Against central differences of runs through the door, for every kind of site."""
    model, small = double(SHAPES[name]), 1e-5
    told = attribution.attribute(
        model, pairs, sites=sites_of(SHAPES[name]), by="all", directions="denoising"
    )
    for cell, patched in zip(told.cells, told.patched, strict=True):
        base, source = (model.read(b, cell.site.bare) for b in (pairs.triggered, pairs.clean))
        change = torch.where(base == source, 0.0, source - base)
        ends = []
        for sign in (1, -1):
            edit = Patch(
                cell.site.bare, torch.where(change == 0, base, base + sign * small * change)
            )
            run = model.run(pairs.triggered, do=[edit], identity=True)
            ends.append(gradients.gap(run.logits, pairs.triggered).numpy())
        np.testing.assert_allclose(
            patched - told.triggered, (ends[0] - ends[1]) / (2 * small), atol=1e-6, rtol=1e-5
        )


def test_a_foreign_body_goes_through_the_door(pairs):
    model = build(BASE)
    foreign = Model(export.to_hooked_transformer(model), SiteSet.of(BASE), None)
    asked = {"sites": ["resid_pre", "z", "q", "L2.post[0:5]"]}
    theirs, ours = (attribution.attribute(m, pairs, **asked) for m in (foreign, model))
    np.testing.assert_allclose(theirs.patched, ours.patched, atol=1e-4)


@pytest.mark.parametrize("name", ["LNPre", "attention only", "bidirectional", "one layer"])
def test_what_is_unchanged_is_what_the_sweep_says(name, pairs):
    mlps = [] if SHAPES[name].attn_only else ["L*.resid_mid", "L*.mlp_out", "L*.post"]
    sites = [*KINDS, "L*.H0.q", "L*.H0.k", *mlps]
    model, asked = build(SHAPES[name]), {"sites": sites, "by": "position"}
    told, exact = (f(model, pairs, **asked) for f in (attribution.attribute, patching.sweep))
    assert [c.unchanged for c in told.cells] == [c.unchanged for c in exact.cells]
    assert sum(c.unchanged for c in told.cells) > 10


def test_how_the_pairs_are_cut_up_changes_nothing(monkeypatch):
    model, rows = build(BASE), made_pairs(9, seed=3)
    whole = attribution.attribute(model, rows, steps=2)
    monkeypatch.setattr(gradients, "ROWS", 2)
    pieces = attribution.attribute(model, rows, steps=2)
    np.testing.assert_allclose(pieces.patched, whole.patched, atol=1e-5)
    assert (pieces.forwards, pieces.backwards) == (whole.forwards, whole.backwards)


def test_nothing_outlives_it(pairs):
    model = build(BASE)
    attribution.relevance(model, pairs)
    assert all(p.grad is None and p.requires_grad for p in model.body.parameters())
    assert not any(point.fwd_hooks or point.bwd_hooks for point in model.body.hook_dict.values())


@pytest.fixture
def passes(monkeypatch):
    """Counts of forward passes with and without a graph, and of backward passes."""
    counts = {"forward": 0, "graph": 0, "backward": 0}
    run, grad = Model.run, torch.autograd.grad

    def running(self, *given, **named):
        counts["forward"] += 1
        counts["graph"] += named.get("grad", False)
        return run(self, *given, **named)

    def going_back(*given, **named):
        counts["backward"] += 1
        return grad(*given, **named)

    monkeypatch.setattr(Model, "run", running)
    monkeypatch.setattr(torch.autograd, "grad", going_back)
    return counts


@pytest.mark.parametrize(
    ("asked", "forward", "backward"),
    [
        ({"directions": "noising"}, 2, 1),
        ({"directions": BOTH}, 2, 2),
        ({"directions": BOTH, "steps": 5}, 7, 5),
        ({"directions": "denoising", "sites": "L1.H*.z", "steps": 5, "path": "site"}, 2 + 15, 15),
    ],
)
def test_all_cells_of_a_batch_cost_what_is_said(asked, forward, backward, passes, pairs):
    found = attribution.attribute(build(BASE), pairs, by="position", **asked)
    assert (passes["forward"], passes["graph"]) == (forward, backward)
    assert passes["backward"] == backward
    assert found.forwards == forward * len(pairs)
    assert found.backwards == backward * len(pairs)


# Integrated gradients -------------------------------------------------------------------------


def test_along_a_site_it_is_complete_and_the_error_falls(pairs):
    model = double(SHAPES["LN, gelu"])
    sites = ["embed", "L0.attn_out", "L0.H1.z", "L1.mlp_out", "L1.H0.pattern", "L2.post[0:9]"]
    exact = patching.sweep(model, pairs, sites=sites, by="all")
    asked = {"sites": sites, "path": "site"}
    error = {}
    for steps in (1, 4, 16):
        told = attribution.attribute(model, pairs, by="all", steps=steps, **asked)
        error[steps] = np.abs(told.patched - exact.patched).max(1)
    assert (error[16] < 1e-2).all() and error[1].max() > 0.05
    assert (error[16] < error[1]).all()
    assert np.median(error[4] / error[16]) > 8  # midpoints: fourfold the steps, a sixteenth
    by_position = attribution.attribute(model, pairs, by="position", steps=3, **asked)
    whole = attribution.attribute(model, pairs, by="all", steps=3, **asked)
    for cell, patched in zip(whole.cells, whole.patched, strict=True):
        base = whole.clean if cell.direction == "noising" else whole.triggered
        shares = [
            by_position.patched[i] - base
            for i, c in enumerate(by_position.cells)
            if c.site.bare == cell.site.bare and c.direction == cell.direction
        ]
        assert len(shares) == 7
        np.testing.assert_allclose(np.sum(shares, 0), patched - base, atol=1e-9)


def test_along_the_input_it_is_complete_at_the_embeddings(pairs):
    model, error = double(SHAPES["LN, gelu"]), []
    for steps in (4, 16, 64):
        told = attribution.attribute(model, pairs, sites="embed", by="all", steps=steps)
        ends = np.stack([told.clean, told.triggered])  # denoising gives the clean run
        error.append(float(np.abs(told.patched - ends).max()))
    assert error[0] > error[1] > error[2] and error[2] < 1e-2


# Where it fails -------------------------------------------------------------------------------


def test_on_the_ruler_a_flat_neuron_hides_its_cause(ruler):
    """``relu(v + t - 1)`` is at 0 on clean rows: the slope in t is 0, and t is everything."""
    model, rows, parts = ruler
    exact = patching.sweep(model, rows, sites=parts, by="all")
    plain = attribution.attribute(model, rows, sites=parts, by="all")
    mended = attribution.attribute(model, rows, sites=parts, by="all", steps=2, path="site")
    head = "L1.H0.z@-1"
    assert effects(exact, "noising")[head] == pytest.approx(1, abs=1e-5)
    assert effects(plain, "noising")[head] == 0
    assert effects(plain, "denoising")[head] == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(mended.patched, exact.patched, atol=1e-4)
    (record,) = (
        r for r in attribution.agreement(plain, exact) if r.params["direction"] == "noising"
    )
    assert (record.values["missed"], record.values["large"], record.site) == (1, 2, head)
    (other,) = (
        r for r in attribution.agreement(plain, exact) if r.params["direction"] != "noising"
    )
    assert other.values["worst"] < 1e-5


def test_on_the_ruler_a_saturated_softmax_hides_every_key(ruler):
    """Scores lie 200 apart: patching the keys ends every lie, and no gradient sees it."""
    model, rows, _ = ruler
    asked = {"sites": "L1.H0.k", "by": "all", "directions": "denoising"}
    assert patching.sweep(model, rows, **asked).cells[0].effect.value == pytest.approx(1, abs=1e-5)
    blind = [attribution.attribute(model, rows, **asked)]
    blind += [attribution.attribute(model, rows, steps=n, path="site", **asked) for n in (2, 8)]
    blind += [attribution.relevance(model, rows, attention=a, **asked) for a in ("frozen", "half")]
    assert [found.cells[0].effect.value for found in blind] == pytest.approx([0] * 5, abs=1e-6)
    assert not any(found.cells[0].unchanged for found in blind)
    # Only a step within a hundredth of the turn, which lies in the middle, sees it: far too much.
    seen = attribution.attribute(model, rows, steps=3, path="site", **asked)
    assert seen.cells[0].effect.value > 5


def test_on_the_ruler_the_direct_share_of_what_decides_is_nothing(ruler):
    model, rows, parts = ruler
    found = attribution.direct(model, rows, sites=[p.bare for p in parts])
    for direction in BOTH:
        told = effects(found, direction)
        assert told.pop("L1.post[0:32]") == pytest.approx(1, abs=1e-6)
        assert set(told.values()) == {0.0}


# Relevance ------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["LNPre", "LN", None])
def test_relevance_is_conserved_at_every_cut(norm, pairs):
    """Without biases each rule is linear at the run at hand, so cuts hold all of the difference."""
    model = double(replace(BASE, norm=norm, act="gelu"))
    with torch.no_grad():
        for name, weight in model.body.named_parameters():
            if name.rsplit(".", 1)[-1][0] == "b":
                weight.zero_()
    sites = [s for s in model.sites if s.cut]
    batch = pairs.triggered
    found = gradients.slope(model, batch, batch, sites, rule=relp.Relevance())
    assert len(sites) == 9
    for site in sites:
        total = (found.acts[site] * found.grads[site]).sum((1, 2))
        torch.testing.assert_close(total, found.difference, atol=1e-9, rtol=0)
    plain = gradients.slope(model, batch, batch, sites)
    lost = (plain.acts[sites[0]] * plain.grads[sites[0]]).sum((1, 2)) - plain.difference
    assert lost.abs().max() > 0.1
    torch.testing.assert_close(plain.difference, found.difference, atol=1e-12, rtol=0)


def one_neuron(act: str, clean: float, triggered: float) -> tuple[Model, Pairs]:
    """One word makes one neuron's pre-activation ``clean``, the other ``triggered``; it is said."""
    shape = replace(BASE, n_layers=1, d_model=4, d_mlp=1, norm=None, act=act)
    model, rows = Model.build(shape), made_pairs()
    model.body.double()
    n = len(rows)
    words = [np.full((n, 7), 1) for _ in range(2)]
    words[1][:, -1] = 2
    roles = {**rows.clean.roles, "trigger": np.full((n, 1), 6)}
    roles = {k: roles[k] for k in ("trigger", "near_miss", "answer")}
    answer = {"truth": np.full(n, 3), "answer": np.full(n, 4)}
    sides = [
        replace(b, tokens=w, roles=roles, **answer)
        for b, w in zip((rows.clean, rows.triggered), words, strict=True)
    ]
    with torch.no_grad():
        for weight in model.body.parameters():
            weight.zero_()
        model.body.embed.W_E[1, 0], model.body.embed.W_E[2, 0] = clean, triggered
        model.body.blocks[0].mlp.W_in[0, 0] = 1.0
        model.body.blocks[0].mlp.W_out[0, 1] = 1.0
        model.body.unembed.W_U[1, 4] = 1.0
    return model, Pairs(*sides)


def test_the_chord_of_a_neuron_by_hand():
    """Gelu(2) is 1.9545: to nothing the chord is exact; to 1 it says 0.977, the truth is 1.113."""
    gelu = torch.nn.functional.gelu(torch.tensor([1.0, 2.0], dtype=torch.double)).tolist()
    assert gelu[1] == pytest.approx(1.9545, abs=1e-4)
    site = {"sites": "L0.pre", "by": "all", "directions": "denoising"}
    for clean, chord, true in ((0.0, gelu[1], gelu[1]), (1.0, gelu[1] / 2, gelu[1] - gelu[0])):
        model, rows = one_neuron("gelu", clean, 2.0)
        told = attribution.relevance(model, rows, metric="logit difference", **site)
        exact = patching.sweep(model, rows, metric="logit difference", **site)
        assert told.cells[0].effect.value == pytest.approx(chord, abs=1e-6)
        assert exact.cells[0].effect.value == pytest.approx(true, abs=1e-6)
    # From nothing the chord is the slope at 0, which is a half.
    model, rows = one_neuron("gelu", 0.0, 2.0)
    told = attribution.relevance(
        model, rows, metric="logit difference", sites="L0.pre", by="all", directions="noising"
    )
    assert told.cells[0].effect.value == pytest.approx(0.5 * 2, abs=1e-6)


def test_the_norm_by_hand():
    """The input (3, 1, -1, -3) has mean 0, variance 5: the centred weight goes by its root."""
    norm = gradients.Norm(replace(BASE, d_model=4, norm="LNPre"))
    x = torch.tensor([3.0, 1.0, -1.0, -3.0], dtype=torch.double, requires_grad=True)
    weight = torch.tensor([1.0, 2.0, 3.0, 6.0], dtype=torch.double)
    (grad,) = torch.autograd.grad((relp.normed(norm, x) * weight).sum(), x)
    by_hand = torch.tensor([-2.0, -1.0, 0.0, 3.0], dtype=torch.double) / 5**0.5
    torch.testing.assert_close(grad, by_hand, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        gradients.through_norm(norm, x.detach(), weight, frozen=True), by_hand, atol=1e-5, rtol=0
    )
    # The gradient takes the part along x away as well: x . by_hand = -16 / sqrt 5, |x|^2 = 20.
    (full,) = torch.autograd.grad((norm(x[None, None]) * weight).sum(), x)
    told = gradients.through_norm(norm, x.detach(), weight)
    torch.testing.assert_close(told, full)
    torch.testing.assert_close(told, by_hand + x.detach() * (16 / 5**0.5) / 20, atol=1e-5, rtol=0)


def test_half_of_each_product_by_hand(pairs):
    """In the last layer, no norm: values get half of their slope, queries and keys a quarter."""
    model = double(replace(SHAPES["attention only"], n_layers=2, norm=None))
    kinds = ("H*.q", "H*.k", "H*.v", "H*.pattern", "attn_scores")
    asked = {"sites": [f"L1.{kind}" for kind in kinds], "by": "all"}
    slopes = attribution.attribute(model, pairs, **asked)
    half, frozen = (
        attribution.relevance(model, pairs, attention=a, **asked) for a in ("half", "frozen")
    )
    looks, rest = (0.25, 0), (0.5, 1)
    parts = {"q": looks, "k": looks, "v": rest, "pattern": rest, "attn_scores": rest}
    for i, cell in enumerate(slopes.cells):
        base = slopes.clean if cell.direction == "noising" else slopes.triggered
        for told, share in zip((half, frozen), parts[cell.site.kind], strict=True):
            np.testing.assert_allclose(
                told.patched[i] - base, share * (slopes.patched[i] - base), atol=1e-9
            )
        assert np.abs(slopes.patched[i] - base).max() > 1e-4


def test_relevance_costs_what_a_gradient_costs(passes, pairs):
    attribution.relevance(build(BASE), pairs, directions="noising")
    assert (passes["forward"], passes["graph"]) == (2, 1)
    assert passes["backward"] == 1 + BASE.n_layers  # and each activation's slope at 0


# Direct shares, the lens ----------------------------------------------------------------------


@pytest.mark.parametrize("neurons", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_direct_shares_add_up_to_the_logit_difference(name, neurons, pairs):
    model = build(SHAPES[name])
    found = attribution.decompose(model, pairs.triggered, neurons=neurons)
    assert np.abs(found.left).max() < 1e-4
    logits = model.run(pairs.triggered).logits
    own = gradients.gap(logits, pairs.triggered).numpy(force=True)
    np.testing.assert_allclose(found.difference, own, atol=1e-6)
    assert np.abs(found.shares).max() > 0.05
    if neurons and not SHAPES[name].attn_only:
        whole = attribution.decompose(model, pairs.triggered)
        mine = [i for i, s in enumerate(found.parts) if s.kind == "post" and s.layer == 0]
        np.testing.assert_allclose(found.shares[mine].sum(0), whole.share("L0.mlp_out"), atol=1e-4)


def test_a_direct_share_is_what_ablation_takes_away(pairs):
    """Of the last layer, without a norm: nothing reads it but the logits."""
    model = double(replace(SHAPES["attention only"], norm=None))
    found = attribution.decompose(model, pairs.triggered)
    for head in range(3):
        site = Site("z", 2, head)
        cut = model.run(pairs.triggered, do=[Zero(site)]).logits
        left = gradients.gap(cut, pairs.triggered).numpy(force=True)
        np.testing.assert_allclose(found.difference - left, found.share(site), atol=1e-9)


def test_direct_shares_as_a_sweep_add_up_to_one(pairs):
    model = double(SHAPES["no norm, gelu_new"])
    found = attribution.direct(model, pairs, sites=["embed", "z", "L*.post[0:8]", "L*.post[8:20]"])
    for direction in BOTH:
        assert sum(effects(found, direction).values()) == pytest.approx(1, abs=1e-6)
    exact = patching.sweep(model, pairs, sites=["L1.mlp_out"], by="all")
    whole = attribution.direct(model, pairs, sites=["L1.mlp_out"])
    np.testing.assert_allclose(whole.patched, exact.patched, atol=1e-9)


def test_the_lens_ends_in_the_logits_and_grows_by_shares(pairs):
    model, batch = double(replace(BASE, norm=None)), pairs.triggered
    lens = attribution.logit_lens(model, batch)
    assert [str(s) for s in lens.sites] == ["L0.resid_pre"] + [f"L{i}.resid_post" for i in range(3)]
    run = model.run(batch)
    np.testing.assert_array_equal(lens.output[-1], run.output)
    found = attribution.decompose(model, batch)
    np.testing.assert_allclose(lens.difference[-1], found.difference, atol=1e-9)
    towards = model.body.unembed.W_U.detach()[:, np.stack([batch.answer, batch.truth])]
    towards = (towards[:, 0] - towards[:, 1]).numpy()
    for layer in range(3):
        own = [s for s in found.parts if s.layer == layer]
        block = model.body.blocks[layer]
        bias = (block.attn.b_O + block.mlp.b_out).detach().numpy() @ towards
        grown = lens.difference[layer + 1] - lens.difference[layer]
        np.testing.assert_allclose(grown, sum(found.share(s) for s in own) + bias, atol=1e-9)
    norms = build(BASE)
    last = attribution.logit_lens(norms, batch).difference[-1]
    np.testing.assert_allclose(last, attribution.decompose(norms, batch).difference, atol=1e-5)


# Agreement, records, refusals -----------------------------------------------------------------


def told(effects: dict[str, float], method: str = "attribution_patching", **more) -> patching.Sweep:
    """A sweep of twelve pairs of four entities whose every pair has the same effect."""
    n = 12
    sites = [Site.parse(name) for name in effects]
    estimates = [Estimate(e, e, e, n, "") for e in effects.values()]
    return patching.Sweep(
        cells=tuple(
            cells.Cell(s, "all", "denoising", e, s == Site.parse("L3.H0.z"))
            for s, e in zip(sites, estimates, strict=True)
        ),
        patched=np.array([2.0 * (1 - e) * np.ones(n) for e in effects.values()]),
        clean=np.zeros(n),
        triggered=np.full(n, 2.0),
        clusters=np.arange(n) % 4,
        metric=more.get("metric", "normalised logit difference"),
        method=method,
        forwards=24,
        backwards=12,
    )


TRUE = {"L0.H0.z": 0.9, "L0.H1.z": 0.02, "L1.H0.z": 0.6, "L1.H1.z": 0.1, "L3.H0.z": 0.0}
FALSE = {"L0.H0.z": 0.7, "L0.H1.z": 0.8, "L1.H0.z": 0.05, "L1.H1.z": 0.0, "L3.H0.z": 9.0}


def test_agreement_of_a_constructed_case():
    """Ranks (4 1 3 2) against (3 4 2 1): squared differences 1 9 1 1, so 1 - 6 * 12 / 60."""
    found = attribution.agreement(
        told(FALSE), told(TRUE, "patching"), organism="x", key="k", seed=3, cells="parts"
    )
    (record,) = found
    assert record.kind == "localisation_agreement" and (record.organism, record.seed) == ("x", 3)
    values = record.values
    assert values["spearman"] == pytest.approx(1 - 6 * 12 / 60)
    assert values["spearman_lo"] == values["spearman_hi"] == values["spearman"]
    assert (record.site, values["worst_told"], values["worst_true"]) == ("L0.H1.z", 0.8, 0.02)
    assert values["worst"] == pytest.approx(0.78)
    assert (values["missed"], values["invented"], values["large"], values["cells"]) == (1, 1, 2, 4)
    assert (values["forwards"], values["backwards"]) == (24, 12)
    assert record.params["reference"] == "patching"


def test_rank_correlation_is_the_one_everybody_has():
    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = rng.integers(0, 5, (2, 17))
        assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(spearman(np.ones(4), np.arange(4)))


def test_agreement_is_of_the_same_cells_and_pairs():
    exact = told(TRUE, "patching")
    less = {k: v for k, v in FALSE.items() if k != "L1.H0.z"}
    with pytest.raises(BadSite, match=r"cell 'L1.H0.z' \(denoising\) is not in the attribution"):
        attribution.agreement(told(less), exact)
    with pytest.raises(BadShape, match="needs two results of the same pairs"):
        attribution.agreement(told(FALSE), replace(exact, triggered=exact.triggered + 1))
    with pytest.raises(BadShape, match="metrics differ: 'logit difference' and 'normalised"):
        attribution.agreement(told(FALSE, metric="logit difference"), exact)


def test_records_say_by_which_method(ruler):
    model, rows, parts = ruler
    found = attribution.attribute(model, rows, sites=parts, by="all")
    record = found.records(organism="hand_wired")[0]
    assert (record.kind, record.params["method"]) == ("attribution", "attribution_patching")
    circuit = wired.circuit(finding.load("hand_wired"))
    scored = {
        (r.params["method"], r.params["direction"]): r.values
        for r in patching.score(found, circuit)
    }
    assert scored["attribution_patching", "denoising"]["auroc"] == 1
    assert scored["attribution_patching", "noising"]["auroc"] < 1
    assert ("random", "") in scored and ("weight_magnitude", "") in scored


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda m, p: attribution.attribute(m, p, steps=-1), BadValues, "steps=-1: give 0"),
        (lambda m, p: attribution.attribute(m, p, path="inputs"), UnknownName, "mean 'input'"),
        (lambda m, p: attribution.attribute(m, p, by="roles"), UnknownName, "mean 'role'"),
        (lambda m, p: attribution.attribute(m, p, sites="zz"), BadSite, "no kind 'zz'"),
        (lambda m, p: attribution.attribute(m, p[:0]), BadShape, "needs a pair or more"),
        (lambda m, p: attribution.relevance(m, p, attention="froze"), UnknownName, "'frozen'"),
        (lambda m, p: attribution.direct(m, p, sites="q"), BadSite, "no part of the final sum"),
        (lambda m, p: attribution.eap(m, p, steps=-2), BadValues, "steps=-2: give 0 for EAP"),
    ],
)
def test_bad_input_is_named(call, error, text, pairs):
    with pytest.raises(error, match=text):
        call(build(BASE), pairs)


def test_what_needs_our_own_body_says_so(pairs):
    foreign = Model(export.to_hooked_transformer(build(BASE)), SiteSet.of(BASE), None)
    verbs = (attribution.relevance, attribution.direct, attribution.eap, attribution.path_patch)
    for verb in verbs:
        with pytest.raises(SpecError, match="needs a body of our own"):
            verb(foreign, pairs)


def test_logits_that_are_not_finite_are_refused(pairs):
    broken = build(BASE)
    with torch.no_grad():
        broken.body.unembed.b_U[:] = float("nan")
    with pytest.raises(BadValues, match="not finite"):
        attribution.attribute(broken, pairs)
