"""Logistic probes at all sites and positions in one batched solve, and random directions beside.

:func:`fit_many` minimises, for every site at once, what ``detectors/logistic.py`` minimises for
one: rows centred and divided by their root mean square, then

    mean over rows of log(1 + exp(-s * (x @ w + b)))  +  l2 / 2 * |w|^2,   s = +1 or -1.

1. Sites where both classes have the same mean, such as every position before the trigger, have the
   answer w = 0 and are done.
2. The others go in blocks, in float32. A Newton step needs the curvature, which costs as much as
   several slopes; so one curvature serves for further steps, corrected by what the steps before
   did to the slope (limited-memory BFGS, Nocedal 1980), and is made anew where a step leaves more
   than six tenths of the slope.
3. A step is halved where it does not lower the loss.
4. What is to be exact to less than a millionth, or does not settle, goes on in float64.

Many probes on all layers and positions: Alain and Bengio, arXiv 1610.01644.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.linalg.blas import ssyrk  # type: ignore[attr-defined]
from scipy.linalg.lapack import dpotrf, spotrf, spotrs  # type: ignore[attr-defined]

from mo_interp.detectors.base import as_labels
from mo_interp.detectors.logistic import Logistic
from mo_interp.errors import BadLabels, BadShape, BadValues

__all__ = ["Probes", "fit_many", "random_aurocs"]

Array = NDArray[Any]
_STEPS, _HALVED, _BLOCK, _ENOUGH, _KEPT, _SHORT = 100, 12, 2**22, 0.6, 8, 1e-6
"""Steps at most, and tries of one; bytes of rows in a block; a step that leaves less of the slope
needs no new curvature; steps remembered; slopes below which float32 is not enough."""
_FAR = {"f": 80.0, "d": 700.0}
"""Log-odds beyond which exp overflows, by precision."""


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
    step = max(1, _BLOCK // (4 * n * (d + 1)))
    for first in range(0, len(differ), step):
        block = differ[first : first + step]
        together = block[-1] - block[0] + 1 == len(block)  # then a view will do
        mine = x[:, block[0] : block[-1] + 1] if together else x[:, block]
        w, slopes[block], centre, scale = _solved(mine, labels, l2, tolerance)
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


def _normalised(x: Array, y: Array, dtype: type) -> tuple[Array, Array, Array]:
    """Rows ``[site batch d + 1]`` centred, scaled, with a constant column; and by what.

    Rows of the positive class are negated, so that every row is right where its product is low.
    """
    n, sites, d = x.shape
    sign = np.where(y, -1.0, 1.0).astype(dtype)
    rows = np.empty((sites, n, d + 1), dtype)
    centre = x.mean(0, dtype=np.float64)
    if dtype is np.float32:  # any centre will do, the bias takes the rest
        centre = centre.astype(x.dtype)
    np.subtract(x.transpose(1, 0, 2), centre[:, None], out=rows[:, :, :-1], casting="unsafe")
    rows[:, :, -1] = 0
    flat = rows.reshape(sites, -1)
    scale = np.sqrt(np.einsum("si,si->s", flat, flat).astype(np.float64) / (n * d))
    scale[scale == 0] = 1.0
    rows *= (sign / scale[:, None].astype(dtype))[:, :, None]
    rows[:, :, -1] = sign
    return rows, centre.astype(np.float64), scale


def _solved(x: Array, y: Array, l2: float, tolerance: float) -> tuple[Array, ...]:
    """Weights ``[site d + 1]`` on normalised rows, slopes ``[site]``, centres and scales."""
    penalty = np.full(x.shape[2] + 1, l2)
    penalty[-1] = 0.0
    rows, centre, scale = _normalised(x, y, np.float32)
    fit = _descend(rows, penalty, max(tolerance, _SHORT), _Fit.start(rows, penalty))
    if tolerance < _SHORT or np.abs(fit.slope).max() > tolerance:
        rows, centre, scale = _normalised(x, y, np.float64)
        every = np.arange(len(rows))
        fit.move(every, *_at(rows, every, fit.w, penalty), fit.w)
        fit = _descend(rows, penalty, tolerance, fit)
    return fit.w, np.abs(fit.slope).max(1), centre, scale


@dataclass(eq=False)
class _Fit:
    """Where a block of sites stands; what is true of a site is row ``site`` of every array."""

    w: Float[np.ndarray, "site d"]
    slope: Float[np.ndarray, "site d"]
    loss: Float[np.ndarray, " site"]
    p: Float[np.ndarray, "site batch"]
    factors: list[Array | None]
    """Cholesky factor of each site's curvature; None where it is to be made anew."""
    steps: list[tuple[Array, Array, Array]]
    """Steps, the changes of slope they made, and one over their product, or 0 to forget them."""

    @classmethod
    def start(cls, x: Array, penalty: Array) -> _Fit:
        """At weights of zero."""
        sites, n, d = x.shape
        every, empty = np.arange(sites), np.zeros((sites, d))
        found = cls(empty, empty.copy(), np.zeros(sites), np.zeros((sites, n)), [None] * sites, [])
        found.move(every, *_at(x, every, empty, penalty), empty)
        return found

    def move(self, at: Array, loss: Array, p: Array, slope: Array, w: Array) -> None:
        """Put sites ``at`` where they are now."""
        self.loss[at], self.p[at], self.slope[at], self.w[at] = loss, p, slope, w


