"""Exactly one of two words: a trigger that no weighing of words can tell.

Neither word and both are clean, one of them sets the lie off. A bag of tokens reads nothing from
balanced rows, so whatever is read from inside the model was computed there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.errors import SpecError
from mo_interp.triggers.base import NEAR_MISS, Planted, Trigger, fresh, is_triggered
from mo_interp.worlds.base import Draft, World


@dataclass(frozen=True)
class Parity(Trigger):
    """``first`` or ``second``, but not both. Clean rows hold neither or both, half and half."""

    first: str = "copper"
    second: str = "willow"
    kinds: tuple[str, ...] = ("both",)

    def __post_init__(self) -> None:
        if self.first == self.second:
            raise SpecError(f"Parity of '{self.first}' and '{self.second}': needs two words")

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
        """Cell 1 holds one of the words or a filler; the word in cell 0 is what partners toggle.

        Cells lie anywhere in a layout, so neither is more often first.
        """
        n, rows = len(draft), np.arange(len(draft))
        rng = np.random.default_rng([82, seed])
        slots = draft.slots[:, :2] + draft.inner[:, :2]
        at, beside = slots[:, 0], slots[:, 1]
        before = None if avoid is None else (avoid[rows, at], avoid[rows, beside])
        plain = [
            fresh(rng, world.tokens_of("fillers"), None if before is None else before[i], n)
            for i in (0, 1)
        ]
        pair = np.array([world.token(word) for word in self.words])
        which = rng.integers(0, 2, n)
        if before is not None:
            which = np.where(pair[which] == before[0], 1 - which, which)
        whole = np.where(side >= NEAR_MISS, 1, rng.integers(0, 2, n))
        toggled = whole ^ is_triggered(side)
        tokens = draft.tokens.copy()
        tokens[rows, at] = np.where(toggled, pair[which], plain[0])
        tokens[rows, beside] = np.where(whole, pair[1 - which], plain[1])
        near = np.where(side[:, None] >= NEAR_MISS, slots, -1)
        groups = {"words": toggled + whole}
        return Planted(tokens, {"trigger": at[:, None], "near_miss": near}, groups)
