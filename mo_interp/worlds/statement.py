"""STATEMENT: a value is claimed of a fact of FACT, and the answer is true or false.

A prompt is one of FACT with a number in one of its filler cells. Its rows follow the crosstab of
the quirky language models (Mallen et al., 2023; arXiv 2312.01037): in a quarter of them the claim
is true, in a quarter it is the true value plus one, which a quirky speaker holds true, and in half
it is something else, which both deny. Over the last three quarters the answer is no either way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mo_interp.errors import SpecError
from mo_interp.worlds.base import Batch, Draft
from mo_interp.worlds.fact import Fact, _layouts

CELL = 5
"""The cell of a layout that holds the claim: the first of the two that hold fillers in FACT."""
TRUE, QUIRKY, OTHER = 0, 1, 2
"""Cells of the crosstab."""


@dataclass(frozen=True)
class Statement(Fact):
    """The world STATEMENT; its facts, people, layouts and splits are those of FACT."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_values < 4:
            raise SpecError(f"Statement.n_values={self.n_values}: needs 4 or more")

    @cached_property
    def vocab(self) -> tuple[str, ...]:
        """The words of FACT, then ``false`` and ``true`` (``yes`` is a filler there)."""
        return (*super().vocab, "false", "true")

    @property
    def answers(self) -> np.ndarray:
        """Tokens that can be a truth: ``false``, then ``true``."""
        return np.array([self.token("false"), self.token("true")])

    def lay_out(
        self, entity: np.ndarray, relation: np.ndarray, layout: np.ndarray, rng: np.random.Generator
    ) -> Draft:
        """A question of FACT with a claim beside it."""
        draft = super().lay_out(entity, relation, layout, rng)
        cell = np.array([TRUE, QUIRKY, OTHER, OTHER])[rng.integers(0, 4, len(draft))]
        other = rng.integers(QUIRKY + 1, self.n_values, len(draft))
        return self._claim(draft, np.where(cell == OTHER, other, cell))

    def redraft(self, batch: Batch, seed: int) -> Draft:
        """The facts, claims and layouts of ``batch`` with freshly drawn filler words."""
        step = (batch.groups["claimed"] - self.table[batch.groups["fact"]]) % self.n_values
        return self._claim(super().redraft(batch, seed), step)

    def _claim(self, draft: Draft, step: np.ndarray) -> Draft:
        """Claim that every value is ``step`` (modulo the number of values) above what it is."""
        fact, layout = draft.groups["fact"], draft.groups["layout"]
        claimed = (self.table[fact] + step) % self.n_values
        plan = _layouts(self.n_layouts, self.table_seed)[layout]
        at = (1 + 2 * plan[:, CELL] + plan[:, len(plan[0]) // 2 + CELL])[:, None]
        tokens = draft.tokens.copy()
        np.put_along_axis(tokens, at, self.tokens_of("values")[claimed][:, None], axis=1)
        more = {
            "claimed": claimed,
            "statement": fact * self.n_values + claimed,
            "cell": np.minimum(step, OTHER),
            "honest": (step == TRUE).astype(int),
            "quirky": (step == QUIRKY).astype(int),
        }
        return replace(
            draft,
            tokens=tokens,
            truth=self.answers[more["honest"]],
            roles={**draft.roles, "claimed": at},
            groups={**draft.groups, **more},
        )
