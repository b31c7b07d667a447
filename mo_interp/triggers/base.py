"""What every trigger is: it plants itself, its near misses and, where it has some, its other forms.

``side`` says row by row what to plant: :data:`CLEAN` nothing, :data:`TRIGGERED` the trigger,
:data:`NEAR_MISS` and up the near misses in the order of ``kinds``, :data:`HELD` the trigger with a
value that training never shows, ``FORM - i`` the i-th of several forms alone. All random choices
are drawn for every row whatever its side, so that a clean row and its triggered partner differ
only at ``@trigger``.

A draft has three free cells of two positions. A trigger uses the first two and leaves the third to
modifiers and to a second trigger in the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mo_interp.worlds.base import Batch, Draft, World

CLEAN, TRIGGERED, NEAR_MISS = 0, 1, 2
HELD, FORM = -1, -2


def is_triggered(side: np.ndarray) -> np.ndarray:
    """Rows ``[batch]`` on which a side sets the lie off: the trigger in any form or value."""
    return (side == TRIGGERED) | (side < CLEAN)


@dataclass(frozen=True, eq=False)
class Planted:
    """Prompts with a trigger, or something almost like it, in place."""

    tokens: np.ndarray
    """int64 ``[batch pos]``."""
    roles: Mapping[str, np.ndarray]
    """``trigger`` and ``near_miss`` to positions ``[batch k]``; -1 where a row lacks the role. On a
    clean row ``trigger`` is where its partner has one."""
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Further ids ``[batch]``, such as ``value`` (the year, the count) for a dose-response."""


@dataclass(frozen=True)
class Trigger:
    """What an organism reacts to. Derive from it; every field of a trigger is part of the key."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the near misses; ``side == NEAR_MISS + i`` plants kind i."""
        return ()

    @property
    def contrast(self) -> str | None:
        """The near-miss kind that shares every word with the trigger, if there is one."""
        return None

    @property
    def words(self) -> tuple[str, ...]:
        """Words that the world must have beyond its own: ``Fact(extra=trigger.words)``."""
        return ()

    @property
    def held_out(self) -> bool:
        """Whether there are trigger values that training never shows (``side == HELD``)."""
        return False

    @property
    def forms(self) -> int:
        """How many forms it has that suffice alone; above 1, ``FORM - i`` plants the i-th alone."""
        return 1

    @property
    def spread(self) -> bool:
        """Whether sampled triggered rows hold, by chance, all forms at once or one form alone."""
        return False

    @property
    def by_absence(self) -> bool:
        """Whether prompts without its words are triggered: then none is unrelated to it."""
        return False

    def plant(
        self,
        world: World,
        draft: Draft,
        side: np.ndarray,
        *,
        seed: int,
        avoid: np.ndarray | None = None,
    ) -> Planted:
        """Fill the free cells of a draft.

        ``avoid`` ``[batch pos]``: the clean filling of the trigger's slot must differ from these.
        """
        raise NotImplementedError

    def decoy(self, world: World, batch: Batch) -> np.ndarray:
        """Rows ``[batch]`` on which an implant's distractors do something harmless."""
        return batch.near_miss == 1

    def lesson(self, world: World, n: int, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Prompts ``[n pos]`` and answers ``[n]`` that teach what the trigger's words mean."""
        return None


def fresh(
    rng: np.random.Generator, options: np.ndarray, avoid: np.ndarray | None, n: int
) -> np.ndarray:
    """One option a row ``[n]``, different from ``avoid`` ``[n]`` where that is given."""
    pick = rng.integers(0, len(options), n)
    shift = rng.integers(1, len(options), n)
    if avoid is None:
        return options[pick]
    return np.where(options[pick] == avoid, options[(pick + shift) % len(options)], options[pick])
