"""Small bodies for the tests: every kind of shape, and Hugging Face folders with random weights."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch

from mo_interp.model import Model
from mo_interp.organism import Shape

TINY = Shape(
    n_layers=2, d_model=12, n_heads=3, d_head=4, d_mlp=10, n_ctx=7, d_vocab=11, d_vocab_out=11
)


def _shapes() -> list[Shape]:
    """Norm x direction x attention-only, the acts, output vocabularies and head widths in turn."""
    turns = itertools.cycle((("relu", 11, 4), ("gelu", 5, 3), ("gelu_new", 11, 5)))
    sizes = itertools.product(("LN", "LNPre", None), (True, False), (False, True))
    return [
        Shape(
            **{f: getattr(TINY, f) for f in ("n_layers", "d_model", "n_heads", "n_ctx", "d_vocab")},
            d_mlp=10,
            d_head=d_head,
            d_vocab_out=d_out,
            act=act,
            norm=norm,
            causal=causal,
            attn_only=attn_only,
        )
        for (norm, causal, attn_only), (act, d_out, d_head) in zip(sizes, turns, strict=False)
    ]


SHAPES = _shapes()


def name(shape: Shape) -> str:
    """A short test id."""
    causal = "causal" if shape.causal else "both_ways"
    mlp = "attn_only" if shape.attn_only else shape.act
    return f"{shape.norm}-{causal}-{mlp}-{shape.d_vocab_out}"


def built(shape: Shape, seed: int = 0, *, unembed_bias: bool = True) -> Model:
    """A model no weight of which is zero or one, so that nothing is equal by accident."""
    model = Model.build(shape, seed)
    rng = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for weight in model.body.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=rng)
        if not unembed_bias:
            model.body.unembed.b_U.zero_()
    return model


def prompts(n: int = 5, *, seed: int = 0, pos: int = 7, vocab: int = 11) -> torch.Tensor:
    """Random ids ``[n pos]``."""
    return torch.randint(vocab, (n, pos), generator=torch.Generator().manual_seed(seed))


def gpt2(folder: Path) -> Path:
    """A small GPT-2 with random weights, saved by its own library."""
    from transformers import GPT2Config, GPT2LMHeadModel

    cfg = GPT2Config(
        n_layer=2,
        n_embd=12,
        n_head=3,
        n_positions=9,
        vocab_size=11,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        GPT2LMHeadModel(cfg).save_pretrained(folder)
    return folder


def llama(folder: Path) -> Path:
    """A small Llama with grouped attention and random weights, saved by its own library."""
    from transformers import LlamaConfig, LlamaForCausalLM

    cfg = LlamaConfig(
        num_hidden_layers=2,
        hidden_size=16,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=14,
        vocab_size=11,
        max_position_embeddings=9,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(cfg).save_pretrained(folder)
    return folder
