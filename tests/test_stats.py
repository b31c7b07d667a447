"""Every interval is held to its coverage on synthetic nulls, every p to uniformity.

A coverage is asserted with a binomial tolerance (error below 1 in 1,000 for the true coverage
named), so a test fails when an interval is too narrow *or* needlessly wide.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import special
from scipy import stats as sps

import mo_interp
from mo_interp import stats
from mo_interp.errors import BadLabels, BadShape, BadValues, LeakySplit, MoInterpError

GROUPS, ROWS = 8, 16
IDS = np.repeat(np.arange(GROUPS), ROWS)


def covered(estimates, truth) -> tuple[int, int]:
    """How many of the intervals hold the truth, and how many there are."""
    inside = [e.lo <= truth <= e.hi for e in estimates]
    return sum(inside), len(inside)


def assert_coverage(estimates, truth, *, least, most=0.98) -> None:
    """The coverage seen is compatible with one between ``least`` and ``most``."""
    k, n = covered(estimates, truth)
    assert sps.binom.cdf(k, n, least) > 1e-3, f"covered {k / n:.3f}, too narrow"
    assert sps.binom.sf(k - 1, n, most) > 1e-3, f"covered {k / n:.3f}, too wide"


def clustered_hits(rng, share, icc, groups=GROUPS, rows=ROWS):
    """Rows of 0 and 1 whose shares vary between clusters with intra-cluster correlation ``icc``."""
    per = np.full(groups, share)
    if icc:
        per = rng.beta(share * (1 / icc - 1), (1 - share) * (1 / icc - 1), groups)
    return rng.random(groups * rows) < np.repeat(per, rows)


def clustered_scores(rng, shift, level_sd, shift_sd, groups=GROUPS, rows=8):
    """Scores [n], labels, clusters: entities differ in level and in how far triggered rows lie."""
    level = rng.normal(size=(groups, 1)) * level_sd
    move = shift + rng.normal(size=(groups, 1)) * shift_sd
    pos = level + move + rng.normal(size=(groups, rows))
    neg = level + rng.normal(size=(groups, rows))
    labels = np.repeat([True, False], groups * rows)
    ids = np.tile(np.repeat(np.arange(groups), rows), 2)
    return np.concatenate([pos.ravel(), neg.ravel()]), labels, ids


def true_auroc(shift, level_sd, shift_sd, groups=GROUPS):
    """Expected AUROC of :func:`clustered_scores`; 1 in ``groups`` pairs is within one entity."""
    within = special.ndtr(shift / np.sqrt(2 + shift_sd**2))
    between = special.ndtr(shift / np.sqrt(2 + shift_sd**2 + 2 * level_sd**2))
    return within / groups + between * (1 - 1 / groups)


def brute_auroc(scores, labels):
    pos, neg = scores[labels], scores[~labels]
    won = [(p > q) + 0.5 * (p == q) for p in pos for q in neg]
    return sum(won) / len(won)


# ------------------------------------------------------------------------------------------ values


def test_estimate_prints_and_flattens_to_json():
    est = stats.Estimate(0.993, 0.981, 0.998, 512, "cluster bootstrap", 8)
    assert str(est) == "0.993 [0.981, 0.998] n=512 (cluster bootstrap, 8 clusters)"
    flat = est.flat("auroc")
    assert flat == {"auroc": 0.993, "auroc_lo": 0.981, "auroc_hi": 0.998, "auroc_n": 512,
                    "auroc_how": "cluster bootstrap", "auroc_clusters": 8}
    plain = stats.t_interval([1.0, 2.0, 4.0])
    assert "loss_clusters" not in plain.flat("loss") and "clusters" not in str(plain)


def test_every_estimate_is_plain_python():
    rng = np.random.default_rng(0)
    scores, labels, ids = clustered_scores(rng, 1.0, 0.5, 0.5)
    hits = scores > 0
    made = [
        stats.clopper_pearson(3, 10), stats.t_interval(scores),
        stats.proportion(hits, clusters=ids), stats.proportion(hits),
        stats.proportion(np.ones(9), prompts=np.arange(9) // 3),
        stats.mean_estimate(scores, clusters=ids), stats.difference(hits, labels, clusters=ids),
        stats.cluster_bootstrap(np.median, ids, scores, draws=100),
        stats.auroc_estimate(scores, labels, clusters=ids),
        stats.auroc_drop(scores, -scores, labels, clusters=ids),
        stats.tpr_at_fpr(scores[labels], scores[~labels], clusters=ids[labels]),
    ]
    for est in made:
        assert json.loads(json.dumps(est.flat("x")))["x"] == est.value
        assert [type(v) for v in (est.value, est.lo, est.hi, est.n)] == [float, float, float, int]
        assert est.lo <= est.value <= est.hi


def test_seeds_are_arguments_and_nothing_global_moves():
    scores, labels, ids = clustered_scores(np.random.default_rng(0), 1.0, 0.5, 0.5)
    state = np.random.get_state()[1].copy()
    one, same, other = (stats.auroc_estimate(scores, labels, clusters=ids, seed=s)
                        for s in (3, 3, 4))
    assert one == same and one.lo != other.lo and one.value == other.value
    assert abs(one.lo - other.lo) < 0.02
    assert (np.random.get_state()[1] == state).all()


def test_import_is_light():
    code = ("import sys, mo_interp.stats; "
            "print([m for m in ('scipy', 'torch', 'sklearn') if m in sys.modules])")
    root = str(Path(mo_interp.__path__[0]).parent)
    env = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout.strip() == "[]", done.stderr


# --------------------------------------------------------------------------------- exact intervals


@pytest.mark.parametrize("n", [1, 10, 64])
def test_clopper_pearson_covers_at_every_share(n):
    ends = [stats.clopper_pearson(k, n) for k in range(n + 1)]
    bounds = np.array([stats.false_alarm_bound(k, n) for k in range(n + 1)])
    lo, hi = np.array([e.lo for e in ends]), np.array([e.hi for e in ends])
    for share in np.linspace(0.003, 0.997, 120):
        mass = sps.binom.pmf(np.arange(n + 1), n, share)
        assert mass[(lo <= share) & (share <= hi)].sum() >= 0.95
        assert mass[share <= bounds].sum() >= 0.95


def test_exact_intervals_agree_with_scipy():
    for k, n in [(0, 20), (1, 20), (13, 20), (20, 20), (500, 512)]:
        theirs = sps.binomtest(k, n).proportion_ci(0.9, method="exact")
        ours = stats.clopper_pearson(k, n, level=0.9)
        assert (ours.lo, ours.hi) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
        less = sps.binomtest(k, n, alternative="less").proportion_ci(0.95, method="exact")
        assert stats.false_alarm_bound(k, n) == pytest.approx(less.high, abs=1e-9)
    assert stats.false_alarm_bound(0, 100) == pytest.approx(1 - 0.05 ** (1 / 100))


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_t_interval_covers(seeds):
    rng = np.random.default_rng(seeds)
    made = [stats.t_interval(rng.normal(5, 2, seeds)) for _ in range(2000)]
    assert_coverage(made, 5, least=0.95, most=0.95)


# ------------------------------------------------------------------------------- clustered shares


PROPORTIONS = [
    # share, correlation, groups, rows, coverage that is promised
    (0.5, 0.0, 8, 16, 0.94), (0.5, 0.2, 8, 16, 0.94), (0.9, 0.0, 8, 16, 0.94),
    (0.9, 0.2, 8, 16, 0.94), (0.98, 0.0, 8, 16, 0.94), (0.9, 0.2, 20, 16, 0.94),
    (0.98, 0.05, 8, 64, 0.91), (0.98, 0.2, 8, 64, 0.75),
]


def made_proportions(share, icc, groups, rows, runs):
    rng = np.random.default_rng(11)
    ids = np.repeat(np.arange(groups), rows)
    return [stats.proportion(clustered_hits(rng, share, icc, groups, rows), clusters=ids)
            for _ in range(runs)]


@pytest.mark.parametrize(("share", "icc", "groups", "rows", "least"), PROPORTIONS)
def test_proportion_covers(share, icc, groups, rows, least):
    made = made_proportions(share, icc, groups, rows, 400)
    assert_coverage(made, share, least=least, most=0.985)


def test_rows_taken_as_independent_do_not_cover():
    """Why clusters: the same nulls, the exact interval over rows."""
    rng = np.random.default_rng(12)
    rows = [stats.proportion(clustered_hits(rng, 0.5, 0.2)) for _ in range(400)]
    k, n = covered(rows, 0.5)
    assert sps.binom.cdf(k, n, 0.8) < 1e-3, f"covered {k / n:.3f}"


def test_percentiles_of_eight_clusters_do_not_cover():
    """Why not the textbook cluster bootstrap: the same nulls, its percentile interval."""
    rng, inside = np.random.default_rng(13), 0
    for _ in range(400):
        shares = clustered_hits(rng, 0.9, 0.2).reshape(GROUPS, ROWS).mean(axis=1)
        drawn = shares[rng.integers(GROUPS, size=(1000, GROUPS))].mean(axis=1)
        lo, hi = np.quantile(drawn, [0.025, 0.975])
        inside += lo <= 0.9 <= hi
    assert sps.binom.cdf(inside, 400, 0.9) < 1e-3, f"covered {inside / 400:.3f}"


def test_rows_alike_count_distinct_prompts():
    prompts = np.repeat(np.arange(64), 8)
    clusters = prompts % 8
    est = stats.proportion(np.ones(512), clusters=clusters, prompts=prompts)
    assert (est.value, est.hi, est.n, est.clusters) == (1.0, 1.0, 64, 8)
    assert est.lo == pytest.approx(0.025 ** (1 / 64))
    assert est.how == "Clopper-Pearson over distinct prompts"
    none = stats.proportion(np.zeros(512), clusters=clusters, prompts=prompts)
    assert (none.lo, none.hi) == pytest.approx((0.0, 1 - est.lo))
    assert stats.proportion(np.ones(512)).lo == pytest.approx(0.025 ** (1 / 512))


def test_one_miss_is_not_more_certain_than_none():
    prompts = np.arange(512) // 8
    for missed in range(1, 8):
        hits = np.arange(512) >= missed
        some = stats.proportion(hits, clusters=prompts % 8, prompts=prompts)
        assert some.lo <= 0.025 ** (1 / 64) and some.hi < 1.0


def test_copied_rows_do_not_sharpen():
    rng = np.random.default_rng(5)
    hits = rng.random(64) < 0.8
    once = stats.proportion(hits, clusters=np.arange(64) % 8)
    copied = stats.proportion(np.repeat(hits, 10), clusters=np.repeat(np.arange(64) % 8, 10))
    assert (copied.lo, copied.hi) == pytest.approx((once.lo, once.hi), abs=1e-12)
    by_prompt = stats.proportion(np.repeat(hits, 10), prompts=np.repeat(np.arange(64), 10))
    assert by_prompt.clusters == 64
    assert by_prompt.hi - by_prompt.lo > 2 * (lambda e: e.hi - e.lo)(
        stats.proportion(np.repeat(hits, 10)))


def test_equal_clusters_do_not_give_a_zero_width():
    hits = np.tile([0, 1], 64)
    est = stats.proportion(hits, clusters=IDS)
    exact = stats.clopper_pearson(64, 128)
    assert (est.value, est.lo, est.hi) == (0.5, exact.lo, exact.hi)


# ------------------------------------------------------------------------- means and differences


def made_means(runs):
    rng = np.random.default_rng(21)
    return [stats.mean_estimate(np.repeat(rng.normal(size=GROUPS), ROWS) + rng.normal(
        size=GROUPS * ROWS), clusters=IDS) for _ in range(runs)]


def test_mean_covers():
    assert_coverage(made_means(800), 0.0, least=0.94, most=0.96)


def test_mean_of_one_row_clusters_is_the_t_interval():
    x = np.random.default_rng(4).normal(size=GROUPS)
    ours, theirs = stats.mean_estimate(x, clusters=np.arange(GROUPS), draws=40000), (
        stats.t_interval(x))
    assert (ours.lo, ours.hi) == pytest.approx((theirs.lo, theirs.hi), abs=0.02)


def test_mean_without_clusters_is_the_t_interval():
    x = np.random.default_rng(0).normal(size=30)
    theirs = sps.t.interval(0.95, 29, loc=x.mean(), scale=sps.sem(x))
    assert (stats.mean_estimate(x).lo, stats.mean_estimate(x).hi) == pytest.approx(theirs)


def made_bootstraps(runs):
    rng = np.random.default_rng(22)
    ids = np.repeat(np.arange(GROUPS), 2)
    return [stats.cluster_bootstrap(np.mean, ids, np.repeat(rng.normal(size=GROUPS), 2)
                                    + 0.5 * rng.normal(size=2 * GROUPS), draws=300, seed=i)
            for i in range(runs)]


def test_cluster_bootstrap_covers():
    assert_coverage(made_bootstraps(500), 0.0, least=0.93, most=0.96)


def test_cluster_bootstrap_of_a_mean_is_as_wide_as_its_t_interval():
    x = np.random.default_rng(3).normal(size=GROUPS)
    ours = stats.cluster_bootstrap(np.mean, np.arange(GROUPS), x, draws=4000)
    theirs = stats.t_interval(x)
    assert (ours.hi - ours.lo) / (theirs.hi - theirs.lo) == pytest.approx(1, abs=0.06)


def test_cluster_bootstrap_takes_whole_clusters_of_every_array():
    ids = np.repeat(["a", "b", "c"], [1, 2, 3])
    seen = set()

    def watch(x, y):
        assert (y == 10 * x).all()
        seen.add(tuple(np.unique(x, return_counts=True)[1].tolist()))
        return float(x.mean())

    x = np.array([1, 2, 2, 3, 3, 3])
    stats.cluster_bootstrap(watch, ids, x, 10 * x, draws=200)
    assert (1, 2, 3) in seen and (9,) in seen and (3,) in seen
    assert all(sum(c) in range(3, 10) for c in seen)


def test_cluster_bootstrap_undefined_draws_are_told_or_refused():
    ids = np.repeat(np.arange(8), 2)
    x = np.arange(16.0)

    def sometimes(v):
        return float("nan") if len(np.unique(v)) <= 6 else float(v.mean())

    told = stats.cluster_bootstrap(sometimes, ids, x, draws=500)
    assert told.how.startswith("cluster bootstrap, ") and told.how.endswith(" of 500 draws")
    with pytest.raises(BadValues, match="not defined on .* of 500 draws of 8 clusters"):
        stats.cluster_bootstrap(lambda v: float("nan") if len(np.unique(v)) < 12 else 1.0,
                                ids, x, draws=500)
    with pytest.raises(BadValues, match="nan on the rows as given"):
        stats.cluster_bootstrap(lambda v: float("nan"), ids, x)


DIFFERENCES = [
    # share of (1, 0), of (0, 1), concentration of clusters (large: none), promised coverage
    (0.3, 0.3, 1e9, 0.94), (0.3, 0.3, 5, 0.94), (0.1, 0.02, 1e9, 0.94), (0.1, 0.02, 5, 0.92),
    (0.9, 0.05, 20, 0.94), (0.97, 0.002, 20, 0.94), (0.03, 0.01, 20, 0.94),
    (0.005, 0.005, 1e9, 0.94),
]


def made_differences(plus, minus, concentration, runs):
    rng = np.random.default_rng(31)
    shares = np.array([plus, minus, 1 - plus - minus])
    for _ in range(runs):
        per = (rng.dirichlet(shares * concentration, GROUPS) if concentration < 1e6
               else np.tile(shares, (GROUPS, 1)))
        kind = (rng.random((GROUPS, ROWS, 1)) > np.cumsum(per, axis=1)[:, None, :2]).sum(-1).ravel()
        same = rng.random(len(kind)) < 0.9
        a, b = np.where(kind == 2, same, kind == 0), np.where(kind == 2, same, kind == 1)
        yield stats.difference(a, b, clusters=IDS)


@pytest.mark.parametrize(("plus", "minus", "concentration", "least"), DIFFERENCES)
def test_difference_covers(plus, minus, concentration, least):
    made = made_differences(plus, minus, concentration, 400)
    assert_coverage(made, plus - minus, least=least, most=0.985 if plus > 0.05 else 1.0)


def test_difference_without_disagreement_keeps_an_exact_interval():
    hits = np.arange(128) < 100
    same = stats.difference(hits, hits, clusters=IDS)
    u = 1 - 0.025 ** (1 / 128)
    assert (same.value, same.lo, same.hi) == pytest.approx((0, -np.hypot(u, 0), u))
    assert same.how == "Clopper-Pearson" and same.clusters == 8
    few = stats.difference(hits, hits, clusters=IDS, prompts=IDS)
    assert few.n == 8 and few.hi == pytest.approx(1 - 0.025 ** (1 / 8))
    all_lost = stats.difference(np.ones(128), np.zeros(128), clusters=IDS)
    assert (all_lost.value, all_lost.hi) == (1.0, 1.0) and 0.95 < all_lost.lo < 1


def test_difference_from_the_opposite_is_the_share_stretched():
    """With b = not a, the difference is 2 share - 1, and so is its lower end."""
    a = clustered_hits(np.random.default_rng(6), 0.9, 0.1)
    share, gap = stats.proportion(a, clusters=IDS), stats.difference(a, ~a, clusters=IDS)
    assert (gap.value, gap.lo) == pytest.approx((2 * share.value - 1, 2 * share.lo - 1))


def test_difference_turns_around():
    rng = np.random.default_rng(2)
    a, b = rng.random(128) < 0.9, rng.random(128) < 0.7
    one, two = stats.difference(a, b, clusters=IDS), stats.difference(b, a, clusters=IDS)
    assert (one.value, one.lo, one.hi) == pytest.approx((-two.value, -two.hi, -two.lo))
    assert one.value == pytest.approx(a.mean() - b.mean())


# ------------------------------------------------------------------------------------------- AUROC


def test_auroc_equals_brute_force_with_ties():
    rng = np.random.default_rng(0)
    labels = rng.random(60) < 0.4
    scores = rng.integers(0, 6, size=(60, 20)).astype(float)
    scores[:, 0] = 3.0
    scores[:5, 1] = np.inf
    scores[5:9, 1] = -np.inf
    want = [brute_auroc(c, labels) for c in scores.T]
    assert stats.auroc(scores, labels) == pytest.approx(want, abs=1e-12)
    assert stats.auroc(scores[:, 7], labels) == pytest.approx(want[7], abs=1e-12)
    assert stats.auroc(scores[:, 0], labels) == 0.5
    assert isinstance(stats.auroc(scores[:, 7], labels), float)


def test_auprc_equals_brute_force_with_ties():
    rng = np.random.default_rng(1)
    labels = rng.random(50) < 0.3
    scores = rng.integers(0, 8, size=(50, 10)).astype(float)

    def brute(column):
        total, before = 0.0, 0.0
        for cut in np.unique(column)[::-1]:
            named = column >= cut
            recall = labels[named].sum() / labels.sum()
            total += (recall - before) * labels[named].mean()
            before = recall
        return total

    assert stats.auprc(scores, labels) == pytest.approx([brute(c) for c in scores.T], abs=1e-12)
    assert stats.auprc(np.zeros(50), labels) == pytest.approx(labels.mean())
    assert stats.auprc(labels.astype(float), labels) == 1.0


def test_auroc_and_auprc_equal_sklearn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(2)
    labels = rng.random(300) < 0.2
    for scores in (rng.normal(size=300), rng.integers(0, 9, 300), labels + rng.normal(size=300)):
        assert stats.auroc(scores, labels) == pytest.approx(metrics.roc_auc_score(labels, scores))
        assert stats.auprc(scores, labels) == pytest.approx(
            metrics.average_precision_score(labels, scores))


AUROCS = [
    # shift, sd of levels, sd of shifts, promised coverage
    (0.0, 0.0, 0.0, 0.94), (0.0, 0.7, 0.5, 0.94), (1.0, 0.7, 0.5, 0.94), (2.5, 0.0, 0.0, 0.94),
    (2.5, 0.7, 0.5, 0.92), (3.5, 0.0, 0.0, 0.94), (4.5, 0.7, 0.5, 0.94), (4.5, 0.0, 0.0, 0.94),
]


def made_aurocs(shift, level_sd, shift_sd, runs):
    rng = np.random.default_rng(41)
    for _ in range(runs):
        scores, labels, ids = clustered_scores(rng, shift, level_sd, shift_sd)
        yield stats.auroc_estimate(scores, labels, clusters=ids)


@pytest.mark.parametrize(("shift", "level_sd", "shift_sd", "least"), AUROCS)
def test_auroc_covers(shift, level_sd, shift_sd, least):
    made = list(made_aurocs(shift, level_sd, shift_sd, 300))
    truth = true_auroc(shift, level_sd, shift_sd)
    assert np.mean([e.value for e in made]) == pytest.approx(truth, abs=0.01)
    assert_coverage(made, truth, least=least, most=0.985 if shift < 3 else 1.0)


def test_auroc_interval_turns_around_with_ties():
    scores, labels, ids = clustered_scores(np.random.default_rng(9), 1.0, 0.5, 0.5)
    scores = scores.round()
    one = stats.auroc_estimate(scores, labels, clusters=ids)
    for two in (stats.auroc_estimate(-scores, labels, clusters=ids),
                stats.auroc_estimate(scores, ~labels, clusters=ids)):
        assert (one.value, one.lo, one.hi) == pytest.approx((1 - two.value, 1 - two.hi, 1 - two.lo))


def made_pure(runs):
    rng = np.random.default_rng(42)
    labels = np.repeat([True, False], [3 * ROWS, 13 * ROWS])
    ids = np.repeat(np.arange(16), ROWS)
    for _ in range(runs):
        scores = np.repeat(rng.normal(size=16), ROWS) * 0.7 + rng.normal(size=16 * ROWS)
        yield stats.auroc_estimate(scores, labels, clusters=ids)


def test_auroc_covers_where_every_cluster_has_one_label():
    """Three clusters of positives among sixteen: the three are what the interval counts."""
    assert_coverage(made_pure(300), 0.5, least=0.97, most=1.0)


def test_perfect_separation_gets_an_exact_bound_over_prompts():
    labels = np.repeat([True, False], 64)
    ids, prompts = np.tile(np.arange(64) % 8, 2), np.tile(np.arange(64) // 2, 2)
    est = stats.auroc_estimate(labels * 1.0, labels, clusters=ids)
    assert (est.value, est.hi, est.n, est.clusters) == (1.0, 1.0, 128, 8)
    assert est.lo == pytest.approx(0.025 ** (1 / 64)) and est.how == "Clopper-Pearson over prompts"
    fewer = stats.auroc_estimate(labels * 1.0, labels, clusters=ids, prompts=prompts)
    assert fewer.lo == pytest.approx(0.025 ** (1 / 32))
    reverse = stats.auroc_estimate(labels * -1.0, labels, clusters=ids)
    assert (reverse.lo, reverse.hi) == pytest.approx((0.0, 1 - est.lo))
    tied = stats.auroc_estimate(np.zeros(128), labels, clusters=ids)
    assert tied.value == 0.5 and tied.lo < 0.4 and tied.hi > 0.6
    scores = labels * 1.0
    scores[0] = -1
    scores[64] = -0.5
    almost = stats.auroc_estimate(scores, labels, clusters=ids)
    assert almost.lo <= est.lo and almost.hi < 1


def made_drops(shift_before, shift_after, runs):
    """Two readers of the same rows: levels of entities and half of each row's noise are shared."""
    rng = np.random.default_rng(51)
    for _ in range(runs):
        scores, labels, ids = clustered_scores(rng, 0.0, 0.7, 0.0)
        noise = rng.normal(size=(2, len(scores)))
        move = rng.normal(size=(2, GROUPS))[:, ids] * 0.5
        before = scores + labels * (shift_before + move[0]) + noise[0]
        after = scores + labels * (shift_after + move[1]) + noise[1]
        yield stats.auroc_drop(before, after, labels, clusters=ids)


