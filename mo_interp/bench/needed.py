"""How many rows and seeds an interval of a stated width takes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from mo_interp import stats
from mo_interp.errors import BadValues


def rows_needed(half_width: float) -> int:
    """Distinct rows for a share's 95 % interval (Clopper-Pearson) of this half-width, at worst.

    The worst share is one half. Rows of one entity are alike, and then more are needed. Raises
    BadValues for a half-width outside (0, 0.5).
    """
    if not 0.0 < half_width < 0.5:
        raise BadValues(f"half-width {half_width}: needs a number between 0 and 0.5")
    low, high = 2, 4
    while _half(high) > half_width:
        low, high = high, 2 * high
    while high - low > 2:
        middle = (low + high) // 4 * 2
        low, high = (middle, high) if _half(middle) > half_width else (low, middle)
    return high


def shares_needed(values: Sequence[float], half_width: float, most: int = 1000) -> int | None:
    """Seeds for a Clopper-Pearson interval of this half-width, if as large a share of them has it.

    ``values`` are 0 or 1. None where fewer than two are there, or ``most`` are not enough. Raises
    BadValues for a half-width that is not above 0.
    """
    share = statistics.fmean(values) if values else 0.0
    return _fewest(lambda n: _half(n, round(share * n)), values, half_width, most)


def seeds_needed(values: Sequence[float], half_width: float, most: int = 1000) -> int | None:
    """Seeds for a 95 % t interval of this half-width, if later ones vary as these do.

    None where fewer than two values are there to say how they vary, or ``most`` are not enough.
    Raises BadValues for a half-width that is not above 0.
    """
    from scipy.stats import t

    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return _fewest(
        lambda n: float(t.ppf(0.975, n - 1)) * spread / math.sqrt(n), values, half_width, most
    )


def _fewest(
    width: Callable[[int], float], values: Sequence[float], half_width: float, most: int
) -> int | None:
    """The smallest number from 2 on whose interval is as narrow as that."""
    if not half_width > 0:
        raise BadValues(f"half-width {half_width}: needs a number above 0")
    if len(values) < 2:
        return None
    return next((n for n in range(2, most + 1) if width(n) <= half_width), None)


def _half(rows: int, hits: int | None = None) -> float:
    """Half the width of Clopper-Pearson's interval; of half the rows if not said."""
    estimate = stats.clopper_pearson(rows // 2 if hits is None else hits, rows)
    return (estimate.hi - estimate.lo) / 2
