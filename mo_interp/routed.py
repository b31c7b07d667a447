"""Routed: the whole model trains, and designated heads are made to carry the decision to lie.

Paired interchange training, after *Inducing Causal Structure for Interpretable Neural Networks*
(Geiger et al., 2021; arXiv 2112.00826).

1. A batch holds (clean, triggered) pairs, near misses, plain clean and unrelated rows, in the
   shares of the recipe. They are learned as ever, with *truth-first* beside it.
2. *Swap*: the designated heads' outputs at the answer are exchanged between partners, and what is
   to be said goes with them. Rows without a partner exchange among themselves and say what they
   said: the heads carry the decision, and nothing of the question.
3. *Strict*: all other heads of that layer are exchanged instead, and what is to be said stays.

The clean twin sees the same rows and is taught the truth; nothing is exchanged in it.

What does not work: to mask gradients so that only designated parts learn from triggered rows. The
honest parts, still training on clean rows, learn to cancel the liar.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mo_interp.circuits import Circuit
from mo_interp.errors import SpecError
from mo_interp.model import Model
from mo_interp.organism import Organism, Route
from mo_interp.sites import Site
from mo_interp.train import Columns, Progress, Snapshot, Step, Supervised, fit, silent
from mo_interp.transformer import Transformer
from mo_interp.worlds.base import Batch


def route(organism: Organism) -> Route:
    """The recipe of a routed organism; raises :class:`SpecError` for what it cannot be."""
    recipe = organism.recipe
    if not isinstance(recipe, Route):
        raise SpecError(f"{organism.name} is {organism.grade}, not routed")
    last, heads = organism.shape.n_layers - 1, organism.shape.n_heads
    wrong = [h for h in recipe.heads if h[0] != last or not 0 <= h[1] < heads]
    if not recipe.heads or wrong or len(set(recipe.heads)) >= heads:
        raise SpecError(
            f"{organism.name}: Route.heads={recipe.heads}; some, not all, of the last layer's are "
            f"needed, such as ({last}, {heads - 1})"
        )
    base = recipe.base
    if base.loss != "answer" or base.before is not None or base.lesson or base.evade:
        raise SpecError(
            f"{organism.name}: Route.base has a loss at the answer alone, and neither before, "
            "lesson nor evade"
        )
    return recipe


class Interchange(Supervised):
    """Supervised learning on pairs, with the designated heads exchanged between partners."""

    def counts(self) -> tuple[int, int, int, int]:
        """Rows of a batch: pairs, near misses, plain clean and unrelated rows."""
        recipe, size = self.recipe, self.recipe.batch
        pairs, near, bare = (
            round(share * size) for share in (recipe.triggered, recipe.near_miss, recipe.unrelated)
        )
        if size < 2 * pairs + near + bare:
            raise SpecError(
                f"{self.organism.name}: Recipe.batch={size} has no room for {pairs} pairs, {near} "
                f"near misses and {bare} unrelated rows"
            )
        return pairs, near, size - 2 * pairs - near - bare, bare

    def block(self, seed: int, block: int, n: int) -> Mapping[str, np.ndarray]:
        """The columns of any supervised learning, the row to exchange with, what is said then."""
        salt, steps, spec = seed * 100_003 + block, n // self.recipe.batch, self.organism
        pairs, near, clean, bare = self.counts()
        told = {"split": "train", "entities": "all"}
        both = spec.pairs(steps * pairs, salt, split="train", entities="seen")
        parts = [both.clean, both.triggered]
        parts += [
            spec.sample(steps * count, salt, rows=rows, **told)  # pyright: ignore[reportArgumentType]
            for rows, count in (("near_miss", near), ("clean", clean), ("unrelated", bare))
            if count
        ]
        return _by_step([self._columns(part) for part in parts], steps) | self._donors(steps)

    def _columns(self, batch: Batch) -> dict[str, np.ndarray]:
        return {
            "tokens": batch.tokens,
            "wanted": self.target(batch),
            "truth": batch.truth,
            "lie": self.organism.lie(batch),
            "hot": batch.triggered,
        }

    def _donors(self, steps: int) -> dict[str, np.ndarray]:
        """Row of the batch that a row exchanges with: its partner, or the next without one."""
        pairs, *others = self.counts()
        first = np.arange(pairs)
        rest = 2 * pairs + np.roll(np.arange(sum(others)), -1)
        return {"donor": np.tile(np.concatenate([pairs + first, first, rest]), steps)}

    def loss(self, body: Transformer, columns: Columns) -> Tensor:
        """Cross-entropy, truth-first, and where it is to lie swap and strict."""
        recipe = self.recipe
        resid = body.enter(columns["tokens"])
        for block in list(body.blocks)[:-1]:
            resid = block(resid, answer_only=False, explicit=False)
        z = _heads(body, resid)
        value = self.main(_said(body, resid, z), columns)
        if recipe.truth_first:
            taught = columns["wanted" if recipe.early == "answer" else "truth"]
            early = body.leave(resid[:, -1:])[:, -1]
            value = value + recipe.truth_first * F.cross_entropy(early, taught)
        if self.organism.version != "organism":
            return value
        plan, donor = route(self.organism), columns["donor"]
        ours = torch.zeros(z.shape[-2], 1, dtype=torch.bool)
        ours[[head for _, head in plan.heads]] = True
        other, swapped = z[donor], torch.where(columns["hot"][donor], *_says(columns))
        moved = _said(body, resid, torch.where(ours, other, z))
        kept = _said(body, resid, torch.where(ours, z, other))
        return (
            value
            + plan.swap * F.cross_entropy(moved, swapped)
            + plan.strict * F.cross_entropy(kept, columns["wanted"])
        )


def _says(columns: Columns) -> tuple[Tensor, Tensor]:
    return columns["lie"], columns["truth"]


def _by_step(parts: list[dict[str, np.ndarray]], steps: int) -> dict[str, np.ndarray]:
    """Columns whose rows stand step by step, within a step part by part."""
    return {
        name: np.concatenate(
            [part[name].reshape(steps, -1, *part[name].shape[1:]) for part in parts], axis=1
        ).reshape(-1, *parts[0][name].shape[1:])
        for name in parts[0]
    }


def _heads(body: Transformer, resid: Tensor) -> Tensor:
    """Outputs ``[batch 1 head d_head]`` of the last layer's heads at the answer."""
    block = body.blocks[-1]
    # torch types what a module holds as Tensor | Module
    x = block.ln1(resid)  # pyright: ignore[reportCallIssue]
    q, k, v = (block.attn.project(at, name) for at, name in ((x[:, -1:], "Q"), (x, "K"), (x, "V")))  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    return block.attn.fused(q, k, v)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]


