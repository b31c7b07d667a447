"""Sweeps: which cells there are, how many forwards they cost, and how they are run.

1. Sites and positions are expanded into cells (:class:`_Spot`); unknown ones raise.
2. Pairs are taken :data:`ROWS` at a time. Both of their runs are made once (:class:`_Block`).
3. Where a patch would change nothing, or nothing that is read, there is no run.
4. What comes down to changed vectors of the stream goes to :mod:`.suffix`, all cells that enter
   one block together. Queries, keys, values, patterns and bridged models go through the door.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mo_interp.edits import Patch
from mo_interp.errors import BadValues
from mo_interp.model import Model, Run
from mo_interp.patching import memory
from mo_interp.patching.cells import (
    By,
    Direction,
    Metric,
    Plan,
    Sweep,
    clusters,
    tabulated,
)
from mo_interp.patching.grid import (
    DEFAULT,
    FEEDS_OTHERS,
    asked_directions,
    mask,
    one_of,
    placed,
    weights,
    with_other,
)
from mo_interp.patching.places import Touched, change, reduced, touched
from mo_interp.patching.suffix import Trace, Unrolled
from mo_interp.sites import Position, Site
from mo_interp.train import Progress, silent
from mo_interp.transformer import Transformer
from mo_interp.worlds.base import Batch, Pairs

ROWS = 64
"""Pairs worked on at a time; a setting of memory, not of results."""


def sweep(
    model: Model,
    pairs: Pairs,
    *,
    sites: str | Site | Iterable[str | Site] = DEFAULT,
    directions: Direction | Sequence[Direction] = ("denoising", "noising"),
    by: By = "role",
    metric: Metric = "normalised logit difference",
    exhaustive: bool = False,
    progress: Progress = silent,
) -> Sweep:
    """Patch every site, at every position or role, in both directions, on every pair.

    Args:
        model: any model behind the door; one of our own shapes takes the fast path.
        pairs: clean and triggered partners.
        sites: kinds (``"z"``), globs (``"L*.H*.z@-1"``), sites, or several of these. One that
            names a position is patched there, whatever ``by`` says.
        directions: ``denoising`` patches the clean run into the triggered one, ``noising`` the
            triggered run into the clean one.
        by: ``role`` patches all positions of a role at once (and the rest as ``other``),
            ``position`` each position alone, ``all`` every position at once.
        metric: as the package's docstring defines it; without ``normalised``, in logits.
        exhaustive: every cell as a run of its own through :meth:`Model.run`, nothing reused.
        progress: told after every block of pairs.

    Raises:
        BadSite: a kind, site or position that the model or the rows do not have.
        BadValues: logits that are not finite.
    """
    started = time.perf_counter()
    one_of("metric", metric, Metric)
    job = _Job.of(model, pairs, sites, directions, by, exhaustive=exhaustive)
    results = _Results.empty(job)
    with torch.no_grad():
        for block in job.blocks():
            results.base(block)
            for direction in job.directions:
                for group in block.fast(direction).values():
                    results.fast(block, direction, group)
                for spot in block.slow(direction):
                    results.slow(block, direction, spot)
            progress(block.rows.stop, len(pairs), "patching")
    return results.done(job, metric, time.perf_counter() - started)


def plan(
    model: Model,
    pairs: Pairs,
    *,
    sites: str | Site | Iterable[str | Site] = DEFAULT,
    directions: Direction | Sequence[Direction] = ("denoising", "noising"),
    by: By = "role",
    exhaustive: bool = False,
) -> Plan:
    """What :func:`sweep` will cost; runs the unedited prompts, and nothing else.

    The forwards are exact, because what is skipped is known once both runs are.
    """
    started = time.perf_counter()
    job = _Job.of(model, pairs, sites, directions, by, exhaustive=exhaustive)
    unedited = suffix = whole = most = 0
    work = 0.0
    with torch.no_grad():
        for block in job.blocks():
            unedited += block.unedited
            changes = [block.fast(direction).values() for direction in job.directions]
            most = max(most, block.alive([group for groups in changes for group in groups]))
            for direction, groups in zip(job.directions, changes, strict=True):
                found = [one.where for group in groups for one in group]
                suffix += sum(len(where) for where in found)
                work += sum(where.work(block.traces[0]) for where in found)
                whole += len(block) * len(block.slow(direction))
    each = (time.perf_counter() - started) / max(unedited, 1)
    cells = len(job.spots) * len(job.directions)
    groups = len(np.unique(clusters(pairs)))
    most += memory.tables(cells, len(job.directions), len(pairs), groups)
    return Plan(
        cells=cells,
        forwards=unedited + suffix + whole,
        skipped=cells * len(pairs) - suffix - whole,
        seconds=each * (unedited + work + whole),
        megabytes=most / 1e6,
    )


# Cells ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Spot:
    """A cell without its direction."""

    site: Site
    label: str
    reduced: Site | None
    """What the fast path takes it for; None if it goes through the door."""


# The work -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Job:
    """Everything asked for, parsed."""

    model: Model
    pairs: Pairs
    spots: tuple[_Spot, ...]
    directions: tuple[Direction, ...]
    body: Unrolled | None
    """None where everything goes through the door."""
    from_start: bool
    """Whether the door runs whole prompts, rather than from the patched block on."""

    @classmethod
    def of(
        cls,
        model: Model,
        pairs: Pairs,
        sites: str | Site | Iterable[str | Site],
        directions: Direction | Sequence[Direction],
        by: By,
        *,
        exhaustive: bool,
    ) -> _Job:
        """Parse and check it; raises as :func:`sweep` does."""
        wanted = asked_directions(directions)
        own = model.body if isinstance(model.body, Transformer) else None
        fast = own is not None and not exhaustive
        spots = []
        for site, columns in placed(model, pairs, sites, by):
            short = reduced(site) if fast else None
            spots += [_Spot(there, label, short) for there, label in columns]
        with torch.no_grad():
            body = Unrolled(own) if own is not None and fast else None
        return cls(model, pairs, tuple(spots), wanted, body, from_start=not fast)

    def blocks(self) -> Iterator[_Block]:
        """The pairs, some at a time."""
        for first in range(0, len(self.pairs), ROWS):
            rows = slice(first, min(first + ROWS, len(self.pairs)))
            yield _Block(self, rows, self.pairs[rows])


@dataclass(frozen=True, eq=False)
class _Work:
    """What patches at one reduced site touch, and the spots that each of its cells stands for."""

    where: Touched
    spots: list[list[int]]


@dataclass(frozen=True, eq=False)
class _Block:
    """Some pairs, both of their runs, and where those differ."""

    job: _Job
    rows: slice
    pairs: Pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def _device(self, x: np.ndarray) -> Tensor:
        return torch.as_tensor(x, device=self.job.model.device)

    @cached_property
    def batches(self) -> tuple[Batch, Batch]:
        """Clean and triggered rows."""
        return with_other(self.pairs.clean), with_other(self.pairs.triggered)

    @cached_property
    def tokens(self) -> tuple[Tensor, Tensor]:
        """Planted answer and truth of each pair."""
        rows = self.pairs.triggered
        return self._device(rows.answer), self._device(rows.truth)

    @cached_property
    def traces(self) -> tuple[Trace, Trace]:
        """Both unedited runs, of a body of our own."""
        assert self.job.body is not None
        clean, triggered = (self._device(b.tokens) for b in self.batches)
        return self.job.body.trace(clean), self.job.body.trace(triggered)

    @cached_property
    def masks(self) -> dict[Position, Tensor]:
        """The positions that each label means, bool ``[batch pos]``."""
        wanted = dict.fromkeys(s.site.position for s in self.job.spots if s.reduced)
        return {at: self._device(mask(self.batches[1], at)) for at in wanted}

    @cached_property
    def doors(self) -> list[int]:
        """The spots that are patched through the door."""
        return [i for i, spot in enumerate(self.job.spots) if spot.reduced is None]

    @property
    def unedited(self) -> int:
        """Prompts run without a patch: two a pair, and for both ways of running if both are."""
        both = self.job.body is not None and bool(self.doors)
        return (4 if both else 2) * len(self)

    @cached_property
    def runs(self) -> tuple[Run, Run]:
        """Both unedited runs through the door, with all that is patched there."""
        sites = [self.job.spots[i].site for i in self.doors]
        clean, triggered = (self.job.model.run(b, read=sites) for b in self.batches)
        return clean, triggered

    def gap(self, logits: Tensor) -> Tensor:
        """Logit difference ``[batch]`` of logits ``[batch pos vocab]`` at the read-out."""
        up, down = (logits[:, -1].gather(1, t[:, None])[:, 0] for t in self.tokens)
        return up - down

    def base(self) -> tuple[Tensor, Tensor]:
        """Logit difference ``[batch]`` of both unedited runs."""
        body = self.job.body
        if body is None:
            clean, triggered = (self.gap(run.logits) for run in self.runs)
        else:
            ends = (trace.resid[-1][:, -1] for trace in self.traces)
            clean, triggered = (body.difference(end, *self.tokens) for end in ends)
        return clean, triggered

    def sides(self, two: tuple, direction: Direction) -> tuple:
        """What is patched, then what is patched in, of a (clean, triggered) pair of things."""
        return two if direction == "noising" else two[::-1]

    def fast(self, direction: Direction) -> dict[int, list[_Work]]:
        """Where patches touch anything, by the block their changes enter."""
        sites: dict[Site, dict[Position, list[int]]] = {}
        for i, spot in enumerate(self.job.spots):
            if spot.reduced is not None:
                at = sites.setdefault(spot.reduced, {})
                at.setdefault(spot.site.position, []).append(i)
        groups: dict[int, list[_Work]] = {}
        for site, at in sites.items():
            base, source = self.sides(self.traces, direction)
            where = touched(site, base, source, torch.stack([self.masks[p] for p in at]))
            if len(where):
                groups.setdefault(where.layer, []).append(_Work(where, list(at.values())))
        return groups

    def alive(self, groups: Sequence[Sequence[_Work]]) -> int:
        """Bytes alive at the worst moment; see :mod:`mo_interp.patching.memory`.

        ``groups``: of either direction, what enters one block of the body, as :meth:`fast` has it.
        """
        job, length = self.job, self.batches[0].tokens.shape[1]
        found, shape = 0, job.model.shape or job.model.body.cfg
        if job.body is not None:
            changed = [sum(len(one.where.at) for one in group) for group in groups]
            found += memory.held(*self.traces) + memory.batch(length, shape.d_model)
            found += memory.vectors(max(changed, default=0), shape.d_model)
        if self.doors or job.body is None:
            found += memory.held(*(run.acts.values() for run in self.runs))
            found += memory.forward(shape, len(self), length)
        return found

    def slow(self, direction: Direction) -> list[int]:
        """The spots that need a run through the door."""
        if self.job.from_start or not self.doors:
            return self.doors
        return [i for i in self.doors if self.matters(self.job.spots[i].site, direction)]

    def matters(self, site: Site, direction: Direction) -> bool:
        """Whether the two runs differ at a site, and that can reach the read-out."""
        base, source = (run.acts[site] for run in self.sides(self.runs, direction))
        last = max(s.layer for s in self.job.model.sites if s.layer is not None)
        aside = site.layer == last and site.kind not in FEEDS_OTHERS
        if aside and not mask(self.batches[1], site.position)[:, -1].any():
            return False
        return not torch.equal(base, source)

    def through_the_door(self, spot: int, direction: Direction) -> Tensor:
        """Logit difference ``[batch]`` under one cell's patch."""
        site, job = self.job.spots[spot].site, self.job
        batch, _ = self.sides(self.batches, direction)
        _, source = self.sides(self.runs, direction)
        start = None
        if not job.from_start and site.layer:
            base, _ = self.sides(self.traces, direction)
            start = (site.layer, base.resid[site.layer])
        patch = Patch(site, source.acts[site])
        return self.gap(job.model.run(batch, do=[patch], start=start, identity=True).logits)


