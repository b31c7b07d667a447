"""LEACE: the least affine change after which no linear classifier finds the trigger.

Least-squares concept erasure (Belrose et al., 2023; arXiv 2306.03819). With the covariance S of the
activations, W its inverse square root and u the unit vector along ``W cov(x, label)``::

    x  ->  x - ((x - mean) W u) (W^-1 u)

1. Both classes then have one mean, so that no linear classifier beats a constant (theorem 3.1).
2. Of all affine maps with that property, it moves the activations least (theorem 4.2), in the mean
   square and in every other quadratic norm as well.

Fitted by the authors' library ``concept-erasure``, in double precision and with its three
approximations off (shrinkage, the bound on the trace, the tolerance that drops a weak concept),
since with them the theorem does not hold exactly. As a :class:`~mo_interp.features.Feature`,
``read`` is ``u W``, ``write`` is ``W^-1 u`` and ``offset`` the reading of the mean, so that a
projection (:class:`~mo_interp.edits.ProjectOut`) is the erasure. The rank is that of the label,
which is 1.
"""

from __future__ import annotations

import torch
from concept_erasure import LeaceFitter
from jaxtyping import Float
from torch import Tensor

from mo_interp.errors import BadLabels, BadRank, BadShape
from mo_interp.features import Feature
from mo_interp.model import Model
from mo_interp.sites import Site
from mo_interp.worlds.base import Pairs

_TINY = 1e-12
"""Weakest whitened covariance with the label that is still erased."""


def erasure(
    site: Site | str, clean: Float[Tensor, "*clean d"], triggered: Float[Tensor, "*triggered d"]
) -> Feature:
    """The erasure of the trigger, from activations of clean and of triggered rows.

    Rows need not be pairs, nor as many of each kind. Directions in which no row varies are left
    as they are.

    Raises:
        BadShape: the two differ in width.
        BadLabels: the means of the two are equal, so that there is nothing to erase.
    """
    site = Site.parse(site) if isinstance(site, str) else site
    if clean.shape[-1] != triggered.shape[-1]:
        raise BadShape(f"'{site}': {clean.shape[-1]} and {triggered.shape[-1]} coordinates")
    parts = [acts.detach().flatten(0, -2).double() for acts in (clean, triggered)]
    x = torch.cat(parts)
    label = torch.repeat_interleave(torch.tensor([0.0, 1.0]), torch.tensor([len(p) for p in parts]))
    fitter = LeaceFitter(
        x.shape[1],
        1,
        dtype=torch.float64,
        device=x.device,
        shrinkage=False,
        constrain_cov_trace=False,
        svd_tol=_TINY,
    )
    eraser = fitter.update(x, label.double().to(x.device)).eraser
    read, write, mean = eraser.proj_right, eraser.proj_left.mH, fitter.mean_x
    if not float(read.norm()) > 0:
        raise BadLabels(f"'{site}': clean and triggered rows have one mean; nothing to erase")
    zero = torch.zeros(1, device=x.device)
    read, write, offset = read.float(), write.float(), (read @ mean).float()
    return Feature(site, read, write, offset, zero, zero, "LEACE").at_means(clean, triggered)


def find(model: Model, pairs: Pairs, site: Site | str, *, rank: int = 1, seed: int = 0) -> Feature:
    """The erasure at a site; nothing in it is random.

    Raises:
        BadRank: a rank other than 1, which is that of one label.
        BadLabels: the trigger does not move the mean of this site.
    """
    if rank != 1:
        raise BadRank(f"LEACE of rank {rank}: one label, triggered or not, has rank 1")
    return erasure(site, model.read(pairs.clean, str(site)), model.read(pairs.triggered, str(site)))


direction = find
