"""Neurons: the hidden units of an MLP whose difference between partners weighs most.

A unit weighs the mean over pairs of ``|post(triggered) - post(clean)|``, times the length of what
it writes to the stream. The feature's directions are coordinates, so that cutting it is cutting
those units and no others. The baseline that an SAE latent has to beat.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mo_interp.errors import BadRank, BadSite
from mo_interp.features import Feature, from_basis
from mo_interp.model import Model
from mo_interp.sites import Site
from mo_interp.worlds.base import Pairs


def weights(model: Model, site: Site, clean: Tensor, triggered: Tensor) -> Float[Tensor, " units"]:
    """What each unit of a site ``post`` weighs, from paired activations ``[n (pos) units]``.

    Raises :class:`BadSite` for another kind of site.
    """
    if site.kind != "post":
        raise BadSite(f"site '{site}': neurons are at 'post', such as 'L1.post@-1'")
    out = model.body.blocks[site.layer].mlp.W_out.detach()
    first, last = site.units or (0, len(out))
    return (triggered - clean).abs().flatten(0, -2).mean(0) * out[first:last].norm(dim=1)


def find(model: Model, pairs: Pairs, site: Site | str, *, rank: int = 1, seed: int = 0) -> Feature:
    """The ``rank`` units that weigh most; nothing in it is random.

    Raises:
        BadSite: a site other than the hidden units of an MLP.
        BadRank: more units than have a weight above 0.
    """
    site = Site.parse(str(site))
    clean, triggered = model.read(pairs.clean, str(site)), model.read(pairs.triggered, str(site))
    found = weights(model, site, clean, triggered)
    alive = int((found > 0).sum())
    if not 1 <= rank <= alive:
        raise BadRank(f"{rank} neurons at '{site}': the trigger moves {alive} that write anything")
    chosen = found.argsort(descending=True)[:rank].sort().values
    told = ", ".join(str((site.units or (0,))[0] + int(unit)) for unit in chosen)
    return from_basis(
        site,
        torch.eye(len(found), device=found.device)[chosen],
        clean=clean,
        triggered=triggered,
        source=f"neurons {told}" if rank <= 8 else f"{rank} neurons",
    )


direction = find
