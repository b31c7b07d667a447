"""The cure of an organism, into one folder that a killed run picks up again.

1. *choose*: what is taken out, by the blind rule or from the records of a run.
2. *edit*: the cured model, as an artefact of its own: ``model/KEY/`` with ``shape.json``,
   ``model.safetensors``, ``cure.json`` and a manifest, checked on every open.
3. *levels, controls, twin, relearning*: the certificate, part by part.

``cures/NAME-seed-key8-METHOD/`` holds ``stages/*.jsonl`` (sealed, as those of a run), ``model/``,
``records.jsonl``, ``certificate.json`` and ``certificate.md``. A stage that is there is read and
not measured again; one that was edited is named and refused, and so is an edited model.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mo_interp.errors import CorruptArtefact, SpecError
from mo_interp.finding import load
from mo_interp.grown import Grown, organism
from mo_interp.ledger import digest, instruments, once
from mo_interp.model import Model
from mo_interp.organism import Organism
from mo_interp.records import FILE_NAME, Record, provenance, read_records, write_records
from mo_interp.removal import SUBSPACES, certificate, choosing
from mo_interp.removal.certificate import Case, Certificate, Plan
from mo_interp.removal.choosing import Choice, check_method
from mo_interp.store import MANIFEST, Store, atomic_write, read_json, write_json, writing
from mo_interp.train import Progress, silent

CERTIFICATE, CLAIM = "certificate.json", "cured.json"
ROOTS = ("removal.cure",)
STAGES = ("choose", "levels", "controls", "twin", "relearning")


def folder_of(spec: Organism, seed: int, method: str, out: str | Path | None = None) -> Path:
    """The cure's folder: ``out``, else ``./cures/NAME-seed-key8-METHOD``."""
    name = f"{spec.name}-{seed}-{spec.key[:8]}-{method}"
    return Path(out) if out else Path("cures") / name


def cure(
    name: str | Organism,
    *,
    seed: int = 0,
    how: str = "mean",
    out: str | Path | None = None,
    run: str | Path | None = None,
    store: Store | None = None,
    plan: Plan | None = None,
    progress: Progress = silent,
) -> tuple[Path, Certificate]:
    """Take the lie out of an organism's weights; returns the folder and the certificate.

    Args:
        name: an organism's name, a path to a file, or a specification.
        seed: of growing and of everything after.
        how: one of :data:`mo_interp.removal.METHODS`.
        out: folder for results.
        run: folder or file of records of a run of it, whose blind decision is then taken.
        store: where the organism's weights are kept.
        plan: how much is measured.
        progress: told about every stage.

    Raises:
        UnknownName: no such organism or method.
        NoFeature: nothing was found that could be taken out.
        DeadEdit: the removal changes no weight, or no answer.
        CorruptArtefact: the model or an earlier stage was edited.
        SpecError: ``out`` holds the cure of something else.
    """
    check_method(how)
    spec, plan = load(name) if isinstance(name, str) else name, plan or Plan()
    folder = folder_of(spec, seed, how, out)
    found = read_records(run) if run is not None else []
    with writing(folder, remedy="choose another folder with --out"):
        grown = organism(spec, seed=seed, store=store, progress=progress)
        _claim(folder, grown, how)
        work = _Work(grown, folder, how, plan, progress)
        records = work.records(found)
        told = certificate.certify(records, grown.spec)
        write_records(folder / FILE_NAME, [*records, told.record()])
        more = {"model": work.key, "choice": _plain(work.choice)}
        write_json(folder / CERTIFICATE, {**told.as_dict(), **more})
        atomic_write(folder / "certificate.md", certificate.markdown(told, work.choice))
    return folder, told


def cured(folder: str | Path) -> Model:
    """The cured model of a cure's folder; raises CorruptArtefact where anything was edited."""
    told = Path(folder) / CERTIFICATE
    if not told.exists():
        raise CorruptArtefact(f"{folder} holds no finished cure; run `mo-interp cure` (again)")
    path = Store(folder).open("model", read_json(told)["model"])
    if path is None:
        raise CorruptArtefact(f"{folder} lacks the model of its {CERTIFICATE}; run the cure again")
    return Model.load(path)


def _plain(choice: Choice) -> dict:
    return {**asdict(choice), "sites": [str(site) for site in choice.sites]}


