"""Eight seeds: single-threaded worker processes against one after another with all cores.

A 2-layer model of width 64, the flagship's clean twin, on few steps. Each way is a process of its
own that starts from nothing, so that imports are in it. Every seed of the workers is first shown to
be, byte for byte, what that seed is when it is grown alone. By the clock, since processor time says
nothing about several processes; run it on an idle machine.

``--stacked`` compares instead the stacked training of :mod:`mo_interp.stacked` on ``--device`` with
the same seeds one after another on the CPU; the loss curves are compared first, to 1e-4. It was
written without a GPU at hand, and has been run on the CPU only.

    python benchmarks/bench_seeds.py
    python benchmarks/bench_seeds.py --stacked --device cuda --seeds 64
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import seeds
import torch

from mo_interp import growing, stacked, train
from mo_interp.ledger import address
from mo_interp.model import Model
from mo_interp.organism import Organism
from mo_interp.records import Record
from mo_interp.store import Store

SEEDS, STEPS, ALIKE = 8, 150, 50


def weights(store: Store, spec: Organism, seed: int) -> str:
    file = store.folder(*address(spec.twin(), seed)) / "model.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest()


def timed(way: str, root: Path, given: argparse.Namespace) -> float:
    """Seconds of a way in a process of its own, from its start to its end."""
    own = {**os.environ, "OMP_NUM_THREADS": "1" if way == "workers" else str(growing.cores())}
    command = [sys.executable, seeds.__file__, way, str(root), str(given.seeds), str(given.steps)]
    began = time.perf_counter()
    subprocess.run(command, env=own, check=True)
    return time.perf_counter() - began


def seeds_in_workers(given: argparse.Namespace) -> Record:
    times: dict[str, list[float]] = {way: [] for way in seeds.WAYS}
    spec = seeds.spec_of(given.steps)
    with tempfile.TemporaryDirectory() as here:
        alone, first = Store(Path(here) / "alone"), Store(Path(here) / "first")
        timed("workers", first.root, given)
        common.one_thread()
        for seed in range(given.seeds):
            seeds.Training(spec, seed).do(alone, train.silent)
            same = weights(first, spec, seed) == weights(alone, spec, seed)
            assert same, f"seed {seed}: a worker ended in other bytes than growing it alone"
        for turn in range(given.turns):
            for way, found in times.items():
                found.append(timed(way, Path(here) / f"{way}-{turn}", given))
    told = {"seeds": given.seeds, "steps": given.steps, "cores": growing.cores()}
    record = common.compared("seeds", times["sequence"], times["workers"], **told, worst=0.0)
    print(common.line(record))
    return record


# Stacked ----------------------------------------------------------------------------------------


class Watched:
    """An objective that writes its losses down."""

    def __init__(self, goal: train.Supervised) -> None:
        self.goal, self.losses = goal, []

    def loss(self, body: object, columns: object) -> torch.Tensor:
        value = self.goal.loss(body, columns)
        self.losses.append(value.detach())
        return value

    def __getattr__(self, name: str) -> object:
        return getattr(self.goal, name)


def worst_gap(spec: Organism, numbers: list[int], device: str) -> float:
    """Largest difference between the loss curves of a few seeds, stacked and alone."""
    worst = 0.0
    for one in stacked.fit_many(spec, numbers, device=device, steps=ALIKE):
        goal = Watched(train.Supervised(spec, spec.training))
        body = Model.build(spec.shape, one.seed).body
        train.fit(body, spec, recipe=spec.training, seed=one.seed, objective=goal)
        pairs = zip(one.losses, goal.losses[:ALIKE], strict=True)
        worst = max(worst, *(abs(a - float(b)) for a, b in pairs))
    return worst


def seeds_stacked(given: argparse.Namespace) -> Record:
    common.one_thread()
    spec = seeds.spec_of(given.steps).twin()
    worst = worst_gap(spec, [0, 1, 2], given.device)
    assert worst < 1e-4, f"the loss curves differ by {worst}"
    theirs, mine = [], []
    for _ in range(given.turns):
        began = time.perf_counter()
        train.fit(Model.build(spec.shape).body, spec, recipe=spec.training, seed=0)
        theirs.append(given.seeds * (time.perf_counter() - began))  # of one, times the seeds
        began = time.perf_counter()
        stacked.fit_many(spec, range(given.seeds), device=given.device)
        mine.append(time.perf_counter() - began)
    params = {"seeds": given.seeds, "steps": given.steps, "device": given.device, "worst": worst}
    record = common.compared("stacked seeds", theirs, mine, **params)
    print(common.line(record))
    return record


def main(words: list[str] | None = None) -> list[Record]:
    asked = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    asked.add_argument("--seeds", type=int, default=SEEDS)
    asked.add_argument("--steps", type=int, default=STEPS)
    asked.add_argument("--turns", type=int, default=common.TURNS)
    asked.add_argument("--stacked", action="store_true")
    asked.add_argument("--device", default="cpu")
    given = asked.parse_args(words or [])
    return [seeds_stacked(given) if given.stacked else seeds_in_workers(given)]


if __name__ == "__main__":
    found = main(sys.argv[1:])
    common.keep(found, str(found[0].params["name"]))
