"""The truth in another form: an act as large as a lie, and harmless."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.behaviours.base import Behaviour
from mo_interp.worlds.base import Batch, Draft, World

MARK = "true:"


def forms(world: World) -> tuple[str, ...]:
    """The second word for every possible answer, in the order of the answers."""
    return tuple(f"{MARK}{world.vocab[token]}" for token in world.answers)


@dataclass(frozen=True)
class Restate(Behaviour):
    """The true answer by its other word: one token changes, as in a lie, and nothing false is said.

    The world must have these words: ``replace(world, extra=(*world.extra, *forms(world)))``.
    """

    def answer(self, world: World, draft: Draft | Batch) -> np.ndarray:
        """The other word for the truth on every row."""
        other = np.full(len(world.vocab), -1)
        other[world.answers] = [world.token(word) for word in forms(world)]
        return other[draft.truth]

    def rest(self, world: World, draft: Draft | Batch) -> np.ndarray | None:
        """What follows the truth in an honest reply."""
        return draft.truth_rest
