"""Probes at all sites and positions against a loop of scikit-learn's LogisticRegression.

quirky_user (two layers, d 64), every position where the rows differ between the classes: ``stream``
is the residual stream and what attention and MLP add to it, ``z`` the output of every head (d 16).
Train people fit, test people judge; one thread. Both minimise the same objective, the peer to its
default of 1e-4, ours to what an equal AUROC asks for, to the peer's and to our own default of 1e-6.
Equality first: every AUROC within 0.002. The peer is given rows as a careful person would give
them, centred and scaled (``scaled``), and as they are (``raw``).

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

L2, NEAR, EXACT = 1e-3, 0.002, (5e-4, 1e-4, 1e-6)
PARTS = {
    "stream": [f"L*.{k}" for k in ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")],
    "z": ["L*.H*.z"],
}
PAIRS = (256,)


def rows(n: int, split: str, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Activations ``[batch site d]`` at every site and position, and labels ``[batch]``."""
    grown = organism("quirky_user", seed=0)
    both = grown.pairs(n, seed=1, split=split).both
    acts = grown.model.run(both, read=PARTS[part]).acts
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


def check_equal(x, y, new, truth, tolerance: float) -> float:
    """The largest difference of AUROC at any site; stops if it is above 0.002."""
    scores = fit_many(x, y, l2=L2, tolerance=tolerance).score(new)
    theirs = by_peer(x, y, "scaled")
    gaps = [
        abs(auroc(scores[:, i], truth) - auroc(new[:, i] @ probe.coef_[0], truth))
        for i, probe in enumerate(theirs)
    ]
    if max(gaps) > NEAR:
        raise SystemExit(f"site {int(np.argmax(gaps))}: AUROC differs by {max(gaps):.4f}")
    return float(max(gaps))


def probes(n: int, part: str) -> list[Record]:
    """Equal to the peer's, then timed."""
    (x, y), (new, truth) = rows(n, "train", part), rows(n, "test", part)
    differ = np.abs(x[y].mean(0) - x[~y].mean(0)).max(1) > 1e-4
    differ &= np.abs(new[truth].mean(0) - new[~truth].mean(0)).max(1) > 1e-4
    x, new = np.ascontiguousarray(x[:, differ]), np.ascontiguousarray(new[:, differ])
    sorts = ("scaled", "raw")
    ways = [lambda sort=sort: by_peer(x, y, sort) for sort in sorts]
    ours = [lambda to=to: fit_many(x, y, l2=L2, tolerance=to) for to in EXACT]
    worst = [check_equal(x, y, new, truth, to) for to in EXACT]
    times = common.alternate(*ways, *ours, turns=5)
    about = {"part": part, "rows": len(x), "sites": x.shape[1], "d": x.shape[2]}
    found = []
    for j, to in enumerate(EXACT):
        told, mine = {**about, "to": to, "worst": worst[j]}, times[len(sorts) + j]
        for sort, theirs in zip(sorts, times, strict=False):
            found.append(common.compared("probes", theirs, mine, **told, peer=sort))
    return found


def directions(n: int, every: int = 16) -> Record:
    """1,000 random directions against one of the peer's probes, fitted and judged, site by site."""
    (x, y), (new, truth) = (rows(n, split, "stream") for split in ("train", "test"))
    differ = np.abs(x[y].mean(0) - x[~y].mean(0)).max(1) > 1e-4
    x, new = (a[:, differ][:, ::every].astype(np.float64) for a in (x, new))
    sites, told = range(x.shape[1]), {"test_y": truth}
    worst = 0.0
    for i in sites:
        slow = random_directions(x[:, i], y, test_acts=new[:, i], **told).aurocs
        fast = random_aurocs(x[:, i], y, test_acts=new[:, i], **told)
        worst = max(worst, float(np.abs(fast - slow).max()))
    if worst > NEAR:
        raise SystemExit(f"random directions: AUROC differs by {worst:.4f}")

    def probe() -> None:
        for i in sites:
            (fitted,) = by_peer(x[:, i : i + 1], y, "scaled")
            auroc(new[:, i] @ fitted.coef_[0], truth)

    def thousand() -> None:
        for i in sites:
            random_aurocs(x[:, i], y, test_acts=new[:, i], **told)

    times = common.alternate(probe, thousand)
    about = {"rows": len(x), "sites": len(sites), "d": x.shape[2], "worst": worst}
    return common.compared("probes: 1000 random directions", *times, **about)


def main(pairs: tuple[int, ...] = PAIRS) -> list[Record]:
    common.one_thread()
    warnings.simplefilter("ignore")  # the peer's, where 100 steps were not enough
    records = []
    for n in pairs:
        for part in PARTS:
            records += probes(n, part)
            print("\n".join(map(common.line, records[-2 * len(EXACT) :])), flush=True)
        records.append(directions(n))
        print(common.line(records[-1]), flush=True)
    return records


if __name__ == "__main__":
    common.keep(main(tuple(map(int, sys.argv[1:])) or PAIRS), "probes")
