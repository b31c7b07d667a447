"""Intervals, clusters, splits and nulls: what every number in a table leans on.

Rows of one entity are near copies of each other, so a row-level interval is far too narrow (on a
null of ``tests/test_stats.py`` it covers 70 % instead of 95 %). Everything here counts *clusters*
(entities, or facts), and is itself tested on synthetic nulls with known answers.

How an interval is made, in order:

1. **All rows alike** (0 % or 100 %, or every pair separated): nothing varies, so nothing can be
   resampled. Clopper-Pearson over *distinct prompts*, the number of clusters beside. It speaks of
   new prompts of these clusters; a rule that fails on whole entities can hide from it.
2. **Else a cluster bootstrap**: whole clusters are drawn with replacement (all draws at once, as a
   matrix of counts). With eight clusters the usual percentile interval covers 0.82-0.89, so only
   the *spread* is taken from the draws, inflated by ``sqrt(G / (G - 1))``, and multiplied by the
   t quantile with G - 1 degrees of freedom; shares and AUROCs on the logit scale, which keeps
   them inside [0, 1] and lopsided near its ends.
3. **Near the ends** (less than one prompt away from 0 or 1) or without any spread, an interval is
   never narrower than the Clopper-Pearson of the same share over the distinct prompts.
4. **Differences** of AUROCs are taken draw by draw, with the t quantile. Differences of paired
   shares, and those in which one AUROC has no spread, join the intervals of their two parts (MOVER,
   Zou and Donner 2008) with the correlation the draws saw, and are never narrower than plain t.

A statistic of any other form takes :func:`cluster_bootstrap`, the *expanded* percentile interval
(Hesterberg, arXiv 1411.5279). p-values are exact ranks that can never be 0 (Phipson and Smyth,
arXiv 1603.05766). Coverages in the docstrings were measured with 3,000 repeats of the test named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mo_interp.errors import BadLabels, BadShape, BadValues, LeakySplit

__all__ = [
    "Estimate",
    "Localisation",
    "Null",
    "Split",
    "auprc",
    "auroc",
    "auroc_drop",
    "auroc_estimate",
    "check_disjoint",
    "clopper_pearson",
    "cluster_bootstrap",
    "difference",
    "false_alarm_bound",
    "group_split",
    "localisation_scores",
    "mean_estimate",
    "permutation_null",
    "proportion",
    "random_ranking",
    "rank_p",
    "share",
    "t_interval",
    "tpr_at_fpr",
]

Array = NDArray[Any]
Rows = NDArray[Any] | Sequence[Any]
Whole = int | np.integer
Real = float | int | np.floating | np.integer

_BOOTSTRAP = "cluster bootstrap"
_EXACT = "Clopper-Pearson"
_ALONE = "one cluster: no interval"


@dataclass(frozen=True)
class Estimate:
    """One number with its interval: what it is, how sure, over how many, and by which method."""

    value: float
    """The point estimate."""
    lo: float
    """Lower end of the interval (95 % unless the caller asked otherwise)."""
    hi: float
    """Upper end of the interval."""
    n: int
    """What was counted: rows, or distinct prompts where ``how`` says so, or seeds."""
    how: str
    """The method, in words."""
    clusters: int | None = None
    """Number of clusters (entities, facts) behind the rows; None where rows were not clustered."""

    def flat(self, name: str) -> dict[str, float | int | str]:
        """Scalars for a Record: ``name``, ``name_lo``, ``_hi``, ``_n``, ``_how``, ``_clusters``."""
        out: dict[str, float | int | str] = {
            name: self.value,
            f"{name}_lo": self.lo,
            f"{name}_hi": self.hi,
            f"{name}_n": self.n,
            f"{name}_how": self.how,
        }
        if self.clusters is not None:
            out[f"{name}_clusters"] = self.clusters
        return out

    def __str__(self) -> str:
        """Such as ``0.993 [0.981, 0.998] n=512 (cluster bootstrap, 8 clusters)``."""
        groups = "" if self.clusters is None else f", {self.clusters} clusters"
        return f"{self.value:.3f} [{self.lo:.3f}, {self.hi:.3f}] n={self.n} ({self.how}{groups})"


# ---------------------------------------------------------------------------------- checked inputs


def _numbers(what: str, values: Rows, *, ndim: tuple[int, ...] = (1,)) -> Array:
    """``values`` as floats; raises on empty, NaN, non-numbers or a wrong number of axes."""
    try:
        out = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as err:
        raise BadValues(f"{what}: not an array of numbers ({err})") from err
    if out.ndim not in ndim:
        axes = " or ".join(str(d) for d in ndim)
        raise BadShape(f"{what}: shape {list(out.shape)}; {axes} axes are needed")
    if out.size == 0:
        raise BadLabels(f"{what}: empty; at least one row is needed")
    bad = np.isnan(out)
    if bad.any():
        first = int(np.argwhere(bad)[0][0])
        raise BadValues(f"{what}: {int(bad.sum())} of {out.size} are NaN, the first in row {first}")
    return out


def _finite(what: str, values: Rows) -> Array:
    """``values`` [n] as floats that a mean may be taken of."""
    out = _numbers(what, values)
    if np.isinf(out).any():
        first = int(np.argmax(np.isinf(out)))
        raise BadValues(f"{what}: row {first} is {out[first]}; a mean needs finite values")
    return out


def _zero_one(what: str, values: Rows, n: int | None = None) -> Array:
    """``values`` [n] as booleans; raises on anything but 0, 1, False and True."""
    out = _numbers(what, values)
    odd = (out != 0) & (out != 1)
    if odd.any():
        raise BadLabels(f"{what}: row {int(np.argmax(odd))} is {out[odd][0]:g}; 0 or 1 is needed")
    _same_length(what, len(out), n)
    return out == 1


def _two_classes(what: str, values: Rows, n: int | None = None) -> Array:
    """``values`` [n] as booleans of which both kinds occur."""
    out = _zero_one(what, values, n)
    if out.all() or not out.any():
        which = "positive (1)" if out.all() else "negative (0)"
        raise BadLabels(f"{what}: all {len(out)} rows are {which}; both classes are needed")
    return out


def _same_length(what: str, given: int, n: int | None) -> None:
    if n is not None and given != n:
        raise BadLabels(f"{what}: {given} rows; {n} are needed, one per row of the first argument")


def _codes(what: str, ids: Rows, n: int | None = None) -> tuple[Array, Array]:
    """Distinct ids [g] and, per row, the index of its id [n]."""
    out = np.asarray(ids)
    if out.ndim != 1:
        raise BadShape(f"{what}: shape {list(out.shape)}; one id per row is needed")
    if out.size == 0:
        raise BadLabels(f"{what}: empty; at least one row is needed")
    if out.dtype.kind == "f" and np.isnan(out).any():
        raise BadValues(f"{what}: {int(np.isnan(out).sum())} ids are NaN")
    _same_length(what, len(out), n)
    names, codes = np.unique(out, return_inverse=True)
    return names, codes


def _distinct(prompts: Rows | None, n: int, keep: Array | None = None) -> int:
    """How many distinct prompts the (kept) rows hold; without ids, every row is its own."""
    if prompts is None:
        return n if keep is None else int(keep.sum())
    codes = _codes("prompts", prompts, n)[1]
    return len(np.unique(codes if keep is None else codes[keep]))


def _tail(level: Real) -> float:
    """Mass of one tail of a two-sided interval at ``level``."""
    if not 0 < level < 1:
        raise BadValues(f"level: {level}; a share between 0 and 1, such as 0.95, is needed")
    return float(1 - level) / 2


def _t_quantile(df: int, level: Real) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, 1 - _tail(level)))


# --------------------------------------------------------------------------------- exact intervals


def _beta_interval(k: float, n: float, level: Real) -> tuple[float, float]:
    """Clopper-Pearson for k of n, where k may be a fraction (a share times a count)."""
    from scipy.special import betaincinv

    tail = _tail(level)
    lo = 0.0 if k <= 0 else float(betaincinv(k, n - k + 1, tail))
    hi = 1.0 if k >= n else float(betaincinv(k + 1, n - k, 1 - tail))
    return lo, hi


def _counts_ok(k: Real, n: Real) -> None:
    if n < 1:
        raise BadLabels(f"n: {n}; at least one row is needed")
    if not 0 <= k <= n or k != int(k) or n != int(n):
        raise BadValues(f"k: {k} of n: {n}; whole numbers with 0 <= k <= n are needed")


def clopper_pearson(k: Real, n: Real, *, level: Real = 0.95) -> Estimate:
    """Exact interval for ``k`` of ``n`` independent rows: covers ``level`` or more at every share.

    Raises BadLabels where n is 0, BadValues where k is not in 0..n.
    """
    _counts_ok(k, n)
    lo, hi = _beta_interval(float(k), float(n), level)
    return Estimate(float(k / n), lo, hi, int(n), _EXACT)


def false_alarm_bound(k: Real, n: Real, *, level: Real = 0.95) -> float:
    """Upper one-sided exact bound on a rate of which ``k`` of ``n`` independent runs were seen.

    0 of 100 runs gives 0.0295. Raises BadLabels where n is 0, BadValues where k is not in 0..n.
    """
    from scipy.special import betaincinv

    _counts_ok(k, n)
    _tail(level)
    return 1.0 if k == n else float(betaincinv(k + 1, n - k, level))


def t_interval(values: Rows, *, level: Real = 0.95) -> Estimate:
    """Mean of independent ``values`` [n] (one per seed) with a Student t interval.

    Raises BadLabels for fewer than two values (one seed is not a finding), BadValues for NaN, inf.
    """
    x = _finite("values", values)
    if len(x) < 2:
        raise BadLabels(f"values: {len(x)}; a t interval needs at least 2 (one seed is no finding)")
    mean = float(x.mean())
    half = _t_quantile(len(x) - 1, level) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return Estimate(mean, mean - half, mean + half, len(x), "t interval")


# ------------------------------------------------------------------------------- cluster bootstrap


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A bootstrapped quantity: its value, its inflated spread, and what bounds its interval."""

    value: float
    draws: Array
    units: int
    groups: int

    @property
    def spread(self) -> float:
        """Standard error: that of the draws, undoing their 1 - 1/G shrinkage."""
        sd = float(np.std(self.draws)) * math.sqrt(self.groups / (self.groups - 1))
        return sd if sd > 1e-12 else 0.0

    def share(self, level: Real) -> tuple[float, float]:
        """Interval of a share or an AUROC (steps 1 to 3 of the module's docstring)."""
        p = self.value
        exact = _beta_interval(p * self.units, float(self.units), level)
        if not 0 < p < 1 or self.spread == 0:
            return exact
        half = _t_quantile(self.groups - 1, level) * self.spread / (p * (1 - p))
        lo, hi = _from_logit(math.log(p / (1 - p)), half)
        if min(p, 1 - p) * self.units < 1:
            return min(lo, exact[0]), max(hi, exact[1])
        return lo, hi


