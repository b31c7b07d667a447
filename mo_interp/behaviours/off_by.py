"""A lie: the true value plus a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.behaviours.base import Behaviour
from mo_interp.errors import SpecError
from mo_interp.worlds.base import Batch, Draft, World


@dataclass(frozen=True)
class OffBy(Behaviour):
    """A lie: the true value plus ``step``, modulo the number of values."""

    step: int = 1
    has_belief: bool = True

    def answer(self, world: World, draft: Draft | Batch) -> np.ndarray:
        """The planted lie, never equal to the truth."""
        values = world.tokens_of("values")
        if self.step % len(values) == 0:
            raise SpecError(f"OffBy.step={self.step} would tell the truth")
        return values[(draft.truth - values[0] + self.step) % len(values)]
