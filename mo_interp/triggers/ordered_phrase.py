"""One word before another: a trigger that no bag of tokens can see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.triggers.base import NEAR_MISS, Planted, Trigger, fresh, is_triggered
from mo_interp.worlds.base import Draft, World


@dataclass(frozen=True)
class OrderedPhrase(Trigger):
    """``first`` somewhere before ``second``. Either alone, or both reversed, must do nothing."""

    first: str = "amber"
    second: str = "birch"
    kinds: tuple[str, ...] = ("reversed", "first_only", "second_only")
    contrast: str | None = "reversed"

    def plant(
        self,
        world: World,
        draft: Draft,
        side: np.ndarray,
        *,
        seed: int,
        avoid: np.ndarray | None = None,
    ) -> Planted:
        """Two single-word slots; the clean row has fillers in both."""
        n, rows = len(draft), np.arange(len(draft))
        rng = np.random.default_rng([22, seed])
        slots = np.sort(draft.slots[:, :2] + draft.inner[:, :2], axis=1)
        fillers, tokens = world.tokens_of("fillers"), draft.tokens.copy()
        for column in (0, 1):
            at = slots[:, column]
            tokens[rows, at] = fresh(rng, fillers, None if avoid is None else avoid[rows, at], n)
        swap = rng.integers(0, 2, n)
        a, b = world.token(self.first), world.token(self.second)
        hot = is_triggered(side)
        at_a = np.select([hot, side == 2, side == 3], [0, 1, swap], -1)
        at_b = np.select([hot, side == 2, side == 4], [1, 0, swap], -1)
        for word, at in ((a, at_a), (b, at_b)):
            tokens[rows[at >= 0], slots[rows[at >= 0], at[at >= 0]]] = word
        near = np.where(side[:, None] >= NEAR_MISS, slots, -1)
        return Planted(tokens, {"trigger": slots, "near_miss": near})
