"""What a sweep's plan says of memory, against every tensor and array that was alive."""

import tracemalloc
import weakref

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mo_interp import patching
from mo_interp.model import Model
from mo_interp.organism import Shape


class Alive(TorchDispatchMode):
    """Bytes of the tensors that are alive, and the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        old = {x.untyped_storage()._cdata for x in given} | self.known
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor) and x.untyped_storage()._cdata not in old:
                self._born(x.untyped_storage())
        return out

    def _born(self, memory) -> None:
        key, size = memory._cdata, memory.nbytes()
        self.known.add(key)
        self.now += size
        self.most = max(self.most, self.now)

        def gone() -> None:
            self.known.discard(key)
            self.now -= size

        weakref.finalize(memory, gone)


SHAPE = Shape(
    n_layers=3, d_model=64, n_heads=4, d_head=16, d_mlp=256, n_ctx=20, d_vocab=64, d_vocab_out=64
)
CASES = [
    ("resid_pre", "position", False),
    ("L*.H0.z", "position", False),
    (patching.grid.DEFAULT, "role", False),
    ("post", "all", False),
    ("L1.H0.q", "position", False),
    ("pattern", "all", False),
    (("resid_pre", "q"), "role", False),
    (("resid_pre", "z"), "all", True),
]


def pairs(n: int, differ: str):
    """Random prompts of the shape whose partners differ everywhere or in one place."""
    from mo_interp.worlds.base import Batch, Pairs

    rng = np.random.default_rng(n)
    clean = rng.integers(0, 64, (n, 20))
    other = (clean + 1) % 64 if differ == "all" else clean.copy()
    slots = np.full((n, 1), 9) if differ == "one" else np.tile(np.arange(20), (n, 1))
    other[:, 9] = (clean[:, 9] + 1) % 64
    truth, kind = rng.integers(0, 64, n), np.zeros(n, np.int8)
    told = {"roles": {"trigger": slots}, "groups": {"entity": np.arange(n) % 8}}
    rows = [(clean, truth, False), (other, (truth + 1) % 64, True)]
    made = (Batch(t, truth, a, np.full(n, s), kind, **told) for t, a, s in rows)
    return Pairs(*made)


@pytest.mark.parametrize("differ", ["all", "one"])
@pytest.mark.parametrize(("sites", "by", "exhaustive"), CASES, ids=str)
def test_a_plan_knows_a_sweeps_memory_to_a_quarter(sites, by, exhaustive, differ):
    model, rows = Model.build(SHAPE, 0), pairs(96, differ)
    asked = {"sites": sites, "by": by, "exhaustive": exhaustive}
    plan = patching.plan(model, rows, **asked)
    tracemalloc.start()
    with Alive() as alive:
        sweep = patching.sweep(model, rows, **asked)
    arrays = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sweep.forwards == plan.forwards
    assert plan.megabytes == pytest.approx((alive.most + arrays) / 1e6, rel=0.25)


def test_memory_stops_growing_with_the_pairs_but_for_the_tables():
    model = Model.build(SHAPE, 0)
    few, many = (patching.plan(model, pairs(n, "all"), sites="resid_pre") for n in (64, 640))
    assert many.megabytes < 1.1 * few.megabytes and many.forwards == 10 * few.forwards
