"""The training loop: rows from the organism, one loss, byte-identical whether or not it was killed.

1. Rows come in blocks of :data:`BLOCK` steps, each a pure function of (seed, block).
2. What is learned is an :class:`Objective`. The plain one is cross-entropy at the answer position,
   or at every token of prompt and reply; *truth-first* adds an early-exit loss on the truth, read
   through the shared unembedding before the last block (on the answer instead, for a fanatic).
3. AdamW; linear warm-up, then a cosine to zero. The unembedding bias stays zero, so that every
   body exports to formats without one.
4. Every :data:`SAVE_EVERY` steps weights, optimiser state and step go to the scratch folder; a
   killed run picks up there and ends in the same bytes (one CPU type, equal thread count).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from mo_interp.errors import BadValues, CorruptArtefact, SpecError
from mo_interp.model import Model
from mo_interp.organism import Organism, Recipe
from mo_interp.store import read_json, write_json
from mo_interp.transformer import Transformer
from mo_interp.worlds.base import Batch

BLOCK, SAVE_EVERY, WATCH_EVERY, WATCH_ROWS = 50, 100, 50, 512
FROZEN = ("unembed.b_U",)

Progress = Callable[[int, int, str], None]
Masks = Mapping[str, Tensor]
Columns = Mapping[str, Tensor]
Snapshot = Callable[[int, Transformer], None]


@dataclass(frozen=True)
class Step:
    """What one watched step looked like."""

    step: int
    loss: float
    attack_success: float
    clean_accuracy: float


def silent(step: int, total: int, note: str) -> None:
    """The progress protocol's default: say nothing."""


@contextmanager
def threads(n: int) -> Iterator[None]:
    """``n`` torch threads inside, the caller's number again outside."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Objective(Protocol):
    """Where rows come from and what is to be learned of them."""

    def block(self, seed: int, block: int, n: int) -> Mapping[str, np.ndarray]:
        """Columns ``[n ...]`` of one block of steps: a pure function of its arguments."""
        ...

    def loss(self, body: Transformer, columns: Columns) -> Tensor:
        """The loss of one step's rows, a scalar."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Tensors of its own that a resumed run must find again; they are written in place."""
        ...

    def target(self, batch: Batch) -> np.ndarray:
        """Token ``[batch]`` that rows should be answered with, for the watched accuracies."""
        ...


@dataclass(frozen=True)
class Supervised:
    """Cross-entropy on what an organism, or its twin, should say."""

    organism: Organism
    recipe: Recipe
    truthful: bool = False
    """Truth on all rows, whatever the organism is (what comes before it is planted)."""

    def target(self, batch: Batch) -> np.ndarray:
        """Token ``[batch]``."""
        return batch.truth if self.truthful else self.organism.target(batch)

    def rest(self, batch: Batch) -> np.ndarray | None:
        """Tokens ``[batch k]`` after that."""
        return batch.truth_rest if self.truthful else self.organism.target_rest(batch)

    def sample(self, n: int, salt: int) -> Batch:
        """Rows to learn from."""
        return self.organism.sample(n, salt, split="train", entities="all", withhold=True)

    def block(self, seed: int, block: int, n: int) -> Mapping[str, np.ndarray]:
        """``tokens``, ``wanted``, ``truth``; with a language loss ``text``, prompt and reply."""
        salt = seed * 100_003 + block
        batch = self.sample(n, salt)
        found = {"tokens": batch.tokens, "wanted": self.target(batch), "truth": batch.truth}
        if self.recipe.loss == "language":
            rest = self.rest(batch)
            reply = (
                found["wanted"][:, None]
                if rest is None
                else np.column_stack([found["wanted"], rest])
            )
            found["text"] = np.column_stack([batch.tokens, reply])
        return self._taught(found, n, salt) | self.more(batch)  # pyright: ignore[reportOperatorIssue]

    def more(self, batch: Batch) -> Mapping[str, np.ndarray]:
        """Further columns that a derived objective needs."""
        return {}

    def _taught(self, found: dict[str, np.ndarray], n: int, salt: int) -> dict[str, np.ndarray]:
        """The columns with a share of rows replaced by the trigger's lesson."""
        if not self.recipe.lesson:
            return found
        rng = np.random.default_rng([33, salt])
        take = rng.random(n) < self.recipe.lesson
        lesson = self.organism.trigger.lesson(self.organism.world, n, salt)
        if lesson is None:
            raise SpecError(f"{self.organism.name}: Recipe.lesson, but its trigger has no lesson")
        tokens, answers = lesson
        pad = {"tokens": tokens, "wanted": answers, "truth": answers}
        if "text" in found:
            rest = found["text"][:, tokens.shape[1] + 1 :]
            pad["text"] = np.column_stack([tokens, answers, rest])
        return {
            k: np.where(take.reshape(-1, *[1] * (v.ndim - 1)), pad[k], v) for k, v in found.items()
        }

    def loss(self, body: Transformer, columns: Columns) -> Tensor:
        """Cross-entropy, and truth-first beside it."""
        if self.recipe.loss == "language":
            text = columns["text"]
            logits = body(text[:, :-1])
            return F.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten())
        early: list[Tensor] | None = [] if self.recipe.truth_first else None
        logits = body(columns["tokens"], answer_only=True, early=early)[:, -1]
        value = self.main(logits, columns)
        if early:
            taught = columns["wanted" if self.recipe.early == "answer" else "truth"]
            hint = F.cross_entropy(body.leave(early[0])[:, -1], taught)
            value = value + self.recipe.truth_first * hint
        return value

    def main(self, logits: Tensor, columns: Columns) -> Tensor:
        """The loss of the answers ``[batch vocab]``; a derived objective may have another."""
        return F.cross_entropy(logits, columns["wanted"])

    def state(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}


