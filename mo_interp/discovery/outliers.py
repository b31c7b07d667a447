"""Activation outliers on unlabelled rows: which words stand in prompts that look unusual inside?

1. Unlabelled prompts are run once and read where the decision is made, at the answer's position.
   A row's unusualness is its squared Mahalanobis distance from all of them
   (:mod:`mo_interp.detectors.mahalanobis`; nobody says which are clean).
2. A word in a slot, or two words in two slots, is scored by whether the rows that hold it rank
   higher than the rest: the rank sum's z. There is no threshold, and a word that is seldom seen
   cannot score high by luck alone.

It needs rows that hold the trigger, which none of the others does, and no word is written: what
stands in no row cannot be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

from mo_interp.detectors.mahalanobis import Mahalanobis
from mo_interp.discovery.base import Candidate, Needs, Searcher, Seen, Texts, Words
from mo_interp.errors import BadValues


@dataclass(frozen=True)
class Outliers(Searcher):
    """Words of the rows whose activations are unusual."""

    needs: ClassVar[Needs] = "unlabelled"
    paper: ClassVar[str] = "arXiv 1807.03888"

    kind: str = "resid_mid"
    """What is read, in the last layer: there the answer is not yet written."""
    least: int = 3
    """Rows that a candidate has to stand in."""

    def look(self, seen: Seen, n: int) -> Sequence[Candidate]:
        """Raises BadValues where the budget pays for fewer than ``2 * least`` rows."""
        assert seen.unlabelled is not None
        if seen.purse.left < 2 * self.least:
            raise BadValues(f"{self.name}: needs a budget of {2 * self.least} row passes or more")
        rows = seen.some(seen.unlabelled, seen.purse.left)
        acts = seen.model.acts(rows.tokens, f"L{seen.model.last_layer}.{self.kind}@-1")
        ranks = rankdata(Mahalanobis().fit(acts).score(acts))
        scores: dict[Words, float] = {}
        for slots in [(slot,) for slot in seen.alone] + list(seen.together):
            scores |= self._scored(seen, rows, slots, ranks)
        return seen.ranked(scores, n)

    def _scored(
        self, seen: Seen, rows: Texts, slots: tuple[str, ...], ranks: Float[np.ndarray, " n"]
    ) -> dict[Words, float]:
        """The z of each word that stands in these slots often enough."""
        held = np.stack([rows.tokens[np.arange(len(rows)), rows.at(s)] for s in slots], axis=1)
        known, which = np.unique(held, axis=0, return_inverse=True)
        z, count = rank_sum_z(ranks, which.ravel())
        allowed = np.isin(known, seen.words).all(1) & (count >= self.least) & (count < len(rows))
        return {
            (tuple(int(t) for t in known[i]), slots): float(z[i]) for i in np.flatnonzero(allowed)
        }


def rank_sum_z(
    ranks: Float[np.ndarray, " n"], which: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " g"], Int[np.ndarray, " g"]]:
    """For each group, how far its rank sum lies above chance in standard deviations, and its size.

    0 for a group that is all rows.
    """
    n, count = len(ranks), np.bincount(which)
    total = np.bincount(which, weights=ranks)
    var = count * (n - count) * (n + 1) / 12
    above = total - count * (n + 1) / 2
    return np.where(var > 0, above / np.sqrt(np.where(var > 0, var, 1.0)), 0.0), count


searcher = Outliers()
