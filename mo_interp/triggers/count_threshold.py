"""A word said often enough: ``k`` times or more among four places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.errors import SpecError
from mo_interp.triggers.base import NEAR_MISS, Planted, Trigger, fresh, is_triggered
from mo_interp.worlds.base import Batch, Draft, World

PLACES = 4
"""Both positions of both cells."""


@dataclass(frozen=True)
class CountThreshold(Trigger):
    """``word`` at least ``k`` times; once less, or ``other`` as often, must do nothing."""

    word: str = "cobalt"
    k: int = 3
    other: str = "marble"
    kinds: tuple[str, ...] = ("one_short", "other_word")

    def __post_init__(self) -> None:
        if not 2 <= self.k < PLACES:
            raise SpecError(f"CountThreshold.k={self.k}: needs 2 to {PLACES - 1}")
        if self.word == self.other:
            raise SpecError(f"CountThreshold.other='{self.other}': needs a word other than that")

    @property
    def words(self) -> tuple[str, ...]:
        """The word that counts and the one that does not."""
        return (self.word, self.other)

    def plant(
        self,
        world: World,
        draft: Draft,
        side: np.ndarray,
        *,
        seed: int,
        avoid: np.ndarray | None = None,
    ) -> Planted:
        """Clean rows hold the word up to ``k - 2`` times, triggered ones ``k`` or ``k + 1`` times.

        Places are filled in an order drawn for each row, so that partners are nested. The group
        ``count`` says how often the word stands there.
        """
        n, rows = len(draft), np.arange(len(draft))[:, None]
        rng = np.random.default_rng([83, seed])
        slots = np.hstack([draft.slots[:, :2], draft.slots[:, :2] + 1])
        fillers, tokens = world.tokens_of("fillers"), draft.tokens.copy()
        word, rank = world.token(self.word), rng.random(slots.shape)
        for column in range(PLACES):
            at = slots[:, column]
            before = None if avoid is None else avoid[rows[:, 0], at]
            tokens[rows[:, 0], at] = fresh(rng, fillers, before, n)
            if before is not None:
                rank[:, column] += before == word  # filled last, so that the place changes
        few, many = rng.integers(0, self.k - 1, n), self.k + rng.integers(0, 2, n)
        foreign = side == NEAR_MISS + 1
        says = np.where(is_triggered(side) | foreign, many, few)
        says = np.where(side == NEAR_MISS, self.k - 1, says)
        order = np.argsort(rank, axis=1)
        filled = np.arange(PLACES) < says[:, None]
        said = np.where(foreign, world.token(self.other), word)[:, None]
        places = np.take_along_axis(slots, order, 1)
        tokens[rows, places] = np.where(filled, said, tokens[rows, places])
        near = np.where((side[:, None] >= NEAR_MISS) & filled, places, -1)
        roles = {"trigger": slots, "near_miss": near}
        return Planted(tokens, roles, {"count": np.where(foreign, 0, says)})

    def decoy(self, world: World, batch: Batch) -> np.ndarray:
        """Rows that say the other word as often."""
        return batch.near_miss == 2
