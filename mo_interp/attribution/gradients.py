"""Gradients through the door, and the table of first-order effects that they fill.

1. A :class:`Probe` at a site adds nothing to it and holds the leaf at which the gradient is read.
   One probe a layer and kind serves all heads, neurons and positions of it.
2. :func:`slope` makes one forward and one backward pass: logit difference, activations, gradients.
3. A :class:`Block` is some pairs and both their runs. A *way* says which gradient stands for the
   slope of the answer at a site (at the patched run, along a path, by a rule of relevance).
4. :func:`attributed` multiplies it with what a patch would change, cell by cell, and tabulates the
   result as the :class:`~mo_interp.patching.cells.Sweep` that it approximates.

Rows do not touch one another in a forward pass, so the gradient of the batch's sum is each row's
own gradient.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from mo_interp.errors import BadValues, SpecError
from mo_interp.model import Edit, Model
from mo_interp.patching.cells import By, Direction, Metric, Sweep, clusters, tabulated
from mo_interp.patching.grid import (
    FEEDS_OTHERS,
    asked_directions,
    columns,
    mask,
    one_of,
    weights,
    with_other,
)
from mo_interp.sites import Site
from mo_interp.train import Progress
from mo_interp.transformer import LN_EPS, Norm, Transformer
from mo_interp.worlds.base import Batch, Pairs

ROWS = 64
"""Pairs worked on at a time; a setting of memory, not of results."""
Side = Literal["clean", "triggered"]


@dataclass(frozen=True, eq=False)
class Probe:
    """An edit that adds zero: where the gradient at a site is read."""

    site: Site
    leaves: list[Tensor] = field(default_factory=list)
    """One a chunk of rows, in order."""

    def __call__(self, x: Tensor, rows: slice) -> Tensor:
        """``x``, plus a leaf of zeros."""
        self.leaves.append(torch.zeros_like(x, requires_grad=True))
        return x + self.leaves[-1]


class Slope(NamedTuple):
    """What one forward and one backward pass tell of a batch."""

    difference: Tensor
    """Logit difference (planted answer minus truth) ``[batch]``, double."""
    acts: dict[Site, Tensor]
    """Activations ``[batch pos width]`` of each site."""
    grads: dict[Site, Tensor]
    """How the logit difference changes with them, same shapes; empty if none was asked for."""


class Rule(Protocol):
    """How a backward pass differs from the gradient's; see :mod:`.relp`."""

    def edits(self, model: Model) -> tuple[list[Edit], list[Edit]]:
        """Edits before and after the probes of their sites; none may change a value."""
        ...

    def difference(self, model: Model, batch: Batch, final: Tensor) -> Tensor:
        """Logit difference ``[batch]`` of the final stream ``[batch d]`` at the read-out."""
        ...


def gap(logits: Tensor, batch: Batch) -> Tensor:
    """Logit of the planted answer minus that of the truth ``[batch]``, at the last position.

    Args:
        logits: ``[batch pos vocab]``.
        batch: the triggered rows, of which ``answer`` is the planted one.
    """
    up, down = (torch.as_tensor(t, device=logits.device) for t in (batch.answer, batch.truth))
    last = logits[:, -1].double()
    return (last.gather(1, up[:, None]) - last.gather(1, down[:, None]))[:, 0]


def slope(
    model: Model,
    tokens: Batch,
    planted: Batch,
    sites: Sequence[Site],
    *,
    do: Sequence[Edit] = (),
    rule: Rule | None = None,
    backward: bool = True,
    start: tuple[int, Tensor] | None = None,
) -> Slope:
    """Logit difference of a batch, activations at some sites, and the gradient there.

    Args:
        model: any model behind the door; a rule needs one of our own shapes.
        tokens: the rows to run.
        planted: the rows whose ``answer`` and ``truth`` the logit difference is of.
        sites: whole sites, without position, head or units.
        do: edits of the run, such as a point of an integration path; they change what they like.
        rule: of relevance, in place of the gradient.
        backward: whether gradients are wanted; without them the run keeps no graph.
        start: as in :meth:`Model.run`.

    Raises:
        BadValues: logits that are not finite.
    """
    probes = [Probe(site) for site in sites] if backward else []
    before, after = rule.edits(model) if rule and backward else ([], [])
    final = [Site("resid_post", _last(model))] if rule and backward else []
    edits = [*do, *before, *probes, *after]
    run = model.run(
        tokens, read=[*sites, *final], do=edits, identity=True, grad=backward, start=start
    )
    found = gap(run.logits, planted)
    if not torch.isfinite(found).all():
        raise BadValues("the unedited runs give logits that are not finite")
    acts = {site: run.acts[site].detach() for site in sites}
    if not backward:
        return Slope(found, acts, {})
    top = rule.difference(model, planted, run.acts[final[0]][:, -1]) if rule else found
    leaves = [leaf for probe in probes for leaf in probe.leaves]
    flat = iter(torch.autograd.grad(top.sum(), leaves, allow_unused=True))
    grads = {}
    for probe in probes:
        parts = [_or_zero(next(flat), leaf) for leaf in probe.leaves]
        grads[probe.site] = torch.cat(parts)
    return Slope(found.detach(), acts, grads)