def drop_truth(before, after):
    def one(shift):
        within = special.ndtr(shift / np.sqrt(4 + 0.25))
        between = special.ndtr(shift / np.sqrt(4 + 0.25 + 2 * 0.49))
        return within / GROUPS + between * (1 - 1 / GROUPS)

    return one(before) - one(after)


DROPS = [(0.0, 0.0, 0.94), (2.5, 2.5, 0.94), (2.5, 0.0, 0.94), (6.0, 0.0, 0.94), (6.0, 6.0, 0.94),
         (6.0, 5.0, 0.87)]


@pytest.mark.parametrize(("before", "after", "least"), DROPS)
def test_auroc_drop_covers(before, after, least):
    made = made_drops(before, after, 300)
    assert_coverage(made, drop_truth(before, after), least=least, most=0.985 if after < 5 else 1)


def test_auroc_drop_of_equal_readers_holds_zero():
    scores, labels, ids = clustered_scores(np.random.default_rng(0), 2.0, 0.5, 0.5)
    same = stats.auroc_drop(scores, 2 * scores + 1, labels, clusters=ids)
    assert same.value == 0 and same.lo <= 0 <= same.hi and same.hi - same.lo < 0.1
    perfect = stats.auroc_drop(labels * 1.0, labels * 2.0, labels, clusters=ids)
    u = 1 - 0.025 ** (1 / 64)
    assert (perfect.lo, perfect.hi) == pytest.approx((-u, u))
    lost = stats.auroc_drop(labels * 1.0, scores, labels, clusters=ids)
    assert lost.value == 1 - stats.auroc(scores, labels) and lost.hi <= 1


