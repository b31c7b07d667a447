"""Contrast-consistent search: a direction on which partners are opposites, found without labels.

With p a logistic score, p1 and p2 those of two partners, the loss is the mean over pairs of

    (p1 + p2 - 1)^2  +  min(p1, p2)^2  +  a small penalty on the weights:

consistent, and not undecided. Burns et al., *Discovering Latent Knowledge in Language Models
Without Supervision*, arXiv 2212.03827. The loss is not convex: L-BFGS starts from several random
directions, and the lowest loss is kept.

The loss is the same whichever partner is called first, so that swapping sides changes nothing but
the sign, and the loss cannot tell a direction from its opposite. Here the sign is that on which the
second sides score higher on average.

Shapes: rows ``[2m d]`` in two halves, ``row i`` and ``row i + m`` partners and the clean one first;
scores ``[n]`` of single rows out. Limits: it finds *some* property on which partners are opposed,
the most prominent one (Farquhar et al., arXiv 2312.10029). The paper takes each side's own mean
out, since its sides differ by the word yes or no, which would be found at once; ``own_means`` does
so. Between clean and triggered partners the side *is* the property, so by default one mean is taken
out of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from mo_interp.detectors.base import Array, Constants, Detector, Needs
from mo_interp.detectors.lat import halves
from mo_interp.errors import BadValues


@dataclass(frozen=True)
class Ccs(Detector):
    """The log-odds of a consistent and decided linear score."""

    needs: ClassVar[Needs] = "pairs"
    paper: ClassVar[str] = "arXiv 2212.03827"
    null_draws: ClassVar[int] = 39

    restarts: int = 5
    """Random starting directions."""
    l2: float = 1e-2
    """Penalty on the squared length of the weights."""
    own_means: bool = False
    """Whether the fit takes each side's own mean out, as for statements that end in yes and no."""
    seed: int = 0
    """Of the starting directions."""

    def __post_init__(self) -> None:
        """Refuse no restart, or no penalty."""
        if self.restarts < 1 or not self.l2 > 0:
            raise BadValues(
                f"Ccs(restarts={self.restarts}, l2={self.l2}): needs at least 1 restart and a "
                "penalty above 0"
            )

    def solve(self, x: Array, y: Any) -> dict[str, Array]:
        """Weights on raw activations, the bias, and the mean of either side."""
        first, second = halves(x, self.name)
        means = first.mean(0), second.mean(0)
        centre = (means[0] + means[1]) / 2
        taken = means if self.own_means else (centre, centre)
        a, b = first - taken[0], second - taken[1]
        scale = float(np.sqrt(((a**2).mean() + (b**2).mean()) / 2)) or 1.0
        weights = self._search(a / scale, b / scale)
        weight = weights[:-1] / scale
        ahead = float((means[1] - means[0]) @ weight)
        if self.own_means and abs(ahead) <= 1e-12 * float(np.linalg.norm(weight)):
            ahead = float(weight[np.abs(weight).argmax()])
        sign = -1.0 if ahead < 0 else 1.0
        return {
            "weight": sign * weight,
            "bias": np.array([sign * (weights[-1] - centre @ weight)]),
            "clean_mean": means[0],
            "triggered_mean": means[1],
        }

    def _search(self, a: Array, b: Array) -> Array:
        """The weights and, last, the bias of the lowest loss among all restarts."""
        rng, d = np.random.default_rng([49, self.seed]), a.shape[1]
        best, weights = np.inf, np.zeros(d + 1)
        for _ in range(self.restarts):
            start = np.append(rng.normal(size=d) / np.sqrt(d), 0.0)

            def at(w: Array) -> tuple[float, Array]:
                return loss(w, a, b, self.l2)

            found = minimize(at, start, jac=True, method="L-BFGS-B", options={"maxiter": 200})
            if found.fun < best:
                best, weights = float(found.fun), found.x
        return weights

    def read(self, constants: Constants, x: Array) -> Array:
        """Log-odds of being like the second sides."""
        return x @ constants["weight"] + constants["bias"]

    def direction(self, constants: Constants) -> Array:
        """The weights."""
        return constants["weight"]


def loss(w: Array, a: Array, b: Array, l2: float) -> tuple[float, Array]:
    """The objective and its slope at weights ``[d + 1]``, for sides ``a`` and ``b`` ``[m d]``."""
    p, q = expit(a @ w[:-1] + w[-1]), expit(b @ w[:-1] + w[-1])
    off, least = p + q - 1, np.minimum(p, q)
    value = (off**2 + least**2).mean() + l2 / 2 * w[:-1] @ w[:-1]
    tied = np.where(p == q, 0.5, 1.0)
    out_p = 2 * (off + least * tied * (p <= q)) * p * (1 - p) / len(a)
    out_q = 2 * (off + least * tied * (q <= p)) * q * (1 - q) / len(a)
    slope = np.append(a.T @ out_p + b.T @ out_q + l2 * w[:-1], out_p.sum() + out_q.sum())
    return float(value), slope


detector = Ccs()
