"""Edits: what may be done to the activations of a site. Each has a ``site`` and is callable.

==============  ============================================================================
Patch           put in the row of another run
Zero            the whole site to zero
Mean            the site, or a feature's coordinates, to their clean mean
Resample        a feature's coordinates to those of another run
ProjectOut      a feature's coordinates to its offset (zero unless fitted otherwise)
Nudge           move along the row's own change inside a subspace, by a given length (controls)
Steer           add a vector
Splice          put the site through a function, e.g. an SAE's encode, edit, decode
==============  ============================================================================

An edit is called with ``x [batch (pos) d]`` and the slice of the call's rows that ``x`` holds, so
that sources stay aligned however the rows are cut up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mo_interp.errors import BadShape
from mo_interp.features import Feature
from mo_interp.sites import Site


def _as_site(site: Site | str) -> Site:
    return Site.parse(site) if isinstance(site, str) else site


def _aligned(source: Tensor, x: Tensor, rows: slice, site: Site) -> Tensor:
    """The source's rows for ``x``; the two must have one shape."""
    part = source[rows]
    if part.shape != x.shape:
        raise BadShape(f"source for '{site}' has {list(part.shape)}, the run {list(x.shape)}")
    return part.to(x)


@dataclass(frozen=True, eq=False)
class Patch:
    """The whole site from another run: ``source [batch (pos) d]``, row for row."""

    site: Site
    source: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "site", _as_site(self.site))

    def __call__(self, x: Tensor, rows: slice) -> Tensor:
        """The source's rows."""
        return _aligned(self.source, x, rows, self.site)


@dataclass(frozen=True, eq=False)
class Zero:
    """The whole site to zero."""

    site: Site

    def __post_init__(self) -> None:
        object.__setattr__(self, "site", _as_site(self.site))

    def __call__(self, x: Tensor, rows: slice) -> Tensor:
        """Zeros."""
        return torch.zeros_like(x)


@dataclass(frozen=True, eq=False)
class _FeatureEdit:
    feature: Feature

    @property
    def site(self) -> Site:
        """The feature's site."""
        return self.feature.site


@dataclass(frozen=True, eq=False)
class Mean(_FeatureEdit):
    """A feature's coordinates to their mean over clean rows."""

    def __call__(self, x: Tensor, rows: slice) -> Tensor:
        """``x`` at the clean mean."""
        return self.feature.moved(x, self.feature.clean_mean)


@dataclass(frozen=True, eq=False)
class ProjectOut(_FeatureEdit):
    """A feature's coordinates to its offset: ``x - (read(x) - offset) write``."""

    def __call__(self, x: Tensor, rows: slice) -> Tensor:
        """``x`` without the feature."""
        return self.feature.moved(x, self.feature.offset)


@dataclass(frozen=True, eq=False)
class Resample(_FeatureEdit):
    """A feature's coordinates to those of ``source [batch (pos) d]``, row for row."""

    source: Tensor

    def __call__(self, x: Tensor, rows: slice) -> Tensor:
        """``x`` with the source's coordinates."""
        source = _aligned(self.source, x, rows, self.site)
        return self.feature.moved(x, self.feature.coords(source))


@dataclass(frozen=True, eq=False)
class Nudge(_FeatureEdit):
    """Towards ``source`` inside the subspace, by ``length [batch (pos)]``: a control write.

    A random write moves along the row's own direction in the random subspace, scaled to the norm
    of the true write (EVIDENCE, section 4).
    """

    source: Tensor
    length: Tensor

    def __call__(self, x: Tensor, rows: slice) -> Tensor:
        """``x`` moved by that length; a row with nothing to move along stays."""
        source = _aligned(self.source, x, rows, self.site)
        step = self.feature.moved(x, self.feature.coords(source)) - x
        size = step.norm(dim=-1, keepdim=True)
        scale = self.length[rows].unsqueeze(-1).to(x) / size.clamp_min(1e-12)
        return x + step * scale * (size > 1e-12)


@dataclass(frozen=True, eq=False)
class Steer:
    """Add ``vector [d]`` times ``scale``."""

    site: Site
    vector: Tensor
    scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "site", _as_site(self.site))

    def __call__(self, x: Tensor, rows: slice) -> Tensor:
        """``x`` plus the vector."""
        return x + self.scale * self.vector.to(x)


@dataclass(frozen=True, eq=False)
class Splice:
    """The site through ``function``, e.g. an SAE that keeps its reconstruction error."""

    site: Site
    function: Callable[[Tensor], Tensor]

    def __post_init__(self) -> None:
        object.__setattr__(self, "site", _as_site(self.site))

    def __call__(self, x: Tensor, rows: slice) -> Tensor:
        """The function of ``x``."""
        return self.function(x)
