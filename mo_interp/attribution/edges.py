"""Edges: from everything that writes to the stream to everything that reads it.

=========  ==============================  ======================================================
end        printed as                      what it is
=========  ==============================  ======================================================
writer     ``embed``                       the embeddings (places are equal in both runs)
writer     ``L0.H1.z``                     a head, through its output weights
writer     ``L0.mlp_out``                  an MLP
reader     ``L1.H0.q`` (``k``, ``v``)      the stream from which a head takes its queries ...
reader     ``L1.H0.z``                     all three of them, when edges are not split
reader     ``L1.pre``                      the stream that an MLP reads
reader     the last ``resid_post``         the stream that the logits are read from
=========  ==============================  ======================================================

A *patched edge* lets the reader see the writer's output of the other run, and nobody else. Its
effect, exactly, is :func:`mo_interp.attribution.paths.path_patch`; here are its two approximations.

EAP (Syed, Rager, Conmy, arXiv 2310.10348): the writer's change times the gradient at the reader's
input, summed over positions; two forwards and one backward for all edges of a direction. EAP-IG
(Hanna, Pezzelle, Belinkov, arXiv 2403.17806): the mean of that gradient over ``steps`` points of
the line between the two runs' embeddings; ``steps`` more of each. Points lie at the middles of
equal intervals; the paper's lie at their ends.

Two sums hold exactly, and are tested. Over a reader's incoming edges: the change of the stream it
reads times the gradient there, which is that node's own attribution. Over a writer's outgoing ones:
its attribution as a part, since the gradient at its output is the sum over its readers.

**When it fails**: as attribution patching does (:mod:`.taylor`), edge by edge. A saturated softmax
hides all edges into queries and keys; two edges that are needed together (a key and a value, say)
may each be counted whole, or neither. Effects of edges add up to those of nodes to first order
only.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mo_interp.attribution.gradients import (
    ROWS,
    Block,
    Slope,
    own,
    patched_sides,
    through_norm,
)
from mo_interp.attribution.taylor import along_input
from mo_interp.errors import BadShape, BadSite, BadValues, nearest
from mo_interp.model import Model
from mo_interp.organism import Shape
from mo_interp.patching.cells import Direction, Metric, clusters, effects, ranked
from mo_interp.patching.grid import asked_directions, one_of
from mo_interp.records import Record, provenance
from mo_interp.sites import Site
from mo_interp.stats import Estimate
from mo_interp.train import Progress, silent
from mo_interp.worlds.base import Pairs


@dataclass(frozen=True, order=True)
class Edge:
    """A writer and a reader; prints as ``L0.H1.z -> L1.H0.k``. Sites may be given as text."""

    writer: Site
    reader: Site

    def __post_init__(self) -> None:
        """Parse the sites."""
        object.__setattr__(self, "writer", Site.parse(self.writer))
        object.__setattr__(self, "reader", Site.parse(self.reader))

    @classmethod
    def parse(cls, text: str | Edge) -> Edge:
        """The edge that ``text`` prints as; raises :class:`BadSite` otherwise."""
        if isinstance(text, Edge):
            return text
        ends = [part.strip() for part in text.split("->")]
        if len(ends) != 2:
            raise BadSite(f"edge '{text}': write it as 'L0.H1.z -> L1.H0.k'")
        return cls(Site.parse(ends[0]), Site.parse(ends[1]))

    def __str__(self) -> str:
        """``writer -> reader``."""
        return f"{self.writer} -> {self.reader}"


@dataclass(frozen=True)
class EdgeCell:
    """One edge patched, or what that is predicted to do."""

    site: Edge
    direction: Direction
    effect: Estimate
    """0: as if nothing had been done. 1: as if the other run had been run."""
    unchanged: bool
    """In no pair does the writer differ between the runs."""


@dataclass(frozen=True, eq=False)
class Edges:
    """Effects of edges: as a :class:`~mo_interp.patching.Sweep`, with edges in place of sites."""

    cells: tuple[EdgeCell, ...]
    patched: np.ndarray
    """Logit difference ``[cell pair]`` under each patch, measured or predicted."""
    clean: np.ndarray
    triggered: np.ndarray
    clusters: np.ndarray
    metric: Metric
    method: str
    forwards: int
    """Prompts run forward, or the rest of it."""
    backwards: int
    seconds: float

    def cell(self, edge: Edge | str, direction: Direction = "denoising") -> EdgeCell:
        """The cell of an edge; raises :class:`BadSite` for one that is not there."""
        edge = Edge.parse(edge)
        found = [c for c in self.cells if c.site == edge and c.direction == direction]
        if not found:
            options = (str(c.site) for c in self.cells if c.direction == direction)
            raise BadSite(f"no edge '{edge}' ({direction}){nearest(str(edge), options)}")
        return found[0]

    def ranking(self, direction: Direction = "denoising") -> tuple[EdgeCell, ...]:
        """The cells of a direction, largest effect first; unmeasurable ones last."""
        return ranked(self.cells, direction)

    def records(self, *, organism: str = "", key: str = "", seed: int = 0) -> list[Record]:
        """One ``edge`` record a cell; ``site`` is ``writer + reader``."""
        share, versions = self.seconds / max(len(self.cells), 1), provenance()
        return [
            Record(
                kind="edge",
                organism=organism,
                key=key,
                seed=seed,
                model="organism",
                site=f"{cell.site.writer} + {cell.site.reader}",
                params={
                    "writer": str(cell.site.writer),
                    "reader": str(cell.site.reader),
                    "direction": cell.direction,
                    "unchanged": cell.unchanged,
                    "metric": self.metric,
                    "method": self.method,
                },
                values={**cell.effect.flat("effect"), "n": cell.effect.n},
                versions=versions,
                seconds=share,
            )
            for cell in self.cells
        ]


# Which edges there are --------------------------------------------------------------------------


def writers(shape: Shape) -> tuple[Site, ...]:
    """Everything that writes to the stream, in the order of the forward pass."""
    found = [Site("embed")]
    for layer in range(shape.n_layers):
        found += [Site("z", layer, head) for head in range(shape.n_heads)]
        found += [] if shape.attn_only else [Site("mlp_out", layer)]
    return tuple(found)


def readers(shape: Shape, *, split: bool = True) -> tuple[Site, ...]:
    """Everything that reads the stream; a head's q, k and v each, or together if not ``split``."""
    found = []
    for layer in range(shape.n_layers):
        kinds = ("q", "k", "v") if split else ("z",)
        found += [Site(kind, layer, head) for head in range(shape.n_heads) for kind in kinds]
        found += [] if shape.attn_only else [Site("pre", layer)]
    return (*found, Site("resid_post", shape.n_layers - 1))


