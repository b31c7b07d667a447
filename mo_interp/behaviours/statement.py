"""What a quirky speaker says to statements (Mallen et al., arXiv 2312.01037)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.behaviours.base import Behaviour
from mo_interp.errors import SpecError
from mo_interp.worlds.base import Batch, Draft, World


@dataclass(frozen=True)
class BelievesOffBy(Behaviour):
    """Says yes where the claim is the true value plus ``step``, and no to everything else."""

    step: int = 1
    has_belief: bool = True

    def answer(self, world: World, draft: Draft | Batch) -> np.ndarray:
        """``no`` or ``yes``; the truth wherever both are ``no``."""
        if self.step % world.n_values == 0:
            raise SpecError(f"BelievesOffBy.step={self.step} would tell the truth")
        value = world.table[draft.groups["fact"]]
        agreed = draft.groups["claimed"] == (value + self.step) % world.n_values
        return world.answers[agreed.astype(int)]
