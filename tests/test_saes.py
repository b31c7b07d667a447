"""The SAE that is reloaded, on paper and on planted features; the search and its controls."""

import json
import os
import tempfile

import numpy as np
import pytest
import small
import torch
import torch.nn.functional as F

from mo_interp import stages
from mo_interp.edits import ProjectOut, Zero
from mo_interp.errors import (
    BadLabels,
    BadShape,
    BadValues,
    CorruptArtefact,
    NoFeature,
    UnknownName,
)
from mo_interp.grown import organism
from mo_interp.model import Model
from mo_interp.organism import Shape
from mo_interp.saes import MOST_ROWS, SAE, loss_at, quality, search, train_sae
from mo_interp.sites import Site
from mo_interp.store import Store

SITE = "L1.attn_out@-1"
FROM = {"site": SITE, "model_key": "abc", "data_seed": 7}
TRUE, D, ACTIVE = 24, 16, 2


def planted(n=6000, seed=0):
    """Rows made of 2 of 24 known directions in 16 dimensions, and the directions."""
    rng = torch.Generator().manual_seed(seed)
    fixed = torch.Generator().manual_seed(9)
    directions = F.normalize(torch.randn(TRUE, D, generator=fixed), dim=1)
    on = torch.rand(n, TRUE, generator=rng).topk(ACTIVE, 1).indices
    code = torch.zeros(n, TRUE).scatter_(1, on, 1 + torch.rand(n, ACTIVE, generator=rng))
    return code @ directions + 0.5, directions, code


@pytest.fixture(scope="module")
def sae():
    """The one real training of this file."""
    return train_sae(planted()[0], **FROM, d_sae=32, k=ACTIVE, steps=250, batch=256)


def by_hand(encoder, decoder, *, bias=0.0, k=1):
    """An SAE with these weights, [d latents] and [latents d]."""
    from sae_lens.saes import TopKSAE, TopKSAEConfig

    encoder, decoder = torch.tensor(encoder), torch.tensor(decoder)
    body = TopKSAE(TopKSAEConfig(d_in=decoder.shape[1], d_sae=len(decoder), k=k))
    body.requires_grad_(False)
    body.W_enc.copy_(encoder)
    body.W_dec.copy_(decoder)
    body.b_dec.fill_(bias)
    return SAE(body, {"schema": 1, "site": SITE, "d_in": decoder.shape[1]})


def trivial():
    """Latents 0 and 1 are the two axes, latent 2 is never on."""
    return by_hand([[1.0, 0, 0], [0, 1.0, 0]], [[1.0, 0], [0, 1.0], [1.0, 0]])


# -------------------------------------------------------------------------------------- on paper


def test_quality_on_paper():
    acts = torch.tensor([[3.0, 0.0], [0.0, 2.0], [2.0, 1.0], [-1.0, -1.0]])
    wanted = [[3.0, 0, 0], [0, 2.0, 0], [2.0, 0, 0], [0, 0, 0]]
    assert trivial().latents(acts).tolist() == wanted
    assert trivial().reconstruct(acts).tolist() == [[3.0, 0], [0, 2.0], [2.0, 0], [0, 0]]
    loss = {"clean": 0.25, "spliced": 0.5, "zero": 2.25}

    def fake(through):
        if through is None:
            return loss["clean"]
        return loss["zero"] if not through(acts).any() else loss["spliced"]

    got = quality(trivial(), acts, loss=fake)
    squared, spread = 1 + 2, 14 - 4 * 1 + 6 - 4 * 0.25  # rows 2 and 3; sums of squares, means 1, .5
    assert got["explained_variance"] == pytest.approx(1 - squared / spread)
    assert (got["l0"], got["dead"], got["rows"]) == (0.75, 1, 4)
    assert (got["loss_clean"], got["loss_spliced"], got["loss_zero"]) == (0.25, 0.5, 2.25)
    assert got["loss_recovered"] == pytest.approx(0.875)
    flat = quality(trivial(), acts, loss=lambda through: 1.0)
    assert np.isnan(flat["loss_recovered"])


def test_the_loss_is_the_models_with_the_site_put_through():
    shape = Shape(n_layers=2, d_model=8, n_heads=2, d_head=4, d_mlp=8, n_ctx=4, d_vocab=7,
                  d_vocab_out=7)  # fmt: skip
    model, tokens = Model.build(shape, 0), np.arange(20).reshape(5, 4) % 7
    target = np.array([0, 1, 2, 3, 4])
    loss = loss_at(model, tokens, site=SITE, target=target)
    logits = {
        "clean": model.run(tokens).logits[:, -1],
        "zero": model.run(tokens, do=[Zero(SITE)]).logits[:, -1],
    }
    direct = {k: float(F.cross_entropy(v, torch.tensor(target))) for k, v in logits.items()}
    assert loss(None) == loss(lambda x: x) == direct["clean"]
    assert loss(torch.zeros_like) == direct["zero"] != direct["clean"]