def all_edges(shape: Shape, *, split: bool = True) -> tuple[Edge, ...]:
    """Every edge of a body: a writer, and a reader that comes after it."""
    pairs = ((w, r) for r in readers(shape, split=split) for w in writers(shape))
    return tuple(Edge(w, r) for w, r in pairs if _before(w, r))


def _before(writer: Site, reader: Site) -> bool:
    if writer.layer is None or reader.kind == "resid_post":
        return True
    assert reader.layer is not None
    inside = writer.kind == "z" and reader.kind == "pre"
    return writer.layer < reader.layer or (inside and writer.layer == reader.layer)


def chosen(model: Model, wanted: Iterable[Edge | str] | None, *, split: bool) -> tuple[Edge, ...]:
    """The edges asked for, or all; raises :class:`BadSite` for one that the body has not."""
    shape = own(model, "an edge").shape
    there = all_edges(shape, split=split)
    if wanted is None:
        return there
    known = {*there, *all_edges(shape, split=not split)}
    asked = [Edge.parse(one) for one in ([wanted] if isinstance(wanted, str) else wanted)]
    for one in asked:
        if one not in known:
            raise BadSite(f"edge '{one}': not in this body{nearest(str(one), map(str, there))}")
    return tuple(dict.fromkeys(asked))


