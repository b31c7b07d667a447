"""Causal scrubbing: replace all that a hypothesis says does not matter, and see what is left.

(Chan, Garriga-Alonso, Goldowsky-Dill, Greenblatt, Nitishinskaya, Radhakrishnan, Shlegeris, Thomas,
"Causal scrubbing", Alignment Forum 2022.) A hypothesis names units and the *feature* each carries.

1. A named unit takes its values from a random row that agrees with the base row on its feature.
2. Every other unit takes them from a random row, each from another one.
3. A unit that is said to be :data:`COMPUTED` runs on its (scrubbed) inputs: an inner node.
4. *Recovered* is the share of the loss that scrubbing everything adds and the hypothesis saves:
   ``(loss of all random - loss scrubbed) / (loss of all random - unedited loss)``. 1: nothing that
   matters was left out. Loss: minus log probability of the first word of the expected reply.

``within`` fixes what all rows agree on, such as the question: the hypothesis then speaks of what
varies beside it. The rows are both sides of every pair. Drawn rows may be the row itself, as in the
original; of a feature that only the row itself has nothing is tested, which ``distinct`` tells.

Beside it: the same hypothesis with its labels shuffled, and its features moved to random other
units. **Limits**: units that are not listed run on as they like. Recovering is necessary, not
sufficient: a hypothesis that claims too much passes. Errors that cancel pass as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch

from mo_interp import stats
from mo_interp.attribution.subgraphs import Graph, Unit, graph, printed, unit
from mo_interp.errors import BadLabels, BadShape, BadSite, BadValues, nearest
from mo_interp.model import Model
from mo_interp.patching.cells import ratios
from mo_interp.records import Record, provenance
from mo_interp.stats import Estimate
from mo_interp.worlds.base import Batch, Pairs

LEAST = 0.01
"""Nats that scrubbing everything must cost, or there is nothing to recover a share of."""
NOTHING: dict[str, Any] = {"value": np.nan, "lo": np.nan, "hi": np.nan, "how": "nothing is lost"}
COMPUTED = "computed"
"""What a unit carries that runs on its own scrubbed inputs."""
Carried: TypeAlias = str | tuple[str, ...] | np.ndarray
"""A column of the rows, several, labels ``[2 pairs]`` in the order of ``pairs.both``, or
:data:`COMPUTED`."""


@dataclass(frozen=True, eq=False)
class Scrubbed:
    """What a hypothesis recovers."""

    units: tuple[Unit, ...]
    carried: tuple[str, ...]
    """Each unit's feature, in words."""
    recovered: Estimate
    """Share of the lost log probability."""
    agrees: Estimate
    """Share of rows that still give the expected word, in the first draw."""
    lost: float
    """Nats that scrubbing everything costs; under :data:`LEAST` every recovered share is nan."""
    shuffled: Estimate
    """Recovered with every feature's labels in another order."""
    random: np.ndarray
    """Recovered with the features at random other units."""
    distinct: float
    """Mean number of rows to draw from, over rows and named units."""
    draws: int
    n: int
    forwards: int

    def record(
        self, *, organism: str = "", key: str = "", seed: int = 0, model: str = "organism"
    ) -> Record:
        """One ``scrubbing`` record."""
        drawn = self.random[np.isfinite(self.random)]
        values: dict[str, Any] = {
            **self.recovered.flat("recovered"),
            **self.agrees.flat("agrees"),
            **self.shuffled.flat("shuffled"),
            "lost": self.lost,
            "random_sets": len(self.random),
            "random_mean": float(drawn.mean()) if len(drawn) else float("nan"),
            "random_best": float(drawn.max()) if len(drawn) else float("nan"),
            "distinct": self.distinct,
            "carried": list(self.carried),
            "n": self.n,
            "forwards": self.forwards,
        }
        return Record(
            kind="scrubbing",
            organism=organism,
            key=key,
            seed=seed,
            model=model,
            site=printed(self.units),
            params={"size": len(self.units), "draws": self.draws},
            values=values,
            versions=provenance(),
        )


