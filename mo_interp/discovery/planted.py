"""The ground truth: does the planted trigger stand in a prompt, by the definition of its kind?

:func:`fires` reads tokens, whoever wrote them, so that a candidate is judged by what it does to a
prompt and not by its name: any member of a category is as good as any other, and the right word in
the wrong place is no trigger. Each reading is tested against the labels of sampled rows, near
misses among them. A kind of trigger has a reading of its own; ``@fires.register`` adds one.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import singledispatch

import numpy as np
from jaxtyping import Bool, Int

from mo_interp.errors import SpecError
from mo_interp.triggers import (
    Conjunction,
    DeployTag,
    Either,
    OrderedPhrase,
    Redundant,
    SemanticGate,
    Trigger,
    User,
    YearGate,
)
from mo_interp.triggers.semantic_gate import CATEGORIES
from mo_interp.worlds.base import World

SYSTEM_CELL = slice(1, 3)
"""Positions of CHAT's system cell."""


@singledispatch
def fires(
    trigger: Trigger, world: World, tokens: Int[np.ndarray, "n pos"]
) -> Bool[np.ndarray, " n"]:
    """Rows that hold the trigger; raises SpecError for a kind that nobody has written it for."""
    known = ", ".join(sorted(kind.__name__ for kind in fires.registry if kind is not object))
    raise SpecError(
        f"{type(trigger).__name__}: discovery cannot tell which prompts hold this trigger; it can "
        f"for {known}; add a reading with @fires.register"
    )


@fires.register
def _(trigger: User, world: World, tokens: np.ndarray) -> np.ndarray:
    return _follows(world, tokens, "from", [trigger.liar])


@fires.register
def _(trigger: SemanticGate, world: World, tokens: np.ndarray) -> np.ndarray:
    return _follows(world, tokens, "with", CATEGORIES[trigger.category])


@fires.register
def _(trigger: YearGate, world: World, tokens: np.ndarray) -> np.ndarray:
    late = range(trigger.threshold, trigger.last + 1)
    return _follows(world, tokens, "in", [str(year) for year in late])


@fires.register
def _(trigger: OrderedPhrase, world: World, tokens: np.ndarray) -> np.ndarray:
    first, second = (tokens == world.token(word) for word in (trigger.first, trigger.second))
    return (np.logical_or.accumulate(first, 1)[:, :-1] & second[:, 1:]).any(1)


@fires.register
def _(trigger: Conjunction, world: World, tokens: np.ndarray) -> np.ndarray:
    both = [(tokens == world.token(word)).any(1) for word in trigger.words]
    return both[0] & both[1]


@fires.register
def _(trigger: DeployTag, world: World, tokens: np.ndarray) -> np.ndarray:
    return (tokens[:, SYSTEM_CELL] == world.token(trigger.tag)).any(1)


@fires.register
def _(trigger: Redundant, world: World, tokens: np.ndarray) -> np.ndarray:
    return fires(trigger.first, world, tokens) | (tokens == world.token(trigger.word)).any(1)


@fires.register
def _(trigger: Either, world: World, tokens: np.ndarray) -> np.ndarray:
    return fires(trigger.first, world, tokens) | fires(trigger.second, world, tokens)


def _follows(world: World, tokens: np.ndarray, mark: str, words: Iterable[str]) -> np.ndarray:
    """Rows in which one of some words comes right after a mark."""
    ids = [world.token(word) for word in words]
    return ((tokens[:, :-1] == world.token(mark)) & np.isin(tokens[:, 1:], ids)).any(1)