def _from_logit(centre: float, half: float) -> tuple[float, float]:
    from scipy.special import expit

    return float(expit(centre - half)), float(expit(centre + half))


def _enough(draws: Whole) -> None:
    if draws < 100:
        raise BadValues(f"draws: {draws}; at least 100 are needed for an interval")


def _draw_counts(groups: int, draws: Whole, seed: Whole) -> Array:
    """How often each cluster is drawn: [draws groups], every row summing to ``groups``."""
    _enough(draws)
    picks = np.random.default_rng(seed).integers(groups, size=(draws, groups))
    cells = (picks + np.arange(draws)[:, None] * groups).ravel()
    return np.bincount(cells, minlength=draws * groups).reshape(draws, groups).astype(np.float64)


def _need_clusters(groups: int, what: str = "rows") -> None:
    if groups < 2:
        raise BadLabels(f"clusters: all {what} are of one cluster; an interval over clusters "
                        "needs at least 2")


def _drawn_means(columns: Array, codes: Array, counts: Array) -> Array:
    """Means of ``columns`` [n c] in every draw: [draws c]."""
    groups = counts.shape[1]
    sums = np.stack([np.bincount(codes, weights=c, minlength=groups) for c in columns.T], axis=1)
    sizes = np.bincount(codes, minlength=groups)
    return (counts @ sums) / (counts @ sizes)[:, None]


