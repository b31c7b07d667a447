"""Activation-difference lens: the mean difference on rows without labels, read as words.

1. Organism and twin run on the same rows. Nobody says which of them are triggered.
2. At every site and position the difference organism - twin is averaged over rows. What a part
   computes is first turned into what it writes to the stream, by each model's own weights: heads
   that differ by a change of basis only then differ in nothing.
3. The mean is read through the unembedding, which shows words that the change speaks for; its
   length is a score of the site, and so is the root mean square over rows, which does not cancel.

Narrow fine-tuning leaves such traces on prompts that have nothing to do with it: Minder et al.,
arXiv 2510.13900. Reading the stream through the unembedding: nostalgebraist's logit lens, 2020.

Limits: the norm before the unembedding is taken in linearly (its mean and weights, not its scale),
so words can be ranked and not given probabilities. A lie whose wrong answers differ from row to
row has no word of its own. After a changed part every later one differs too, downstream.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mo_interp.diffing.weights import alike
from mo_interp.errors import BadSite
from mo_interp.model import Model
from mo_interp.sites import Site
from mo_interp.worlds.base import Batch

_WITHIN = ("q", "k", "v", "pattern", "attn_scores", "pre")


@dataclass(frozen=True, eq=False)
class Lens:
    """The difference of two models at one site, by position."""

    site: Site
    """Without its position."""
    mean: Float[Tensor, "pos d"]
    """Mean difference of what is there, or of what a part writes, in the stream."""
    rms: Float[Tensor, " pos"]
    """Root mean square over rows of the difference's length."""
    typical: Float[Tensor, " pos"]
    """Mean length, over rows, of the same in the twin."""
    logits: Float[Tensor, "pos vocab"]
    """The mean difference through the unembedding."""
    rows: int
    """How many rows it was taken over."""

    @property
    def size(self) -> Float[Tensor, " pos"]:
        """Length of the mean difference."""
        return self.mean.norm(dim=1)

    def tokens(self, position: int = -1, *, top: int = 5) -> list[int]:
        """Ids of the ``top`` tokens that the mean difference speaks for at a position."""
        return self.logits[position].topk(top).indices.tolist()


def read(
    organism: Model, twin: Model, batch: Batch, sites: Iterable[Site | str]
) -> tuple[Lens, ...]:
    """The lens at each site, at every position of the batch's rows.

    Sites are cuts, what a component adds (``attn_out``, ``mlp_out``), heads (``L1.H3.z``) or
    neurons (``L1.post[0:64]``); a position is ignored. Raises BadShape for models of two shapes,
    BadSite for a site inside a component, or one that there is not.
    """
    alike(organism, twin)
    places = [organism.sites.check(site).bare for site in sites]
    for site in places:
        if site.kind in _WITHIN:
            raise BadSite(
                f"site '{site}': {site.kind} is used inside its component and writes nothing to "
                "the stream; use z, post, attn_out, mlp_out or a cut"
            )
    acts = [model.run(batch, read=places).acts for model in (organism, twin)]
    return tuple(_at(organism, twin, site, *(of[site] for of in acts)) for site in places)


def sizes(lenses: Iterable[Lens], *, mean: bool = True) -> dict[Site, float]:
    """One number per site to rank by: the largest over positions of the mean's length, or rms."""
    return {one.site: float((one.size if mean else one.rms).max()) for one in lenses}


@torch.no_grad()
def written(model: Model, site: Site, acts: Float[Tensor, "batch pos w"]) -> Tensor:
    """What activations at a site add to the stream ``[batch pos d]``; a cut is itself."""
    if site.kind not in ("z", "post"):
        return acts
    block = model.body.blocks[site.layer]
    if site.kind == "z":
        out = block.attn.W_O.flatten(0, 1) if site.head is None else block.attn.W_O[site.head]
        acts = acts.flatten(2)
    else:
        out = block.mlp.W_out if site.units is None else block.mlp.W_out[slice(*site.units)]
    if site.kind == "z" and site.units is not None:
        out = out[slice(*site.units)]
    return acts @ out


@torch.no_grad()
def _at(organism: Model, twin: Model, site: Site, ours: Tensor, theirs: Tensor) -> Lens:
    before = written(twin, site, theirs)
    off = written(organism, site, ours) - before
    mean, body = off.mean(0), organism.body
    seen = mean if body.ln_final.kind is None else mean - mean.mean(1, keepdim=True)
    if body.ln_final.kind == "LN":
        seen = seen * body.ln_final.w
    return Lens(
        site=site,
        mean=mean,
        rms=off.square().sum(-1).mean(0).sqrt(),
        typical=before.norm(dim=-1).mean(0),
        logits=seen @ body.unembed.W_U,
        rows=len(off),
    )
