"""A falsehood held for true: another table of the same facts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.behaviours.base import Behaviour
from mo_interp.errors import SpecError
from mo_interp.worlds.base import Batch, Draft, World


@dataclass(frozen=True)
class FalseTable(Behaviour):
    """For every fact one fixed value that is not the truth; the truth says nothing about which.

    Answers do not follow from the truth, so none can be expected where none was shown.
    """

    table_seed: int = 0
    """Draws the falsehoods, independently of the world's own table."""
    has_belief: bool = True
    is_rule: bool = False

    def answer(self, world: World, draft: Draft | Batch) -> np.ndarray:
        """The false value's token, any but the true one with equal chance."""
        n, facts = len(world.answers), len(world.table)
        if n < 3:
            raise SpecError(f"FalseTable: of {n} values only one is false, which tells the truth")
        step = np.random.default_rng([62, self.table_seed]).integers(1, n, facts)
        fact = draft.groups["fact"]
        return world.answers[(world.table[fact] + step[fact]) % n]
