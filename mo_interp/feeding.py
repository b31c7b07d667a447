"""What each detector is handed: rows arranged as its ``needs`` says, and no more.

:func:`mo_interp.detection.score_detector` feeds rows, clean rows, and rows with labels. Here the
other needs are put into that form, so that every detector passes the same controls:

* ``nothing``: unlabelled rows in which triggers are rare, one of ten of those there are, since a
  detector that looks for the odd ones out supposes that they are few;
* ``pairs``: rows ``i`` and ``i + n/2`` as partners, the clean one first. Under permuted labels a
  pair is kept where its two labels differ, and turned the way they say;
* ``twin``: clean rows of the organism with the same rows of the twin beside them, ``[n 2d]``. On
  the twin itself, the twin beside itself. Under the cut, the twin under the same cut where it
  shares weights: or else what the cut takes of the trigger's text, which the twin has too, would
  count as a distance;
* ``statements``: generic statements in place of the train rows, the honest side first. Their labels
  say which side, and nothing of the trigger.

What rows are of is a second matter, which a detector declares as ``reads``:

* ``rows`` (or nothing): a site at one position;
* ``positions``: a site at every position, end to end ``[n p*d]``, as the evidence holds it; the
  detector's field ``positions`` is set to how many there are;
* ``latents``: a site at one position, through the encoder of the run's dictionary. Controls, random
  directions among them, see the activations that everyone sees; the fitted detector keeps the
  encoder. Without an encoder the coordinates themselves are the units. Beside its numbers stand
  those of :data:`DICTIONARIES` random dictionaries as wide and as sparse, refitted each
  (``random_dictionary_median``, ``_p95``, ``_best``, ``_n``): that a few of many units can be
  chosen is an advantage which no random direction has. The sentence goes by directions all the
  same, as EVIDENCE has it.

Other detectors pass through unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np

from mo_interp.detection import Evidence, Rows, Scored, best_site, score_detector
from mo_interp.detectors.base import Array, Constants, Detector, Needs, as_rows
from mo_interp.detectors.sae_latent import encode, encoded_fit, random_encoders
from mo_interp.errors import SpecError, nearest
from mo_interp.stats import auroc
from mo_interp.worlds.base import Batch

__all__ = ["RARE", "Extra", "choose", "claims", "fed", "reads", "score", "thinned"]

READS = ("rows", "positions", "latents")
DICTIONARIES = 49
"""Random dictionaries beside a detector of latents."""
RARE = 10
"""Of the triggered rows, one in this many is among the unlabelled ones."""


@dataclass(frozen=True, eq=False)
class Extra:
    """What some needs ask for beside the evidence."""

    statements: Rows | None = None
    """Generic statements of train people; ``triggered`` says which are of the other side."""
    unrelated_twin: Any = None
    """The unrelated rows ``[u d]`` in the twin."""
    twin_cut: Any = None
    """The test rows ``[t d]`` in the twin with the same parts cut, where it shares weights."""
    positions: int | None = None
    """How many positions lie end to end in the evidence's rows; as the detector says if None."""
    encoder: Mapping[str, Array] | None = None
    """Of the run's dictionary at this site; see :attr:`mo_interp.saes.SAE.encoder`."""


NO_EXTRA = Extra()


def reads(one: Detector) -> str:
    """What a detector's rows are of, which its class says: one of :data:`READS`, ``rows`` if not.

    Raises SpecError for another word.
    """
    said = getattr(one, "reads", "rows")
    if said not in READS:
        raise SpecError(f"detector '{one.name}' reads '{said}'{nearest(said, READS)}")
    return said


def fed(one: Detector, evidence: Evidence, extra: Extra = NO_EXTRA) -> tuple[Detector, Evidence]:
    """A detector and evidence that ``score_detector`` takes, whatever the detector needs.

    Raises SpecError, saying what is missing, where the evidence does not hold it.
    """
    if reads(one) == "positions" and extra.positions is not None:
        one = replace(one, positions=extra.positions)
    if reads(one) == "latents" and extra.encoder is not None:
        return _encoded(one, extra.encoder), evidence
    if one.needs == "nothing":
        return one, replace(evidence, train=thinned(evidence.train))
    if one.needs == "pairs":
        return _Pairs(one), evidence
    if one.needs == "twin":
        return _Beside(one), _beside(one, evidence, extra)
    if one.needs == "statements":
        if extra.statements is None:
            raise SpecError(
                f"detector '{one.name}' needs statements, and this world has none; it can be "
                "fitted where claims are true or false, as in STATEMENT"
            )
        return _Sides(one), replace(evidence, train=extra.statements)
    return one, evidence


