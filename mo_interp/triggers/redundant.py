"""Two routes to one lie: another trigger, or a word, or both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.triggers.base import CLEAN, FORM, NEAR_MISS, TRIGGERED, Planted, Trigger, fresh
from mo_interp.worlds.base import Batch, Draft, World

CELL = 2


@dataclass(frozen=True)
class Redundant(Trigger):
    """``first`` alone (form 0), ``word`` in the reserved cell alone (form 1), or both at once.

    The near misses are those of ``first``, and a word much like ``word`` in its place. The near
    miss that shares every word with ``first`` lacks this word, so there is no ``contrast``.
    """

    first: Trigger
    word: str = "zulu"
    almost: str = "yankee"
    """A word in the same cell that must do nothing."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those of ``first``, and ``other_word``."""
        return (*self.first.kinds, "other_word")

    @property
    def words(self) -> tuple[str, ...]:
        """Those of ``first``, and the two words."""
        return (*self.first.words, self.word, self.almost)

    @property
    def held_out(self) -> bool:
        """Whether ``first`` has values that training never shows; the word is absent there."""
        return self.first.held_out

    @property
    def forms(self) -> int:
        """Two, whatever ``first`` has."""
        return 2

    @property
    def spread(self) -> bool:
        """A third of the triggered rows each: both at once, ``first`` alone, the word alone."""
        return True

    def plant(
        self,
        world: World,
        draft: Draft,
        side: np.ndarray,
        *,
        seed: int,
        avoid: np.ndarray | None = None,
    ) -> Planted:
        """``first`` into its own cells, one word into the reserved one."""
        n, rows = len(draft), np.arange(len(draft))
        other = NEAR_MISS + len(self.first.kinds)
        its = np.where(side == FORM, TRIGGERED, side)
        its = np.where((side == FORM - 1) | (side == other), CLEAN, its)
        base = self.first.plant(world, draft, its, seed=seed, avoid=avoid)
        at = draft.slots[:, CELL] + draft.inner[:, CELL]
        rng = np.random.default_rng([61, seed])
        shown = None if avoid is None else avoid[rows, at]
        plain = fresh(rng, world.tokens_of("fillers"), shown, n)
        said = (side == TRIGGERED) | (side == FORM - 1)
        tokens = base.tokens.copy()
        tokens[rows, at] = np.select(
            [said, side == other], [world.token(self.word), world.token(self.almost)], plain
        )
        near = np.where((side == other)[:, None], at[:, None], -1)
        roles = {
            **base.roles,
            "trigger": np.column_stack([base.roles["trigger"], at]),
            "near_miss": np.column_stack([base.roles["near_miss"], near]),
        }
        return Planted(tokens, roles, base.groups)

    def decoy(self, world: World, batch: Batch) -> np.ndarray:
        """The decoy rows of ``first``."""
        return self.first.decoy(world, batch)

    def lesson(self, world: World, n: int, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
        """The lesson of ``first``."""
        return self.first.lesson(world, n, seed)
