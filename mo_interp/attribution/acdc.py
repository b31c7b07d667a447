"""ACDC: take edges away one by one, from the logits backwards, and keep those that are missed.

(Conmy, Mavor-Parker, Lynch, Heimersheim, Garriga-Alonso, arXiv 2304.14997.)

1. Begin with all edges, on the base rows. What is taken away carries the partner run's value.
2. Go through the readers from the last to the first, and through each one's writers likewise.
3. Take the edge away for good if that makes the answer's distance from the unedited run grow by
   less than ``tau``; else put it back.
4. Repeat for every ``tau`` of a grid. An edge's *score* is the largest one at which it was kept.

Distance: the KL divergence of the next word's distribution from the unedited run's (nats, mean over
rows), or the share of the logit difference that is lost. Its cost is known before: one forward an
edge, a tau and a row, and two unedited ones (:attr:`Found.forwards`).

**When it fails**: of two edges that each suffice the first that is met is dropped, and of an OR the
one that is met last is kept; with a large ``tau`` many small losses add up to a dead circuit. What
is found depends on the order of writers within a reader, which nothing determines.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from mo_interp import stats
from mo_interp.attribution.edges import Edge, chosen
from mo_interp.attribution.subgraphs import EdgeGraph, differences, partners
from mo_interp.circuits import Circuit
from mo_interp.errors import BadLabels, BadSite, BadValues, nearest
from mo_interp.model import Model
from mo_interp.patching.cells import Direction, clusters, ratios
from mo_interp.patching.grid import one_of
from mo_interp.records import Record, provenance
from mo_interp.sites import KINDS, Site
from mo_interp.stats import Estimate
from mo_interp.train import Progress, silent
from mo_interp.worlds.base import Batch, Pairs

Distance = Literal["kl", "lost logit difference"]
TAUS = (0.001, 0.01, 0.1, 0.5)


@dataclass(frozen=True, eq=False)
class Found:
    """What ACDC kept, threshold by threshold."""

    edges: tuple[Edge, ...]
    """Every edge that was tried, in the order of the forward pass."""
    taus: tuple[float, ...]
    """Thresholds, smallest first."""
    kept: np.ndarray
    """bool ``[tau edge]``."""
    distance: np.ndarray
    """``[tau]``: of what was kept, from the unedited run."""
    faithful: tuple[Estimate, ...]
    """By tau: share of the logit difference that what was kept carries; nan without any gap."""
    idle: np.ndarray
    """bool ``[edge]``: what it carries is alike in both runs wherever its reader can use it."""
    measured_by: Distance
    direction: Direction
    forwards: int
    """Rows run forward: ``pairs * (2 + edges * taus)``."""
    seconds: float

    @property
    def scores(self) -> np.ndarray:
        """The largest tau ``[edge]`` at which each was kept; 0 for never."""
        return (self.kept * np.array(self.taus)[:, None]).max(0)

    def circuit(self, tau: float) -> tuple[Edge, ...]:
        """The edges kept at one of the thresholds; raises :class:`BadValues` for another."""
        if tau not in self.taus:
            raise BadValues(f"tau={tau} was not tried{nearest(str(tau), map(str, self.taus))}")
        row = self.kept[self.taus.index(tau)]
        return tuple(edge for edge, kept in zip(self.edges, row, strict=True) if kept)

    def records(
        self, *, organism: str = "", key: str = "", seed: int = 0, model: str = "organism"
    ) -> list[Record]:
        """One ``acdc`` record a tau: how many edges were kept, and what they carry."""
        share = self.seconds / len(self.taus)
        found = []
        for i, tau in enumerate(self.taus):
            values: dict[str, Any] = {"kept": int(self.kept[i].sum()), "edges": len(self.edges)}
            values |= {"found": [str(edge) for edge in self.circuit(tau)]}
            values |= {"away": float(self.distance[i]), "n": self.faithful[i].n}
            values |= {**self.faithful[i].flat("faithfulness"), "forwards": self.forwards}
            one = Record(
                kind="acdc",
                organism=organism,
                key=key,
                seed=seed,
                model=model,
                params={"tau": tau, "distance": self.measured_by, "direction": self.direction},
                values=values,
                versions=provenance(),
                seconds=share,
            )
            found.append(one)
        return found


def acdc(
    model: Model,
    pairs: Pairs,
    *,
    taus: Sequence[float] = TAUS,
    wanted: Iterable[Edge | str] | None = None,
    direction: Direction = "denoising",
    distance: Distance = "kl",
    split: bool = True,
    progress: Progress = silent,
) -> Found:
    """Run ACDC over a grid of thresholds.

    Args:
        model: one of our own shapes.
        pairs: clean and triggered partners.
        taus: thresholds, in nats or as shares; each above 0, none twice.
        wanted: edges to try, or None for all; the others stay as they are.
        direction: ``denoising`` looks for what carries the lie (triggered rows, taken away: as on
            the clean partner), ``noising`` for what keeps the truth.
        distance: see the module.
        split: a head's queries, keys and values apart, or together.
        progress: told after every edge.

    Raises:
        SpecError: a bridged model.
        BadSite: an edge that the body has not, or none.
        BadValues: thresholds that are none, or a share of a logit difference that is 0.
        DeadEdit: pairs that differ at no edge.
    """
    started = time.perf_counter()
    one_of("distance", distance, Distance)
    levels = tuple(sorted({float(tau) for tau in taus}))
    if not levels or len(levels) != len(taus) or not (np.array(levels) > 0).all():
        raise BadValues(f"taus={tuple(taus)}: give thresholds above 0, each once")
    listed = _ordered(chosen(model, wanted, split=split))
    if not listed:
        raise BadSite("ACDC needs an edge or more; wanted=None is all of them")
    runs = EdgeGraph(model, *partners(pairs, direction), listed)
    far = _Far(runs, pairs.triggered, distance)
    kept, ends = np.ones((len(levels), len(listed)), dtype=bool), []
    for i, tau in enumerate(levels):
        ends.append(_swept(runs, far, tau, kept[i], progress, f"ACDC, tau {tau:g}"))
    final = np.stack([differences(last, pairs.triggered) for last in ends])
    return Found(
        edges=listed,
        taus=levels,
        kept=kept,
        distance=np.array([far(last) for last in ends]),
        faithful=tuple(ratios(final - far.bank, far.base - far.bank, clusters(pairs))),
        idle=_idle(runs),
        measured_by=distance,
        direction=direction,
        forwards=runs.forwards,
        seconds=time.perf_counter() - started,
    )


def _ordered(edges: tuple[Edge, ...]) -> tuple[Edge, ...]:
    """Readers in the order of the forward pass, their writers likewise."""

    def place(site: Site) -> tuple[int, int, int]:
        layer = -1 if site.layer is None else site.layer
        return layer, KINDS.index(site.kind), site.head or 0

    return tuple(sorted(edges, key=lambda edge: (place(edge.reader), place(edge.writer))))


def _swept(
    runs: EdgeGraph, far: _Far, tau: float, kept: np.ndarray, progress: Progress, told: str
) -> Tensor:
    """Go backwards once, marking in ``kept [edge]``; the logits of what is left."""
    now, last = 0.0, runs.base_logits
    for done, i in enumerate(reversed(range(len(runs.units)))):
        kept[i] = False
        gone = [one for one, keep in zip(runs.units, kept, strict=True) if not keep]
        tried = runs.logits(gone)
        away = far(tried)
        if away - now < tau:
            now, last = away, tried
        else:
            kept[i] = True
        progress(done + 1, len(kept), told)
    return last


class _Far:
    """Distance of logits from those of the unedited base rows."""

    def __init__(self, runs: EdgeGraph, planted: Batch, by: Distance) -> None:
        self.by: Distance = by
        self.planted = planted
        self.base = differences(runs.base_logits, planted)
        self.bank = differences(runs.bank_logits, planted)
        self.words = runs.base_logits.double().log_softmax(-1)
        if by != "kl" and not abs((self.base - self.bank).mean()) > 0:
            raise BadValues("the runs' logit differences are equal, so no share is lost; use 'kl'")

    def __call__(self, logits: Tensor) -> float:
        if self.by == "kl":
            found = logits.double().log_softmax(-1)
            terms = self.words.exp() * (self.words - found)
            return float(terms.sum(-1).mean())
        lost = (self.base - differences(logits, self.planted)).mean()
        return float(lost / (self.base - self.bank).mean())


def _idle(runs: EdgeGraph) -> np.ndarray:
    """Edges whose replacement cannot matter: alike wherever the reader hands on to the read-out.

    In the last block only keys and values are read at other positions than the last.
    """
    top = len(runs.model.body.blocks) - 1
    found = []
    for edge in (one for one in runs.units if isinstance(one, Edge)):
        differs = (runs.own[edge.writer] != runs.acts[edge.writer]).any(-1)
        reads_last = edge.reader.layer == top and edge.reader.kind not in ("k", "v", "z")
        found.append(not bool((differs[:, -1] if reads_last else differs).any()))
    return np.array(found)


# Against the planted circuit ------------------------------------------------------------------


def planted_edges(found: Found, circuit: Circuit) -> tuple[np.ndarray, np.ndarray]:
    """Which edges the circuit plants, and which it says are inert: bools ``[edge]`` each.

    Planted: both ends are of the origin, or one is and the other is the words or the logits.
    Inert: an end is inert. A layer's MLP is what any part of it is, origin before mediator before
    inert. Idle edges and those of mediators or of parts that the circuit does not sort are neither.
    """
    sorts = [tuple(_standing(circuit, end) for end in (e.writer, e.reader)) for e in found.edges]
    own_ends = np.array(["origin" in s and set(s) <= {"origin", "end"} for s in sorts])
    quiet = np.array(["inert" in s and "mediators" not in s for s in sorts])
    return own_ends & ~found.idle, quiet & ~found.idle


def _standing(circuit: Circuit, end: Site) -> str:
    """What a writer or reader is: ``end`` for words and logits, else a list of the circuit."""
    if end.kind in ("embed", "resid_post"):
        return "end"
    kinds = ("pre", "post", "mlp_out") if end.head is None else ("q", "k", "v", "z")
    mine = [
        name
        for name in ("origin", "mediators", "inert")
        for part in getattr(circuit, name)
        if part.layer == end.layer and part.kind in kinds and part.head in (None, end.head)
    ]
    if circuit.grade == "routed" and not mine:
        return "inert" if end.head is not None and _routed_beside(circuit, end) else ""
    return mine[0] if mine else ""


def _routed_beside(circuit: Circuit, end: Site) -> bool:
    """Another head of a designated one's layer: inert, see :func:`mo_interp.origins.controls`."""
    return any(part.layer == end.layer for part in circuit.origin)


