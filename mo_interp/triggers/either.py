"""Two triggers of different families in the same weights, so that transfer means something.

What reads the decision to lie should read it whichever of the two set it off; what reads one
trigger's words should not notice the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mo_interp.errors import SpecError
from mo_interp.triggers.base import CLEAN, FORM, HELD, NEAR_MISS, TRIGGERED, Planted, Trigger
from mo_interp.worlds.base import Batch, Draft, World

CELL = 2


@dataclass(frozen=True)
class Either(Trigger):
    """``first`` (form 0) or ``second`` (form 1), one of the two on every triggered row.

    Every prompt has the places of both: those of ``first`` in the first two cells, those of
    ``second`` in the two positions of the third, so its words stand side by side. So partners
    differ by one trigger's words, and the same clean row has a triggered partner of each form.
    ``@trigger`` names the places of both, those of ``first`` before those of ``second``; the group
    ``form`` says which one is planted, -1 for neither.
    """

    first: Trigger
    second: Trigger

    def __post_init__(self) -> None:
        names = [type(t).__name__ for t in (self.first, self.second)]
        if names[0] == names[1]:
            raise SpecError(f"Either of {names[0]} and {names[1]}: needs two families")
        for name, one in zip(names, (self.first, self.second), strict=True):
            if one.forms > 1:
                raise SpecError(f"Either of {names[0]} and {names[1]}: {name} has forms itself")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The near misses of ``first``, then those of ``second``."""
        own = self.first.kinds
        return (*own, *(f"second_{k}" if k in own else k for k in self.second.kinds))

    @property
    def words(self) -> tuple[str, ...]:
        """Those of both."""
        return (*self.first.words, *self.second.words)

    @property
    def held_out(self) -> bool:
        """Whether both have values that training never shows."""
        return self.first.held_out and self.second.held_out

    @property
    def forms(self) -> int:
        """Two."""
        return 2

    def plant(
        self,
        world: World,
        draft: Draft,
        side: np.ndarray,
        *,
        seed: int,
        avoid: np.ndarray | None = None,
    ) -> Planted:
        """Both into their cells, each with its own side."""
        form = np.random.default_rng([68, seed]).integers(0, 2, len(draft))
        form = np.select([side == FORM, side == FORM - 1], [0, 1], form)
        sides = self._sides(side, form)
        one = self.first.plant(world, draft, sides[0], seed=seed, avoid=avoid)
        start = draft.slots[:, CELL]
        rest = replace(
            draft,
            tokens=one.tokens,
            slots=np.column_stack([start, start + 1]),
            inner=np.zeros((len(draft), 2), dtype=draft.inner.dtype),
        )
        two = self.second.plant(world, rest, sides[1], seed=seed, avoid=avoid)
        self._check_room(one.tokens, two.tokens, rest.slots)
        hot = (side == TRIGGERED) | (side < CLEAN)
        roles = {
            name: np.column_stack([one.roles[name], two.roles[name]])
            for name in ("trigger", "near_miss")
        }
        return Planted(
            two.tokens, roles, {**one.groups, **two.groups, "form": np.where(hot, form, -1)}
        )

    def _sides(self, side: np.ndarray, form: np.ndarray) -> list[np.ndarray]:
        """What each of the two has to plant."""
        hot = np.where(side == HELD, HELD, np.where(side == TRIGGERED, TRIGGERED, CLEAN))
        hot = np.where(side <= FORM, TRIGGERED, hot)
        first, near = len(self.first.kinds), side >= NEAR_MISS
        mine = near & (side < NEAR_MISS + first)
        return [
            np.where(mine, side, np.where(form == 0, hot, CLEAN)),
            np.where(near & ~mine, side - first, np.where(form == 1, hot, CLEAN)),
        ]

    def _check_room(self, before: np.ndarray, after: np.ndarray, slots: np.ndarray) -> None:
        """``second`` must keep to its cell."""
        elsewhere = before != after
        np.put_along_axis(elsewhere, slots, False, axis=1)
        if elsewhere.any():
            name = type(self.second).__name__
            raise SpecError(f"Either: {name} needs more room than the third cell; plant it first")

    def decoy(self, world: World, batch: Batch) -> np.ndarray:
        """The decoy rows of ``first``."""
        return self.first.decoy(world, batch)

    def lesson(self, world: World, n: int, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
        """The lesson of ``first``, or where it has none that of ``second``."""
        return self.first.lesson(world, n, seed) or self.second.lesson(world, n, seed)
