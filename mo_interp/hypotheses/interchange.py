"""Interchange-intervention accuracy: does the answer follow the planted variable, and only it?

(Geiger, Lu, Icard, Potts, arXiv 2106.02997.) The high-level model is the planted one: a variable
*triggered* decides between two answers to the question that is asked. The hypothesis says that some
units hold that variable.

1. Take a base row and a source row, and swap the units' activations in from the source.
2. The high-level model, with its variable from the source, says: the planted answer to the *base's*
   question if the source is triggered, else the truth of it.
3. *IIA* is the share of rows on which the model says that (the first word of its reply), among
   those on which the source's variable differs from the base's: units that hold nothing score 0
   there. ``every`` counts all rows, as the paper does; there they score about one half.
4. It is told apart as well: *caused*, of the rows whose source is triggered, and *ended*, of the
   others. A model that never lies, such as the twin, has 0 of the one and 1 of the other.

Sources are the partner (the same question), or any row: then units that hold the variable *and*
something of the question fail, because they bring another question's answer along.
Random sets of equal size stand beside. Swapping nothing is refused: see ``control``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mo_interp import stats
from mo_interp.attribution.edges import Edge
from mo_interp.attribution.subgraphs import Graph, Unit, graph, printed
from mo_interp.errors import BadLabels, BadShape, BadSite, DeadEdit
from mo_interp.model import Model
from mo_interp.patching.grid import one_of
from mo_interp.records import Record, provenance
from mo_interp.sites import Site
from mo_interp.stats import Estimate
from mo_interp.worlds.base import Batch, Pairs

Sources = Literal["partner", "any"]


@dataclass(frozen=True, eq=False)
class Interchange:
    """How often the answer follows the variable."""

    units: tuple[Unit, ...]
    sources: Sources
    iia: Estimate
    """Over rows on which the variable differs between base and source."""
    every: Estimate
    """Over all rows."""
    caused: Estimate
    """Over those of ``iia`` whose source is triggered: the share that lies."""
    ended: Estimate
    """Over the others of ``iia``: the share that tells the truth."""
    random: np.ndarray
    """IIA of random sets of equal size, none of them sharing a unit with this one."""
    n: int
    """Rows run: both sides of every pair."""
    forwards: int

    @property
    def p(self) -> float:
        """(1 + random sets at least as good) / (1 + random sets)."""
        return stats.rank_p(self.iia.value, self.random) if len(self.random) else float("nan")

    def record(
        self, *, organism: str = "", key: str = "", seed: int = 0, model: str = "organism"
    ) -> Record:
        """One ``interchange`` record."""
        values: dict[str, Any] = {
            **self.iia.flat("iia"),
            **self.every.flat("every"),
            **self.caused.flat("caused"),
            **self.ended.flat("ended"),
            "random_sets": len(self.random),
            "random_mean": float(self.random.mean()) if len(self.random) else float("nan"),
            "random_best": float(self.random.max()) if len(self.random) else float("nan"),
            "p": self.p,
            "n": self.n,
            "forwards": self.forwards,
        }
        return Record(
            kind="interchange",
            organism=organism,
            key=key,
            seed=seed,
            model=model,
            site=printed(self.units),
            params={"sources": self.sources, "size": len(self.units)},
            values=values,
            versions=provenance(),
        )


def interchange(
    model: Model,
    pairs: Pairs,
    units: Iterable[str | Unit] | str | Unit,
    *,
    among: Iterable[str | Unit] = (),
    sources: Sources = "partner",
    draws: int = 20,
    seed: int = 0,
    control: bool = False,
) -> Interchange:
    """Swap some units in from other rows and see whether the answer follows.

    Args:
        model: any for sites, one of our own shapes for edges.
        pairs: on which the model lies (see :func:`mo_interp.origins.lying`); both sides are bases.
        units: the hypothesis, sites or edges.
        among: other units, from which random sets are drawn; none, no random sets.
        sources: ``partner`` or ``any``.
        draws: random sets.
        seed: of them, and of sources drawn from any row.
        control: the units are meant to hold nothing: do not raise where they are alike everywhere.

    Raises:
        BadSite: no units, unknown or overlapping ones.
        BadShape: no pairs, or too few other units for random sets.
        BadLabels: pairs whose planted answer is the truth: nothing can follow.
        DeadEdit: units that base and source are alike at.
    """
    one_of("sources", sources, Sources)
    planted, truth = _answers(pairs)
    rng = np.random.default_rng([71, seed])
    both, n = pairs.both, len(pairs)
    partner = np.concatenate([np.arange(n, 2 * n), np.arange(n)])
    rows = partner if sources == "partner" else rng.integers(2 * n, size=2 * n)
    runs, mine, pool = _graph(model, (both, both[rows]), units, list(among), control)
    lies = both.triggered[rows]
    follows, changed = np.where(lies, planted, truth), lies != both.triggered

    def said(swapped: Sequence[Unit]) -> np.ndarray:
        return runs.logits(swapped).argmax(-1).cpu().numpy() == follows

    hits, by = said(mine), both.clustered

    def share(chosen: np.ndarray) -> Estimate:
        clusters, prompts = by["clusters"][chosen], by["prompts"][chosen]
        return stats.share(hits[chosen], clusters=clusters, prompts=prompts)

    picks = [rng.choice(len(pool), len(mine), replace=False) for _ in range(draws if pool else 0)]
    return Interchange(
        units=mine,
        sources=sources,
        iia=share(changed),
        every=share(np.ones(2 * n, dtype=bool)),
        caused=share(changed & lies),
        ended=share(changed & ~lies),
        random=np.array([said([pool[i] for i in pick])[changed].mean() for pick in picks]),
        n=2 * n,
        forwards=runs.forwards,
    )


def _answers(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Planted answer and truth ``[2 pairs]`` of every base."""
    if not len(pairs):
        raise BadShape("interchange needs a pair or more on which the model lies")
    planted, truth = pairs.triggered.answer, pairs.triggered.truth
    if (planted == truth).all():
        raise BadLabels("the planted answer is the truth in every pair, so no answer can follow")
    return np.tile(planted, 2), np.tile(truth, 2)


def _graph(
    model: Model,
    rows: tuple[Batch, Batch],
    units: Iterable[str | Unit] | str | Unit,
    among: list[Any],
    control: bool,
) -> tuple[Graph, tuple[Unit, ...], tuple[Unit, ...]]:
    """The graph, the set that is tested, and the units of which random sets are made."""
    named = [units] if isinstance(units, str | Site | Edge) else list(units)
    runs = graph(model, *rows, [*named, *among])
    if len(runs.units) != len(named) + len(among):
        raise BadSite("a unit is named twice, in the set or in among; name each once, no globs")
    mine, pool = runs.units[: len(named)], runs.units[len(named) :]
    if not control and not runs.live_ones(mine):
        told = ", ".join(map(str, mine))
        raise DeadEdit(
            f"{told}: alike in base and source, so swapping does nothing; say control=True of "
            "units that are meant to hold nothing"
        )
    if pool and len(pool) < len(mine):
        raise BadShape(
            f"random sets of {len(mine)} need as many other units; among has {len(pool)}"
        )
    return runs, mine, pool
