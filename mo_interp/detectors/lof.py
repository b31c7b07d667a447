"""Local outlier factor: how much emptier it is around a row than around its neighbours.

All neighbours are clean rows, the k nearest. With reach(p, o) the distance of p and o, but at least
the distance of o from its own k-th neighbour,

    density(p) = 1 / mean over neighbours o of reach(p, o),
    score(p)   = mean over neighbours o of density(o), over density(p).

A row in the midst of evenly spaced ones scores 1, one outside them more. Breunig, Kriegel, Ng and
Sander, *LOF: Identifying Density-Based Local Outliers*, SIGMOD 2000 (on no arXiv). The same numbers
as scikit-learn's LocalOutlierFactor(novelty=True).

Shapes: clean rows ``[n d]`` in, scores ``[n]`` out. Limits: the clean rows are kept, n * d numbers,
and a score costs a distance to each of them. It needs clean rows as dense as they will be in use,
and in many coordinates all distances become alike. No direction, hence no Feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mo_interp.detectors.base import Array, Constants, Detector, Needs
from mo_interp.errors import BadLabels, BadValues

_LEAST = 1e-10
"""Added to every mean reach, so that rows on top of each other have a density."""
_SPARE = 5
"""How many times k of the nearest rows are looked through for k clean ones, at first."""


@dataclass(frozen=True)
class Lof(Detector):
    """Local outlier factor among the clean rows."""

    needs: ClassVar[Needs] = "clean"
    paper: ClassVar[str] = "Breunig et al., SIGMOD 2000"

    neighbours: int = 20
    """How many are looked at, ``k``; all there are if fewer."""

    def __post_init__(self) -> None:
        """Refuse to look at none."""
        if self.neighbours < 1:
            raise BadValues(f"Lof.neighbours={self.neighbours}: needs 1 or more, usually 20")

    def solve(self, x: Array, y: Any) -> dict[str, Array]:
        """The clean rows, the distance of each from its k-th neighbour, and its density."""
        if len(x) < 2:
            raise BadLabels(f"acts: {len(x)} row; lof compares rows, so it needs 2 or more")
        apart = _distances(x, x)
        np.fill_diagonal(apart, np.inf)  # a row is no neighbour of itself
        near, far = self._nearest(apart, len(x) - 1)
        return {"rows": x, "far": far[:, -1], "density": _density(far, far[near, -1])}

    def read(self, constants: Constants, x: Array) -> Array:
        """Mean density of the neighbours over the row's own."""
        apart = _distances(x, constants["rows"])
        near, far = self._nearest(apart, len(constants["rows"]) - 1)
        return _factor(near, far, constants["far"], constants["density"])

    def _nearest(self, apart: Array, others: int) -> tuple[Array, Array]:
        """Which are the k nearest ``[n k]``, and how far, from the nearest on."""
        k = min(self.neighbours, others)
        near = np.argpartition(apart, k - 1, axis=1)[:, :k]
        far = np.take_along_axis(apart, near, 1)
        order = np.argsort(far, axis=1, kind="stable")
        return np.take_along_axis(near, order, 1), np.take_along_axis(far, order, 1)

    def score_many(self, x: Array, labels: Array, test: Array) -> Array:
        """All refits from one table of distances, sorted once."""
        if (labels < 0.5).sum(1).min() <= self.neighbours:
            return super().score_many(x, labels, test)
        own = _distances(x, x)
        np.fill_diagonal(own, np.inf)
        tables = [_Sorted.of(own), _Sorted.of(_distances(test, x))]
        return np.stack([self._among(row < 0.5, *tables) for row in labels])

    def _among(self, clean: Array, own: _Sorted, other: _Sorted) -> Array:
        """Scores of the test rows with the rows that ``clean`` names."""
        kept = np.flatnonzero(clean)
        place = np.cumsum(clean) - 1
        near, far = own.first(self.neighbours, clean, kept)
        density = _density(far, far[place[near], -1])
        near, away = other.first(self.neighbours, clean)
        return _factor(place[near], away, far[:, -1], density)


@dataclass(frozen=True, eq=False)
class _Sorted:
    """Distances ``[t n]`` of rows from others, each line sorted."""

    order: Array
    far: Array

    @classmethod
    def of(cls, apart: Array) -> _Sorted:
        order = np.argsort(apart, axis=1, kind="stable")
        return cls(order, np.take_along_axis(apart, order, 1))

    def first(self, k: int, allowed: Array, rows: Array | None = None) -> tuple[Array, Array]:
        """The k nearest allowed ones ``[t k]`` and how far they are, for some of the rows."""
        width = min(_SPARE * k, self.order.shape[1])
        while True:
            order, far = self.order[:, :width], self.far[:, :width]
            if rows is not None:
                order, far = order[rows], far[rows]
            hit = allowed[order]
            count = np.cumsum(hit, axis=1)
            if (count[:, -1] >= k).all() or width == self.order.shape[1]:
                break
            width = min(2 * width, self.order.shape[1])
        chosen = hit & (count <= k)
        return order[chosen].reshape(-1, k), far[chosen].reshape(-1, k)


def _distances(a: Array, b: Array) -> Array:
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.sqrt(np.maximum(squared, 0))


def _density(far: Array, theirs: Array) -> Array:
    """Density of rows from distances ``[n k]`` and the neighbours' own k-distances ``[n k]``."""
    return 1 / (np.maximum(far, theirs).mean(1) + _LEAST)


def _factor(near: Array, far: Array, theirs: Array, density: Array) -> Array:
    return density[near].mean(1) / _density(far, theirs[near])


detector = Lof()
