"""What a changed vector of the residual stream does downstream: arrays in, arrays out, no hooks.

Patching a cut, a part's output or some neurons changes the stream at a few positions of one layer
and nothing else. So a patched run needs, of all that a forward pass computes:

1. **Entering block m**, the changed positions' queries, keys and values; all others are those of
   the unedited run (:class:`Trace`).
2. **In block m**, attention and MLP at the positions from the first changed one on: earlier ones
   cannot see it (in a bidirectional body there is no such bound, and the window is the prompt).
3. **In the blocks after it**, the same window in full, over the unedited run's earlier keys.
4. **In the last block**, one query: the read-out's. Its keys and values need not be computed
   either: ``q . (x W_K)`` is ``(q W_K') . x``, and the mix of values is ``(sum p x) W_V``.

Changes of many layers, positions, heads and prompts are cut into batches of about
:data:`TOKENS` tokens, which is what the processor's cache holds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from mo_interp.transformer import ACTS, LN_EPS, Norm, Transformer

TOKENS, FEW, LAST = 384, 256, 128
"""Tokens in a batch; tokens below which different windows share one; rows at the last block."""
KEPT = ("resid", "q", "kv", "z", "attn_out", "mid", "post", "mlp_out")


@dataclass(frozen=True, eq=False)
class Trace:
    """What an unedited run computed; in the last block at the read-out alone (``pos`` is 1)."""

    resid: list[Float[Tensor, "batch _ d"]]
    """The stream before each block, then after the last."""
    keys: Float[Tensor, "batch pos d"]
    """The normalised stream entering the last block."""
    q: list[Float[Tensor, "batch pos head d_head"]]
    """Queries of every block but the last."""
    kv: list[Float[Tensor, "batch pos 2 head d_head"]]
    """Its keys and values, side by side."""
    z: list[Float[Tensor, "batch _ head d_head"]]
    attn_out: list[Float[Tensor, "batch _ d"]]
    mid: list[Float[Tensor, "batch _ d"]]
    post: list[Float[Tensor, "batch _ d_mlp"]]
    mlp_out: list[Float[Tensor, "batch _ d"]]
    """The last three are empty in an attention-only body."""


@dataclass(frozen=True, eq=False)
class Change:
    """Interventions on the stream that enters block ``layer``: each changes a few vectors of a row.

    ``owner`` ascends, and so does ``at`` within one owner. ``layer == n_layers`` is the stream
    after the last block.
    """

    layer: int
    rows: Int[Tensor, " n"]
    """The prompt of each intervention."""
    owner: Int[Tensor, " c"]
    """The intervention each changed vector belongs to."""
    at: Int[Tensor, " c"]
    """Its position."""
    vectors: Float[Tensor, "c d"]
    """Its new value."""

    @property
    def first(self) -> Int[Tensor, " n"]:
        """The first changed position of each intervention."""
        return self.at[starts(self.owner, len(self.rows))]

    def sorted(self) -> tuple[Change, Tensor]:
        """The same by first position, and where each intervention stood before."""
        order = self.first.argsort(stable=True)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device)
        owner, packed = rank[self.owner].sort(stable=True)
        change = Change(self.layer, self.rows[order], owner, self.at[packed], self.vectors[packed])
        return change, order


def joined(changes: list[Change]) -> Change:
    """Interventions on one layer, one list after the other."""
    offsets = [0]
    for change in changes[:-1]:
        offsets.append(offsets[-1] + len(change.rows))
    owner = torch.cat([c.owner + o for c, o in zip(changes, offsets, strict=True)])
    rows, at, vectors = (
        torch.cat([getattr(c, name) for c in changes]) for name in ("rows", "at", "vectors")
    )
    return Change(changes[0].layer, rows, owner, at, vectors)


def starts(owner: Tensor, n: int) -> Tensor:
    """Index of each owner's first entry; every owner has one."""
    return torch.searchsorted(owner, torch.arange(n, device=owner.device))


def _norm(norm: Norm, x: Tensor) -> Tensor:
    """The body's norm, by torch's fused kernel."""
    if norm.kind is None:
        return x
    weights = (norm.w, norm.b) if norm.kind == "LN" else (None, None)
    return F.layer_norm(x, x.shape[-1:], *weights, LN_EPS)


def _put(x: Tensor, owner: Tensor, at: Tensor, new: Tensor) -> None:
    """Write rows ``new [c ...]`` into ``x [batch pos ...]``, in place."""
    x.flatten(0, 1).index_copy_(0, owner * x.shape[1] + at, new)