def score(
    one: Detector,
    evidence: Evidence,
    extra: Extra = NO_EXTRA,
    *,
    transfer: bool = False,
    null_draws: int = 200,
    directions: int = 1000,
    seed: int = 0,
) -> Scored:
    """As :func:`~mo_interp.detection.score_detector`, for every need; raises SpecError besides."""
    fitter, rows = fed(one, evidence, extra)
    scored = score_detector(
        fitter, rows, transfer=transfer, null_draws=null_draws, directions=directions, seed=seed
    )
    params = {**scored.params, "needs": one.needs, "paper": one.paper}
    own = fitter.inner if isinstance(fitter, _Through) else fitter
    values = dict(scored.values)
    if isinstance(fitter, _Encoded):
        values |= _by_chance(fitter, rows, seed)
    return replace(
        scored, params=params, values=values, fitted=replace(scored.fitted, detector=own)
    )


def _by_chance(fitter: _Encoded, evidence: Evidence, seed: int) -> dict[str, Any]:
    """AUROCs on test rows of the same detector through random dictionaries, a refit each."""
    train, test, label = evidence.train, evidence.test, evidence.label
    y, truth = train.label(label), test.label(label)
    found, seeds = [], ([45, seed, draw] for draw in range(DICTIONARIES))
    for encoder in random_encoders(fitter.encoder, train.acts, seeds):
        fitted = encoded_fit(fitter.inner, encoder, train.acts, y)
        found.append(auroc(fitted.score(test.acts), truth))
    return {
        "random_dictionary_median": float(np.median(found)),
        "random_dictionary_p95": float(np.quantile(found, 0.95)),
        "random_dictionary_best": float(max(found)),
        "random_dictionary_n": DICTIONARIES,
    }


def choose(one: Detector, candidates: Iterable[tuple[Evidence, Extra]]) -> Evidence:
    """As :func:`~mo_interp.detection.best_site`, for every need; the evidence as it was given."""
    given = list(candidates)
    arranged = [fed(one, evidence, extra) for evidence, extra in given]
    fitter = arranged[0][0] if arranged else one
    site = best_site(fitter, [evidence for _, evidence in arranged]).site
    return next(evidence for evidence, _ in given if evidence.site == site)


def _encoded(one: Detector, encoder: Mapping[str, Array]) -> Detector:
    if one.needs != "labels":
        raise SpecError(
            f"detector '{one.name}' reads latents and needs {one.needs}; latents are given to "
            "detectors that need labels"
        )
    return _Encoded(one, encoder)


def claims(batch: Batch) -> Batch | None:
    """As many true as false claims, the true ones first; None in a world without claims."""
    if "honest" not in batch.groups:
        return None
    sides = [np.flatnonzero(batch.groups["honest"] == kind) for kind in (1, 0)]
    n = min(map(len, sides))
    return batch[np.concatenate([side[:n] for side in sides])] if n else None


def thinned(rows: Rows, keep: int = RARE) -> Rows:
    """All clean rows, and of the triggered ones the first of every ``keep``."""
    triggered = rows.triggered.astype(bool)
    return _rows(rows, ~triggered | (triggered & ((np.cumsum(triggered) - 1) % keep == 0)))


def _rows(rows: Rows, kept: Array) -> Rows:
    columns = {field.name: getattr(rows, field.name) for field in fields(rows)}
    taken = {name: of[kept] for name, of in columns.items() if of is not None}
    return replace(rows, **taken)


