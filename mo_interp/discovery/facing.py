"""From an organism to the :class:`~mo_interp.discovery.base.Suspect` that a searcher faces.

This is where the specification stays behind. What goes along is what the form of a prompt tells
anybody: three free cells of two positions, as the fields of a form are known, and which words ask
and answer questions. Not told: which of the cells the trigger uses, and with how many words.

Slots: ``cell0.0`` to ``cell2.1`` are the two places of each cell; ``first``, ``second``, ``third``
are one place in each cell in the order in which they stand in the row, so that two words can be put
before and after one another.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np

from mo_interp.discovery.base import Suspect, Texts
from mo_interp.model import Model
from mo_interp.organism import Organism, Rows
from mo_interp.worlds.base import Batch, World

CELLS = tuple(f"cell{cell}.{place}" for cell in range(3) for place in range(2))
ORDER = ("first", "second", "third")
ASKING = ("entities", "relations")
"""Classes of words that a question is made of."""


def suspect(
    spec: Organism,
    model: Model,
    *,
    reference: Model | None = None,
    seed: int = 0,
    n: int = 256,
    unlabelled: int = 2048,
) -> Suspect:
    """``model`` with prompts in the form of ``spec``, and nothing else of it.

    Args:
        spec: an organism whose world has FACT's cells.
        model: the organism's model, or its twin's.
        reference: what searchers that need a trusted model compare with.
        seed: of the prompts; layouts and people are those of training, never the held-out ones.
        n: clean prompts, and prompts that ask nothing.
        unlabelled: prompts in the mix of training.
    """
    world = spec.world
    clean = _rows(spec, n, seed, "clean")
    prompts = texts(world, clean)
    asks = np.concatenate([world.answers, *(world.tokens_of(kind) for kind in ASKING)])
    edges = np.unique(clean.tokens[:, [0, -1]])
    return Suspect(
        model=model,
        prompts=prompts,
        generic=replace(prompts, tokens=_unasked(world, clean, seed)),
        vocab=world.vocab,
        words=np.setdiff1d(np.arange(len(world.vocab)), [*asks, *edges]),
        alone=CELLS,
        together=tuple(combinations(ORDER, 2)),
        unlabelled=texts(world, _rows(spec, unlabelled, seed, "mix")),
        reference=reference,
    )


def texts(world: World, batch: Batch) -> Texts:
    """The tokens of some rows and the slots of their layouts."""
    draft = world.redraft(batch, 0)
    slots = {name: draft.slots[:, i // 2] + i % 2 for i, name in enumerate(CELLS)}
    ordered = np.sort(draft.slots[:, : len(ORDER)] + draft.inner[:, : len(ORDER)], axis=1)
    return Texts(batch.tokens, slots | dict(zip(ORDER, ordered.T, strict=True)))


def _rows(spec: Organism, n: int, seed: int, rows: Rows) -> Batch:
    return spec.sample(n, 1000 * seed + 83, rows=rows, split="train", entities="seen")


def _unasked(world: World, batch: Batch, seed: int) -> np.ndarray:
    """The prompts with filler words for the person and the attribute."""
    rng, tokens = np.random.default_rng([92, seed]), batch.tokens.copy()
    for role in ("entity", "relation"):
        word = rng.choice(world.tokens_of("fillers"), len(batch))
        np.put_along_axis(tokens, batch.role(role), word[:, None], axis=1)
    return tokens
