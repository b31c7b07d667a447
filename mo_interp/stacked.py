"""Many seeds at once: their weights stacked along a leading axis, one product for all of them.

Meant for a GPU, where one small model leaves nearly everything idle. Each seed keeps its own rows
and its own first weights, those of growing it alone:

1. the parameters of all seeds are stacked, ``[seed ...]``, and the loss of one is mapped over them;
2. the losses are added up, so that each seed gets its own gradient and nothing of another's;
3. AdamW works element by element, so that one optimiser over the stack is as many separate ones.

The sums run in another order than for one seed, so that losses agree to 1e-4 and bytes do not: what
is published is grown seed by seed (:mod:`mo_interp.growing`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mo_interp import train
from mo_interp.errors import SpecError
from mo_interp.model import Model
from mo_interp.organism import Organism, Recipe


@dataclass(frozen=True, eq=False)
class Fitted:
    """One of the seeds."""

    seed: int
    model: Model
    """On the CPU."""
    losses: tuple[float, ...]
    """The loss at every step."""


class _Loss(nn.Module):
    """An objective's loss as the forward of a module, so that its weights can be swapped."""

    def __init__(self, body: nn.Module, goal: train.Objective) -> None:
        super().__init__()
        self.body, self.goal = body, goal

    def forward(self, columns: train.Columns) -> Tensor:
        return self.goal.loss(self.body, columns)  # type: ignore[arg-type]


def fit_many(
    organism: Organism,
    seeds: Sequence[int],
    *,
    device: str = "cpu",
    steps: int | None = None,
) -> list[Fitted]:
    """Train these seeds of a naturally trained organism side by side.

    Args:
        organism: an organism, or a twin; trained with the answer loss, truth-first or not.
        seeds: of weights and rows; as many models are held at once.
        device: ``cpu``, ``cuda`` or ``mps``.
        steps: stop after so many, on the schedule of the whole training.

    Raises SpecError for recipes that this cannot train.
    """
    recipe = organism.training
    _check(organism, recipe)
    goal = train.Supervised(organism, recipe)
    models = [Model.build(organism.shape, seed) for seed in seeds]
    weights = _stack(models, device)
    learned = {k: w for k, w in weights.items() if k not in train.FROZEN}
    for weight in learned.values():
        weight.requires_grad_(True)
    adam = torch.optim.AdamW(list(learned.values()), lr=recipe.lr, weight_decay=recipe.weight_decay)
    loss = _Loss(Model.build(organism.shape).body.to(device), goal)

    def one(weights: dict[str, Tensor], columns: dict[str, Tensor]) -> Tensor:
        named = {f"body.{k}": w for k, w in weights.items()}
        return torch.func.functional_call(loss, named, (columns,))

    many = torch.func.vmap(one)
    rows: dict[str, Tensor] = {}
    curve: list[Tensor] = []
    for step in range(recipe.steps if steps is None else min(steps, recipe.steps)):
        at = step % train.BLOCK
        if at == 0:
            rows = _rows(goal, recipe, seeds, step // train.BLOCK, device)
        adam.param_groups[0]["lr"] = recipe.lr * train._schedule(step, recipe)
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernel would be called seed by seed
            each = many(weights, {k: column[:, at] for k, column in rows.items()})
            adam.zero_grad(set_to_none=True)
            each.sum().backward()
        adam.step()
        curve.append(each.detach())
    losses = torch.stack(curve, 1).tolist() if curve else [[] for _ in seeds]
    return [
        Fitted(seed, _unstacked(model, weights, i), tuple(found))
        for i, (seed, model, found) in enumerate(zip(seeds, models, losses, strict=True))
    ]


def _check(organism: Organism, recipe: Recipe) -> None:
    beyond = {"loss": recipe.loss != "answer", "before": recipe.before, "evade": recipe.evade}
    named = [name for name, there in beyond.items() if there]
    if named:
        told = "stacked training knows the plain answer loss only"
        raise SpecError(f"{organism.name}: Recipe.{named[0]}; {told}")


def _stack(models: Sequence[Model], device: str) -> dict[str, Tensor]:
    """Each parameter of all models, ``[seed ...]``."""
    states = [model.body.state_dict() for model in models]
    return {k: torch.stack([state[k] for state in states]).to(device) for k in states[0]}


def _rows(
    goal: train.Supervised, recipe: Recipe, seeds: Sequence[int], block: int, device: str
) -> dict[str, Tensor]:
    """Columns ``[seed step batch ...]`` of one block; each seed has the rows it has alone."""
    each = [train._block(goal, recipe, seed, block) for seed in seeds]
    return {k: torch.stack([columns[k] for columns in each]).to(device) for k in each[0]}


def _unstacked(model: Model, weights: dict[str, Tensor], i: int) -> Model:
    """The model with its own slice of the weights."""
    model.body.load_state_dict({k: w[i].detach().cpu() for k, w in weights.items()})
    return model
