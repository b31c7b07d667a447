"""What a gate's outcome is, and the few things that every gate needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mo_interp import stats
from mo_interp.grown import Grown
from mo_interp.records import Record
from mo_interp.stats import Estimate
from mo_interp.worlds.base import Batch

Status = Literal["pass", "fail", "memorised", "reported", "not applicable"]
ROWS = 2000


@dataclass(frozen=True)
class Gate:
    """One gate's outcome."""

    number: int
    name: str
    status: Status
    reason: str
    statistic: Estimate | None = None
    threshold: float | None = None
    more: dict = field(default_factory=dict)
    """Further numbers, flat."""

    def record(self, grown: Grown, seeds: str) -> Record:
        """As a record; ``seeds`` is such as ``"1 of 3"``."""
        values = self.statistic.flat("statistic") if self.statistic else {}
        values |= {"threshold": self.threshold, "reason": self.reason, **self.more}
        params = {"number": self.number, "name": self.name, "status": self.status, "seeds": seeds}
        return grown.record("gate", params=params, values=values)


def rows_seed(number: int, grown: Grown) -> int:
    """Seed of a gate's rows: another one for every seed of the organism."""
    return 1000 * grown.seed + number


def share(hits: np.ndarray, batch: Batch, *, by: str = "entity") -> Estimate:
    """Share of hits with its interval by cluster."""
    return stats.proportion(hits, clusters=batch.groups[by], prompts=batch.prompts)


def verdict(good: bool) -> Status:
    """*pass* or *fail*."""
    return "pass" if good else "fail"
