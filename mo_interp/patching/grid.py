"""Which cells there are: the sites that were asked for, times the positions that a grid has.

Shared by everything that makes a :class:`~mo_interp.patching.cells.Sweep`, so that two methods'
results can be held against each other cell by cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from mo_interp.errors import BadShape, BadSite, UnknownName, nearest
from mo_interp.model import Model
from mo_interp.patching.cells import By, Direction
from mo_interp.sites import KINDS, Position, Site
from mo_interp.transformer import Transformer
from mo_interp.worlds.base import Batch, Pairs

DEFAULT = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z")
ROLES = ("trigger", "entity", "relation", "answer")
OTHER = "other"
FEEDS_OTHERS = ("embed", "pos_embed", "resid_pre", "k", "v")
"""Kinds that, in the last block, reach the read-out from other positions."""


def one_of(what: str, given: str, options: object) -> None:
    """Raise :class:`UnknownName` where ``given`` is none of a Literal's options."""
    if given not in get_args(options):
        raise UnknownName(f"{what} '{given}'{nearest(given, get_args(options))}")


def expand(model: Model, sites: str | Site | Iterable[str | Site]) -> tuple[Site, ...]:
    """The sites that kinds, globs and sites name; defaults that a model lacks are left out."""
    asked = [sites] if isinstance(sites, str | Site) else list(sites)
    offered = {site.kind for site in model.sites}
    headed = {site.kind for site in model.sites if site.head is not None}
    if sites is DEFAULT:
        asked = [kind for kind in asked if kind in offered]
    globs = []
    for one in asked:
        if one in KINDS and one not in offered:
            raise BadSite(f"kind '{one}': this model does not offer it{nearest('', offered)}")
        in_layer = one in offered and one not in ("embed", "pos_embed")
        globs.append(f"L*.{'H*.' if one in headed else ''}{one}" if in_layer else one)
    found = model.sites.match(globs)
    if not found:
        raise BadSite("no sites to sweep; give kinds such as 'z', or globs such as 'L*.H*.z@-1'")
    return found


def asked_directions(directions: Direction | Sequence[Direction]) -> tuple[Direction, ...]:
    """Each direction once; raises :class:`UnknownName` for another word."""
    asked: Sequence[Any] = [directions] if isinstance(directions, str) else directions
    for direction in asked:
        one_of("direction", direction, Direction)
    return tuple(dict.fromkeys(asked))


def columns(
    model: Model, pairs: Pairs, sites: str | Site | Iterable[str | Site], by: By
) -> list[tuple[Site, str]]:
    """Sites with their positions, and the positions' labels, in the order of a sweep's cells.

    Raises :class:`BadShape` where there is no pair, and what :func:`expand` raises.
    """
    return [spot for _, spots in placed(model, pairs, sites, by) for spot in spots]


def placed(
    model: Model, pairs: Pairs, sites: str | Site | Iterable[str | Site], by: By
) -> Iterator[tuple[Site, list[tuple[Site, str]]]]:
    """Each site that was asked for, and its :func:`columns`; raises as they do."""
    one_of("by", by, By)
    if not len(pairs):
        raise BadShape("a sweep needs a pair or more")
    places = labels(pairs, by)
    for site in expand(model, sites):
        there = places if site.position is None else [(str(site.position), site.position)]
        # `at` checks anew, so it is not asked for what is there already
        yield site, [(site if site.position == p else site.at(p), name) for name, p in there]


def labels(pairs: Pairs, by: By) -> list[tuple[str, Position]]:
    """What stands over the columns, and the position each means."""
    if by == "all":
        return [("all", None)]
    if by == "position":
        return [(str(p), p) for p in range(pairs.clean.tokens.shape[1])]
    roles = pairs.triggered.roles
    there = [r for r in ROLES if r in roles and (roles[r] >= 0).all()]
    rest = [OTHER] if OTHER in with_other(pairs.triggered).roles else []
    return [(r, r) for r in there + rest]


def with_other(batch: Batch) -> Batch:
    """The batch with a role for the positions that no role of :data:`ROLES` covers.

    Rows with fewer such positions than others repeat one of theirs.
    """
    n, length = batch.tokens.shape
    free = np.ones((n, length + 1), dtype=bool)
    for name in ROLES:
        if name in batch.roles:
            np.put_along_axis(free, batch.roles[name], False, axis=1)  # -1 is the spare column
    free = free[:, :length]
    if not free.any(1).all():
        return batch
    order = np.argsort(~free, axis=1, kind="stable")
    count, most = free.sum(1, keepdims=True), free.sum(1).max()
    at = np.where(np.arange(most) < count, order[:, :most], order[:, :1])
    return replace(batch, roles={**batch.roles, OTHER: at})


def mask(batch: Batch, position: Position) -> np.ndarray:
    """The positions that a site's position means, row by row: bool ``[batch pos]``."""
    n, length = batch.tokens.shape
    if position is None:
        return np.ones((n, length), dtype=bool)
    if isinstance(position, int):
        if not -length <= position < length:
            raise BadSite(f"position '@{position}': these prompts have positions 0-{length - 1}")
        return np.arange(length)[None].repeat(n, 0) == position % length
    name, _, index = position.partition("[")
    places = batch.role(name)
    if index:
        if int(index[:-1]) >= places.shape[1]:
            raise BadSite(f"position '@{position}': the role has {places.shape[1]} positions")
        places = places[:, int(index[:-1]), None]
    if (places < 0).any():
        lacking = int((places < 0).any(1).sum())
        raise BadSite(f"position '@{position}': {lacking} of {n} rows have no such role")
    found = np.zeros((n, length), dtype=bool)
    np.put_along_axis(found, places, True, axis=1)
    return found


def weights(model: Model, sites: Iterable[Site]) -> dict[Site, float]:
    """Norm of the output weights of heads, neurons and whole layers of a body of our own."""
    if not isinstance(model.body, Transformer):
        return {}
    blocks: Any = model.body.blocks
    heads = [block.attn.W_O.detach().flatten(1).norm(dim=1).tolist() for block in blocks]
    found = {}
    for site in dict.fromkeys(s.bare for s in sites):
        block, units = blocks[site.layer or 0], slice(*site.units) if site.units else slice(None)
        if site.kind in ("post", "mlp_out"):
            found[site] = float(block.mlp.W_out[units].detach().norm())
        elif site.kind == "z" and site.head is not None and site.units is None:
            found[site] = heads[site.layer or 0][site.head]
        elif site.kind == "attn_out":
            found[site] = float(np.linalg.norm(heads[site.layer or 0]))
    return found
