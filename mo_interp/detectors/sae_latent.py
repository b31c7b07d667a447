"""The best latents of a sparse autoencoder as a probe: few units, chosen and weighed on train rows.

1. Rows go through an encoder: ``pre = x E + b``, of which a unit keeps what is above its threshold
   and, for a top-k dictionary, only the ``k`` highest of a row stay.
2. The units whose class means lie furthest apart, in units of their own spread, are taken.
3. A logistic regression weighs those few: with one unit it reads that unit, up or down.

k-sparse probing: Gurnee et al., arXiv 2305.01610; of SAE latents: Kantamneni et al., arXiv
2502.16681, who found that they seldom beat a probe on the activations. The best single latent
beside neurons and a random dictionary: :func:`mo_interp.saes.search`.

Shapes: rows ``[n d]`` and labels ``[n]`` in, scores ``[n]`` out. The dictionary gets in by
:func:`encoded_fit`, or from the run's SAE by :mod:`mo_interp.feeding` (``reads``), and is kept
among the constants, so that a saved detector is complete. Without one the coordinates themselves
are the units: the same probe on raw neurons. Limits: units are chosen one by one, so two that
matter only together are missed; the encoder is the organism's, on its twin too. The gate is not
linear, hence no Feature here: :mod:`mo_interp.directions.latents` makes one of latents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from mo_interp.detectors.base import Array, Constants, Detector, Fitted, Needs, as_labels, as_rows
from mo_interp.detectors.logistic import Logistic
from mo_interp.errors import BadShape, BadValues

ENCODER = ("encoder", "encoder_bias", "encoder_threshold", "encoder_k")
"""A dictionary's constants: ``[d m]``, ``[m]``, ``[m]``, and ``[1]``, 0 without a top k."""


@dataclass(frozen=True)
class SaeLatent(Detector):
    """The log-odds of a linear model of a few units."""

    needs: ClassVar[Needs] = "labels"
    reads: ClassVar[str] = "latents"
    """Units are those of the run's dictionary; see :func:`mo_interp.feeding.reads`."""
    paper: ClassVar[str] = "arXiv 2502.16681"

    units: int = 4
    """How many are chosen; 1 is the best single latent."""
    l2: float = 1e-3
    """Penalty per row of the logistic regression on them."""

    def __post_init__(self) -> None:
        """Refuse no units, or no penalty."""
        if self.units < 1 or not self.l2 > 0:
            raise BadValues(
                f"SaeLatent(units={self.units}, l2={self.l2}): needs 1 unit or more and a penalty "
                "above 0"
            )

    def solve(self, x: Array, y: Any) -> dict[str, Array]:
        """Which units ``[u]``, strongest first, their weights and the bias."""
        chosen = apart(x, y).argsort(kind="stable")[::-1][: self.units]
        found = Logistic(l2=self.l2).solve(x[:, chosen], y)
        return {"chosen": chosen, "weight": found["weight"], "bias": found["bias"]}

    def read(self, constants: Constants, x: Array) -> Array:
        """Log-odds of the positive class; rows are encoded first where there is an encoder."""
        units = encode(constants, x) if "encoder" in constants else x
        return units[:, constants["chosen"].astype(int)] @ constants["weight"] + constants["bias"]


def apart(units: Float[np.ndarray, "n m"], y: Array) -> Float[np.ndarray, " m"]:
    """Distance of each unit's class means, in its standard deviations; 0 for one that is still."""
    spread = units.std(0)
    gap = np.abs(units[y].mean(0) - units[~y].mean(0))
    return np.divide(gap, spread, out=np.zeros_like(gap), where=spread > 1e-12)


def encode(encoder: Mapping[str, Array], x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n m"]:
    """Units of rows by the constants named in :data:`ENCODER`; equal ones all stay in a top k.

    Raises BadShape for rows of another width than the encoder reads.
    """
    weights, k = encoder["encoder"], int(encoder["encoder_k"][0])
    if x.shape[1] != len(weights):
        raise BadShape(f"acts: {x.shape[1]} coordinates; this encoder reads {len(weights)}")
    pre = x @ weights + encoder["encoder_bias"]
    units = np.where(pre > encoder["encoder_threshold"], np.maximum(pre, 0.0), 0.0)
    if not 0 < k < pre.shape[1]:
        return units
    least = np.partition(pre, -k, axis=1)[:, -k, None]
    return np.where(pre >= least, units, 0.0)


def random_encoders(
    like: Mapping[str, Array], rows: Float[np.ndarray, "n d"], seeds: Iterable[int | list[int]]
) -> Iterator[dict[str, Array]]:
    """Dictionaries that learned nothing: as wide as ``like``, and on for as many units a row.

    Directions are isotropic, the bias takes the mean of ``rows`` out, and the ``k`` highest stay,
    ``k`` being how many of ``like``'s are on in a row on average. Its units are what a choice
    among as many candidates finds by chance.
    """
    d, width = like["encoder"].shape
    mean, on = rows.mean(0), (encode(like, rows) > 0).sum(1).mean()
    for seed in seeds:
        weights = np.random.default_rng(seed).normal(size=(d, width)) / np.sqrt(d)
        yield {
            "encoder": weights,
            "encoder_bias": -mean @ weights,
            "encoder_threshold": np.zeros(width),
            "encoder_k": np.array([max(1.0, np.round(on))]),
        }


def encoded_fit(detector: Detector, encoder: Mapping[str, Array], acts: Any, y: Any) -> Fitted:
    """A detector of units fitted to rows ``[n d]`` through an encoder, which it keeps.

    ``encoder`` holds the arrays of :data:`ENCODER`; :attr:`mo_interp.saes.SAE.encoder` gives them.
    Raises what :meth:`~mo_interp.detectors.base.Detector.fit` raises, and as :func:`encode` does.
    """
    x = as_rows(acts)
    found = detector.solve(encode(encoder, x), as_labels(y, len(x)))
    return Fitted(detector, {**found, **encoder}, width=x.shape[1])


detector = SaeLatent()
