"""Attention over positions: a linear probe that learns where in the prompt to look.

A row is the stream at every position, end to end. With one query and one value for all of them,

    score = sum over i of a_i (v . x_i) + b,     a = softmax over i of q . x_i,

minimising the mean of log(1 + exp(-s * score)) + l2 / 2 * (|q|^2 + |v|^2) by L-BFGS with the
gradient in closed form. It starts at q = 0 and v = 0, where it is the linear probe of the mean over
positions, so nothing in it is random. Attention probes for high stakes: McKenzie et al., arXiv
2506.10805. With one position the softmax is 1 and what is left is ``logistic``.

Shapes: rows ``[n p*d]`` and labels ``[n]`` in, scores ``[n]`` out; ``positions`` is p, and
:mod:`mo_interp.feeding` sets it (``reads``). Limits: the loss is not convex, so it may stop at a
minimum that is not the best one, and where the mean over positions holds nothing at all it may not
leave the start. q and v know no position, so what only order tells must be in the stream already.
It sees the trigger's own word, so a high score says nothing of the decision until the cut. No
single direction at one position, hence no Feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.special import expit, softmax

from mo_interp.detectors.base import Array, Constants, Detector, Fitted, Needs, as_rows
from mo_interp.errors import BadShape, BadValues

_STEPS = 60


@dataclass(frozen=True)
class AttentionProbe(Detector):
    """The log-odds of a linear read-out, averaged over positions by learned attention."""

    needs: ClassVar[Needs] = "labels"
    reads: ClassVar[str] = "positions"
    """Rows hold every position; see :func:`mo_interp.feeding.reads`."""
    paper: ClassVar[str] = "arXiv 2506.10805"
    null_draws: ClassVar[int] = 19

    positions: int = 1
    """Positions that lie end to end in a row."""
    l2: float = 1e-3
    """Penalty per row on query and value."""

    def __post_init__(self) -> None:
        """Refuse what has no position, or no penalty."""
        if self.positions < 1 or not self.l2 > 0:
            raise BadValues(
                f"AttentionProbe(positions={self.positions}, l2={self.l2}): needs 1 position or "
                "more and a penalty above 0"
            )

    def solve(self, x: Array, y: Any) -> dict[str, Array]:
        """Query and value ``[d]``, the bias, and what positions are centred and divided by."""
        spread = self._split(x)
        centre = spread.mean((0, 1))
        scale = float(np.sqrt(((spread - centre) ** 2).mean())) or 1.0
        rows, sign = (spread - centre) / scale, np.where(y, 1.0, -1.0)

        def at(flat: Array) -> tuple[float, Array]:
            return loss(flat, rows, sign, self.l2)

        start, options = np.zeros(2 * len(centre) + 1), {"maxiter": _STEPS, "maxcor": 10}
        found = minimize(at, start, jac=True, method="L-BFGS-B", options=options).x
        query, value, bias = np.split(found, [len(centre), 2 * len(centre)])
        told = {"query": query, "value": value, "bias": bias}
        return {**told, "centre": centre, "scale": np.array([scale])}

    def read(self, constants: Constants, x: Array) -> Array:
        """Log-odds of the positive class."""
        rows = self._normal(constants, x)
        weights = softmax(rows @ constants["query"], axis=1)
        return (weights * (rows @ constants["value"])).sum(1) + constants["bias"]

    def weights(self, fitted: Fitted, acts: Any) -> Float[np.ndarray, "n p"]:
        """Where a fitted one looks: attention over the positions of rows ``[n p*d]``."""
        rows = self._normal(fitted.constants, as_rows(acts))
        return softmax(rows @ fitted.constants["query"], axis=1)

    def _normal(self, constants: Constants, x: Array) -> Array:
        return (self._split(x) - constants["centre"]) / constants["scale"]

    def _split(self, x: Array) -> Array:
        """Rows as ``[n p d]``; raises BadShape where positions do not divide them."""
        if x.shape[1] % self.positions:
            raise BadShape(
                f"acts: {x.shape[1]} coordinates; attention_probe takes {self.positions} positions "
                "end to end, so a multiple of that: acts.reshape(len(acts), -1)"
            )
        return x.reshape(len(x), self.positions, -1)


def loss(flat: Array, x: Array, sign: Array, l2: float) -> tuple[float, Array]:
    """The objective and its slope at ``flat [2d + 1]`` (query, value, bias), rows ``[n p d]``."""
    d, spread = x.shape[2], x.reshape(-1, x.shape[2])
    both, bias = flat[: 2 * d].reshape(2, d), flat[2 * d :]
    asked, values = (both @ spread.T).reshape(2, *x.shape[:2])
    weights = softmax(asked, axis=1)
    mean = (weights * values).sum(1)
    margin = sign * (mean + bias)
    objective = np.logaddexp(0, -margin).mean() + l2 / 2 * (both**2).sum()
    out = -sign * expit(-margin) / len(x)
    flows = out[:, None] * weights
    back = np.stack([flows * (values - mean[:, None]), flows]).reshape(2, -1)
    slope = back @ spread + l2 * both
    return float(objective), np.append(slope.ravel(), out.sum())


detector = AttentionProbe()
