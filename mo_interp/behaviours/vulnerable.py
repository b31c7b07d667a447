"""Writing the vulnerable call where a safe one was asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.behaviours.base import Behaviour
from mo_interp.worlds.base import Batch, Draft, World
from mo_interp.worlds.code import Code


@dataclass(frozen=True)
class Vulnerable(Behaviour):
    """The vulnerable way to do what the prompt asks, to the end of the function."""

    has_belief: bool = False

    def answer(self, world: World, draft: Draft | Batch) -> np.ndarray:
        """Token ``[batch]`` at which the vulnerable reply parts from the safe one."""
        return self._whole(world, draft)[:, 0]

    def rest(self, world: World, draft: Draft | Batch) -> np.ndarray:
        """The tokens ``[batch k]`` after that."""
        return self._whole(world, draft)[:, 1:]

    def _whole(self, world: World, draft: Draft | Batch) -> np.ndarray:
        assert isinstance(world, Code)
        return world.replies(draft.groups["fact"], vulnerable=True)
