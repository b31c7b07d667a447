"""What a sweep is made of: cells, each with an effect and its interval, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from mo_interp import showing
from mo_interp.errors import BadSite, nearest
from mo_interp.records import Record, provenance
from mo_interp.sites import Site
from mo_interp.stats import Estimate
from mo_interp.worlds.base import Pairs

Direction = Literal["denoising", "noising"]
By = Literal["role", "position", "all"]
Metric = Literal["normalised logit difference", "logit difference"]


@dataclass(frozen=True)
class Cell:
    """One intervention: the site of one run put into the other, on every pair."""

    site: Site
    """With its position: an integer, a role, or none for all of them."""
    label: str
    """That position in words: ``trigger``, ``7``, ``all``."""
    direction: Direction
    effect: Estimate
    """0: as if nothing had been done. 1: as if the other run had been run."""
    unchanged: bool
    """In no pair could the patch reach the read-out or differ from what it replaced."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """What patching did, cell by cell and pair by pair."""

    cells: tuple[Cell, ...]
    patched: Float[np.ndarray, "cell pair"]
    """Logit difference (planted answer minus truth) under each cell's patch."""
    clean: Float[np.ndarray, " pair"]
    """The same of the clean run."""
    triggered: Float[np.ndarray, " pair"]
    """The same of the triggered run."""
    clusters: Int[np.ndarray, " pair"]
    """Entity of each pair."""
    metric: Metric
    weights: dict[Site, float] = field(default_factory=dict)
    """Frobenius norm of the output weights of each part that was swept, where it has some."""
    forwards: int = 0
    """Prompts run through the body, or the rest of it: two a pair, one a pair and changed cell."""
    seconds: float = 0.0
    method: str = "patching"
    """``patching`` is the exhaustive sweep; anything else approximates one."""
    backwards: int = 0
    """Prompts run backward; patching needs none."""

    @property
    def gap(self) -> float:
        """Mean logit difference of the triggered runs minus that of the clean ones."""
        return float((self.triggered - self.clean).mean())

    def cell(self, site: Site | str, direction: Direction = "denoising") -> Cell:
        """The cell of a site (position included); raises :class:`BadSite` if it was not swept."""
        site = Site.parse(site)
        found = [c for c in self.cells if c.site == site and c.direction == direction]
        if not found:
            options = dict.fromkeys(str(c.site) for c in self.cells if c.direction == direction)
            raise BadSite(f"site '{site}' was not swept ({direction}){nearest(str(site), options)}")
        return found[0]

    def ranking(self, direction: Direction = "denoising") -> tuple[Cell, ...]:
        """The cells of a direction, largest effect first; unmeasurable ones last."""
        return ranked(self.cells, direction)

    def records(self, *, organism: str = "", key: str = "", seed: int = 0) -> list[Record]:
        """One record a cell: ``sweep`` of patching itself, ``attribution`` of another method."""
        share, versions = self.seconds / max(len(self.cells), 1), provenance()
        exact = self.method == "patching"
        return [
            Record(
                kind="sweep" if exact else "attribution",
                organism=organism,
                key=key,
                seed=seed,
                model="organism",
                site=str(cell.site),
                params={
                    "kind": cell.site.kind,
                    "layer": -1 if cell.site.layer is None else cell.site.layer,
                    "head": -1 if cell.site.head is None else cell.site.head,
                    "role": cell.label,
                    "direction": cell.direction,
                    "unchanged": cell.unchanged,
                    "metric": self.metric,
                    **({} if exact else {"method": self.method}),
                },
                values={**cell.effect.flat("effect"), "n": cell.effect.n},
                versions=versions,
                seconds=share,
            )
            for cell in self.cells
        ]

    def _repr_html_(self) -> str:
        """The largest effects, for a notebook."""
        return showing.sweep(self)


@dataclass(frozen=True)
class Plan:
    """What a sweep will cost, before it is run."""

    cells: int
    forwards: int
    """Exactly :attr:`Sweep.forwards`."""
    skipped: int
    """Cells times pairs that need no run: nothing differs there, or nothing reads it."""
    seconds: float
    """Estimated from the unedited runs' time."""
    megabytes: float
    """Alive at the worst moment, weights aside, to a quarter. Only the tables of results go on
    growing with the number of pairs; see :mod:`mo_interp.patching.memory`."""

    def __str__(self) -> str:
        """Such as ``45 cells, 3,210 forwards (2,400 skipped), about 0.8 s and 12 MB``."""
        return (
            f"{self.cells:,} cells, {self.forwards:,} forwards ({self.skipped:,} skipped), "
            f"about {self.seconds:.1f} s and {self.megabytes:,.0f} MB"
        )


def clusters(pairs: Pairs) -> Int[np.ndarray, " pair"]:
    """The entity of each pair, numbered; every pair its own where rows have none."""
    ids = pairs.clean.groups.get("entity", np.arange(len(pairs)))
    return np.unique(ids, return_inverse=True)[1]