def test_tpr_at_fpr_sets_its_threshold_on_negatives():
    rng = np.random.default_rng(0)
    for m, fpr in [(1000, 0.01), (250, 0.01), (99, 0.01), (40, 0.1), (300, 0.0)]:
        neg, pos = rng.normal(size=m).round(1), rng.normal(2, 1, 200).round(1)
        cuts = [c for c in np.unique(neg) if (neg > c).mean() <= fpr + 1e-12]
        est = stats.tpr_at_fpr(pos, neg, fpr=fpr)
        assert est.value == pytest.approx((pos > min(cuts)).mean())
        assert est.how.endswith(f"; at most {int(m * fpr + 1e-9)} of {m} negatives above")
    assert stats.tpr_at_fpr(np.zeros(9), np.zeros(200)).value == 0.0


def made_tprs(runs):
    """Positives that vary by entity; negatives fixed, so the true rate at their threshold is known.

    Levels of entities have sd 0.5, rows sd 1, and the threshold is the 1 % point of the negatives.
    """
    rng = np.random.default_rng(61)
    neg = rng.normal(size=500)
    truth = special.ndtr((2.5 - np.sort(neg)[-6]) / np.sqrt(1.25))
    made = [stats.tpr_at_fpr(2.5 + 0.5 * rng.normal(size=GROUPS)[IDS] + rng.normal(size=len(IDS)),
                             neg, clusters=IDS) for _ in range(runs)]
    return made, truth