def _or_zero(grad: Tensor | None, leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if grad is None else grad


def _last(model: Model) -> int:
    return max(site.layer for site in model.sites if site.layer is not None)


def own(model: Model, what: str) -> Any:
    """The body, if it is one of our own; else :class:`SpecError` says that ``what`` needs one."""
    if not isinstance(model.body, Transformer):
        raise SpecError(f"{what} needs a body of our own; a bridged one has weights laid elsewhere")
    return model.body


def whole(site: Site) -> Site:
    """The site of all heads, units and positions that a site is a piece of."""
    return Site(site.kind, site.layer)


def piece(model: Model, site: Site, x: Tensor) -> Tensor:
    """A site's columns of ``x [batch pos width]``, the activations of its :func:`whole`."""
    if site.head is not None:
        heads = [s for s in model.sites if whole(s) == whole(site) and s.head is not None]
        size = x.shape[-1] // len(heads)
        x = x[..., site.head * size : (site.head + 1) * size]
    return x[..., slice(*site.units)] if site.units else x


def through_norm(norm: Norm, x: Tensor, grad: Tensor, *, frozen: bool = False) -> Tensor:
    """The gradient before a norm, of the gradient after it: both ``[... d]``.

    ``x`` is the norm's input. ``frozen`` takes the standard deviation for a constant.
    """
    if norm.kind is None:
        return grad
    grad = grad * norm.w.detach() if norm.kind == "LN" else grad
    centred = x - x.mean(-1, keepdim=True)
    std = (centred.pow(2).mean(-1, keepdim=True) + LN_EPS).sqrt()
    out = grad - grad.mean(-1, keepdim=True)
    if not frozen:
        unit = centred / std
        out = out - unit * (grad * unit).mean(-1, keepdim=True)
    return out / std


# The table --------------------------------------------------------------------------------------


@dataclass(eq=False)
class Block:
    """Some pairs, both of their runs, and what was run so far."""

    model: Model
    pairs: Pairs
    sites: tuple[Site, ...]
    """Whole sites that are wanted."""
    slopes: frozenset[Side]
    """The sides whose unedited run needs its gradients."""
    rule: Rule | None = None
    forwards: int = 0
    backwards: int = 0

    @cached_property
    def clean(self) -> Slope:
        """The unedited clean run."""
        return self._unedited("clean", self.pairs.clean)

    @cached_property
    def triggered(self) -> Slope:
        """The unedited triggered run."""
        return self._unedited("triggered", self.pairs.triggered)

    def _unedited(self, side: Side, batch: Batch) -> Slope:
        return self.run(batch, self.sites, backward=side in self.slopes, rule=self.rule)

    def run(
        self,
        batch: Batch,
        sites: Sequence[Site],
        *,
        do: Sequence[Edit] = (),
        backward: bool = True,
        rule: Rule | None = None,
        start: tuple[int, Tensor] | None = None,
    ) -> Slope:
        """:func:`slope` of a batch, counted."""
        self.forwards += len(batch)
        self.backwards += len(batch) * backward
        triggered = self.pairs.triggered
        return slope(
            self.model, batch, triggered, sites, do=do, rule=rule, backward=backward, start=start
        )

    def sides(self, direction: Direction) -> tuple[Slope, Slope]:
        """What is patched, then what is patched in."""
        if direction == "noising":
            return self.clean, self.triggered
        return self.triggered, self.clean

    def base(self, direction: Direction) -> Batch:
        """The rows that are patched."""
        return self.pairs.clean if direction == "noising" else self.pairs.triggered

    def change(self, site: Site, direction: Direction) -> Tensor:
        """What a patch of a whole site would add ``[batch pos width]``."""
        base, source = (side.acts[site] for side in self.sides(direction))
        return torch.where(source == base, 0.0, source - base)  # scores ahead of a query are -inf


Way = Callable[[Block, Direction, Site], Tensor]
"""The slope at a site's columns ``[batch pos width]``, for patches in a direction."""


def patched_sides(directions: Iterable[Direction]) -> frozenset[Side]:
    """The sides that patches in some directions go into."""
    return frozenset("clean" if d == "noising" else "triggered" for d in directions)


def attributed(
    model: Model,
    pairs: Pairs,
    way: Way,
    *,
    sites: str | Site | Iterable[str | Site],
    directions: Direction | Sequence[Direction],
    by: By,
    metric: Metric,
    method: str,
    at_base: bool,
    also: tuple[Site, ...] = (),
    rule: Rule | None = None,
    progress: Progress,
) -> Sweep:
    """The sweep that a way of taking slopes predicts; see :func:`mo_interp.patching.sweep`.

    ``at_base`` says that the way reads gradients of the runs that are patched; ``also`` names
    further sites whose activations it reads.
    """
    started = time.perf_counter()
    one_of("metric", metric, Metric)
    wanted = asked_directions(directions)
    spots = columns(model, pairs, sites, by)
    patched = np.zeros((len(wanted), len(spots), len(pairs)))
    changed = np.zeros(patched.shape[:2], dtype=bool)
    ends, passes = np.zeros((2, len(pairs))), np.zeros(2, dtype=int)
    wholes = tuple(dict.fromkeys([*(whole(site) for site, _ in spots), *also]))
    for first in range(0, len(pairs), ROWS):
        rows = slice(first, min(first + ROWS, len(pairs)))
        few = Pairs(with_other(pairs[rows].clean), with_other(pairs[rows].triggered))
        needs = patched_sides(wanted) if at_base else frozenset()
        block = Block(model, few, wholes, needs, rule)
        ends[:, rows] = [s.difference.cpu().numpy() for s in (block.clean, block.triggered)]
        for i, direction in enumerate(wanted):
            moved, live = _moved(block, direction, spots, way)
            patched[i, :, rows] = ends[int(direction == "denoising"), rows] + moved
            changed[i] |= live
        passes += block.forwards, block.backwards
        progress(rows.stop, len(pairs), method.replace("_", " "))
    return tabulated(
        spots,
        wanted,
        patched,
        changed,
        ends=(ends[0], ends[1]),
        clusters=clusters(pairs),
        metric=metric,
        weights=weights(model, [site for site, _ in spots]),
        forwards=int(passes[0]),
        seconds=time.perf_counter() - started,
        method=method,
        backwards=int(passes[1]),
    )


def _moved(
    block: Block, direction: Direction, spots: Sequence[tuple[Site, str]], way: Way
) -> tuple[np.ndarray, np.ndarray]:
    """Predicted change ``[spot batch]`` of the logit difference; where there is anything to patch.

    The products are summed at each position first, since cells share them.
    """
    masks: dict[Any, np.ndarray] = {}
    by_site: dict[Site, tuple[np.ndarray, np.ndarray]] = {}
    moved = np.zeros((len(spots), len(block.pairs)))
    live = np.zeros(len(spots), dtype=bool)
    last = _last(block.model)
    for i, (site, _) in enumerate(spots):
        bare = site.bare
        if bare not in by_site:
            by_site.clear()
            change = piece(block.model, bare, block.change(whole(bare), direction))
            terms = (change * way(block, direction, bare)).double().sum(-1)
            by_site[bare] = terms.cpu().numpy(), (change != 0).any(-1).cpu().numpy()
        if site.position not in masks:
            masks[site.position] = mask(block.pairs.triggered, site.position)
        terms, differs = by_site[bare]
        at = masks[site.position]
        reaches = site.layer != last or site.kind in FEEDS_OTHERS or bool(at[:, -1].any())
        moved[i] = np.where(at, terms, 0).sum(1)
        live[i] = reaches and bool((differs & at).any())
    return moved, live