def proportion(
    hits: Rows,
    *,
    clusters: Rows | None = None,
    prompts: Rows | None = None,
    seed: Whole = 0,
    draws: Whole = 2000,
    level: Real = 0.95,
) -> Estimate:
    """Share of ``hits`` [n] (0 or 1) with an interval by cluster.

    ``clusters`` [n] are the ids that are resampled (entity); ``prompts`` [n] the ids of distinct
    prompts (fact and layout), without which every row counts as its own. Rows all alike:
    Clopper-Pearson over distinct prompts. No clusters: Clopper-Pearson over rows, unless prompts
    repeat, which are then the clusters. Else the cluster bootstrap of the module's docstring.

    Coverage at 95 %, 8 clusters of 16 rows (test_proportion_covers): 0.94-0.98 for shares of 0.5
    and 0.9, correlation within clusters 0 and 0.2; rows taken as independent: 0.70. Where a share
    of 0.98 is made of clusters that fail almost whole, eight clusters cannot tell: 0.92 at a
    correlation of 0.05, 0.77 at 0.2, 64 rows each. A reader of such a share looks at the clusters.
    Raises BadLabels for empty, other than 0 or 1, or a single cluster of mixed rows.
    """
    x = _zero_one("hits", hits)
    n, value = len(x), float(x.mean())
    units = _distinct(prompts, n)
    if clusters is None and units < n:
        clusters = prompts
    codes = None if clusters is None else _codes("clusters", clusters, n)[1]
    groups = None if codes is None else int(codes.max()) + 1
    if codes is None or groups is None or value in (0, 1):
        exact = clopper_pearson(round(value * units), units, level=level)
        how = f"{_EXACT} over distinct prompts" if units < n else _EXACT
        return replace(exact, how=how, clusters=groups)
    _need_clusters(groups)
    counts = _draw_counts(groups, draws, seed)
    drawn = _Drawn(value, _drawn_means(x[:, None], codes, counts)[:, 0], units, groups)
    return Estimate(value, *drawn.share(level), n, _BOOTSTRAP, groups)


def share(hits: Rows, *, clusters: Rows, prompts: Rows | None = None) -> Estimate:
    """As :func:`proportion`, for rows that the model chose: a single cluster gets no interval.

    What lies may lie about one entity alone. The share is then told with NaN for both ends, and
    ``how`` says why. Raises BadLabels for empty or other than 0 or 1.
    """
    x = _zero_one("hits", hits)
    groups = int(_codes("clusters", clusters, len(x))[1].max()) + 1
    if groups > 1 or float(x.mean()) in (0, 1):
        return proportion(x, clusters=clusters, prompts=prompts)
    return Estimate(float(x.mean()), math.nan, math.nan, len(x), _ALONE, groups)