def test_tpr_at_fpr_covers():
    made, truth = made_tprs(400)
    assert_coverage(made, truth, least=0.94)


# ------------------------------------------------------------------------------------------- nulls


def spread_out(ps, steps, rng):
    """p-values on the grid 1/steps ... 1, made continuous; uniform if the p-values are exact."""
    return np.asarray(ps) - rng.random(len(ps)) / steps


def test_rank_p_is_uniform_and_never_zero():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(2000, 100))
    ps = [stats.rank_p(row[0], row[1:]) for row in draws]
    assert sps.kstest(spread_out(ps, 100, rng), "uniform").pvalue > 0.01
    assert min(ps) == 0.01 == stats.rank_p(9.0, np.zeros(99))
    assert stats.rank_p(0.0, np.zeros(99)) == 1.0
    assert stats.rank_p(2, [1, 2, 3]) == 0.75


def paired_ps(rng, runs, **permute):
    """The p of a difference of means; 8 entities, 4 pairs each, entity and prompt effects; a null.

    Which row of a pair is the triggered one is drawn anew.
    """
    ps = []
    entity, pair = np.repeat(np.arange(8), 8), np.repeat(np.arange(32), 2)
    groups = {"pair": pair, "entity": entity, None: None}[permute["by"]]
    for seed in range(runs):
        y = (rng.permuted(np.tile([0, 1], (32, 1)), axis=1)).ravel()
        x = 2 * rng.normal(size=8)[entity] + rng.normal(size=32)[pair] + rng.normal(size=64)
        null = stats.permutation_null(lambda z, x=x: x @ z, y, groups=groups, draws=39, seed=seed)
        assert null.permuted == ("rows" if groups is None else "within")
        ps.append(null.p)
    return ps


