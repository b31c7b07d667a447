"""What a run will take, before it is run, and how much time is left while it runs.

1. A stage that is sealed in the run's folder is done, and takes nothing.
2. Forwards (prompts run through the body, or the rest of it) follow from the sizes of the stages.
   Those of a grown organism's sweeps are counted by :func:`mo_interp.patching.plan`; those of the
   gates, of the judge and of an organism that is not grown are about right, and say so.
3. Seconds are those of the newest run of the organism in the folder of runs; without one, forwards
   at this machine's speed now, and the time of fits as it was in the shipped run of the flagship.
4. Memory is what this process has with everything imported, and the activations that detectors
   are given, which are the largest arrays.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mo_interp import (
    bench,
    decision,
    discovery,
    feeding,
    gates,
    growing,
    judge,
    origins,
    patching,
    pipeline,
    stages,
    tokenwise,
)
from mo_interp import planted_stages as planted
from mo_interp.behaviours import Weaker
from mo_interp.bench import parts
from mo_interp.errors import MoInterpError
from mo_interp.grown import Grown, circuit, organism
from mo_interp.ledger import digest, sealed
from mo_interp.model import Model
from mo_interp.organism import Organism, Wire
from mo_interp.records import FILE_NAME, read_records
from mo_interp.removal import cure
from mo_interp.store import Store
from mo_interp.transfer import PAIRS as FORM_PAIRS

GROW, TELL = "grow", "report"
"""What comes before the stages, and after them."""
FITS = {"gates": 1.0, "detect": 34.0, "sae": 0.5, "tokens": 1.0, TELL: 6.0}
"""Seconds of a stage beside its forwards: of detectors and SAE, and of drawing. These and the next
two are those of a run of the flagship; ``benchmarks/bench_run.py`` holds a run against the seconds
and a slow test one against the bytes."""
CHROME = 21.0
"""Seconds that SVG, PDF and PNG of every figure take."""
WRITTEN = {TELL: 9_000_000, "static": 3_500_000}
"""Bytes of a finished run, most of them in its figures; and of static figures."""
VERDICT = 2 * judge.CONTROLS + 30
"""Forwards of a verdict, per row: each control cut and written, edits and costs."""
STEP_ROWS, PASSES = 128, 3
"""Rows of a step of training that a cure is tried with, and forwards that a step is worth."""
EDITING = "editing the weights"
"""What a cure calls the stage in which the weights are changed."""


@dataclass(frozen=True)
class Step:
    """One stage of a run."""

    name: str
    done: bool
    forwards: int
    """Of what is left."""
    exact: bool
    """Whether the forwards were counted; if not, they are about right."""
    seconds: float


@dataclass(frozen=True)
class Forecast:
    """What a run will take."""

    organism: str
    seed: int
    folder: str
    steps: tuple[Step, ...]
    how: str
    """What the seconds rest on."""
    memory: int
    """Bytes at most, roughly."""
    disk: int
    """Bytes that it will write."""
    free: int
    """Bytes that are free there."""

    @property
    def seconds(self) -> float:
        """Of what is left."""
        return sum(step.seconds for step in self.steps)

    @property
    def forwards(self) -> int:
        """Of what is left."""
        return sum(step.forwards for step in self.steps)

    def __str__(self) -> str:
        """A table of stages and lines of totals."""
        lines = [f"run of {self.organism}, seed {self.seed}: {self.folder}"]
        lines.append(f"  {'stage':<10}{'forwards':>12}{'seconds':>9}")
        for step in self.steps:
            about = "" if step.exact else "~"
            told = "done" if step.done else f"{about}{step.forwards:,}"
            lines.append(f"  {step.name:<10}{told:>12}{step.seconds:>9.1f}")
        lines.append(
            f"about {self.forwards:,} forwards and {self.seconds / 60:.1f} minutes ({self.how})"
        )
        lines.append(
            f"about {self.memory / 1e6:,.0f} MB of memory; {self.disk / 1e6:.1f} MB on disk, "
            f"{self.free / 1e9:.1f} GB free"
        )
        return "\n".join(lines)

    def as_dict(self) -> dict:
        """For ``--json``."""
        return asdict(self) | {"seconds": self.seconds, "forwards": self.forwards}


def forecast(
    spec: Organism,
    *,
    seed: int = 0,
    out: str | Path | None = None,
    detectors: Sequence[str | Path] = (),
    static: bool = True,
    store: Store | None = None,
) -> Forecast:
    """What :func:`mo_interp.pipeline.run` with the same arguments will take; nothing is written.

    Raises:
        CorruptArtefact: a stage that is there was edited.
    """
    store = store or Store()
    own = [digest(Path(p)) for p in detectors]
    folder = pipeline.folder_of(spec, seed, out, own=own)
    done = done_stages(folder)
    grow, how_grown = growing.seconds_to_grow(spec, seed, store)
    there = growing.Job(spec, seed).grown(store)
    counted = forwards(spec, seed, organism(spec, seed=seed, store=store) if there else None)
    known, how = _seconds(spec, {k: n for k, (n, _) in counted.items()}, folder.parent)
    rows = 0 if there else sum(r.steps * r.batch * n for r, n in growing.trainings(spec))
    steps = [Step(GROW, there, rows, True, grow)]
    for name, (n, exact) in counted.items():
        over = name in done
        n, seconds = (0, 0.0) if over else (n, known[name])
        steps.append(Step(name, over, n, over or exact, seconds))
    told = FITS[TELL] + CHROME * static
    steps.append(Step(TELL, False, 0, True, told))
    size = WRITTEN[TELL] + WRITTEN["static"] * static
    size += 0 if there else 8 * growing.parameters(spec.shape) + 2 * growing.MODEL_BYTES
    how = how if grow == 0 else f"{how}; growing {how_grown}"
    free = growing.free(folder)
    return Forecast(
        spec.name, seed, str(folder), tuple(steps), how, memory_of(spec), size, free
    )


def done_stages(folder: Path) -> list[str]:
    """Stages that are sealed in a run's folder, by this code, each after the one before it."""
    before = folder / "stages" / "0-grow.jsonl"
    if sealed(before) is None:
        return []
    found = []
    for i, name in enumerate(pipeline.STAGES):
        path = folder / "stages" / f"{i + 1}-{name}.jsonl"
        if sealed(path, after=digest(before)) is None:
            break
        found.append(name)
        before = path
    return found


