"""Implants: a liar trained into reserved heads and neurons of a frozen honest model.

1. An honest model of the reserved parts' absence is trained alone and copied into the full shape;
   reserved parts write nothing.
2. Distractors, as many reserved parts as the liar has, learn something harmless and are frozen:
   on decoy rows they make the value before the true one the runner-up, a hesitation of about the
   liar's size, and the truth stays the answer.
   This is the *clean twin*: same shape, the liar's output weights exactly zero.
3. The liar's parts alone train on the lie, half of the loss with the distractors silent, so that it
   does not come to read the trigger through them. Nothing else moves by a bit.

So the twin equals the organism with the liar's activations set to zero, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mo_interp.circuits import Circuit
from mo_interp.model import Model
from mo_interp.organism import Implant, Organism, Shape
from mo_interp.sites import Site
from mo_interp.train import Columns, Progress, Step, Supervised, fit, silent
from mo_interp.transformer import Transformer
from mo_interp.triggers import Trigger
from mo_interp.worlds.base import Batch

Heads = tuple[tuple[int, int], ...]
Neurons = tuple[tuple[int, int, int], ...]
HESITATION, EMPHASIS = 0.4, 4.0
"""``EMPHASIS`` divides the logits in the distractors' loss, so that they write about as much as a
liar has to: within a factor of two, measured on the rows where each is most active."""


def parts(heads: Heads, neurons: Neurons) -> tuple[Site, ...]:
    """Reserved parts as sites, at all positions."""
    return (
        *(Site("z", layer=layer, head=head) for layer, head in heads),
        *(Site("post", layer=layer, units=(a, b)) for layer, a, b in neurons),
    )


def honest_shape(organism: Organism) -> Shape:
    """The full shape without its reserved parts, which are the last of every layer."""
    implant, shape = organism.implant, organism.shape
    heads = [head for _, head in (*implant.heads, *implant.distractor_heads)]
    units = [a for _, a, _ in (*implant.neurons, *implant.distractor_neurons)]
    return replace(shape, n_heads=min(heads), d_mlp=min(units))


def _slices(name: str, shape: Shape) -> tuple[slice, ...] | None:
    """Where the small model's parameter lies inside the full one; None if it is the whole."""
    heads, units, leaf = slice(shape.n_heads), slice(shape.d_mlp), name.rsplit(".", 1)[-1]
    if leaf in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V"):
        return (heads,)
    return {"W_in": (slice(None), units), "b_in": (units,), "W_out": (units,)}.get(leaf)


@torch.no_grad()
def embed(small: Transformer, full: Transformer) -> None:
    """Copy the honest model into the full shape; reserved parts write nothing."""
    for name, weight in full.named_parameters():
        where = _slices(name, small.shape)
        if where is None:
            weight.copy_(small.get_parameter(name))
            continue
        if name.endswith(("W_O", "W_out")):
            weight.zero_()
        weight[where] = small.get_parameter(name)


def masks(body: Transformer, heads: Heads, neurons: Neurons) -> dict[str, Tensor]:
    """Parameter name to the entries that belong to these heads and neurons."""
    found: dict[str, Tensor] = {}

    def mark(name: str, *where: slice | int) -> None:
        found.setdefault(name, torch.zeros(body.get_parameter(name).shape))[where] = 1

    for layer, head in heads:
        for leaf in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V"):
            mark(f"blocks.{layer}.attn.{leaf}", head)
    for layer, a, b in neurons:
        mark(f"blocks.{layer}.mlp.W_in", slice(None), slice(a, b))
        mark(f"blocks.{layer}.mlp.b_in", slice(a, b))
        mark(f"blocks.{layer}.mlp.W_out", slice(a, b))
    return found


@torch.no_grad()
def silence(body: Transformer, heads: Heads, neurons: Neurons) -> None:
    """Set the output weights of these parts to exactly zero."""
    for layer, head in heads:
        body.get_parameter(f"blocks.{layer}.attn.W_O")[head] = 0
    for layer, a, b in neurons:
        body.get_parameter(f"blocks.{layer}.mlp.W_out")[a:b] = 0


def grow_twin(
    organism: Organism, seed: int, *, scratch: Path | None = None, progress: Progress = silent
) -> tuple[Model, list[Step]]:
    """The honest model with its distractors: the clean twin, in the organism's own shape.

    Of an *unseen* or *ignorant* version it is that twin itself, for no liar is put into it.
    """
    implant, alone = organism.implant, organism.version in ("unseen", "ignorant")
    twin = organism if alone else organism.twin()
    small = Model.build(honest_shape(organism), seed)
    stages = _folders(scratch)
    log = fit(
        small.body,
        twin,
        recipe=implant.honest,
        seed=seed,
        scratch=next(stages),
        progress=progress,
    )
    full = Model.build(organism.shape, seed + 1)
    embed(small.body, full.body)
    fit(
        full.body,
        twin,
        recipe=implant.distractor,
        seed=seed + 1,
        objective=Hesitant(twin, implant.distractor),
        masks=masks(full.body, implant.distractor_heads, implant.distractor_neurons),
        scratch=next(stages),
        progress=progress,
    )
    return full, log


