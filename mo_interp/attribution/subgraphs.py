"""Runs in which chosen units speak from other rows and all else computes: for sites and for edges.

A hypothesis about a circuit is tested by letting everything outside it carry what it carries in
some other run. One primitive serves every such test, :meth:`Graph.logits`:

1. *Base* rows are run. A second batch of as many rows, the *bank*, is run unedited and kept.
2. A replaced **site** takes its values from the bank, whatever its own inputs have become.
3. A replaced **edge** lets its reader see the writer's output of the bank; every other reader of
   that writer sees what the writer says in this run. What is not replaced is computed anew from
   what it now sees, so a change travels on along the edges that are left.
4. ``rows`` say which row of the bank stands in for which: the partner (row i for row i), or any.

Edges are those of :mod:`.edges`. Their runs go through the body's own pieces, reader by reader; a
run without a replaced edge does what the body does, in the same order. One forward a row and call.

An unedited partner that differs from the base at none of the units would make every test pass by
doing nothing: that raises :class:`DeadEdit`. Single units that are alike in both are told by
:attr:`Graph.live`, and may be replaced: they are the inert parts a control is made of.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from mo_interp.attribution.edges import Edge, chosen
from mo_interp.attribution.gradients import gap, own
from mo_interp.circuits import Circuit
from mo_interp.edits import Patch
from mo_interp.errors import BadShape, BadSite, DeadEdit, nearest
from mo_interp.model import Model
from mo_interp.organism import Shape
from mo_interp.patching.cells import Direction
from mo_interp.patching.grid import one_of
from mo_interp.sites import Site
from mo_interp.worlds.base import Batch, Pairs

Unit: TypeAlias = Site | Edge
Rows: TypeAlias = np.ndarray | None
"""Rows of the bank ``[n]``; None is row i for row i."""
_HOLDS = {"attn_out": ("q", "k", "v", "attn_scores", "pattern", "z"), "mlp_out": ("pre", "post")}


def unit(text: str | Unit) -> Unit:
    """The site or edge that ``text`` prints as; raises :class:`BadSite`."""
    if isinstance(text, Site | Edge):
        return text
    return Edge.parse(text) if "->" in text else Site.parse(text)


def printed(units: Iterable[Unit]) -> str:
    """Sites and edges as a record's ``site``; empty where there are none."""
    return " + ".join(str(one).replace(" -> ", ">") for one in units)


class Graph(ABC):
    """Base rows, bank rows, and the units that can speak from the bank. See the module."""

    def __init__(self, model: Model, base: Batch, bank: Batch, units: tuple[Unit, ...]) -> None:
        """Made by :func:`graph`; runs both batches unedited."""
        if not len(base) or base.tokens.shape != bank.tokens.shape:
            shapes = f"{list(base.tokens.shape)} and {list(bank.tokens.shape)}"
            raise BadShape(f"base and bank need equal shapes and a row or more, got {shapes}")
        self.model, self.base, self.bank, self.units = model, base, bank, units
        with torch.no_grad():
            self.base_logits, self.own = self._unedited(base)
            self.bank_logits, self.acts = self._unedited(bank)
        self.forwards = len(base) + len(bank)
        """Rows run forward so far."""
        self.live = np.array([bool((self.own[k] != self.acts[k]).any()) for k in map(_key, units)])
        """bool ``[unit]``: whether any row of it differs between base and bank."""
        if not self.live.any():
            raise DeadEdit(
                f"base and bank are alike at all {len(units)} units ({units[0]}, ...): replacing "
                "them does nothing; give rows that differ, or units that the difference reaches"
            )

    def check(self, wanted: Iterable[str | Unit]) -> tuple[Unit, ...]:
        """The units that ``wanted`` names, in its order; raises :class:`BadSite` for another."""
        found = [unit(one) for one in ([wanted] if isinstance(wanted, str) else wanted)]
        for one in found:
            if one not in self.units:
                raise BadSite(f"'{one}' is no unit of this graph{nearest(str(one), self.names)}")
        return tuple(dict.fromkeys(found))

    @property
    def names(self) -> list[str]:
        """Its units, printed."""
        return [str(one) for one in self.units]

    def live_ones(self, wanted: Iterable[Unit]) -> tuple[Unit, ...]:
        """Those of some units that differ between base and bank."""
        alive = {one for one, live in zip(self.units, self.live, strict=True) if live}
        return tuple(one for one in wanted if one in alive)

    def logits(self, replaced: Mapping[Unit, Rows] | Iterable[Unit]) -> Tensor:
        """Logits ``[n vocab]`` at the last position, with some units speaking from the bank.

        Args:
            replaced: units to rows of the bank; without rows, each row's own number.

        Raises:
            BadSite: a unit that is none of the graph's.
            BadShape: not one bank row a base row.
        """
        given = dict(replaced) if isinstance(replaced, Mapping) else dict.fromkeys(replaced)
        self.check(given)
        for one, rows in given.items():
            if rows is not None and np.shape(rows) != (len(self.base),):
                raise BadShape(f"'{one}': {len(self.base)} rows of the bank are needed, one a row")
        self.forwards += len(self.base)
        with torch.no_grad():
            return self._edited(given)

    def of(self, model: Model) -> Graph:
        """The same rows and units in another model, such as the twin."""
        return type(self)(model, self.base, self.bank, self.units)

    @abstractmethod
    def _unedited(self, batch: Batch) -> tuple[Tensor, dict[Site, Tensor]]:
        """Last logits, and what each unit speaks from."""

    @abstractmethod
    def _edited(self, replaced: dict[Unit, Rows]) -> Tensor: ...