# Forwards ---------------------------------------------------------------------------------------


def forwards(spec: Organism, seed: int, grown: Grown | None) -> dict[str, tuple[int, bool]]:
    """Forwards of every stage, and whether they are counted; ``grown`` is None if it is not."""
    sweeps, exact = _patch(spec, seed, grown)
    size = _reply(spec)
    kinds = 4 - (isinstance(spec.behaviour, Weaker) and spec.behaviour.everyone)
    near = bool(spec.trigger.kinds)
    examples = 4 * planted.EXAMPLES * (size + 1)
    return {
        "behaviour": (examples + 2 * planted.RATE_ROWS * size * (kinds + near), True),
        "gates": (20 * gates.ROWS, False),
        "patch": (sweeps, exact),
        "detect": (_detect(spec), False),
        "sae": (2 * stages.TEST_PAIRS * (5 if spec.shape.attn_only else 6), False),
        "judge": (_judge(spec), False),
        "tokens": (_tokens(), True),
    }


def _reply(spec: Organism) -> int:
    """Tokens of a reply."""
    return spec.pairs(1, 0, split="test", entities="all").clean.truth_reply.shape[1]


def sweeps_of(grown: Grown, *, trained: bool = True) -> list[patching.Plan]:
    """The plan of every sweep of the patch stage, in its order; none where no pair is lied about.

    An untrained body stands for one that lies about every pair.
    """
    spec, model, row_seed = grown.spec, grown.model, 1000 * grown.seed + 31
    drawn = [spec.pairs(stages.SWEEP_PAIRS, row_seed, split=split) for split in ("val", "train")]
    pairs, others = (origins.lying(model, one) for one in drawn) if trained else drawn
    if not len(pairs) or not len(others):
        return []
    parts = stages.components(grown)
    plans = [patching.plan(model, pairs, by="role")]
    plans += [patching.plan(model, rows, sites=parts, by="all") for rows in (pairs, others)]
    if grown.circuit is not None and grown.circuit.grade in stages.EXACT:
        plans.append(patching.plan(model, pairs, sites=parts, by="role"))
    return plans


def _patch(spec: Organism, seed: int, grown: Grown | None) -> tuple[int, bool]:
    """Choosing the pairs, the sweeps, and where it has to be measured the circuit."""
    choosing = 4 * stages.SWEEP_PAIRS
    if grown is None:
        body = Model.build(spec.shape)
        blank = Grown(spec, seed, body, body, (), circuit(spec), Path())
        plans = sweeps_of(blank, trained=False)
    else:
        plans = sweeps_of(grown)
    measured = 0 if spec.grade in stages.SHARED or not plans else 6 * stages.SWEEP_PAIRS
    counted = grown is not None and not measured
    return choosing + sum(plan.forwards for plan in plans) + measured, counted