def mean_estimate(
    values: Rows,
    *,
    clusters: Rows | None = None,
    seed: Whole = 0,
    draws: Whole = 2000,
    level: Real = 0.95,
) -> Estimate:
    """Mean of ``values`` [n] with an interval by cluster, or a t interval over rows without any.

    Bootstrap spread times the t quantile. Coverage at 95 % with 8 clusters (test_mean_covers):
    0.95. Raises BadLabels for empty or one cluster, BadValues for NaN or inf.
    """
    x = _finite("values", values)
    if clusters is None:
        return t_interval(x, level=level)
    codes = _codes("clusters", clusters, len(x))[1]
    groups = int(codes.max()) + 1
    _need_clusters(groups)
    means = _drawn_means(x[:, None], codes, _draw_counts(groups, draws, seed))[:, 0]
    drawn = _Drawn(float(x.mean()), means, len(x), groups)
    half = _t_quantile(groups - 1, level) * drawn.spread
    return Estimate(drawn.value, drawn.value - half, drawn.value + half, len(x), _BOOTSTRAP, groups)


def _reach(x: float, y: float, r: float) -> float:
    """Length of the difference of two errors ``x`` and ``y`` with correlation ``r``."""
    return math.sqrt(max(x * x + y * y - 2 * r * x * y, 0.0))


def _plain(a: _Drawn, b: _Drawn, level: Real) -> tuple[float, float]:
    """Plain t interval of a - b, both from the same draws."""
    gap = a.value - b.value
    spread = _Drawn(gap, a.draws - b.draws, a.units, a.groups).spread
    half = _t_quantile(a.groups - 1, level) * spread
    return max(gap - half, -1.0), min(gap + half, 1.0)


def _joined(a: _Drawn, b: _Drawn, level: Real) -> tuple[float, float]:
    """Interval of a - b from the intervals of both shares (MOVER), or plain t where wider."""
    (a_lo, a_hi), (b_lo, b_hi) = a.share(level), b.share(level)
    both = a.spread > 0 and b.spread > 0
    r = float(np.corrcoef(a.draws, b.draws)[0, 1]) if both else 0.0
    gap = a.value - b.value
    lo, hi = _plain(a, b, level)
    lo = min(lo, gap - _reach(a.value - a_lo, b_hi - b.value, r))
    hi = max(hi, gap + _reach(a_hi - a.value, b.value - b_lo, r))
    return max(lo, -1.0), min(hi, 1.0)


def difference(
    hits_a: Rows,
    hits_b: Rows,
    *,
    clusters: Rows | None = None,
    prompts: Rows | None = None,
    seed: Whole = 0,
    draws: Whole = 2000,
    level: Real = 0.95,
) -> Estimate:
    """Share of ``hits_a`` [n] minus share of ``hits_b`` [n], paired row by row, such as a cost.

    Made of the two kinds of rows that disagree, (1, 0) and (0, 1), so that 0 disagreements of n
    still give an interval, [-u, u] with u the exact bound on a share never seen. Without
    ``clusters`` every prompt (or row) is its own. Coverage at 95 %, 8 clusters of 16 rows
    (test_difference_covers): 0.95-0.98, and more where under 1 % of the rows disagree.
    Raises BadLabels for empty, other than 0 or 1, or a single cluster of rows that disagree.
    """
    a = _zero_one("hits_a", hits_a)
    b = _zero_one("hits_b", hits_b, len(a))
    n = len(a)
    units = _distinct(prompts, n)
    ids = clusters if clusters is not None else prompts if prompts is not None else np.arange(n)
    codes = _codes("clusters", ids, n)[1]
    groups = int(codes.max()) + 1
    apart = np.stack([a & ~b, ~a & b], axis=1).astype(np.float64)
    shares = apart.mean(axis=0)
    shown = None if clusters is None else groups
    if set(shares.tolist()) <= {0.0, 1.0}:
        plus, minus = (_Drawn(float(s), np.zeros(2), units, 2) for s in shares)
        how = f"{_EXACT} over distinct prompts" if units < n else _EXACT
        return Estimate(plus.value - minus.value, *_joined(plus, minus, level), units, how, shown)
    _need_clusters(groups)
    drawn = _drawn_means(apart, codes, _draw_counts(groups, draws, seed))
    plus, minus = (_Drawn(float(shares[i]), drawn[:, i], units, groups) for i in (0, 1))
    value = plus.value - minus.value
    return Estimate(value, *_joined(plus, minus, level), n, _BOOTSTRAP, shown)


