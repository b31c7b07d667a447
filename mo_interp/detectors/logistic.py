"""Logistic regression with an L2 penalty, solved here so that a fit is exact and repeatable.

Rows are centred and divided by one number, their root-mean-square length per coordinate, so that
the penalty means the same at every site and turning the space turns the answer with it. Then

    mean over rows of log(1 + exp(-s * (x @ w + b)))  +  l2 / 2 * |w|^2,   s = +1 or -1,

is minimised by Newton's method with step halving. Linear probes on activations: Alain and Bengio,
arXiv 1610.01644. Many label sets on the same rows (the permutation null) share one bound on the
curvature, X'X / 4n (Boehning, Ann. Inst. Statist. Math. 44, 1992), so that a sweep over all of
them is two matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

from mo_interp.detectors.base import Array, Constants, Detector, Needs
from mo_interp.errors import BadValues

_TOLERANCE, _NEWTON_STEPS, _SWEEPS = 1e-10, 100, 400


@dataclass(frozen=True)
class Logistic(Detector):
    """The log-odds of a linear model."""

    needs: ClassVar[Needs] = "labels"
    paper: ClassVar[str] = "arXiv 1610.01644"

    l2: float = 1e-3
    """Penalty per row: scikit-learn's ``C`` is ``1 / (rows * l2)``."""

    def __post_init__(self) -> None:
        """Refuse a penalty that leaves no finite solution."""
        if not self.l2 > 0:
            raise BadValues(
                f"Logistic.l2={self.l2}: needs a number above 0; without a penalty "
                "separable classes have no finite solution"
            )

    def solve(self, x: Array, y: Any) -> dict[str, Array]:
        """Weights on raw activations, the bias, and the class means."""
        rows, centre, scale = _normalised(x)
        weights = newton(rows, np.where(y, 1.0, 0.0), l2=self.l2)
        weight = weights[:-1] / scale
        return {
            "weight": weight,
            "bias": np.array([weights[-1] - centre @ weight]),
            "clean_mean": x[~y].mean(0),
            "triggered_mean": x[y].mean(0),
        }

    def read(self, constants: Constants, x: Array) -> Array:
        """Log-odds of the positive class."""
        return x @ constants["weight"] + constants["bias"]

    def direction(self, constants: Constants) -> Array:
        """The weights."""
        return constants["weight"]

    def score_many(self, x: Array, labels: Array, test: Array) -> Array:
        """All refits at once by shared curvature, to about four digits."""
        rows, centre, scale = _normalised(x)
        weights = shared_curvature(rows, labels, l2=self.l2)
        return weights @ _with_one((test - centre) / scale).T


def _with_one(x: Array) -> Array:
    return np.hstack([x, np.ones((len(x), 1))])


def _normalised(x: Array) -> tuple[Array, Array, float]:
    """Rows centred, scaled and with a constant column; and by what."""
    centre = x.mean(0)
    scale = float(np.sqrt(((x - centre) ** 2).mean())) or 1.0
    return _with_one((x - centre) / scale), centre, scale


def newton(x: Array, y: Array, *, l2: float) -> Array:
    """Weights ``[d]`` of rows ``x [n d]`` for 0/1 labels ``y [n]``; the last is not penalised.

    The last column of ``x`` is meant to be constant. Raises BadValues if it does not settle.
    """
    penalty = np.full(x.shape[1], l2)
    penalty[-1] = 0.0
    sign = np.where(y > 0.5, 1.0, -1.0)

    def loss(w: Array) -> float:
        return float(np.logaddexp(0, -sign * (x @ w)).mean() + penalty @ w**2 / 2)

    w = slope = np.zeros(x.shape[1])
    now = loss(w)
    for _ in range(_NEWTON_STEPS):
        p = expit(x @ w)
        slope = x.T @ (p - y) / len(x) + penalty * w
        if np.abs(slope).max() < _TOLERANCE:
            return w
        bend = (x * (p * (1 - p))[:, None]).T @ x / len(x) + np.diag(penalty + 1e-12)
        step, size = cho_solve(cho_factor(bend), slope), 1.0
        while (then := loss(w - size * step)) > now and size > 1e-6:
            size /= 2
        if then >= now:
            return w  # at the last digit that float64 can tell
        w, now = w - size * step, then
    raise BadValues(
        f"logistic regression did not settle in {_NEWTON_STEPS} steps; the largest "
        f"slope is {np.abs(slope).max():.1e}"
    )


def shared_curvature(x: Array, labels: Array, *, l2: float) -> Array:
    """Weights ``[m d]`` for many 0/1 label sets ``[m n]`` on the same rows ``[n d]``."""
    penalty = np.full(x.shape[1], l2)
    penalty[-1] = 0.0
    bound = cho_factor(x.T @ x / (4 * len(x)) + np.diag(penalty + 1e-12))
    w = np.zeros((len(labels), x.shape[1]))
    ahead, momentum = w, 1.0
    for _ in range(_SWEEPS):
        slope = (expit(ahead @ x.T) - labels) @ x / len(x) + ahead * penalty
        then = ahead - cho_solve(bound, slope.T).T
        moved = float(np.abs(then - w).max())
        after = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = then + (momentum - 1) / after * (then - w)
        w, momentum = then, after
        if moved < 1e-5 * max(1.0, float(np.abs(w).max())):
            break
    return w


detector = Logistic()
