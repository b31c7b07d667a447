"""The error classes: each message says what was given, what would be right, and the nearest name.

Every error a person can cause derives from :class:`MoInterpError` and carries one readable line;
the command line prints that line and nothing else. :func:`nearest` writes the last part of such a
line: the closest valid name where one is close, else the valid names.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BadLabels",
    "BadRank",
    "BadShape",
    "BadSite",
    "BadValues",
    "CorruptArtefact",
    "DeadEdit",
    "LeakySplit",
    "MoInterpError",
    "NoBrowser",
    "NoFeature",
    "NotExportable",
    "SpecError",
    "StoreBusy",
    "StoreUnwritable",
    "UnknownName",
    "nearest",
]

_SHOWN = 12


class MoInterpError(Exception):
    """Base of every error this package raises on purpose: one readable line."""


class UnknownName(MoInterpError):
    """A name (organism, detector, figure, verb ...) that nothing answers to."""


class BadSite(MoInterpError):
    """A site that does not parse, or that the model at hand does not have or offer."""


class DeadEdit(MoInterpError):
    """An edit that never fired or changed no row, and was not declared an identity."""


class BadShape(MoInterpError):
    """An array, or a model's shape, whose sizes do not fit together."""


class BadLabels(MoInterpError):
    """Labels that are empty, of one class, of the wrong length, or not asked for."""


class BadValues(MoInterpError):
    """Numbers that cannot be worked on: NaN, infinite, or outside their range."""


class BadRank(MoInterpError):
    """A subspace rank below one or above what the space or the rows allow."""


class LeakySplit(MoInterpError):
    """A train/test split in which a group (entity, fact, layout) sits on both sides."""


class CorruptArtefact(MoInterpError):
    """A stored file that is truncated, edited, missing or not listed in its manifest."""


class StoreBusy(MoInterpError):
    """Another process holds the lock of the same artefact for longer than was allowed."""


class StoreUnwritable(MoInterpError):
    """The store's disk is full, read-only or closed to this user."""


class NotExportable(MoInterpError):
    """A model whose shape the wanted format cannot express; the message names the field."""


class SpecError(MoInterpError):
    """An organism's specification, or a file that should hold one, that contradicts itself."""


class NoFeature(MoInterpError):
    """A feature was asked of something that cannot give one (no site, or not linear)."""


class NoBrowser(MoInterpError):
    """A static image was asked for and no Chrome is installed to draw it."""


def nearest(given: str, options: Iterable[str]) -> str:
    """The tail of an error message: the closest of ``options``, or what there is.

    Returns ``"; did you mean 'x'?"`` where one option is close to ``given`` (case aside), else
    ``"; there is: a, b, c"`` (at most 12, in their own order), else ``"; there is none"``.
    """
    names = list(dict.fromkeys(str(o) for o in options))
    by_lower = {name.lower(): name for name in reversed(names)}
    close = difflib.get_close_matches(str(given).lower(), list(by_lower), n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{by_lower[close[0]]}'?"
    if not names:
        return "; there is none"
    more = f", ... ({len(names) - _SHOWN} more)" if len(names) > _SHOWN else ""
    return "; there is: " + ", ".join(names[:_SHOWN]) + more
