"""Weight-difference SVD: how much each component's map changed, and along which directions.

A head's own matrices are not unique: ``W_Q R`` with ``W_K R^-T``, or ``W_V R`` with ``R^-1 W_O``,
is the same head (Elhage et al., *A Mathematical Framework for Transformer Circuits*, 2021). So
what is compared are products, biases in an extra last row of what is read:

1. *ov*: ``[W_V; b_V] W_O``, what is read at a key to what is written, ``[d+1 d]``.
2. *qk*: ``[W_Q; b_Q] W_K^T / sqrt(d_head)``, the score of query and key, ``[d+1 d]``. Anything
   that adds the same to all keys (``b_K``) changes no pattern and is left out.
3. *neurons*: for each unit the outer product of what it reads and what it writes. The size over a
   block of units is that of all their differences, which cannot cancel.

The norms before are folded in (Elhage et al.): their weights go into what reads, the mean is taken
out of what reads and of what writes, since a layer norm removes it. The singular values of the
difference organism - twin then say how many directions changed, and the right singular vectors
which. Differences of fine-tuned and base weights: arXiv 2510.13900 and its references.

Limits: a relu unit may be rescaled without a change here; a gelu unit may not be, and its
rescaling would be missed. Units are compared one by one in their order. Embeddings and the
unembedding belong to no component and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mo_interp.errors import BadRank, BadShape, BadSite
from mo_interp.model import Model
from mo_interp.sites import Site

Part = Literal["ov", "qk", "neurons"]


@dataclass(frozen=True, eq=False)
class Change:
    """The difference organism - twin of one component's map."""

    site: Site
    """``L1.H3.z`` for a head, ``L1.post[0:64]`` for neurons."""
    part: Part
    """Which map of the component."""
    values: Float[Tensor, " r"]
    """Singular values of the difference, largest first."""
    read: Float[Tensor, "r d1"]
    """Left singular vectors, over what is read (the last coordinate is the bias)."""
    write: Float[Tensor, "r d"]
    """Right singular vectors: in the stream for ``ov`` and ``neurons``, over the key for ``qk``."""
    before: float
    """Frobenius norm of the map in the twin."""
    after: float
    """Frobenius norm of the map in the organism."""

    @property
    def norm(self) -> float:
        """Frobenius norm of the difference."""
        return float(self.values.norm())

    @property
    def relative(self) -> float:
        """That norm in units of the larger of the two maps; 0 where both are 0."""
        largest = max(self.before, self.after)
        return self.norm / largest if largest > 0 else 0.0

    def share(self, rank: int) -> float:
        """Share of the squared difference in the first ``rank`` directions; nan for no difference.

        Raises BadRank for a rank that there is not.
        """
        self._has(rank)
        whole = float(self.values.square().sum())
        return float(self.values[:rank].square().sum()) / whole if whole else float("nan")

    def directions(self, rank: int) -> Float[Tensor, "k d"]:
        """The first ``rank`` directions of :attr:`write`; raises BadRank as :meth:`share` does."""
        self._has(rank)
        return self.write[:rank]

    def _has(self, rank: int) -> None:
        if not 1 <= rank <= len(self.values):
            raise BadRank(f"rank {rank} of the change at '{self.site}': 1 to {len(self.values)}")


def compare(organism: Model, twin: Model, sites: Iterable[Site | str]) -> tuple[Change, ...]:
    """The change of each head (``ov`` and ``qk``) and of each block of neurons.

    Args:
        organism: what changed.
        twin: what it is compared with, of the same shape.
        sites: heads ``L1.H3.z`` and neurons ``L1.post`` or ``L1.post[0:64]``; positions are
            ignored, weights have none.

    Raises:
        BadShape: models of two shapes.
        BadSite: another kind of site, ``z`` without a head, or a site that there is not.
    """
    alike(organism, twin)
    found: list[Change] = []
    for site in map(Site.parse, sites):
        place = organism.sites.check(site).bare
        if place.kind == "post":
            found.append(_neurons(organism, twin, place))
        elif place.kind == "z" and place.head is not None:
            maps = [_maps(m.body.blocks[place.layer], place.head) for m in (organism, twin)]
            found += [_change(place, part, maps[0][part], maps[1][part]) for part in ("ov", "qk")]
        else:
            raise BadSite(
                f"site '{site}': weights are compared of heads, such as 'L1.H3.z', and of neurons, "
                "such as 'L1.post[0:64]'"
            )
    return tuple(found)


