"""Finding: a folder is a registry, and a file says what it holds by the name it assigns.

An organism's file assigns ``organism``, a detector's file ``detector``. Shipped folders come first,
then those of ``$MO_INTERP_PATH``; a path to a ``.py`` file works wherever a name does. What a file
assigns is read from its syntax tree, so that listing a folder runs nothing.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from mo_interp.errors import MoInterpError, SpecError, UnknownName, nearest
from mo_interp.modifiers import apply, named
from mo_interp.organism import Organism

ORGANISMS = Path(__file__).parent / "organisms"


def extra_folders() -> list[Path]:
    """The folders of ``$MO_INTERP_PATH``."""
    return [Path(p) for p in os.environ.get("MO_INTERP_PATH", "").split(os.pathsep) if p]


def files(folders: Iterable[Path], what: str) -> dict[str, Path]:
    """Name to file of everything that assigns ``what``; the first of equal names counts."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("[a-z]*.py")):
            if path.stem not in found and defines(path, what):
                found[path.stem] = path
    return found


def defines(path: str | Path, what: str) -> bool:
    """Whether a file assigns ``what`` at its top level; seen without running it."""
    path = Path(path)
    return path.is_file() and what in _assigned(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _assigned(path: Path, mtime: int) -> frozenset[str]:
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (SyntaxError, UnicodeDecodeError):
        return frozenset()
    plain = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    typed = [node.target for node in body if isinstance(node, ast.AnnAssign)]
    return frozenset(t.id for t in (*plain, *typed) if isinstance(t, ast.Name))


def module(path: str | Path) -> ModuleType:
    """A person's own file as a module, run once per version of the file.

    Raises SpecError for a file that does not run; the cause is chained.
    """
    path = Path(path).resolve()
    return _run(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _run(path: Path, mtime: int) -> ModuleType:
    name = f"mo_interp_files.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    try:
        spec.loader.exec_module(made)
    except MoInterpError:
        raise
    except Exception as problem:
        told = f"{path.name} does not run: {type(problem).__name__}: {problem}"
        raise SpecError(told) from problem
    return made


def names() -> list[str]:
    """Names of all organisms that can be found."""
    return list(_organisms())


def _organisms() -> dict[str, Path]:
    return files([ORGANISMS, *extra_folders()], "organism")


def load(name: str | Path) -> Organism:
    """The organism of a name, or of a path to a file that assigns ``organism``.

    Either may be followed by modifiers: ``quirky_user+posthoc``, ``mine.py+dilution=4``.

    Raises:
        UnknownName: no such name, file or modifier; the message gives the nearest.
        SpecError: the file assigns no organism, or a modifier does not fit it.
    """
    text, words = (str(name), ()) if Path(name).is_file() else named(str(name))
    return apply(_plain(text), *words)


def _plain(text: str) -> Organism:
    if not text.endswith(".py"):
        found = _organisms()
        if text not in found:
            raise UnknownName(f"organism '{text}'{nearest(text, found)}")
        text = str(found[text])
    if not Path(text).is_file():
        raise UnknownName(f"no file '{text}'; give a name from `mo-interp list` or a .py file")
    organism = getattr(module(text), "organism", None)
    if not isinstance(organism, Organism):
        raise SpecError(f"{Path(text).name} defines no `organism = Organism(...)`")
    return organism
