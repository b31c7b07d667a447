"""Quantum entropy scores: spectral signatures that look at all large directions, softly.

Rows come without labels, most of them clean. With C their covariance, a row's score is

    (x - mean)' Q (x - mean),    Q = exp(alpha * C / |C|) / trace of the same,

|C| being the largest eigenvalue and exp that of a matrix. Dong, Hopkins and Li, *Quantum Entropy
Scoring for Fast Robust Mean Estimation and Improved Outlier Detection*, arXiv 1906.11366; used
against backdoors in SPECTRE, Hayase et al., arXiv 2104.11315. At ``alpha`` 0 it is the squared
distance from the mean over d; as ``alpha`` grows it becomes ``spectral``. In between, several
directions of large variance count at once.

Shapes: rows ``[n d]`` in, scores ``[n]`` out. Limits: as for ``spectral``, the odd rows must be
few. The papers whiten by a covariance known to be clean first; here no clean rows are known, so
directions in which everything varies count too. No direction, hence no Feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mo_interp.detectors.base import Array, Constants, Detector, Needs
from mo_interp.errors import BadValues


@dataclass(frozen=True)
class QuantumEntropy(Detector):
    """Squared distance from the mean in a metric that favours directions of large variance."""

    needs: ClassVar[Needs] = "nothing"
    paper: ClassVar[str] = "arXiv 1906.11366"

    alpha: float = 4.0
    """How much large directions are favoured; 4 as in the paper."""

    def __post_init__(self) -> None:
        """Refuse a negative or unbounded preference."""
        if not 0 <= self.alpha < np.inf:
            raise BadValues(f"QuantumEntropy.alpha={self.alpha}: needs a number from 0, usually 4")

    def solve(self, x: Array, y: Any) -> dict[str, Array]:
        """The mean, and a square root ``[d d]`` of the metric."""
        mean = x.mean(0)
        sizes, axes = np.linalg.eigh((x - mean).T @ (x - mean) / len(x))
        largest = sizes[-1] if sizes[-1] > 0 else 1.0  # rows all alike: the plain distance
        weight = np.exp(self.alpha * (sizes - largest) / largest)  # the largest weighs 1
        return {"mean": mean, "root": axes * np.sqrt(weight / weight.sum())}

    def read(self, constants: Constants, x: Array) -> Array:
        """Squared distance in the metric."""
        return (((x - constants["mean"]) @ constants["root"]) ** 2).sum(1)

    def score_many(self, x: Array, labels: Array, test: Array) -> Array:
        """No label enters: one fit serves all."""
        return np.tile(self.read(self.solve(x, None), test), (len(labels), 1))


detector = QuantumEntropy()
