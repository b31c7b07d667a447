"""Patching sweeps against ``transformer_lens.patching`` on a HookedTransformer with our weights.

3 layers, d 128, 24 positions, every position, one thread. Both start from tokens and end with the
grid of mean logit differences; equal to 1e-5 first. Pairs of two sorts: ``all`` differ at every
position, so that nothing can be skipped; ``one`` differ at one position, as an organism's do. The
peer does the same work for both, and is timed once a turn.

``operations`` is how many times fewer multiplications ours takes, as torch counts them. A patched
position's MLP has to be run again in every later block but the last, whatever the method, so that
is near what exact patching can win where the processor is kept busy, which it is from some prompts
on; with one prompt it is calls that cost.

    python benchmarks/bench_sweeps.py [prompts ...]
"""

import sys
from collections.abc import Callable

import common  # noqa: I001  (sets the thread count before torch is imported)
import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from transformer_lens import patching as peer_patching

from mo_interp import patching
from mo_interp.model import Model
from mo_interp.organism import Shape
from mo_interp.records import Record
from mo_interp.worlds.base import Batch, Pairs

SHAPE = Shape(
    n_layers=3, d_model=128, n_heads=4, d_head=32, d_mlp=512, n_ctx=24, d_vocab=128, d_vocab_out=128
)
SWEEPS = {
    "resid_pre": ("get_act_patch_resid_pre", "resid_pre", "position"),
    "z all positions": ("get_act_patch_attn_head_out_all_pos", "z", "all"),
    "z by position": ("get_act_patch_attn_head_out_by_pos", "z", "position"),
}
PROMPTS = (1, 32, 256)


def pairs(n: int, differ: str, seed: int = 0) -> Pairs:
    """Random prompts whose partners differ at every position, or at one."""
    rng = np.random.default_rng([seed, n])
    size = (n, SHAPE.n_ctx)
    clean = rng.integers(0, SHAPE.d_vocab, size)
    other = (clean + rng.integers(1, SHAPE.d_vocab, size)) % SHAPE.d_vocab
    slots = np.tile(np.arange(SHAPE.n_ctx), (n, 1))
    if differ == "one":
        slots = rng.integers(1, SHAPE.n_ctx - 1, (n, 1))
    tokens = clean.copy()
    np.put_along_axis(tokens, slots, np.take_along_axis(other, slots, 1), axis=1)
    truth = rng.integers(0, SHAPE.d_vocab_out, n)
    answer = (truth + 1) % SHAPE.d_vocab_out
    none, roles = np.zeros(n, dtype=np.int8), {"trigger": slots}
    rows = [(clean, truth, False), (tokens, answer, True)]
    return Pairs(*(Batch(t, truth, a, np.full(n, s), none, roles=roles) for t, a, s in rows))


def by_peer(peer, function: str, rows: Pairs) -> torch.Tensor:
    """The peer's grid, from tokens on."""
    clean, triggered = (torch.as_tensor(b.tokens) for b in (rows.clean, rows.triggered))
    up, down = (torch.as_tensor(x)[:, None] for x in (rows.triggered.answer, rows.clean.truth))

    def metric(logits: torch.Tensor) -> torch.Tensor:
        last = logits[:, -1]
        return (last.gather(1, up) - last.gather(1, down)).mean()

    with torch.inference_mode():
        cache = peer.run_with_cache(clean)[1]
        return getattr(peer_patching, function)(peer, triggered, cache, metric)


def by_us(model: Model, kind: str, by: str, rows: Pairs) -> np.ndarray:
    """Our mean logit differences, ``[layer (position or head) ...]`` flattened site by site."""
    found = patching.sweep(model, rows, sites=kind, directions="denoising", by=by)
    return found.patched.mean(1)


def check_equal(model: Model, peer, name: str, rows: Pairs) -> float:
    """The largest difference in any cell; stops if it is above 1e-5."""
    function, kind, by = SWEEPS[name]
    theirs, mine = by_peer(peer, function, rows), by_us(model, kind, by, rows)
    if name == "z by position":
        theirs = theirs.transpose(1, 2)  # layer pos head -> layer head pos
    worst = float(np.abs(theirs.flatten().numpy() - mine).max())
    if worst > 1e-5:
        raise SystemExit(f"{name}, {len(rows)} prompts: differs from the peer by {worst:.1e}")
    return worst


class Counting(TorchDispatchMode):
    """Multiplications and additions of matrix products and attention, by torch's own formulas."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        packet = func._overloadpacket
        if packet not in flop_registry and "attention" not in str(packet):
            with self:
                parts = func.decompose(*args, **(kwargs or {}))
            if parts is not NotImplemented:
                return parts
        out = func(*args, **(kwargs or {}))
        if "attention" in str(packet):  # the processor's kernel, as two products a head
            q, k, v = (a.shape for a in args[:3])
            self.total += 2 * q.numel() * (k[-2] + v[-2])
        elif packet in flop_registry:
            self.total += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        return out


def operations(way: Callable[[], object]) -> int:
    """What ``way`` multiplies and adds."""
    with Counting() as counter:
        way()
    return counter.total


def measure(model: Model, peer, name: str, n: int) -> list[Record]:
    """Both sorts of pairs, equal to the peer's, then timed."""
    function, kind, by = SWEEPS[name]
    sorts = {differ: pairs(n, differ) for differ in ("all", "one")}
    worst = {differ: check_equal(model, peer, name, rows) for differ, rows in sorts.items()}
    ours = [lambda rows=rows: by_us(model, kind, by, rows) for rows in sorts.values()]
    theirs = lambda: by_peer(peer, function, sorts["all"])  # noqa: E731
    times = common.alternate(theirs, *ours)
    whole = operations(theirs)
    found = []
    for differ, mine, way in zip(sorts, times[1:], ours, strict=True):
        about = {"sweep": name, "prompts": n, "differ": differ, "worst": worst[differ]}
        fewer = round(whole / operations(way), 2)
        found.append(common.compared("sweep", times[0], mine, **about, operations=fewer))
    return found


def main(prompts: tuple[int, ...] = PROMPTS) -> list[Record]:
    common.one_thread()
    model = Model.build(SHAPE, 0)
    peer = common.hooked(model)
    records = []
    for n in prompts:
        for name in SWEEPS:
            found = measure(model, peer, name, n)
            print("\n".join(map(common.line, found)), flush=True)
            records += found
    return records


if __name__ == "__main__":
    common.keep(main(tuple(map(int, sys.argv[1:])) or PROMPTS), "sweep")