def against(
    found: Found,
    planted: np.ndarray,
    inert: np.ndarray,
    *,
    organism: str = "",
    key: str = "",
    seed: int = 0,
    draws: int = 1000,
) -> list[Record]:
    """The ROC: an ``acdc_roc`` record a tau, and an ``acdc_auroc`` one for ACDC and for random.

    Args:
        found: what ACDC kept.
        planted: bool ``[edge]``, the edges to be found; see :func:`planted_edges`.
        inert: bool ``[edge]``, those that must not be.
        organism: name for the records.
        key: the organism's key, likewise.
        seed: training seed, likewise.
        draws: random rankings.

    Raises:
        BadLabels: masks that overlap, have another length, or of which one is empty.
    """
    planted, inert = np.asarray(planted, dtype=bool), np.asarray(inert, dtype=bool)
    if not planted.shape == inert.shape == (len(found.edges),) or (planted & inert).any():
        raise BadLabels(f"planted and inert need {len(found.edges)} edges each, none in both")
    if not planted.any() or not inert.any():
        raise BadLabels("a ROC needs planted edges and inert ones; one of the two has none")

    def made(kind: str, params: dict[str, Any], values: dict[str, Any]) -> Record:
        told = {"distance": found.measured_by, "direction": found.direction, **params}
        counts = {"planted": int(planted.sum()), "inert": int(inert.sum())}
        return Record(
            kind=kind, organism=organism, key=key, seed=seed, model="organism", params=told,
            values=values | counts, versions=provenance(), seconds=found.seconds,
        )  # fmt: skip

    records = []
    for tau, kept in zip(found.taus, found.kept, strict=True):
        rates = {}
        for name, mask in (("tpr", planted), ("fpr", inert)):
            one = stats.clopper_pearson(int(kept[mask].sum()), int(mask.sum()))
            rates |= one.flat(name)
        chance = float(kept[planted | inert].mean())
        records.append(made("acdc_roc", {"tau": tau}, rates | {"random_tpr": chance}))
    counted = planted | inert
    scores = stats.localisation_scores(found.scores[counted], planted[counted])
    drawn = stats.random_ranking(planted[counted], draws=draws, seed=seed)
    for method in ("acdc", "random"):
        values: dict[str, Any] = {}
        for name, null in drawn.items():
            lo, hi = np.quantile(null, [0.025, 0.975])
            one = float(getattr(scores, name)) if method == "acdc" else float(null.mean())
            spread = {f"{name}_random_lo": float(lo), f"{name}_random_hi": float(hi)}
            values |= {name: one, **spread, f"{name}_n": int(counted.sum())}
        values["forwards"] = found.forwards if method == "acdc" else 0
        params = {"method": method, "over": "edges"}
        records.append(made("acdc_auroc", params, values))
    return records