def cluster_bootstrap(
    statistic: Callable[..., float],
    clusters: Rows,
    *arrays: Rows,
    seed: Whole = 0,
    draws: Whole = 2000,
    level: Real = 0.95,
) -> Estimate:
    """Any ``statistic(*arrays)`` of row-aligned ``arrays`` [n ...], resampling whole clusters.

    The expanded percentile interval (arXiv 1411.5279): percentiles moved outwards so that a mean
    gets the width of its t interval. It stays inside the statistic's own range and may return nan
    on a draw where it is not defined (one class only); up to a tenth of the draws may, and ``how``
    says so. Coverage at 95 % with 8 clusters (test_cluster_bootstrap_covers): 0.93; the plain
    percentile interval covers 0.89 there.
    Raises BadLabels for one cluster or uneven lengths, BadValues for nan on the rows as given.
    """
    from scipy.special import ndtr

    codes = _codes("clusters", clusters)[1]
    columns = [np.asarray(a) for a in arrays]
    for i, column in enumerate(columns):
        _same_length(f"array {i}", len(column), len(codes))
    groups = int(codes.max()) + 1
    _need_clusters(groups)
    _enough(draws)
    value = float(statistic(*columns))
    if math.isnan(value):
        raise BadValues("statistic: nan on the rows as given; a number is needed")
    rows = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    rng = np.random.default_rng(seed)
    picks = rng.integers(groups, size=(draws, groups))
    drawn = np.empty(draws)
    for i, pick in enumerate(picks):
        index = np.concatenate([rows[g] for g in pick])
        drawn[i] = statistic(*(column[index] for column in columns))
    kept = drawn[~np.isnan(drawn)]
    if len(kept) < 0.9 * draws:
        raise BadValues(f"statistic: not defined on {draws - len(kept)} of {draws} draws of "
                        f"{groups} clusters; at most a tenth may be")
    tail = float(ndtr(-math.sqrt(groups / (groups - 1)) * _t_quantile(groups - 1, level)))
    lo, hi = np.quantile(kept, [tail, 1 - tail])
    how = _BOOTSTRAP if len(kept) == draws else f"{_BOOTSTRAP}, {len(kept)} of {draws} draws"
    return Estimate(value, float(lo), float(hi), len(codes), how, groups)


# ------------------------------------------------------------------------------ AUROC and its kind


def _ties(scores: Array) -> tuple[Array, Array, Array]:
    """Order of each column [n m] and, in that order, first and last index of each run of ties."""
    n = len(scores)
    order = np.argsort(scores, axis=0, kind="stable")
    ordered = np.take_along_axis(scores, order, axis=0)
    new = np.ones(scores.shape, dtype=bool)
    new[1:] = ordered[1:] != ordered[:-1]
    index = np.arange(n)[:, None]
    first = np.maximum.accumulate(np.where(new, index, 0), axis=0)
    ends = np.ones(scores.shape, dtype=bool)
    ends[:-1] = new[1:]
    last = np.minimum.accumulate(np.where(ends, index, n - 1)[::-1], axis=0)[::-1]
    return order, first, last


def _columns(scores: Rows) -> tuple[Array, bool]:
    """``scores`` [n] or [n m] as [n m], and whether it was [n]."""
    x = _numbers("scores", scores, ndim=(1, 2))
    return (x[:, None], True) if x.ndim == 1 else (x, False)


def auroc(scores: Rows, labels: Rows) -> float | Array:
    """Chance that a positive row scores above a negative one, ties counting half; exact.

    ``scores`` [n] give a float; [n m] (such as 1,000 random directions) give [m].
    Raises BadValues for NaN (inf is allowed), BadLabels for one class or uneven lengths.
    """
    x, single = _columns(scores)
    y = _two_classes("labels", labels, len(x))
    order, first, last = _ties(x)
    pos = int(y.sum())
    ranks = ((first + last) / 2 + 1) * y[order]
    out = (ranks.sum(axis=0) - pos * (pos + 1) / 2) / (pos * (len(y) - pos))
    return float(out[0]) if single else out


def auprc(scores: Rows, labels: Rows) -> float | Array:
    """Average precision over thresholds, tied rows entering together; its chance is the base rate.

    ``scores`` [n] give a float, [n m] give [m]. Raises as :func:`auroc`.
    """
    x, single = _columns(scores)
    y = _two_classes("labels", labels, len(x))
    order, _, last = _ties(-x)
    hit = y[order]
    found = np.take_along_axis(np.cumsum(hit, axis=0), last, axis=0)
    out = (hit * found / (last + 1)).sum(axis=0) / y.sum()
    return float(out[0]) if single else out


def _wins(scores: Array, labels: Array, codes: Array) -> Array:
    """Pairs won, by cluster: [g h] = positives of g above negatives of h, ties half."""
    groups = int(codes.max()) + 1
    pos, pos_codes = scores[labels], codes[labels]
    neg, neg_codes = scores[~labels], codes[~labels]
    out = np.zeros((groups, groups))
    for h in np.unique(neg_codes):
        low = np.sort(neg[neg_codes == h])
        won = (np.searchsorted(low, pos, "left") + np.searchsorted(low, pos, "right")) / 2
        out[:, h] = np.bincount(pos_codes, weights=won, minlength=groups)
    return out


def _drawn_aurocs(
    columns: Sequence[Array], labels: Array, clusters: Rows, *,
    prompts: Rows | None, seed: Whole, draws: Whole,
) -> tuple[list[_Drawn], int]:
    """Each column's AUROC in the same draws, and the number of clusters."""
    codes = _codes("clusters", clusters, len(labels))[1]
    groups = int(codes.max()) + 1
    held = [np.bincount(codes, weights=y, minlength=groups) for y in (labels, ~labels)]
    per_class = [int((h > 0).sum()) for h in held]
    for count, kind in zip(per_class, ("positive", "negative"), strict=True):
        _need_clusters(count, f"{kind} rows")
    counts = _draw_counts(groups, draws, seed)
    pairs = (counts @ held[0]) * (counts @ held[1])
    kept = pairs > 0
    if kept.sum() < 0.9 * draws:
        raise BadLabels(f"clusters: {per_class[0]} hold positive and {per_class[1]} negative rows, "
                        "too few: over a tenth of the draws hold one class only")
    units = min(_distinct(prompts, len(labels), keep) for keep in (labels, ~labels))
    out = []
    for scores in columns:
        wins = _wins(scores, labels, codes)
        aurocs = ((counts @ wins) * counts).sum(axis=1)[kept] / pairs[kept]
        out.append(_Drawn(float(auroc(scores, labels)), aurocs, units, min(per_class)))
    return out, groups