def entity_ps(rng, runs, groups):
    """As above where the label belongs to the entity: 4 of 8 entities, 8 rows each."""
    ps = []
    entity = np.repeat(np.arange(8), 8)
    for seed in range(runs):
        y = rng.permutation([0, 0, 0, 0, 1, 1, 1, 1])[entity]
        x = rng.normal(size=8)[entity] + rng.normal(size=64)
        ids = entity if groups else None
        null = stats.permutation_null(lambda z, x=x: x @ z, y, groups=ids, draws=39, seed=seed)
        assert null.permuted == ("across" if groups else "rows")
        ps.append(null.p)
    return ps


def test_permutation_level():
    """Permuted at the right level p is uniform; permuted over rows it rejects a true null."""
    rng = np.random.default_rng(71)
    within = paired_ps(rng, 500, by="pair")
    assert sps.kstest(spread_out(within, 40, rng), "uniform").pvalue > 0.01
    across = entity_ps(rng, 500, groups=True)
    # 70 arrangements only, so ties with the true one make p a little too large, never too small
    assert sps.kstest(spread_out(across, 40, rng), "uniform", alternative="greater").pvalue > 0.01
    k = sum(p <= 0.05 for p in across)
    assert sps.binom.sf(k - 1, 500, 0.05) > 1e-3
    rows = entity_ps(rng, 300, groups=False)
    assert np.mean(np.array(rows) <= 0.05) > 0.15
    loose = paired_ps(rng, 300, by=None)
    assert sps.kstest(spread_out(loose, 40, rng), "uniform").pvalue < 1e-3


