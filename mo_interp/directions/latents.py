"""SAE latents: the span of several latents of one sparse autoencoder, as one feature.

:meth:`mo_interp.saes.SAE.feature` makes a feature of one latent. Several of them are not several
such features: their decoder rows overlap, so that setting one latent moves the reading of another.
Here ``write`` holds the decoder rows, scaled to length 1, and ``read = (E write^T)^-1 E`` with the
encoder columns E, so that every coordinate reads back exactly what was written to it. For one
latent it is that method's feature. The gate (top k, a threshold) is not linear and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mo_interp.errors import BadRank, BadValues, NoFeature
from mo_interp.features import Feature
from mo_interp.saes import SAE

_LEAST = 1e-3
"""Smallest singular value of encoder times decoder, both scaled to length 1."""


def span(sae: SAE, latents: Sequence[int], *, clean: Tensor, triggered: Tensor) -> Feature:
    """The feature of some latents, with means over rows ``[n (pos) d]`` of each kind.

    Raises:
        BadValues: a latent that the SAE does not have, or one given twice.
        BadRank: no latent, or more than the site has coordinates.
        NoFeature: latents that do not read what they write, or that write the same.
    """
    count, width = sae.decoder.shape
    chosen = list(latents)
    if not all(0 <= latent < count for latent in chosen) or len(set(chosen)) < len(chosen):
        raise BadValues(f"latents {chosen}: each once, of the 0-{count - 1} of this SAE")
    if not 1 <= len(chosen) <= width:
        raise BadRank(f"{len(chosen)} latents at '{sae.site}': needs 1 to {width}")
    write = F.normalize(sae.decoder[chosen], dim=1)
    encoder = sae.body.W_enc.detach()[:, chosen].T
    lengths = encoder.norm(dim=1, keepdim=True).clamp_min(1e-12)
    meet = (encoder / lengths) @ write.T
    least = float(torch.linalg.svdvals(meet.double())[-1])
    if least < _LEAST:
        raise NoFeature(
            f"latents {chosen} of the SAE at '{sae.site}' do not read apart what they write "
            f"(smallest singular value {least:.4f})"
        )
    read = torch.linalg.solve(meet.double(), (encoder / lengths).double()).float()
    centre = sae.body.b_dec.detach() if sae.body.cfg.apply_b_dec_to_input else 0 * write[0]
    below = (encoder @ centre - sae.body.b_enc.detach()[chosen]) / lengths[:, 0]
    offset = torch.linalg.solve(meet.double(), below.double()).float()
    zero = torch.zeros(len(chosen), device=write.device)
    told = f"SAE latents {', '.join(map(str, chosen))}"
    return Feature(sae.site, read, write, offset, zero, zero, told).at_means(clean, triggered)


def strongest(sae: SAE, *, clean: Tensor, triggered: Tensor, rank: int) -> Feature:
    """The span of the ``rank`` latents that move most between partners ``[n (pos) d]``.

    A latent weighs the mean of its absolute change over pairs, times the length of its decoder row.
    Raises as :func:`span` does.
    """
    change = (sae.latents(triggered) - sae.latents(clean)).abs().flatten(0, -2).mean(0)
    order = (change * sae.decoder.norm(dim=1)).argsort(descending=True)
    return span(sae, order[:rank].tolist(), clean=clean, triggered=triggered)
