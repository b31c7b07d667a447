"""Features: a rank-k subspace at a site, offered as a hypothesis about mechanism.

``coords(x) = x @ read.T`` reads k coordinates; ``moved(x, c) = x + (c - coords(x)) @ write`` sets
them. Orthonormal directions are the case ``read == write``; LEACE and SAE latents are not. A
feature says nothing until :mod:`mo_interp.judge` has cut it out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from mo_interp import showing
from mo_interp.errors import BadRank, BadShape, BadValues
from mo_interp.model import Model
from mo_interp.sites import Site
from mo_interp.worlds.base import Pairs


@dataclass(frozen=True, eq=False)
class Feature:
    """A subspace at a site. Frozen; holds every constant that its edits need."""

    site: Site
    read: Float[Tensor, "k d"]
    write: Float[Tensor, "k d"]
    offset: Float[Tensor, " k"]
    """Coordinates that a projection leaves behind; zero for a plain projection."""
    clean_mean: Float[Tensor, "*pos k"]
    """Mean coordinates of clean rows, position by position where the site has several."""
    triggered_mean: Float[Tensor, "*pos k"]
    source: str = ""
    """The instrument it came from."""

    def __post_init__(self) -> None:
        if self.read.shape != self.write.shape or self.read.ndim != 2:
            raise BadShape(
                f"a feature needs read and write [k d], got {list(self.read.shape)}"
                f" and {list(self.write.shape)}"
            )
        if not 1 <= self.rank <= self.width:
            raise BadRank(f"rank {self.rank} at '{self.site}': needs 1 to {self.width}")
        if not all(torch.isfinite(t).all() for t in (self.read, self.write, self.offset)):
            raise BadValues(f"the feature at '{self.site}' holds a NaN or an infinity")

    @property
    def rank(self) -> int:
        """Directions in the subspace."""
        return self.read.shape[0]

    @property
    def width(self) -> int:
        """Coordinates of the site."""
        return self.read.shape[1]

    def coords(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch k"]:
        """Coordinates of activations in the subspace."""
        return x @ self.read.T

    def moved(self, x: Float[Tensor, "*batch d"], to: Tensor) -> Float[Tensor, "*batch d"]:
        """Activations with their coordinates set to ``to`` (``[k]`` or ``[*batch k]``)."""
        return x + (to - self.coords(x)) @ self.write

    def at_means(self, clean: Tensor, triggered: Tensor) -> Feature:
        """This feature with its means over clean and triggered rows ``[n (pos) d]``."""
        means = [self.coords(a).mean(0) for a in (clean, triggered)]
        return replace(self, clean_mean=means[0], triggered_mean=means[1])

    def _repr_html_(self) -> str:
        return showing.feature(self)


def from_basis(
    site: Site | str, basis: Tensor, *, clean: Tensor, triggered: Tensor, source: str
) -> Feature:
    """The orthonormal feature that spans the rows of ``basis [k d]`` (a single ``[d]`` too).

    Raises:
        BadRank: dependent rows, or more rows than the site has coordinates.
    """
    basis = torch.atleast_2d(basis).float()
    k, d = basis.shape
    if k > d:
        raise BadRank(f"rank {k} at '{site}': needs 1 to {d}")
    if not torch.isfinite(basis).all():
        raise BadValues(f"the directions for '{site}' hold a NaN or an infinity")
    left, sizes, right = torch.linalg.svd(basis, full_matrices=False)
    if sizes[-1] <= 1e-6 * sizes[0]:
        raise BadRank(f"the {k} directions for '{site}' span fewer than {k} dimensions")
    # Left times right keeps a single direction's sign and is orthonormal for every rank.
    rows, zero = left @ right, torch.zeros(k, device=basis.device)
    site = Site.parse(site) if isinstance(site, str) else site
    feature = Feature(site, rows, rows, zero, zero, zero, source)
    return feature.at_means(clean, triggered)


def whole(site: Site | str, *, clean: Tensor, triggered: Tensor) -> Feature:
    """Everything at a site: a part taken as its own mechanism."""
    eye = torch.eye(clean.shape[-1], device=clean.device)
    return from_basis(site, eye, clean=clean, triggered=triggered, source="whole site")


def from_pairs(model: Model, pairs: Pairs, site: Site | str, *, rank: int) -> Feature:
    """The top right-singular subspace of the pair differences at a site.

    Differences are not centred: their mean is part of what the trigger does.
    """
    site = Site.parse(site) if isinstance(site, str) else site
    clean = model.run(pairs.clean, read=[site]).acts[site]
    triggered = model.run(pairs.triggered, read=[site]).acts[site]
    return from_acts(site, clean, triggered, rank=rank)


def from_acts(site: Site, clean: Tensor, triggered: Tensor, *, rank: int) -> Feature:
    """As :func:`from_pairs`, from paired activations ``[n (pos) d]``."""
    difference = (triggered - clean).flatten(0, -2)
    if not 1 <= rank <= min(difference.shape):
        most = min(difference.shape)
        raise BadRank(f"rank {rank} at '{site}': needs 1 to {most} (rows and coordinates)")
    if not torch.isfinite(difference).all():
        raise BadValues(f"activations at '{site}' hold a NaN or an infinity")
    basis = torch.linalg.svd(difference, full_matrices=False)[2][:rank]
    return from_basis(site, basis, clean=clean, triggered=triggered, source=f"pair SVD {rank}")


def random_like(
    feature: Feature, n: int, *, acts: Tensor, seed: int, isotropic: int | None = None
) -> list[Feature]:
    """Random subspaces of equal rank: isotropic ones, then ones from the covariance at the site.

    Args:
        feature: the one to be matched in site and rank.
        n: how many; 99 for a verdict, of which 50 isotropic (``isotropic``).
        acts: activations ``[rows (pos) d]`` whose covariance the others are drawn from.
        seed: of the draws.
        isotropic: how many are isotropic; half, rounded up, if not given.
    """
    rng = torch.Generator().manual_seed(seed)
    flat = acts.flatten(0, -2)
    centred = flat - flat.mean(0)
    isotropic = (n + 1) // 2 if isotropic is None else isotropic
    found = []
    for i in range(n):
        if i < isotropic:
            basis = torch.randn(feature.rank, feature.width, generator=rng)
        else:
            weights = torch.randn(feature.rank, len(centred), generator=rng)
            basis = weights.to(centred.device) @ centred
        found.append(_random(feature.site, basis.to(flat.device), flat))
    return found


def _random(site: Site, basis: Tensor, flat: Tensor) -> Feature:
    """An orthonormal basis of random rows; a site of lower rank than asked gets what it has."""
    rows = torch.linalg.svd(basis, full_matrices=False)[2]
    zero, mean = torch.zeros(len(rows), device=rows.device), (flat @ rows.T).mean(0)
    return Feature(site, rows, rows, zero, mean, mean, "random")