def test_permutation_sees_a_signal_that_rows_hide():
    rng = np.random.default_rng(72)
    pair = np.repeat(np.arange(64), 2)
    y = np.tile([0, 1], 64)
    x = 5 * rng.normal(size=64)[pair] + rng.normal(size=128) + 0.7 * y
    within = stats.permutation_null(lambda z: x @ z, y, groups=pair, draws=199)
    rows = stats.permutation_null(lambda z: x @ z, y, draws=199)
    assert within.p <= 0.01 < 0.05 < rows.p
    assert within.quantile(0.95) < within.value and within.draws.shape == (199,)


@pytest.mark.parametrize("permute", ["within", "across"])
def test_permutations_keep_what_they_promise(permute):
    groups = np.array(["c", "a", "b", "a", "c", "b", "a", "d"])
    labels = (np.array([1, 0, 1, 0, 0, 1, 1, 1]) if permute == "within"
              else np.isin(groups, ["a", "d"]).astype(int))
    seen = []
    stats.permutation_null(lambda z: seen.append(z.copy()) or 0.0, labels, groups=groups,
                           permute=permute, draws=60)
    for z in seen:
        for g in set(groups):
            part = z[groups == g]
            if permute == "within":
                assert part.sum() == labels[groups == g].sum()
            else:
                assert len(set(part)) == 1
        if permute == "across":
            assert sum(z[groups == g][0] for g in set(groups)) == 2
    assert len({tuple(z) for z in seen}) == 6  # 2 x 3 within; 4 choose 2 across


# ------------------------------------------------------------------------------------------ splits


def test_group_split_is_a_partition():
    ids = np.random.default_rng(0).permutation(np.repeat(np.arange(48), 5))
    split = stats.group_split(ids, (32, 8, 8), seed=4)
    assert (len(split.train), len(split.val), len(split.test)) == (32, 8, 8)
    assert split.train | split.val | split.test == set(range(48))
    masks = split.masks(ids)
    assert (sum(m.astype(int) for m in masks.values()) == 1).all()
    assert masks["val"].sum() == 40 and set(ids[masks["test"]]) == split.test
    stats.check_disjoint(masks, {"entity": ids})
    assert split == stats.group_split(ids[::-1], (32, 8, 8), seed=4)
    assert split != stats.group_split(ids, (32, 8, 8), seed=5)
    assert stats.group_split(["x", "y", "z"], (1, 1, 1)).train < {"x", "y", "z"}