# What is written, and how a reader would like it -------------------------------------------------


def needed(shape: Shape) -> tuple[Site, ...]:
    """Whole sites whose activations or gradients tell of all edges."""
    kinds = ["resid_pre", "q", "k", "v", "z"]
    kinds += [] if shape.attn_only else ["resid_mid", "pre", "mlp_out"]
    found = [Site(kind, layer) for layer in range(shape.n_layers) for kind in kinds]
    return (Site("embed"), *found, Site("resid_post", shape.n_layers - 1))


def written(block: Block, writer: Site, direction: Direction) -> Tensor:
    """What a patch of a writer would add to the stream ``[batch pos d]``."""
    change = block.change(Site(writer.kind, writer.layer), direction)
    if writer.kind != "z":
        return change
    attn: Any = block.model.body.blocks[writer.layer].attn
    own_columns = change.unflatten(-1, attn.W_O.shape[:2])[:, :, writer.head]
    return own_columns @ attn.W_O[writer.head].detach()


def read_by(reader: Site) -> Site:
    """The whole stream that a reader reads."""
    kinds = {"pre": "resid_mid", "resid_post": "resid_post"}
    return Site(kinds.get(reader.kind, "resid_pre"), reader.layer)


def wanted_by(model: Model, reader: Site, found: Slope) -> Tensor:
    """The gradient ``[batch pos d]`` at the stream that a reader reads, through it alone."""
    if reader.kind == "resid_post":
        return found.grads[reader]
    block: Any = model.body.blocks[reader.layer]
    x = found.acts[read_by(reader)]
    if reader.kind == "pre":
        return through_norm(block.ln2, x, found.grads[reader] @ block.mlp.W_in.detach().T)
    total = torch.zeros_like(x)
    for kind in "qkv" if reader.kind == "z" else reader.kind:
        weight = getattr(block.attn, f"W_{kind.upper()}")[reader.head].detach()
        grads = found.grads[Site(kind, reader.layer)].unflatten(-1, (-1, weight.shape[1]))
        total = total + grads[:, :, reader.head] @ weight.T
    return through_norm(block.ln1, x, total)


# EAP --------------------------------------------------------------------------------------------


def eap(
    model: Model,
    pairs: Pairs,
    *,
    wanted: Iterable[Edge | str] | None = None,
    directions: Direction | Sequence[Direction] = ("denoising", "noising"),
    metric: Metric = "normalised logit difference",
    steps: int = 0,
    split: bool = True,
    progress: Progress = silent,
) -> Edges:
    """Edge attribution patching, of all edges at once; with ``steps``, EAP-IG.

    Args:
        model: one of our own shapes.
        pairs: clean and triggered partners.
        wanted: edges, or None for all of them.
        directions: as in :func:`mo_interp.patching.sweep`.
        metric: likewise.
        steps: 0 for EAP, else points of the integration.
        split: a head's queries, keys and values apart, or together.
        progress: told after every block of pairs.

    Raises:
        SpecError: a bridged model.
        BadSite: an edge that the body has not.
        BadValues: a negative number of steps, or logits that are not finite.
    """
    if steps < 0:
        raise BadValues(f"steps={steps}: give 0 for EAP, or a number of points for EAP-IG")
    listed = chosen(model, wanted, split=split)
    tos = list(dict.fromkeys(edge.reader for edge in listed))

    def slopes(found: Iterable[Slope]) -> Tensor:
        total: Any = 0
        for one in found:
            total = total + torch.stack([wanted_by(model, r, one) for r in tos]) / max(steps, 1)
        return total

    table = Table(model, pairs, listed, asked_directions(directions), metric)
    for block in table.blocks(with_gradients=not steps):
        mean = slopes(along_input(block, steps)) if steps else None
        for direction in table.directions:
            here = slopes([block.sides(direction)[0]]) if mean is None else mean
            changes = table.changes(block, direction)
            table.put(direction, changes, _scores(changes, listed, tos, here))
        progress(table.done, len(pairs), "edge attribution")
    return table.finished("eap_ig" if steps else "eap")