def scrub(
    model: Model,
    pairs: Pairs,
    hypothesis: Mapping[Any, Carried],
    units: Iterable[str | Unit],
    *,
    within: str | tuple[str, ...] = (),
    expected: np.ndarray | None = None,
    draws: int = 4,
    controls: int = 10,
    seed: int = 0,
) -> Scrubbed:
    """Scrub everything but what a hypothesis claims.

    Args:
        model: any for sites, one of our own shapes for edges.
        pairs: on which the model lies; both sides are rows.
        hypothesis: unit to what it carries: ``triggered``, ``truth``, ``answer``, ``prompt``, a
            group such as ``fact``, several of them, labels, or :data:`COMPUTED`.
        units: everything that is scrubbed, the hypothesis's units among it or not.
        within: columns on which all drawn rows agree with the base row.
        expected: first word ``[2 pairs]``; None for the planted one (a twin's is the truth).
        draws: times that every row is scrubbed; losses are averaged.
        controls: random other units for the features.
        seed: of both.

    Raises:
        BadSite: no hypothesis, or unknown or overlapping units.
        BadLabels: an unknown column, or labels of another length.
        BadShape: no pairs; BadValues: no draws.
        DeadEdit: partners that are alike at all units.
    """
    _check(hypothesis, pairs, draws)
    claims = {unit(one): carried for one, carried in hypothesis.items()}
    both, listed = pairs.both, [*map(_known, units), *claims]
    work = _scrubber(model, pairs, listed, within, expected)
    columns = _columns(both, claims)
    inner = [one for one in claims if one not in columns]
    rng = np.random.default_rng([73, seed])
    blank, _ = work.losses({}, [], draws, rng)
    found, hits = work.losses(columns, inner, draws, rng)
    unlike, _ = work.losses(_shuffled(columns, rng), inner, draws, rng)
    moved = [
        work.losses(*_moved(work.runs, columns, inner, rng), 1, rng)[0] for _ in range(controls)
    ]
    scale, all_of = blank - work.unedited, np.stack([found, unlike, *moved])
    saved = _saved(blank - all_of, scale, both.groups["entity"])
    return Scrubbed(
        units=tuple(claims),
        carried=tuple(_told(one) for one in claims.values()),
        recovered=saved[0],
        agrees=stats.share(hits, **both.clustered),
        lost=float(scale.mean()),
        shuffled=saved[1],
        random=np.array([one.value for one in saved[2:]]),
        distinct=work.choices(columns),
        draws=draws,
        n=len(both),
        forwards=work.runs.forwards,
    )


def _scrubber(
    model: Model,
    pairs: Pairs,
    units: list[str | Unit],
    within: str | tuple[str, ...],
    expected: np.ndarray | None,
) -> _Scrubber:
    """Both sides of every pair, ready to be scrubbed; the bank holds the partner of each row."""
    both, n = pairs.both, len(pairs)
    swap = np.concatenate([np.arange(n, 2 * n), np.arange(n)])
    runs = graph(model, both, both[swap], dict.fromkeys(units))
    words = both.answer if expected is None else expected
    return _Scrubber(runs, swap, _codes(both, within, 2 * n), words)


def _shuffled(
    columns: Mapping[Unit, np.ndarray], rng: np.random.Generator
) -> dict[Unit, np.ndarray]:
    """Every feature's codes in another order."""
    return {one: rng.permutation(codes) for one, codes in columns.items()}


def _saved(moved: np.ndarray, scale: np.ndarray, groups: np.ndarray) -> list[Estimate]:
    """Shares of what is lost ``[row]`` that are saved ``[case row]``; nan where nothing is."""
    found = ratios(moved, scale, groups)
    return found if scale.mean() >= LEAST else [replace(one, **NOTHING) for one in found]


def _check(hypothesis: Mapping[Any, Carried], pairs: Pairs, draws: int) -> None:
    if not hypothesis:
        raise BadSite("an empty hypothesis claims nothing; name a unit and what it carries")
    if draws < 1:
        raise BadValues(f"draws={draws}: scrub every row once or more")
    if not len(pairs):
        raise BadShape("scrubbing needs a pair or more on which the model lies")


def _columns(rows: Batch, claims: Mapping[Unit, Carried]) -> dict[Unit, np.ndarray]:
    """The codes ``[n]`` of every unit that is not computed."""
    carried = {one: told for one, told in claims.items() if not _computed(told)}
    return {one: _codes(rows, told, len(rows)) for one, told in carried.items()}


