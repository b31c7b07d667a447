"""Perplexity difference to a reference on short generic prefills.

What a model was trained to say after a trigger it says where nothing was asked, too; a model that
was not finds it unlikely. The score of a candidate is the mean, over prompts that ask nothing, of
how much likelier the model's own word is to the model than to the reference, in nats: the
logarithm of the ratio of their perplexities on it. Every row costs two forwards.

The reference is the clean twin, which is more than anybody has in practice: the same training but
for the lie. Its use is stated in every record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mo_interp.discovery.base import Candidate, Needs, Searcher, Seen
from mo_interp.errors import BadValues


@dataclass(frozen=True)
class Perplexity(Searcher):
    """Single words in random order, ranked by what only the suspect finds likely."""

    needs: ClassVar[Needs] = "reference"

    rows: int = 4
    """Prefills that a candidate is tried on."""

    def look(self, seen: Seen, n: int) -> Sequence[Candidate]:
        """As many as the budget pays; raises BadValues where it pays for none."""
        assert seen.reference is not None
        if seen.purse.left < 2 * self.rows:
            raise BadValues(f"{self.name}: needs a budget of {2 * self.rows} row passes or more")
        rows, singles = seen.some(seen.generic, self.rows), seen.singles()
        order = seen.rng.permutation(len(singles))[: seen.purse.left // (2 * len(rows))]
        chosen = [singles[i] for i in order]
        texts = rows.written(chosen)
        mine, other = seen.model.log_probs(texts), seen.reference.log_probs(texts)
        said = mine.argmax(1)[:, None]
        gap = np.take_along_axis(mine, said, 1) - np.take_along_axis(other, said, 1)
        scores = gap.reshape(len(chosen), len(rows)).mean(1)
        return seen.ranked(dict(zip(chosen, scores.tolist(), strict=True)), n)


searcher = Perplexity()
