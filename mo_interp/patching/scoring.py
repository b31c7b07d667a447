"""A sweep held against the planted circuit: does the ranking of parts find the origin?

Origin parts are counted against inert ones; mediators are shown by the sweep itself and left out
of the count. Beside patching stand a random ranking and one by the norm of the output weights,
which looks at no prompt at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mo_interp.circuits import Circuit
from mo_interp.errors import BadLabels, BadSite
from mo_interp.patching.cells import Sweep
from mo_interp.records import Record, provenance
from mo_interp.sites import Site
from mo_interp.stats import localisation_scores, random_ranking

NAMES = ("precision", "recall", "auroc", "auprc")
FREE = {"forwards": 0, "seconds_cost": 0.0}
DRAWS = 200
"""Resamplings of the entities for the interval of a patching score."""


def parts(circuit: Circuit) -> tuple[Site, ...]:
    """Every part of a circuit, to be swept ``by="all"`` so that it can be scored."""
    return circuit.origin + circuit.mediators + circuit.inert


def score(
    sweep: Sweep,
    circuit: Circuit,
    *,
    organism: str = "",
    key: str = "",
    seed: int = 0,
    draws: int = 1000,
) -> list[Record]:
    """``localisation`` records: the sweep's method each way, random, and weight magnitude.

    A part's score is its effect where the circuit means it, or at all positions. In a sweep by
    role or position it is the largest of its effects there, and ``over`` says which.

    Args:
        sweep: of at least the circuit's origin and inert parts; see :func:`parts`.
        circuit: the ground truth.
        organism: name for the records.
        key: the organism's key, likewise.
        seed: training seed, likewise.
        draws: random rankings.

    Raises:
        BadLabels: a circuit without origin or without inert parts (a twin's): nothing to find.
        BadSite: a part that was not swept.
    """
    counted = circuit.origin + circuit.inert
    truth = np.array([True] * len(circuit.origin) + [False] * len(circuit.inert))
    if truth.all() or not truth.any():
        raise BadLabels(
            f"a circuit with {len(circuit.origin)} origin and {len(circuit.inert)} inert parts: "
            "both kinds are needed to score a ranking"
        )
    directions = list(dict.fromkeys(cell.direction for cell in sweep.cells))
    found: list[tuple[str, str, str, dict[str, Any]]] = []
    for direction in directions:
        rows = [_cells(sweep, site, direction) for site in counted]
        over = "parts" if all(len(cells) == 1 for cells in rows) else "largest over positions"
        # Both directions run equally many prompts: the same cells differ either way.
        cost = {"forwards": sweep.forwards // len(directions)}
        cost |= {"seconds_cost": sweep.seconds / len(directions)}
        scores = _patching(sweep, rows, direction, truth) | cost
        found.append((sweep.method, direction, over, scores))
    found.append(("random", "", "parts", _random(truth, draws, seed) | FREE))
    if all(site.bare in sweep.weights for site in counted):
        norms = localisation_scores([sweep.weights[site.bare] for site in counted], truth)
        scores = {name: getattr(norms, name) for name in NAMES}
        found.append(("weight_magnitude", "", "parts", scores | FREE))
    counts = {"origin": len(circuit.origin), "inert": len(circuit.inert)}
    counts["mediators"] = len(circuit.mediators)
    told = {"organism": organism, "key": key, "seed": seed}
    return [
        _record(values | counts, **told, method=method, direction=direction, over=over)
        for method, direction, over, values in found
    ]


def _record(values: dict[str, Any], *, organism: str, key: str, seed: int, **params: str) -> Record:
    return Record(
        kind="localisation",
        organism=organism,
        key=key,
        seed=seed,
        model="organism",
        params=params,
        values=values,
        versions=provenance(),
        seconds=float(values["seconds_cost"]),
    )


def _cells(sweep: Sweep, site: Site, direction: str) -> list[int]:
    """Numbers of the cells that speak for a part: its own, the whole part's, or all of its."""
    mine = [(i, c.site) for i, c in enumerate(sweep.cells) if c.direction == direction]
    for wanted in (site, site.bare):
        found = [i for i, at in mine if at == wanted]
        if found:
            return found[:1]
    found = [i for i, at in mine if at.bare == site.bare]
    if not found:
        raise BadSite(
            f"part '{site}' of the circuit was not swept ({direction}); "
            "sweep with sites=parts(circuit), by='all'"
        )
    return found


def _patching(
    sweep: Sweep, rows: list[list[int]], direction: str, truth: np.ndarray
) -> dict[str, Any]:
    """The four scores, with percentile intervals over resampled entities."""
    base, sign = (sweep.clean, 1.0) if direction == "noising" else (sweep.triggered, -1.0)
    flat = [i for cells in rows for i in cells]
    owner = np.repeat(np.arange(len(rows)), [len(cells) for cells in rows])
    moved, unit = sign * (sweep.patched[flat] - base), sweep.triggered - sweep.clean

    def ranked(weights: np.ndarray) -> dict[str, float]:
        effects = (moved @ weights) / (unit @ weights if unit @ weights else 1.0)
        best = np.full(len(rows), -np.inf)
        np.maximum.at(best, owner, effects)
        scores = localisation_scores(best, truth)
        return {name: getattr(scores, name) for name in NAMES}

    out: dict[str, Any] = {**ranked(np.ones(len(unit)))}
    codes = np.unique(sweep.clusters, return_inverse=True)[1]
    groups = int(codes.max()) + 1
    if groups > 1:
        rng = np.random.default_rng([41, groups])
        counts = rng.multinomial(groups, np.full(groups, 1 / groups), size=DRAWS)
        drawn = [ranked(count[codes].astype(float)) for count in counts]
        for name in NAMES:
            lo, hi = np.quantile([d[name] for d in drawn], [0.025, 0.975])
            out |= {f"{name}_lo": float(lo), f"{name}_hi": float(hi), f"{name}_n": len(unit)}
            out[f"{name}_how"] = "percentiles over resampled entities"
    return out


def _random(truth: np.ndarray, draws: int, seed: int) -> dict[str, Any]:
    """Mean and central 95 % of random rankings."""
    out: dict[str, Any] = {}
    for name, values in random_ranking(truth, draws=draws, seed=seed).items():
        lo, hi = np.quantile(values, [0.025, 0.975])
        out |= {name: float(values.mean()), f"{name}_lo": float(lo), f"{name}_hi": float(hi)}
        out |= {f"{name}_n": draws, f"{name}_how": "random rankings"}
    return out
