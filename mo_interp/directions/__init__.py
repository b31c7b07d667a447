"""Directions: instruments that end in a subspace at a site, one file each.

==========  ====================================================================================
pair_svd    the top right-singular directions of the pair differences
leace       the smallest affine change after which no linear classifier finds the trigger
das         a rotation learned by interchange: distributed alignment search
neurons     the neurons whose outputs differ most between the partners of a pair
latents     latents of a trained SAE (it has to be given, so it is not in the registry)
==========  ====================================================================================

The folder is the registry: a file that assigns ``direction``, a function of the form of
:class:`Find`, is found by its name. All of them return a :class:`~mo_interp.features.Feature`,
which says nothing until :mod:`mo_interp.judge` has cut it out.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol

from mo_interp.errors import UnknownName, nearest
from mo_interp.features import Feature
from mo_interp.finding import files
from mo_interp.model import Model
from mo_interp.sites import Site
from mo_interp.worlds.base import Pairs

_HERE = Path(__file__).parent


class Find(Protocol):
    """What a file of this folder assigns to ``direction``."""

    def __call__(
        self, model: Model, pairs: Pairs, site: Site | str, *, rank: int = 1, seed: int = 0
    ) -> Feature:
        """A feature of that rank at a site, from the pairs of the train split."""
        ...


def names() -> list[str]:
    """Every instrument of this folder that needs a model and pairs alone."""
    return list(files([_HERE], "direction"))


def direction(name: str) -> Find:
    """The instrument of a name; raises :class:`UnknownName` with the nearest one."""
    if name not in names():
        raise UnknownName(f"direction '{name}'{nearest(name, names())}")
    return importlib.import_module(f"{__name__}.{name}").direction