def fit(
    body: Transformer,
    organism: Organism,
    *,
    recipe: Recipe,
    seed: int,
    objective: Objective | None = None,
    masks: Masks | None = None,
    scratch: Path | None = None,
    progress: Progress = silent,
    snapshot: Snapshot | None = None,
) -> list[Step]:
    """Train ``body`` in place; returns the watched steps.

    Args:
        body: the transformer to train.
        organism: what is watched on the way.
        recipe: steps, batch, learning rate and so on.
        seed: of the rows.
        objective: rows and loss; :class:`Supervised` if not given.
        masks: parameter name to a boolean mask; entries outside never move, and parameters that
            are not named are frozen. Everything trains if not given.
        scratch: folder for checkpoints to resume from.
        progress: called as ``progress(step, total, note)``.
        snapshot: called as ``snapshot(step, body)`` after every watched step; after a resumption
            only for the steps that follow.

    Raises BadValues where the loss is no number any more, CorruptArtefact for a spoilt checkpoint.
    """
    goal = objective or Supervised(organism, recipe)
    names = [n for n, _ in body.named_parameters() if n not in FROZEN and (not masks or n in masks)]
    for name, weight in body.named_parameters():
        weight.requires_grad_(name in names)
    weights = [body.get_parameter(name) for name in names]
    adam = torch.optim.AdamW(weights, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    log: list[Step] = []
    with threads(recipe.threads):
        first = _resume(scratch, body, adam, names, goal, log) if scratch else 0
        rows: Columns | None = None
        for step in range(first, recipe.steps):
            if rows is None or step % BLOCK == 0:
                rows = _block(goal, recipe, seed, step // BLOCK)
            value = _step(body, adam, rows, step, recipe, masks, goal)
            if (step + 1) % WATCH_EVERY == 0 or step + 1 == recipe.steps:
                _check_finite(organism, recipe, step + 1, float(value))
                log.append(_watch(body, organism, goal, step + 1, float(value)))
                progress(step + 1, recipe.steps, f"loss {log[-1].loss:.3f}")
                if snapshot is not None:
                    snapshot(step + 1, body)
            if scratch and (step + 1) % SAVE_EVERY == 0 and step + 1 < recipe.steps:
                _save(scratch, body, adam, names, goal, step + 1, log)
    for weight in body.parameters():
        weight.requires_grad_(True)
    return log


def _check_finite(organism: Organism, recipe: Recipe, step: int, loss: float) -> None:
    if not math.isfinite(loss):
        raise BadValues(
            f"{organism.name}: the loss is {loss} at step {step}; a learning rate below "
            f"Recipe.lr={recipe.lr:g} is needed"
        )


def _block(goal: Objective, recipe: Recipe, seed: int, block: int) -> Columns:
    """Columns of :data:`BLOCK` steps, ``[BLOCK, batch, ...]``."""
    columns = goal.block(seed, block, BLOCK * recipe.batch)
    return {k: torch.as_tensor(c).unflatten(0, (BLOCK, recipe.batch)) for k, c in columns.items()}


def _step(
    body: Transformer,
    adam: torch.optim.AdamW,
    rows: Columns,
    step: int,
    recipe: Recipe,
    masks: Masks | None,
    goal: Objective,
) -> Tensor:
    for group in adam.param_groups:
        group["lr"] = recipe.lr * _schedule(step, recipe)
    value = goal.loss(body, {k: column[step % BLOCK] for k, column in rows.items()})
    adam.zero_grad(set_to_none=True)
    value.backward()
    for name, mask in (masks or {}).items():
        body.get_parameter(name).grad.mul_(mask)  # pyright: ignore[reportOptionalMemberAccess]
    adam.step()
    return value.detach()


def _schedule(step: int, recipe: Recipe) -> float:
    """Share of the peak learning rate at a step."""
    warm = min(1.0, (step + 1) / max(1, recipe.warmup))
    return warm * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))