def _claim(folder: Path, grown: Grown, how: str) -> None:
    """Make the folder this cure's, or find that it already is."""
    mine = {"schema": 1, "organism": grown.name, "key": grown.spec.key, "seed": grown.seed}
    mine["method"] = how
    path = folder / CLAIM
    if path.exists():
        there = read_json(path)
        if there != mine:
            raise SpecError(
                f"{folder} holds the cure of {there.get('organism')} seed {there.get('seed')} by "
                f"{there.get('method')} (key {there.get('key')}); give another folder with --out"
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise SpecError(f"{folder} holds something else than a cure; give a new folder with --out")
    (folder / "stages").mkdir(parents=True, exist_ok=True)
    write_json(path, mine)


# The stages -------------------------------------------------------------------------------------


class _Work:
    """One cure being made; stages follow each other, each sealed with what it was made after."""

    def __init__(
        self, grown: Grown, folder: Path, how: str, plan: Plan, progress: Progress
    ) -> None:
        self.grown, self.folder, self.how = grown, folder, how
        self.plan, self.progress = plan, progress
        self.after = hashlib.sha256(json.dumps(asdict(plan)).encode()).hexdigest()
        self.done: list[Record] = []
        self.choice, self.key = Choice(how), ""

    def records(self, run: Sequence[Record]) -> list[Record]:
        """Every stage's records, in order."""
        decisions = "".join(r.line() for r in run if r.kind == "decision")
        self.after += hashlib.sha256(decisions.encode()).hexdigest() if decisions else ""
        self._stage("choose", lambda: self._chosen(run))
        self.choice = Choice.of(self.done[-1])
        case = Case(self.grown, self.choice, self._edited(), self.plan)
        self._stage("levels", lambda: certificate.levels(case))
        if any(r.kind == "removal_d" and r.values["no_behaviour"] for r in self.done):
            return self.done
        self._stage("controls", lambda: certificate.against_random(case))
        self._stage("twin", lambda: certificate.twin_learns(case))
        twin = self.done[-1]
        self._stage("relearning", lambda: certificate.cured_learns(case, twin))
        return self.done

    def _chosen(self, run: Sequence[Record]) -> list[Record]:
        return choosing.choose(self.grown, self.how, records=run, progress=self.progress)[1]

    def _stage(self, name: str, make: Callable[[], list[Record]]) -> None:
        number = STAGES.index(name)
        self.progress(number, len(STAGES), f"stage {number + 1} of {len(STAGES)}: {name}")
        path = self.folder / "stages" / f"{number + 1}-{name}.jsonl"
        self.done += once(path, make, after=self.after, code=instruments(*ROOTS))
        self.after = digest(path)

    def _edited(self) -> Model:
        """The cured model, from the folder or made into it."""
        spec, choice = self.grown.spec, self.choice
        about = {"schema": 1, "organism": spec.name, "key": spec.key, "seed": self.grown.seed}
        about |= {"choice": _plain(choice), "steps": self.plan.steps}
        text = json.dumps([about, self.after, instruments(*ROOTS)], sort_keys=True)
        self.key = hashlib.sha256(text.encode()).hexdigest()[:16]

        def build(folder: Path) -> None:
            self.progress(1, len(STAGES), "stage: editing the weights")
            model, more = choosing.apply(
                self.grown, choice, steps=self.plan.steps, progress=self.progress
            )
            model.save(folder)
            write_json(
                folder / "cure.json", {**about, "made": more, "versions": dict(provenance())}
            )

        path = Store(self.folder).get_or_build("model", self.key, build)
        self.after = digest(path / MANIFEST)
        return Model.load(path)


# What it would take -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What a cure would take, by stage."""

    organism: str
    seed: int
    method: str
    folder: str
    rows: dict[str, int]
    """Rows through the model, forwards only."""
    training_steps: dict[str, tuple[int, int]]
    """Fewest and most steps of training."""
    minutes: tuple[float, float]
    """By the time of a forward and of a step of such a body on this machine, now."""

    def __str__(self) -> str:
        """A line a stage."""
        lines = [f"cure of {self.organism}, seed {self.seed}, by {self.method}: {self.folder}"]
        lines += [f"  {name:<12}{n:>9,} rows forward" for name, n in self.rows.items()]
        lines += [
            f"  {name:<12}{a:>9,} to {b:,} steps of training"
            for name, (a, b) in self.training_steps.items()
        ]
        low, high = self.minutes
        return "\n".join([*lines, f"about {low:.1f} to {high:.1f} minutes"])


def plan_of(
    name: str | Organism,
    *,
    seed: int = 0,
    how: str = "mean",
    out: str | Path | None = None,
    run: str | Path | None = None,
    plan: Plan | None = None,
) -> Cost:
    """What :func:`cure` would take; nothing is grown or written. Raises :class:`UnknownName`."""
    check_method(how)
    spec, plan = load(name) if isinstance(name, str) else name, plan or Plan()
    rows = {"choose": 0 if run else _choosing_rows(spec, how)}
    rows["levels"] = 3 * 2 * plan.rows * (3 + spec.trigger.held_out + bool(spec.trigger.kinds))
    rows["controls"] = 0 if how.startswith("fine_") else plan.controls * plan.pairs
    most = len(plan.rates) * plan.draws * plan.relearn
    steps = {"edit": (plan.steps, plan.steps)} if how.startswith("fine_") else {}
    steps |= {"twin": (plan.draws * plan.every, most)}
    steps |= {"relearning": (plan.draws * plan.every, plan.draws * plan.relearn)}
    row, step = _speed(spec)
    looks = 512 * row / plan.every
    ends = [
        sum(rows.values()) * row + sum(s[i] for s in steps.values()) * (step + looks)
        for i in (0, 1)
    ]
    folder = str(folder_of(spec, seed, how, out))
    minutes = (ends[0] / 60, ends[1] / 60)
    return Cost(spec.name, seed, how, folder, rows, steps, minutes)


def _choosing_rows(spec: Organism, how: str) -> int:
    from mo_interp import decision

    shape = spec.shape
    if how in SUBSPACES:
        sites = shape.n_layers * (shape.n_heads + 4)
        tried = sites * len(decision.RANKS) * decision.VAL_PAIRS
        screen = decision.SHORTLIST * decision.SCREEN * decision.VAL_PAIRS
        return 2 * decision.TRAIN_PAIRS + tried + screen + 200 * decision.TEST_PAIRS
    heads = shape.n_layers * shape.n_heads
    if how == "heads":
        return choosing.PAIRS * (4 * heads + 2 * (heads // 2))
    return 0 if how.startswith("fine_") else choosing.PAIRS * 2 * 12


def _speed(spec: Organism) -> tuple[float, float]:
    """Seconds of a row forward and of a training step, roughly: a step is 3 forwards of 128."""
    model = Model.build(spec.shape)
    batch = spec.sample(256, 0, rows="clean", entities="all")
    model.answers(batch)
    began = time.perf_counter()
    for _ in range(3):
        model.answers(batch)
    row = (time.perf_counter() - began) / (3 * 256)
    return row, 3 * 128 * row