class Unrolled:
    """A :class:`Transformer` laid out for running pieces of it on arrays."""

    def __init__(self, body: Transformer) -> None:
        """Copies of the projections, side by side; the other weights are the body's own."""
        self.body, self.shape = body, body.shape
        self.blocks: list[Any] = list(body.blocks)
        attns = [block.attn for block in self.blocks]
        self.W_qkv = [
            torch.cat([w.permute(1, 0, 2).flatten(1) for w in (a.W_Q, a.W_K, a.W_V)], 1)
            for a in attns
        ]
        self.b_qkv = [torch.cat([b.flatten() for b in (a.b_Q, a.b_K, a.b_V)]) for a in attns]
        self.last = len(self.blocks) - 1

    # The unedited run -------------------------------------------------------------------------

    def trace(self, tokens: Int[Tensor, "batch pos"]) -> Trace:
        """Run prompts and keep what patched runs need."""
        x = self.body.enter(tokens)
        got: dict[str, list[Tensor]] = {name: [] for name in KEPT}
        for layer in range(self.last):
            got["resid"].append(x)
            q, kv = self._project(layer, x)
            got["q"].append(q)
            got["kv"].append(kv)
            x = self._finish(got, layer, x, self._attend(q, kv))
        got["resid"].append(x)
        keys = _norm(self.blocks[self.last].ln1, x)
        x = self._finish(got, self.last, x[:, -1:], self._answer(keys)[:, None])
        got["resid"].append(x)
        return Trace(keys=keys, **got)

    def _finish(self, got: dict[str, list[Tensor]], layer: int, x: Tensor, z: Tensor) -> Tensor:
        """The stream after a block, from the stream before it and its heads' outputs; all kept."""
        block = self.blocks[layer]
        got["z"].append(z)
        got["attn_out"].append(block.attn.combine(z))
        x = x + got["attn_out"][-1]
        if self.shape.attn_only:
            return x
        got["mid"].append(x)
        got["post"].append(self._neurons(layer, x))
        got["mlp_out"].append(torch.matmul(got["post"][-1], block.mlp.W_out) + block.mlp.b_out)
        return x + got["mlp_out"][-1]

    # Pieces of a block ------------------------------------------------------------------------

    def _project(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Queries ``[... head d_head]``, keys and values ``[... 2 head d_head]`` of the stream."""
        normed = _norm(self.blocks[layer].ln1, x).flatten(0, -2)
        flat = torch.addmm(self.b_qkv[layer], normed, self.W_qkv[layer])
        qkv = flat.view(*x.shape[:-1], 3, self.shape.n_heads, self.shape.d_head)
        return qkv[..., 0, :, :], qkv[..., 1:, :, :]

    def _attend(self, q: Tensor, kv: Tensor) -> Tensor:
        """Mixed values ``[batch window head d_head]`` for queries at the last positions."""
        window, n = q.shape[1], kv.shape[1]
        whole, mask = window == n, None
        if self.shape.causal and not whole:
            mask = q.new_full((window, n), float("-inf")).triu(1 + n - window)
        q, k, v = (t.transpose(1, 2) for t in (q, kv[:, :, 0], kv[:, :, 1]))
        is_causal = self.shape.causal and whole
        z = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal)
        return z.transpose(1, 2)

    def _answer(self, keys: Tensor) -> Tensor:
        """Mixed values ``[batch head d_head]`` of the last block's one query, from its keys."""
        attn = self.blocks[self.last].attn
        asks = keys[:, -1].expand(self.shape.n_heads, -1, -1)
        q = torch.baddbmm(attn.b_Q[:, None], asks, attn.W_Q)
        wants = torch.bmm(q, attn.W_K.transpose(1, 2)).transpose(0, 1) / attn.d_head**0.5
        mixed = torch.bmm(torch.bmm(wants, keys.transpose(1, 2)).softmax(-1), keys)
        z = torch.baddbmm(attn.b_V[:, None], mixed.transpose(0, 1), attn.W_V)
        return z.transpose(0, 1)

    def _neurons(self, layer: int, x: Tensor) -> Tensor:
        """Neurons after the act ``[... d_mlp]``, of the stream ``x [... d]``."""
        mlp = self.blocks[layer].mlp
        normed = _norm(self.blocks[layer].ln2, x).flatten(0, -2)
        pre = torch.addmm(mlp.b_in, normed, mlp.W_in)
        post = pre.relu_() if self.shape.act == "relu" else ACTS[self.shape.act](pre)
        return post.view(*x.shape[:-1], -1)

    def after_mlp(self, layer: int, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """The stream after block ``layer``, from the stream after its attention."""
        if self.shape.attn_only:
            return x
        mlp = self.blocks[layer].mlp
        post = self._neurons(layer, x).flatten(0, -2)
        return torch.addmm(x.flatten(0, -2), post, mlp.W_out).add_(mlp.b_out).view(x.shape)

    # Changes, downstream ----------------------------------------------------------------------

    def read_out(self, trace: Trace, change: Change) -> Float[Tensor, "n d"]:
        """The final stream at the read-out under each intervention, everything else as it was."""
        if change.layer > self.last:
            return self._at_the_end(trace, change)
        change, order = change.sorted()
        out = change.vectors.new_empty(len(order), self.shape.d_model)
        first = change.first.tolist()
        edges = starts(change.owner, len(order)).tolist() + [len(change.owner)]
        for a, b in self._batches(change.layer, first, trace.keys.shape[1]):
            packed = slice(edges[a], edges[b])
            one = Change(
                change.layer,
                change.rows[a:b],
                change.owner[packed] - a,
                change.at[packed],
                change.vectors[packed],
            )
            out[order[a:b]] = self._run(trace, one, first[a] if self.shape.causal else 0)
        return out

    def _at_the_end(self, trace: Trace, change: Change) -> Tensor:
        """After the last block nothing moves any more, and only the read-out counts."""
        out = trace.resid[-1][change.rows, -1]
        seen = change.at == trace.keys.shape[1] - 1
        out[change.owner[seen]] = change.vectors[seen]
        return out

    def _batches(self, layer: int, first: list[int], length: int) -> Iterator[tuple[int, int]]:
        """Slices of interventions sorted by window: of one window, unless that would be few."""
        n, a = len(first), 0
        while a < n:
            window = length - first[a]
            same = bisect_right(first, first[a])
            b = min(a + max(1, TOKENS // window), max(same, a + max(1, FEW // window)))
            b = min(n, a + LAST if layer == self.last else min(b, a + LAST))
            yield a, b
            a = b

    def _run(self, trace: Trace, change: Change, start: int) -> Tensor:
        """One batch of interventions, none of which changes a position before ``start``."""
        rows, layer = change.rows, change.layer
        if layer == self.last:
            return self._run_last(trace, change)
        x = trace.resid[layer][:, start:].index_select(0, rows)
        q = trace.q[layer][:, start:].index_select(0, rows)
        kv = trace.kv[layer].index_select(0, rows)
        new_q, new_kv = self._project(layer, change.vectors)
        _put(x, change.owner, change.at - start, change.vectors)
        _put(q, change.owner, change.at - start, new_q)
        _put(kv, change.owner, change.at, new_kv)
        x = self._add(layer, x, self._attend(q, kv))
        for later in range(layer + 1, self.last):
            q, new_kv = self._project(later, x)
            before = trace.kv[later][:, :start].index_select(0, rows)
            x = self._add(later, x, self._attend(q, torch.cat([before, new_kv], 1)))
        new = _norm(self.blocks[self.last].ln1, x)
        keys = torch.cat([trace.keys[:, :start].index_select(0, rows), new], 1)
        return self._add(self.last, x[:, -1], self._answer(keys))

    def _run_last(self, trace: Trace, change: Change) -> Tensor:
        """The last block alone: its input has changed at a few positions, and is read by one."""
        x = trace.resid[self.last][:, -1].index_select(0, change.rows)
        seen = change.at == trace.keys.shape[1] - 1
        x[change.owner[seen]] = change.vectors[seen]
        keys = trace.keys.index_select(0, change.rows)
        _put(keys, change.owner, change.at, _norm(self.blocks[self.last].ln1, change.vectors))
        return self._add(self.last, x, self._answer(keys))

    def _add(self, layer: int, x: Tensor, z: Tensor) -> Tensor:
        """The stream after a block, from the stream before it and its heads' outputs."""
        attn = self.blocks[layer].attn
        flat, z = x.flatten(0, -2), z.reshape(-1, self.shape.n_heads * self.shape.d_head)
        mid = torch.addmm(flat, z, attn.W_O.flatten(0, 1)).add_(attn.b_O)
        return self.after_mlp(layer, mid.view(x.shape))

    def difference(
        self, final: Float[Tensor, "n d"], up: Int[Tensor, " n"], down: Int[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """Logit of token ``up`` minus logit of token ``down``, of the final stream."""
        unembed: Any = self.body.unembed
        W, b = unembed.W_U, unembed.b_U
        towards = (W[:, up] - W[:, down]).T
        return (_norm(self.body.ln_final, final) * towards).sum(-1) + b[up] - b[down]
