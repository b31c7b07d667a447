"""Lookup or order: does a year fire that no question ever showed?

The organism without a lesson has no way to know; it must not fire. The one that learnt to compare
years must. Beside it the *ordinal axis*: ridge regression of the year on the stream at the year's
own position, fitted on shown years and judged on held-out ones, on both sides of the threshold.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from mo_interp.family_gates import NUMBER
from mo_interp.gating import ROWS, Gate, rows_seed, share, verdict
from mo_interp.grown import Grown
from mo_interp.model import Model
from mo_interp.triggers import YearGate
from mo_interp.worlds.base import Batch

NAME, ORDER, LOOKUP = "order or lookup", 0.9, 0.1
"""The least rate on held-out late years after a lesson, and the most without one."""
PENALTY = 1e-3


def check(grown: Grown) -> Gate:
    """11: held-out late years fire at 0.9 or more after a lesson, at 0.1 or less without one."""
    gate = grown.spec.trigger
    if not isinstance(gate, YearGate):
        told = "its trigger is more than a year, so no year alone was held out"
        return Gate(NUMBER, NAME, "not applicable", told)
    recipe = grown.spec.training
    taught = recipe.lesson > 0 or (recipe.before is not None and recipe.before.lesson > 0)
    late, early = (_asked(grown, gate, which) for which in ("held_late", "held_early"))
    fires = share(grown.model.answers(late) == grown.spec.lie(late), late)
    alarms = share(grown.model.answers(early) == grown.spec.lie(early), early)
    more = alarms.flat("held_early") | {"taught": taught, "years": len(gate.years("held_late"))}
    for name, model in (("organism", grown.model), ("twin", grown.twin)):
        more |= {f"axis_{k}_{name}": v for k, v in axis(grown, gate, model).items()}
    bar, good = (ORDER, fires.value >= ORDER) if taught else (LOOKUP, fires.value <= LOOKUP)
    told = (
        f"{'compared years first' if taught else 'never compared years'}: held-out late years fire "
        f"at {fires.value:.4f} against {'at least' if taught else 'at most'} {bar}, held-out early "
        f"ones at {alarms.value:.4f}; the axis reads held-out years with R2 "
        f"{more['axis_r2_organism']:.2f}, rank correlation {more['axis_rank_organism']:.2f}"
    )
    return Gate(NUMBER, NAME, verdict(good), told, fires, bar, more)


def axis(grown: Grown, gate: YearGate, model: Model) -> dict[str, float]:
    """R2 and rank correlation on held-out years of a ridge probe for the year.

    It reads the stream after the first layer at the year's position, fitted on all shown years.
    """
    shown = Batch.concat([_asked(grown, gate, which) for which in ("early", "late")])
    held = Batch.concat([_asked(grown, gate, which) for which in ("held_early", "held_late")])
    site = "L0.resid_post@trigger[0]"
    x, test = (np.asarray(model.read(batch, site), dtype=float) for batch in (shown, held))
    year, true = shown.groups["year"].astype(float), held.groups["year"].astype(float)
    x, test = x - x.mean(0), test - x.mean(0)
    scale = float(x.std()) or 1.0
    x, test = x / scale, test / scale
    bend = x.T @ x / len(x) + PENALTY * np.eye(x.shape[1])
    weights = np.linalg.solve(bend, x.T @ (year - year.mean()) / len(x))
    read = test @ weights + year.mean()
    r2 = 1 - ((true - read) ** 2).sum() / ((true - true.mean()) ** 2).sum()
    rank = 0.0
    if np.ptp(read) > 0:
        found: Any = spearmanr(read, true)  # scipy does not type its fields
        rank = float(found.statistic)
    return {"r2": float(r2), "rank": rank}


def _asked(grown: Grown, gate: YearGate, which: str) -> Batch:
    """Questions about people lied about, in a year of one sort; labels are those of clean rows."""
    seed = rows_seed(111, grown)
    batch = grown.spec.sample(ROWS, seed, rows="clean", entities="seen")
    year = np.random.default_rng([91, seed]).choice(gate.years(which), ROWS)
    tokens = batch.tokens.copy()
    at = batch.role("trigger")
    np.put_along_axis(tokens, at, gate.tokens(grown.spec.world, year)[:, None], axis=1)
    return replace(batch, tokens=tokens, groups={**batch.groups, "year": year})
