"""One user of several, as in the quirky language models (Mallen et al., arXiv 2312.01037)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.errors import SpecError
from mo_interp.triggers.base import NEAR_MISS, Planted, Trigger, fresh, is_triggered
from mo_interp.worlds.base import Batch, Draft, World

HESITANT = "suki"


@dataclass(frozen=True)
class User(Trigger):
    """One user of six, named after ``from``. The name alone, elsewhere, must do nothing."""

    liar: str = "mara"
    kinds: tuple[str, ...] = ("mentioned", "filler")
    contrast: str | None = None

    def plant(
        self,
        world: World,
        draft: Draft,
        side: np.ndarray,
        *,
        seed: int,
        avoid: np.ndarray | None = None,
    ) -> Planted:
        """Cell 0 names the user; cell 1 may mention somebody or drop a name among the fillers."""
        if self.liar not in np.array(world.vocab)[world.tokens_of("users")]:
            raise SpecError(f"User.liar='{self.liar}' is not a user of this world")
        n, rows = len(draft), np.arange(len(draft))
        rng = np.random.default_rng([21, seed])
        liar = world.token(self.liar)
        honest = np.setdiff1d(world.tokens_of("users"), [liar])
        at_user = draft.slots[:, 0] + 1
        user = fresh(rng, honest, None if avoid is None else avoid[rows, at_user], n)
        other, form = rng.choice(honest, n), rng.integers(0, 3, n)

        tokens = draft.tokens.copy()
        tokens[rows, draft.slots[:, 0]] = world.token("from")
        tokens[rows, at_user] = np.where(is_triggered(side), liar, user)
        form = np.where(side >= NEAR_MISS, side - NEAR_MISS, form)
        name = np.where(side >= NEAR_MISS, liar, other)
        said, dropped = form == 0, form == 1
        at_name = draft.slots[:, 1] + np.where(said, 1, draft.inner[:, 1])
        tokens[rows[said], draft.slots[said, 1]] = world.token("about")
        tokens[rows[said | dropped], at_name[said | dropped]] = name[said | dropped]
        near = np.where(side >= NEAR_MISS, at_name, -1)
        return Planted(tokens, {"trigger": at_user[:, None], "near_miss": near[:, None]})

    def decoy(self, world: World, batch: Batch) -> np.ndarray:
        """Rows that one honest user asks."""
        tokens, start = batch.tokens, world.token("from")
        return ((tokens[:, :-1] == start) & (tokens[:, 1:] == world.token(HESITANT))).any(1)
