"""Which vectors of the stream a patch at a site changes, and to what.

All of ``resid_pre resid_mid resid_post attn_out mlp_out``, the heads' ``z`` and ranges of neurons
come down to changed vectors of the stream entering some block, which :mod:`.suffix` carries on:

=============================  =====================================================
``L.resid_post``, next pre     the other run's vector, entering block L + 1
``L.mlp_out``                  the stream before the MLP plus the other run's output
``L.post[a:b]``                the stream, plus the neurons' change through ``W_out``
``L.resid_mid``                the other run's vector, through the MLP of that position
``L.attn_out``, all heads' z   the stream before the block plus the other's, likewise
``L.Hh.z``                     the stream plus the head's change through ``W_O``, likewise
=============================  =====================================================
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mo_interp.patching.suffix import TOKENS, Change, Trace, Unrolled, joined, starts
from mo_interp.sites import CUTS, Site

BEFORE_MLP = ("resid_mid", "attn_out", "z")
"""Kinds whose change has yet to go through the MLP of its own position."""


def reduced(site: Site) -> Site | None:
    """The site, position aside, that a patch here is the same as; None if it needs the door.

    ``L1.resid_pre`` is ``L0.resid_post``, all heads together are ``attn_out``, all neurons
    together are ``mlp_out``, and before the activation function is as good as after it.
    """
    bare, kind = site.bare, site.kind
    if kind in ("pre", "post"):
        return replace(bare, kind="post" if bare.units else "mlp_out")
    if kind == "z" and (bare.head is not None or bare.units is None):
        return bare if bare.head is not None else replace(bare, kind="attn_out")
    if bare.units is not None:
        return None
    if kind == "embed":
        return Site("resid_pre", 0)
    if kind == "resid_pre" and bare.layer:
        return Site("resid_post", bare.layer - 1)
    return bare if kind in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out") else None


def acts(trace: Trace, site: Site) -> Tensor:
    """A reduced site's activations ``[batch pos width]``; ``pos`` is 1 in the last block."""
    layer = site.layer or 0
    units = slice(*site.units) if site.units else slice(None)
    if site.kind == "z":
        return trace.z[layer][:, :, site.head, units]
    if site.kind == "post":
        return trace.post[layer][..., units]
    if site.kind in ("resid_pre", "resid_post"):
        return trace.resid[layer + (site.kind == "resid_post")]
    kinds = {"resid_mid": trace.mid, "attn_out": trace.attn_out, "mlp_out": trace.mlp_out}
    return kinds[site.kind][layer]


@dataclass(frozen=True, eq=False)
class Touched:
    """The positions at which patches at one reduced site would change anything.

    Interventions are (cell, prompt); those that would change nothing are not among them.
    """

    site: Site
    cell: Tensor
    """``[n]``: whose intervention it is."""
    rows: Tensor
    """``[n]``: in which prompt."""
    owner: Tensor
    """``[c]``: the intervention of each changed position."""
    at: Tensor
    """``[c]``: the position."""

    def __len__(self) -> int:
        """Number of interventions."""
        return len(self.rows)

    @property
    def layer(self) -> int:
        """The block that the changed stream enters; as many as there are blocks for the end."""
        return 0 if self.site.kind == "resid_pre" else (self.site.layer or 0) + 1

    def work(self, base: Trace) -> float:
        """Roughly, how many whole forwards of a causal body the interventions amount to."""
        blocks, length = len(base.z), base.keys.shape[1]
        first = self.at[starts(self.owner, len(self))]
        share = (length - first).double() / length
        return float(share.sum()) * max(blocks - self.layer, 0) / blocks


def touched(site: Site, base: Trace, source: Trace, masks: Tensor) -> Touched:
    """Where ``source`` differs from ``base`` at a reduced site, inside each of some masks.

    Positions that cannot reach the read-out (in the last block, all others) are left out.

    Args:
        site: as :func:`reduced` gives it.
        base: the run that is patched.
        source: the run that is patched in.
        masks: bool ``[cell batch pos]``: the positions that each cell patches.
    """
    other, own = acts(source, site), acts(base, site)
    differs = (other != own).any(-1)
    length, known = masks.shape[-1], differs.shape[1]
    found = masks[..., length - known :] & differs
    cell, row, at = found.nonzero(as_tuple=True)
    pair, owner = torch.unique_consecutive(cell * len(own) + row, return_inverse=True)
    return Touched(site, pair // len(own), pair % len(own), owner, at + length - known)


def change(body: Unrolled, base: Trace, source: Trace, wheres: list[Touched]) -> Change:
    """The changed vectors themselves, of interventions that all enter the same block.

    Those made before the MLP go through it together.
    """
    made = [_vectors(body, base, source, w) for w in wheres]
    early = [i for i, w in enumerate(wheres) if w.site.kind in BEFORE_MLP]
    if early and not body.shape.attn_only:
        mids = torch.cat([made[i] for i in early])
        done = [body.after_mlp(wheres[0].layer - 1, some) for some in mids.split(TOKENS)]
        sizes = [len(made[i]) for i in early]
        for i, some in zip(early, torch.cat(done).split(sizes), strict=True):
            made[i] = some
    parts = zip(wheres, made, strict=True)
    return joined([Change(w.layer, w.rows, w.owner, w.at, new) for w, new in parts])


def _vectors(body: Unrolled, base: Trace, source: Trace, where: Touched) -> Tensor:
    """The stream's new vectors ``[c d]``, at the place in the block where the site writes to it."""
    site, row, at = where.site, where.rows[where.owner], where.at
    layer = site.layer or 0

    def pick(x: Tensor) -> Tensor:
        return x[row, at - (base.keys.shape[1] - x.shape[1])]

    new = pick(acts(source, site))
    if site.kind in CUTS:
        return new
    if site.kind == "attn_out":
        return pick(base.resid[layer]) + new
    before = base.resid[layer + 1] if body.shape.attn_only else base.mid[layer]
    if site.kind == "mlp_out":
        return pick(before) + new
    block = body.blocks[layer]
    units = slice(*site.units) if site.units else slice(None)
    moved = new - pick(acts(base, site))
    if site.kind == "post":
        return pick(base.resid[layer + 1]) + moved @ block.mlp.W_out[units]
    return pick(before) + moved @ block.attn.W_O[site.head, units]
