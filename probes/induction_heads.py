"""Induction heads: a circuit that the field knows, trained from nothing and found by our sweep.

    python probes/induction_heads.py

1. A two-layer attention-only body is trained on random words that repeat. Period and start vary
   from row to row, so that only the words tell where to look.
2. The sweep patches every head, on two kinds of pairs. *word*: ``.. A b .. A`` and ``.. A d .. A``,
   where only what is copied changes: *induction* heads. *order*: ``.. A b .. C d .. A`` and
   ``.. C b .. A d .. A``, where which word came before which changes: *previous-token* heads too.
3. Beside it what these heads are known by, from attention alone (Olsson et al., arXiv 2209.11895):
   *prefix matching*, attention to what follows this word's earlier occurrences; and *previous*.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from mo_interp import patching
from mo_interp.model import Model
from mo_interp.organism import Shape
from mo_interp.origins import lying
from mo_interp.records import Record, provenance, write_records
from mo_interp.worlds.base import Batch, Pairs

RESULTS = Path(__file__).parent / "results" / "induction_heads.jsonl"
WORDS, LENGTH, ASKED, START, PERIOD = 48, 32, 20, (0, 9), (3, 17)
SHAPE = Shape(2, 64, 4, 16, n_ctx=LENGTH, d_vocab=WORDS, d_vocab_out=WORDS, attn_only=True)
HEADS = [f"L{layer}.H{head}" for layer in range(2) for head in range(4)]


def main(arguments: list[str] | None = None) -> None:
    """Train, sweep, look at the attention, and write the records."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of weights and rows")
    parser.add_argument("--steps", type=int, default=1000, help="of training")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of records")
    asked = parser.parse_args(arguments)
    print(write_records(asked.out, records(trained(asked.seed, asked.steps), asked.seed)))


def repetitions(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows ``[n LENGTH]`` of words that repeat, and where the next word is known."""
    words = rng.permuted(np.tile(np.arange(WORDS), (n, 1)), axis=1)
    start, period = (rng.integers(*limits, (n, 1)) for limits in (START, PERIOD))
    at = np.arange(LENGTH)
    at = np.where(at < start, at, start + (at - start) % period)
    return np.take_along_axis(words, at, 1), np.arange(LENGTH - 1) >= start + period


def trained(seed: int, steps: int, batch: int = 64) -> Model:
    """A body that has learnt to continue repetitions, by AdamW."""
    model, rng = Model.build(SHAPE, seed), np.random.default_rng([3, seed])
    found = torch.optim.AdamW(model.body.parameters(), lr=3e-3, weight_decay=0.1)
    for _ in range(steps):
        words, known = repetitions(batch, rng)
        asked, rows = torch.as_tensor(known), torch.as_tensor(words)
        loss = F.cross_entropy(model.body(rows[:, :-1])[asked], rows[:, 1:][asked])
        found.zero_grad()
        loss.backward()
        found.step()
    return model


def changed(kind: str, n: int, seed: int) -> Pairs:
    """Prompts of different words but for the last, which came before; see the docstring, step 2."""
    rng, row = np.random.default_rng([5, seed]), np.arange(n)
    words = rng.permuted(np.tile(np.arange(WORDS), (n, 1)), axis=1)
    spare, words = words[:, -1], words[:, :ASKED]
    places = rng.permuted(np.tile(np.arange(2, ASKED // 2 - 1), (n, 1)), axis=1)
    first, second = 2 * places[:, :2].T  # even places: never one right before the other
    words[:, -1] = words[row, first]
    other, slots = words.copy(), np.stack([first, second], 1)
    if kind == "order":
        other[row, first], other[row, second] = words[row, second], words[row, first]
    else:
        slots, other[row, first + 1] = slots[:, :1] + 1, spare
    truth = words[row, first + 1]
    answer = words[row, second + 1] if kind == "order" else spare
    roles = {"trigger": slots, "answer": np.full((n, 1), ASKED - 1)}
    groups = {"entity": first, "fact": row, "layout": row}
    told = {"near_miss": np.zeros(n, np.int8), "roles": roles, "groups": groups}
    clean = Batch(words, truth, truth, np.zeros(n, dtype=bool), **told)
    return Pairs(clean, Batch(other, truth, answer, np.ones(n, dtype=bool), **told))


def attention(model: Model, seed: int, n: int = 256) -> tuple[list[float], list[float], float]:
    """Prefix-matching and previous-word score of every head, and the accuracy, on fresh rows."""
    words, known = repetitions(n, np.random.default_rng([7, seed]))
    run = model.run(words, read="L*.H*.pattern")
    row, at = np.nonzero(known)
    after = np.zeros((n, LENGTH, LENGTH), dtype=bool)  # the word before it is the query's word
    after[:, :, 1:] = words[:, :, None] == words[:, None, :-1]
    after &= np.tri(LENGTH, dtype=bool)
    patterns = [run.acts[f"{head}.pattern"].numpy() for head in HEADS]
    prefix = [float((p * after).sum(-1)[row, at].mean()) for p in patterns]
    right = run.logits.argmax(-1).numpy()[row, at] == words[row, at + 1]
    return prefix, [float(p[row, at, at - 1].mean()) for p in patterns], float(right.mean())


def records(model: Model, seed: int, n: int = 256) -> list[Record]:
    """A record per head, and one of what the model can do."""
    prefix, previous, accuracy = attention(model, seed)
    scores = zip(HEADS, prefix, previous, strict=True)
    heads = {f"{head}.z": {"prefix": a, "previous": b} for head, a, b in scores}
    able = {"accuracy": accuracy, "pairs": n}
    for kind in ("word", "order"):
        pairs = lying(model, changed(kind, n, seed))
        able[f"{kind}_pairs"] = len(pairs)
        for cell in patching.sweep(model, pairs, sites="z", by="all").cells:
            heads[str(cell.site)][f"{kind}_{cell.direction}"] = cell.effect.value
    told = {"organism": "induction_heads", "seed": seed, "versions": provenance()}
    found = [Record(kind="behaviour", model="organism", values=able, **told)]
    return found + [Record(kind="head", site=s, values=v, **told) for s, v in heads.items()]


if __name__ == "__main__":
    main()
