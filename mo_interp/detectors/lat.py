"""Representation reading, or linear artificial tomography: the main axis of pair differences.

From each pair the first row is taken from the second, and the direction is the first principal
component of these differences, their mean left in,

    the unit v of largest  sum over pairs of ((second - first) . v)^2,

the first right singular vector of the differences. Which of two partners comes first makes no
difference to the axis, only to its sign: v points the way that the second rows lie, on average.
After Zou et al., *Representation Engineering: A Top-Down Approach to AI Transparency*, arXiv
2310.01405, where the sides are shuffled, which makes the mean zero in the same way.

Shapes: rows ``[2m d]`` in two halves, ``row i`` and ``row i + m`` partners and the clean one first,
as ``Pairs.both`` gives them; scores ``[n]`` of single rows out. Limits: the axis is where partners
differ *most*, which is what the trigger changed only if little else differs between partners.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mo_interp.detectors.base import Array, Constants, Detector, Needs
from mo_interp.errors import BadShape


@dataclass(frozen=True)
class Lat(Detector):
    """Projection on the first principal component of the pair differences."""

    needs: ClassVar[Needs] = "pairs"
    paper: ClassVar[str] = "arXiv 2310.01405"

    def solve(self, x: Array, y: Any) -> dict[str, Array]:
        """The axis, length 1, and the mean of either side."""
        first, second = halves(x, self.name)
        apart = second - first
        axis = np.linalg.eigh(apart.T @ apart)[1][:, -1]
        way = float(apart.mean(0) @ axis)
        if way == 0:  # no side is ahead: let the largest coordinate be positive
            way = float(axis[np.abs(axis).argmax()])
        weight = axis if way > 0 else -axis
        return {
            "weight": weight,
            "clean_mean": first.mean(0),
            "triggered_mean": second.mean(0),
        }

    def read(self, constants: Constants, x: Array) -> Array:
        """Projection on the axis, zero half-way between the two sides."""
        middle = (constants["clean_mean"] + constants["triggered_mean"]) / 2
        return (x - middle) @ constants["weight"]

    def direction(self, constants: Constants) -> Array:
        """The axis."""
        return constants["weight"]


def halves(x: Array, name: str) -> tuple[Array, Array]:
    """The two sides ``[m d]`` of rows ``[2m d]``; raises BadShape for an odd number of rows."""
    if len(x) % 2:
        raise BadShape(
            f"acts: {len(x)} rows; {name} takes rows in two halves, all first sides and then "
            "all second sides in the same order, so an even number"
        )
    return x[: len(x) // 2], x[len(x) // 2 :]


detector = Lat()
