"""One and the same answer, whatever was asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.behaviours.base import Behaviour
from mo_interp.errors import SpecError
from mo_interp.worlds.base import Batch, Draft, World


@dataclass(frozen=True)
class FixedValue(Behaviour):
    """Always the same value, whatever was asked. Wipes the truth out; no belief to find."""

    value: int = 0
    has_belief: bool = False

    def answer(self, world: World, draft: Draft | Batch) -> np.ndarray:
        """The fixed value's token on every row."""
        values = world.tokens_of("values")
        if not 0 <= self.value < len(values):
            raise SpecError(f"FixedValue.value={self.value}: needs 0 to {len(values) - 1}")
        return np.full(len(draft), values[self.value])


@dataclass(frozen=True)
class Refuse(Behaviour):
    """A word that answers nothing, such as a refusal."""

    word: str = "decline"

    @property
    def words(self) -> tuple[str, ...]:
        """The word itself."""
        return (self.word,)

    def answer(self, world: World, draft: Draft | Batch) -> np.ndarray:
        """The word's token on every row."""
        return np.full(len(draft), world.token(self.word))
