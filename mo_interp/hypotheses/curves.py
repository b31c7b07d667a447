"""Faithfulness, completeness, minimality: with all but a set of units as in the partner run.

``F(C)``, the *faithfulness* of a set C, is the mean logit difference (planted answer minus truth)
with only C kept, on a scale on which the partner run is 0 and the unedited run 1 (Wang et al.,
arXiv 2211.00593; normalised as Marks et al., arXiv 2403.19647, with the unedited partner in place
of an empty set: ``F`` of the empty set is 0 only where the units are all that can carry anything).
It can exceed 1, where what is left out works against the behaviour. M is the set of all units.

1. *Curve*: F of the first k of a ranking, for growing k. Its area over the share kept is CPR, the
   area between it and 1 is CMD (Mueller et al., arXiv 2504.13151); random orders stand beside.
2. *Completeness*: ``|F(C without K) - F(M without K)|`` for subsets K of C: none, each member,
   random ones, and a greedily built one that makes it large. 0 is complete.
3. *Minimality*: of each member v, ``|F(C without K and v) - F(C without K)|`` with the K, v not in
   it, that makes it large, built greedily from nothing. 0 is a member that is not needed.

What is chosen for being large is chosen on half of the entities and measured on the other, so that
the choice does not flatter the number. Runs are kept, so no set is run twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mo_interp.attribution.subgraphs import (
    Graph,
    Unit,
    differences,
    graph,
    partners,
    printed,
    unit,
)
from mo_interp.errors import BadSite, BadValues
from mo_interp.model import Model
from mo_interp.patching.cells import Direction, clusters, ratios
from mo_interp.records import Record, provenance
from mo_interp.stats import Estimate, rank_p
from mo_interp.worlds.base import Pairs

MANY = 32
"""With more units than this, a curve is taken at some sizes only unless told otherwise."""


class Keeping:
    """Pairs and units, ready to be run with any set of the units kept."""

    def __init__(
        self,
        model: Model,
        pairs: Pairs,
        units: Iterable[str | Unit] | str | Unit,
        *,
        direction: Direction = "denoising",
    ) -> None:
        """Run both sides unedited.

        Args:
            model: any for sites, one of our own shapes for edges.
            pairs: clean and triggered partners; on which the model lies, or the scale means little.
            units: everything that is kept or replaced; what is not among them runs on as it likes.
            direction: ``denoising`` keeps units in the triggered run, ``noising`` in the clean one.

        Raises:
            BadSite: no units, unknown ones, sites and edges mixed, cuts, or overlapping ones.
            BadShape: no pairs.
            DeadEdit: the partners differ at none of the units.
        """
        self.pairs, self.direction = pairs, direction
        self._start(graph(model, *partners(pairs, direction), units))
        self.unit = self.base - self.bank
        """What F is divided by the mean of ``[pair]``."""

    def _start(self, runs: Graph) -> None:
        self.graph, self.units = runs, runs.units
        self.clusters = clusters(self.pairs)
        self.base = differences(runs.base_logits, self.pairs.triggered)
        self.bank = differences(runs.bank_logits, self.pairs.triggered)
        self._known: dict[frozenset[Unit], np.ndarray] = {}

    def of(self, model: Model) -> Keeping:
        """The same in another model, such as the twin, on this one's scale."""
        other = object.__new__(Keeping)
        other.pairs, other.direction, other.unit = self.pairs, self.direction, self.unit
        other._start(self.graph.of(model))
        return other

    @property
    def forwards(self) -> int:
        """Rows run forward so far."""
        return self.graph.forwards

    def kept(self, keep: Iterable[str | Unit]) -> np.ndarray:
        """Logit difference ``[pair]`` with only ``keep`` kept; raises :class:`BadSite`."""
        wanted = frozenset(self.graph.check(keep))
        if wanted not in self._known:
            gone = [one for one in self.units if one not in wanted]
            logits = self.graph.logits(gone) if gone else self.graph.base_logits
            self._known[wanted] = differences(logits, self.pairs.triggered)
        return self._known[wanted]

    def moved(self, found: np.ndarray, rows: np.ndarray | slice = slice(None)) -> Estimate:
        """A change ``[pair]`` of the logit difference on the scale of F, over some rows."""
        return ratios(found[None, rows], self.unit[rows], self.clusters[rows])[0]

    def halves(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows to choose on and rows to measure on: every other entity each; all, if only one."""
        codes = np.unique(self.clusters, return_inverse=True)[1]
        if codes.max() == 0:
            return np.ones(len(codes), dtype=bool), np.ones(len(codes), dtype=bool)
        return codes % 2 == 0, codes % 2 == 1

    def set(self, members: Iterable[str | Unit]) -> tuple[Unit, ...]:
        """A set that is to be tested; raises :class:`BadSite` where it is empty or unknown."""
        found = self.graph.check(members)
        if not found:
            raise BadSite("an empty set has no members to test; give sites or edges of the graph")
        return found

    def random(self, size: int, draws: int, seed: int) -> list[tuple[Unit, ...]]:
        """Random sets of as many units."""
        rng = np.random.default_rng([47, seed, size])
        picks = [rng.choice(len(self.units), size=size, replace=False) for _ in range(draws)]
        return [tuple(self.units[i] for i in sorted(pick)) for pick in picks]

    def record(
        self,
        kind: str,
        members: Sequence[Unit],
        values: dict[str, Any],
        *,
        organism: str = "",
        key: str = "",
        seed: int = 0,
        model: str = "organism",
    ) -> Record:
        """A record of a set that was tested here."""
        of = "edges" if "->" in str(self.units[0]) else "sites"
        return Record(
            kind=kind,
            organism=organism,
            key=key,
            seed=seed,
            model=model,
            site=printed(members),
            params={"direction": self.direction, "units": of, "of": len(self.units)},
            values=values | {"n": len(self.pairs), "forwards": self.forwards},
            versions=provenance(),
        )


def _sized(found: Estimate) -> Estimate:
    """The size of a signed estimate: mirrored where it is negative."""
    return found if not found.value < 0 else replace(
        found, value=-found.value, lo=-found.hi, hi=-found.lo
    )  # fmt: skip


# Faithfulness -----------------------------------------------------------------------------------


def faithfulness(runs: Keeping, keep: Iterable[str | Unit]) -> Estimate:
    """F of a set: 1 as the unedited run, 0 as its partner. The empty set is allowed here.

    Raises :class:`BadSite` for a unit that is none of the graph's.
    """
    return runs.moved(runs.kept(keep) - runs.bank)


@dataclass(frozen=True, eq=False)
class Kept:
    """F of a set, and of random ones."""

    runs: Keeping
    members: tuple[Unit, ...]
    faithfulness: Estimate
    random: np.ndarray
    """F of random sets of as many units."""

    def record(
        self, *, organism: str = "", key: str = "", seed: int = 0, model: str = "organism"
    ) -> Record:
        """One ``faithfulness`` record; ``site`` is the set."""
        lo, mid, hi = np.quantile(self.random, [0.025, 0.5, 0.975])
        values: dict[str, Any] = {
            **self.faithfulness.flat("faithfulness"),
            "members": len(self.members),
            "random_sets": len(self.random),
            "random": mid,
            "random_lo": lo,
            "random_hi": hi,
        }
        told = {"organism": organism, "key": key, "seed": seed, "model": model}
        return self.runs.record("faithfulness", self.members, values, **told)


def kept(runs: Keeping, members: Iterable[str | Unit], *, draws: int = 20, seed: int = 0) -> Kept:
    """:func:`faithfulness` with random sets of equal size beside.

    Raises:
        BadSite: a unit that is none of the graph's.
        BadValues: no random sets.
    """
    if draws < 1:
        raise BadValues("draws: a share means nothing beside no random set; give 1 or more")
    mine = runs.graph.check(members)
    others = [faithfulness(runs, one).value for one in runs.random(len(mine), draws, seed)]
    return Kept(runs, mine, faithfulness(runs, mine), np.array(others))


def ordered(
    scores: Mapping[Any, float], *, ties: bool = False, reverse: bool = True
) -> tuple[Unit, ...]:
    """Units by score, largest first.

    Args:
        scores: unit (or its text) to number.
        ties: equal scores are allowed, and stay in the order in which they were given.
        reverse: largest first; else smallest.

    Raises:
        BadValues: a score that is no number, or equal ones that were not allowed.
    """
    values = np.array(list(scores.values()), dtype=float)
    if not len(values) or np.isnan(values).any():
        raise BadValues("a ranking needs a score a unit, none of them NaN")
    if not ties and len(np.unique(values)) < len(values):
        twice = len(values) - len(np.unique(values))
        raise BadValues(
            f"{twice} of {len(values)} scores tie, so they give no order; say ties=True to leave "
            "those in the order given, or give the order itself"
        )
    order = np.argsort(-values if reverse else values, kind="stable")
    names = list(scores)
    return tuple(unit(names[i]) for i in order)


@dataclass(frozen=True, eq=False)
class Curve:
    """F of growing prefixes of a ranking."""

    runs: Keeping
    order: tuple[Unit, ...]
    sizes: tuple[int, ...]
    """How many were kept, from 0 to all."""
    points: tuple[Estimate, ...]
    """F at each size."""
    area: Estimate
    """CPR: mean F over the share kept; larger is a better ranking of what carries."""
    off: Estimate
    """CMD: mean distance of F from 1; smaller is a circuit that behaves as the model does."""
    random_area: np.ndarray
    """CPR of random orders."""
    random_off: np.ndarray
    """CMD of random orders."""

    def record(
        self, *, organism: str = "", key: str = "", seed: int = 0, model: str = "organism"
    ) -> Record:
        """One ``faithfulness_curve`` record; ``site`` is the ranking."""
        n = len(self.random_area)
        values: dict[str, Any] = {"size": self.sizes}
        for name in ("value", "lo", "hi"):
            told = "faithfulness" + ("" if name == "value" else f"_{name}")
            values[told] = [getattr(point, name) for point in self.points]
        values |= self.area.flat("cpr") | self.off.flat("cmd") | {"random_orders": n}
        for name, drawn, own in (
            ("cpr", self.random_area, self.area.value),
            ("cmd", -self.random_off, -self.off.value),
        ):
            lo, mid, hi = np.quantile(np.abs(drawn), [0.025, 0.5, 0.975])
            values |= {f"{name}_random": mid, f"{name}_random_lo": lo, f"{name}_random_hi": hi}
            values[f"{name}_p"] = rank_p(own, drawn) if np.isfinite(own) else float("nan")
        return self.runs.record(
            "faithfulness_curve", self.order, values,
            organism=organism, key=key, seed=seed, model=model,
        )  # fmt: skip


def curve(
    runs: Keeping,
    order: Sequence[str | Unit],
    *,
    sizes: Sequence[int] | None = None,
    draws: int = 20,
    seed: int = 0,
) -> Curve:
    """F of the first k units of a ranking, for every k or some; random orders beside.

    Args:
        runs: the graph; every one of its units is to be ranked, each once.
        order: best first; :func:`ordered` makes one of scores.
        sizes: prefixes to run; None for all, or for about :data:`MANY` of a long ranking.
        draws: random orders, at the same sizes.
        seed: of them.

    Raises:
        BadValues: sizes that do not grow from 0 to all, or no random orders.
        BadSite: units that are missing, unknown, or there twice.
    """
    found = runs.graph.check(order)
    if len(found) != len(list(order)) or len(found) != len(runs.units):
        raise BadSite(f"a ranking names each of the {len(runs.units)} units once")
    n = len(found)
    at = _default(n) if sizes is None else np.array(sizes)
    if len(at) < 2 or (np.diff(at) <= 0).any() or (at[0], at[-1]) != (0, n):
        raise BadValues(f"sizes={at.tolist()}: give sizes that grow from 0 to {n}")
    if draws < 1:
        raise BadValues("draws: a ranking means nothing beside no random one; give 1 or more")
    rng = np.random.default_rng([53, seed])
    moves = _prefixes(runs, found, at)
    drawn = np.array([_areas(runs, _prefixes(runs, [found[i] for i in rng.permutation(n)], at), at)
                      for _ in range(draws)])  # fmt: skip
    weights = _trapezoid(at / n)
    return Curve(
        runs=runs,
        order=found,
        sizes=tuple(at.tolist()),
        points=tuple(ratios(moves, runs.unit, runs.clusters)),
        area=runs.moved(weights @ moves),
        off=_spread(runs, moves, at),
        random_area=drawn[:, 0],
        random_off=drawn[:, 1],
    )


def _default(n: int) -> np.ndarray:
    """All sizes up to ``n``, or of many some, more of the small ones."""
    if n <= MANY:
        return np.arange(n + 1)
    return np.unique(np.round(np.expm1(np.linspace(0, np.log1p(n), MANY)))).astype(int)


def _prefixes(runs: Keeping, order: Sequence[Unit], at: np.ndarray) -> np.ndarray:
    """Logit differences ``[size pair]`` beyond the partner run's."""
    return np.stack([runs.kept(order[:k]) - runs.bank for k in at])


def _trapezoid(x: np.ndarray) -> np.ndarray:
    """Weights with which values at ``x`` add up to their area."""
    steps = np.diff(x)
    return (np.append(steps, 0) + np.append(0, steps)) / 2


def _areas(
    runs: Keeping, moves: np.ndarray, at: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float, float]:
    """CPR and CMD, rows weighted."""
    rows = np.ones(moves.shape[1]) if weights is None else weights
    with np.errstate(divide="ignore", invalid="ignore"):
        f = (moves @ rows) / (runs.unit @ rows)
    share = _trapezoid(at / at[-1])
    return float(share @ f), float(share @ np.abs(1 - f))


def _spread(runs: Keeping, moves: np.ndarray, at: np.ndarray) -> Estimate:
    """CMD with percentiles over resampled entities; it is not linear in the rows."""
    value, codes = _areas(runs, moves, at)[1], np.unique(runs.clusters, return_inverse=True)[1]
    groups, n = int(codes.max()) + 1, moves.shape[1]
    if groups < 2:
        return Estimate(value, np.nan, np.nan, n, "one cluster: no interval", groups)
    counts = np.random.default_rng([59, groups]).multinomial(
        groups, np.full(groups, 1 / groups), size=200
    )
    drawn = [_areas(runs, moves, at, count[codes].astype(float))[1] for count in counts]
    lo, hi = (float(q) for q in np.nanquantile(drawn, [0.025, 0.975]))
    return Estimate(value, lo, hi, n, "percentiles over resampled entities", groups)


# Completeness -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Completeness:
    """How differently a set and the whole model break when parts of the set are taken."""

    runs: Keeping
    members: tuple[Unit, ...]
    taken: tuple[tuple[Unit, ...], ...]
    """Each K: none, each member, random ones, and the greedy one last."""
    kept: tuple[Estimate, ...]
    """F of the set without K."""
    whole: tuple[Estimate, ...]
    """F of all units without K."""
    gaps: tuple[Estimate, ...]
    """Size of the difference, on the entities that the greedy K was not chosen on."""
    random: np.ndarray
    """Mean gap of random sets of equal size, over as many K as they were given."""

    @property
    def worst(self) -> Estimate:
        """The largest gap; its interval is that of this K alone."""
        return max(self.gaps, key=lambda gap: np.nan_to_num(gap.value, nan=-1))

    @property
    def mean(self) -> float:
        """The mean gap over all K."""
        return float(np.mean([gap.value for gap in self.gaps]))

    def record(
        self, *, organism: str = "", key: str = "", seed: int = 0, model: str = "organism"
    ) -> Record:
        """One ``completeness`` record; ``site`` is the set."""
        at = self.gaps.index(self.worst)
        values: dict[str, Any] = {
            "members": len(self.members),
            **self.worst.flat("worst"),
            **self.gaps[-1].flat("greedy"),
            **self.gaps[0].flat("nothing_taken"),
            "worst_taken": [str(one) for one in self.taken[at]],
            "mean": self.mean,
            "subsets": len(self.taken),
            "set_without": [one.value for one in self.kept],
            "model_without": [one.value for one in self.whole],
            "random_mean": float(self.random.mean()) if len(self.random) else float("nan"),
            "random_sets": len(self.random),
        }
        told = {"organism": organism, "key": key, "seed": seed, "model": model}
        return self.runs.record("completeness", self.members, values, **told)


def completeness(
    runs: Keeping,
    members: Iterable[str | Unit],
    *,
    draws: int = 10,
    controls: int = 10,
    seed: int = 0,
) -> Completeness:
    """Whether a set breaks as the model does; see the module.

    Args:
        runs: the graph.
        members: the set C.
        draws: random subsets K.
        controls: random sets of equal size, with nothing taken and three random K each.
        seed: of all that is random.

    Raises:
        BadSite: an empty set, or a unit that is none of the graph's.
    """
    mine = runs.set(members)
    choose, judge = runs.halves()
    rng = np.random.default_rng([61, seed])
    taken = [(), *((one,) for one in mine), *(_some(mine, rng) for _ in range(draws))]
    taken = [*dict.fromkeys(taken), _greedy_gap(runs, mine, choose)]
    gaps = [_sized(runs.moved(_gap(runs, mine, gone), judge)) for gone in taken]
    others = []
    for control in runs.random(len(mine), controls, seed):
        few = [(), *(_some(control, rng) for _ in range(3))]
        others.append(np.mean([abs(runs.moved(_gap(runs, control, k), judge).value) for k in few]))
    return Completeness(
        runs=runs,
        members=mine,
        taken=tuple(taken),
        kept=tuple(faithfulness(runs, _less(mine, gone)) for gone in taken),
        whole=tuple(faithfulness(runs, _less(runs.units, gone)) for gone in taken),
        gaps=tuple(gaps),
        random=np.array(others),
    )


def _less(units: Sequence[Unit], gone: Iterable[Unit]) -> tuple[Unit, ...]:
    out = set(gone)
    return tuple(one for one in units if one not in out)


def _some(members: Sequence[Unit], rng: np.random.Generator) -> tuple[Unit, ...]:
    """Each member with probability one half."""
    return tuple(one for one, toss in zip(members, rng.random(len(members)), strict=True)
                 if toss < 0.5)  # fmt: skip


def _gap(runs: Keeping, members: Sequence[Unit], gone: Sequence[Unit]) -> np.ndarray:
    """Logit difference ``[pair]`` of the set without K, minus that of the model without K."""
    return runs.kept(_less(members, gone)) - runs.kept(_less(runs.units, gone))


def _greedy_gap(runs: Keeping, members: Sequence[Unit], rows: np.ndarray) -> tuple[Unit, ...]:
    """K built member by member, as long as the gap on ``rows`` grows."""
    gone: tuple[Unit, ...] = ()
    best = abs(_gap(runs, members, gone)[rows].mean())
    while len(gone) < len(members):
        options = [(*gone, one) for one in members if one not in gone]
        sizes = [abs(_gap(runs, members, option)[rows].mean()) for option in options]
        top = int(np.argmax(sizes))
        if not sizes[top] > best:
            break
        gone, best = options[top], sizes[top]
    return gone


# Minimality -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """What one unit adds to a set."""

    unit: Unit
    alone: Estimate
    """Size of the change of F when it leaves the whole set."""
    taken: tuple[Unit, ...]
    """The K that makes its leaving felt most."""
    marginal: Estimate
    """The size of that change, on the entities that K was not chosen on."""


@dataclass(frozen=True, eq=False)
class Minimality:
    """What every member of a set adds, and what random others would."""

    runs: Keeping
    members: tuple[Member, ...]
    random: tuple[Member, ...]
    """Units from outside, each added to the set in turn."""

    @property
    def least(self) -> Member:
        """The member that is needed least."""
        return min(self.members, key=lambda m: np.nan_to_num(m.marginal.value, nan=np.inf))

    def record(
        self, *, organism: str = "", key: str = "", seed: int = 0, model: str = "organism"
    ) -> Record:
        """One ``minimality`` record; ``site`` is the set, in the order of ``marginal``."""
        values: dict[str, Any] = {**self.least.marginal.flat("least")}
        values["least_unit"] = str(self.least.unit)
        for name, listed in (("marginal", self.members), ("random_marginal", self.random)):
            values[name] = [m.marginal.value for m in listed]
            values[f"{name}_lo"] = [m.marginal.lo for m in listed]
            values[f"{name}_hi"] = [m.marginal.hi for m in listed]
        values["alone"] = [m.alone.value for m in self.members]
        values["random_units"] = [str(m.unit) for m in self.random]
        told = {"organism": organism, "key": key, "seed": seed, "model": model}
        return self.runs.record("minimality", [m.unit for m in self.members], values, **told)


def minimality(
    runs: Keeping,
    members: Iterable[str | Unit],
    *,
    depth: int = 2,
    controls: int = 5,
    seed: int = 0,
) -> Minimality:
    """What each member adds, with the K next to which it adds most; see the module.

    Args:
        runs: the graph.
        members: the set C; runs grow as its size squared times ``depth``.
        depth: largest K.
        controls: random units from outside, added to the set in turn.
        seed: of their choice.

    Raises:
        BadSite: an empty set, or a unit that is none of the graph's.
        BadValues: a negative depth.
    """
    mine = runs.set(members)
    if depth < 0:
        raise BadValues(f"depth={depth}: give the largest number of members to take first, or 0")
    outside = _less(runs.units, mine)
    rng = np.random.default_rng([67, seed])
    picks = rng.permutation(len(outside))[:controls]
    return Minimality(
        runs=runs,
        members=tuple(_member(runs, mine, one, depth) for one in mine),
        random=tuple(_member(runs, (*mine, outside[i]), outside[i], depth) for i in sorted(picks)),
    )


def _member(runs: Keeping, members: tuple[Unit, ...], one: Unit, depth: int) -> Member:
    choose, judge = runs.halves()

    def felt(gone: tuple[Unit, ...]) -> np.ndarray:
        left = _less(members, gone)
        return runs.kept(left) - runs.kept(_less(left, [one]))

    taken: tuple[Unit, ...] = ()
    best = abs(felt(taken)[choose].mean())
    for _ in range(min(depth, len(members) - 1)):
        options = [(*taken, other) for other in members if other != one and other not in taken]
        sizes = [abs(felt(option)[choose].mean()) for option in options]
        top = int(np.argmax(sizes))
        if not sizes[top] > best:
            break
        taken, best = options[top], sizes[top]
    alone = _sized(runs.moved(felt(())))
    return Member(one, alone, taken, _sized(runs.moved(felt(taken), judge)))
