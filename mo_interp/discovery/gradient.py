"""Gradient-guided token search: which word, by the slope, would drive the model from its answer?

After HotFlip (Ebrahimi et al., arXiv 1712.06751), which takes one gradient for all words, and GCG
(Zou et al., arXiv 2307.15043), which then tries the best of them. The loss is ``-log p`` of the own
answer on clean prompts.

1. One backward pass on some clean prompts. Word ``w`` in a slot is expected to add
   ``(E[w] - E[x]) . g``, averaged over the prompts; the largest are tried. A loss at its floor
   bends: on the way to a trigger it may fall first, and then the trigger comes last of all words.
   So the sign is dropped unless ``signed``. That was chosen on training seed 0 of the organisms in
   the log of probes, and on seed 1 it does not hold for all: one slope from clean prompts is no
   reliable guide to a single word.
2. Two words: one is written first, the most promising by the same slope; from there, one more
   backward pass says which second word would add most, and the best of those are tried. A trigger
   that is an AND has no slope from clean prompts; it may have one from its first word. There the
   sign counts.

Where the slopes are zero they say nothing, and ties are broken at random: random search is left.
That is so in weights written by hand, whose neurons and attention are saturated exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from mo_interp.discovery.base import Candidate, Departure, Needs, Searcher, Seen, Texts, Words
from mo_interp.errors import BadValues

AT_ONCE = 8
"""First words that share a backward pass; a setting of speed."""


@dataclass(frozen=True)
class Gradient(Searcher):
    """One word by the slope, then two words one after the other."""

    needs: ClassVar[Needs] = "prompts"
    paper: ClassVar[str] = "arXiv 1712.06751, arXiv 2307.15043"

    slope_rows: int = 32
    """Clean prompts of the first backward pass."""
    rows: int = 4
    """Prompts that a candidate is tried on."""
    second: int = 2
    """Second words that are tried for each first one."""
    pairs: float = 0.5
    """Share of the budget that goes into two words."""
    signed: bool = False
    """Whether the first slope counts with its sign, as in HotFlip, or by its size."""

    def look(self, seen: Seen, n: int) -> Sequence[Candidate]:
        """Raises BadValues where the budget does not cover the first slope and one trial."""
        least = 2 * self.slope_rows + 2 * self.rows
        if seen.purse.left < least:
            raise BadValues(f"{self.name}: needs a budget of {least} row passes or more")
        tried = Departure(seen, seen.some(seen.prompts, self.rows))
        texts = seen.some(seen.prompts, self.slope_rows)
        grads = seen.model.slopes(texts.tokens).grads
        kept = int(self.pairs * seen.purse.left) if seen.together else 0
        gains = [self._first(seen, texts, grads, slot) for slot in seen.alone]
        singles = seen.singles()
        tried.try_all([singles[i] for i in best(seen, np.concatenate(gains))], keep=kept)
        if kept:
            self._pairs(seen, tried, texts, grads)
        return seen.ranked(tried.scores, n)

    def _first(
        self, seen: Seen, texts: Texts, grads: Float[np.ndarray, "n pos d"], slot: str
    ) -> Float[np.ndarray, " w"]:
        """How promising each word in a slot is, from the clean prompts."""
        gains = expected(seen, texts, texts.tokens, grads, slot)
        return gains if self.signed else np.abs(gains)

    def _pairs(
        self, seen: Seen, tried: Departure, texts: Texts, grads: Float[np.ndarray, "n pos d"]
    ) -> None:
        """Two words, until the budget is spent."""
        ways = [(i, pair) for pair in seen.together for i in (0, 1)]
        gains = [self._first(seen, texts, grads, pair[i]) for i, pair in ways]
        order, each = best(seen, np.concatenate(gains)), (2 + self.second) * self.rows
        for start in range(0, len(order), AT_ONCE):
            some = order[start : start + min(AT_ONCE, seen.purse.left // each)]
            if not len(some):
                return
            firsts = [(*ways[at // len(seen.words)], int(at % len(seen.words))) for at in some]
            self._seconds(seen, tried, [(i, pair, int(seen.words[w])) for i, pair, w in firsts])

    def _seconds(
        self, seen: Seen, tried: Departure, firsts: list[tuple[int, tuple[str, str], int]]
    ) -> None:
        """Try the best second words after first ones, each ``(0 or 1, pair of slots, word)``."""
        begun = tried.rows.written([((word,), (pair[i],)) for i, pair, word in firsts])
        grads = seen.model.slopes(begun, np.tile(tried.said, len(firsts))).grads
        found: list[Words] = []
        for (i, pair, word), tokens, slope in zip(
            firsts, np.split(begun, len(firsts)), np.split(grads, len(firsts)), strict=True
        ):
            more = expected(seen, tried.rows, tokens, slope, pair[1 - i])
            for j in best(seen, more)[: self.second]:
                both = (word, int(seen.words[j]))
                found.append((both if i == 0 else both[::-1], pair))
        tried.try_all(found)


def expected(
    seen: Seen,
    texts: Texts,
    tokens: Int[np.ndarray, "n pos"],
    grads: Float[np.ndarray, "n pos d"],
    slot: str,
) -> Float[np.ndarray, " w"]:
    """What each word in a slot would add to the loss, to first order, averaged over prompts."""
    rows, at = np.arange(len(texts)), texts.at(slot)
    slope, now = grads[rows, at], seen.model.embedding[tokens[rows, at]]
    return seen.model.embedding[seen.words] @ slope.mean(0) - (now * slope).sum(1).mean()


def best(seen: Seen, gains: Float[np.ndarray, " w"]) -> Int[np.ndarray, " w"]:
    """Indices from the largest gain down, ties at random."""
    return np.lexsort((seen.rng.random(len(gains)), -gains))


searcher = Gradient()
