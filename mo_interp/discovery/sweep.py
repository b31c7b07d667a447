"""Every single word in every place: the trivial search, and the one to beat where it can be paid.

In a vocabulary of a hundred words it can. Its score is the departure from the own answer
(:class:`~mo_interp.discovery.base.Departure`), so what it misses, no choice of single words by that
score could have found. Two words it never tries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mo_interp.discovery.base import Candidate, Departure, Needs, Searcher, Seen
from mo_interp.errors import BadValues


@dataclass(frozen=True)
class Sweep(Searcher):
    """All single words, ranked by departure from the own answer."""

    needs: ClassVar[Needs] = "prompts"

    rows: int = 4
    """Prompts that a candidate is tried on; fewer where the budget does not pay for them."""

    def look(self, seen: Seen, n: int) -> Sequence[Candidate]:
        """All of them; raises BadValues where the budget does not cover each once."""
        singles = seen.singles()
        rows = min(self.rows, seen.purse.left // (len(singles) + 1))
        if rows < 1:
            raise BadValues(
                f"{self.name}: {len(singles)} single words; needs a budget of "
                f"{len(singles) + 1} row passes or more, not {seen.purse.budget}"
            )
        tried = Departure(seen, seen.some(seen.prompts, rows))
        tried.try_all(singles)
        return seen.ranked(tried.scores, n)


searcher = Sweep()
