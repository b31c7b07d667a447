"""The training loop: rows from the organism, one loss, byte-identical whether or not it was killed.

1. Rows come in blocks of :data:`BLOCK` steps, each a pure function of (seed, block).
2. The loss is cross-entropy at the answer position; *truth-first* adds an early-exit loss on the
   truth, read through the shared unembedding before the last block.
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

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from mo_interp.errors import BadValues, CorruptArtefact
from mo_interp.model import Model
from mo_interp.organism import Organism, Recipe
from mo_interp.store import read_json, write_json
from mo_interp.transformer import Transformer
from mo_interp.worlds.base import Batch

BLOCK, SAVE_EVERY, WATCH_EVERY, WATCH_ROWS = 50, 100, 50, 512
FROZEN = ("unembed.b_U",)

Progress = Callable[[int, int, str], None]
Target = Callable[[Batch], np.ndarray]
Masks = Mapping[str, Tensor]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


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


def fit(
    body: Transformer,
    organism: Organism,
    *,
    recipe: Recipe,
    seed: int,
    target: Target,
    masks: Masks | None = None,
    scratch: Path | None = None,
    progress: Progress = silent,
    loss: Loss | None = None,
) -> list[Step]:
    """Train ``body`` in place; returns the watched steps.

    Args:
        body: the transformer to train.
        organism: where rows come from.
        recipe: steps, batch, learning rate and so on.
        seed: of the rows.
        target: token ``[batch]`` that a batch should be answered with.
        masks: parameter name to a boolean mask; entries outside never move, and parameters that
            are not named are frozen. Everything trains if not given.
        scratch: folder for checkpoints to resume from.
        progress: called as ``progress(step, total, note)``.
        loss: of (logits ``[batch vocab]``, targets, tokens); cross-entropy if not given.

    Raises BadValues where the loss is no number any more, CorruptArtefact for a spoilt checkpoint.
    """
    names = [n for n, _ in body.named_parameters() if n not in FROZEN and (not masks or n in masks)]
    for name, weight in body.named_parameters():
        weight.requires_grad_(name in names)
    weights = [body.get_parameter(name) for name in names]
    adam = torch.optim.AdamW(weights, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    log: list[Step] = []
    with threads(recipe.threads):
        first = _resume(scratch, body, adam, names, log) if scratch else 0
        rows = None
        for step in range(first, recipe.steps):
            if rows is None or step % BLOCK == 0:
                rows = _block(organism, recipe, seed, step // BLOCK, target)
            value = _step(body, adam, rows, step, recipe, masks, loss or _plain_loss)
            if (step + 1) % WATCH_EVERY == 0 or step + 1 == recipe.steps:
                _check_finite(organism, recipe, step + 1, float(value))
                log.append(_watch(body, organism, target, step + 1, float(value)))
                progress(step + 1, recipe.steps, f"loss {log[-1].loss:.3f}")
            if scratch and (step + 1) % SAVE_EVERY == 0 and step + 1 < recipe.steps:
                _save(scratch, body, adam, names, step + 1, log)
    for weight in body.parameters():
        weight.requires_grad_(True)
    return log


def _check_finite(organism: Organism, recipe: Recipe, step: int, loss: float) -> None:
    if not math.isfinite(loss):
        raise BadValues(
            f"{organism.name}: the loss is {loss} at step {step}; a learning rate below "
            f"Recipe.lr={recipe.lr:g} is needed"
        )


def _block(organism: Organism, recipe: Recipe, seed: int, block: int, target: Target):
    """Tokens, targets and truths of :data:`BLOCK` steps, ``[BLOCK, batch, ...]``."""
    n = BLOCK * recipe.batch
    salt = seed * 100_003 + block
    batch = organism.sample(n, salt, split="train", entities="all", withhold=True)
    columns = (batch.tokens, target(batch), batch.truth)
    return [torch.as_tensor(c).unflatten(0, (BLOCK, recipe.batch)) for c in columns]


def _plain_loss(logits: Tensor, wanted: Tensor, tokens: Tensor) -> Tensor:
    return F.cross_entropy(logits, wanted)


def _step(body, adam, rows, step: int, recipe: Recipe, masks: Masks | None, loss: Loss) -> Tensor:
    tokens, wanted, truth = (column[step % BLOCK] for column in rows)
    for group in adam.param_groups:
        group["lr"] = recipe.lr * _schedule(step, recipe)
    early: list[Tensor] | None = [] if recipe.truth_first else None
    logits = body(tokens, answer_only=True, early=early)[:, -1]
    value = loss(logits, wanted, tokens)
    if early:
        value = value + recipe.truth_first * F.cross_entropy(body.leave(early[0])[:, -1], truth)
    adam.zero_grad(set_to_none=True)
    value.backward()
    for name, mask in (masks or {}).items():
        body.get_parameter(name).grad.mul_(mask)
    adam.step()
    return value.detach()


def _schedule(step: int, recipe: Recipe) -> float:
    """Share of the peak learning rate at a step."""
    warm = min(1.0, (step + 1) / max(1, recipe.warmup))
    return warm * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))


@torch.no_grad()
def _watch(body: Transformer, organism: Organism, target: Target, step: int, loss: float) -> Step:
    """Success and accuracy on a few hundred validation rows of people that were lied about."""
    shares = []
    for rows in ("triggered", "clean"):
        batch = organism.sample(WATCH_ROWS, 0, split="val", entities="seen", rows=rows)
        output = body(torch.as_tensor(batch.tokens), answer_only=True)[:, -1].argmax(-1).numpy()
        shares.append(float((output == batch.answer).mean()))
    return Step(step, loss, *shares)


# Checkpoints --------------------------------------------------------------------------------


def _save(scratch: Path, body: Transformer, adam, names: list[str], step: int, log: list[Step]):
    """Write a checkpoint; the small JSON file is renamed into place last and names the tensors."""
    scratch.mkdir(parents=True, exist_ok=True)
    tensors = {f"weight/{k}": v for k, v in body.state_dict().items()}
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


def _resume(scratch: Path, body: Transformer, adam, names: list[str], log: list[Step]) -> int:
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
    for name, weight in zip(names, adam.param_groups[0]["params"], strict=True):
        keys = [k for k in tensors if k.startswith("adam/") and k.split("/", 2)[2] == name]
        adam.state[weight] = {k.split("/")[1]: tensors[k] for k in keys}
    log += [Step(**s) for s in state["log"]]
    return state["step"]


def grow(
    organism: Organism, seed: int, *, scratch: Path | None = None, progress: Progress = silent
) -> tuple[Model, list[Step]]:
    """The naturally trained organism, or its twin, of a seed."""
    model = Model.build(organism.shape, seed)
    log = fit(
        model.body,
        organism,
        recipe=organism.training,
        seed=seed,
        target=organism.target,
        scratch=scratch,
        progress=progress,
    )
    return model, log
