"""The main job, stage by stage, into one folder that a killed run picks up again.

``runs/NAME-seed-key8/`` holds ``stages/*.jsonl`` (one file a stage, written at its end and sealed
with its checksum), ``records.jsonl`` (all of them, in order), ``sae/``, ``figures/`` and
``report.html``. A stage whose sealed file is there is read and not run again; an edited one is
named and refused.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mo_interp.errors import MoInterpError, SpecError
from mo_interp.finding import load
from mo_interp.grown import Grown, address, organism
from mo_interp.ledger import digest, gate_file, gates_code, keep_times, kept, numbered, once
from mo_interp.organism import Organism
from mo_interp.records import FILE_NAME, Record, provenance, read_records, write_records
from mo_interp.stages import STAGES as MEASURED
from mo_interp.stages import Stage, Work, behaviour, gate
from mo_interp.store import Store, read_json, write_json, writing
from mo_interp.tokenwise import tokens
from mo_interp.train import Progress, silent

STAGES: dict[str, Stage] = {**MEASURED, "tokens": tokens}
"""The stages in order; the last is for the eye, and nothing else is computed from it."""
KEPT: tuple[Stage, ...] = (behaviour, gate)
"""Stages whose records the ledger keeps."""


def folder_of(
    spec: Organism, seed: int, out: str | Path | None = None, *, own: Sequence[str] = ()
) -> Path:
    """The run's folder: ``out``, else ``./runs/NAME-seed-key8``.

    With detectors of one's own, given by their files' digests, it has a folder beside that one.
    """
    if out:
        return Path(out)
    extra = "-" + hashlib.sha256("".join(sorted(own)).encode()).hexdigest()[:6] if own else ""
    return Path("runs") / f"{spec.name}-{seed}-{spec.key[:8]}{extra}"


def run(
    name: str | Organism,
    *,
    seed: int = 0,
    out: str | Path | None = None,
    detectors: Sequence[str | Path] = (),
    store: Store | None = None,
    progress: Progress = silent,
) -> Path:
    """Grow (or fetch) an organism and its twin, and measure all there is; returns the folder.

    Args:
        name: an organism's name, a path to a file, or a specification.
        seed: of growing and of everything after.
        out: folder for results; ``./runs/NAME-seed-key8`` if not given.
        detectors: files of further detectors, scored beside the registered ones.
        store: where weights are kept.
        progress: told about every step of every stage.

    Raises:
        CorruptArtefact: weights or an earlier stage were edited.
        SpecError: ``out`` holds the run of another specification or seed.
    """
    spec = load(name) if isinstance(name, str) else name
    own = {str(Path(p).resolve()): digest(Path(p)) for p in detectors}
    folder = folder_of(spec, seed, out, own=list(own.values()))
    with writing(folder, remedy="choose another folder with --out"):
        _claim(folder, spec, seed, sorted(own.values()))
        began = time.perf_counter()
        grown = organism(spec, seed=seed, store=store, progress=progress)
        grew = once(
            folder / "stages" / "0-grow.jsonl",
            lambda: [timing(spec, seed, "grow", time.perf_counter() - began)],
        )
        work = Work(grown, folder, tuple(grew), detectors=tuple(own), progress=progress)
        records = _staged(work, store or Store())
        write_records(folder / FILE_NAME, records)
    return folder


def records(of: Grown | str | Path) -> list[Record]:
    """Records of a run: of a folder or file, or of a grown organism's run in ``./runs``.

    Raises:
        MoInterpError: the organism was grown but not run; the message says what to do.
    """
    if not isinstance(of, Grown):
        return read_records(of)
    folder = folder_of(of.spec, of.seed)
    if not (folder / FILE_NAME).exists():
        raise MoInterpError(
            f"no records in {folder}; make them with `mo-interp run {of.name} --seed {of.seed}`"
        )
    return read_records(folder)


def _claim(folder: Path, spec: Organism, seed: int, detectors: list[str]) -> None:
    """Make the folder this run's, or find that it already is."""
    mine = {"schema": 1, "organism": spec.name, "key": spec.key, "seed": seed}
    mine["detectors"] = detectors
    path = folder / "run.json"
    if path.exists():
        there = read_json(path)
        if there != mine:
            own = f"{len(there.get('detectors', []))} detectors of one's own"
            raise SpecError(
                f"{folder} holds a run of {there.get('organism')} seed {there.get('seed')} "
                f"(key {there.get('key')}, {own}); give another folder with --out"
            )
        return
    (folder / "stages").mkdir(parents=True, exist_ok=True)
    write_json(path, mine)


