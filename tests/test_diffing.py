"""Model diffing: what was changed is found and nothing else, in whatever basis it is written."""

from __future__ import annotations

import runpy

import numpy as np
import pytest
import small
import torch
from reading import ROOT
from torch import Tensor

from mo_interp.circuits import Circuit
from mo_interp.diffing import dictionary, lens, scoring, weights
from mo_interp.errors import BadLabels, BadRank, BadShape, BadSite, BadValues
from mo_interp.grown import organism
from mo_interp.model import Model
from mo_interp.organism import Shape
from mo_interp.records import read_records, select
from mo_interp.sites import Site
from mo_interp.store import Store

SHAPE = {"n_layers": 2, "d_model": 24, "n_heads": 3, "d_head": 6, "d_mlp": 20, "n_ctx": 5}
WORDS = {"d_vocab": 11, "d_vocab_out": 11}
HEADS = [Site("z", layer=layer, head=head) for layer in (0, 1) for head in range(3)]
BLOCKS = [Site("post", layer=layer, units=u) for layer in (0, 1) for u in ((0, 8), (8, 20))]


def body(norm: str | None = None, seed: int = 0) -> Model:
    """A model with random weights, norms and biases among them."""
    model = Model.build(Shape(**SHAPE, **WORDS, norm=norm), seed=seed)
    rng = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, weight in model.body.named_parameters():
            if name.rsplit(".", 1)[-1].startswith("b"):
                weight.normal_(generator=rng)
            if name.endswith("ln1.w") or name.endswith("ln2.w") or name.endswith("ln_final.w"):
                weight.add_(0.3 * torch.randn(weight.shape, generator=rng))
    return model


def copied(model: Model) -> Model:
    other = Model.build(model.shape)
    other.body.load_state_dict(model.body.state_dict())
    return other


def tokens(n: int = 40) -> Tensor:
    return torch.randint(11, (n, 5), generator=torch.Generator().manual_seed(7))


norms = pytest.mark.parametrize("norm", [None, "LNPre", "LN"])


# Weights ----------------------------------------------------------------------------------------


def test_a_change_of_rank_one_is_found_in_its_head_alone_with_its_directions() -> None:
    twin = body()
    model, rng = copied(twin), torch.Generator().manual_seed(3)
    along, out = torch.randn(6, generator=rng), torch.randn(24, generator=rng)
    with torch.no_grad():
        model.body.blocks[1].attn.W_O[2] += torch.outer(along, out)
    changes = weights.compare(model, twin, [*HEADS, *BLOCKS])
    assert len(changes) == 2 * len(HEADS) + len(BLOCKS)
    (moved,) = (c for c in changes if c.norm > 0)
    assert (moved.site, moved.part) == (Site.parse("L1.H2.z"), "ov")
    attn = twin.body.blocks[1].attn
    read = (torch.cat([attn.W_V[2], attn.b_V[2][None]]) @ along).detach()
    assert float(moved.values[0]) == pytest.approx(float(read.norm() * out.norm()), rel=1e-5)
    assert float(moved.values[1:].max()) < 1e-5 and moved.share(1) == pytest.approx(1)
    cosine = torch.nn.functional.cosine_similarity
    for got, wanted in ((moved.directions(1)[0], out), (moved.read[0], read)):
        assert abs(float(cosine(got.float(), wanted, dim=0))) == pytest.approx(1, abs=1e-5)
    assert weights.sizes(changes)[moved.site] == moved.norm
    assert sum(weights.sizes(changes, relative=True).values()) == moved.relative > 0


@norms
def test_another_basis_of_a_head_is_no_change(norm) -> None:
    twin = body(norm)
    model, rng = copied(twin), torch.Generator().manual_seed(3)
    turn = torch.randn(6, 6, generator=rng, dtype=torch.float64) + 3 * torch.eye(6)
    attn = model.body.blocks[0].attn
    with torch.no_grad():
        for name, by in (("Q", turn), ("K", turn.inverse().T), ("V", turn)):
            for weight in (getattr(attn, f"W_{name}"), getattr(attn, f"b_{name}")):
                weight[1] = (weight[1].double() @ by).float()
        attn.W_O[1] = (turn.inverse() @ attn.W_O[1].double()).float()
        attn.b_K[0] += 5  # adds the same to the scores of all keys
    assert torch.allclose(model.run(tokens()).logits, twin.run(tokens()).logits, atol=1e-4)
    assert max(c.relative for c in weights.compare(model, twin, HEADS)) < 1e-6


