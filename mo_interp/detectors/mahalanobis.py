"""Mahalanobis distance to the clean rows: an anomaly detector that never sees a trigger.

One Gaussian is fitted to clean activations; a row's score is its squared distance from the mean in
the metric of the covariance. After Lee, Lee, Lee and Shin, *A Simple Unified Framework for
Detecting Out-of-Distribution Samples and Adversarial Attacks*, arXiv 1807.03888, with a single
class instead of one Gaussian a class. The covariance is shrunk towards a multiple of the identity,

    S = (1 - a) * cov + a * trace(cov) / d * I,

so that it can be inverted with fewer rows than coordinates, or where a coordinate never moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from mo_interp.detectors.base import Array, Constants, Detector, Needs
from mo_interp.errors import BadValues


@dataclass(frozen=True)
class Mahalanobis(Detector):
    """Squared distance from the mean of the clean rows."""

    needs: ClassVar[Needs] = "clean"
    paper: ClassVar[str] = "arXiv 1807.03888"

    shrinkage: float = 0.01
    """Share ``a`` of the identity in the covariance."""

    def __post_init__(self) -> None:
        """Refuse a shrinkage that leaves nothing to invert."""
        if not 0 < self.shrinkage <= 1:
            raise BadValues(
                f"Mahalanobis.shrinkage={self.shrinkage}: needs a share above 0 and "
                "at most 1, such as 0.01"
            )

    def solve(self, x: Array, y: Any) -> dict[str, Array]:
        """The mean and the lower Cholesky factor of the shrunk covariance."""
        mean = x.mean(0)
        cov = (x - mean).T @ (x - mean) / len(x)
        d = len(mean)
        size = np.trace(cov) / d or 1.0  # rows all alike: plain Euclidean distance
        shrunk = (1 - self.shrinkage) * cov + self.shrinkage * size * np.eye(d)
        return {"clean_mean": mean, "factor": cholesky(shrunk, lower=True)}

    def read(self, constants: Constants, x: Array) -> Array:
        """Squared Mahalanobis distance."""
        away = x - constants["clean_mean"]
        return (solve_triangular(constants["factor"], away.T, lower=True) ** 2).sum(0)


detector = Mahalanobis()
