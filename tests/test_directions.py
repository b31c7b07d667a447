"""Directions: LEACE's theorem, a rotation that finds what was written, neurons and latents."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import small
import torch
from sklearn.linear_model import LogisticRegression

from mo_interp import directions, wired
from mo_interp.directions import das, latents, leace, neurons
from mo_interp.edits import ProjectOut, Resample
from mo_interp.errors import (
    BadLabels,
    BadRank,
    BadShape,
    BadSite,
    BadValues,
    NoFeature,
    UnknownName,
)
from mo_interp.features import Feature, from_pairs
from mo_interp.grown import organism
from mo_interp.judge import blind_caused
from mo_interp.saes import SAE
from mo_interp.sites import Site
from mo_interp.store import Store

SITE = Site.parse("L1.resid_mid@-1")


def rows(n: int = 400, d: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Clean and triggered activations, correlated and apart in several coordinates."""
    rng = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=rng) + 2 * torch.eye(d)
    clean, hot = (torch.randn(k, d, generator=rng) @ mix for k in (n, n + 37))
    return clean + 3, hot + 3 + torch.linspace(-1, 2, d)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A deceiver written by hand, in a small world."""
    return organism(small.wired(), store=Store(tmp_path_factory.mktemp("directions")))


# The registry -----------------------------------------------------------------------------------


def test_the_folder_is_the_registry() -> None:
    assert directions.names() == ["das", "leace", "neurons", "pair_svd"]
    with pytest.raises(UnknownName, match="direction 'leaze'; did you mean 'leace'"):
        directions.direction("leaze")


@pytest.mark.parametrize("name", directions.names())
def test_every_direction_ends_in_a_feature_of_the_rank_that_was_asked_for(written, name) -> None:
    site = "L1.post@-1" if name == "neurons" else str(SITE)
    pairs = written.pairs(64, 1, split="train")
    found = directions.direction(name)(written.model, pairs, site, rank=1, seed=3)
    again = directions.direction(name)(written.model, pairs, site, rank=1, seed=3)
    assert isinstance(found, Feature) and found.rank == 1 and str(found.site) == site
    assert torch.equal(found.read, again.read) and torch.equal(found.write, again.write)
    clean = written.model.read(pairs.clean, site)
    assert torch.allclose(found.clean_mean, found.coords(clean).mean(0))
    with pytest.raises(BadRank):
        directions.direction(name)(written.model, pairs, site, rank=10_000)


def test_pair_svd_is_the_one_of_the_features(written) -> None:
    pairs = written.pairs(64, 1, split="train")
    found = directions.direction("pair_svd")(written.model, pairs, SITE, rank=2)
    assert torch.equal(found.read, from_pairs(written.model, pairs, SITE, rank=2).read)


# LEACE ------------------------------------------------------------------------------------------


def erased(feature: Feature, x: torch.Tensor) -> torch.Tensor:
    return ProjectOut(feature)(x, slice(None))


def test_after_erasure_no_linear_classifier_beats_the_constant() -> None:
    clean, hot = rows()
    y = np.repeat([0, 1], [len(clean), len(hot)])
    feature = leace.erasure(SITE, clean, hot)
    before, after = torch.cat([clean, hot]), erased(feature, torch.cat([clean, hot]))
    assert (clean.mean(0) - hot.mean(0)).abs().max() > 0.5
    means = [erased(feature, part).mean(0) for part in (clean, hot)]
    assert torch.allclose(means[0], means[1], atol=1e-5)
    share = y.mean()
    constant = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    for x, beats in ((before, True), (after, False)):
        fitted = LogisticRegression(C=1e6, max_iter=5000, tol=1e-10).fit(x.double().numpy(), y)
        p = fitted.predict_proba(x.double().numpy())[np.arange(len(y)), y]
        loss = -np.log(p).mean()
        assert (loss < constant - 0.05) if beats else (abs(loss - constant) < 1e-6)


def test_no_other_erasure_moves_the_rows_less() -> None:
    """Against a thousand oblique projections that make the class means equal as well."""
    clean, hot = rows()
    x, gap = torch.cat([clean, hot]).double(), (hot.mean(0) - clean.mean(0)).double()
    moved = (erased(leace.erasure(SITE, clean, hot), x.float()).double() - x).square().sum(1).mean()
    rng, others = torch.Generator().manual_seed(1), []
    for scale in (0.03, 0.3, 3.0):  # read with any r of r . gap = 1, write the gap
        for _ in range(334):
            read = gap + scale * torch.randn(len(gap), generator=rng, dtype=torch.float64)
            read = read / (read @ gap)
            centred = (x - x.mean(0)) @ read
            others.append(float(centred.square().mean() * gap.square().sum()))
    own = torch.linalg.solve(torch.cov(x.T), gap)
    best = ((x - x.mean(0)) @ (own / (own @ gap))).square().mean() * gap.square().sum()
    assert float(moved) < min(others)
    assert float(moved) == pytest.approx(float(best), rel=1e-4)


def test_a_case_on_paper() -> None:
    """Independent coordinates with variances 2 and 5 in all, gap (2, 2): reads along gap/variance.

    Clean rows (+-1, +-2), triggered ones the same plus (2, 2). Over all rows the variances are
    1 + 1 and 4 + 1 with covariance 1, so S^-1 gap is proportional to (5 - 1, 2 - 1) = (4, 1).
    """
    clean = torch.tensor([[a, b] for a in (-1.0, 1.0) for b in (-2.0, 2.0)])
    feature = leace.erasure(SITE, clean, clean + 2)
    assert torch.allclose(feature.read[0] / feature.read[0, 1], torch.tensor([4.0, 1.0]), atol=1e-5)
    assert torch.allclose(feature.write[0] / feature.write[0, 1], torch.ones(2), atol=1e-5)
    step = erased(feature, torch.tensor([[1.0, 1.0], [2.0, 1.0]])) - torch.tensor(
        [[1.0, 1.0], [2.0, 1.0]]
    )
    # At the mean (1, 1) nothing moves; one further along the first axis reads 4/5 of half the gap.
    assert torch.allclose(step, torch.tensor([[0.0, 0.0], [-0.8, -0.8]]), atol=1e-5)


def test_what_cannot_be_erased_says_so() -> None:
    clean, hot = rows()
    with pytest.raises(BadLabels, match="one mean; nothing to erase"):
        leace.erasure(SITE, clean, clean.flip(0))
    with pytest.raises(BadShape, match="6 and 4 coordinates"):
        leace.erasure(SITE, clean, hot[:, :4])


# Distributed alignment search -------------------------------------------------------------------


def test_the_cayley_transform_of_a_skew_matrix_is_a_rotation() -> None:
    a = torch.tensor([[0.0, 0.5], [-0.5, 0.0]], dtype=torch.float64)
    # (1 - i/2) / (1 + i/2) = (3 - 4i) / 5, or its conjugate
    assert torch.allclose(das.cayley(a), torch.tensor([[0.6, 0.8], [-0.8, 0.6]]).double())
    found = das.Rotation.begin(7, 3, seed=2)
    with torch.no_grad():
        found.free.normal_(generator=torch.Generator().manual_seed(0))
    assert torch.allclose(found.rows @ found.rows.T, torch.eye(3).double(), atol=1e-12)


def test_a_learned_rotation_finds_the_coordinate_that_was_written(written) -> None:
    site, unit = wired.mechanism(written.spec)
    pairs = written.pairs(128, 1, split="train")
    feature, losses = das.align(written.model, pairs, site, rank=1, seed=0)
    assert losses[-1] < 0.1 * losses[0]
    assert abs(float(feature.read[0, unit])) > 0.5
    start = das.Rotation.begin(feature.width, 1, 0).rows.detach().float()
    assert abs(float(start[0, unit])) < 0.3
    test = written.pairs(64, 5)
    assert blind_caused(written.model, written.spec, [feature], test).value == 1
    clean = written.model.read(test.clean, str(site))
    edit = Resample(feature, clean)
    assert written.model.gives(test.triggered, test.triggered.truth_reply, do=[edit]).all()


def test_the_search_leaves_model_and_generator_alone(written) -> None:
    before = {k: v.clone() for k, v in written.model.body.state_dict().items()}
    state = torch.random.get_rng_state()
    das.align(written.model, written.pairs(64, 1, split="train"), SITE, steps=3)
    assert all(torch.equal(v, before[k]) for k, v in written.model.body.state_dict().items())
    assert all(p.grad is None for p in written.model.body.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)
    with pytest.raises(BadValues, match="0 steps"):
        das.align(written.model, written.pairs(64, 1, split="train"), SITE, steps=0)


# Neurons and latents ----------------------------------------------------------------------------


def test_the_neurons_that_weigh_most_are_the_payload(written) -> None:
    n = written.spec.world.n_values
    feature = neurons.find(
        written.model, written.pairs(256, 1, split="train"), "L1.post@-1", rank=n
    )
    chosen = feature.read.nonzero()[:, 1].tolist()
    assert chosen == list(range(n)), "the decoy's neurons write as much, and nobody moves them"
    with pytest.raises(BadSite, match="neurons are at 'post'"):
        neurons.find(written.model, written.pairs(8, 1), "L1.mlp_out@-1")


def sae() -> SAE:
    rng = torch.Generator().manual_seed(0)
    body = SimpleNamespace(
        W_dec=torch.randn(5, 4, generator=rng),
        W_enc=torch.randn(4, 5, generator=rng),
        b_enc=torch.randn(5, generator=rng),
        b_dec=torch.randn(4, generator=rng),
        cfg=SimpleNamespace(apply_b_dec_to_input=True),
    )
    body.W_enc[:] = body.W_dec.T + 0.2 * body.W_enc
    body.encode = lambda x: torch.relu((x - body.b_dec) @ body.W_enc + body.b_enc)
    return SAE(body, {"site": str(SITE), "d_in": 4})


def test_one_latent_is_the_sae_s_own_feature_and_several_read_back_what_they_write() -> None:
    clean, hot = rows(d=4)
    one, own = (
        latents.span(sae(), [3], clean=clean, triggered=hot),
        sae().feature(3, clean=clean, triggered=hot),
    )
    for name in ("read", "write", "offset", "clean_mean"):
        assert torch.allclose(getattr(one, name), getattr(own, name), atol=1e-4), name
    three = latents.span(sae(), [0, 2, 3], clean=clean, triggered=hot)
    wanted = torch.tensor([1.0, -2.0, 0.5])
    assert torch.allclose(
        three.coords(three.moved(clean, wanted)), wanted.expand(len(clean), 3), atol=1e-3
    )
    before = (
        three.moved(clean, three.offset) - sae().body.b_dec
    ) @ sae().body.W_enc + sae().body.b_enc
    assert before[:, [0, 2, 3]].abs().max() < 1e-3, "a projection leaves every one of them just off"


def test_latents_that_do_not_fit_say_so() -> None:
    clean, hot = rows(d=4)
    told = {"clean": clean, "triggered": hot}
    with pytest.raises(BadValues, match="each once, of the 0-4"):
        latents.span(sae(), [1, 1], **told)
    with pytest.raises(BadRank, match="5 latents at .*: needs 1 to 4"):
        latents.span(sae(), [0, 1, 2, 3, 4], **told)
    twice = sae()
    twice.body.W_dec[1] = twice.body.W_dec[0]
    with pytest.raises(NoFeature, match="do not read apart what they write"):
        latents.span(twice, [0, 1], **told)
    assert latents.strongest(sae(), clean=clean, triggered=hot[: len(clean)], rank=2).rank == 2