def graph(
    model: Model, base: Batch, bank: Batch, units: Iterable[str | Unit] | str | Unit
) -> Graph:
    """A graph of sites, or of edges.

    Args:
        model: any model for sites, one of our own shapes for edges.
        base: rows that are run.
        bank: as many rows of the same length, whose activations stand in.
        units: sites (parts, globs among them) or edges; not both, none of them twice.

    Raises:
        BadSite: no units, both kinds, unknown ones, a cut, or two that overlap.
        SpecError: edges of a bridged model.
        BadShape: batches that do not fit together.
        DeadEdit: base and bank differ at none of the units.
    """
    listed = [units] if isinstance(units, str | Site | Edge) else list(units)
    if not listed:
        raise BadSite("a hypothesis needs units: sites such as 'L1.H0.z', or edges; got none")
    arrows = [isinstance(one, Edge) or "->" in str(one) for one in listed]
    if any(arrows) and not all(arrows):
        raise BadSite("units are sites or edges, not both in one graph")
    if all(arrows):
        wanted = [Edge.parse(one) for one in listed if not isinstance(one, Site)]
        edges = chosen(model, wanted, split=True)
        split = {(e.writer, e.reader.layer, e.reader.head) for e in edges if e.reader.kind in "qkv"}
        for edge in edges:
            at = (edge.writer, edge.reader.layer, edge.reader.head)
            if edge.reader.kind == "z" and at in split:
                raise BadSite(f"edge '{edge}' is there twice: also split into q, k, v")
        return EdgeGraph(model, base, bank, edges)
    sites = model.sites.match([one for one in listed if not isinstance(one, Edge)])
    _apart(sites)
    return SiteGraph(model, base, bank, sites)


def partners(pairs: Pairs, direction: Direction = "denoising") -> tuple[Batch, Batch]:
    """Base and bank of a direction: what is run, and its partners that stand in."""
    one_of("direction", direction, Direction)
    if not len(pairs):
        raise BadShape("a hypothesis is tested on a pair or more; none of these lies, perhaps")
    clean, triggered = pairs.clean, pairs.triggered
    return (clean, triggered) if direction == "noising" else (triggered, clean)


def everything(shape: Shape, circuit: Circuit) -> tuple[Site, ...]:
    """A circuit's heads and neurons as they stand, and all others of a body at all positions.

    With all of them replaced the partner's answer comes back, provided that what a part does at
    positions other than its own does not matter (as it does not in the last block).
    """
    parts = list(circuit.origin + circuit.mediators + circuit.inert)
    heads = {(s.layer, s.head) for s in parts if s.kind == "z"}
    for layer in range(shape.n_layers):
        parts += [Site("z", layer, h) for h in range(shape.n_heads) if (layer, h) not in heads]
        cuts = sorted(s.units or (0, shape.d_mlp) for s in parts
                      if (s.layer, s.kind) == (layer, "post"))  # fmt: skip
        ends = [0, *(end for cut in cuts for end in cut), 0 if shape.attn_only else shape.d_mlp]
        gaps = zip(ends[::2], ends[1::2], strict=True)
        parts += [Site("post", layer, units=gap) for gap in gaps if gap[0] < gap[1]]
    return tuple(parts)


def differences(logits: Tensor, planted: Batch) -> np.ndarray:
    """Logit of the planted answer minus that of the truth ``[n]``, of logits ``[n vocab]``."""
    return gap(logits[:, None], planted).cpu().numpy()


def _key(one: Unit) -> Site:
    return one.writer if isinstance(one, Edge) else one


