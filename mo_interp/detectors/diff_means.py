"""Difference of means, also called mass-mean probing.

The direction from the mean of the negative rows to the mean of the positive ones; a row's score is
its projection, with zero half-way between the means. No covariance enters, which is what makes the
direction a fair guess at what the model itself writes: Marks and Tegmark, *The Geometry of Truth*,
arXiv 2310.06824.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mo_interp.detectors.base import Array, Constants, Detector, Needs


@dataclass(frozen=True)
class DiffMeans(Detector):
    """Projection on the difference of the class means."""

    needs: ClassVar[Needs] = "labels"
    paper: ClassVar[str] = "arXiv 2310.06824"

    def solve(self, x: Array, y: Any) -> dict[str, Array]:
        """The two class means."""
        return {"clean_mean": x[~y].mean(0), "triggered_mean": x[y].mean(0)}

    def read(self, constants: Constants, x: Array) -> Array:
        """Projection on the difference, zero half-way."""
        middle = (constants["clean_mean"] + constants["triggered_mean"]) / 2
        return (x - middle) @ self.direction(constants)

    def direction(self, constants: Constants) -> Array:
        """From the clean to the triggered mean."""
        return constants["triggered_mean"] - constants["clean_mean"]

    def score_many(self, x: Array, labels: Array, test: Array) -> Array:
        """All refits as two matrix products; the zero of each score is not placed."""
        n = labels.sum(1, keepdims=True)
        apart = labels @ x / n - (1 - labels) @ x / (len(x) - n)
        return apart @ test.T


detector = DiffMeans()
