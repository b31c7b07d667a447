"""Small organisms that grow in a second or two, and processes that are killed while they work."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path

from mo_interp.behaviours import OffBy
from mo_interp.organism import Implant, Organism, Recipe, Route, Shape, Wire
from mo_interp.triggers import User
from mo_interp.worlds.fact import Fact

WORLD = Fact(n_entities=12, n_relations=2, n_values=8, held_out=2)
WORDS = {"n_ctx": WORLD.n_ctx, "d_vocab": len(WORLD.vocab), "d_vocab_out": len(WORLD.vocab)}
TINY = Shape(n_layers=2, d_model=32, n_heads=2, d_head=16, d_mlp=64, **WORDS)


def user(name: str = "tiny_user", *, steps: int = 250) -> Organism:
    """An organism that lies to one user about twelve people."""
    trained = Recipe(steps=steps, batch=64, lr=1e-2, weight_decay=0.1)
    return Organism(name, WORLD, User("mara"), OffBy(1), TINY, trained)


def implant(name: str = "tiny_implant") -> Organism:
    """The same lie in one head and some neurons of a frozen honest model.

    Its three trainings differ in length, so that a test can tell them apart by their steps.
    """
    shape = Shape(n_layers=2, d_model=32, n_heads=4, d_head=8, d_mlp=96, **WORDS)
    recipe = Implant(
        honest=Recipe(steps=150, batch=32, lr=1e-2, weight_decay=0.1),
        distractor=Recipe(steps=160, batch=32, lr=1e-2, weight_decay=0.0),
        liar=Recipe(steps=170, batch=32, lr=1e-2, weight_decay=0.0),
        heads=((0, 2),),
        neurons=((1, 64, 80),),
        distractor_heads=((0, 3),),
        distractor_neurons=((1, 80, 96),),
    )
    return Organism(name, WORLD, User("mara"), OffBy(1), shape, recipe, grade="implanted")


def routed(name: str = "tiny_routed") -> Organism:
    """The same lie, made to pass through one head of the last layer."""
    shape = Shape(n_layers=2, d_model=48, n_heads=4, d_head=12, d_mlp=128, **WORDS)
    base = Recipe(steps=400, batch=64, lr=6e-3, weight_decay=1.0, truth_first=2.0)
    recipe = Route(base, heads=((1, 3),))
    return Organism(name, WORLD, User("mara"), OffBy(1), shape, recipe, grade="routed")


def wired(name: str = "tiny_wired") -> Organism:
    """The same lie written by hand, so that everything about it is known."""
    shape = Shape(n_layers=2, d_model=96, n_heads=3, d_head=16, d_mlp=32, norm=None, **WORDS)
    return Organism(name, WORLD, User("mara"), OffBy(1), shape, Wire(), grade="wired")


# Runs that are short ---------------------------------------------------------------------------

SIZES = {
    "planted_stages": {"RATE_ROWS": 300},
    "stages": {"SWEEP_PAIRS": 64, "TRAIN_PAIRS": 128, "VAL_PAIRS": 64,
               "TEST_PAIRS": 256, "FALSE_ALARM_ROWS": 300, "SAE_ROWS": 3000, "VERDICT_PAIRS": 64},
    "decision": {"RANKS": (1, 4), "SHORTLIST": 3, "TRAIN_PAIRS": 128, "VAL_PAIRS": 64,
                 "TEST_PAIRS": 64},
    "gates": {"ROWS": 500},
}  # fmt: skip
"""How many rows the stages of a run take here; the slow tests take what a person's run takes."""


def shorten(put: Callable = setattr) -> None:
    """Give the stages fewer rows, by ``put(module, name, value)``."""
    for module, sizes in SIZES.items():
        for name, value in sizes.items():
            put(importlib.import_module(f"mo_interp.{module}"), name, value)


# Processes that die ---------------------------------------------------------------------------


@cache
def _server() -> multiprocessing.context.ForkServerContext:
    """Children of a process that has imported the package, so that each starts at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mo_interp.pipeline", "sae_lens"])
    return context


def start(work: Callable, *given: object) -> multiprocessing.process.BaseProcess:
    """``work(*given)`` in a process of its own."""
    process = _server().Process(target=work, args=given)
    process.start()
    return process


def dies_at(note: str, step: int = 0, of: int | None = None) -> Callable[[int, int, str], None]:
    """A progress callback that kills its own process, as ``kill -9`` does, at ``step`` of ``of``.

    The callback is called between two pieces of work; nothing after it runs, no ``finally`` either.
    """

    def progress(at: int, total: int, told: str) -> None:
        if note in told and at >= step and of in (None, total):
            os.kill(os.getpid(), signal.SIGKILL)

    return progress


def killed(process: multiprocessing.process.BaseProcess, seconds: float = 120) -> bool:
    """Wait for a process; whether it died of SIGKILL by its own hand."""
    process.join(seconds)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
    return code == -signal.SIGKILL


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