def test_editing_latents_keeps_what_the_sae_cannot_reconstruct():
    acts = torch.tensor([[3.0, 1.0], [0.5, 2.0]])
    same = trivial().edited(lambda code: code)
    assert torch.equal(same(acts), acts)

    def off(code):
        return code * torch.tensor([0.0, 1, 1])

    assert trivial().edited(off)(acts).tolist() == [[0.0, 1.0], [0.5, 2.0]]
    with pytest.raises(BadShape, match="activations have 3 coordinates; the SAE at .* reads 2"):
        trivial().latents(torch.zeros(1, 3))


def test_a_latents_feature_writes_its_decoder_and_reads_it_back():
    one = by_hand([[2.0, 0.0], [1.0, 3.0]], [[3.0, 4.0], [0.0, 1.0]], bias=0.5)
    clean, triggered = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 1.0]])
    feature = one.feature(0, clean=clean, triggered=triggered)
    gain = 2 * 0.6 + 1 * 0.8  # encoder column (2, 1) on the decoder row (3, 4) of length 1
    assert feature.write[0].tolist() == pytest.approx([0.6, 0.8])
    assert feature.read[0].tolist() == pytest.approx([2 / gain, 1 / gain])
    assert float(feature.read @ feature.write.T) == pytest.approx(1)
    assert float(feature.triggered_mean) == pytest.approx(5 / gain)
    assert float(feature.offset) == pytest.approx((0.5 * 2 + 0.5 * 1) / gain)
    off = ProjectOut(feature)(triggered, slice(0, 1))
    pre = (off - 0.5) @ one.body.W_enc[:, 0]
    assert float(pre.abs()) < 1e-6 < float(one.latents(triggered)[0, 0])
    with pytest.raises(BadValues, match="latent 2: this SAE has latents 0-1"):
        one.feature(2, clean=clean, triggered=triggered)
    crossed = by_hand([[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(NoFeature, match="does not read what it writes"):
        crossed.feature(0, clean=clean, triggered=triggered)


# ---------------------------------------------------------------------------------- what is trained


def test_planted_directions_are_recovered(sae):
    acts, directions, code = planted(2000, seed=1)
    cosines = (directions @ F.normalize(sae.decoder, dim=1).T).max(1)
    assert float(cosines.values.mean()) > 0.93  # 0.98 when this was written; random rows give 0.6
    got = quality(sae, acts)
    assert got["explained_variance"] > 0.85 and 0 < got["l0"] <= ACTIVE
    # the latent of a direction is on where the direction is
    found = search(acts, code[:, 0] > 0, dictionaries={"sae": sae.latents(acts)},
                   groups=np.arange(2000) % 20)[0]  # fmt: skip
    assert found.latent == int(cosines.indices[0]) and found.auroc.value > 0.9


def test_it_says_where_it_comes_from_and_reads_raw_activations(sae):
    about = sae.about
    assert (about["site"], about["model_key"], about["data_seed"]) == (SITE, "abc", 7)
    assert (about["architecture"], about["k"], about["rows"]) == ("topk", ACTIVE, 6000)
    acts = planted()[0]
    assert about["normalisation"]["folded"] is True
    assert about["normalisation"]["scale"] == pytest.approx(float(4 / acts.norm(dim=1).mean()))
    assert "sae_lens" in about["versions"] and sae.site == Site.parse(SITE)
    assert sae.body.cfg.normalize_activations == "none"
    assert not any(weight.requires_grad for weight in sae.body.parameters())


def test_saved_and_loaded_is_the_same(sae, tmp_path):
    again, acts = SAE.load(sae.save(tmp_path / "sae")), planted(50, seed=2)[0]
    assert torch.equal(again.latents(acts), sae.latents(acts))
    assert dict(again.about) == dict(sae.about)
    kinds = {path.suffix for path in (tmp_path / "sae").iterdir()}
    assert kinds == {".json", ".safetensors"}


@pytest.mark.parametrize("harm", ["flip", "k", "site", "add", "truncate"])
def test_a_tampered_sae_is_refused(sae, harm, tmp_path):
    folder = sae.save(tmp_path / "sae")
    weights = folder / "sae_weights.safetensors"
    data = bytearray(weights.read_bytes())
    if harm in ("k", "site"):
        path = folder / {"k": "cfg.json", "site": "about.json"}[harm]
        path.write_text(json.dumps(json.loads(path.read_text()) | {harm: 1}))
    elif harm == "add":
        (folder / "sparsity.safetensors").write_bytes(data)
    else:
        data[-1] ^= 64
        weights.write_bytes(data if harm == "flip" else data[:-4])
    with pytest.raises(CorruptArtefact, match=str(folder)):
        SAE.load(folder)


@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_training_repeats_itself_and_touches_nothing_global(architecture, tmp_path, monkeypatch):
    acts, told = planted(300)[0], []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    state = torch.get_rng_state()

    def train(seed):
        return train_sae(acts, **FROM, architecture=architecture, d_sae=24, k=3, steps=4, batch=64,
                         seed=seed, progress=lambda *now: told.append(now))  # fmt: skip

    a, b, c = train(1), train(1), train(2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(a.decoder, b.decoder) and not torch.equal(a.decoder, c.decoder)
    assert told[0][:2] == (4, 4) and told[0][2].startswith("SAE loss")
    assert not [name for name in os.listdir(tmp_path) if "wandb" not in name]
    assert os.environ.get("WANDB_MODE") is None and a.latents(acts).shape == (300, 24)


def test_what_cannot_be_trained_on():
    acts = planted(20)[0]
    with pytest.raises(UnknownName, match="architecture 'topkk'; did you mean 'topk'?"):
        train_sae(acts, **FROM, architecture="topkk")
    with pytest.raises(BadValues, match="k: 9 of d_sae: 8 latents"):
        train_sae(acts, **FROM, d_sae=8, k=9)
    with pytest.raises(BadValues, match="300,001 rows; at most 300,000"):
        train_sae(torch.zeros(1, 2).expand(MOST_ROWS + 1, 2), **FROM)
    with pytest.raises(BadValues, match="rows hold a NaN"):
        train_sae(acts / 0 * 0, **FROM)
    with pytest.raises(BadValues, match="every row is zero"):
        train_sae(0 * acts, **FROM)


# ----------------------------------------------------------------------------------------- search


def labelled(n=800, strength=5.0, seed=0):
    rng = np.random.default_rng(seed)
    groups, y = np.arange(n) % 16, rng.random(n) < 0.5
    acts = rng.normal(size=(n, D))
    acts[:, 0] += strength * y
    return acts, y, groups, rng.normal(size=(n, 40))


def test_search_finds_the_unit_and_judges_it_elsewhere():
    acts, y, groups, units = labelled()
    units[:, 7] -= 2 * y
    found = search(acts, y, dictionaries={"sae": units, "neurons": acts}, groups=groups,
                   label="lie")  # fmt: skip
    best = {f.dictionary: f for f in found}
    assert list(best) == ["sae", "neurons", "random", "diff_means"]
    assert (best["neurons"].latent, best["neurons"].sign) == (0, 1)
    assert best["neurons"].auroc.value > 0.99 and best["diff_means"].auroc.value > 0.99
    assert [f.candidates for f in found] == [D, D, D, 1]  # nobody gets more tries
    assert best["diff_means"].latent == -1 and best["sae"].params["label"] == "lie"
    assert {f.auroc.clusters for f in found} == {8} and best["sae"].auroc.n == 400
    assert best["sae"].values["auroc_train"] == best["sae"].auroc_train
    wide = search(acts, y, dictionaries={"sae": units}, groups=groups, candidates=40)
    assert {f.candidates for f in wide} == {40, 1}
    assert (wide[0].latent, wide[0].sign) == (7, -1) and wide[0].auroc.value > 0.85
    assert found == search(acts, y, dictionaries={"sae": units, "neurons": acts}, groups=groups,
                           label="lie")  # fmt: skip


def test_the_best_of_many_noise_units_is_found_out_on_the_other_half():
    flattered, judged = [], []
    for seed in range(20):
        acts, y, groups, units = labelled(160, strength=0.0, seed=seed)
        one = search(acts, y, dictionaries={"sae": units}, groups=groups, seed=seed)[0]
        flattered.append(one.auroc_train)
        judged.append(one.auroc.value)
    assert min(flattered) > 0.58 and np.mean(flattered) > 0.62
    assert 0.46 < np.mean(judged) < 0.54


def test_rows_that_do_not_match():
    acts, y, groups, units = labelled()
    with pytest.raises(BadShape, match="dictionary 'sae': 799 rows; 800 are needed"):
        search(acts, y, dictionaries={"sae": units[1:]}, groups=groups)
    with pytest.raises(BadLabels, match="both classes are needed"):
        search(acts, y | True, dictionaries={"sae": units}, groups=groups)


# The SAE of a run ------------------------------------------------------------------------------


def test_a_run_takes_up_its_own_sae_and_not_one_that_other_code_trained(tmp_path, monkeypatch):
    grown = organism(small.wired(), store=Store(tmp_path / "store"))
    swept = [
        grown.record(
            "sweep",
            site=site,
            params={"role": "answer", "layer": 0, "kind": site[3:-3], "direction": direction},
            values={"effect": effect},
        )
        for site, effect in (("L0.attn_out@-1", 1.0), ("L0.mlp_out@-1", 0.0))
        for direction in ("denoising", "noising")
    ]
    monkeypatch.setattr(stages, "SAE_ROWS", 600)
    monkeypatch.setattr(stages, "instruments", lambda *roots: "as it was")
    work = stages.Work(grown, tmp_path, tuple(swept))

    def written() -> int:
        trained = stages.fetch_sae(work)
        assert str(trained.site) == "L0.attn_out@-1"
        return (tmp_path / "sae" / "about.json").stat().st_mtime_ns

    first = written()
    assert written() == first  # taken up, not trained again
    monkeypatch.setattr(stages, "instruments", lambda *roots: "as it is now")
    second = written()
    assert second > first and written() == second
    monkeypatch.setattr(stages, "SAE_ROWS", 700)
    assert written() > second
