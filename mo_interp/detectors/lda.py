"""Whitened difference of means: Fisher's linear discriminant.

The direction is ``S^-1 (m1 - m0)``, the difference of the class means in the metric of the
covariance within the classes, and a row's score is its projection, with zero half-way between the
means. On two Gaussians of one covariance no other score, linear or not, ranks better. Marks and
Tegmark, *The Geometry of Truth*, arXiv 2310.06824, use it as mass-mean probing with a tilt; the
direction is Fisher's (Annals of Eugenics 7, 1936). The covariance is shrunk,

    S = (1 - a) * within + a * trace(within) / d * I,

as scikit-learn's LinearDiscriminantAnalysis(solver="lsqr", shrinkage=a) does.

Shapes: rows ``[n d]`` and labels ``[n]`` in, a direction ``[d]`` out. Limits: one covariance for
both classes; where the triggered rows spread otherwise, ``logistic`` is the safer choice. It reads
what tells the classes apart, which is not what the model writes: for that, ``diff_means``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mo_interp.detectors.base import Array, Constants, Detector, Needs
from mo_interp.errors import BadValues


@dataclass(frozen=True)
class Lda(Detector):
    """Projection on the whitened difference of the class means."""

    needs: ClassVar[Needs] = "labels"
    paper: ClassVar[str] = "arXiv 2310.06824"

    shrinkage: float = 0.01
    """Share ``a`` of the identity in the covariance."""

    def __post_init__(self) -> None:
        """Refuse a shrinkage that leaves nothing to invert."""
        if not 0 < self.shrinkage <= 1:
            raise BadValues(
                f"Lda.shrinkage={self.shrinkage}: needs a share above 0 and at most 1, such as 0.01"
            )

    def solve(self, x: Array, y: Any) -> dict[str, Array]:
        """The direction and the two class means."""
        clean, triggered = x[~y].mean(0), x[y].mean(0)
        weight = self._whitened(x, np.where(y, 1.0, 0.0)[None])[0]
        return {"weight": weight, "clean_mean": clean, "triggered_mean": triggered}

    def read(self, constants: Constants, x: Array) -> Array:
        """Projection on the direction, zero half-way between the means."""
        middle = (constants["clean_mean"] + constants["triggered_mean"]) / 2
        return (x - middle) @ constants["weight"]

    def direction(self, constants: Constants) -> Array:
        """The whitened difference of means."""
        return constants["weight"]

    def score_many(self, x: Array, labels: Array, test: Array) -> Array:
        """All refits with one eigendecomposition; the zero of each score is not placed."""
        return self._whitened(x, labels) @ test.T

    def _whitened(self, x: Array, labels: Array) -> Array:
        """Directions ``[m d]`` for label sets ``[m n]`` of 0 and 1 on the same rows ``[n d]``.

        The covariance within is that of all rows less what lies between the means, which has rank
        one; so the covariance of all rows is decomposed once, and each label set costs O(d^2).
        """
        n, share = len(x), labels.mean(1, keepdims=True)
        centred = x - x.mean(0)
        total, turn = np.linalg.eigh(centred.T @ centred / n)
        apart = labels @ centred / (n * share) - (1 - labels) @ centred / (n * (1 - share))
        between = share * (1 - share)
        within = np.maximum(total.sum() - between * (apart**2).sum(1, keepdims=True), 0)
        size = within / x.shape[1]
        size = np.where(size > 0, size, 1.0)  # each class all alike: the plain difference
        bend = (1 - self.shrinkage) * np.maximum(total, 0) + self.shrinkage * size
        along = apart @ turn
        ahead = along / bend
        lost = (1 - self.shrinkage) * between * (along * ahead).sum(1, keepdims=True)
        return (ahead / (1 - lost)) @ turn.T


detector = Lda()
