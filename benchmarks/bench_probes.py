"""Probes at all sites and positions against a loop of scikit-learn's LogisticRegression.

Every residual and every part of quirky_user (two layers, d 64) at every position where rows differ
between the classes; train people fit, test people judge; one thread. Both minimise the same
objective to the same tolerance, 1e-4. Equality first: every AUROC within 0.002. The peer is given
rows as a person would give them, centred and scaled (``scaled``), and as they are (``raw``).

Then 1,000 random directions against one of the peer's probes, fitted and judged on as many rows.

    python benchmarks/bench_probes.py [pairs ...]
"""

import sys
import warnings

import common  # noqa: I001  (sets the thread count before torch is imported)
import numpy as np
from sklearn.linear_model import LogisticRegression

from mo_interp.baselines import random_directions
from mo_interp.grown import organism
from mo_interp.probing import fit_many, random_aurocs
from mo_interp.records import Record
from mo_interp.stats import auroc

L2, NEAR = 1e-3, 0.002
KINDS = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
PAIRS = (64, 256)
WIDTHS = (64, 512)


def rows(n: int, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Activations ``[batch site d]`` at every site and position, and labels ``[batch]``."""
    grown = organism("quirky_user", seed=0)
    both = grown.pairs(n, seed=1, split=split).both
    acts = grown.model.run(both, read=[f"L*.{kind}" for kind in KINDS]).acts
    found = np.concatenate([a.numpy() for _, a in sorted(acts.items())], axis=1)
    return found, both.triggered


def by_peer(x: np.ndarray, y: np.ndarray, sort: str) -> list[LogisticRegression]:
    """A probe a site, the objective being ours."""
    found = []
    for site in range(x.shape[1]):
        one = x[:, site].astype(np.float64)
        centre, scale = one.mean(0), 1.0
        scale = float(np.sqrt(((one - centre) ** 2).mean())) or 1.0
        if sort == "scaled":
            probe = LogisticRegression(C=1 / (len(x) * L2)).fit((one - centre) / scale, y)
            probe.coef_ = probe.coef_ / scale
        else:
            probe = LogisticRegression(C=1 / (len(x) * L2 * scale**2)).fit(one, y)
        found.append(probe)
    return found


def check_equal(x, y, new, truth) -> float:
    """The largest difference of AUROC at any site; stops if it is above 0.002."""
    scores = fit_many(x, y, l2=L2).score(new)
    theirs = by_peer(x, y, "scaled")
    gaps = [
        abs(auroc(scores[:, i], truth) - auroc(new[:, i] @ probe.coef_[0], truth))
        for i, probe in enumerate(theirs)
    ]
    if max(gaps) > NEAR:
        raise SystemExit(f"site {int(np.argmax(gaps))}: AUROC differs by {max(gaps):.4f}")
    return float(max(gaps))


def probes(n: int) -> list[Record]:
    """Equal to the peer's, then timed."""
    (x, y), (new, truth) = rows(n, "train"), rows(n, "test")
    differ = np.abs(x[y].mean(0) - x[~y].mean(0)).max(1) > 1e-4
    differ &= np.abs(new[truth].mean(0) - new[~truth].mean(0)).max(1) > 1e-4
    x, new = np.ascontiguousarray(x[:, differ]), np.ascontiguousarray(new[:, differ])
    worst = check_equal(x, y, new, truth)
    ways = [lambda sort=sort: by_peer(x, y, sort) for sort in ("scaled", "raw")]
    times = common.alternate(*ways, lambda: fit_many(x, y, l2=L2), turns=3)
    about = {"rows": len(x), "sites": x.shape[1], "d": x.shape[2], "worst": worst}
    return [
        common.compared("probes", theirs, times[2], **about, peer=sort)
        for sort, theirs in zip(("scaled", "raw"), times, strict=False)
    ]


def directions(d: int, n: int = 1024) -> Record:
    """1,000 random directions, and one of the peer's probes, on rows of the same size."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2 == 1
    x, new = (rng.normal(size=(n, d)) + 0.3 * y[:, None] for _ in range(2))
    told = {"test_acts": new, "test_y": y}
    slow = random_directions(x, y, **told).aurocs
    worst = float(np.abs(random_aurocs(x, y, **told) - slow).max())
    if worst > NEAR:
        raise SystemExit(f"random directions: AUROC differs by {worst:.4f}")

    def probe() -> object:
        fitted = LogisticRegression(C=1 / (n * L2)).fit(x, y)
        return auroc(fitted.decision_function(new), y)

    times = common.alternate(probe, lambda: random_aurocs(x, y, **told), turns=5)
    return common.compared("probes: 1000 random directions", *times, rows=n, d=d, worst=worst)


def main(pairs: tuple[int, ...] = PAIRS) -> list[Record]:
    common.one_thread()
    warnings.simplefilter("ignore")  # the peer's, where 100 steps were not enough
    records = []
    for n in pairs:
        records += probes(n)
        print("\n".join(map(common.line, records[-2:])), flush=True)
    for d in WIDTHS:
        records.append(directions(d))
        print(common.line(records[-1]), flush=True)
    return records


if __name__ == "__main__":
    common.keep(main(tuple(map(int, sys.argv[1:])) or PAIRS), "probes")