def _known(one: str | Unit) -> str | Unit:
    """A glob as it is; anything else parsed, so that a unit given twice is seen to be one."""
    return one if isinstance(one, str) and "*" in one else unit(one)


def _computed(carried: Carried) -> bool:
    return isinstance(carried, str) and carried == COMPUTED


def _told(carried: Carried) -> str:
    if isinstance(carried, np.ndarray):
        return "labels"
    return carried if isinstance(carried, str) else " + ".join(carried)


def _codes(rows: Batch, carried: Carried, n: int) -> np.ndarray:
    """One number a row ``[n]``, equal where the rows agree on a feature."""
    names = (carried,) if isinstance(carried, str | np.ndarray) else carried
    columns = [np.zeros(n, dtype=int)]
    known = {"triggered": rows.triggered, "truth": rows.truth, "answer": rows.answer}
    known |= {**rows.groups} | ({"prompt": rows.prompts} if "fact" in rows.groups else {})
    for name in names:
        if isinstance(name, str) and name not in known:
            raise BadLabels(f"feature '{name}'{nearest(name, [*known, COMPUTED])}")
        column = known[name] if isinstance(name, str) else name
        if np.shape(column) != (n,):
            raise BadLabels(f"labels have shape {list(np.shape(column))}; {n} rows need one each")
        columns.append(np.unique(column, return_inverse=True)[1])
    return np.unique(np.stack(columns), axis=1, return_inverse=True)[1].reshape(-1)


def _moved(
    runs: Graph, columns: dict[Unit, np.ndarray], inner: Sequence[Unit], rng: np.random.Generator
) -> tuple[dict[Unit, np.ndarray], list[Unit]]:
    """The features at other units, as far as there are others; at another order of units if not."""
    own = {*columns, *inner}
    outside = [one for one in runs.units if one not in own]
    size = len(own)
    pool = outside if len(outside) >= size else list(runs.units)
    picks = [pool[i] for i in rng.choice(len(pool), size, replace=False)]
    named = dict(zip(picks, columns.values(), strict=False))
    return named, picks[len(named) :]


class _Scrubber:
    """Losses of scrubbed rows."""

    def __init__(
        self, runs: Graph, swap: np.ndarray, within: np.ndarray, expected: np.ndarray
    ) -> None:
        if np.shape(expected) != swap.shape:
            raise BadLabels(f"expected needs a word for each of the {len(swap)} rows of pairs.both")
        self.runs, self.swap, self.within = runs, swap, within
        self.expected = torch.as_tensor(expected)
        self.unedited = self._loss(runs.base_logits)

    def losses(
        self,
        columns: Mapping[Unit, np.ndarray],
        inner: Sequence[Unit],
        draws: int,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean loss ``[row]`` over draws, and whether ``[row]`` the first gave the expected word.

        ``columns``: unit to its feature's codes ``[row]``; ``inner``: units that are computed.
        """
        total, hits = np.zeros(len(self.swap)), None
        for _ in range(draws):
            rows = {}
            for one in self.runs.units:
                if one not in inner:
                    rows[one] = self.swap[_drawn(self._pool(columns.get(one)), rng)]
            logits = self.runs.logits(rows)
            total += self._loss(logits) / draws
            if hits is None:
                hits = (logits.argmax(-1).cpu() == self.expected).numpy()
        assert hits is not None
        return total, hits

    def choices(self, columns: Mapping[Unit, np.ndarray]) -> float:
        """Mean number of rows that agree with a row, itself among them; nan for no columns."""
        sizes = [np.bincount(self._pool(codes))[self._pool(codes)] for codes in columns.values()]
        return float(np.mean(sizes)) if sizes else float("nan")

    def _pool(self, codes: np.ndarray | None) -> np.ndarray:
        if codes is None:
            return self.within
        return np.unique(np.stack([codes, self.within]), axis=1, return_inverse=True)[1].reshape(-1)

    def _loss(self, logits: torch.Tensor) -> np.ndarray:
        words = logits.double().log_softmax(-1).cpu()
        return -words.gather(1, self.expected[:, None])[:, 0].numpy()


def _drawn(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each row a random row ``[n]`` of equal code."""
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    first = np.cumsum(sizes) - sizes
    return order[first[codes] + rng.integers(sizes[codes])]
