"""Does a cheap method say what patching says? Cell by cell, against the sweep it approximates.

Three numbers, since they can disagree: Spearman's rank correlation (is the order right?), the worst
cell (how wrong can it be?), and how many cells are *missed* (patching at least :data:`LARGE`, the
method under :data:`SMALL` in size) or *invented* (the other way round). Cells that patching left
unchanged in every pair are exactly 0 in both and are not counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mo_interp.attribution.edges import Edges
from mo_interp.errors import BadShape, BadSite
from mo_interp.patching.cells import Sweep
from mo_interp.records import Record, provenance

LARGE, SMALL, DIGITS = 0.5, 0.1, 6
DRAWS = 200
"""Resamplings of the entities for the interval of a rank correlation."""


Swept = Sweep | Edges


def agreement(
    approximate: Swept,
    exact: Swept,
    *,
    organism: str = "",
    key: str = "",
    seed: int = 0,
    cells: str = "",
) -> list[Record]:
    """One ``localisation_agreement`` record a direction; ``site`` is the worst cell.

    Args:
        approximate: of the same cells, pairs and metric.
        exact: the exhaustive sweep, or path patching.
        organism: name for the records.
        key: the organism's key, likewise.
        seed: training seed, likewise.
        cells: a word for the records, such as ``role``, ``parts`` or ``edges``.

    Raises:
        BadShape: other pairs, or another metric.
        BadSite: a cell of the exact sweep that the other lacks.
    """
    _comparable(approximate, exact)
    mine = {(c.site, c.direction): i for i, c in enumerate(approximate.cells)}
    found = []
    for direction in dict.fromkeys(c.direction for c in exact.cells):
        rows = [
            i for i, c in enumerate(exact.cells) if c.direction == direction and not c.unchanged
        ]
        lacking = [i for i in rows if (exact.cells[i].site, direction) not in mine]
        if lacking:
            told = exact.cells[lacking[0]].site
            raise BadSite(f"cell '{told}' ({direction}) is not in the {approximate.method} result")
        others = [mine[exact.cells[i].site, direction] for i in rows]
        values, worst = _compared(approximate, others, exact, rows)
        found.append(
            Record(
                kind="localisation_agreement",
                organism=organism,
                key=key,
                seed=seed,
                model="organism",
                site=_printed(worst),
                params={
                    "method": approximate.method,
                    "reference": exact.method,
                    "direction": direction,
                    "cells": cells,
                    "metric": exact.metric,
                },
                values=values,
                versions=provenance(),
                seconds=approximate.seconds,
            )
        )
    return found


def _comparable(approximate: Swept, exact: Swept) -> None:
    same = np.array_equal(approximate.clusters, exact.clusters)
    if not same or not np.allclose(approximate.triggered, exact.triggered, atol=1e-3):
        raise BadShape("agreement needs two results of the same pairs; run both on the same ones")
    if approximate.metric != exact.metric:
        raise BadShape(f"metrics differ: '{approximate.metric}' and '{exact.metric}'")


def _printed(site: Any) -> str:
    """A site, or an edge's ends, as a record's ``site``."""
    return "" if site is None else str(site).replace(" -> ", " + ")


def _compared(
    approximate: Swept, others: list[int], exact: Swept, rows: list[int]
) -> tuple[dict[str, Any], Any]:
    """The numbers, and the worst cell's site."""
    costs = {"forwards": approximate.forwards, "backwards": approximate.backwards}
    costs |= {"seconds_cost": approximate.seconds, "reference_forwards": exact.forwards}
    costs |= {"seconds_reference": exact.seconds, "n": len(exact.clean), "cells": len(rows)}
    if not rows:
        return {**costs, "reason": "patching changed no cell"}, None
    told = np.array([approximate.cells[i].effect.value for i in others])
    true = np.array([exact.cells[i].effect.value for i in rows])
    error = np.abs(told - true)
    at = int(error.argmax())
    missed = (np.abs(true) >= LARGE) & (np.abs(told) < SMALL)
    invented = (np.abs(true) < SMALL) & (np.abs(told) >= LARGE)
    values = {
        **_ranked(approximate.patched[others], exact, rows),
        "worst": float(error[at]),
        "worst_told": float(told[at]),
        "worst_true": float(true[at]),
        "mean_error": float(error.mean()),
        "missed": int(missed.sum()),
        "invented": int(invented.sum()),
        "large": int((np.abs(true) >= LARGE).sum()),
    }
    return values | costs, exact.cells[rows[at]].site


def _ranked(told: np.ndarray, exact: Swept, rows: list[int]) -> dict[str, Any]:
    """Spearman's correlation of the mean effects, with percentiles over resampled entities.

    Effects are rounded to :data:`DIGITS` first, or the order of rounding errors would count.
    """
    direction = exact.cells[rows[0]].direction
    base, sign = (exact.clean, 1.0) if direction == "noising" else (exact.triggered, -1.0)
    size = sign * (abs(float((exact.triggered - exact.clean).mean())) or 1.0)
    mine, theirs = (told - base) / size, (exact.patched[rows] - base) / size
    out: dict[str, Any] = {"spearman": spearman(mine.mean(1), theirs.mean(1), DIGITS)}
    codes = np.unique(exact.clusters, return_inverse=True)[1]
    groups = int(codes.max()) + 1
    if groups > 1:
        rng = np.random.default_rng([43, groups])
        counts = rng.multinomial(groups, np.full(groups, 1 / groups), size=DRAWS)[:, codes]
        n = exact.clean.size
        drawn = [spearman(mine @ count / n, theirs @ count / n, DIGITS) for count in counts]
        lo, hi = np.nanquantile(drawn, [0.025, 0.975])
        out |= {"spearman_lo": float(lo), "spearman_hi": float(hi), "spearman_n": exact.clean.size}
        out["spearman_how"] = "percentiles over resampled entities"
    return out


def spearman(a: np.ndarray, b: np.ndarray, digits: int = 15) -> float:
    """Rank correlation of two vectors, ties at their mean rank; nan where one is constant."""
    from scipy.stats import rankdata

    x, y = (rankdata(np.round(v, digits)) - (len(v) + 1) / 2 for v in (a, b))
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size else float("nan")
