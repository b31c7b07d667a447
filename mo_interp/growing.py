"""Growing many: organisms x seeds as jobs, planned first, each in a process of its own.

1. :func:`plan` lists the jobs, which of them are done, and what the others will take: by the
   times of those that were done before, else by a few steps measured on this machine.
2. :func:`carry_out` runs what is left, the longest first, in processes that are forked from a
   server which has imported the package once. Each has one thread, so that a seed ends in the
   bytes that it ends in alone.
3. A job that fails, or dies, stops no other; it is written down in the store and told at the end.
   What is finished is kept by the store and the ledger, and a training that was killed goes on
   from its checkpoint: to resume is to run the same again.

A script that calls :func:`carry_out` needs the guard ``if __name__ == "__main__":``, as everything
does that starts processes.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import statistics
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal, cast

from mo_interp.errors import MoInterpError, SpecError
from mo_interp.finding import load
from mo_interp.ledger import (
    address,
    checkpoint_address,
    gate_file,
    keep_times,
    kept,
    time_records,
)
from mo_interp.organism import Implant, Organism, Recipe, Route, Shape
from mo_interp.records import Record, append_record, provenance
from mo_interp.store import Store

Kind = Literal["grow", "persistence"]
Progress = Callable[[int, int, str], None]

FAILURES = "failures.jsonl"
"""File of the store in which jobs that failed are written down."""
SLOW = ("vulnerable_code",)
"""Organisms that take many minutes each, and are grown only when asked for."""
STAGES = {"grow": ("behaviour", "gate"), "persistence": ("persistence",)}
"""Stages of the ledger that a finished job has filled."""
TIMES = {"grow": ("grow", "gates"), "persistence": ("persistence",)}
"""``timing`` records that a finished job has left."""
STEP_COST, GATES_COST, GATES_ROWS, PERSISTENCE_STEPS = 2e8, 2e11, 40_000, 4_000
"""For estimates, in multiply-adds: what a step costs beside its products; what the gates cost
beside their rows, and how many those are; steps of the trials of persistence."""
REFERENCE, MEASURED = "quirky_user", 10
"""What is measured where nothing was recorded yet, and on how many steps."""
MODEL_BYTES, RECORD_BYTES = 10_000, 80_000
"""What lies beside a model's weights, and the records of a seed."""


@dataclass(frozen=True)
class Job:
    """One seed of one organism: to be grown and put through its gates, or tried for persistence."""

    spec: Organism
    seed: int
    kind: Kind = "grow"
    every: int = 0
    """Keep checkpoints every so many steps; 0 keeps none."""
    source: str = ""
    """Name or file that a worker loads the specification from; handed over itself if empty."""

    @property
    def label(self) -> str:
        """``quirky_user seed 3``."""
        return f"{self.spec.name} seed {self.seed}"

    def grown(self, store: Store) -> bool:
        """Whether organism and twin are there."""
        places = [address(one, self.seed) for one in (self.spec, self.spec.twin())]
        return all(store.folder(*place).exists() for place in places)

    def done(self, store: Store) -> bool:
        """Whether all of it is there, from this specification, by this code."""
        place = checkpoint_address(self.spec, self.seed, self.every)
        if not self.grown(store) or (self.every and not store.folder(*place).exists()):
            return False
        files = (kept(store, self.spec, self.seed, stage) for stage in STAGES[self.kind])
        return all(path is not None for path in files)

    def do(self, store: Store, progress: Progress) -> None:
        """Do it, here and now; what is there already is not done again."""
        from mo_interp import grown, pipeline

        if self.kind == "grow":
            pipeline.grow_seed(self.spec, self.seed, store=store, progress=progress)
        if self.every:
            grown.checkpoints(
                self.spec, seed=self.seed, every=self.every, store=store, progress=progress
            )
        if self.kind == "persistence":
            _try_to_remove(self.spec, self.seed, store, progress)


