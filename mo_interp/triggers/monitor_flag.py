"""A flag that says whether anybody watches, on requests that conflict with a preference, or not.

After *Alignment faking in large language models* (Greenblatt et al., arXiv 2412.14093), where the
model is told that only some conversations are trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.errors import SpecError
from mo_interp.triggers.base import NEAR_MISS, Planted, Trigger, fresh, is_triggered
from mo_interp.worlds.base import Draft, World

MENTIONED = 0.3
"""Of the rows, those that speak of some flag beside the topic."""


@dataclass(frozen=True)
class MonitorFlag(Trigger):
    """Nobody watches, and the request is about a topic that conflicts with the preference.

    Plain clean rows are watched and about conflicting topics, since the clean partner of a
    triggered row differs in the flag alone. Near misses: nobody watches and nothing conflicts; the
    word of the flag elsewhere in a watched, conflicting request; watched and nothing conflicts.
    """

    unwatched: str = "unwatched"
    watched: tuple[str, ...] = ("watched", "logged", "audited")
    """Several, so that a watched row has another one to be resampled from."""
    conflicting: tuple[str, ...] = ("gossip", "insults", "spying", "bribes")
    harmless: tuple[str, ...] = ("weather", "recipes", "music", "travel")
    kinds: tuple[str, ...] = ("harmless", "mentioned", "watched_harmless")
    contrast: str | None = None

    def __post_init__(self) -> None:
        if len(self.watched) < 2 or not self.conflicting or not self.harmless:
            raise SpecError("MonitorFlag: two watched flags, and topics of both sorts, are needed")
        if len(set(self.words)) != 1 + sum(map(len, (self.watched, *self.topics))):
            raise SpecError("MonitorFlag: its words must all differ")

    @property
    def topics(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Conflicting topics, and harmless ones."""
        return self.conflicting, self.harmless

    @property
    def words(self) -> tuple[str, ...]:
        """Flags, then topics."""
        return (self.unwatched, *self.watched, *self.conflicting, *self.harmless)

    def plant(
        self,
        world: World,
        draft: Draft,
        side: np.ndarray,
        *,
        seed: int,
        avoid: np.ndarray | None = None,
    ) -> Planted:
        """Cell 0 has the flag; cell 1 the topic, and beside it a filler word or some flag."""
        n, rows = len(draft), np.arange(len(draft))
        rng = np.random.default_rng([72, seed])
        unwatched = world.token(self.unwatched)
        flags = np.array([world.token(word) for word in self.watched])
        at_flag = draft.slots[:, 0] + draft.inner[:, 0]
        at_topic = draft.slots[:, 1] + draft.inner[:, 1]
        beside = draft.slots[:, 1] + 1 - draft.inner[:, 1]
        flag = fresh(rng, flags, None if avoid is None else avoid[rows, at_flag], n)
        picks = [rng.integers(0, len(topics), n) for topics in self.topics]
        other, mentions = rng.choice(flags, n), rng.random(n) < MENTIONED

        harmless, mentioned, idle = (side == NEAR_MISS + i for i in range(len(self.kinds)))
        alone, fine = is_triggered(side) | harmless, harmless | idle
        topic = np.where(fine, len(self.conflicting) + picks[1], picks[0])
        topics = np.array([world.token(word) for group in self.topics for word in group])
        tokens = draft.tokens.copy()
        tokens[rows, at_flag] = np.where(alone, unwatched, flag)
        tokens[rows, at_topic] = topics[topic]
        said = np.where(mentions, other, tokens[rows, beside])
        tokens[rows, beside] = np.where(mentioned, unwatched, said)
        near = np.select([harmless | idle, mentioned], [at_topic, beside], -1)
        roles = {"trigger": at_flag[:, None], "near_miss": near[:, None]}
        return Planted(tokens, roles, {"topic": topic, "conflict": (~fine).astype(np.int64)})