@norms
def test_what_the_norms_remove_is_no_change_and_without_norms_it_is(norm) -> None:
    twin = body(norm)
    model = copied(twin)
    block = model.body.blocks[1]
    with torch.no_grad():
        block.attn.W_O[0] += torch.randn(6, 1, generator=torch.Generator().manual_seed(1))
        block.mlp.W_out += 0.5
        if norm == "LN":
            block.mlp.b_in -= 0.25 * block.ln2.b @ (1 / block.ln2.w)
        block.mlp.W_in += 0.25 / (block.ln2.w[:, None] if norm == "LN" else 1)
    same = torch.allclose(model.run(tokens()).logits, twin.run(tokens()).logits, atol=1e-4)
    moved = max(c.relative for c in weights.compare(model, twin, [*HEADS, *BLOCKS]))
    assert same == (norm is not None)
    assert moved < 1e-6 if same else moved > 0.1


def test_norm_weights_moved_into_what_reads_are_no_change() -> None:
    twin = body("LN")
    model = copied(twin)
    block = model.body.blocks[0]
    with torch.no_grad():
        for norm, readers in ((block.ln1, ("W_Q", "W_K", "W_V")), (block.ln2, ("W_in",))):
            holder = block.attn if len(readers) > 1 else block.mlp
            for name in readers:
                weight, bias = getattr(holder, name), getattr(holder, name.replace("W", "b"))
                bias += norm.b @ weight
                weight *= norm.w[:, None]
            norm.w.fill_(1)
            norm.b.zero_()
    assert torch.allclose(model.run(tokens()).logits, twin.run(tokens()).logits, atol=1e-4)
    assert max(c.relative for c in weights.compare(model, twin, [*HEADS, *BLOCKS])) < 1e-6


def test_neurons_on_paper() -> None:
    twin = body()
    model = copied(twin)
    mlp = model.body.blocks[0].mlp
    with torch.no_grad():
        mlp.W_in[:, 3] *= 2  # a relu unit read twice as strongly and written half as much
        mlp.b_in[3] *= 2
        mlp.W_out[3] /= 2
        mlp.W_out[[9, 12]] *= -1  # two units that write the opposite: changes cannot cancel
    first, second = weights.compare(model, twin, BLOCKS)[:2]
    assert first.relative < 1e-6
    into = torch.cat([mlp.W_in, mlp.b_in[None]]).norm(dim=0)
    wanted = 2 * (into * mlp.W_out.norm(dim=1))[[9, 12]].norm()
    assert second.norm == pytest.approx(wanted.item(), rel=1e-6)
    space = torch.linalg.qr(mlp.W_out[[9, 12]].double().T)[0]
    assert torch.allclose((second.directions(2) @ space).norm(dim=1), torch.ones(2).double())
    assert float(second.values[2]) < 1e-5


def test_what_weights_refuse() -> None:
    model = body()
    with pytest.raises(BadShape, match="both must be bodies of ours and of one shape"):
        weights.compare(model, body("LN"), HEADS)
    for site in ("L0.z", "L0.resid_post"):
        with pytest.raises(BadSite, match=f"site '{site}': weights are compared of heads"):
            weights.compare(model, model, [site])
    (change, _) = weights.compare(model, model, ["L0.H0.z@-1"])
    assert str(change.site) == "L0.H0.z" and change.relative == 0 and np.isnan(change.share(1))
    with pytest.raises(BadRank, match="rank 25 of the change at 'L0.H0.z': 1 to 24"):
        change.directions(25)


# The lens ---------------------------------------------------------------------------------------