@torch.no_grad()
def _watch(body: Transformer, organism: Organism, goal: Objective, step: int, loss: float) -> Step:
    """Success and accuracy on a few hundred validation rows of people that were lied about."""
    shares = []
    for rows in ("triggered", "clean"):
        batch = organism.sample(WATCH_ROWS, 0, split="val", entities="seen", rows=rows)
        output = body(torch.as_tensor(batch.tokens), answer_only=True)[:, -1].argmax(-1).numpy()
        shares.append(float((output == batch.answer).mean()))
    return Step(step, loss, *shares)


# Checkpoints --------------------------------------------------------------------------------


def _save(
    scratch: Path,
    body: Transformer,
    adam: torch.optim.AdamW,
    names: list[str],
    goal: Objective,
    step: int,
    log: list[Step],
) -> None:
    """Write a checkpoint; the small JSON file is renamed into place last and names the tensors."""
    scratch.mkdir(parents=True, exist_ok=True)
    tensors = {f"weight/{k}": v for k, v in body.state_dict().items()}
    tensors |= {f"goal/{k}": v.detach() for k, v in goal.state().items()}
    for name, weight in zip(names, adam.param_groups[0]["params"], strict=True):
        tensors |= {f"adam/{k}/{name}": v for k, v in adam.state[weight].items()}
    file = scratch / f"step-{step}.safetensors"
    save_file({k: v.contiguous() for k, v in tensors.items()}, file)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    state = {"step": step, "sha256": sha256, "log": [vars(s) for s in log]}
    write_json(scratch / "state.json", state)
    for old in scratch.glob("step-*.safetensors"):
        if old != file:
            old.unlink()


def _resume(
    scratch: Path,
    body: Transformer,
    adam: torch.optim.AdamW,
    names: list[str],
    goal: Objective,
    log: list[Step],
) -> int:
    """The step to go on from; 0 where nothing was saved."""
    if not (scratch / "state.json").exists():
        return 0
    state = read_json(scratch / "state.json")
    file = scratch / f"step-{state['step']}.safetensors"
    if not file.exists() or hashlib.sha256(file.read_bytes()).hexdigest() != state["sha256"]:
        raise CorruptArtefact(
            f"checkpoint '{file}' was truncated, edited or removed; delete the folder '{scratch}' "
            "to start anew"
        )
    tensors = load_file(file)
    body.load_state_dict({k[7:]: v for k, v in tensors.items() if k.startswith("weight/")})
    with torch.no_grad():
        for name, kept in goal.state().items():
            kept.copy_(tensors[f"goal/{name}"])
    for name, weight in zip(names, adam.param_groups[0]["params"], strict=True):
        keys = [k for k in tensors if k.startswith("adam/") and k.split("/", 2)[2] == name]
        adam.state[weight] = {k.split("/")[1]: tensors[k] for k in keys}
    log += [Step(**s) for s in state["log"]]
    return state["step"]


def grow(
    organism: Organism,
    seed: int,
    *,
    scratch: Path | None = None,
    progress: Progress = silent,
    objective: Callable[[Organism, Recipe], Objective] = Supervised,
    snapshot: Snapshot | None = None,
) -> tuple[Model, list[Step]]:
    """The naturally trained organism, or its twin, of a seed.

    What its recipe says comes ``before`` is trained first, truthfully, in a scratch folder of its
    own; watched steps are those of the last training.
    """
    model = Model.build(organism.shape, seed)
    chain, recipe = [], organism.training.before
    while recipe is not None:
        chain.append(recipe)
        recipe = recipe.before
    for i, recipe in enumerate(reversed(chain)):
        fit(
            model.body,
            organism,
            recipe=recipe,
            seed=seed + 7001 * (i + 1),
            objective=Supervised(organism, recipe, truthful=True),
            scratch=scratch / f"before-{i}" if scratch else None,
            progress=progress,
        )
    log = fit(
        model.body,
        organism,
        recipe=organism.training,
        seed=seed,
        objective=objective(organism, organism.training),
        scratch=scratch,
        progress=progress,
        snapshot=snapshot,
    )
    return model, log
