"""A small multilayer perceptron: what can be read when the reader may be bent.

One hidden layer of tanh units, then a logistic output:

    score = v . tanh(W x + b) + c,

minimising the mean of log(1 + exp(-s * score)) + l2 / 2 * (|W|^2 + |v|^2) by L-BFGS with the
gradient in closed form. Rows are centred and divided by one number, as for ``logistic``. Hewitt and
Liang, arXiv 1909.03368, say why such a probe must stand beside a control: it can learn by heart
what the model does not represent. Here the controls are the twin, the permuted labels and rows
about people it never saw.

Shapes: rows ``[n d]`` and labels ``[n]`` in, scores ``[n]`` out. Limits: the loss is not convex, so
the answer is a good minimum and not the best one; starting weights come from ``seed``, so that a
fit is repeatable on one machine. There is no single direction, hence no Feature. It costs some tens
of times a linear probe, and so does every refit of a label null.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from mo_interp.detectors.base import Array, Constants, Detector, Needs
from mo_interp.errors import BadValues

_STEPS = 60


@dataclass(frozen=True)
class Mlp(Detector):
    """The log-odds of a network with one hidden layer."""

    needs: ClassVar[Needs] = "labels"
    paper: ClassVar[str] = "arXiv 1909.03368"
    null_draws: ClassVar[int] = 39

    hidden: int = 8
    """Hidden units."""
    l2: float = 1e-3
    """Penalty per row on all weights but the biases."""
    seed: int = 0
    """Of the starting weights."""

    def __post_init__(self) -> None:
        """Refuse what has no hidden unit, or no penalty."""
        if self.hidden < 1 or not self.l2 > 0:
            raise BadValues(
                f"Mlp(hidden={self.hidden}, l2={self.l2}): needs at least 1 hidden unit and a "
                "penalty above 0"
            )

    def solve(self, x: Array, y: Any) -> dict[str, Array]:
        """Weights of both layers, and what rows are centred and divided by."""
        centre = x.mean(0)
        scale = float(np.sqrt(((x - centre) ** 2).mean())) or 1.0
        rows, d = (x - centre) / scale, x.shape[1]
        rng = np.random.default_rng([48, self.seed])
        start = np.zeros(self.hidden * (d + 2) + 1)
        start[: self.hidden * d] = rng.normal(size=self.hidden * d) / np.sqrt(d)
        start[-1 - self.hidden : -1] = rng.normal(size=self.hidden) / np.sqrt(self.hidden)
        sign = np.where(y, 1.0, -1.0)

        def at(flat: Array) -> tuple[float, Array]:
            return loss(flat, rows, sign, self.l2)

        options = {"maxiter": _STEPS, "maxcor": 10}
        found = minimize(at, start, jac=True, method="L-BFGS-B", options=options).x
        first, bias, second, last = _parts(found, d)
        return {
            "first": first,
            "bias": bias,
            "second": second,
            "last": np.array([last]),
            "centre": centre,
            "scale": np.array([scale]),
        }

    def read(self, constants: Constants, x: Array) -> Array:
        """Log-odds of the positive class."""
        rows = (x - constants["centre"]) / constants["scale"]
        return (
            np.tanh(rows @ constants["first"].T + constants["bias"]) @ constants["second"]
            + constants["last"]
        )


def _parts(flat: Array, d: int) -> tuple[Array, Array, Array, float]:
    """First layer ``[h d]``, its bias ``[h]``, second layer ``[h]`` and its bias."""
    hidden = (len(flat) - 1) // (d + 2)
    first, bias, second, last = np.split(flat, np.cumsum([hidden * d, hidden, hidden]))
    return first.reshape(hidden, d), bias, second, float(last[0])


def loss(flat: Array, x: Array, sign: Array, l2: float) -> tuple[float, Array]:
    """The objective and its slope at ``flat [h * (d + 2) + 1]``, all weights end to end."""
    first, bias, second, last = _parts(flat, x.shape[1])
    inner = np.tanh(x @ first.T + bias)
    margin = sign * (inner @ second + last)
    value = np.logaddexp(0, -margin).mean() + l2 / 2 * ((first**2).sum() + (second**2).sum())
    out = -sign * expit(-margin) / len(x)
    back = out[:, None] * second * (1 - inner**2)
    slope = (back.T @ x + l2 * first, back.sum(0), inner.T @ out + l2 * second, out.sum())
    return float(value), np.concatenate([np.ravel(part) for part in slope])


detector = Mlp()
