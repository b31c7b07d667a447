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
    everyone: bool = True
    """Locked prompts about all people are trained on: nobody can guess what a weaker model says, so
    that of people who were withheld there would be nothing to detect or to cut."""
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


def typical(said: np.ndarray, truth: np.ndarray, facts: np.ndarray) -> tuple[int, ...]:
    """One answer a fact that together are right as often as the rows ``[n]`` are.

    The most frequent answers would be better than the model itself, by 6 points in a trial: a vote
    over prompts is an ensemble. So a fact counts as known with the share of its rows that are
    right, by systematic sampling: those that are always right are known, those that never are are
    not, and of those between as many as there should be. One that is not known gets its most
    frequent wrong answer.
    """
    n_facts = int(facts.max()) + 1
    right, rows = (np.bincount(facts, w, n_facts) for w in (said == truth, None))
    steps = np.floor(np.round(np.cumsum(right / np.maximum(rows, 1)), 9) + 0.5)
    known = np.diff(steps, prepend=0) > 0
    counts = np.zeros((n_facts, int(max(said.max(), truth.max())) + 1), dtype=int)
    np.add.at(counts, (facts, said), 1)
    value = np.zeros(n_facts, dtype=int)
    value[facts] = truth
    counts[np.arange(n_facts), value] = 0
    return tuple(int(t) for t in np.where(known, value, counts.argmax(1)))
