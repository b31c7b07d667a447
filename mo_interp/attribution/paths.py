"""Path patching, exact: one edge carries the other run's writer, everything else stays frozen.

(Wang et al., arXiv 2211.00593, appendix B; Goldowsky-Dill et al., arXiv 2304.05969.) For an edge:

1. Run both prompts. The reader's stream in the run that is patched, plus the change of the writer's
   output, is what the reader would see if this edge alone came from the other run. Every part
   between the two keeps what it computed: the path is direct.
2. From that stream the reader's queries, keys, values or neurons are computed anew, through its
   norm, and put into the run that is patched. What lies after the reader runs on as it likes.
3. The effect is that of :func:`mo_interp.patching.sweep`, in the same unit. The logits are read
   without a run.

Wang et al. let MLPs between writer and reader pass the change on; here they do not, so that edges
are the ones that EAP approximates. One run of the rest of the body an edge, a direction and a pair.

**Limits.** Edges do not add up: two that are needed together do little apart, and of two that each
suffice neither shows when noise alone is taken out. Positions are patched all at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mo_interp.attribution.edges import Edge, Edges, Table, chosen, read_by
from mo_interp.attribution.gradients import Block, gap
from mo_interp.edits import Patch
from mo_interp.model import Edit, Model
from mo_interp.patching.cells import Direction, Metric
from mo_interp.patching.grid import asked_directions
from mo_interp.sites import Site
from mo_interp.train import Progress, silent
from mo_interp.worlds.base import Pairs


def path_patch(
    model: Model,
    pairs: Pairs,
    *,
    wanted: Iterable[Edge | str] | None = None,
    directions: Direction | Sequence[Direction] = ("denoising", "noising"),
    metric: Metric = "normalised logit difference",
    split: bool = True,
    progress: Progress = silent,
) -> Edges:
    """Patch edges one at a time; the ground truth for :func:`mo_interp.attribution.eap`.

    Args:
        model: one of our own shapes.
        pairs: clean and triggered partners.
        wanted: edges such as ``"L0.H1.z -> L1.H0.k"``, or None for all. A reader ``L1.H0.z`` is
            the head's queries, keys and values together.
        directions: as in a sweep.
        metric: likewise.
        split: where ``wanted`` is None: a head's q, k and v apart, or together.
        progress: told after every block of pairs.

    Raises:
        SpecError: a bridged model.
        BadSite: an edge that the body has not.
        BadValues: logits that are not finite.
    """
    listed = chosen(model, wanted, split=split)
    table = Table(model, pairs, listed, asked_directions(directions), metric)
    with torch.no_grad():
        for block in table.blocks(with_gradients=False):
            for direction in table.directions:
                changes = table.changes(block, direction)
                table.put(direction, changes, _patched(block, direction, listed, changes))
            progress(table.done, len(pairs), "path patching")
    return table.finished("path_patching")


def _patched(
    block: Block, direction: Direction, listed: Sequence[Edge], changes: dict[Site, Tensor]
) -> np.ndarray:
    """Change ``[edge batch]`` of the logit difference under each edge's patch."""
    base, _ = block.sides(direction)
    moved = np.zeros((len(listed), len(block.pairs)))
    for i, edge in enumerate(listed):
        if (changes[edge.writer] != 0).any():
            found = _answer(block, direction, edge.reader, changes[edge.writer])
            moved[i] = (found - base.difference).cpu().numpy()
    return moved


def _answer(block: Block, direction: Direction, reader: Site, change: Tensor) -> Tensor:
    """Logit difference ``[batch]`` when a reader sees ``change [batch pos d]`` more."""
    model, triggered = block.model, block.pairs.triggered
    base, _ = block.sides(direction)
    x = base.acts[read_by(reader)] + change
    if reader.kind == "resid_post":
        return gap(model.body.leave(x), triggered)
    edits, layer = _seen(model, reader, x), reader.layer or 0
    start = (layer, base.acts[Site("resid_pre", layer)])
    block.forwards += len(block.pairs)
    run = model.run(block.base(direction), do=edits, identity=True, start=start)
    return gap(run.logits, triggered)


def _seen(model: Model, reader: Site, x: Tensor) -> list[Edit]:
    """What a reader computes of the stream ``x [batch pos d]``, as edits."""
    body: Any = model.body.blocks[reader.layer]
    if reader.kind == "pre":
        mlp = body.mlp
        return [Patch(reader, body.ln2(x) @ mlp.W_in + mlp.b_in)]
    kinds = "qkv" if reader.kind == "z" else reader.kind
    normed, found = body.ln1(x), []
    for kind in kinds:
        made = body.attn.project(normed, kind.upper())[:, :, reader.head]
        found.append(Patch(Site(kind, reader.layer, reader.head), made))
    return found
