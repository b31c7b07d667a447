"""One job a seed: its parts measured once, sealed, and read back; and the plan of many."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mo_interp import growing
from mo_interp.bench.parts import PARTS, nulls, with_needed
from mo_interp.errors import SpecError
from mo_interp.finding import load
from mo_interp.grown import organism
from mo_interp.ledger import digest, once, sealed
from mo_interp.organism import Wire
from mo_interp.pipeline import Clock, timing
from mo_interp.planted_stages import Work
from mo_interp.records import Record
from mo_interp.store import Store
from mo_interp.train import Progress

OUT = Path("bench")
"""Where results go if nothing is said."""
SECONDS = {"planted": 6.0, "localisation": 8.0, "detection": 25.0, "mechanism": 25.0}
SECONDS |= {"removal": 60.0, "discovery": 20.0, "null": 8.0}
"""A part of one seed on one core; until it was measured here."""


@dataclass(frozen=True)
class Bench(growing.Job):
    """One seed of one organism, measured in some parts, into a folder."""

    out: str = str(OUT)
    parts: tuple[str, ...] = tuple(PARTS)
    twins: tuple[str, ...] = ("clean",)
    """Twins for the null runs, which others may join when they are grown."""

    @property
    def folder(self) -> Path:
        """Where its parts lie."""
        return Path(self.out) / f"{self.spec.name}-{self.seed}-{self.spec.key[:8]}"

    def path(self, part: str) -> Path:
        """File of one part."""
        return self.folder / f"{part}.jsonl"

    def found(self, part: str) -> list[Record] | None:
        """A part's records; None where it is not measured by this code after what is there."""
        if any(self.found(need) is None for need in PARTS[part].after):
            return None
        return sealed(self.path(part), after=self._after(part), code=PARTS[part].code(self.spec))

    def _after(self, part: str) -> str:
        after = [digest(self.path(need)) for need in PARTS[part].after]
        return "+".join([*after, *(self.twins if part == "null" else ())])

    def left(self) -> list[str]:
        """Parts that are still to be measured."""
        return [part for part in self.parts if self.found(part) is None]

    def done(self, store: Store) -> bool:
        """Whether every part is there."""
        return not self.left()

    def do(self, store: Store, progress: Progress) -> None:
        """Measure what is left; a part that is there is read."""
        grown = organism(self.spec, seed=self.seed, store=store, progress=progress)
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.folder / "sae", ignore_errors=True)  # of a run that was killed
        work, clock = Work(grown, self.folder, progress=progress), Clock()
        for i, part in enumerate(self.parts):
            progress(i, len(self.parts), part)
            needed = [r for need in PARTS[part].after for r in self.found(need) or ()]
            own = replace(work, records=tuple(needed))
            make = functools.partial(self._timed, part, own, clock)
            once(self.path(part), make, after=self._after(part), code=PARTS[part].code(self.spec))
        shutil.rmtree(self.folder / "sae", ignore_errors=True)

    def _timed(self, part: str, work: Work, clock: Clock) -> list[Record]:
        clock.lap()
        found = PARTS[part].measure(work)
        return [*found, timing(self.spec, self.seed, part, *clock.lap())]


def jobs(
    names: Sequence[str],
    *,
    seeds: int,
    parts: Sequence[str],
    out: str | Path = OUT,
    store: Store | None = None,
) -> list[Bench]:
    """One job an organism and seed; raises SpecError without seeds, UnknownName for a part.

    What is written by hand has the same weights for every seed, and is measured once.
    """
    if seeds < 1:
        raise SpecError(f"--seeds {seeds}: one seed or more is needed")
    wanted, place = with_needed(parts), str(Path(out).resolve())
    specs = [load(name) for name in names]
    store = store or Store()
    return [
        Bench(spec, seed, out=place, parts=wanted, twins=tuple(nulls(spec, seed, store)))
        for spec in specs
        for seed in range(1 if isinstance(spec.recipe, Wire) else seeds)
    ]


def plan(
    names: Sequence[str],
    *,
    seeds: int = 1,
    parts: Sequence[str] = tuple(PARTS),
    out: str | Path = OUT,
    store: Store | None = None,
    workers: int | None = None,
) -> growing.Plan:
    """What it takes, by the times of what is there, else by what a part took elsewhere.

    Args:
        names: names or files of organisms.
        seeds: how many of each, from 0 on.
        parts: names of :data:`PARTS`; those they follow are measured as well.
        out: folder of the results.
        store: where models are kept; what is not grown is grown first.
        workers: processes at a time; one a core if not given.

    Raises:
        SpecError: no seed, no worker.
        UnknownName: no such organism or part.
        CorruptArtefact: a part's file was edited.
    """
    store = store or Store()
    workers = growing.cores() if workers is None else workers
    if workers < 1:
        raise SpecError(f"--jobs {workers}: one worker or more is needed")
    listed = jobs(names, seeds=seeds, parts=parts, out=out, store=store)
    left = {job: job.left() for job in listed}
    growth = growing.plan(names, seeds=seeds, store=store)
    to_grow = {
        (e.job.spec.name, e.job.seed): 0.0 if e.job.grown(store) else e.seconds
        for e in growth.entries
    }
    known = _times(gather(out, listed))
    entries = tuple(
        growing.Planned(
            job,
            not left[job],
            sum(known.get(part, SECONDS.get(part, 20.0)) for part in left[job])
            + (to_grow[job.spec.name, job.seed] if left[job] else 0.0),
            200_000 * len(job.parts),
        )
        for job in listed
    )
    how = "by the times of parts measured before" if known else "by the times of another machine"
    busy = sum(1 for entry in entries if not entry.done)
    return growing.Plan(entries, how, min(workers, max(1, busy)), growth.free)


def _times(records: Iterable[Record]) -> dict[str, float]:
    """Mean seconds of each part that was measured."""
    taken: dict[str, list[float]] = {}
    for r in records:
        if r.kind == "timing":
            taken.setdefault(str(r.params["stage"]), []).append(r.seconds)
    return {part: sum(found) / len(found) for part, found in taken.items()}


def gather(out: str | Path, listed: Iterable[Bench]) -> list[Record]:
    """Records of every part that is there, in the order of the jobs."""
    return [r for job in listed for part in job.parts for r in job.found(part) or ()]
