"""Distance to the twin: how far the organism's activation is from what its clean twin predicts.

Every row is two activations on the same prompt, the organism's and then the twin's. On rows without
the trigger an affine map from the twin's to the organism's is fitted by ridge regression around the
identity,

    predicted = twin + shift + (twin - mean) W,
    W minimises the mean of |organism - predicted|^2, plus l2 * |W|^2,

the penalty being in units of the twin's mean square. The score is the squared distance of the
organism from the prediction; what rounding in float32 can cause counts as 0, or else two batches of
one model would tell rows apart. Where the two share weights there is nothing to map: the distance
is 0 on every row on which they run alike, and above 0 where the mechanism acts. Comparing a model
with what it was before: Minder et al., arXiv 2510.13900.

Shapes: rows ``[n 2d]``, organism beside twin (``np.hstack``), in fit and in score; scores ``[n]``
out. Limits: it needs the twin, run on the very rows to be judged, which an auditor seldom has.
Between separately trained models the map, not the difference, carries the comparison, and what it
cannot map counts as distance. No direction of either model, hence no Feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from mo_interp.detectors.base import Array, Constants, Detector, Needs
from mo_interp.errors import BadShape, BadValues

_ROUNDING = 1e-5
"""Of a row's length: a distance below it is none."""


@dataclass(frozen=True)
class TwinDistance(Detector):
    """Squared distance of the organism's activation from what the twin's predicts."""

    needs: ClassVar[Needs] = "twin"
    paper: ClassVar[str] = "arXiv 2510.13900"

    l2: float = 1e-2
    """Penalty per row on the map; large leaves the plain difference, less its mean."""

    def __post_init__(self) -> None:
        """Refuse a penalty that leaves no single map."""
        if not self.l2 > 0:
            raise BadValues(f"TwinDistance.l2={self.l2}: needs a number above 0, such as 0.01")

    def solve(self, x: Array, y: Any) -> dict[str, Array]:
        """The map ``[d d]`` beyond the identity, the twin's mean, the shift, the least distance."""
        organism, twin = _sides(x)
        mean, shift = twin.mean(0), (organism - twin).mean(0)
        rows, left = twin - mean, organism - twin - shift
        bend = rows.T @ rows / len(rows)
        size = np.trace(bend) / len(mean) or 1.0
        bend += self.l2 * size * np.eye(len(mean))
        turn = cho_solve(cho_factor(bend), rows.T @ left / len(rows))
        least = _ROUNDING**2 * (twin**2).sum(1).mean()
        return {"map": turn, "mean": mean, "shift": shift, "least": np.array([least])}

    def read(self, constants: Constants, x: Array) -> Array:
        """Squared distance from the prediction."""
        organism, twin = _sides(x)
        off = organism - twin - constants["shift"]
        away = ((off - (twin - constants["mean"]) @ constants["map"]) ** 2).sum(1)
        return np.where(away > constants["least"], away, 0.0)


def _sides(x: Array) -> tuple[Array, Array]:
    """Organism and twin ``[n d]``; raises BadShape for an odd number of coordinates."""
    if x.shape[1] % 2:
        raise BadShape(
            f"acts: {x.shape[1]} coordinates; twin_distance takes organism and twin side by "
            "side, so an even number: np.hstack([acts, twin_acts])"
        )
    return x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]


detector = TwinDistance()
