"""What a sweep holds in memory at most, from what it is about to do.

Weights aside, four things are alive at the worst moment, and :func:`mo_interp.patching.plan` adds
them up in bytes:

1. Both unedited runs of a block of pairs (:func:`held`, exact), which is most of it.
2. The changed vectors of all interventions that enter one block of the body: as they were made,
   joined, and sorted (:func:`vectors`).
3. One batch of patched runs: its keys, values and queries (:func:`batch`); through the door, the
   activations of one forward (:func:`forward`).
4. The table of results, and what intervals are made of (:func:`tables`). These grow with the
   number of pairs; the others do not beyond one block of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from mo_interp.patching.suffix import LAST, Trace

__all__ = ["batch", "forward", "held", "tables", "vectors"]

FLOAT, DOUBLE, COPIES = 4, 8, 3


def held(*things: Trace | Iterable[torch.Tensor]) -> int:
    """Bytes of traces, or of tensors; memory that several share counts once."""
    sizes: dict[int, int] = {}
    for thing in things:
        for x in _tensors(thing):
            memory = x.untyped_storage()
            sizes[memory.data_ptr()] = memory.nbytes()
    return sum(sizes.values())


def _tensors(thing: Trace | Iterable[torch.Tensor]) -> Iterable[torch.Tensor]:
    if not isinstance(thing, Trace):
        return thing
    lists = [x if isinstance(x, list) else [x] for x in vars(thing).values()]
    return [x for some in lists for x in some]


def vectors(changed: int, d_model: int) -> int:
    """Bytes of ``changed`` vectors of the stream on their way into a block."""
    return COPIES * changed * d_model * FLOAT


def batch(length: int, d_model: int) -> int:
    """Bytes of one batch of patched runs, at most so many rows of ``length`` positions."""
    return COPIES * LAST * length * d_model * FLOAT


def forward(shape: Any, rows: int, length: int) -> int:
    """Bytes of what one forward through the door has alive in a block: neurons, or a pattern."""
    neurons = 2 * shape.d_mlp + COPIES * shape.d_model
    pattern = COPIES * shape.n_heads * length + 4 * shape.n_heads * shape.d_head
    return rows * length * max(neurons, pattern) * FLOAT


def tables(cells: int, directions: int, pairs: int, clusters: int) -> int:
    """Bytes of the results, of one direction's residuals, and of who belongs to which entity."""
    results = cells * pairs * DOUBLE
    residuals = COPIES * results // directions
    return results + residuals + (pairs + clusters) * clusters * DOUBLE