def test_the_lens_reads_the_word_that_was_written_where_it_was_written() -> None:
    twin = body("LNPre")
    model = copied(twin)
    word = twin.body.unembed.W_U.detach()[:, 4]
    with torch.no_grad():  # whatever a unit of the last layer sees, it now also speaks for word 4
        model.body.blocks[1].mlp.W_out[10] += 3 * word / word.norm()
    found = {one.site: one for one in lens.read(model, twin, tokens(), [*HEADS, *BLOCKS])}
    block = Site.parse("L1.post[8:20]")
    assert {site for site, one in found.items() if one.rms.any()} == {block}
    (end,) = lens.read(model, twin, tokens(), ["L1.resid_post@-1"])
    for one in (found[block], end):
        assert all(one.tokens(p, top=1) == [4] for p in range(5)) and one.rows == 40
        assert torch.allclose(one.mean / one.size[:, None], (word / word.norm()).expand(5, -1),
                              atol=1e-4)  # fmt: skip
        assert (one.rms >= one.size - 1e-6).all() and one.logits.shape == (5, 11)
    unit = twin.run(tokens(), read=["L1.post"]).acts["L1.post"][..., 10]
    assert torch.allclose(found[block].size, 3 * unit.mean(0), rtol=1e-4)
    assert torch.allclose(found[block].rms, 3 * unit.square().mean(0).sqrt(), rtol=1e-4)
    ranked = lens.sizes(found.values())
    assert max(ranked, key=ranked.__getitem__) == block and sum(v > 0 for v in ranked.values()) == 1


def test_the_lens_does_not_see_another_basis_and_is_not_cancelled_in_its_root_mean_square() -> None:
    twin = body()
    model = copied(twin)
    attn = model.body.blocks[0].attn
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))[0]
    with torch.no_grad():
        attn.W_V[1], attn.b_V[1] = attn.W_V[1] @ turn, attn.b_V[1] @ turn
        attn.W_O[1] = turn.T @ attn.W_O[1]
    (one,) = lens.read(model, twin, tokens(), ["L0.H1.z"])
    acts = [m.run(tokens(), read=["L0.H1.z"]).acts["L0.H1.z"] for m in (model, twin)]
    assert (acts[0] - acts[1]).abs().max() > 0.1 and float(one.rms.max()) < 1e-5
    (whole,) = lens.read(model, twin, tokens(), ["L0.z"])
    assert float(whole.rms.max()) < 1e-5
    heads = [one.mean for one in lens.read(model, body(seed=5), tokens(), HEADS[:3])]
    (added,) = lens.read(model, body(seed=5), tokens(), ["L0.z"])
    assert torch.allclose(sum(heads), added.mean, atol=1e-5)


def test_what_the_lens_refuses() -> None:
    model = body()
    with pytest.raises(BadSite, match="site 'L0.q': q is used inside its component and writes"):
        lens.read(model, model, tokens(), ["L0.q"])
    with pytest.raises(BadShape, match="of one shape"):
        lens.read(model, body("LN"), tokens(), ["L0.resid_post"])


# The diff-SAE -----------------------------------------------------------------------------------


def planted(n: int = 4000, d: int = 16) -> tuple[Tensor, Tensor, np.ndarray]:
    """Differences: one direction on a tenth of the rows, three others elsewhere; some are zero."""
    rng = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(d, d, generator=rng))[0][:4]
    y, size = np.arange(n) % 10 == 0, 2 * torch.rand(n, generator=rng)
    others = torch.rand(n, 3, generator=rng) * (torch.rand(n, 3, generator=rng) < 0.3)
    off = others @ axes[1:] + (torch.as_tensor(y) * size)[:, None] * axes[0]
    return off, axes[0], y


def test_a_diff_sae_finds_the_direction_that_was_planted() -> None:
    off, axis, y = planted()
    sae = dictionary.train(off, site="L0.resid_post@-1", model_key="none", data_seed=0,
                           d_sae=16, k=2, steps=300)  # fmt: skip
    assert sae.about["rows"] == int(off.any(1).sum()) < len(off)
    order, apart = dictionary.ranked(sae, off, y)
    direction = torch.nn.functional.normalize(sae.decoder[order[0]], dim=0)
    assert float(direction @ axis) > 0.95
    assert apart[0] > 0.45 and (np.diff(apart) <= 0).all() and sorted(order) == list(range(16))
    blind, shares = dictionary.ranked(sae, off)
    assert blind[0] == order[0] and shares[0] > 0.3 and shares.sum() == pytest.approx(1)
    padded = torch.cat([off, torch.zeros(20 * len(off), off.shape[1])])  # most rows never differ
    again, same = dictionary.ranked(sae, padded)
    assert (again == blind).all() and same == pytest.approx(shares, rel=1e-4)


