"""Spectral signatures: the direction of largest variance gives a rare, odd group away.

Rows come without labels, most of them clean. They are centred, and a row's score is the square of
its projection on the first right singular vector,

    ((x - mean) . v)^2.

Tran, Li and Madry, *Spectral Signatures in Backdoor Attacks*, arXiv 1811.00636: where a share e
of the rows is moved by a vector long beside the spread of the rest, v lies along it, and the few
moved rows lie further from the mean than the many others.

Shapes: rows ``[n d]`` in, scores ``[n]`` out. Limits: the odd rows must be few. With half of the
rows triggered the mean lies half-way and both kinds score alike; and a direction in which all rows
vary much hides a smaller one that only the odd rows have (``quantum_entropy`` minds less). A square
has no direction, hence no Feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mo_interp.detectors.base import Array, Constants, Detector, Needs


@dataclass(frozen=True)
class Spectral(Detector):
    """Squared projection on the first right singular vector of the centred rows."""

    needs: ClassVar[Needs] = "nothing"
    paper: ClassVar[str] = "arXiv 1811.00636"

    def solve(self, x: Array, y: Any) -> dict[str, Array]:
        """The mean, and the axis of largest variance."""
        mean = x.mean(0)
        return {"mean": mean, "axis": np.linalg.eigh((x - mean).T @ (x - mean))[1][:, -1]}

    def read(self, constants: Constants, x: Array) -> Array:
        """Squared projection on the axis."""
        return ((x - constants["mean"]) @ constants["axis"]) ** 2

    def score_many(self, x: Array, labels: Array, test: Array) -> Array:
        """No label enters: one fit serves all."""
        return np.tile(self.read(self.solve(x, None), test), (len(labels), 1))


detector = Spectral()
