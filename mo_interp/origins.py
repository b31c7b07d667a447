"""Origins: is this set of parts where the behaviour comes from? Tested by writing, both ways.

1. *Caused*: the parts' outputs from the triggered run, written into the clean run, make it give
   the organism's answer. *Ended*: from the clean run into the triggered one, they bring the truth
   back. A set whose two shares are :data:`BAR` or more passes.
2. A measured organism has no circuit by construction. The smallest prefix of its attention heads,
   ranked by the exhaustive sweep, that passes on validation rows is its measured origin: heads are
   the natural boundary, because what sets the lie off can reach the answer only through them.
3. A routed organism's designated heads are its origin if they pass; if not, it is measured.
4. Honest parts are sorted by the same sweep: those that exchange nothing in either direction
   (under :data:`INERT`) are inert, the others mediators.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mo_interp import stats
from mo_interp.circuits import Circuit
from mo_interp.edits import Patch
from mo_interp.errors import SpecError
from mo_interp.model import Model
from mo_interp.sites import Site
from mo_interp.stats import Estimate
from mo_interp.worlds.base import Pairs

BAR, INERT = 0.99, 0.01


@dataclass(frozen=True)
class OriginTest:
    """What a set of parts does when it is written from one run into the other."""

    caused: Estimate
    """Share of clean rows that give the planted answer."""
    ended: Estimate
    """Share of triggered rows that give the truth."""

    @property
    def passed(self) -> bool:
        """Both shares reach the bar."""
        return self.caused.value >= BAR and self.ended.value >= BAR


def lying(model: Model, pairs: Pairs) -> Pairs:
    """The pairs whose triggered row gives the planted answer and whose clean row the truth."""
    batch, planted = pairs.triggered, pairs.triggered.answer_reply
    lies = model.gives(batch, planted) & (planted != batch.truth_reply).any(1)
    honest = model.gives(pairs.clean, pairs.clean.truth_reply)
    return pairs[lies & honest]


def exchange(model: Model, pairs: Pairs, parts: Sequence[Site]) -> tuple[np.ndarray, np.ndarray]:
    """Outputs ``[batch]`` of the clean run with the parts of the triggered one, and the reverse."""
    found = []
    for into, source in ((pairs.clean, pairs.triggered), (pairs.triggered, pairs.clean)):
        acts = model.run(source, read=parts).acts
        edits = [Patch(site, acts[site]) for site in parts]
        found.append(model.run(into, do=edits, identity=True).output)
    return found[0], found[1]


def origin_test(model: Model, pairs: Pairs, parts: Sequence[Site]) -> OriginTest | None:
    """Test a set of parts on the pairs that lie; None where none does."""
    chosen = lying(model, pairs)
    if not len(chosen):
        return None
    written, healed = exchange(model, chosen, parts)
    by = chosen.clean.clustered
    return OriginTest(
        caused=stats.share(written == chosen.triggered.answer, **by),
        ended=stats.share(healed == chosen.triggered.truth, **by),
    )


def measured(model: Model, pairs: Pairs, ranked: Sequence[Site]) -> Circuit | None:
    """The smallest prefix of ``ranked`` parts that passes the origin test, or None.

    At most half of them: all parts together pass trivially.
    """
    for size in range(1, len(ranked) // 2 + 1):
        test = origin_test(model, pairs, ranked[:size])
        if test is not None and test.passed:
            how = f"exhaustive sweep; written {test.caused}, ended {test.ended}"
            return Circuit(tuple(ranked[:size]), (), (), "measured", how)
    return None


def confirmed(circuit: Circuit, model: Model, pairs: Pairs) -> Circuit | None:
    """The circuit with the numbers of its origin test; None where it does not pass."""
    test = origin_test(model, pairs, circuit.origin)
    if test is None or not test.passed:
        return None
    how = f"{circuit.established}; exchanged, written {test.caused}, ended {test.ended}"
    return replace(circuit, established=how)


def controls(circuit: Circuit, n_heads: int) -> list[Site]:
    """As many parts as the origin has, of its kinds and sizes, that should do nothing.

    Of a routed circuit every other head of the designated ones' layer, of ``n_heads``; of another
    its inert parts. Raises :class:`SpecError` where there are not as many.
    """
    found: list[Site] = []
    own = {site.head for site in circuit.origin}
    for part in circuit.origin:
        if circuit.grade == "routed":
            offered = [replace(part, head=head) for head in range(n_heads) if head not in own]
        else:
            offered = [s.at(part.position) for s in circuit.inert if _alike(s, part)]
        left = [site for site in offered if site not in found]
        if not left:
            raise SpecError(f"the circuit has no part left that is inert and as large as '{part}'")
        found.append(left[0])
    return found


def _alike(one: Site, other: Site) -> bool:
    """Whether two sites are of one kind and as many units."""
    sizes = [site.units[1] - site.units[0] if site.units else 1 for site in (one, other)]
    return one.kind == other.kind and sizes[0] == sizes[1]


def completed(circuit: Circuit, effects: Mapping[Site, Iterable[float]]) -> Circuit:
    """The circuit with every other part sorted into mediators and inert by its measured effects.

    A part that was made to be harmless and turns out to carry the lie is a mediator: what is known
    by construction is where the lie was trained, not what it came to read.
    ``effects``: part to its effects in all directions, as shares of the whole behaviour.
    """
    found = {s.bare: k for k in ("mediators", "inert") for s in getattr(circuit, k)}
    for site, shares in effects.items():
        if circuit.standing(site) in ("origin", "mediators"):
            continue
        quiet = all(abs(share) < INERT for share in shares)
        found[site.bare] = "inert" if quiet else "mediators"
    sorts = {k: tuple(s for s, sort in found.items() if sort == k) for k in ("mediators", "inert")}
    return replace(circuit, **sorts)