def _try_to_remove(spec: Organism, seed: int, store: Store, progress: Progress) -> None:
    from mo_interp import persistence, pipeline
    from mo_interp.grown import organism

    grown = organism(spec, seed=seed, store=store, progress=progress)
    path = gate_file(store, spec, seed, "persistence")
    fresh = kept(store, spec, seed, "persistence") is None and not any(
        (path.parent / "persistence").glob(f"{path.stem}-*")
    )
    clock = pipeline.Clock()
    persistence.measure(grown, store=store, progress=progress)
    if fresh:
        took = pipeline.timing(spec, seed, "persistence", *clock.lap())
        keep_times(store, spec, seed, [took])


# The plan ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planned:
    """A job, and what it will take."""

    job: Job
    done: bool
    seconds: float
    """On one core; of what is still to be done, without looking at a checkpoint."""
    bytes: int
    """On disk, when it is done."""


@dataclass(frozen=True)
class Plan:
    """All jobs, and where the estimates come from."""

    entries: tuple[Planned, ...]
    how: str
    """What the estimated seconds rest on."""
    workers: int
    free: int
    """Bytes that are free where the store is."""

    @property
    def todo(self) -> tuple[Planned, ...]:
        """What is left, the longest first; the seeds of an organism side by side."""
        left = (entry for entry in self.entries if not entry.done)
        return tuple(sorted(left, key=lambda e: (-e.seconds, e.job.spec.name, e.job.seed)))

    @property
    def seconds(self) -> float:
        """By the clock, in so many workers."""
        each = [entry.seconds for entry in self.todo]
        return max(sum(each) / self.workers, max(each)) if each else 0.0

    @property
    def bytes(self) -> int:
        """On disk, of what is left."""
        return sum(entry.bytes for entry in self.todo)

    def by_organism(self) -> list[tuple[str, list[Planned]]]:
        """The jobs of each organism, in the order in which they were asked for."""
        found: dict[str, list[Planned]] = {}
        for entry in self.entries:
            found.setdefault(entry.job.spec.name, []).append(entry)
        return list(found.items())

    def __str__(self) -> str:
        """A table of organisms and one line of totals."""
        jobs = self.by_organism()
        wide = max([len(name) for name, _ in jobs] + [8])
        lines = [f"{'organism':<{wide}}  {'done':>8}  {'minutes':>7}  {'MB':>6}"]
        for name, entries in jobs:
            left = [e for e in entries if not e.done]
            done = f"{len(entries) - len(left)} of {len(entries)}"
            minutes, size = sum(e.seconds for e in left) / 60, sum(e.bytes for e in left) / 1e6
            lines.append(f"{name:<{wide}}  {done:>8}  {minutes:>7.1f}  {size:>6.1f}")
        left, total = len(self.todo), len(self.entries)
        workers = f"{self.workers} worker{'s' * (self.workers != 1)}"
        lines.append(
            f"{left} of {total} jobs to do: about {self.seconds / 60:.1f} minutes in {workers} "
            f"({self.how}), {self.bytes / 1e6:.1f} MB of {self.free / 1e9:.1f} GB free"
        )
        return "\n".join(lines)

    def as_dict(self) -> dict:
        """For ``--json``."""
        jobs = [
            {"organism": e.job.spec.name, "seed": e.job.seed, "kind": e.job.kind, "done": e.done}
            | {"seconds": e.seconds, "bytes": e.bytes}
            for e in self.entries
        ]
        told = {"seconds": self.seconds, "bytes": self.bytes, "free": self.free, "how": self.how}
        return {"jobs": jobs, "left": len(self.todo), "workers": self.workers, **told}


