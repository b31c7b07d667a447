"""The check-up behind ``mo-interp doctor``: what is installed, the store, and the hook audit.

Versions and optional extras, threads, Chrome, folders with their room, every artefact of the store
against its checksums, and every site of every body. What is missing but optional is no fault.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mo_interp import detectors, finding, growing
from mo_interp.audit import audit
from mo_interp.bridge import open_huggingface
from mo_interp.detectors import Detector, detector
from mo_interp.errors import BadLabels, BadValues, CorruptArtefact
from mo_interp.model import Model
from mo_interp.organism import Organism
from mo_interp.store import Store

PACKAGES = ("mo_interp", "torch", "transformer-lens", "sae-lens", "plotly", "safetensors", "click")
EXTRAS = {
    "export": ("kaleido", "figures as SVG, PDF and PNG"),
    "code": ("bandit", "judging what vulnerable_code writes"),
    "notebooks": ("jupyterlab", "the notebooks"),
    "docs": ("sphinx", "building docs/"),
}
"""Extra to a package that tells it is there, and what it is for."""
LEDGER = "gates"
"""Folder of the store that holds sealed records instead, which are checked when they are read."""
ROOM = 0.5
"""GiB that must be free."""


@dataclass(frozen=True)
class Finding:
    """One line of the check-up."""

    what: str
    good: bool
    found: str


def examine(path: str | None = None) -> list[Finding]:
    """Check the installation, or the organism's file or Hugging Face folder at ``path``."""
    if path is None:
        return [*_installation(), *_bodies()]
    if Path(path).is_dir():
        return _audited(Path(path).name, open_huggingface(path))
    if path in detectors.names() and path not in finding.names():
        return _detector(detector(path))
    found = _detector(detector(path)) if finding.defines(path, "detector") else []
    if found and not finding.defines(path, "organism"):
        return found
    spec = finding.load(path)
    found += _rows(spec)
    return found + _audited(spec.name, Model.build(spec.shape))


def _rows(spec: Organism) -> list[Finding]:
    """What every organism's rows must be: pure in the seed, paired, with near misses."""
    one, two = (spec.sample(512, 1, split="train", withhold=True) for _ in range(2))
    same = np.array_equal(one.tokens, two.tokens) and np.array_equal(one.answer, two.answer)
    counts = [int((one.near_miss == i + 1).sum()) for i in range(len(one.kinds))]
    kinds = ", ".join(f"{kind} {n}" for kind, n in zip(one.kinds, counts, strict=True))
    pairs = {split: len(spec.pairs(64, 0, split=split)) for split in ("train", "val", "test")}
    departs = spec.lie(one)[one.triggered] != one.truth[one.triggered]
    return [
        Finding(f"{spec.name}: rows", same, "equal seeds give equal rows"),
        Finding(f"{spec.name}: near misses", all(counts), f"of 512 rows: {kinds}"),
        Finding(f"{spec.name}: pairs", True, f"{pairs}, differing only at the trigger"),
        Finding(
            f"{spec.name}: lies", bool(departs.any()), f"{departs.mean():.0%} of triggered rows"
        ),
        Finding(f"{spec.name}: key", True, spec.key),
    ]


def _detector(one: Detector) -> list[Finding]:
    """What every detector must do: fit alike twice, score every row, refuse what it may not see."""
    rng = np.random.default_rng(0)
    y = np.arange(128) % 2 == 1
    rows, told = _arranged(one, rng.standard_normal((128, 8)) + 2.0 * y[:, None], y)
    fits = [one.fit(rows, told) for _ in range(2)]
    scores = [np.asarray(fit.score(rows)) for fit in fits]
    same = bool((scores[0] == scores[1]).all())
    finite = scores[0].shape == (len(rows),) and bool(np.isfinite(scores[0]).all())
    broken = np.where(np.arange(rows.shape[1]) == 3, np.nan, rows)
    found = [
        Finding(f"{one.name}: fit", same, "twice the same rows, twice the same scores"),
        Finding(f"{one.name}: score", finite, "one finite number a row"),
        _refuses(one, "NaN", broken, told, BadValues),
    ]
    if told is None:
        labels = np.arange(len(rows)) % 2 == 1
        return [*found, _refuses(one, "labels", rows, labels, BadLabels)]
    return [*found, _refuses(one, "one class", rows, np.zeros(128, bool), BadLabels)]