def tabulated(
    spots: Sequence[tuple[Site, str]],
    directions: Sequence[Direction],
    patched: Float[np.ndarray, "direction spot pair"],
    changed: Bool[np.ndarray, "direction spot"],
    *,
    ends: tuple[Float[np.ndarray, " pair"], Float[np.ndarray, " pair"]],
    clusters: Int[np.ndarray, " pair"],
    metric: Metric,
    weights: dict[Site, float],
    forwards: int,
    seconds: float,
    method: str = "patching",
    backwards: int = 0,
) -> Sweep:
    """The sweep of a filled table, direction by direction.

    Args:
        spots: site (with its position) and the position's label, one a column.
        directions: of the table's first axis.
        patched: logit difference under each patch, measured or predicted.
        changed: where there was anything to patch that can reach the read-out.
        ends: logit difference of the clean and of the triggered runs.
        clusters: entity of each pair.
        metric: unit of the effects.
        weights: see :attr:`Sweep.weights`; so for the rest.
        forwards: prompts run.
        seconds: time taken.
        method: how ``patched`` was got.
        backwards: prompts run backward.
    """
    told = effects(patched, changed, directions, ends, clusters, metric)
    return Sweep(
        cells=tuple(Cell(*spots[i], d, effect, not live) for d, i, effect, live in told),
        patched=patched.reshape(-1, patched.shape[-1]),
        clean=ends[0],
        triggered=ends[1],
        clusters=clusters,
        metric=metric,
        weights=weights,
        forwards=forwards,
        seconds=seconds,
        method=method,
        backwards=backwards,
    )


class _Directed(Protocol):
    @property
    def direction(self) -> Direction: ...
    @property
    def effect(self) -> Estimate: ...


C = TypeVar("C", bound=_Directed)


def ranked(cells: Iterable[C], direction: Direction) -> tuple[C, ...]:
    """The cells of a direction, largest effect first; unmeasurable ones last."""
    mine = [c for c in cells if c.direction == direction]
    return tuple(sorted(mine, key=lambda c: -np.nan_to_num(c.effect.value, nan=-np.inf)))


def effects(
    patched: Float[np.ndarray, "direction spot pair"],
    changed: Bool[np.ndarray, "direction spot"],
    directions: Sequence[Direction],
    ends: tuple[Float[np.ndarray, " pair"], Float[np.ndarray, " pair"]],
    clusters: Int[np.ndarray, " pair"],
    metric: Metric,
) -> Iterator[tuple[Direction, int, Estimate, bool]]:
    """Direction, number of the spot, effect, and whether there was anything to patch, in order."""
    for direction, table, lives in zip(directions, patched, changed, strict=True):
        found = moved_by(table, direction, ends, clusters, metric)
        for i, (effect, live) in enumerate(zip(found, lives, strict=True)):
            yield direction, i, effect if live else replace(effect, **NOTHING), bool(live)


NOTHING: dict[str, Any] = {"value": 0.0, "lo": 0.0, "hi": 0.0, "how": "unchanged in every pair"}


def moved_by(
    patched: Float[np.ndarray, "spot pair"],
    direction: Direction,
    ends: tuple[Float[np.ndarray, " pair"], Float[np.ndarray, " pair"]],
    clusters: Int[np.ndarray, " pair"],
    metric: Metric,
) -> list[Estimate]:
    """Effects of patches, from the logit differences they give (see the package's docstring)."""
    clean, triggered = ends
    base, sign = (clean, 1.0) if direction == "noising" else (triggered, -1.0)
    unit = triggered - clean if metric == "normalised logit difference" else np.ones_like(clean)
    return ratios(sign * (patched - base), unit, clusters)


def ratios(
    moved: Float[np.ndarray, "cell pair"],
    unit: Float[np.ndarray, " pair"],
    clusters: Int[np.ndarray, " pair"],
) -> list[Estimate]:
    """Mean of ``moved`` over mean of ``unit``, with a 95 % interval by cluster, for many cells.

    A ratio of means, not a mean of ratios: pairs on which the two runs hardly differ would drown
    the rest. The ratio is linearised, residuals are summed by cluster, and their spread is taken
    times the t quantile with one degree of freedom less than there are clusters. Without a second
    cluster the interval is nan; where ``unit`` has mean 0, so is everything.
    """
    from scipy.special import stdtrit

    n, codes = len(unit), np.unique(clusters, return_inverse=True)[1]
    groups = int(codes.max()) + 1
    scale = unit.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        value = moved.mean(1) / scale
        residual = (moved - value[:, None] * unit) / scale
    sums = residual @ np.eye(groups)[codes]
    half, how = np.full(len(moved), np.nan), "one cluster: no interval"
    if groups > 1:
        spread = np.sqrt(groups / (groups - 1) * (sums**2).sum(1)) / n
        half, how = float(stdtrit(groups - 1, 0.975)) * spread, "ratio of means, t over clusters"
    return [
        Estimate(float(v), float(v - h), float(v + h), n, how, groups)
        for v, h in zip(value, half, strict=True)
    ]