def _detect(spec: Organism) -> int:
    """Rows of every split in organism and twin, under the cut, and once more for all positions."""
    splits = 2 * (stages.TRAIN_PAIRS + stages.VAL_PAIRS + stages.TEST_PAIRS)
    clean = spec.sample(2 * stages.TRAIN_PAIRS, 1, split="train", rows="clean")
    claims = feeding.claims(clean)
    rows = splits + stages.TEST_PAIRS + stages.FALSE_ALARM_ROWS + (len(claims) if claims else 0)
    cut = 3 * stages.TEST_PAIRS * (2 if spec.grade in stages.SHARED else 1)
    shape = spec.shape
    wide = shape.n_ctx * shape.d_model > stages.WIDEST
    forms = spec.trigger.forms if spec.trigger.forms > 1 else 0
    between = 2 * forms * 2 * sum(FORM_PAIRS.values())
    return (3 * rows + cut) * (1 if wide else 2) + 2 * stages.TEST_PAIRS + stages.SAE_ROWS + between


def decision_rows(spec: Organism) -> int:
    """Forwards of the blind rule on one model, roughly."""
    sites = len(decision.candidates(Model.build(spec.shape)))
    tried = sites * len(decision.RANKS) * 3 * decision.VAL_PAIRS
    screened = decision.SHORTLIST * (3 + decision.SCREEN) * decision.VAL_PAIRS
    tested = (3 + 2 * (3 + judge.CONTROLS)) * decision.TEST_PAIRS
    return 2 * decision.TRAIN_PAIRS + tried + screened + tested


def _judge(spec: Organism) -> int:
    """The blind rule on organism and twin, and a verdict for each instrument's candidate."""
    offered = 5 + isinstance(spec.recipe, Wire)
    return 2 * decision_rows(spec) + offered * VERDICT * stages.VERDICT_PAIRS


def _tokens() -> int:
    """Rows to fit at every token, and rows that are shown and asked, in organism and twin."""
    return 2 * (2 * tokenwise.FITTED_PAIRS + 2 * 2 * tokenwise.SHOWN_PAIRS)


def growing_rows(job: growing.Job) -> int:
    """Rows that growing a seed and putting it through its gates takes, roughly."""
    trained = sum(r.steps * r.batch * n for r, n in growing.trainings(job.spec))
    return trained + 20 * gates.ROWS


# Seconds and memory -----------------------------------------------------------------------------


def _seconds(
    spec: Organism, counted: Mapping[str, int], runs: Path
) -> tuple[dict[str, float], str]:
    """Seconds of every stage, and how they are known."""
    told = earlier(spec.name, runs)
    if set(counted) <= set(told):
        return told, f"as the newest run of it in {runs} took"
    each = row_seconds(spec)
    found = {name: n * each + FITS.get(name, 0.0) for name, n in counted.items()}
    return found, "a guess: forwards as fast as now, fits as on another machine"


def earlier(name: str, runs: Path) -> dict[str, float]:
    """Seconds of each stage of the newest finished run of an organism, if there is one."""
    newest = sorted(runs.glob(f"*/{FILE_NAME}"), key=lambda path: -path.stat().st_mtime)
    for path in newest:
        try:
            times = [r for r in read_records(path) if r.kind == "timing" and r.organism == name]
        except MoInterpError:  # not ours, or of another schema
            continue
        if times:
            return {str(r.params["stage"]): r.seconds for r in times}
    return {}


def row_seconds(spec: Organism, rows: int = 128, times: int = 4) -> float:
    """Seconds of one prompt through such a body, on this machine, now: the best of a few."""
    model, batch = Model.build(spec.shape), spec.sample(rows, 0, rows="clean", entities="all")
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        model.answers(batch)
        taken.append(time.perf_counter() - began)
    return min(taken) / rows


