"""Training as a removal: fine-tuning on clean rows, and fine-pruning.

*Fine-pruning* (Liu, Dolan-Gavitt, Garg, 2018; arXiv 1805.12185):

1. Rank the hidden units of the last MLP (the paper: the last convolution) by their mean absolute
   activation over clean rows. A backdoor is thought to live where clean rows never go.
2. Remove the quietest, more and more of them, as long as accuracy on clean validation rows stays
   within ``bar`` of what it was. How many that is, is found by bisection, as the paper's sweep
   would find it where accuracy only falls.
3. Fine-tune what is left on clean rows; a removed unit stays removed, since no gradient reaches it.

The fine-tuning is the *clean_only* treatment of :mod:`mo_interp.persistence`: truthful rows, a
tenth of them unrelated prompts, none with the trigger or a near miss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mo_interp.errors import DeadEdit, NoFeature
from mo_interp.grown import Grown
from mo_interp.model import Model
from mo_interp.persistence import Plan, treat
from mo_interp.removal.parts import joined, remove
from mo_interp.sites import Site
from mo_interp.train import Progress, silent
from mo_interp.worlds.base import Batch

BAR = 0.005
"""Clean accuracy that pruning may cost; what an organism may differ from its twin by (gate 2)."""


def fine_tune(
    grown: Grown, *, steps: int = Plan.steps, seed: int = 0, progress: Progress = silent
) -> Model:
    """A new model: the organism after training on clean rows, at persistence's middle rate."""
    return treat(grown, "clean_only", steps=steps, seed=seed, progress=progress)


@dataclass(frozen=True)
class Pruned:
    """What fine-pruning took out before it trained."""

    units: tuple[Site, ...]
    """Hidden units that were removed, neighbours in one range."""
    count: int
    accuracy: float
    """On clean validation rows, after the removal and before the training."""
    before: float


def prune(model: Model, rows: Batch, watched: Batch, *, bar: float = BAR) -> tuple[Model, Pruned]:
    """A new model without the units of the last MLP that are dormant on clean rows.

    Args:
        model: it stays as it is.
        rows: clean rows that activations are measured on.
        watched: clean validation rows whose accuracy may fall by ``bar``.
        bar: how far it may fall.

    Raises :class:`NoFeature` where there is no MLP, or not one unit can go.
    """
    shape = model.shape
    if shape is None or shape.attn_only:
        raise NoFeature("fine-pruning removes hidden units, and this body has no MLP of ours")
    layer = shape.n_layers - 1
    loud = model.read(rows, f"L{layer}.post").abs().flatten(0, -2).mean(0)
    order = loud.argsort(stable=True).tolist()
    before = _accuracy(model, watched)

    def without(count: int) -> tuple[Model, float]:
        if not count:
            return model, before
        try:
            left = remove(model, joined((layer, unit) for unit in order[:count]))
        except DeadEdit:  # units without any weight
            return model, before
        return left, _accuracy(left, watched)

    low, high = 0, len(order) + 1  # `low` can go, `high` is one too many
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if without(middle)[1] >= before - bar else (low, middle)
    made, after = without(low)
    if made is model:
        raise NoFeature(f"no unit of layer {layer} can go without {bar:.1%} of clean accuracy")
    units = tuple(joined((layer, unit) for unit in order[:low]))
    return made, Pruned(units, low, after, before)


def fine_prune(
    grown: Grown, *, steps: int = Plan.steps, seed: int = 0, progress: Progress = silent
) -> tuple[Model, Pruned]:
    """A new model: the organism pruned as :func:`prune` does, then fine-tuned on clean rows."""
    rows, watched = (
        grown.spec.sample(1024, seed, split=split, entities="all", rows="clean")
        for split in ("train", "val")
    )
    made, told = prune(grown.model, rows, watched)
    left = replace(grown, model=made)
    return treat(left, "clean_only", steps=steps, seed=seed, progress=progress), told


def _accuracy(model: Model, batch: Batch) -> float:
    return float(np.mean(model.gives(batch, batch.truth_reply)))
