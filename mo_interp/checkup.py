"""The check-up behind ``mo-interp doctor``: versions, store, browser, and the hook audit."""

from __future__ import annotations

import importlib.metadata
import shutil
from dataclasses import dataclass
from pathlib import Path

from mo_interp import finding
from mo_interp.audit import audit
from mo_interp.bridge import open_huggingface
from mo_interp.model import Model
from mo_interp.store import Store

PACKAGES = ("torch", "transformer-lens", "sae-lens", "plotly", "safetensors")


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
    spec = finding.load(path)
    rows = [(split, len(spec.pairs(64, 0, split=split))) for split in ("train", "val", "test")]
    told = ", ".join(f"{n} {split} pairs" for split, n in rows)
    found = [Finding(f"{spec.name}: rows", True, told), Finding("key", True, spec.key)]
    return found + _audited(spec.name, Model.build(spec.shape))


def _installation() -> list[Finding]:
    found = [Finding(p, True, importlib.metadata.version(p)) for p in PACKAGES]
    store = Store()
    free = shutil.disk_usage(_existing(store.root)).free / 2**30
    size = store.size() / 2**20 if store.root.exists() else 0.0
    found.append(
        Finding("store", free > 0.5, f"{store.root} ({size:.1f} MiB, {free:.1f} GiB free)")
    )
    runs = Path("runs").resolve()
    size = sum(p.stat().st_size for p in runs.rglob("*") if p.is_file()) / 2**20
    return [*found, Finding("runs", True, f"{runs} ({size:.1f} MiB)")]


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


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