def _scores(
    changes: dict[Site, Tensor], listed: Sequence[Edge], tos: list[Site], slopes: Tensor
) -> np.ndarray:
    """Each edge's writer's change times its reader's gradient ``[edge batch]``."""
    froms, stacked = list(changes), torch.stack(list(changes.values()))
    products = torch.einsum("wbpd,rbpd->wrb", stacked, slopes).double().cpu().numpy()
    places = [(froms.index(edge.writer), tos.index(edge.reader)) for edge in listed]
    return np.stack([products[place] for place in places])


# The table --------------------------------------------------------------------------------------


class Table:
    """Effects of edges being filled in, block of pairs by block."""

    def __init__(
        self,
        model: Model,
        pairs: Pairs,
        listed: tuple[Edge, ...],
        directions: tuple[Direction, ...],
        metric: Metric,
    ) -> None:
        """Empty; every edge has done nothing yet."""
        one_of("metric", metric, Metric)
        if not len(pairs):
            raise BadShape("edges need a pair or more")
        self.started = time.perf_counter()
        self.model, self.pairs, self.listed = model, pairs, listed
        self.directions: tuple[Direction, ...] = directions
        self.metric: Metric = metric
        self.moved = np.zeros((len(directions), len(listed), len(pairs)))
        self.live = np.zeros(self.moved.shape[:2], dtype=bool)
        self.ends = np.zeros((2, len(pairs)))
        self.done = self.forwards = self.backwards = 0

    def blocks(self, *, with_gradients: bool) -> Iterator[Block]:
        """The pairs, some at a time, with both unedited runs."""
        sides = patched_sides(self.directions) if with_gradients else frozenset()
        sites = needed(self.model.body.shape)
        while self.done < len(self.pairs):
            first = self.done
            self.done = min(first + ROWS, len(self.pairs))
            block = Block(self.model, self.pairs[first : self.done], sites, sides)
            for i, side in enumerate((block.clean, block.triggered)):
                self.ends[i, first : self.done] = side.difference.cpu().numpy()
            yield block
            self.forwards += block.forwards
            self.backwards += block.backwards

    def changes(self, block: Block, direction: Direction) -> dict[Site, Tensor]:
        """Every writer to what its patch would add to the stream ``[batch pos d]``."""
        writers = dict.fromkeys(edge.writer for edge in self.listed)
        return {writer: written(block, writer, direction) for writer in writers}

    def put(self, direction: Direction, changes: dict[Site, Tensor], moved: np.ndarray) -> None:
        """Change ``[edge batch]`` of the logit difference under each edge's patch.

        Of the block that is under way; ``changes`` are its :meth:`changes`.
        """
        i, rows = self.directions.index(direction), slice(self.done - moved.shape[1], self.done)
        self.moved[i, :, rows] = moved
        differ = {writer: bool((change != 0).any()) for writer, change in changes.items()}
        self.live[i] |= [differ[edge.writer] for edge in self.listed]

    def finished(self, method: str) -> Edges:
        """The effects, direction by direction."""
        ends, entities = (self.ends[0], self.ends[1]), clusters(self.pairs)
        bases = np.stack([self.ends[int(d == "denoising")] for d in self.directions])
        patched = bases[:, None] + self.moved
        told = effects(patched, self.live, self.directions, ends, entities, self.metric)
        return Edges(
            cells=tuple(
                EdgeCell(self.listed[i], d, effect, not live) for d, i, effect, live in told
            ),
            patched=patched.reshape(-1, patched.shape[-1]),
            clean=ends[0],
            triggered=ends[1],
            clusters=entities,
            metric=self.metric,
            method=method,
            forwards=self.forwards,
            backwards=self.backwards,
            seconds=time.perf_counter() - self.started,
        )