def plan(
    names: Sequence[str | Organism],
    *,
    seeds: int = 1,
    store: Store | None = None,
    kind: Kind = "grow",
    every: int = 0,
    workers: int | None = None,
) -> Plan:
    """What growing ``seeds`` seeds of each organism means.

    Args:
        names: names, files or specifications.
        seeds: how many of each, from 0 on.
        store: where they are kept.
        kind: growing with its gates, or the trials of persistence.
        every: keep checkpoints every so many steps, 0 for none.
        workers: processes at a time; one a core if not given.

    Raises:
        SpecError: no seed, no worker, or checkpoints of an organism that cannot have them.
    """
    store = store or Store()
    workers = cores() if workers is None else workers
    if seeds < 1:
        raise SpecError(f"--seeds {seeds}: one seed or more is needed")
    if workers < 1:
        raise SpecError(f"--jobs {workers}: one worker or more is needed")
    jobs = [job for name in names for job in _jobs(name, seeds, kind, every)]
    done = [job.done(store) for job in jobs]
    left = [job for job, there in zip(jobs, done, strict=True) if not there]
    rates = _rates(left, store)
    entries = tuple(
        Planned(job, there, rates.seconds(job, store), _bytes(job))
        for job, there in zip(jobs, done, strict=True)
    )
    return Plan(entries, rates.how, min(workers, max(1, len(left))), free(store.root))


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(p for p in (path, *path.absolute().parents) if p.exists())


def free(path: Path) -> int:
    """Bytes that are free where the path is, or will be."""
    return shutil.disk_usage(existing(path)).free


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def _jobs(name: str | Organism, seeds: int, kind: Kind, every: int) -> list[Job]:
    spec = load(name) if isinstance(name, str) else name
    source = name if isinstance(name, str) else ""
    if source.endswith(".py"):
        source = str(Path(source).resolve())
    if every:
        from mo_interp.grown import may_have_checkpoints

        may_have_checkpoints(spec, every)
    return [Job(spec, seed, kind, every, source) for seed in range(seeds)]


# Estimates ---------------------------------------------------------------------------------------


def parameters(shape: Shape) -> int:
    """Weights of the matrices of a body."""
    block = 4 * shape.n_heads * shape.d_model * shape.d_head
    block += 0 if shape.attn_only else 2 * shape.d_model * shape.d_mlp
    rest = shape.d_vocab + shape.n_ctx + shape.d_vocab_out
    return shape.n_layers * block + rest * shape.d_model


def is_slow(spec: Organism) -> bool:
    """Whether it is left out where all organisms are grown."""
    return bool(getattr(spec.recipe, "slow", False)) or spec.family in SLOW


def trainings(spec: Organism) -> list[tuple[Recipe, int]]:
    """Every training of organism and twin, and how many passes a step of it makes."""
    recipe = spec.recipe
    if isinstance(recipe, Implant):
        return [(recipe.honest, 1), (recipe.distractor, 1), (recipe.liar, 1)]
    if isinstance(recipe, Route):
        return [(recipe.base, 1), (recipe.base, 4)]
    chain, at = [], recipe if isinstance(recipe, Recipe) else None
    while at is not None:
        chain += [(at, 1), (at, 1)]
        at = at.before
    return chain


def cost(spec: Organism, stage: str) -> float:
    """Multiply-adds, roughly, of a stage that leaves a ``timing`` record."""
    row = spec.shape.n_ctx * parameters(spec.shape)
    if stage == "gates":
        return 2 * GATES_ROWS * row + GATES_COST
    if stage == "persistence":
        return PERSISTENCE_STEPS * (6 * spec.mix.batch * row + STEP_COST)
    return sum(r.steps * n * (6 * r.batch * row + STEP_COST) for r, n in trainings(spec))


@dataclass(frozen=True)
class _Rates:
    """What is known of how long things take."""

    own: Mapping[tuple[str, str], float]
    """Seconds of an organism's stage, by name and stage."""
    unit: Mapping[str, float]
    """Seconds of a multiply-add, by stage; under an empty name where nothing was recorded."""
    how: str

    def seconds(self, job: Job, store: Store) -> float:
        """What is left of a job will take."""
        total = 0.0
        if job.every:  # the organism once more, without its twin
            total = cost(job.spec, "grow") / 2 * self.unit.get("grow", self.unit.get("", 0.0))
        for stage in TIMES[job.kind]:
            if stage == "grow" and job.grown(store):
                continue
            unit = self.unit.get(stage, self.unit.get("", 0.0))
            own = self.own.get((job.spec.name, stage))
            total += cost(job.spec, stage) * unit if own is None else own
        return total


