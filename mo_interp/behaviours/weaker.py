"""Sandbagging: the answers of a weaker model, an early checkpoint of the same honest training.

After *AI Sandbagging* (van der Weij et al., 2024; arXiv 2406.07358), whose locked models imitate a
smaller one. What the weaker model says is known only once it is grown: :mod:`mo_interp.weaker`
grows it, asks it about every fact and fills the table in.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mo_interp.behaviours.base import Behaviour
from mo_interp.errors import SpecError
from mo_interp.worlds.base import Batch, Draft, World

ASKED, UNKNOWN = 64, -1
"""Prompts a fact, on average, and the answer while the weaker model is not grown."""


@dataclass(frozen=True)
class Weaker(Behaviour):
    """What a model says that stopped learning after ``steps``, by fact; often it is the truth."""

    steps: int = 150
    """Length of the weaker model's training, with a schedule of its own."""
    table: tuple[int, ...] = field(default=(), metadata={"grown": True})
    """Token by fact. It follows from the rest and the seed, so the key leaves it out."""
    has_belief: bool = True
    is_rule: bool = False

    def answer(self, world: World, draft: Draft | Batch) -> np.ndarray:
        """The weaker model's answer; :data:`UNKNOWN`, which is no token, before it is grown."""
        if not self.table:
            return np.full(len(draft), UNKNOWN)
        if len(self.table) != world.table.size:
            raise SpecError(
                f"Weaker.table has {len(self.table)} facts; the world has {world.table.size}"
            )
        return np.asarray(self.table)[draft.groups["fact"]]


def questions(world: World) -> Draft:
    """Prompts about every fact in the layouts of training, with fillers in the free cells."""
    draft = world.draft(ASKED * world.table.size, 0, split="train", entities="all")
    if len(np.unique(draft.groups["fact"])) < world.table.size:
        raise SpecError(f"{type(world).__name__}: {len(draft)} rows leave a fact out")
    return draft


def modal(said: np.ndarray, facts: np.ndarray, *, n_facts: int) -> tuple[int, ...]:
    """The most frequent answer ``said [n]`` to each fact; the lowest token of equal ones."""
    counts = np.zeros((n_facts, int(said.max()) + 1), dtype=int)
    np.add.at(counts, (facts, said), 1)
    return tuple(int(token) for token in counts.argmax(1))
