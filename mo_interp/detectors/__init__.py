"""Detectors: one file each, and the folder is the registry.

A file's name is the detector's key, and the file defines ``detector``, an instance of a
:class:`~mo_interp.detectors.base.Detector`. Further files are found in the folders of
``MO_INTERP_PATH`` and in their ``detectors/`` subfolders, or given by path. To change a
hyperparameter, ``dataclasses.replace(detector("logistic"), l2=0.1)``.
"""

from __future__ import annotations

import importlib
from dataclasses import fields, replace
from pathlib import Path

from mo_interp.detectors.base import ABOUT, ARTEFACT, CONSTANTS, Detector, Fitted, Needs
from mo_interp.errors import CorruptArtefact, SpecError, UnknownName, nearest
from mo_interp.finding import extra_folders, files, module
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
        found = _files()
        if text not in found:
            raise UnknownName(f"detector '{text}'{nearest(text, found)}")
        return _defined_in(found[text])
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


def _files() -> dict[str, Path]:
    """Key to file; the first of equal keys counts."""
    folders = [part for extra in extra_folders() for part in (extra, extra / "detectors")]
    return files([_HERE, *folders], "detector")


def _defined_in(path: Path) -> Detector:
    path = path.resolve()
    if path.parent == _HERE:
        defined = importlib.import_module(f"{__name__}.{path.stem}")
    else:
        defined = module(path)
    found = getattr(defined, "detector", None)
    if not isinstance(found, Detector):
        raise SpecError(
            f"'{path.name}' defines no detector; it needs a line such as "
            "`detector = MyDetector()`, of a subclass of mo_interp.detectors.Detector"
        )
    return found
