"""The two ways that ``bench_seeds.py`` compares, each run as a process of its own.

Light to import, as the parent of workers is: what is heavy is imported where it is needed.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from mo_interp import growing
from mo_interp.finding import load
from mo_interp.organism import Organism
from mo_interp.store import Store


def spec_of(steps: int, threads: int = 1) -> Organism:
    """The flagship, 2 layers of width 64, on few steps."""
    spec = load("quirky_user")
    return replace(spec, recipe=replace(spec.training, steps=steps, threads=threads))


@dataclass(frozen=True)
class Training(growing.Job):
    """One training, the clean twin's, without gates."""

    def do(self, store: Store, progress: growing.Progress) -> None:
        from mo_interp.grown import twin

        twin(self.spec, seed=self.seed, store=store, progress=progress)


def workers(root: Path, seeds: int, steps: int) -> None:
    jobs = [Training(spec_of(steps), seed) for seed in range(seeds)]
    entries = tuple(growing.Planned(job, False, 1.0, 0) for job in jobs)
    plan = growing.Plan(entries, "", workers=growing.cores(), free=0)
    failed = [o.problem for o in growing.carry_out(plan, store=Store(root)) if o.problem]
    if failed:
        raise SystemExit(failed[0])


def sequence(root: Path, seeds: int, steps: int) -> None:
    import torch

    cores = growing.cores()
    torch.set_num_threads(cores)
    for seed in range(seeds):
        Training(spec_of(steps, cores), seed).do(Store(root), lambda *told: None)


WAYS = {"workers": workers, "sequence": sequence}

if __name__ == "__main__":
    WAYS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