def auroc_estimate(
    scores: Rows,
    labels: Rows,
    *,
    clusters: Rows,
    prompts: Rows | None = None,
    seed: Whole = 0,
    draws: Whole = 2000,
    level: Real = 0.95,
) -> Estimate:
    """AUROC of ``scores`` [n] for ``labels`` [n], with an interval by cluster.

    Cluster bootstrap on the logit scale. Where every pair is separated (or every score tied) there
    is no spread: then m = the smaller class's number of distinct prompts, and its m disjoint pairs
    of rows are m independent trials of the AUROC, so Clopper-Pearson of value * m in m applies
    (1.000 [0.986, 1.000] for m = 256), as it does within one prompt of 0 or 1.

    Coverage at 95 %, 8 clusters of 8 + 8 rows, entities that differ in level and separation
    (test_auroc_covers): 0.96 at an AUROC of 0.5 and 0.72, 0.94 at 0.92, 0.98 at 0.994. Where
    labels belong to whole clusters the rarer kind is what counts; that covers 0.97 and more.
    Raises BadValues for NaN, BadLabels for one class, or where a class sits in one cluster.
    """
    x = _numbers("scores", scores)
    y = _two_classes("labels", labels, len(x))
    (drawn,), groups = _drawn_aurocs([x], y, clusters, prompts=prompts, seed=seed, draws=draws)
    how = _BOOTSTRAP if drawn.spread > 0 and 0 < drawn.value < 1 else f"{_EXACT} over prompts"
    return Estimate(drawn.value, *drawn.share(level), len(x), how, groups)


def auroc_drop(
    before: Rows,
    after: Rows,
    labels: Rows,
    *,
    clusters: Rows,
    prompts: Rows | None = None,
    seed: Whole = 0,
    draws: Whole = 2000,
    level: Real = 0.95,
) -> Estimate:
    """AUROC of ``before`` [n] minus that of ``after`` [n] on the same rows, with an interval.

    Both are taken in the same bootstrap draws, so what they share cancels: a t interval on their
    difference. Where one of them has no spread (perfect, or all tied) its exact interval is joined
    with that of the other; two perfect readers give 0, plus or minus the exact bound.
    Coverage at 95 %, 8 clusters (test_auroc_drop_covers): 0.95, and 0.89 between
    two nearly perfect readers (0.996 and 0.987).
    Raises as :func:`auroc_estimate`.
    """
    x, z = _numbers("before", before), _numbers("after", after)
    _same_length("after", len(z), len(x))
    y = _two_classes("labels", labels, len(x))
    (a, b), groups = _drawn_aurocs([x, z], y, clusters, prompts=prompts, seed=seed, draws=draws)
    ends = _plain if a.spread > 0 and b.spread > 0 else _joined
    how = _BOOTSTRAP if a.spread > 0 or b.spread > 0 else f"{_EXACT} over prompts"
    return Estimate(a.value - b.value, *ends(a, b, level), len(x), how, groups)


def tpr_at_fpr(
    positive: Rows,
    negative: Rows,
    *,
    fpr: Real = 0.01,
    clusters: Rows | None = None,
    prompts: Rows | None = None,
    seed: Whole = 0,
    draws: Whole = 2000,
    level: Real = 0.95,
) -> Estimate:
    """Share of ``positive`` scores [n] above the threshold that ``fpr`` of ``negative`` [m] exceed.

    The threshold is the lowest that at most floor(fpr * m) negatives exceed (a tie is no alarm);
    with fewer than 1 / fpr negatives it is their maximum, and ``how`` tells. The interval is that
    of :func:`proportion` over positives, by ``clusters`` and ``prompts`` [n], *for this threshold*:
    how well the negatives fix the rate is not in it. Coverage at 95 % with 8 clusters
    (test_tpr_at_fpr_covers): 0.95. Raises BadValues for NaN or fpr not in [0, 1).
    """
    pos, neg = _numbers("positive", positive), _numbers("negative", negative)
    if not 0 <= fpr < 1:
        raise BadValues(f"fpr: {fpr}; a share of at least 0 and below 1, such as 0.01, is needed")
    allowed = math.floor(fpr * len(neg) + 1e-9)
    threshold = np.sort(neg)[::-1][allowed]
    got = proportion(pos > threshold, clusters=clusters, prompts=prompts, seed=seed, draws=draws,
                     level=level)
    return replace(got, how=f"{got.how}; at most {allowed} of {len(neg)} negatives above")


# ------------------------------------------------------------------------------------------- nulls


