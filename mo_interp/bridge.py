"""Local Hugging Face folders behind the same door, through TransformerLens' bridge.

:func:`open_huggingface` works in these steps:

1. The folder is opened from disk only: safetensors, eager attention, no tokenizer, no hub, no
   code of its own. Loading and wrapping draw random numbers; the global generators are put back.
2. The library's bridge wraps the model **in place**. The model is ours alone, so nobody else's
   changes; but the bridge keeps its own split copies of a joint ``c_attn``, and weights trained
   or edited through it are not to be saved through Hugging Face.
3. The library's ``hook_resid_mid`` reaches only the MLP's branch. Ours is wired at the exit of
   attention: what an edit adds to ``resid_pre + attn_out`` is added to ``attn_out``, after the
   edits and reads of that site. An edit that changes nothing leaves every bit as it was.
4. The audit (:mod:`mo_interp.audit`) tries every site; those that pass are offered. With grouped
   attention ``k`` and ``v`` have the key-value heads.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from mo_interp.audit import sound_sites
from mo_interp.errors import CorruptArtefact, SpecError, nearest
from mo_interp.export import untouched
from mo_interp.model import Model
from mo_interp.sites import SiteSet
from mo_interp.store import read_json

__all__ = ["FAMILIES", "Bridged", "open_huggingface"]

FAMILIES = ("GPT2LMHeadModel", "LlamaForCausalLM")
"""Architectures whose bridges are tested here."""


class _Middle(HookPoint):
    """``resid_mid`` of one block: ``before`` is kept from its entry to the exit of attention."""

    before: Tensor | None = None


class _Entry(nn.Module):
    """A block's entry, which keeps the stream for a ``resid_mid`` that is in use."""

    def __init__(self, point: nn.Module, middle: _Middle) -> None:
        super().__init__()
        self.point, self.middle = point, middle

    def forward(self, x: Tensor) -> Tensor:
        x = self.point(x)
        self.middle.before = x if self.middle.has_hooks() else None
        return x


class _Exit(nn.Module):
    """The exit of attention, where what was done to the stream is added to ``attn_out``."""

    def __init__(self, point: nn.Module, middle: _Middle) -> None:
        super().__init__()
        self.point, self.middle = point, middle

    def forward(self, x: Tensor) -> Tensor:
        x = self.point(x)
        if self.middle.before is None:
            return x
        stream, self.middle.before = self.middle.before + x, None
        return x + (self.middle(stream) - stream)


class Bridged(nn.Module):
    """A bridged model with TransformerLens hook names and a sound ``resid_mid``."""

    def __init__(self, bridge: Any) -> None:
        """Wrap a ``TransformerBridge``; hooks are found under the names of :class:`Site`."""
        super().__init__()
        self.bridge = bridge
        self.cfg: Any = bridge.cfg
        self.hook_dict: dict[str, HookPoint] = dict(bridge.hook_dict)
        for layer, block in enumerate(bridge.blocks):
            middle = _Middle()
            self.hook_dict[f"blocks.{layer}.hook_resid_mid"] = middle
            block.hook_in = _Entry(block.hook_in, middle)
            block.attn.hook_out = _Exit(block.attn.hook_out, middle)

    def forward(self, tokens: Tensor, *, return_type: str = "logits") -> Tensor:
        """Logits ``[batch pos vocab]`` of ids ``[batch pos]``, all positions attended to."""
        return self.bridge(tokens, return_type=return_type)


def open_huggingface(folder: str | Path, *, seed: int = 0) -> Model:
    """The model of a local Hugging Face folder, offering only the sites its audit proves.

    Args:
        folder: with ``config.json`` and ``*.safetensors``, of one of :data:`FAMILIES`.
        seed: of the audit's prompts and edits.

    Raises:
        CorruptArtefact: the folder has no readable config or no safetensors.
        SpecError: an architecture that is not among :data:`FAMILIES`.
    """
    folder = Path(folder)
    given = str((read_json(folder / "config.json").get("architectures") or ["?"])[0])
    if given not in FAMILIES:
        raise SpecError(f"'{folder}' holds a {given}{nearest(given, FAMILIES)}")
    if not any(folder.glob("*.safetensors")):
        raise CorruptArtefact(f"'{folder}': expected *.safetensors, found none (no pickle is read)")
    with untouched(), _quiet():
        body = Bridged(_bridge(folder, given))
    model = Model(body, SiteSet.of(body.cfg))
    model.sites = sound_sites(model, seed=seed)
    return model


def _bridge(folder: Path, architecture: str) -> nn.Module:
    """The library's bridge around the model in ``folder``, in evaluation mode."""
    import transformers
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    hf = getattr(transformers, architecture).from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        attn_implementation="eager",
        dtype=torch.float32,
    )
    return build_bridge_from_module(hf.eval(), architecture, hf_config=hf.config).eval()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' progress bars and load reports."""
    from transformers.utils import logging as hf_logging

    bars, level = hf_logging.is_progress_bar_enabled(), hf_logging.get_verbosity()
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()
