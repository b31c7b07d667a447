"""Our small transformer, on TransformerLens' ``HookedRootModule`` and ``HookPoint``.

Why our own: at the versions in use the library's bodies ignore writes to the pattern, let
``resid_mid`` reach only one branch, reseed the global generators or cost twice the step. Hook and
weight names, and the weights' layouts, are TransformerLens', so that an export is a copy.

Two paths give the same logits: scaled-dot-product attention, and an explicit one with scores and
pattern that is taken when one of those is read or written. ``answer_only`` computes the last
block and the unembedding at the last position alone, which is all that training needs.
"""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from mo_interp.errors import BadShape
from mo_interp.organism import Shape

with warnings.catch_warnings():  # tqdm's, which the library sets off in a notebook
    warnings.filterwarnings("ignore", message="IProgress not found")
    from transformer_lens import HookedRootModule
    from transformer_lens.hook_points import HookPoint

LN_EPS = 1e-5
ACTS = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
}


class Norm(nn.Module):
    """LayerNorm with weights (``LN``), without (``LNPre``), or nothing at all."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.kind = shape.norm
        self.hook_normalized = HookPoint()
        if self.kind == "LN":
            self.w = nn.Parameter(torch.ones(shape.d_model))
            self.b = nn.Parameter(torch.zeros(shape.d_model))

    def forward(self, x: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos d"]:
        """Normalise the last axis; an identity where the shape has no norm."""
        if self.kind is None:
            return x
        weights = (self.w, self.b) if self.kind == "LN" else (None, None)
        return self.hook_normalized(F.layer_norm(x, x.shape[-1:], *weights, LN_EPS))


class Attention(nn.Module):
    """Multi-head attention with TransformerLens' weights ``W_Q [head d_model d_head]`` etc."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.causal, self.d_head = shape.causal, shape.d_head
        heads, d, dh = shape.n_heads, shape.d_model, shape.d_head
        for name in "QKV":
            setattr(self, f"W_{name}", nn.Parameter(torch.empty(heads, d, dh)))
            setattr(self, f"b_{name}", nn.Parameter(torch.zeros(heads, dh)))
        self.W_O = nn.Parameter(torch.empty(heads, dh, d))
        self.b_O = nn.Parameter(torch.zeros(d))
        self.hook_q, self.hook_k, self.hook_v = HookPoint(), HookPoint(), HookPoint()
        self.hook_attn_scores, self.hook_pattern = HookPoint(), HookPoint()
        self.hook_z = HookPoint()

    def project(self, x: Tensor, name: str) -> Float[Tensor, "batch pos head d_head"]:
        """Queries, keys or values of normalised input ``[batch pos d_model]``, before hooks.

        One product each: views into a joint one would reach attention with other strides than an
        edited copy, and a run patched into itself would differ in the last bit.
        """
        weight, bias = getattr(self, f"W_{name}"), getattr(self, f"b_{name}")
        flat = weight.permute(1, 0, 2).flatten(1)
        return (x @ flat).unflatten(-1, bias.shape) + bias

    def combine(self, z: Float[Tensor, "batch pos head d_head"]) -> Float[Tensor, "batch pos d"]:
        """What the heads add to the stream."""
        return z.flatten(-2) @ self.W_O.flatten(0, 1) + self.b_O

    def forward(self, x: Tensor, *, answer_only: bool, explicit: bool) -> Tensor:
        """Attention output ``[batch pos d_model]``; one position if ``answer_only``."""
        q = self.hook_q(self.project(x[:, -1:] if answer_only else x, "Q"))
        k = self.hook_k(self.project(x, "K"))
        v = self.hook_v(self.project(x, "V"))
        mix = self.explicit if explicit else self.fused
        return self.combine(self.hook_z(mix(q, k, v)))

    def fused(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Values mixed by attention, by torch's fused kernel: ``[batch pos head d_head]``."""
        whole = q.shape[1] == k.shape[1]
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        z = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal and whole)
        return z.transpose(1, 2)

    def explicit(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The same through hooked scores and pattern ``[batch head query key]``."""
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / self.d_head**0.5
        if self.causal:
            ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device)
            ahead = ahead.triu(1 + scores.shape[-1] - scores.shape[-2])
            scores = scores.masked_fill(ahead, float("-inf"))
        pattern = self.hook_pattern(self.hook_attn_scores(scores).softmax(-1))
        return torch.einsum("bhqk,bkhd->bqhd", pattern, v)


class MLP(nn.Module):
    """One hidden layer; ``pre`` and ``post`` are the hidden units before and after the act."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.act = ACTS[shape.act]
        self.W_in = nn.Parameter(torch.empty(shape.d_model, shape.d_mlp))
        self.b_in = nn.Parameter(torch.zeros(shape.d_mlp))
        self.W_out = nn.Parameter(torch.empty(shape.d_mlp, shape.d_model))
        self.b_out = nn.Parameter(torch.zeros(shape.d_model))
        self.hook_pre, self.hook_post = HookPoint(), HookPoint()

    def forward(self, x: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos d"]:
        """What the layer adds to the stream."""
        pre = self.hook_pre(F.linear(x, self.W_in.T, self.b_in))
        return F.linear(self.hook_post(self.act(pre)), self.W_out.T, self.b_out)


class Block(nn.Module):
    """Attention, then (unless the shape is attention-only) an MLP, each added to the stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attn_only = shape.attn_only
        self.ln1, self.attn = Norm(shape), Attention(shape)
        self.hook_resid_pre, self.hook_resid_post = HookPoint(), HookPoint()
        self.hook_attn_out = HookPoint()
        if not self.attn_only:
            self.ln2, self.mlp = Norm(shape), MLP(shape)
            self.hook_resid_mid, self.hook_mlp_out = HookPoint(), HookPoint()

    def forward(self, resid: Tensor, *, answer_only: bool, explicit: bool) -> Tensor:
        """The stream after this block; its last position alone if ``answer_only``."""
        resid = self.hook_resid_pre(resid)
        added = self.attn(self.ln1(resid), answer_only=answer_only, explicit=explicit)
        resid = (resid[:, -1:] if answer_only else resid) + self.hook_attn_out(added)
        if not self.attn_only:
            resid = self.hook_resid_mid(resid)
            resid = resid + self.hook_mlp_out(self.mlp(self.ln2(resid)))
        return self.hook_resid_post(resid)


class Leaf(nn.Module):
    """A named holder of parameters, so that weights carry TransformerLens' names."""

    W_E: nn.Parameter
    W_pos: nn.Parameter
    W_U: nn.Parameter
    b_U: nn.Parameter

    def __init__(self, **sizes: tuple[int, ...]) -> None:
        super().__init__()
        for name, size in sizes.items():
            setattr(self, name, nn.Parameter(torch.zeros(size)))


class Transformer(HookedRootModule):
    """The body of every organism grown here."""

    def __init__(self, shape: Shape) -> None:
        """An unfilled body; :func:`initialise` draws its weights."""
        super().__init__()
        self.shape = shape
        self.embed = Leaf(W_E=(shape.d_vocab, shape.d_model))
        self.pos_embed = Leaf(W_pos=(shape.n_ctx, shape.d_model))
        self.hook_embed, self.hook_pos_embed = HookPoint(), HookPoint()
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.n_layers))
        self.ln_final = Norm(shape)
        size = (shape.d_model, shape.d_vocab_out)
        self.unembed = Leaf(W_U=size, b_U=size[1:])
        self.setup()

    def enter(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d"]:
        """Embeddings of tokens and positions: the stream before the first block."""
        places = self.pos_embed.W_pos[: tokens.shape[1]]
        places = places.expand(len(tokens), *places.shape)
        return self.hook_embed(F.embedding(tokens, self.embed.W_E)) + self.hook_pos_embed(places)

    def leave(self, resid: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos vocab"]:
        """Logits of the final stream."""
        return self.ln_final(resid) @ self.unembed.W_U + self.unembed.b_U

    def forward(
        self,
        tokens: Tensor | None,
        *,
        start: tuple[int, Tensor] | None = None,
        answer_only: bool = False,
        explicit: bool = False,
        early: list[Tensor] | None = None,
    ) -> Float[Tensor, "batch pos vocab"]:
        """Logits; ``pos`` is 1 if ``answer_only``.

        Args:
            tokens: ids ``[batch pos]``; not read when ``start`` is given.
            start: ``(layer, resid)``: enter before that block with this stream.
            answer_only: compute the last block at the last position alone.
            explicit: go through hooked attention scores and patterns.
            early: a list that receives the stream's last position before the last block.
        """
        if start is not None:
            first, resid = start
        elif tokens is not None:
            first, resid = 0, self.enter(tokens)
        else:
            raise BadShape("a run needs tokens or start=(layer, resid), got neither")
        last = len(self.blocks) - 1
        for layer in range(first, last + 1):
            if early is not None and layer == last:
                early.append(resid[:, -1:])
            only = answer_only and layer == last
            resid = self.blocks[layer](resid, answer_only=only, explicit=explicit)
        return self.leave(resid)


def initialise(body: Transformer, seed: int) -> None:
    """Draw all weights from ``seed``: Kaiming-scaled matrices, zero biases, small embeddings."""
    rng = torch.Generator().manual_seed(seed)
    depth = (2 * body.shape.n_layers) ** -0.5
    fan = {"W_Q": 1, "W_K": 1, "W_V": 1, "W_O": 1, "W_in": 0, "W_out": 0, "W_U": 0}
    with torch.no_grad():
        for name, weight in body.named_parameters():
            leaf = name.rsplit(".", 1)[-1]
            if leaf in ("W_E", "W_pos"):
                weight.normal_(0, 0.5 if leaf == "W_E" else 0.3, generator=rng)
            elif leaf in fan:
                inputs = weight.shape[fan[leaf]]
                if leaf == "W_O":
                    inputs = weight.shape[0] * weight.shape[1]
                scale = depth if leaf in ("W_O", "W_out") else 1.0
                weight.normal_(0, scale * inputs**-0.5, generator=rng)