def sizes(changes: Iterable[Change], *, relative: bool = False) -> dict[Site, float]:
    """One number per site to rank by.

    Plain, the norm of what it writes otherwise (``ov`` or ``neurons``); relative, the largest of
    its relative changes, ``qk`` too.
    """
    found: dict[Site, float] = {}
    for change in changes:
        if relative:
            found[change.site] = max(found.get(change.site, 0.0), change.relative)
        elif change.part != "qk":
            found[change.site] = change.norm
    return found


def alike(organism: Model, twin: Model) -> None:
    """Raise BadShape where two models are not of one shape, or have no shape of ours."""
    if organism.shape is None or twin.shape is None or organism.shape != twin.shape:
        raise BadShape(
            "organism and twin are compared weight by weight: both must be bodies of ours and of "
            f"one shape, got {organism.shape} and {twin.shape}"
        )


def reads(norm: Any, weight: Tensor, bias: Tensor) -> Float[Tensor, "d1 k"]:
    """A map ``[d k]`` that reads through a norm, with its bias as a last row, norm folded in."""
    weight, bias = weight.detach().double(), bias.detach().double()
    if norm.kind == "LN":
        bias = bias + norm.b.detach().double() @ weight
        weight = norm.w.detach().double()[:, None] * weight
    if norm.kind is not None:
        weight = weight - weight.mean(0)
    return torch.cat([weight, bias[None]])


def writes(norm: Any, weight: Tensor) -> Float[Tensor, "k d"]:
    """A map ``[k d]`` into the stream, less what the norms after it remove."""
    weight = weight.detach().double()
    return weight if norm.kind is None else weight - weight.mean(-1, keepdim=True)


def _maps(block: Any, head: int) -> dict[str, Tensor]:
    """A head's two products ``[d+1 d]``."""
    attn, norm = block.attn, block.ln1
    query, value = (
        reads(norm, getattr(attn, f"W_{n}")[head], getattr(attn, f"b_{n}")[head]) for n in "QV"
    )
    key = reads(norm, attn.W_K[head], attn.b_K[head])[:-1]
    return {"ov": value @ writes(norm, attn.W_O[head]), "qk": query @ key.T / attn.d_head**0.5}


def _change(site: Site, part: Part, after: Tensor, before: Tensor) -> Change:
    left, values, right = torch.linalg.svd(after - before, full_matrices=False)
    norms = {"before": float(before.norm()), "after": float(after.norm())}
    return Change(site, part, values, left.T, right, **norms)


def _neurons(organism: Model, twin: Model, site: Site) -> Change:
    """By the two Gram matrices of all units' differences."""
    maps = []
    for model in (organism, twin):
        block = model.body.blocks[site.layer]
        first, last = site.units or (0, block.mlp.W_in.shape[1])
        into = reads(block.ln2, block.mlp.W_in, block.mlp.b_in)[:, first:last]
        out = writes(block.ln2, block.mlp.W_out)[first:last]
        maps.append(torch.einsum("du,ue->ude", into, out))
    off = maps[0] - maps[1]
    values, write = _axes(torch.einsum("ude,udf->ef", off, off))
    read = _axes(torch.einsum("ude,uce->dc", off, off))[1][: len(values)]
    norms = {"before": float(maps[1].norm()), "after": float(maps[0].norm())}
    return Change(site, "neurons", values, read, write, **norms)


def _axes(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Roots of the eigenvalues, largest first, and their axes as rows."""
    squared, axes = torch.linalg.eigh(gram)
    return squared.clamp_min(0).sqrt().flip(0), axes.T.flip(0)