def _apart(sites: tuple[Site, ...]) -> None:
    """Raise :class:`BadSite` for a cut, and for two sites of which one holds some of the other."""
    for i, one in enumerate(sites):
        if one.cut:
            raise BadSite(f"site '{one}' is a cut: it hides all parts before it; give parts")
        for other in sites[:i]:
            if _overlap(one, other):
                raise BadSite(f"sites '{other}' and '{one}' overlap; give each part once")


def _overlap(one: Site, other: Site) -> bool:
    if one.layer != other.layer:
        return False
    if one.kind != other.kind:
        holds = other.kind in _HOLDS.get(one.kind, ()) or one.kind in _HOLDS.get(other.kind, ())
        return holds and _same_place(one, other)
    heads = one.head is None or other.head is None or one.head == other.head
    a, b = one.units, other.units
    units = a is None or b is None or (a[0] < b[1] and b[0] < a[1])
    return heads and units and _same_place(one, other)


def _same_place(one: Site, other: Site) -> bool:
    return None in (one.position, other.position) or one.position == other.position


# Sites ------------------------------------------------------------------------------------------


class SiteGraph(Graph):
    """A graph whose units are sites."""

    def _unedited(self, batch: Batch) -> tuple[Tensor, dict[Site, Tensor]]:
        sites = [one for one in self.units if isinstance(one, Site)]
        run = self.model.run(batch, read=sites)
        return run.logits[:, -1], {site: run.acts[site] for site in sites}

    def _edited(self, replaced: dict[Unit, Rows]) -> Tensor:
        edits = []
        for site, rows in replaced.items():
            assert isinstance(site, Site)
            source = self.acts[site] if rows is None else self.acts[site][torch.as_tensor(rows)]
            edits.append(Patch(site, source))
        # units that are alike in both runs are among them by design; see Graph.live
        return self.model.run(self.base, do=edits, identity=True).logits[:, -1]


# Edges ------------------------------------------------------------------------------------------


class EdgeGraph(Graph):
    """A graph whose units are edges."""

    def _unedited(self, batch: Batch) -> tuple[Tensor, dict[Site, Tensor]]:
        return _Walk(self.model, {}).run(batch)

    def _edited(self, replaced: dict[Unit, Rows]) -> Tensor:
        seen: dict[Site, list[tuple[Site, Tensor]]] = {}
        for edge, rows in replaced.items():
            assert isinstance(edge, Edge)
            told = self.acts[edge.writer]
            told = told if rows is None else told[torch.as_tensor(rows)]
            for reader in _readers(edge.reader):
                seen.setdefault(reader, []).append((edge.writer, told))
        return _Walk(self.model, seen).run(self.base)[0]


def _readers(reader: Site) -> tuple[Site, ...]:
    if reader.kind != "z":
        return (reader,)
    return tuple(Site(kind, reader.layer, reader.head) for kind in "qkv")


class _Walk:
    """One forward pass in which readers may see other outputs of the writers before them."""

    def __init__(self, model: Model, seen: dict[Site, list[tuple[Site, Tensor]]]) -> None:
        self.model, self.body = model, own(model, "a graph of edges")
        self.seen = seen
        self.told: dict[Site, Tensor] = {}
        """What each writer added ``[batch pos d]``."""

    def run(self, batch: Batch) -> tuple[Tensor, dict[Site, Tensor]]:
        body: Any = self.body
        ids = torch.as_tensor(batch.tokens, device=self.model.device)
        x = body.enter(ids)
        self.told[Site("embed")] = x
        for layer, block in enumerate(body.blocks):
            x = x + self._attend(block.attn, block.ln1, x, layer)
            if not block.attn_only:
                added = block.mlp(block.ln2(self._view(Site("pre", layer), x)))
                self.told[Site("mlp_out", layer)] = added
                x = x + added
        last = Site("resid_post", len(body.blocks) - 1)
        return body.leave(self._view(last, x)[:, -1:])[:, 0], self.told

    def _attend(self, attn: Any, norm: Any, x: Tensor, layer: int) -> Tensor:
        normed, mixed = norm(x), []
        for kind in "QKV":
            made = attn.project(normed, kind)
            for head in range(made.shape[2]):
                reader = Site(kind.lower(), layer, head)
                if reader in self.seen:
                    weight, bias = getattr(attn, f"W_{kind}"), getattr(attn, f"b_{kind}")
                    made[:, :, head] = norm(self._view(reader, x)) @ weight[head] + bias[head]
            mixed.append(made)
        z = attn.fused(*mixed)
        for head in range(z.shape[2]):
            self.told[Site("z", layer, head)] = z[:, :, head] @ attn.W_O[head]
        return attn.combine(z)

    def _view(self, reader: Site, x: Tensor) -> Tensor:
        """The stream as a reader sees it."""
        for writer, told in self.seen.get(reader, ()):
            x = x + (told - self.told[writer])
        return x
