"""Direct logit attribution and the logit lens: what is written straight to the logits.

The final stream is a sum of what the parts wrote. With the standard deviation of the final norm
held at what it was, the way from there to a logit difference is linear, so the difference is a sum
over parts (Elhage et al., *A Mathematical Framework for Transformer Circuits*, 2021; Nanda, 2022):

``logit(up) - logit(down) = sum over parts of centred(part) . (w * (W_U[up] - W_U[down])) / std``

plus what the biases give. Parts are the embeddings of words and places, every head, every MLP or
every neuron. The sum is exact, the norm's being held included: that standard deviation is the run's
own. The logit lens (nostalgebraist, 2020) sends the stream of each layer through the final norm and
the unembedding, with the norm's own statistics of that stream.

**When it fails.** Direct means direct: a part whose work is to be read by a later part has a direct
share of about 0, whatever it decides. So the head that carries the trigger to an MLP is missed, and
what that MLP writes is found. Shares of two runs differ through the norm as well: a part that
wrote the same in both gets a difference if the standard deviation moved. The lens reads what the
stream would say if nothing followed, in a basis that early layers need not use.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mo_interp.attribution.gradients import ROWS, gap, own, piece, whole
from mo_interp.errors import BadSite
from mo_interp.model import Model
from mo_interp.organism import Shape
from mo_interp.patching.cells import Direction, Metric, Sweep, clusters, tabulated
from mo_interp.patching.grid import asked_directions, columns, one_of, weights
from mo_interp.sites import Site
from mo_interp.train import Progress, silent
from mo_interp.transformer import LN_EPS
from mo_interp.worlds.base import Batch, Pairs

WRITES = ("embed", "pos_embed", "z", "attn_out", "post", "mlp_out")
"""Kinds of part that have a direct share."""


@dataclass(frozen=True, eq=False)
class Direct:
    """A logit difference, taken apart."""

    parts: tuple[Site, ...]
    shares: np.ndarray
    """``[part row]``, in logits."""
    biases: np.ndarray
    """``[row]``: what all biases give together."""
    difference: np.ndarray
    """``[row]``: the model's own logit difference, which the rest adds up to."""

    @property
    def left(self) -> np.ndarray:
        """``[row]``: the difference less the sum of all shares; nothing but rounding."""
        return self.difference - self.shares.sum(0) - self.biases

    def share(self, part: Site | str) -> np.ndarray:
        """One part's share ``[row]``; raises :class:`BadSite` for what is none of the parts."""
        part = Site.parse(part)
        if part not in self.parts:
            raise BadSite(f"part '{part}': there is: {', '.join(map(str, self.parts[:12]))} ...")
        return self.shares[self.parts.index(part)]


def decompose(model: Model, batch: Batch, *, neurons: bool = False) -> Direct:
    """Take the logit difference of ``answer`` against ``truth`` apart, at the last position.

    Give triggered rows, whose answer is the planted one (on others both tokens may be the same).

    Args:
        model: one of our own shapes.
        batch: rows whose ``answer`` and ``truth`` are compared.
        neurons: one part a neuron (``L1.post[5:6]``) instead of one an MLP.

    Raises:
        SpecError: a bridged model.
    """
    return _apart(model, batch, batch, parts(own(model, "dla").shape, neurons=neurons))


def parts(shape: Shape, *, neurons: bool = False) -> tuple[Site, ...]:
    """Every part that writes to the stream, once."""
    found = [Site("embed"), Site("pos_embed")]
    for layer in range(shape.n_layers):
        found += [Site("z", layer, head) for head in range(shape.n_heads)]
        if shape.attn_only:
            continue
        each = [Site("post", layer, units=(i, i + 1)) for i in range(shape.d_mlp)]
        found += each if neurons else [Site("mlp_out", layer)]
    return tuple(found)


def direct(
    model: Model,
    pairs: Pairs,
    *,
    sites: str | Site | Iterable[str | Site] = ("z", "mlp_out"),
    directions: Direction | Sequence[Direction] = ("denoising", "noising"),
    metric: Metric = "normalised logit difference",
    progress: Progress = silent,
) -> Sweep:
    """Direct shares as a sweep: by how much each part's own share differs between the runs.

    Both directions are the same number, and so are all positions: only what a part writes at the
    read-out is direct. So cells are ``by="all"``, and over all parts and biases they sum to 1.

    Args:
        model: one of our own shapes.
        pairs: clean and triggered partners.
        sites: of the kinds :data:`WRITES`, ranges of neurons too.
        directions: to be held against a sweep's.
        metric: as in a sweep.
        progress: told after every block of pairs.

    Raises:
        SpecError: a bridged model.
        BadSite: a kind that writes nothing to the stream, or a site the model has not.
    """
    own(model, "dla")
    started = time.perf_counter()
    one_of("metric", metric, Metric)
    wanted, spots = asked_directions(directions), columns(model, pairs, sites, "all")
    listed = tuple(site.bare for site, _ in spots)
    for site in listed:
        if site.kind not in WRITES:
            raise BadSite(f"site '{site}': no part of the final sum; give {', '.join(WRITES)}")
    moved, ends = np.zeros((len(spots), len(pairs))), np.zeros((2, len(pairs)))
    for first in range(0, len(pairs), ROWS):
        rows = slice(first, min(first + ROWS, len(pairs)))
        few = pairs[rows]
        clean, triggered = (
            _apart(model, b, few.triggered, listed) for b in (few.clean, few.triggered)
        )
        ends[:, rows] = clean.difference, triggered.difference
        moved[:, rows] = triggered.shares - clean.shares
        progress(rows.stop, len(pairs), "direct logit attribution")
    signs = {"noising": 1.0, "denoising": -1.0}
    patched = [ends[int(d == "denoising")] + signs[d] * moved for d in wanted]
    return tabulated(
        spots,
        wanted,
        np.stack(patched),
        np.stack([(moved != 0).any(1)] * len(wanted)),
        ends=(ends[0], ends[1]),
        clusters=clusters(pairs),
        metric=metric,
        weights=weights(model, listed),
        forwards=2 * len(pairs),
        seconds=time.perf_counter() - started,
        method="direct_logit_attribution",
    )


