"""Pair-difference SVD: the top right-singular directions of triggered minus clean, row by row.

The differences are not centred, because their mean is part of what the trigger does. It is the
subspace that the blind decision rule searches with; the arithmetic is that of
:func:`mo_interp.features.from_pairs`.
"""

from __future__ import annotations

from mo_interp.features import Feature, from_pairs
from mo_interp.model import Model
from mo_interp.sites import Site
from mo_interp.worlds.base import Pairs


def find(model: Model, pairs: Pairs, site: Site | str, *, rank: int = 1, seed: int = 0) -> Feature:
    """The subspace of rank ``rank``; nothing in it is random. Raises :class:`BadRank`."""
    return from_pairs(model, pairs, site, rank=rank)


direction = find