@dataclass(frozen=True, eq=False)
class _Results:
    """The table being filled: ``patched [direction spot pair]``."""

    patched: np.ndarray
    changed: np.ndarray
    clean: np.ndarray
    triggered: np.ndarray
    forwards: list[int]

    @classmethod
    def empty(cls, job: _Job) -> _Results:
        size = (len(job.directions), len(job.spots), len(job.pairs))
        clean, triggered = np.zeros(size[2]), np.zeros(size[2])
        return cls(np.zeros(size), np.zeros(size[:2], dtype=bool), clean, triggered, [])

    def base(self, block: _Block) -> None:
        """Both unedited runs; every cell starts as the run it patches."""
        ends = [x.double().cpu().numpy() for x in block.base()]
        if not all(np.isfinite(x).all() for x in ends):
            raise BadValues("the unedited runs give logits that are not finite")
        self.clean[block.rows], self.triggered[block.rows] = ends
        for i, direction in enumerate(block.job.directions):
            self.patched[i, :, block.rows] = block.sides(tuple(ends), direction)[0]
        self.forwards.append(block.unedited)

    def fast(self, block: _Block, direction: Direction, group: list[_Work]) -> None:
        """All cells and pairs whose changes enter one block of the body."""
        body = block.job.body
        assert body is not None
        base, source = block.sides(block.traces, direction)
        wheres = [one.where for one in group]
        final = body.read_out(base, change(body, base, source, wheres))
        rows = torch.cat([w.rows for w in wheres])
        found = body.difference(final, *(t[rows] for t in block.tokens)).cpu()
        self.forwards.append(len(found))
        i = block.job.directions.index(direction)
        for one, values in zip(group, found.split([len(w) for w in wheres]), strict=True):
            cell, row = one.where.cell.cpu().numpy(), one.where.rows.cpu().numpy()
            for number, spots in enumerate(one.spots):
                mine = cell == number
                at = block.rows.start + row[mine]
                for spot in spots:
                    self.patched[i, spot, at] = values.numpy()[mine]
                    self.changed[i, spot] |= bool(mine.any())

    def slow(self, block: _Block, direction: Direction, spot: int) -> None:
        """One cell through the door."""
        i = block.job.directions.index(direction)
        self.patched[i, spot, block.rows] = block.through_the_door(spot, direction).cpu().numpy()
        self.forwards.append(len(block))
        self.changed[i, spot] |= block.matters(block.job.spots[spot].site, direction)

    def done(self, job: _Job, metric: Metric, seconds: float) -> Sweep:
        """The finished sweep, direction by direction."""
        return tabulated(
            [(spot.site, spot.label) for spot in job.spots],
            job.directions,
            self.patched,
            self.changed,
            ends=(self.clean, self.triggered),
            clusters=clusters(job.pairs),
            metric=metric,
            weights=weights(job.model, [spot.site for spot in job.spots]),
            forwards=sum(self.forwards),
            seconds=seconds,
        )
