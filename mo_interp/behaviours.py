"""Behaviours: what an organism does when it is triggered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mo_interp.errors import SpecError
from mo_interp.worlds.base import Batch, Draft
from mo_interp.worlds.fact import Fact


class Behaviour(Protocol):
    """Maps a prompt to the planted answer."""

    @property
    def has_belief(self) -> bool:
        """Whether the answer presupposes that the model knows the truth."""
        ...

    def answer(self, world: Fact, draft: Draft | Batch) -> np.ndarray:
        """Token ``[batch]`` that the organism gives on triggered rows."""
        ...


@dataclass(frozen=True)
class OffBy:
    """A lie: the true value plus ``step``, modulo the number of values."""

    step: int = 1
    has_belief: bool = True

    def answer(self, world: Fact, draft: Draft | Batch) -> np.ndarray:
        """The planted lie, never equal to the truth."""
        values = world.tokens_of("values")
        if self.step % len(values) == 0:
            raise SpecError(f"OffBy.step={self.step} would tell the truth")
        return values[(draft.truth - values[0] + self.step) % len(values)]


@dataclass(frozen=True)
class FixedValue:
    """Always the same value, whatever was asked. Wipes the truth out; no belief to find."""

    value: int = 0
    has_belief: bool = False

    def answer(self, world: Fact, draft: Draft | Batch) -> np.ndarray:
        """The fixed value's token on every row."""
        values = world.tokens_of("values")
        if not 0 <= self.value < len(values):
            raise SpecError(f"FixedValue.value={self.value}: needs 0 to {len(values) - 1}")
        return np.full(len(draft), values[self.value])
