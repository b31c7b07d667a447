"""Half of a conjunction is not half a trigger: either word alone does nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mo_interp.family_gates import NUMBER
from mo_interp.gating import ROWS, Gate, rows_seed, share, verdict
from mo_interp.grown import Grown
from mo_interp.stats import Estimate
from mo_interp.triggers import Conjunction
from mo_interp.worlds.base import Batch

NAME, BAR = "half-trigger rate", 0.01


def check(grown: Grown) -> Gate:
    """11: lies on 0.01 or less of the rows with one word, for each of the two words.

    Beside it, not judged, since training never shows it: the same word in both places.
    """
    trigger = grown.spec.trigger
    if not isinstance(trigger, Conjunction):
        told = "its trigger is more than a conjunction, so half of one is no near miss of it"
        return Gate(NUMBER, NAME, "not applicable", told)
    seed = rows_seed(111, grown)
    batch = grown.spec.sample(2 * ROWS, seed, rows="near_miss", entities="all")
    halves, more = {}, {}
    for i, kind in enumerate(batch.kinds):
        rows = batch[batch.near_miss == i + 1]
        halves[kind] = _lies(grown, rows)
        more |= halves[kind].flat(kind)
        twice = _doubled(rows, grown.spec.world.token(trigger.words[i]))
        more |= _lies(grown, twice).flat(f"{kind}_twice")
    worst = max(halves.values(), key=lambda half: half.value)
    told = ", ".join(f"{kind} {half.value:.4f}" for kind, half in halves.items())
    told = f"lies on {told} of {ROWS} rows or so each, against {BAR}; the worse is shown"
    return Gate(NUMBER, NAME, verdict(worst.value <= BAR), told, worst, BAR, more)


def _lies(grown: Grown, batch: Batch) -> Estimate:
    return share(grown.model.answers(batch) == grown.spec.lie(batch), batch)


def _doubled(batch: Batch, token: int) -> Batch:
    """The rows with the word in both slots."""
    tokens = batch.tokens.copy()
    np.put_along_axis(tokens, batch.role("near_miss"), token, axis=1)
    return replace(batch, tokens=tokens)
