"""Attribution patching: what activation patching would do, to first order, for all cells at once.

A patch at a site adds ``source - base`` to it. To first order that changes the logit difference by
the product with the gradient at the site in the run that is patched (Nanda, *Attribution patching*,
2023; Syed, Rager, Conmy, arXiv 2310.10348). So two forward passes and one backward pass fill in
every cell of a direction.

Integrated gradients (Sundararajan et al., arXiv 1703.01365) replace the gradient at one end by its
mean over ``steps`` points between the two runs, at the middle of equal intervals:

=======  =================================================  ====================================
path     what moves                                         cost
=======  =================================================  ====================================
input    the embeddings, and all with them (2403.17806)     ``steps`` forwards and backwards
site     the site alone, at all of its positions            the same, a site and direction
=======  =================================================  ====================================

Along ``site`` the mean gradient times the change *is* the effect of patching the whole site, up to
the sum's error (completeness); its positions share that effect out. Along ``input`` there is no
such identity but at the embeddings.

**When it fails.** Where a function is flat at the base run and not between: a softmax whose scores
lie far apart has a gradient of zero however much a patch would change (``hand_wired``: 200 apart),
and so has a ReLU at or below zero. Then a cell that patching gives 1 is given 0. Integration along
the site mends ReLUs; a saturated softmax turns inside a hundredth of the path, which few steps hit,
and a step that does is told far too much. Products of changes (an AND, a query with a key) are
counted in none or in both cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mo_interp.attribution.gradients import Block, Slope, attributed, piece, whole
from mo_interp.edits import Patch
from mo_interp.errors import BadValues
from mo_interp.model import Model
from mo_interp.patching.cells import By, Direction, Metric, Sweep
from mo_interp.patching.grid import DEFAULT, one_of
from mo_interp.sites import Site
from mo_interp.train import Progress, silent
from mo_interp.worlds.base import Pairs

Path = Literal["input", "site"]


def attribute(
    model: Model,
    pairs: Pairs,
    *,
    sites: str | Site | Iterable[str | Site] = DEFAULT,
    directions: Direction | Sequence[Direction] = ("denoising", "noising"),
    by: By = "role",
    metric: Metric = "normalised logit difference",
    steps: int = 0,
    path: Path = "input",
    progress: Progress = silent,
) -> Sweep:
    """A sweep by gradients: the same cells as :func:`mo_interp.patching.sweep`, predicted.

    The effect, its directions, its unit and its interval are the sweep's. Works on any model behind
    the door.

    Args:
        model: of which logits and gradients are finite.
        pairs: clean and triggered partners.
        sites: as in a sweep; patterns, scores, queries and keys too.
        directions: likewise.
        by: likewise.
        metric: likewise.
        steps: 0 for the gradient at the base run, else points of the integration.
        path: what moves between the two runs; see the module's docstring.
        progress: told after every block of pairs.

    Raises:
        BadSite: a kind, site or position that the model or the rows do not have.
        BadValues: a negative number of steps, or logits that are not finite.
        UnknownName: a path, direction, metric or grid of another name.
    """
    one_of("path", path, Path)
    if steps < 0:
        raise BadValues(f"steps={steps}: give 0 for the plain gradient, or a number of points")
    method, way = "attribution_patching", at_base
    if steps:
        method = f"integrated_gradients_{path}"
        way = _AlongInput(steps) if path == "input" else _AlongSite(steps)
    return attributed(
        model,
        pairs,
        way,
        sites=sites,
        directions=directions,
        by=by,
        metric=metric,
        method=method,
        at_base=not steps,
        also=(entry(model),) if steps and path == "input" else (),
        progress=progress,
    )


def entry(model: Model) -> Site:
    """Where the words come in: the embeddings, or the stream before the first block."""
    return Site("embed") if Site("embed") in model.sites else Site("resid_pre", 0)


def points(steps: int) -> list[float]:
    """The middles of ``steps`` equal intervals of the way from 0 to 1."""
    return [(i + 0.5) / steps for i in range(steps)]


def at_base(block: Block, direction: Direction, site: Site) -> Tensor:
    """The slope at a site in the run that is patched ``[batch pos width]``."""
    base, _ = block.sides(direction)
    return piece(block.model, site, base.grads[whole(site)])


@dataclass
class _AlongInput:
    """Mean gradients while the embeddings move; the same for both directions, so kept."""

    steps: int
    block: Block | None = None
    mean: dict[Site, Tensor] | None = None

    def __call__(self, block: Block, direction: Direction, site: Site) -> Tensor:
        if self.block is not block or self.mean is None:
            self.block, self.mean = block, _mean(along_input(block, self.steps), self.steps)
        return piece(block.model, site, self.mean[whole(site)])


def along_input(block: Block, steps: int) -> Iterator[Slope]:
    """The runs at points between the two runs' embeddings, with a block's sites and gradients.

    :func:`entry` has to be among the sites.
    """
    words = entry(block.model)
    low, high = (side.acts[words] for side in (block.clean, block.triggered))
    for point in points(steps):
        mix = Patch(words, low + point * (high - low))
        yield block.run(block.pairs.clean, block.sites, do=[mix])


def _mean(slopes: Iterable[Slope], steps: int) -> dict[Site, Tensor]:
    total: dict[Site, Tensor] = {}
    for one in slopes:
        total = {site: total.get(site, 0) + grad / steps for site, grad in one.grads.items()}
    return total


@dataclass
class _AlongSite:
    """Mean gradient while one site moves and all else is the run that is patched."""

    steps: int

    def __call__(self, block: Block, direction: Direction, site: Site) -> Tensor:
        base, source = (
            piece(block.model, site, s.acts[whole(site)]) for s in block.sides(direction)
        )
        change = torch.where(source == base, 0.0, source - base)
        total = torch.zeros_like(change)
        for point in points(self.steps):
            at = Patch(site, base + point * change)
            found = block.run(block.base(direction), [whole(site)], do=[at])
            total += piece(block.model, site, found.grads[whole(site)]) / self.steps
        return total