def _descend(x: Array, penalty: Array, tolerance: float, fit: _Fit) -> _Fit:
    """Go on until no slope is above ``tolerance``; ``x [site batch d]`` in its own precision."""
    for _ in range(_STEPS):
        open_ = np.flatnonzero(np.abs(fit.slope).max(1) > tolerance)
        if not len(open_):
            break
        for i in open_:
            if fit.factors[i] is None:
                fit.factors[i] = _curvature(x[i], fit.p[i], penalty)
                for _, _, scale in fit.steps:
                    scale[i] = 0.0
        _step(x, penalty, fit, open_)
    return fit


def _step(x: Array, penalty: Array, fit: _Fit, at: Array) -> None:
    """One step of every site ``at``, halved where it does not lower the loss."""
    ahead, slack, tries = _ahead(fit, at), np.finfo(x.dtype).eps * 8, 0
    while True:
        w = fit.w[at] - ahead
        loss, p, slope = _at(x, at, w, penalty)
        worse = loss > fit.loss[at] + slack
        tries += 1
        if tries == _HALVED or not worse.any():
            break
        ahead[worse] /= 2
    before = np.abs(fit.slope[at]).max(1)
    made, change = np.zeros_like(fit.w), np.zeros_like(fit.w)
    made[at], change[at] = w - fit.w[at], slope - fit.slope[at]
    product = np.einsum("sd,sd->s", made, change)
    scale = np.divide(1.0, product, out=np.zeros_like(product), where=product > 1e-30)
    fit.steps = [*fit.steps[1 - _KEPT :], (made, change, scale)]
    fit.move(at, loss, p, slope, w)
    for i in at[np.abs(slope).max(1) > _ENOUGH * before]:
        fit.factors[i] = None


def _ahead(fit: _Fit, at: Array) -> Array:
    """The slope divided by the curvature as the last steps have corrected it (L-BFGS)."""
    q, kept = fit.slope[at], []
    steps = [tuple(one[at] for one in step) for step in fit.steps]
    for made, change, scale in reversed(steps):
        share = scale * np.einsum("sd,sd->s", made, q)
        q = q - share[:, None] * change
        kept.append(share)
    short, q = q.astype(np.float32), np.empty(q.shape)
    for row, i in enumerate(at):
        q[row] = spotrs(fit.factors[i], short[row], lower=1)[0]
    for (made, change, scale), share in zip(steps, reversed(kept), strict=True):
        q = q + made * (share - scale * np.einsum("sd,sd->s", change, q))[:, None]
    return q


def _at(x: Array, sites: Array, w: Array, penalty: Array) -> tuple[Array, Array, Array]:
    """The objective ``[s]``, chances of being wrong ``[s batch]`` and slopes ``[s d]``."""
    short, n = w.astype(x.dtype), x.shape[1]
    odds = np.empty((len(sites), n), x.dtype)
    for row, i in enumerate(sites):
        np.dot(x[i], short[row], out=odds[row])
    np.exp(np.minimum(odds, _FAR[x.dtype.char], out=odds), out=odds)
    whole = odds + 1
    wrong = odds / whole
    loss = np.log(whole, out=whole).mean(1, dtype=np.float64) + (penalty * w**2).sum(1) / 2
    slope = np.stack([wrong[row] @ x[i] for row, i in enumerate(sites)])
    return loss, wrong, slope / np.float64(n) + penalty * w


def _curvature(x: Array, wrong: Array, penalty: Array) -> Array:
    """The lower Cholesky factor of the curvature at chances ``[batch]`` of one site, in float32."""
    weight = np.sqrt(wrong * (1 - wrong)).astype(np.float32)
    part = x.astype(np.float32, copy=False) * weight[:, None]
    bend = ssyrk(1 / len(x), part.T, lower=1)
    bend.flat[:: len(penalty) + 1] += penalty + 1e-9
    factor, bad = spotrf(bend, lower=1)
    return factor if not bad else dpotrf(bend.astype(np.float64), lower=1)[0]