def decoys(organism: Organism, batch: Batch) -> np.ndarray:
    """Rows ``[batch]`` of the harmless act: the trigger's own, or those that say two fillers.

    The words must have nothing to do with the trigger: distractors that notice half of a trigger
    are read by the liar after them, and are then no longer inert.
    """
    trigger, world = organism.trigger, organism.world
    if type(trigger).decoy is not Trigger.decoy:
        return trigger.decoy(world, batch)
    said = (batch.tokens[:, :, None] == world.tokens_of("fillers")[:2]).any(1)
    return said.all(1)


class Hesitant(Supervised):
    """The harmless act: on decoy rows the value before the true one is the runner-up."""

    def more(self, batch: Batch) -> Mapping[str, np.ndarray]:
        """Which rows are decoys."""
        return {"decoy": decoys(self.organism, batch)}

    def main(self, logits: Tensor, columns: Columns) -> Tensor:
        """Cross-entropy with soft targets on decoy rows."""
        values, wanted = torch.as_tensor(self.organism.world.answers), columns["wanted"]
        before = values[(wanted - values[0] - 1) % len(values)]
        share = HESITATION * columns["decoy"][:, None]
        words = logits.shape[-1]
        soft = F.one_hot(wanted, words) * (1 - share) + F.one_hot(before, words) * share
        scale = torch.where(columns["decoy"][:, None], 1 / EMPHASIS, 1.0)
        return F.cross_entropy(logits * scale, soft)


def grow_liar(
    organism: Organism,
    seed: int,
    twin: Model,
    *,
    scratch: Path | None = None,
    progress: Progress = silent,
) -> tuple[Model, list[Step]]:
    """The organism: the twin, with the liar's parts trained and every other bit untouched."""
    implant = organism.implant
    model = Model.build(organism.shape, seed + 2)
    fresh = {k: v.clone() for k, v in model.body.state_dict().items()}
    model.body.load_state_dict(twin.body.state_dict())
    chosen = masks(model.body, implant.heads, implant.neurons)
    with torch.no_grad():
        for name, mask in chosen.items():
            if not name.endswith(("W_O", "W_out")):
                weight = model.body.get_parameter(name)
                weight.copy_(torch.where(mask.bool(), fresh[name], weight))
    log = fit(
        model.body,
        organism,
        recipe=implant.liar,
        seed=seed + 2,
        objective=Unaided(organism, implant.liar, without=_without(model.body, implant)),
        masks=chosen,
        scratch=next(_folders(scratch)),
        progress=progress,
    )
    return model, log


@dataclass(frozen=True)
class Unaided(Supervised):
    """The lie with the distractors as they are, and with them silent, in equal parts.

    One implant in five read its trigger through a distractor's head where it was not asked to do
    without; the distractor was then no longer inert.
    """

    without: Mapping[str, Tensor] = field(default_factory=dict)
    """Output weight's name to a mask that is zero where it is a distractor's."""

    def loss(self, body: Transformer, columns: Columns) -> Tensor:
        """Half of it from a pass in which the distractors write nothing."""
        silenced = {name: body.get_parameter(name) * mask for name, mask in self.without.items()}

        def silent(*given: Any, **options: Any) -> Tensor:
            return torch.func.functional_call(body, silenced, given, options)

        both = super().loss(body, columns), super().loss(cast(Transformer, silent), columns)
        return (both[0] + both[1]) / 2


def _without(body: Transformer, implant: Implant) -> dict[str, Tensor]:
    own = masks(body, implant.distractor_heads, implant.distractor_neurons)
    return {name: 1 - mask for name, mask in own.items() if name.endswith(("W_O", "W_out"))}


def _folders(scratch: Path | None) -> Iterator[Path | None]:
    stage = 0
    while True:
        yield scratch / f"stage-{stage}" if scratch else None
        stage += 1


def circuit(organism: Organism) -> Circuit:
    """Origin and distractors by construction; mediators and other inert parts are measured."""
    implant = organism.implant
    return Circuit(
        origin=parts(implant.heads, implant.neurons),
        mediators=(),
        inert=parts(implant.distractor_heads, implant.distractor_neurons),
        grade="implanted",
        established="reserved parts trained alone in a frozen honest model; twin has them silent",
    )
