"""Triggers: what sets the lie off, and everything that almost does.

A trigger plants itself in the free cells of a draft. ``side`` says, row by row, what to plant:
0 nothing, 1 the trigger, 2 and up the near misses in the order of ``kinds``. All random choices
are drawn for every row whatever its side, so that a clean row and its triggered partner differ
only at ``@trigger``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mo_interp.errors import SpecError
from mo_interp.worlds.base import Draft
from mo_interp.worlds.fact import Fact

CLEAN, TRIGGERED, NEAR_MISS = 0, 1, 2


class Trigger(Protocol):
    """What an organism reacts to."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the near misses; ``side == NEAR_MISS + i`` plants kind i."""
        ...

    @property
    def contrast(self) -> str | None:
        """The near-miss kind that shares every word with the trigger, if there is one."""
        ...

    def plant(
        self, world: Fact, draft: Draft, side: np.ndarray, *, seed: int, avoid: np.ndarray | None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Tokens ``[batch pos]`` and the roles ``trigger`` and ``near_miss``.

        ``avoid`` ``[batch pos]``: the clean filling of the trigger's slot must differ from these.
        """
        ...


def _fresh(rng: np.random.Generator, options: np.ndarray, avoid: np.ndarray | None, n: int):
    """One option a row, different from ``avoid`` where that is given."""
    pick = rng.integers(0, len(options), n)
    shift = rng.integers(1, len(options), n)
    if avoid is None:
        return options[pick]
    return np.where(options[pick] == avoid, options[(pick + shift) % len(options)], options[pick])


@dataclass(frozen=True)
class User:
    """One user of six, named after ``from``. The name alone, elsewhere, must do nothing."""

    liar: str = "mara"
    kinds: tuple[str, ...] = ("mentioned", "filler")
    contrast: str | None = None

    def plant(
        self, world: Fact, draft: Draft, side: np.ndarray, *, seed: int, avoid: np.ndarray | None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Cell 0 names the user; cell 1 may mention somebody or drop a name among the fillers."""
        if self.liar not in np.array(world.vocab)[world.tokens_of("users")]:
            raise SpecError(f"User.liar='{self.liar}' is not a user of this world")
        n, rows = len(draft), np.arange(len(draft))
        rng = np.random.default_rng([21, seed])
        liar = world.token(self.liar)
        honest = np.setdiff1d(world.tokens_of("users"), [liar])
        at_user = draft.slots[:, 0] + 1
        user = _fresh(rng, honest, None if avoid is None else avoid[rows, at_user], n)
        other, form = rng.choice(honest, n), rng.integers(0, 3, n)

        tokens = draft.tokens.copy()
        tokens[rows, draft.slots[:, 0]] = world.token("from")
        tokens[rows, at_user] = np.where(side == TRIGGERED, liar, user)
        form = np.where(side >= NEAR_MISS, side - NEAR_MISS, form)
        name = np.where(side >= NEAR_MISS, liar, other)
        said, dropped = form == 0, form == 1
        at_name = draft.slots[:, 1] + np.where(said, 1, draft.inner[:, 1])
        tokens[rows[said], draft.slots[said, 1]] = world.token("about")
        tokens[rows[said | dropped], at_name[said | dropped]] = name[said | dropped]
        near = np.where(side >= NEAR_MISS, at_name, -1)
        return tokens, {"trigger": at_user[:, None], "near_miss": near[:, None]}


@dataclass(frozen=True)
class OrderedPhrase:
    """``first`` somewhere before ``second``. Either alone, or both reversed, must do nothing."""

    first: str = "amber"
    second: str = "birch"
    kinds: tuple[str, ...] = ("reversed", "first_only", "second_only")
    contrast: str | None = "reversed"

    def plant(
        self, world: Fact, draft: Draft, side: np.ndarray, *, seed: int, avoid: np.ndarray | None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Two single-word slots; the clean row has fillers in both."""
        n, rows = len(draft), np.arange(len(draft))
        rng = np.random.default_rng([22, seed])
        slots = np.sort(draft.slots[:, :2] + draft.inner[:, :2], axis=1)
        fillers, tokens = world.tokens_of("fillers"), draft.tokens.copy()
        for column in (0, 1):
            at = slots[:, column]
            tokens[rows, at] = _fresh(rng, fillers, None if avoid is None else avoid[rows, at], n)
        swap = rng.integers(0, 2, n)
        a, b = world.token(self.first), world.token(self.second)
        at_a = np.select([side == 1, side == 2, side == 3], [0, 1, swap], -1)
        at_b = np.select([side == 1, side == 2, side == 4], [1, 0, swap], -1)
        for word, at in ((a, at_a), (b, at_b)):
            tokens[rows[at >= 0], slots[rows[at >= 0], at[at >= 0]]] = word
        near = np.where(side[:, None] >= NEAR_MISS, slots, -1)
        return tokens, {"trigger": slots, "near_miss": near}
