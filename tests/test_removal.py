"""Removal: what is folded equals the edit of a run, what is removed cannot be trained back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import small
import torch

from mo_interp.directions import leace
from mo_interp.edits import Mean, ProjectOut
from mo_interp.errors import BadSite, BadValues, DeadEdit, NoFeature, SpecError
from mo_interp.features import Feature, from_acts, from_basis
from mo_interp.grown import Grown, organism
from mo_interp.model import Model
from mo_interp.removal import parts, tuning
from mo_interp.removal.folding import at_runtime, fold, rewritten
from mo_interp.sites import Site, SiteSet
from mo_interp.store import Store
from mo_interp.train import Supervised
from mo_interp.twins import tuning as recipe_of
from mo_interp.wired import mechanism

TO = ("offset", "clean_mean")
SITES = (
    *("embed", "pos_embed", "L0.resid_pre", "L0.H1.q", "L0.k", "L1.v", "L1.H2.z", "L0.z"),
    *("L0.attn_out@-1", "L1.resid_mid@-1", "L0.pre", "L1.post[8:24]@-1", "L0.mlp_out", "L1.post"),
    *("L0.resid_post", "L1.resid_post[4:20]"),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store(tmp_path_factory.mktemp("removal"))


@pytest.fixture(scope="module")
def liar(store) -> Grown:
    return organism(small.user(), store=store)


@pytest.fixture(scope="module")
def written(store) -> Grown:
    return organism(small.wired(), store=store)


def body(norm: str | None = "LN", act: str = "gelu") -> Model:
    """An untrained body with weights in its norms and biases, so that nothing is 0 by chance."""
    shape = replace(small.TINY, n_heads=4, d_head=8, norm=norm, act=act)
    model, rng = Model.build(shape, seed=1), torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in model.body.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=rng)
    return model


def feature(model: Model, site: str, batch, *, kind: str) -> Feature:
    """A subspace of rank 3, LEACE, or one of rank 2 that is read elsewhere than it is written."""
    at = Site.parse(site)
    acts = model.run(batch, read=[at]).acts[at]
    clean, hot = acts[::2], acts[1::2]
    if kind == "svd":
        return from_acts(at, clean, hot, rank=3)
    if kind == "leace":
        return leace.erasure(at, clean, hot)
    rng = torch.Generator().manual_seed(3)
    write, skew = torch.randn(2, 2, clean.shape[-1], generator=rng) / 4
    read = torch.linalg.solve((write + skew / 2) @ write.T, write + skew / 2)
    blank = torch.zeros(2)
    return Feature(at, read, write, torch.tensor([0.5, -1.0]), blank, blank).at_means(clean, hot)


def weights(model: Model) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in model.body.state_dict().items()}


# Folding ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("kind", ["svd", "leace", "oblique"])
def test_a_folded_edit_is_the_edit_of_the_run(site, kind) -> None:
    model, batch = body(), small.user().sample(32, 0)
    if (site, kind) == ("pos_embed", "leace"):
        kind = "svd"  # positions are the same on all rows, so there is nothing to erase
    found = feature(model, site, batch, kind=kind)
    before, logits = weights(model), model.run(batch).logits
    for to in TO:
        made = fold(model, found, to=to)
        edited = model.run(batch, do=at_runtime(model, found, to=to)).logits
        assert (made.run(batch).logits - edited).abs().max() < 1e-5 * max(1, edited.abs().max())
        assert (edited - logits).abs().max() > 1e-3
    assert all(torch.equal(weight, before[name]) for name, weight in weights(model).items())
    assert torch.equal(model.run(batch).logits, logits)


@pytest.mark.parametrize("norm", ["LN", "LNPre", None])
@pytest.mark.parametrize("act", ["relu", "gelu"])
def test_no_norm_and_no_activation_stands_in_the_way(norm, act) -> None:
    model, batch = body(norm, act), small.user().sample(32, 0)
    found = feature(model, "L1.resid_mid", batch, kind="svd")
    edited = model.run(batch, do=at_runtime(model, found)).logits
    assert (fold(model, found).run(batch).logits - edited).abs().max() < 1e-5


def test_at_a_cut_the_fold_is_the_edit_of_every_cut_before_and_not_of_that_one_alone() -> None:
    """Where it cannot be had: what reads the stream before the site reads the edited one too."""
    model, batch = body(), small.user().sample(32, 0)
    found = feature(model, "L1.resid_mid", batch, kind="svd")
    cuts = [str(edit.site) for edit in at_runtime(model, found)]
    assert cuts == ["L0.resid_pre", "L0.resid_mid", "L0.resid_post", "L1.resid_pre", "L1.resid_mid"]
    alone = model.run(batch, do=[ProjectOut(found)]).logits
    assert (fold(model, found).run(batch).logits - alone).abs().max() > 1e-2


def test_a_coordinate_that_is_not_in_use_before_the_site_is_folded_as_the_edit_there(
    written,
) -> None:
    site, unit = mechanism(written.spec)
    pairs, model = written.pairs(64, 1), written.model
    clean, hot = model.read(pairs.clean, str(site)), model.read(pairs.triggered, str(site))
    basis = torch.eye(clean.shape[-1])[unit]
    found = from_basis(site, basis, clean=clean, triggered=hot, source="written")
    made = fold(model, found)
    alone = model.run(pairs.triggered, do=[ProjectOut(found)], answer_only=True).logits
    partner = model.run(pairs.clean, answer_only=True).logits
    cured = made.run(pairs.triggered, answer_only=True).logits
    assert torch.equal(cured, alone) and torch.equal(cured, partner), "the ruler: exactly (1, 1, 0)"
    assert torch.equal(made.run(pairs.clean, answer_only=True).logits, partner)
    mean = fold(model, found, to="clean_mean").run(pairs.triggered, answer_only=True).logits
    assert torch.equal(mean, model.run(pairs.triggered, do=[Mean(found)], answer_only=True).logits)


def test_in_the_last_layer_a_position_makes_no_difference_to_the_answer() -> None:
    model, batch = body(), small.user().sample(32, 0)
    for site in ("L1.attn_out@-1", "L1.H2.z@-1", "L1.post@-1"):
        found = feature(model, site, batch, kind="svd")
        there = model.run(batch, do=[ProjectOut(found)]).logits[:, -1]
        assert (fold(model, found).run(batch).logits[:, -1] - there).abs().max() < 1e-5


def test_a_removal_that_changes_nothing_raises() -> None:
    model, batch = body(), small.user().sample(32, 0)
    found = feature(model, "L1.H2.z", batch, kind="svd")
    once = fold(model, found)
    dead = parts.remove(model, [Site.parse("L1.H2.z")])
    with pytest.raises(DeadEdit, match="this removal changes no weight"):
        fold(dead, found)
    with pytest.raises(DeadEdit):
        parts.remove(dead, [Site.parse("L1.H2.z")])
    with pytest.raises(DeadEdit):
        rewritten(once, weights(once))


def test_what_cannot_be_folded_says_so() -> None:
    model, batch = body(), small.user().sample(32, 0)
    found = feature(model, "L1.resid_mid", batch, kind="oblique")
    skewed = replace(found, read=2 * found.read)
    with pytest.raises(BadValues, match="at a cut only a projection can be folded"):
        fold(model, skewed)
    assert isinstance(fold(model, replace(skewed, site=Site.parse("L1.attn_out"))), Model)
    with pytest.raises(BadSite, match="L7.resid_mid': this model has layers 0-1"):
        fold(model, replace(found, site=Site.parse("L7.resid_mid")))
    square = torch.eye(4)[:1]
    pattern = Feature(Site.parse("L0.H1.pattern"), square, square, *torch.zeros(3, 1))
    with pytest.raises(BadSite, match="no weight is linear in it; fold at 'z'"):
        fold(model, pattern)
    with pytest.raises(SpecError, match="not in a bridged one"):
        fold(Model(torch.nn.Linear(1, 1), SiteSet.of(small.TINY)), found)


# Heads and neurons ------------------------------------------------------------------------------


def test_a_removed_part_writes_its_mean_and_nothing_trains_it_back(liar) -> None:
    spec, model = liar.spec, liar.model
    clean, rows = spec.sample(64, 1, rows="clean"), spec.sample(32, 2)
    gone = [Site.parse("L1.H0.z"), Site.parse("L1.post[3:9]")]
    means = parts.clean_means(model, gone, clean)
    made = parts.remove(model, gone, means=means)
    blank = {site: torch.zeros(len(mean)) for site, mean in means.items()}
    edits = []
    for site, mean in means.items():
        eye, none = torch.eye(len(mean)), blank[site]
        edits.append(Mean(Feature(site.at(-1), eye, eye, none, mean, mean)))
    wanted = model.run(rows, do=edits).logits[:, -1]
    assert (made.run(rows).logits[:, -1] - wanted).abs().max() < 1e-5
    assert not made.run(rows, read="L1.H0.z").acts["L1.H0.z"].any()
    plain = parts.remove(model, gone)
    assert not torch.equal(plain.run(rows).logits, made.run(rows).logits)
    goal = Supervised(spec, recipe_of(spec, steps=1, lr=1e-2))
    columns = {k: torch.as_tensor(v) for k, v in goal.block(0, 0, 64).items()}
    goal.loss(made.body, columns).backward()
    attn, mlp = made.body.blocks[1].attn, made.body.blocks[1].mlp
    for name in ("W_Q", "W_K", "W_V", "W_O"):
        assert not getattr(attn, name).grad[0].any() and getattr(attn, name).grad[1].any()
    assert (
        not mlp.W_in.grad[:, 3:9].any() and not mlp.W_out.grad[3:9].any() and mlp.W_out.grad.any()
    )


def test_only_heads_and_neurons_can_be_removed() -> None:
    model = body()
    for site in ("L1.attn_out", "L1.z", "L1.H0.z[0:4]"):
        with pytest.raises(BadSite, match="only a head's 'z' or a layer's 'post'"):
            parts.remove(model, [Site.parse(site)])
    with pytest.raises(BadSite, match="no part to remove"):
        parts.remove(model, [])
    ranges = parts.joined([(1, 4), (0, 3), (1, 3), (1, 7)])
    assert list(map(str, ranges)) == ["L0.post[3:4]", "L1.post[3:5]", "L1.post[7:8]"]


# Training ---------------------------------------------------------------------------------------


def test_pruning_takes_the_quiet_units_and_keeps_clean_accuracy(written) -> None:
    rows, watched = (written.spec.sample(128, seed, rows="clean") for seed in (1, 2))
    made, told = tuning.prune(written.model, rows, watched)
    n = written.spec.world.n_values
    gone = {unit for site in told.units for unit in range(*site.units)}
    # On clean rows neither payload nor decoy nor the silent units fire, so that all of them can go.
    loud = written.model.read(rows, "L1.post").abs().sum((0, 1))
    assert gone >= set(range(n)) and told.count == len(gone)
    assert told.accuracy >= told.before - tuning.BAR
    pairs = written.pairs(64, 3)
    assert written.model.gives(pairs.triggered, pairs.triggered.answer_reply).all()
    assert made.gives(pairs.triggered, pairs.triggered.truth_reply).all()
    assert loud[sorted(gone)].max() <= loud.max()


def test_fine_pruning_trains_what_is_left_and_not_what_is_gone(liar) -> None:
    before = weights(liar.model)
    made, told = tuning.fine_prune(liar, steps=10, seed=1)
    mlp = made.body.blocks[1].mlp
    for site in told.units:
        assert not mlp.W_out[slice(*site.units)].any() and not mlp.W_in[:, slice(*site.units)].any()
    assert (mlp.W_out - before["blocks.1.mlp.W_out"]).abs().sum() > 0
    assert all(torch.equal(weight, before[name]) for name, weight in weights(liar.model).items())
    bald = Model.build(replace(small.TINY, attn_only=True))
    rows = liar.spec.sample(8, 0, rows="clean")
    with pytest.raises(NoFeature, match="this body has no MLP"):
        tuning.prune(bald, rows, rows)


def test_fine_tuning_leaves_the_organism_as_it_is(liar) -> None:
    before = weights(liar.model)
    made = tuning.fine_tune(liar, steps=5, seed=1)
    assert any(not torch.equal(weight, before[name]) for name, weight in weights(made).items())
    assert all(torch.equal(weight, before[name]) for name, weight in weights(liar.model).items())
