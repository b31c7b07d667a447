"""What every detector is: a frozen value that is fitted to arrays, and the frozen result.

A detector never sees a model or a data set, only activations ``[n d]`` and what it declares to
need. To write one, make a file with a subclass of :class:`Detector` and an instance of it named
``detector``:

* :meth:`Detector.solve` turns rows (and labels, where they are needed) into named constants;
* :meth:`Detector.read` scores rows with those constants, higher meaning more suspicious;
* :meth:`Detector.direction` gives the one direction that a linear detector reads.

Everything is numpy in float64, so that fitting twice gives the same bytes. A :class:`Fitted` holds
every constant, normalisation included, and is saved as safetensors and JSON with checksums.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from mo_interp.errors import BadLabels, BadShape, BadValues, NoFeature
from mo_interp.sites import Site
from mo_interp.store import write_json, write_manifest

if TYPE_CHECKING:
    from mo_interp.features import Feature

Array = NDArray[Any]
Constants = Mapping[str, Array]
Needs = Literal["nothing", "clean", "labels", "pairs", "twin", "statements"]

ARTEFACT = ("detector", "fitted")
"""Name and key that the manifest of a saved detector carries."""
CONSTANTS, ABOUT = "constants.safetensors", "detector.json"


def as_rows(acts: Any, what: str = "acts") -> Array:
    """Activations (torch or numpy) as float64 ``[n d]``.

    Raises BadShape for other than two axes, BadLabels for no rows, BadValues for NaN or infinity.
    """
    if hasattr(acts, "detach"):
        acts = acts.detach().cpu().double().numpy()
    try:
        x = np.asarray(acts, dtype=np.float64)
    except (TypeError, ValueError) as err:
        raise BadValues(f"{what}: not an array of numbers ({err})") from err
    if x.ndim != 2 or x.shape[1] == 0:
        raise BadShape(
            f"{what}: shape {list(x.shape)}; [rows, coordinates] is needed, "
            "so read a site at one position"
        )
    if len(x) == 0:
        raise BadLabels(f"{what}: empty; at least one row is needed")
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        raise BadValues(
            f"{what}: {int(bad.sum())} of {len(x)} rows hold a NaN or an infinity, "
            f"the first is row {int(bad.argmax())}"
        )
    return x


def as_labels(y: Any, n: int, what: str = "y") -> Array:
    """Labels as bool ``[n]`` of which both kinds occur; BadLabels otherwise."""
    if hasattr(y, "detach"):
        y = y.detach().cpu().numpy()
    given = np.asarray(y)
    if given.ndim != 1 or len(given) != n:
        raise BadLabels(f"{what}: shape {list(given.shape)}; [{n}] is needed, one label per row")
    odd = ~np.isin(given, (0, 1))
    if odd.any():
        raise BadLabels(
            f"{what}: row {int(odd.argmax())} is {given[odd][0]}; True or False is needed"
        )
    labels = given.astype(bool)
    if labels.all() or not labels.any():
        raise BadLabels(f"{what}: all {n} rows are {bool(labels[0])}; both classes are needed")
    return labels


@dataclass(frozen=True)
class Detector(ABC):
    """A way of reading activations. Its fields are its hyperparameters; it knows no data."""

    needs: ClassVar[Needs]
    """What it may see: ``clean`` gets clean rows only, ``labels`` rows and labels."""
    paper: ClassVar[str] = ""
    """Where it comes from."""
    null_draws: ClassVar[int] = 200
    """Refits for the label null of a run; fewer where a fit takes its time."""

    @property
    def name(self) -> str:
        """The file it is defined in, which is its key in the registry."""
        return type(self).__module__.rpartition(".")[2]

    def fit(self, acts: Any, y: Any = None, *, site: Site | str | None = None) -> Fitted:
        """Fit to rows ``[n d]``, with labels ``y [n]`` (True = positive) where they are needed.

        Raises BadLabels for labels that are missing, not wanted, of one class or of another
        length, BadValues for NaN, BadShape for other than ``[n d]``.
        """
        x = as_rows(acts)
        if self.needs != "labels" and y is not None:
            raise BadLabels(
                f"{self.name} needs {self.needs}: it is fitted without labels, so "
                "give the rows it may see and no y"
            )
        if self.needs == "labels" and y is None:
            raise BadLabels(f"{self.name} needs labels: give y, one label per row")
        labels = None if y is None else as_labels(y, len(x))
        fitted = Fitted(self, self.solve(x, labels), width=x.shape[1])
        return fitted if site is None else fitted.at(site)

    @abstractmethod
    def solve(self, x: Float[np.ndarray, "n d"], y: Any) -> dict[str, Array]:
        """Every constant that a score needs, by name.

        Checked rows come in, and labels ``[n]``, which are None unless labels are needed. A linear
        detector also gives ``clean_mean`` and ``triggered_mean`` ``[d]``.
        """

    @abstractmethod
    def read(self, constants: Constants, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """Scores of rows; higher means more like a positive row, or more anomalous."""

    def direction(self, constants: Constants) -> Array | None:
        """The direction ``[d]`` of raw activation space that is read; None if not linear."""
        return None

    def score_many(
        self,
        x: Float[np.ndarray, "n d"],
        labels: Float[np.ndarray, "m n"],
        test: Float[np.ndarray, "t d"],
    ) -> Float[np.ndarray, "m t"]:
        """Scores of ``test`` after each of ``m`` refits, one per row of ``labels`` (1.0 or 0.0).

        One refit after another here; detectors that can do all at once override it.
        """
        return np.stack([self.read(self._refit(x, row > 0.5), test) for row in labels])

    def _refit(self, x: Array, y: Array) -> Constants:
        if self.needs == "labels":
            return self.solve(x, y)
        return self.solve(x if self.needs == "nothing" else x[~y], None)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted detector: frozen, and complete in itself."""

    detector: Detector
    """What was fitted, with its hyperparameters."""
    constants: Constants
    """Every fitted number, normalisation included."""
    width: int
    """Coordinates of the rows it was fitted to."""
    site: Site | None = None
    """Where the rows were read."""

    def __post_init__(self) -> None:
        """Own and freeze every array."""
        held = {k: np.array(v, dtype=np.float64) for k, v in self.constants.items()}
        for array in held.values():
            array.flags.writeable = False
        object.__setattr__(self, "constants", MappingProxyType(held))

    def score(self, acts: Any) -> Float[np.ndarray, " n"]:
        """Scores of rows ``[n d]``; higher means more like a positive row, or more anomalous.

        Raises BadShape for rows of another width, and what :func:`as_rows` raises.
        """
        x = as_rows(acts)
        if x.shape[1] != self.width:
            raise BadShape(
                f"acts: {x.shape[1]} coordinates; {self.detector.name} was fitted to "
                f"rows of {self.width}"
            )
        return self.detector.read(self.constants, x)

    def feature(self) -> Feature | None:
        """The direction that is read, as a Feature of rank 1; None for a nonlinear detector.

        The direction is the read-out in raw activation space, scaled to length 1, and it is also
        what an edit writes. Raises NoFeature without a site, or where no direction was found.
        """
        if self.site is None:
            raise NoFeature(
                f"{self.detector.name} was fitted without a site, so its direction "
                "lies nowhere; fit(..., site='L1.resid_post@-1') says where"
            )
        direction = self.detector.direction(self.constants)
        if direction is None:
            return None
        if not np.any(direction):
            raise NoFeature(
                f"{self.detector.name} at '{self.site}' found no direction: the "
                "classes have equal means"
            )
        return _as_feature(self, direction)

    def at(self, site: Site | str) -> Fitted:
        """The same, said to have been read at ``site``."""
        return replace(self, site=Site.parse(site))

    def save(self, folder: str | Path) -> Path:
        """Write constants (safetensors), description (JSON) and checksums into ``folder``.

        :func:`mo_interp.detectors.load` reads it again.
        """
        from safetensors.numpy import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {k: np.ascontiguousarray(v) for k, v in self.constants.items()}, folder / CONSTANTS
        )
        about = {
            "schema": 1,
            "detector": self.detector.name,
            "width": self.width,
            "hyperparameters": asdict(self.detector),
            "site": None if self.site is None else str(self.site),
        }
        write_json(folder / ABOUT, about)
        write_manifest(folder, *ARTEFACT)
        return folder


def _as_feature(fitted: Fitted, direction: Array) -> Feature:
    import torch

    from mo_interp.features import from_basis

    clean, triggered = (
        torch.as_tensor(np.array(fitted.constants[name]), dtype=torch.float32)[None]
        for name in ("clean_mean", "triggered_mean")
    )
    basis = torch.as_tensor(direction / np.linalg.norm(direction))
    assert fitted.site is not None
    source = fitted.detector.name
    return from_basis(fitted.site, basis, clean=clean, triggered=triggered, source=source)