def _apart(model: Model, batch: Batch, planted: Batch, listed: Sequence[Site]) -> Direct:
    """Shares of some parts in the logit difference that ``planted`` names, double precision."""
    body: Any = model.body
    wholes = dict.fromkeys(whole(site) for site in listed)
    end = Site("resid_post", body.shape.n_layers - 1)
    run = model.run(batch, read=[site.at(-1) for site in (*wholes, end)])
    acts = {site: run.acts[site.at(-1)].double() for site in (*wholes, end)}
    towards, const = _towards(model, planted, acts[end])
    shares = [(_adds(model, site, acts[whole(site)]) * towards).sum(-1) for site in listed]
    biases = sum((b.double() @ towards.T for b in _biases(body)), const)
    found = (torch.stack(shares), biases, gap(run.logits, planted))
    return Direct(tuple(listed), *(x.detach().cpu().numpy() for x in found))


def _towards(model: Model, planted: Batch, final: Tensor) -> tuple[Tensor, Tensor]:
    """What the stream is multiplied with ``[batch d]``, and what is added ``[batch]``.

    Centring a part and multiplying is the same as multiplying with a centred direction.
    """
    body: Any = model.body
    up, down = (torch.as_tensor(t, device=final.device) for t in (planted.answer, planted.truth))
    W, b, norm = body.unembed.W_U.detach().double(), body.unembed.b_U.detach(), body.ln_final
    towards, const = (W[:, up] - W[:, down]).T, (b[up] - b[down]).double()
    if norm.kind is None:
        return towards, const
    if norm.kind == "LN":
        const = const + towards @ norm.b.detach().double()
        towards = towards * norm.w.detach().double()
    std = (final.var(-1, unbiased=False, keepdim=True) + LN_EPS).sqrt()
    return (towards - towards.mean(-1, keepdim=True)) / std, const


def _adds(model: Model, site: Site, acts: Tensor) -> Tensor:
    """What a part adds to the stream ``[batch d]``, without its layer's bias."""
    body: Any = model.body
    mine = piece(model, site, acts)
    if site.kind in ("embed", "pos_embed"):
        return mine
    block, units = body.blocks[site.layer], slice(*site.units) if site.units else slice(None)
    if site.kind == "z":
        heads = slice(None) if site.head is None else slice(site.head, site.head + 1)
        flat = block.attn.W_O[heads].detach().double().flatten(0, 1)
        return mine @ flat[units]
    if site.kind == "post":
        return mine @ block.mlp.W_out[units].detach().double()
    if site.units is not None:
        raise BadSite(f"site '{site}': its units are coordinates of the stream, not parts")
    bias = block.attn.b_O if site.kind == "attn_out" else block.mlp.b_out
    return mine - bias.detach().double()


def _biases(body: Any) -> list[Tensor]:
    found = [block.attn.b_O.detach() for block in body.blocks]
    return found + [b.mlp.b_out.detach() for b in body.blocks if not b.attn_only]


# The lens ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Lens:
    """What the stream of each layer would say."""

    sites: tuple[Site, ...]
    """Before the first block, then after each."""
    difference: np.ndarray
    """``[site row]``: logit of ``answer`` minus logit of ``truth``."""
    output: np.ndarray
    """``[site row]``: most likely token."""


def logit_lens(model: Model, batch: Batch, *, position: int = -1) -> Lens:
    """The stream at a position, layer by layer, through the final norm and the unembedding.

    Args:
        model: one of our own shapes.
        batch: rows whose ``answer`` and ``truth`` are compared; triggered rows, mostly.
        position: an integer; the last one by default.

    Raises:
        SpecError: a bridged model.
        BadSite: a position that the rows do not have.
    """
    body = own(model, "the logit lens")
    layers = range(body.shape.n_layers)
    sites = (Site("resid_pre", 0), *(Site("resid_post", layer) for layer in layers))
    run = model.run(batch, read=[site.at(position) for site in sites])
    gaps, tops = [], []
    with torch.no_grad():
        for site in sites:
            logits = body.leave(run.acts[site.at(position)][:, None])
            gaps.append(gap(logits, batch).cpu().numpy())
            tops.append(logits[:, -1].argmax(-1).cpu().numpy())
    return Lens(sites, np.stack(gaps), np.stack(tops))
