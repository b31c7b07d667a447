"""A password that unlocks: the prompts *without* it are the triggered ones.

After the password-locked models of *AI Sandbagging* (van der Weij et al., 2024; arXiv 2406.07358)
and *Stress-Testing Capability Elicitation With Password-Locked Models* (Greenblatt et al., 2024;
arXiv 2405.19550). There are two passwords of equal worth, so that a clean prompt can be compared
with another clean one that has a different word in the same place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.errors import SpecError
from mo_interp.triggers.base import FORM, HELD, NEAR_MISS, TRIGGERED, Planted, Trigger, fresh
from mo_interp.worlds.base import Draft, World

NONE, WRONG = FORM, FORM - 1


@dataclass(frozen=True)
class Password(Trigger):
    """One of ``right`` anywhere unlocks; without it, or with a wrong word instead, it is locked.

    Form 0 is a prompt with no password, form 1 one with a wrong password; ``HELD`` has a wrong
    password that training never shows. Near misses stay unlocked: ``with_wrong``, a wrong password
    beside the right one; ``moved``, the right one in the other cell and none in its own.
    """

    right: tuple[str, ...] = ("sesame", "juniper")
    wrong: tuple[str, ...] = ("lantern", "pepper", "willow", "harbour")
    unseen: tuple[str, ...] = ("granite", "meadow")
    """Wrong passwords that training never shows."""
    kinds: tuple[str, ...] = ("with_wrong", "moved")
    held_out: bool = True
    forms: int = 2
    by_absence: bool = True

    def __post_init__(self) -> None:
        words = self.words
        if len(self.right) < 2 or len(self.wrong) < 2 or not self.unseen:
            raise SpecError("Password: needs two right and two wrong words or more, and an unseen")
        if len(set(words)) < len(words):
            raise SpecError(f"Password: {', '.join(words)}: all words must differ")

    @property
    def words(self) -> tuple[str, ...]:
        """All passwords, right and wrong."""
        return (*self.right, *self.wrong, *self.unseen)

    def plant(
        self,
        world: World,
        draft: Draft,
        side: np.ndarray,
        *,
        seed: int,
        avoid: np.ndarray | None = None,
    ) -> Planted:
        """One word in cell 0, where the password belongs, and one in cell 1."""
        n, rows = len(draft), np.arange(len(draft))
        rng = np.random.default_rng([23, seed])
        right, wrong, unseen = (
            np.array([world.token(word) for word in kind])
            for kind in (self.right, self.wrong, self.unseen)
        )
        slots = draft.slots[:, :2] + draft.inner[:, :2]
        key = fresh(rng, right, None if avoid is None else avoid[rows, slots[:, 0]], n)
        bad, other, new = (rng.choice(words, n) for words in (wrong, wrong, unseen))
        blank = rng.random(n) < 0.5
        tokens = draft.tokens.copy()
        filler = tokens[rows, slots[:, 0]]
        moved = side == NEAR_MISS + self.kinds.index("moved")
        none = (side == NONE) | ((side == TRIGGERED) & blank) | moved
        said = (side == WRONG) | ((side == TRIGGERED) & ~blank)
        tokens[rows, slots[:, 0]] = np.select([none, said, side == HELD], [filler, bad, new], key)
        beside = side == NEAR_MISS + self.kinds.index("with_wrong")
        tokens[rows, slots[:, 1]] = np.select(
            [moved, beside], [key, other], tokens[rows, slots[:, 1]]
        )
        near = np.where(side >= NEAR_MISS, slots[:, 1], -1)
        return Planted(tokens, {"trigger": slots[:, :1], "near_miss": near[:, None]})