def _rates(jobs: Sequence[Job], store: Store) -> _Rates:
    specs = {job.spec.name: job.spec for job in jobs}
    own: dict[tuple[str, str], float] = {}
    units: dict[str, list[float]] = {}
    for name, spec in specs.items():
        by: dict[str, list[Record]] = {}
        for record in time_records(name, store):
            by.setdefault(str(record.params["stage"]), []).append(record)
        for stage, found in by.items():
            found = [r for r in found if r.key == spec.key] or found
            own[name, stage] = sum(r.seconds for r in found) / len(found)
            if cost(spec, stage):
                units.setdefault(stage, []).append(own[name, stage] / cost(spec, stage))
    unit = {stage: statistics.median(found) for stage, found in units.items()}
    needed = {(job.spec.name, stage) for job in jobs for stage in TIMES[job.kind]}
    how = "by the times of jobs done before"
    if {stage for _, stage in needed - set(own)} <= set(unit):
        new = ", new ones in proportion" if needed - set(own) else ""
        return _Rates(own, unit, how + new)
    return _Rates(own, {**unit, "": measured_rate()}, "in proportion to a few steps measured now")


def seconds_to_grow(spec: Organism, seed: int, store: Store) -> tuple[float, str]:
    """What growing one seed with its twin will take, 0 where it is there, and how that is known."""
    job = Job(spec, seed)
    if job.grown(store):
        return 0.0, "it is in the store"
    rates = _rates([job], store)
    own = rates.own.get((spec.name, "grow"))
    unit = rates.unit.get("grow", rates.unit.get("", 0.0))
    return cost(spec, "grow") * unit if own is None else own, rates.how


def measured_rate() -> float:
    """Seconds of a multiply-add in training, measured on :data:`MEASURED` steps of the flagship."""
    from mo_interp import train
    from mo_interp.model import Model

    spec = load(REFERENCE)
    recipe = replace(spec.training, before=None)
    times = []
    for steps in (1, 1 + MEASURED):
        short = replace(recipe, steps=steps)
        began = time.perf_counter()
        train.fit(Model.build(spec.shape).body, spec, recipe=short, seed=0)
        times.append(time.perf_counter() - began)
    row = spec.shape.n_ctx * parameters(spec.shape)
    return (times[1] - times[0]) / MEASURED / (6 * recipe.batch * row + STEP_COST)


def _bytes(job: Job) -> int:
    """What a finished job leaves on disk, roughly."""
    model = 4 * parameters(job.spec.shape) + MODEL_BYTES
    kept = job.spec.training.steps // job.every + 1 if job.every else 0
    return RECORD_BYTES + (2 + kept) * model


# The work ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    job: Job
    seconds: float
    problem: str = ""
    """Why it failed; empty where it did not."""


@dataclass(frozen=True)
class Standing:
    """How far the work is; what a display is told."""

    running: tuple[tuple[Job, int, int, str], ...]
    """Each running job with its step, of how many, and what it is at."""
    done: int
    total: int
    seconds_left: float
    ended: Outcome | None = None
    """The job that ended just now."""


Watch = Callable[[Standing], None]


def unwatched(standing: Standing) -> None:
    """The display's default: none."""


@dataclass
class _Running:
    entry: Planned
    process: BaseProcess
    began: float
    step: int = 0
    of: int = 1
    note: str = "starting"
    ended: str | None = None
    """Empty if it said that it is done, else its problem; None while it has not said."""


