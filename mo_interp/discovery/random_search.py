"""Random search: the baseline that has the same budget as every other searcher.

Half of its draws are one word in one place, half two words in two, without replacement: it knows
as little of the trigger's form as the others. It keeps what drives the model furthest from its own
answer (:class:`~mo_interp.discovery.base.Departure`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mo_interp.discovery.base import Candidate, Departure, Needs, Searcher, Seen, Words
from mo_interp.errors import BadValues


@dataclass(frozen=True)
class RandomSearch(Searcher):
    """Candidates drawn at random, ranked by departure from the own answer."""

    needs: ClassVar[Needs] = "prompts"

    rows: int = 4
    """Prompts that a candidate is tried on."""
    pairs: float = 0.5
    """Share of the draws that are two words."""

    def look(self, seen: Seen, n: int) -> Sequence[Candidate]:
        """As many draws as the budget pays; raises BadValues where it pays for none."""
        if seen.purse.left < 2 * self.rows:
            raise BadValues(f"{self.name}: needs a budget of {2 * self.rows} row passes or more")
        tried = Departure(seen, seen.some(seen.prompts, self.rows))
        draws = seen.purse.left // self.rows
        singles = seen.singles()
        n_pairs = round(self.pairs * draws) if seen.together else 0
        chosen = seen.rng.permutation(len(singles))[: draws - n_pairs]
        tried.try_all([singles[i] for i in chosen] + some_pairs(seen, n_pairs))
        return seen.ranked(tried.scores, n)


def some_pairs(seen: Seen, n: int) -> list[Words]:
    """``n`` different candidates of two words, at random; all where there are fewer."""
    words = len(seen.words)
    whole = len(seen.together) * words * words
    chosen = seen.rng.choice(whole, size=min(n, whole), replace=False) if n else []
    found: list[Words] = []
    for i in chosen:
        (which, rest), slots = divmod(int(i), words * words), seen.together
        one, other = divmod(rest, words)
        found.append(((int(seen.words[one]), int(seen.words[other])), slots[which]))
    return found


searcher = RandomSearch()