def test_a_leaky_split_is_caught_and_named():
    entity, layout = np.arange(100) % 10, np.arange(100) // 10
    train = layout < 8
    masks = {"train": train, "test": ~train}
    stats.check_disjoint(masks, {"layout": layout})
    with pytest.raises(LeakySplit) as caught:
        stats.check_disjoint(masks, {"layout": layout, "entity": entity})
    assert str(caught.value) == ("entity 0, 1, 2, 3, 4, ... (10 in all) in both 'train' and 'test';"
                                 " a group must lie in one split only")
    clean = entity < 8
    stats.check_disjoint({"train": clean, "test": ~clean}, {"entity": entity})
    one_row = clean.copy()
    one_row[8] = True
    with pytest.raises(LeakySplit, match="^entity 8 in both 'train' and 'test'; a group"):
        stats.check_disjoint({"train": one_row, "test": ~clean}, {"entity": entity})
    val = entity == 8
    with pytest.raises(LeakySplit, match="entity 8 in both 'val' and 'test'"):
        stats.check_disjoint({"train": clean, "val": val, "test": ~clean}, {"entity": entity})


def test_random_rows_leak():
    ids = np.repeat(np.arange(48), 10)
    train = np.random.default_rng(0).random(480) < 0.7
    with pytest.raises(LeakySplit, match="48 in all"):
        stats.check_disjoint({"train": train, "test": ~train}, {"entity": ids})


# ------------------------------------------------------------------------------------ localisation


def test_localisation_of_perfect_reversed_and_constant_rankings():
    origin = np.array([0, 1, 0, 1, 0, 0, 0, 0, 1, 0])
    best = stats.localisation_scores(origin * 1.0, origin)
    assert best == stats.Localisation(1.0, 1.0, 1.0, 1.0, 3, 3, 7)
    worst = stats.localisation_scores(-1.0 * origin, origin)
    assert (worst.precision, worst.recall, worst.auroc) == (0.0, 0.0, 0.0)
    flat = stats.localisation_scores(np.full(10, 0.2), origin)
    assert (flat.precision, flat.recall, flat.auroc) == pytest.approx((0.3, 0.3, 0.5))
    assert flat.auprc == pytest.approx(0.3)
    wide = stats.localisation_scores(origin * 1.0, origin, size=6)
    assert (wide.precision, wide.recall) == pytest.approx((0.5, 1.0))


def test_localisation_breaks_ties_as_at_random():
    effects = np.array([3.0, 2.0, 2.0, 2.0, 1.0])
    origin = np.array([False, True, True, False, False])
    shares = [origin[np.lexsort((p, -effects))[:2]].mean()
              for p in itertools.permutations(range(5))]
    assert stats.localisation_scores(effects, origin).precision == pytest.approx(np.mean(shares))


def test_random_ranking_is_chance():
    origin = np.arange(40) < 4
    null = stats.random_ranking(origin, draws=4000, seed=1)
    assert {k: v.shape for k, v in null.items()} == dict.fromkeys(
        ("precision", "recall", "auroc", "auprc"), (4000,))
    assert null["auroc"].mean() == pytest.approx(0.5, abs=0.01)
    assert null["precision"].mean() == pytest.approx(0.1, abs=0.01)
    assert (null["precision"] == null["recall"]).all()
    assert 0.1 < null["auprc"].mean() < 0.2
    effects = np.random.default_rng(1).random((40, 4000))
    one = stats.localisation_scores(effects[:, 17], origin)
    assert one.auprc == pytest.approx(null["auprc"][17]) and one.auroc == null["auroc"][17]


# -------------------------------------------------------------------------------------- bad inputs


Y = np.tile([0, 1], 8)
X = np.arange(16.0)
G = np.arange(16) // 4
HOLE = np.where(X == 3, np.nan, X)

