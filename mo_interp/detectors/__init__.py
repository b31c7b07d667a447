"""Detectors: one file each, and the folder is the registry.

A file's name is the detector's key, and the file defines ``detector``, an instance of a
:class:`~mo_interp.detectors.base.Detector`. Further files are found in the folders of
``MO_INTERP_PATH`` and in their ``detectors/`` subfolders, or given by path. To change a
hyperparameter, ``dataclasses.replace(detector("logistic"), l2=0.1)``.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType

from mo_interp.detectors.base import ABOUT, ARTEFACT, CONSTANTS, Detector, Fitted, Needs
from mo_interp.errors import CorruptArtefact, SpecError, UnknownName, nearest
from mo_interp.store import read_json, verify

__all__ = ["Detector", "Fitted", "Needs", "detector", "load", "names"]

_HERE = Path(__file__).parent


def names() -> list[str]:
    """Keys of every detector that can be found: the shipped ones, then ``MO_INTERP_PATH``."""
    return list(_files())


def detector(name_or_path: str | Path) -> Detector:
    """The detector of a key, or of a path to a ``.py`` file.

    Raises UnknownName where there is none, SpecError where the file defines no ``detector``.
    """
    text = str(name_or_path)
    if not text.endswith(".py"):
        files = _files()
        if text not in files:
            raise UnknownName(f"detector '{text}'{nearest(text, files)}")
        return _defined_in(files[text])
    if not Path(text).is_file():
        raise UnknownName(f"detector '{text}': no such file{nearest(Path(text).stem, names())}")
    return _defined_in(Path(text))


_known = detector  # for `load`, whose argument has the same name


def load(folder: str | Path, *, detector: Detector | None = None) -> Fitted:
    """The fitted detector that :meth:`Fitted.save` wrote, after its checksums were verified.

    Args:
        folder: where it was saved.
        detector: what reads the constants, for one that is not in the registry; its
            hyperparameters are replaced by the saved ones.

    Raises CorruptArtefact for anything truncated, edited or added, UnknownName for a detector
    that is not there.
    """
    from safetensors.numpy import load_file

    folder = Path(folder)
    verify(folder, *ARTEFACT)
    about = read_json(folder / ABOUT)
    if about["schema"] != 1:
        raise CorruptArtefact(f"'{folder}': schema {about['schema']}; this version reads 1")
    found = _known(about["detector"]) if detector is None else detector
    known = {field.name for field in fields(found)}
    if set(about["hyperparameters"]) != known:
        raise CorruptArtefact(
            f"'{folder}': hyperparameters {sorted(about['hyperparameters'])}; "
            f"{found.name} has {sorted(known)}"
        )
    fitted = Fitted(
        replace(found, **about["hyperparameters"]),
        load_file(folder / CONSTANTS),
        width=about["width"],
    )
    return fitted if about["site"] is None else fitted.at(about["site"])


def _folders() -> Iterator[Path]:
    yield _HERE
    for extra in filter(None, os.environ.get("MO_INTERP_PATH", "").split(os.pathsep)):
        yield from (Path(extra), Path(extra) / "detectors")


def _files() -> dict[str, Path]:
    """Key to file; the first of equal keys counts."""
    found: dict[str, Path] = {}
    for folder in _folders():
        for path in sorted(folder.glob("[a-z]*.py")):
            if path.stem not in found and _defines(path, path.stat().st_mtime_ns):
                found[path.stem] = path
    return found


@functools.lru_cache(maxsize=256)
def _defines(path: Path, mtime: int) -> bool:
    """Whether a file assigns ``detector`` at its top level; seen without running it."""
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (SyntaxError, UnicodeDecodeError):
        return False
    plain = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    typed = [node.target for node in body if isinstance(node, ast.AnnAssign)]
    return any(isinstance(t, ast.Name) and t.id == "detector" for t in (*plain, *typed))


def _defined_in(path: Path) -> Detector:
    path = path.resolve()
    if path.parent == _HERE:
        module = importlib.import_module(f"{__name__}.{path.stem}")
    else:
        module = _run(path, path.stat().st_mtime_ns)
    found = getattr(module, "detector", None)
    if not isinstance(found, Detector):
        raise SpecError(
            f"'{path.name}' defines no detector; it needs a line such as "
            "`detector = MyDetector()`, of a subclass of mo_interp.detectors.Detector"
        )
    return found


@functools.lru_cache(maxsize=64)
def _run(path: Path, mtime: int) -> ModuleType:
    """A person's own file as a module; once per version of the file."""
    name = f"mo_interp_files.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
