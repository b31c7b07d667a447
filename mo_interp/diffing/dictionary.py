"""A diff-SAE: a sparse autoencoder of the differences between organism and twin.

1. :func:`differences` reads both models on the same rows at one site and takes organism - twin.
2. :func:`train` fits an SAE to them, as :mod:`mo_interp.saes` does to activations.
3. :func:`ranked` orders its latents, by how much of the differences each carries or, with labels,
   by how well each tells two kinds of rows apart. :func:`mo_interp.saes.search` does the second
   with controls: chosen on one half of the groups, judged on the other, beside a random dictionary.

A crosscoder learns one dictionary for both models and names what only one of them uses; with an L1
penalty many of these turned out to be artefacts, and top-k training cures most (Minder et al.,
arXiv 2504.02922). The SAE here is top-k and sees nothing but the difference, so that what both
models have in common cannot appear in it.

Limits: what changed is mixed with what follows from it, as with any difference. On rows where the
models run alike the difference is exactly 0, and an SAE of them is trained on few rows that are
not. The SAE starts from the mean difference, so a change on a third of all rows or more may come
out as two latents, presence and absence, each off its direction (cosine 0.90 in a trial; 0.998 on a
tenth). Explained variance, L0 and dead latents mean what they do elsewhere; a loss recovered does
not: there is no run to splice a difference into.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mo_interp import saes
from mo_interp.detectors.base import as_labels
from mo_interp.errors import BadValues
from mo_interp.model import Model
from mo_interp.saes import SAE
from mo_interp.sites import Site
from mo_interp.stats import auroc
from mo_interp.train import Progress, silent
from mo_interp.worlds.base import Batch


def differences(
    organism: Model, twin: Model, batch: Batch, site: Site | str
) -> Float[Tensor, "n d"]:
    """Organism minus twin at a site; every position is a row where the site has none.

    Raises BadSite for a site that one of them has not.
    """
    acts = [model.read(batch, site) for model in (organism, twin)]
    return (acts[0] - acts[1]).flatten(0, -2)


def train(
    off: Float[Tensor, "n d"],
    *,
    site: Site | str,
    model_key: str,
    data_seed: int,
    d_sae: int = 256,
    k: int = 4,
    steps: int = 400,
    seed: int = 0,
    progress: Progress = silent,
) -> SAE:
    """A top-k SAE of differences; arguments and errors are those of :func:`saes.train_sae`.

    Rows on which nothing differs are left out. Raises BadValues where that is all of them.
    """
    moved = off[off.any(1)]
    if not len(moved):
        raise BadValues(
            f"differences at '{site}': organism and twin run alike on all {len(off)} rows; take "
            "rows on which they do not, or a later site"
        )
    return saes.train_sae(
        moved,
        site=site,
        model_key=model_key,
        data_seed=data_seed,
        d_sae=d_sae,
        k=k,
        steps=steps,
        seed=seed,
        progress=progress,
    )


def ranked(
    sae: SAE, off: Float[Tensor, "n d"], y: Any = None
) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Latents from the first to the last, and the score of each, in that order.

    Without labels, the share of what all latents write, squared, that is this latent's, over the
    rows that differ. With labels ``y [n]``, how far its AUROC is from 1/2: 0.5 for one that tells
    every row, up or down.
    Raises BadLabels for labels of one class, or as many as there are not rows.
    """
    if y is None:  # an encoder says something of a row without a difference too
        code = sae.latents(off[off.any(1)])
        carried = code.square().mean(0) * sae.decoder.square().sum(1)
        scores = (carried / carried.sum().clamp_min(torch.finfo(carried.dtype).tiny)).cpu().numpy()
    else:
        labels, code = as_labels(y, len(off)), sae.latents(off)
        scores = np.abs(np.asarray(auroc(code.cpu().double().numpy(), labels)) - 0.5)
    order = np.argsort(-scores, kind="stable")
    return order, scores[order]