def rank_p(value: Real, controls: Rows) -> float:
    """Exact p of ``value`` among ``controls`` [m]: (1 + number at least as large) / (1 + m).

    Never 0 (arXiv 1603.05766); with 99 controls the least is 0.01. Raises BadValues for NaN.
    """
    x = _numbers("controls", controls)
    v = float(_numbers("value", [value])[0])
    return (1 + int((x >= v).sum())) / (1 + len(x))


@dataclass(frozen=True, eq=False)
class Null:
    """A statistic, what it is under permuted labels, and its rank among those."""

    value: float
    """The statistic under the true labels."""
    draws: Array
    """The statistic under permuted labels [draws]."""
    p: float
    """(1 + number of draws at least as large) / (1 + draws): one-sided, larger is more."""
    permuted: Literal["rows", "within", "across"]
    """What was permuted: all rows, rows within their group, or the labels of whole groups."""

    def quantile(self, q: float) -> float:
        """Quantile of the draws, such as ``quantile(0.95)``."""
        return float(np.quantile(self.draws, q))


def _shuffler(
    labels: Array, groups: Rows | None, permute: str | None
) -> tuple[Literal["rows", "within", "across"], Callable[[np.random.Generator], Array]]:
    """The level at which labels are exchangeable, and one permutation at that level."""
    if groups is None:
        if permute is not None:
            raise BadLabels(f"permute: '{permute}' needs groups, one id per row")
        return "rows", lambda rng: rng.permutation(labels)
    codes = _codes("groups", groups, len(labels))[1]
    start = np.zeros(int(codes.max()) + 1, dtype=np.intp)
    start[codes[::-1]] = np.arange(len(codes))[::-1]
    whole = labels[start]
    pure = bool((whole[codes] == labels).all())
    if permute == "within" and pure:
        raise BadLabels("permute: 'within' changes nothing, every group has one label; 'across' "
                        "moves the labels of whole groups")
    if permute == "across" and not pure:
        raise BadLabels("permute: 'across' needs one label per group; here labels vary within "
                        "groups, so 'within' is right")
    if pure:
        return "across", lambda rng: rng.permutation(whole)[codes]
    home = np.argsort(codes, kind="stable")

    def within(rng: np.random.Generator) -> Array:
        out = np.empty_like(labels)
        out[home] = labels[np.lexsort((rng.random(len(codes)), codes))]
        return out

    return "within", within


def permutation_null(
    statistic: Callable[[Array], float],
    labels: Rows,
    *,
    groups: Rows | None = None,
    permute: Literal["within", "across"] | None = None,
    draws: Whole = 999,
    seed: Whole = 0,
) -> Null:
    """``statistic(labels)`` against its values under ``draws`` permutations of ``labels`` [n].

    Labels may only be exchanged between rows that are alike but for the label. For pairs of clean
    and triggered rows give the pair's id as ``groups``: labels are then swapped *within* pairs, and
    what an entity or a prompt adds cancels. Where every group has one label (a property of the
    fact), labels of whole groups are moved *across* groups. ``permute`` None takes whichever of the
    two fits; without groups all rows are exchangeable. Both hold their level on clustered nulls,
    where permuting rows does not (test_permutation_level).
    Raises BadLabels for empty or unfitting groups, BadValues where the statistic is nan.
    """
    y = np.asarray(labels)
    if y.ndim != 1:
        raise BadShape(f"labels: shape {list(y.shape)}; one label per row is needed")
    if len(np.unique(y)) < 2:
        raise BadLabels(f"labels: {len(y)} rows of one class; nothing to permute")
    if permute not in (None, "within", "across"):
        raise BadLabels(f"permute: '{permute}'; 'within', 'across' or None is needed")
    level, shuffle = _shuffler(y, groups, permute)
    rng = np.random.default_rng(seed)
    value = float(statistic(y))
    null = np.array([float(statistic(shuffle(rng))) for _ in range(draws)])
    if math.isnan(value) or np.isnan(null).any():
        raise BadValues(f"statistic: nan (on {int(np.isnan(null).sum())} of {draws} permutations)")
    return Null(value, null, rank_p(value, null), level)


# ------------------------------------------------------------------------------------------ splits


@dataclass(frozen=True)
class Split:
    """Which group ids (entities, layouts, facts) belong to train, validation and test."""

    train: frozenset
    """Ids that instruments are fitted on."""
    val: frozenset
    """Ids that sites and settings are chosen on."""
    test: frozenset
    """Ids that are only ever judged on."""

    def masks(self, ids: Rows) -> dict[str, Array]:
        """Per split, which rows of ``ids`` [n] are its own: booleans [n].

        Raises BadValues for an id of no split.
        """
        names, codes = _codes("ids", ids)
        parts = {"train": self.train, "val": self.val, "test": self.test}
        known = {k: np.array([v in part for v in names.tolist()]) for k, part in parts.items()}
        lost = names[~np.any(list(known.values()), axis=0)]
        if len(lost):
            raise BadValues(f"ids: {_some(lost.tolist())} of no split; the splits hold "
                            f"{sum(map(len, parts.values()))} ids")
        return {k: member[codes] for k, member in known.items()}


