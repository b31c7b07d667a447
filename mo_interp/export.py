"""Out of the house: what was grown here, opened in the libraries that people use.

- :func:`to_hooked_transformer`: a TransformerLens ``HookedTransformer``, for every shape.
- :func:`to_huggingface`: a folder that ``GPT2LMHeadModel.from_pretrained`` opens, for the shapes
  that GPT-2 can express; every other shape raises, naming the field in the way.

Weights carry TransformerLens' names already, so both are copies; logits are equal to 1e-5.
"""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from mo_interp.errors import NotExportable
from mo_interp.model import Model
from mo_interp.organism import Shape
from mo_interp.store import atomic_write, write_json
from mo_interp.transformer import LN_EPS

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

__all__ = ["to_hooked_transformer", "to_huggingface", "untouched"]


@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """Put the global generators of torch, numpy and random back afterwards."""
    ours, theirs = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(ours)
        np.random.set_state(theirs)


def to_hooked_transformer(model: Model) -> HookedTransformer:
    """The same model as a ``HookedTransformer``, in evaluation mode, with weights of its own.

    Raises NotExportable for a bridged model, which the library can load by itself.
    """
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    shape = _own_shape(model)
    with untouched(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the class is deprecated; it is what was asked for
        cfg = HookedTransformerConfig(
            **{f: getattr(shape, f) for f in ("n_layers", "d_model", "n_heads", "d_head")},
            **{f: getattr(shape, f) for f in ("n_ctx", "d_vocab", "d_vocab_out", "attn_only")},
            d_mlp=None if shape.attn_only else shape.d_mlp,
            act_fn=shape.act,
            normalization_type=shape.norm,
            attention_dir="causal" if shape.causal else "bidirectional",
            eps=LN_EPS,
            init_weights=False,
            device=str(model.device),
        )
        hooked = HookedTransformer(cfg, move_to_device=False)
        missing, unknown = hooked.load_state_dict(_copies(model), strict=False)
    lost = [name for name in missing if not name.endswith(("attn.mask", "attn.IGNORE"))] + unknown
    if lost:
        raise NotExportable(f"this transformer_lens has no, or another, place for {lost}")
    return hooked.to(model.device, print_details=False).eval()


def to_huggingface(model: Model, folder: str | Path) -> Path:
    """Write ``config.json`` and ``model.safetensors``: a GPT-2 with untied embeddings.

    An attention-only body is written with MLPs of zeros.

    Raises NotExportable, naming every field that GPT-2 cannot express: it is causal, has LN (or
    LNPre, written as LN with unit weights), one vocabulary, d_model = n_heads * d_head, and no
    bias on the unembedding.
    """
    shape, weights = _own_shape(model), _copies(model)
    in_the_way = _not_gpt2(shape, weights)
    if in_the_way:
        raise NotExportable("not a GPT-2: " + "; ".join(in_the_way))
    folder = Path(folder)
    write_json(folder / "config.json", _gpt2_config(shape))
    tensors = {name: x.contiguous() for name, x in _gpt2_weights(shape, weights).items()}
    atomic_write(folder / "model.safetensors", save(tensors, metadata={"format": "pt"}))
    return folder


def _own_shape(model: Model) -> Shape:
    if model.shape is None:
        raise NotExportable("a bridged model is exported by the library that it came from")
    return model.shape


def _copies(model: Model) -> dict[str, Tensor]:
    return {name: x.detach().clone() for name, x in model.body.state_dict().items()}


def _not_gpt2(shape: Shape, weights: dict[str, Tensor]) -> list[str]:
    """What stands in the way, one phrase a field."""
    found = []
    if shape.norm is None:
        found.append("norm=None, needs 'LN' or 'LNPre'")
    if not shape.causal:
        found.append("causal=False, needs True")
    if shape.d_vocab_out != shape.d_vocab:
        found.append(f"d_vocab_out={shape.d_vocab_out}, needs d_vocab={shape.d_vocab}")
    if shape.d_model != shape.n_heads * shape.d_head:
        found.append(
            f"d_head={shape.d_head}, needs d_model / n_heads = {shape.d_model} / {shape.n_heads}"
        )
    if weights["unembed.b_U"].any():
        found.append("unembed.b_U is not zero, and GPT-2 has no such bias")
    return found


def _gpt2_config(shape: Shape) -> dict:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "dtype": "float32",
        "activation_function": shape.act,
        "n_layer": shape.n_layers,
        "n_head": shape.n_heads,
        "n_embd": shape.d_model,
        "n_inner": _inner(shape),
        "n_positions": shape.n_ctx,
        "vocab_size": shape.d_vocab,
        "layer_norm_epsilon": LN_EPS,
        "tie_word_embeddings": False,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _inner(shape: Shape) -> int:
    return 1 if shape.attn_only else shape.d_mlp


def _gpt2_weights(shape: Shape, ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under GPT-2's names, in its ``[in, out]`` layouts."""
    theirs = {
        "transformer.wte.weight": ours["embed.W_E"],
        "transformer.wpe.weight": ours["pos_embed.W_pos"],
        "lm_head.weight": ours["unembed.W_U"].T,
        **_gpt2_norm(shape, ours, "ln_final", "transformer.ln_f"),
    }
    for layer in range(shape.n_layers):
        here, there = f"blocks.{layer}.", f"transformer.h.{layer}."
        flat = [ours[f"{here}attn.W_{n}"].permute(1, 0, 2).flatten(1) for n in "QKV"]
        theirs |= {
            there + "attn.c_attn.weight": torch.cat(flat, 1),
            there + "attn.c_attn.bias": torch.cat(
                [ours[f"{here}attn.b_{n}"] for n in "QKV"]
            ).flatten(),
            there + "attn.c_proj.weight": ours[here + "attn.W_O"].flatten(0, 1),
            there + "attn.c_proj.bias": ours[here + "attn.b_O"],
            **_gpt2_norm(shape, ours, here + "ln1", there + "ln_1"),
            **_gpt2_norm(shape, ours, here + "ln2", there + "ln_2"),
            **_gpt2_mlp(shape, ours, here, there),
        }
    return theirs


def _gpt2_norm(shape: Shape, ours: dict, here: str, there: str) -> dict[str, Tensor]:
    """Scale and shift; LNPre, and the norm of an absent MLP, have none: ones and zeros."""
    unit = ours["embed.W_E"].new_ones(shape.d_model)
    weight = ours.get(f"{here}.w", unit)
    return {f"{there}.weight": weight, f"{there}.bias": ours.get(f"{here}.b", 0 * unit)}


def _gpt2_mlp(shape: Shape, ours: dict, here: str, there: str) -> dict[str, Tensor]:
    """The MLP; zeros where the body is attention-only."""
    d, inner, like = shape.d_model, _inner(shape), ours["embed.W_E"]
    names = {"W_in": "c_fc.weight", "b_in": "c_fc.bias"}
    names |= {"W_out": "c_proj.weight", "b_out": "c_proj.bias"}
    sizes = {"W_in": (d, inner), "b_in": (inner,), "W_out": (inner, d), "b_out": (d,)}
    return {
        f"{there}mlp.{names[n]}": like.new_zeros(sizes[n])
        if shape.attn_only
        else ours[f"{here}mlp.{n}"]
        for n in names
    }