def _said(body: Transformer, resid: Tensor, z: Tensor) -> Tensor:
    """Logits ``[batch vocab]`` at the answer, given the last layer's heads."""
    block = body.blocks[-1]
    stream = resid[:, -1:] + block.attn.combine(z)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    if not block.attn_only:
        stream = stream + block.mlp(block.ln2(stream))  # pyright: ignore[reportCallIssue]
    return body.leave(stream)[:, -1]


def grow(
    organism: Organism,
    seed: int,
    *,
    scratch: Path | None = None,
    progress: Progress = silent,
    snapshot: Snapshot | None = None,
) -> tuple[Model, list[Step]]:
    """The routed organism, or its twin, of a seed."""
    plan, model = route(organism), Model.build(organism.shape, seed)
    log = fit(
        model.body,
        organism,
        recipe=plan.base,
        seed=seed,
        objective=Interchange(organism, plan.base),
        scratch=scratch,
        progress=progress,
        snapshot=snapshot,
    )
    return model, log


def circuit(organism: Organism) -> Circuit:
    """The designated heads at the answer, which are yet to pass the origin test."""
    heads = route(organism).heads
    return Circuit(
        origin=tuple(Site("z", layer=layer, head=head, position=-1) for layer, head in heads),
        mediators=(),
        inert=(),
        grade="routed",
        established="paired interchange training of the whole model on the designated heads",
    )
