"""Leaving a model to write on its own: greedy continuation with kept keys and values.

Rows may begin to write at different positions. Up to there they read what is given; from there on
they read what they wrote. A row is done when it says ``end``. Equal to asking the whole body anew
for every token (a test compares), at the cost of one position a step. Reads weights and hooks
nothing: to write under an edit, use :meth:`mo_interp.model.Model.generate`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mo_interp.errors import BadShape, SpecError
from mo_interp.model import Model
from mo_interp.transformer import Transformer

ROWS_AT_ONCE = 128

Kept = list[tuple[Tensor, Tensor]]


@torch.no_grad()
def write(model: Model, tokens: np.ndarray, begin: np.ndarray, *, end: int) -> np.ndarray:
    """Tokens ``[batch n_ctx + 1]``: given before ``begin [batch]``, written from there to ``end``.

    What follows an ``end`` is ``end``. Raises SpecError for a bridged or a non-causal body,
    BadShape where a row is to begin outside what is given.
    """
    shape = model.shape
    if shape is None or not shape.causal:
        raise SpecError("writing on needs a causal body of our own")
    if begin.min() < 1 or begin.max() > tokens.shape[1]:
        raise BadShape(f"rows begin at {begin.min()}-{begin.max()}; given are {tokens.shape[1]}")
    parts = []
    for first in range(0, len(tokens), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        parts.append(_write(model.body, tokens[rows], begin[rows], end, shape.n_ctx))
    return np.concatenate(parts)


def _write(
    body: Transformer, tokens: np.ndarray, begin: np.ndarray, end: int, n_ctx: int
) -> np.ndarray:
    text = np.full((len(tokens), n_ctx + 1), end)
    text[:, : tokens.shape[1]] = tokens
    kept: Kept = [_nothing(body, len(tokens)) for _ in body.blocks]
    done, at = np.zeros(len(tokens), dtype=bool), int(begin.min())
    logits = _read(body, text[:, :at], 0, kept)
    while True:
        said = logits.argmax(-1).numpy()
        own = begin <= at
        text[own, at] = np.where(done, end, said)[own]
        done |= own & (said == end)
        if done.all() or at == n_ctx:
            break
        logits = _read(body, text[:, at : at + 1], at, kept)
        at += 1
    text[:, at + 1 :] = end
    return text


def _nothing(body: Transformer, rows: int) -> tuple[Tensor, Tensor]:
    empty = torch.empty(rows, 0, body.shape.n_heads, body.shape.d_head)
    return empty, empty


def _read(body: Transformer, text: np.ndarray, at: int, kept: Kept) -> Tensor:
    """Logits ``[batch vocab]`` after reading ``text`` from position ``at`` on; adds to ``kept``."""
    places = body.pos_embed.W_pos[at : at + text.shape[1]]
    resid = body.embed.W_E[torch.as_tensor(text)] + places
    blocks: Any = body.blocks
    for layer, block in enumerate(blocks):
        x = block.ln1(resid)
        q = block.attn.project(x, "Q")
        k, v = (
            torch.cat([old, block.attn.project(x, name)], dim=1)
            for old, name in zip(kept[layer], "KV", strict=True)
        )
        kept[layer] = (k, v)
        resid = resid + block.attn.combine(block.attn.fused(q, k, v))
        if not block.attn_only:
            resid = resid + block.mlp(block.ln2(resid))
    return body.leave(resid[:, -1:])[:, 0]