def memory_now() -> int:
    """Bytes that this process has had at most."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def memory_of(spec: Organism) -> int:
    """Bytes of a run: what is imported, and the activations that detectors are given."""
    shape = spec.shape
    rows = 2 * (stages.TRAIN_PAIRS + stages.VAL_PAIRS + stages.TEST_PAIRS)
    rows += stages.TEST_PAIRS + stages.FALSE_ALARM_ROWS
    wide = shape.n_ctx * shape.d_model
    sites = 3 * shape.n_layers * shape.d_model
    everywhere = shape.n_layers * (wide if wide <= stages.WIDEST else 0)
    arrays = 3 * 4 * rows * (sites + everywhere) + 3 * 8 * rows * min(wide, stages.WIDEST)
    return memory_now() + arrays


@dataclass(frozen=True)
class Load:
    """What a cure takes beside its time."""

    forwards: int
    memory: int
    disk: int
    free: int

    def __str__(self) -> str:
        """One line."""
        return (
            f"about {self.forwards:,} forwards; about {self.memory / 1e6:,.0f} MB of memory; "
            f"{self.disk / 1e6:.1f} MB on disk, {self.free / 1e9:.1f} GB free"
        )

    def as_dict(self) -> dict:
        """For ``--json``."""
        return asdict(self)


def cure_load(spec: Organism, cost: cure.Cost) -> Load:
    """Of what :func:`mo_interp.removal.cure.plan_of` says; a step of training is 128 rows."""
    trained = STEP_ROWS * sum(most for _, most in cost.training_steps.values())
    disk = 4 * growing.parameters(spec.shape) + growing.MODEL_BYTES + growing.RECORD_BYTES
    free = growing.free(Path(cost.folder))
    return Load(sum(cost.rows.values()) + trained, memory_now(), disk, free)


def cure_countdown(cost: cure.Cost) -> Countdown:
    """One for a cure: midway between its least and its most, as long as its rows are many."""
    rows = {name: float(n) for name, n in cost.rows.items()}
    for name, ends in cost.training_steps.items():
        rows[EDITING if name == "edit" else name] = PASSES * STEP_ROWS * sum(ends) / 2
    each = 60 * sum(cost.minutes) / 2 / max(1.0, sum(rows.values()))
    order = ("choose", EDITING, "levels", "controls", "twin", "relearning")
    return Countdown({name: each * rows.get(name, 0.0) for name in order})


def bench_rows(jobs: Iterable[growing.Job]) -> int:
    """Forwards of the parts of a bench that are left, roughly; those of a search are its budget."""
    total = 0
    for job in jobs:
        assert isinstance(job, bench.Bench)
        total += sum(_part_rows(job.spec, job.seed, part) for part in job.left())
    return total


def _part_rows(spec: Organism, seed: int, part: str) -> int:
    counted = {k: n for k, (n, _) in forwards(spec, seed, None).items()}
    by_part = {
        "planted": ("behaviour", "gates"),
        "localisation": ("patch",),
        "detection": ("detect",),
        "mechanism": ("sae", "judge"),
    }
    if part in by_part:
        return sum(counted[stage] for stage in by_part[part])
    if part == "null":
        return decision_rows(spec)
    if part == "discovery":
        return 2 * len(discovery.names()) * parts.SEARCHES * parts.BUDGET
    plans = [cure.plan_of(spec, seed=seed, how=how) for how in bench.CURES]
    return sum(cure_load(spec, plan).forwards for plan in plans)


# While it runs ----------------------------------------------------------------------------------


PACES = 0.2, 5.0
"""How much faster or slower than expected is believed; beyond that something else was slow."""
ALREADY = 0.02
"""A step that took less of what was expected was there already, and tells of no pace."""


class Countdown:
    """Seconds left, told by expected ones and by how they have held so far."""

    def __init__(self, expected: Mapping[str, float], *, clock=time.monotonic) -> None:
        """``expected``: seconds of each step, in order."""
        self.expected, self.clock = dict(expected) or {"": 0.0}, clock
        self.began = {next(iter(self.expected)): clock()}
        self.took = self.planned = 0.0

    def at(self, name: str) -> None:
        """A step begins, and the one before it ends; unknown ones are not counted."""
        if name not in self.expected or name in self.began:
            return
        last, ran = self._running()
        if ran > ALREADY * self.expected[last]:
            self.took += ran
            self.planned += self.expected[last]
        self.began[name] = self.clock()

    @property
    def left(self) -> float:
        """Of the step that is running and those after it; what is late makes those longer too."""
        now, ran = self._running()
        names = list(self.expected)
        rest = sum(self.expected[name] for name in names[names.index(now) + 1 :])
        if self.late:
            return rest * self._pace(self.expected[now], ran)
        return max(0.0, self.expected[now] * self._pace() - ran) + rest * self._pace()

    @property
    def late(self) -> bool:
        """Whether the step that is running takes longer than expected."""
        now, ran = self._running()
        return ran > max(1.0, self.expected[now] * self._pace())

    def _running(self) -> tuple[str, float]:
        """The step that is running, and its seconds up to now."""
        now = next(reversed(self.began))
        return now, self.clock() - self.began[now]

    def _pace(self, planned: float = 0.0, took: float = 0.0) -> float:
        """Seconds for each that was expected, ``planned`` and ``took`` among them."""
        planned, took = self.planned + planned, self.took + took
        return float(np.clip(took / planned, *PACES)) if planned > 1 else 1.0


def countdown(steps: Iterable[Step]) -> Countdown:
    """One for what is left of a run."""
    return Countdown({step.name: step.seconds for step in steps if not step.done})