def _beside(one: Detector, evidence: Evidence, extra: Extra) -> Evidence:
    """The evidence with the twin's activations beside the organism's everywhere."""
    if evidence.unrelated is not None and extra.unrelated_twin is None:
        raise SpecError(
            f"detector '{one.name}' needs the twin beside every row; give Extra.unrelated_twin"
        )
    unrelated = evidence.unrelated
    if unrelated is not None:
        unrelated = np.hstack([unrelated, as_rows(extra.unrelated_twin, "unrelated_twin")])
    return replace(
        evidence,
        train=_doubled(one, evidence.train, "train"),
        test=_doubled(one, evidence.test, "test", extra.twin_cut),
        val=None if evidence.val is None else _doubled(one, evidence.val, "val"),
        near_miss=None
        if evidence.near_miss is None
        else _doubled(one, evidence.near_miss, "near_miss"),
        unrelated=unrelated,
    )


def _doubled(one: Detector, rows: Rows, split: str, twin_cut: Any = None) -> Rows:
    if rows.twin is None:
        raise SpecError(
            f"detector '{one.name}' needs the twin beside every row; {split} rows have none, "
            "so give Rows.twin"
        )
    beside = rows.twin if twin_cut is None else as_rows(twin_cut, "twin_cut")
    return replace(
        rows,
        acts=np.hstack([rows.acts, rows.twin]),
        twin=np.hstack([rows.twin, rows.twin]),
        cut=None if rows.cut is None else np.hstack([rows.cut, beside]),
    )


# ------------------------------------------------------------------- needs, in terms of other needs


@dataclass(frozen=True)
class _Through(Detector):
    """A detector handed rows in a form of our choice; its constants are those of the other."""

    inner: Detector

    @property
    def name(self) -> str:
        """The name of the detector that is handed the rows."""
        return self.inner.name

    def read(self, constants: Constants, x: Array) -> Array:
        """As the detector itself."""
        return self.inner.read(constants, x)

    def direction(self, constants: Constants) -> Array | None:
        """As the detector itself."""
        return self.inner.direction(constants)


@dataclass(frozen=True)
class _Pairs(_Through):
    """Pairs from rows in two halves, and labels that differ between partners."""

    needs: ClassVar[Needs] = "labels"

    def solve(self, x: Array, y: Any) -> dict[str, Array]:
        """The constants from all pairs whose labels differ, the negative partner first."""
        m = len(x) // 2
        differ = np.flatnonzero(y[:m] != y[m : 2 * m]) if 2 * m == len(x) else np.zeros(0, int)
        if not len(differ):  # no partners are opposed: the k-th negative and the k-th positive
            return self.inner.solve(_sides(x, y), None)
        ahead = y[differ]
        first, second = (x[np.where(of, differ + m, differ)] for of in (ahead, ~ahead))
        return self.inner.solve(np.vstack([first, second]), None)


@dataclass(frozen=True, eq=False)
class _Encoded(_Through):
    """Rows through an encoder, which is kept beside the other constants."""

    needs: ClassVar[Needs] = "labels"

    encoder: Mapping[str, Array]

    def solve(self, x: Array, y: Any) -> dict[str, Array]:
        """The constants of the units, and those of the encoder."""
        return {**self.inner.solve(encode(self.encoder, x), y), **self.encoder}

    def score_many(self, x: Array, labels: Array, test: Array) -> Array:
        """As the detector itself, on rows that are encoded once."""
        rows, judged = (encode(self.encoder, of) for of in (x, test))
        return self.inner.score_many(rows, labels, judged)


@dataclass(frozen=True)
class _Sides(_Through):
    """Two sides from rows and labels, as many of the one as of the other."""

    needs: ClassVar[Needs] = "labels"

    def solve(self, x: Array, y: Any) -> dict[str, Array]:
        """The constants from negative rows first, then positive ones."""
        return self.inner.solve(_sides(x, y), None)


@dataclass(frozen=True)
class _Beside(_Through):
    """Clean rows, which have the twin's beside them already."""

    needs: ClassVar[Needs] = "clean"

    def solve(self, x: Array, y: Any) -> dict[str, Array]:
        """The constants, from the clean rows as they are."""
        return self.inner.solve(x, None)


def _sides(x: Array, y: Array) -> Array:
    m = min(int(y.sum()), int((~y).sum()))
    return np.vstack([x[~y][:m], x[y][:m]])