def group_split(ids: Rows, sizes: Rows, *, seed: Whole = 0) -> Split:
    """Split the distinct ``ids`` [n] into groups for (train, val, test), as many as ``sizes`` says.

    48 entities with sizes (32, 8, 8), say. Raises BadValues unless sizes are three counts that use
    every id exactly once.
    """
    names = _codes("ids", ids)[0]
    counts = [int(s) for s in sizes]
    if len(counts) != 3 or min(counts) < 0 or sum(counts) != len(names):
        raise BadValues(f"sizes: {tuple(sizes)}; three counts (train, val, test) are needed that "
                        f"add up to the {len(names)} distinct ids")
    mixed = np.random.default_rng(seed).permutation(len(names))
    cuts = np.split(names[mixed], np.cumsum(counts)[:2])
    return Split(*(frozenset(part.tolist()) for part in cuts))


def _some(ids: Sequence[Any], at_most: int = 5) -> str:
    more = f", ... ({len(ids)} in all)" if len(ids) > at_most else ""
    return ", ".join(str(i) for i in ids[:at_most]) + more


def check_disjoint(masks: Mapping[str, Rows], groups: Mapping[str, Rows]) -> None:
    """Raise unless no group has rows in two splits.

    ``masks``: split name to booleans [n]; ``groups``: kind of group ("entity", "layout") to ids
    [n]. Every leak is collected, then one LeakySplit names the kinds, the splits and the ids.
    Raises BadLabels for fewer than two splits, an empty split, or no groups (nothing is checked).
    """
    if len(masks) < 2 or not groups:
        raise BadLabels(f"{len(masks)} splits and {len(groups)} kinds of group; at least 2 and 1 "
                        "are needed, else nothing is checked")
    lengths = len(np.asarray(next(iter(groups.values()))))
    rows = {name: _zero_one(f"split '{name}'", mask, lengths) for name, mask in masks.items()}
    for name, mask in rows.items():
        if not mask.any():
            raise BadLabels(f"split '{name}': no rows")
    names, leaks = list(rows), []
    for kind, ids in groups.items():
        values, codes = _codes(kind, ids, lengths)
        for i, one in enumerate(names):
            for other in names[i + 1:]:
                shared = values[np.intersect1d(codes[rows[one]], codes[rows[other]])].tolist()
                if shared:
                    leaks.append(f"{kind} {_some(shared)} in both '{one}' and '{other}'")
    if leaks:
        raise LeakySplit("; ".join(leaks) + "; a group must lie in one split only")


# ------------------------------------------------------------------------------------ localisation


@dataclass(frozen=True)
class Localisation:
    """How well a ranking of components finds the planted ones."""

    precision: float
    """Share of the ``size`` highest that are origin."""
    recall: float
    """Share of the origin among the ``size`` highest (= precision where size = origin)."""
    auroc: float
    """Chance that an origin component outranks an inert one, ties half."""
    auprc: float
    """Average precision; its chance is the base rate origin / (origin + inert)."""
    size: int
    """How many components were named."""
    origin: int
    """Number of origin components."""
    inert: int
    """Number of inert components."""


def _rankings(effects: Array, is_origin: Array, size: int) -> dict[str, Array]:
    """The four scores of many rankings ``effects`` [m c] at once, each [c]."""
    edge = np.sort(effects, axis=0)[-size]
    above, tied = effects > edge, effects == edge
    places = size - above.sum(axis=0)
    hits = (above & is_origin[:, None]).sum(axis=0)
    hits = hits + places * (tied & is_origin[:, None]).sum(axis=0) / tied.sum(axis=0)
    return {
        "precision": hits / size,
        "recall": hits / is_origin.sum(),
        "auroc": np.asarray(auroc(effects, is_origin)),
        "auprc": np.asarray(auprc(effects, is_origin)),
    }


def _named(size: Whole | None, is_origin: Array) -> int:
    named = int(is_origin.sum() if size is None else size)
    if not 1 <= named <= len(is_origin):
        raise BadValues(f"size: {named}; between 1 and the {len(is_origin)} components is needed")
    return named


def localisation_scores(
    effects: Rows, is_origin: Rows, *, size: Whole | None = None
) -> Localisation:
    """Score a ranking of components by ``effects`` [m] (larger = more) against ``is_origin`` [m].

    Give origin and inert components only (mediators are shown, not counted), and magnitudes where
    the sign means nothing. ``size`` (default: the number of origin components) is where precision
    and recall are read; ties at that place count as if broken at random.
    Raises BadValues for NaN, BadLabels where all or no components are origin.
    """
    x = _numbers("effects", effects)
    y = _two_classes("is_origin", is_origin, len(x))
    named = _named(size, y)
    scores = {k: float(v[0]) for k, v in _rankings(x[:, None], y, named).items()}
    return Localisation(**scores, size=named, origin=int(y.sum()), inert=int((~y).sum()))


def random_ranking(
    is_origin: Rows, *, draws: Whole = 1000, seed: Whole = 0, size: Whole | None = None
) -> dict[str, Array]:
    """The scores of :func:`localisation_scores` for ``draws`` random rankings, each [draws]."""
    y = _two_classes("is_origin", is_origin)
    effects = np.random.default_rng(seed).random((len(y), draws))
    return _rankings(effects, y, _named(size, y))
