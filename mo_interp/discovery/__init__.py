"""Trigger discovery: searchers that look for a trigger that nobody has named, one file each.

=============  =================================================================================
random_search  words at random, kept if they drive the model from its own answer: the baseline
sweep          every single word in every place: the baseline to beat where it can be paid
gradient       the words that the slope promises (HotFlip, GCG), one and then two
entropy        words after which the model says one thing, whatever it is asked
perplexity     words after which it says what a reference finds unlikely, where nothing is asked
outliers       words of unlabelled prompts whose activations are unusual
=============  =================================================================================

The folder is the registry: a file that assigns ``searcher``, an instance of a
:class:`~mo_interp.discovery.base.Searcher`, is found by its name; further ones in the folders of
``MO_INTERP_PATH`` and their ``discovery/`` subfolders, or by path. To change a setting,
``dataclasses.replace(searcher("gradient"), rows=8)``.

    faced = suspect(spec, model, reference=twin)
    found = searcher("gradient").search(faced, seed=0, budget=1024)
    score_discovery(spec, found.candidates).rank
"""

from __future__ import annotations

import importlib
from pathlib import Path

from mo_interp.discovery.base import Candidate, Found, Searcher, Seen, Suspect, Texts
from mo_interp.discovery.facing import suspect
from mo_interp.discovery.planted import fires
from mo_interp.discovery.scoring import Score, discover, score_discovery
from mo_interp.errors import SpecError, UnknownName, nearest
from mo_interp.finding import extra_folders, files, module

__all__ = [
    "Candidate",
    "Found",
    "Score",
    "Searcher",
    "Seen",
    "Suspect",
    "Texts",
    "discover",
    "fires",
    "names",
    "score_discovery",
    "searcher",
    "suspect",
]

_HERE = Path(__file__).parent


def names() -> list[str]:
    """Keys of every searcher that can be found: the shipped ones, then ``MO_INTERP_PATH``."""
    return list(_files())


def searcher(name_or_path: str | Path) -> Searcher:
    """The searcher of a key, or of a path to a ``.py`` file.

    Raises UnknownName where there is none, SpecError where the file defines no ``searcher``.
    """
    text = str(name_or_path)
    known = _files()
    path = Path(text) if text.endswith(".py") else known.get(text)
    if path is None or not path.is_file():
        raise UnknownName(f"searcher '{text}'{nearest(Path(text).stem, known)}")
    inside = path.resolve().parent == _HERE
    defined = importlib.import_module(f"{__name__}.{path.stem}") if inside else module(path)
    found = getattr(defined, "searcher", None)
    if not isinstance(found, Searcher):
        raise SpecError(
            f"'{path.name}' defines no searcher; it needs a line such as "
            "`searcher = MySearcher()`, of a subclass of mo_interp.discovery.Searcher"
        )
    return found


def _files() -> dict[str, Path]:
    """Key to file; the first of equal keys counts."""
    folders = [part for extra in extra_folders() for part in (extra, extra / "discovery")]
    return files([_HERE, *folders], "searcher")