def _staged(work: Work, store: Store) -> list[Record]:
    """Records of all stages, each run only if it is not there yet or follows something else."""
    after = digest(work.folder / "stages" / "0-grow.jsonl")
    for i, (name, stage) in enumerate(STAGES.items()):
        path = work.folder / "stages" / f"{i + 1}-{name}.jsonl"
        note = f"stage {i + 1} of {len(STAGES)}: {name}"
        make = functools.partial(_timed, stage, name, work, note)
        found = once(path, make, after=after)
        after, work = digest(path), replace(work, records=(*work.records, *found))
        if stage in KEPT:
            told = [r for r in found if r.kind != "timing"]
            target = gate_file(store, work.grown.spec, work.grown.seed, stage.__name__)
            code = gates_code(work.grown.spec.family, stage.__name__)
            once(target, lambda told=told: told, code=code)
    return list(work.records)


def _timed(stage: Stage, name: str, work: Work, note: str) -> list[Record]:
    work.progress(0, 1, note)
    began, spec = time.perf_counter(), work.grown.spec
    found = stage(work)
    return [*found, timing(spec, work.grown.seed, name, time.perf_counter() - began)]


def timing(
    spec: Organism, seed: int, stage: str, seconds: float, processor: float | None = None
) -> Record:
    """What a stage took: seconds by the clock, and of the processor where it was one process."""
    values = {} if processor is None else {"seconds_processor": processor}
    return Record(
        kind="timing",
        organism=spec.name,
        key=spec.key,
        seed=seed,
        params={"stage": stage},
        values=values,
        versions=provenance(),
        seconds=seconds,
    )


# Several seeds ----------------------------------------------------------------------------------


def grow(
    name: str | Organism,
    *,
    seeds: int = 1,
    store: Store | None = None,
    progress: Progress = silent,
) -> list[Record]:
    """Grow seeds 0 to ``seeds - 1`` and put each through its gates; returns gates and examples.

    The records are kept in the store, where :func:`mo_interp.ledger.gate_records` finds them.
    """
    spec, store = (load(name) if isinstance(name, str) else name), store or Store()
    found: list[Record] = []
    for seed in range(seeds):
        found += grow_seed(spec, seed, store=store, progress=progress)
    return numbered(found)


def grow_seed(
    spec: Organism, seed: int, *, store: Store, progress: Progress = silent
) -> list[Record]:
    """One seed of :func:`grow`: twin, organism, the stages that are kept; its times go beside them.

    Nothing that is there already is done again, and only what was done in one go has a time.
    """
    clock = Clock()
    fresh = _untouched(spec, seed, store)
    grown = organism(spec, seed=seed, store=store, progress=progress)
    times = [timing(spec, seed, "grow", *clock.lap())] if fresh else []
    work, found = Work(grown, Path(), progress=progress), []
    there = [kept(store, spec, seed, stage.__name__) is not None for stage in KEPT]
    for stage in KEPT:
        progress(0, 1, f"measuring {spec.name}, seed {seed}: {stage.__name__}")
        path = gate_file(store, spec, seed, stage.__name__)
        code = gates_code(spec.family, stage.__name__)
        found += once(path, functools.partial(stage, work), code=code)
    times += [] if any(there) else [timing(spec, seed, "gates", *clock.lap())]
    keep_times(store, spec, seed, times)
    return found


class Clock:
    """Seconds since the last lap: by the clock, and of this process on its processor."""

    def __init__(self) -> None:
        """Start."""
        self._at = (time.perf_counter(), time.process_time())

    def lap(self) -> tuple[float, float]:
        """Both, and start again."""
        before, self._at = self._at, (time.perf_counter(), time.process_time())
        return self._at[0] - before[0], self._at[1] - before[1]


def _untouched(spec: Organism, seed: int, store: Store) -> bool:
    """Whether nothing of a seed was grown yet, not even a checkpoint."""
    places = [address(one, seed) for one in (spec, spec.twin())]
    if any(store.folder(*place).exists() for place in places):
        return False
    return not any(any(store.scratch(*place).iterdir()) for place in places)
