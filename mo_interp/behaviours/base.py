"""What every behaviour is: a map from a prompt to the planted answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.worlds.base import Batch, Draft, World


@dataclass(frozen=True)
class Behaviour:
    """What an organism does when it is triggered. Derive from it; its fields are in the key."""

    @property
    def has_belief(self) -> bool:
        """Whether the answer presupposes that the model knows the truth (the belief gate)."""
        return False

    @property
    def is_rule(self) -> bool:
        """Whether the answer follows from the truth, so that withheld lies can be expected."""
        return True

    @property
    def words(self) -> tuple[str, ...]:
        """Words that the world must have beyond its own."""
        return ()

    def answer(self, world: World, draft: Draft | Batch) -> np.ndarray:
        """Token ``[batch]`` that the organism gives on triggered rows."""
        raise NotImplementedError

    def rest(self, world: World, draft: Draft | Batch) -> np.ndarray | None:
        """Tokens ``[batch k]`` that follow the answer, where the world's replies are longer."""
        return None