def _arranged(one: Detector, acts: np.ndarray, y: np.ndarray):
    """Rows as :mod:`mo_interp.feeding` would arrange them, and labels where they may be seen."""
    if one.needs == "labels":
        return acts, y
    if one.needs == "clean":
        return acts[~y], None
    if one.needs == "twin":
        return np.hstack([acts, acts[::-1]]), None
    if one.needs in ("pairs", "statements"):
        return np.concatenate([acts[~y], acts[y]]), None
    return acts, None


def _refuses(one: Detector, what: str, acts, y, error: type[Exception]) -> Finding:
    try:
        one.fit(acts, y)
    except error as told:
        return Finding(f"{one.name}: refuses {what}", True, str(told))
    return Finding(
        f"{one.name}: refuses {what}", False, f"fitted, and should raise {error.__name__}"
    )


def _installation() -> list[Finding]:
    found = [Finding("python", True, f"{platform.python_version()} on {platform.platform()}")]
    found += [Finding(p, True, importlib.metadata.version(p)) for p in PACKAGES]
    found += [_extra(name, *told) for name, told in EXTRAS.items()]
    store, runs = Store(), Path("runs").resolve()
    size = store.size() if store.root.exists() else 0
    found += [_threads(), _room("store", store.root, size)]
    size = sum(p.stat().st_size for p in runs.rglob("*") if p.is_file())
    return [*found, _room("runs", runs, size), *_artefacts(store)]


def _extra(name: str, package: str, use: str) -> Finding:
    """Whether an optional extra is there, which it need not be."""
    try:
        told = f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        told = f"not installed; `pip install 'mo_interp[{name}]'` is for {use}"
    return Finding(f"extra: {name}", True, told)


def _threads() -> Finding:
    import torch

    cores, asked = os.cpu_count() or 1, os.environ.get("OMP_NUM_THREADS", "not set")
    told = f"{torch.get_num_threads()} of {cores} cores (OMP_NUM_THREADS {asked})"
    return Finding("threads", True, told)


def _room(what: str, folder: Path, size: int) -> Finding:
    """Where something is written: its size, the room there, and whether one may write."""
    free = growing.free(folder) / 2**30
    writable = os.access(growing.existing(folder), os.W_OK)
    told = f"{folder} ({size / 2**20:.1f} MiB, {free:.1f} GiB free)"
    if not writable:
        told += "; it cannot be written: set MO_INTERP_HOME, or go to another folder"
    elif free < ROOM:
        told += f"; less than {ROOM} GiB is free"
    return Finding(what, writable and free >= ROOM, told)


def _artefacts(store: Store) -> list[Finding]:
    """Every artefact of the store against its checksums: one line, and one for each damaged."""
    bad, entries = [], [e for e in store.entries() if e.name != LEDGER]
    for entry in entries:
        try:
            store.open(entry.name, entry.key)
        except CorruptArtefact as problem:
            bad.append(Finding(f"artefact: {entry.name}", False, str(problem)))
    told = f"{len(entries) - len(bad)} of {len(entries)} artefacts are as they were written"
    return [Finding("store: checksums", not bad, told), *bad]


def chrome(path: str | None) -> Finding:
    """The browser that draws static figures, which need not be there."""
    without = "none: figures come as HTML and JSON; install chromium for SVG, PDF and PNG"
    return Finding("browser", True, path or without)


def _bodies() -> list[Finding]:
    found = []
    for name in finding.names():
        found += _audited(name, Model.build(finding.load(name).shape))
    return found


def _audited(name: str, model: Model) -> list[Finding]:
    """Which sites of a body are sound, in one line, and one for each that is not."""
    reports = audit(model)
    bad = [r for r in reports if not r.sound]
    told = f"{len(reports) - len(bad)} of {len(reports)} sites sound"
    lines = [Finding(f"{name}: hook audit", not bad, told)]
    return lines + [Finding(f"{name}: {r.site}", False, str(r)) for r in bad]