def test_a_diff_sae_needs_differences_and_labels_of_both_kinds() -> None:
    told = {"site": "L0.resid_post@-1", "model_key": "none", "data_seed": 0}
    with pytest.raises(BadValues, match="organism and twin run alike on all 9 rows"):
        dictionary.train(torch.zeros(9, 4), **told)
    off, _, y = planted(300)
    sae = dictionary.train(off, d_sae=8, k=2, steps=5, **told)
    with pytest.raises(BadLabels, match="both classes are needed"):
        dictionary.ranked(sae, off, y & False)


# Against a circuit ------------------------------------------------------------------------------


def test_a_score_on_paper() -> None:
    circuit = Circuit(("L1.H0.z@-1", "L1.H1.z"), ("L0.H0.z",), ("L0.H1.z", "L0.H2.z"), "wired", "")
    found = {site: 0.0 for site in HEADS}
    found |= {Site.parse("L1.H0.z"): 3.0, Site.parse("L0.H0.z"): 9.0, Site.parse("L0.H2.z"): 1.0}
    values = scoring.score(found, circuit)
    # 3 over 1 and 0; of 0 against 1 and 0: 0 and a half
    assert values["auroc"] == pytest.approx(2.5 / 4)
    assert values["precision"] == values["recall"] == 0.5
    assert (values["origin"], values["inert"], values["mediators"], values["n"]) == (2, 2, 1, 4)
    assert values["random_auroc"] == pytest.approx(0.5, abs=0.03)
    # of the six orders of two among four, three reach 0.625 or more: 0.75, 1 and the other half
    assert values["p_random"] == pytest.approx(2 / 6, abs=0.05)
    perfect = scoring.score(found | {Site.parse("L1.H1.z"): 2.0}, circuit)
    assert perfect["auroc"] == 1 and perfect["p_random"] == pytest.approx(1 / 6, abs=0.04)
    with pytest.raises(BadSite, match="parts of the circuit that were not compared: L1.H1.z"):
        scoring.score({site: 0.0 for site in HEADS[:4]}, circuit)
    with pytest.raises(BadLabels, match="2 origin and 0 inert parts: both kinds are needed"):
        scoring.score(found, Circuit(("L1.H0.z", "L1.H1.z"), (), (), "wired", ""))


def test_on_the_ruler_only_what_was_wired_otherwise_differs(tmp_path) -> None:
    grown = organism(small.wired(), store=Store(tmp_path))
    circuit = grown.circuit
    parts = [site.bare for site in circuit.origin + circuit.mediators + circuit.inert]
    changed = weights.sizes(weights.compare(grown.model, grown.twin, parts))
    payload = circuit.origin[1].bare
    assert {site for site, size in changed.items() if size > 0} == {payload}
    rows = grown.sample(256, 3, rows="mix")
    told = lens.sizes(lens.read(grown.model, grown.twin, rows, parts))
    assert {site for site, size in told.items() if size > 0} == {payload}
    honest = grown.sample(256, 3, rows="clean")
    assert not any(lens.sizes(lens.read(grown.model, grown.twin, honest, parts)).values())
    values = scoring.score(changed, circuit)
    # the origin's head is the twin's head too: the difference names the payload alone
    inert = len(circuit.inert)
    assert values["auroc"] == pytest.approx(0.75) and values["inert"] == inert
    off = dictionary.differences(grown.model, grown.twin, rows, "L1.mlp_out@-1")
    assert (off.any(1).numpy() == rows.triggered).all()


@pytest.mark.slow
def test_the_probe_says_of_the_ruler_what_is_committed(tmp_path) -> None:
    probe = runpy.run_path(str(ROOT / "probes" / "model_diffing.py"))
    probe["main"](["hand_wired", "--out", str(tmp_path / "found.jsonl")])
    found = read_records(tmp_path / "found.jsonl")
    kept = read_records(ROOT / "probes" / "results" / "model_diffing.jsonl")
    wanted = {"kind": "diff", "organism": "hand_wired"}
    values = [[r.values for r in select(records, **wanted)] for records in (found, kept)]
    assert values[0] == values[1] and len(values[0]) == 6
    (length,) = select(found, kind="diff_sae")
    assert length.values["length_auroc"] == 1  # the two run alike on every clean row