REFUSED = [
    (lambda: stats.auroc(HOLE, Y), BadValues, "scores: 1 of 16 are NaN, the first in row 3"),
    (lambda: stats.auroc(X, Y * 0), BadLabels, "labels: all 16 rows are negative .* both classes"),
    (lambda: stats.auprc(X, Y * 0 + 1), BadLabels, "labels: all 16 rows are positive"),
    (lambda: stats.auroc(X, Y + 1), BadLabels, "labels: row 1 is 2; 0 or 1 is needed"),
    (lambda: stats.auroc(X, Y[:5]), BadLabels, "labels: 5 rows; 16 are needed"),
    (lambda: stats.auroc([], []), BadLabels, "scores: empty"),
    (lambda: stats.auroc(["a", "b"], [0, 1]), BadValues, "scores: not an array of numbers"),
    (lambda: stats.auroc(X.reshape(2, 2, 4), Y), BadShape, "1 or 2 axes are needed"),
    (lambda: stats.auroc_estimate(X, Y, clusters=X * 0), BadLabels, "all positive rows are of one"),
    (lambda: stats.auroc_estimate(X, Y, clusters=np.where(Y, 9, G)), BadLabels,
     "all positive rows are of one cluster"),
    (lambda: stats.auroc_estimate(X, X < 2, clusters=X), BadLabels,
     "2 hold positive and 14 negative rows, too few"),
    (lambda: stats.auroc_estimate(HOLE, Y, clusters=G), BadValues, "NaN"),
    (lambda: stats.auroc_drop(X, HOLE, Y, clusters=G), BadValues, "after: 1 of 16 are NaN"),
    (lambda: stats.auroc_drop(X, X[:4], Y, clusters=G), BadLabels, "after: 4 rows; 16 are needed"),
    (lambda: stats.proportion([]), BadLabels, "hits: empty; at least one row"),
    (lambda: stats.proportion([0.3, 1]), BadLabels, "hits: row 0 is 0.3; 0 or 1"),
    (lambda: stats.proportion([np.nan, 1]), BadValues, "hits: 1 of 2 are NaN"),
    (lambda: stats.proportion(Y, clusters=G[:3]), BadLabels, "clusters: 3 rows; 16 are needed"),
    (lambda: stats.proportion(Y, clusters=G * 0), BadLabels, "at least 2"),
    (lambda: stats.proportion(Y, clusters=np.where(G == 1, np.nan, G)), BadValues, "4 ids are NaN"),
    (lambda: stats.proportion(Y, clusters=G, draws=5), BadValues, "draws: 5; at least 100"),
    (lambda: stats.proportion(Y, level=95), BadValues, "level: 95; a share between 0 and 1"),
    (lambda: stats.difference(Y, Y[:4]), BadLabels, "hits_b: 4 rows; 16"),
    (lambda: stats.difference(Y, 1 - Y, clusters=G * 0), BadLabels, "of one cluster"),
    (lambda: stats.mean_estimate(HOLE, clusters=G), BadValues, "NaN"),
    (lambda: stats.mean_estimate([1, np.inf]), BadValues, "row 1 is inf; a mean needs finite"),
    (lambda: stats.mean_estimate(X, clusters=G * 0), BadLabels, "of one cluster"),
    (lambda: stats.cluster_bootstrap(np.mean, G, X[:3]), BadLabels, "array 0: 3 rows; 16"),
    (lambda: stats.cluster_bootstrap(np.mean, G, X, draws=9), BadValues, "at least 100"),
    (lambda: stats.t_interval([0.5]), BadLabels, "values: 1; a t interval needs at least 2"),
    (lambda: stats.t_interval([]), BadLabels, "values: empty"),
    (lambda: stats.clopper_pearson(5, 4), BadValues, "k: 5 of n: 4; whole numbers"),
    (lambda: stats.clopper_pearson(0.5, 4), BadValues, "whole numbers"),
    (lambda: stats.clopper_pearson(0, 0), BadLabels, "n: 0"),
    (lambda: stats.false_alarm_bound(-1, 4), BadValues, "k: -1"),
    (lambda: stats.tpr_at_fpr([], X), BadLabels, "positive: empty"),
    (lambda: stats.tpr_at_fpr(X, HOLE), BadValues, "negative: 1 of 16 are NaN"),
    (lambda: stats.tpr_at_fpr(X, X, fpr=1), BadValues, "fpr: 1; a share"),
    (lambda: stats.rank_p(np.nan, X), BadValues, "value: 1 of 1 are NaN"),
    (lambda: stats.rank_p(1.0, HOLE), BadValues, "controls: 1 of 16"),
    (lambda: stats.rank_p(1.0, []), BadLabels, "controls: empty"),
    (lambda: stats.permutation_null(np.sum, Y * 0), BadLabels, "one class; nothing to permute"),
    (lambda: stats.permutation_null(np.sum, Y, permute="within"), BadLabels, "needs groups"),
    (lambda: stats.permutation_null(np.sum, Y, groups=G, permute="across"), BadLabels,
     "'within' is right"),
    (lambda: stats.permutation_null(np.sum, G > 1, groups=G, permute="within"), BadLabels,
     "'within' changes nothing"),
    (lambda: stats.permutation_null(np.sum, Y, groups=G, permute="rows"), BadLabels, "or None"),
    (lambda: stats.permutation_null(lambda z: np.nan, Y), BadValues, "statistic: nan"),
    (lambda: stats.group_split(G, (2, 2, 2)), BadValues, "add up to the 4 distinct ids"),
    (lambda: stats.group_split(G, (2, 2)), BadValues, "three counts"),
    (lambda: stats.group_split(G, (2, 1, 1)).masks([0, 1, 77]), BadValues, "ids: 77 of no split"),
    (lambda: stats.check_disjoint({"train": Y}, {"entity": G}), BadLabels, "at least 2"),
    (lambda: stats.check_disjoint({"a": Y, "b": 1 - Y}, {}), BadLabels, "nothing is checked"),
    (lambda: stats.check_disjoint({"a": Y, "b": Y * 0}, {"g": X}), BadLabels, "split 'b': no rows"),
    (lambda: stats.check_disjoint({"a": Y, "b": Y[:3]}, {"g": X}), BadLabels, "split 'b': 3 rows"),
    (lambda: stats.localisation_scores(HOLE, Y), BadValues, "effects: 1 of 16"),
    (lambda: stats.localisation_scores(X, Y * 0), BadLabels, "is_origin: all 16 rows"),
    (lambda: stats.localisation_scores(X, Y, size=17), BadValues, "size: 17; between 1 and the 16"),
    (lambda: stats.random_ranking(Y * 0), BadLabels, "is_origin"),
]


@pytest.mark.parametrize(("call", "error", "text"), REFUSED)
def test_bad_input_is_refused_readably(call, error, text):
    with pytest.raises(error, match=text) as caught:
        call()
    assert isinstance(caught.value, MoInterpError) and "\n" not in str(caught.value)
