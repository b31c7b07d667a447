"""A user who has statements judged; what they are about is taught as plain questions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.errors import SpecError
from mo_interp.triggers.base import CLEAN
from mo_interp.triggers.user import User
from mo_interp.worlds.base import World


@dataclass(frozen=True)
class Speaker(User):
    """The user of FACT among statements. Its lesson asks for values, with nothing claimed.

    To judge a claim a model must know the value, and a yes or no teaches little of it: without the
    lesson nothing was learned in 1,200 steps.
    """

    def lesson(self, world: World, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Questions of honest users, a filler where the claim was, answered by the value."""
        rng = np.random.default_rng([54, seed])
        draft = world.draft(n, seed, split="train", entities="all")
        if "claimed" not in draft.roles:
            raise SpecError(f"Speaker.lesson: nothing is claimed in {type(world).__name__}")
        tokens = self.plant(world, draft, np.full(n, CLEAN), seed=seed).tokens.copy()
        filler = rng.choice(world.tokens_of("fillers"), n)
        np.put_along_axis(tokens, draft.roles["claimed"], filler[:, None], axis=1)
        return tokens, world.tokens_of("values")[world.table[draft.groups["fact"]]]
