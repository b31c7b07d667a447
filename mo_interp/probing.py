"""Logistic probes at all sites and positions in one batched solve, and random directions beside.

:func:`fit_many` minimises, for every site at once, what ``detectors/logistic.py`` minimises for
one: rows centred and divided by their root mean square, then

    mean over rows of log(1 + exp(-s * (x @ w + b)))  +  l2 / 2 * |w|^2,   s = +1 or -1.

1. Sites where both classes have the same mean, such as every position before the trigger, have the
   answer w = 0 and are done.
2. The others go in blocks that fit a core's cache. A Newton step needs the curvature, which costs
   as much as several slopes; so one curvature serves for further steps as long as each of them
   leaves three tenths of the slope or less (the chord method), and is renewed where one does not.
3. A step is halved where it does not lower the loss.

Slopes and answers are float64; the curvature, which only says how far to go, is summed in float32.
Many probes on all layers and positions: Alain and Bengio, arXiv 1610.01644.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotrs  # type: ignore[attr-defined]

from mo_interp.detectors.base import as_labels
from mo_interp.detectors.logistic import Logistic
from mo_interp.errors import BadLabels, BadShape, BadValues

__all__ = ["Probes", "fit_many", "random_aurocs"]

Array = NDArray[Any]
_STEPS, _BLOCK, _ENOUGH = 200, 2**21, 0.3
"""Steps at most; bytes of rows in a block; a step that leaves less of the slope needs no more."""


@dataclass(frozen=True, eq=False)
class Probes:
    """A logistic probe at each of many sites."""

    directions: Float[np.ndarray, "site d"]
    """Weights on raw activations; zeros where the classes have equal means."""
    bias: Float[np.ndarray, " site"]
    slope: Float[np.ndarray, " site"]
    """The largest slope that was left, on normalised rows."""

    def score(self, acts: Any) -> Float[np.ndarray, "batch site"]:
        """Log-odds of the positive class for rows ``[batch site d]``."""
        x = _stacked(acts, "acts")
        if x.shape[1:] != self.directions.shape:
            raise BadShape(
                f"acts: {list(x.shape[1:])} sites and coordinates; the probes were fitted to "
                f"{list(self.directions.shape)}"
            )
        return np.einsum("nsd,sd->ns", x, self.directions, optimize=True) + self.bias


def fit_many(acts: Any, y: Any, *, l2: float = Logistic.l2, tolerance: float = 1e-6) -> Probes:
    """A logistic probe at every site of ``acts [batch site d]`` for labels ``y [batch]``.

    The same answers as ``Logistic(l2).fit`` site by site, to ``tolerance``: the largest slope that
    counts as none (scikit-learn's default is 1e-4). Raises BadShape for other than three axes,
    BadLabels for one class, BadValues for NaN, for a penalty of 0 or less, or where a site does
    not settle.
    """
    x = _stacked(acts, "acts")
    labels = as_labels(y, len(x))
    Logistic(l2=l2)  # refuses a penalty without an answer
    n, sites, d = x.shape
    share = labels.mean()
    directions, slopes = np.zeros((sites, d)), np.zeros(sites)
    bias = np.full(sites, np.log(share / (1 - share)))
    differ = np.flatnonzero(_apart(x, labels))
    step = max(1, _BLOCK // (8 * n * (d + 1)))
    for first in range(0, len(differ), step):
        block = differ[first : first + step]
        rows, centre, scale = _normalised(x[:, block])
        w, slopes[block] = _chord(rows, labels.astype(np.float64), l2, tolerance)
        directions[block] = w[:, :-1] / scale[:, None]
        bias[block] = w[:, -1] - (directions[block] * centre).sum(1)
    settled = slopes <= tolerance
    if not settled.all():
        worst = int(np.flatnonzero(~settled)[0])
        raise BadValues(
            f"site {worst} of {sites}: logistic regression did not settle; the largest slope is "
            f"{slopes[worst]:.1e}, so give a larger l2 than {l2} or tolerance than {tolerance}"
        )
    return Probes(directions, bias, slopes)


def random_aurocs(
    acts: Any, y: Any, *, test_acts: Any, test_y: Any, n: int = 1000, seed: int = 0
) -> Float[np.ndarray, " n"]:
    """AUROCs of ``n`` random directions at one site, as ``baselines.random_directions`` has them.

    Rows ``acts [m d]`` choose the signs, ``test_acts [t d]`` are ranked. The same directions; ranks
    are of float32 scores, with the label kept in the last bit, so that one plain sort ranks all.
    A tie counts half.
    """
    train, test = (np.asarray(a, dtype=np.float32) for a in (acts, test_acts))
    labels, truth = as_labels(y, len(train)), as_labels(test_y, len(test), "test_y")
    directions = np.random.default_rng(seed).normal(size=(n, train.shape[1])).astype(np.float32)
    apart = train[labels].mean(0) - train[~labels].mean(0)
    directions *= np.where(directions @ apart < 0, -1, 1)[:, None]
    keys = (directions @ test.T).view(np.int32)
    keys = (keys ^ ((keys >> 31) & 0x7FFFFFFF)) & ~1  # whole numbers in the order of the scores
    found, tied = _wins(keys, truth)
    if tied.any():  # there, positives won every tie: let them lose every tie as well, and take half
        found[tied] = (found[tied] + 1 - _wins(keys[tied], ~truth)[0]) / 2
    return found


def _wins(keys: Array, y: Array) -> tuple[Array, Array]:
    """AUROCs of even ``keys [m t]``, positives above in a tie; and where they tie with others."""
    ordered = keys | y
    ordered.sort(axis=1)
    pos, t = int(y.sum()), len(y)
    exact = np.float32 if t * (t + 1) < 2**24 else np.float64  # holds every sum of ranks
    ranks = ((ordered & 1).astype(exact) @ np.arange(1, t + 1, dtype=exact)).astype(np.float64)
    tied = ((ordered[:, 1:] ^ ordered[:, :-1]) == 1).any(1)
    return (ranks - pos * (pos + 1) / 2) / (pos * (t - pos)), tied


def _stacked(acts: Any, what: str) -> Array:
    """Activations as ``[batch site d]``, float32 or float64, all finite."""
    if hasattr(acts, "detach"):
        acts = acts.detach().cpu().numpy()
    x = np.asarray(acts)
    x = x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)
    if x.ndim != 3 or 0 in x.shape[1:]:
        raise BadShape(f"{what}: shape {list(x.shape)}; [batch, site, coordinates] is needed")
    if len(x) == 0:
        raise BadLabels(f"{what}: empty; at least one row is needed")
    if not np.isfinite(x.sum()):  # one pass where all is well
        bad = ~np.isfinite(x).all(axis=(0, 2))
        if bad.any():
            raise BadValues(f"{what}: site {int(bad.argmax())} holds a NaN or an infinity")
    return x


def _apart(x: Array, y: Array) -> Array:
    """Which sites ``[site]`` have classes of different means."""
    flat = x.reshape(len(x), -1)
    weight = np.where(y, 1 / y.sum(), -1 / (~y).sum()).astype(x.dtype)
    gap = np.abs(weight @ flat).reshape(x.shape[1:]).max(1)
    most = np.abs(flat).max(0).reshape(x.shape[1:]).max(1)
    return gap > 1e-6 * most


def _normalised(x: Array) -> tuple[Array, Array, Array]:
    """Rows ``[site batch d + 1]`` centred, scaled and with a constant column; and by what."""
    n, sites, d = x.shape
    rows = np.zeros((sites, n, d + 1))
    rows[:, :, :-1] = x.transpose(1, 0, 2)
    centre = rows.mean(1)
    rows -= centre[:, None]
    flat = rows.reshape(sites, -1)
    scale = np.sqrt(np.einsum("si,si->s", flat, flat) / (n * d))
    scale[scale == 0] = 1.0
    rows /= scale[:, None, None]
    rows[:, :, -1] = 1.0
    return rows, centre[:, :-1], scale


def _chord(x: Array, y: Array, l2: float, tolerance: float) -> tuple[Array, Array]:
    """Weights ``[site d]`` of rows ``x [site batch d]``, and the largest slope left ``[site]``."""
    sites, n, d = x.shape
    small, penalty = x.astype(np.float32), np.full(d, l2)
    penalty[-1] = 0.0
    w, bends = np.zeros((sites, d)), [np.zeros((d, d))] * sites
    now, p = _loss((x @ w[:, :, None])[:, :, 0], y, w, penalty)
    slope = _slope(x, p, y, w, penalty)
    before = np.zeros(sites)  # no curvature yet
    for _ in range(_STEPS):
        steep = np.abs(slope).max(1)
        open_ = steep > tolerance
        if not open_.any():
            break
        step = np.zeros((sites, d))
        for i in np.flatnonzero(open_):
            if steep[i] > before[i] * _ENOUGH:
                bends[i] = _curvature(small[i], p[i], penalty)
            step[i] = dpotrs(bends[i], slope[i])[0]
        before, then, q = steep, now, p
        for _ in range(12):
            then, q = _loss((x @ (w - step)[:, :, None])[:, :, 0], y, w - step, penalty)
            worse = then > now + 1e-12
            if not worse.any():
                break
            step[worse] /= 2
            before = np.where(worse, 0.0, before)  # and renew the curvature
        w, now, p = w - step, then, q
        slope = _slope(x, p, y, w, penalty)
    return w, np.abs(slope).max(1)


def _loss(z: Array, y: Array, w: Array, penalty: Array) -> tuple[Array, Array]:
    """The objective ``[site]``, and chances ``[site batch]``, at log-odds ``z [site batch]``."""
    tail = np.exp(-np.abs(z))
    whole = 1 + tail
    wrong = np.maximum(z, 0) - z * y + np.log(whole)
    value = wrong.mean(1) + (penalty * w**2).sum(1) / 2
    return value, np.where(z > 0, 1.0, tail) / whole


def _slope(x: Array, p: Array, y: Array, w: Array, penalty: Array) -> Array:
    return ((p - y)[:, None] @ x)[:, 0] / x.shape[1] + penalty * w


def _curvature(x: Array, p: Array, penalty: Array) -> Array:
    """The Cholesky factor of the curvature at chances ``p [batch]`` of one site."""
    part = x * np.sqrt(p * (1 - p)).astype(np.float32)[:, None]
    bend = (part.T @ part).astype(np.float64) / len(x)
    bend.flat[:: len(penalty) + 1] += penalty + 1e-9
    return dpotrf(bend)[0]