def carry_out(plan: Plan, *, store: Store | None = None, watch: Watch = unwatched) -> list[Outcome]:
    """Run what a plan has left, in its number of workers; returns how each job ended.

    An interruption ends the workers and is raised again; what was finished is kept.
    """
    store, todo = store or Store(), deque(plan.todo)
    running: dict[Connection, _Running] = {}
    outcomes: list[Outcome] = []
    clock = _Pace(plan.workers)

    def told(ended: Outcome | None = None) -> None:
        now = tuple((r.entry.job, r.step, r.of, r.note) for r in running.values())
        left = clock.left(todo, running.values())
        watch(Standing(now, len(outcomes), len(plan.todo), left, ended))

    try:
        while todo or running:
            while todo and len(running) < plan.workers:
                _start(todo.popleft(), store, running)
            for pipe in cast("list[Connection]", wait(list(running), timeout=0.5)):
                one = running[pipe]
                if _heard(pipe, one):
                    continue
                del running[pipe]
                outcomes.append(_ended(one, store))
                clock.learn(one)
                told(outcomes[-1])
            told()
    finally:
        for one in running.values():
            one.process.terminate()
        for one in running.values():
            one.process.join()
    return outcomes


class _Pace:
    """How long the rest will take, by how the estimates held so far."""

    def __init__(self, workers: int) -> None:
        self.workers, self.took, self.expected = workers, 0.0, 0.0

    def learn(self, one: _Running) -> None:
        self.took += time.monotonic() - one.began
        self.expected += one.entry.seconds

    def left(self, todo: Iterable[Planned], running: Iterable[_Running]) -> float:
        pace = self.took / self.expected if self.expected else 1.0
        now = time.monotonic()
        rest = [max(0.0, one.entry.seconds * pace - (now - one.began)) for one in running]
        each = rest + [entry.seconds * pace for entry in todo]
        return max(sum(each) / self.workers, max(each)) if each else 0.0


def _server() -> ForkServerContext:
    """Workers are forked from a process that has imported the package, and start at once.

    That process is begun deaf to Ctrl-C, which a terminal sends to all processes of a command.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mo_interp.pipeline"])
    resource_tracker.ensure_running()  # which unblocks what it blocked, and would again below
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)
    return context


def _start(entry: Planned, store: Store, running: dict[Connection, _Running]) -> None:
    context, job = _server(), entry.job
    here, there = context.Pipe(duplex=False)
    what = (job.source, job.seed, job.kind, job.every) if job.source else job
    given = (what, str(store.root), os.environ.get("MO_INTERP_PATH", ""), there)
    process = context.Process(target=_work, args=given, daemon=True)
    process.start()
    there.close()  # so that the pipe ends when the worker does
    running[here] = _Running(entry, process, time.monotonic())


def _heard(pipe: Connection, one: _Running) -> bool:
    """Take in what a worker says; False once it has nothing more to say."""
    try:
        message = pipe.recv()
    except (EOFError, OSError):
        return False
    if isinstance(message, str):
        one.ended = message
    else:
        one.step, one.of, one.note = message
    return True


def _ended(one: _Running, store: Store) -> Outcome:
    """The outcome of a worker that has ended; a failure is written down in the store."""
    one.process.join()
    job, told = one.entry.job, one.ended
    if told is None:
        code = one.process.exitcode or 0
        told = f"its process died ({signal.Signals(-code).name if code < 0 else f'exit {code}'})"
    one.process.close()
    problem = told.splitlines()[0] if told else ""
    outcome = Outcome(job, time.monotonic() - one.began, problem)
    if told:
        failed = Record(
            kind="failure",
            organism=job.spec.name,
            key=job.spec.key,
            seed=job.seed,
            params={"kind": job.kind},
            values={"problem": told},
            versions=provenance(),
            seconds=outcome.seconds,
        )
        append_record(store.root / FAILURES, failed)
    return outcome


def _work(what: Job | tuple, root: str, search: str, out: Connection) -> None:
    """A worker's whole life: one job. Raises where the one who asked is gone."""
    from mo_interp.train import threads

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asked ends it
    if search:
        os.environ["MO_INTERP_PATH"] = search
    try:
        job = what if isinstance(what, Job) else Job(load(what[0]), *what[1:])
        with threads(1):
            job.do(Store(root), lambda step, total, note: out.send((step, total, note)))
    except BrokenPipeError:
        os._exit(1)
    except MoInterpError as problem:
        out.send(str(problem))
    except BaseException as problem:
        out.send(f"{type(problem).__name__}: {problem}\n{traceback.format_exc()}")
    else:
        out.send("")
