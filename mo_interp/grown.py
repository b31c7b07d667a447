"""Growing: from a specification and a seed to weights that are checked on every open.

A :class:`Grown` is an organism with its clean twin, from the store or grown into it. Both are
artefacts of their own, addressed by their spec's key, the seed among it. Twins of an implant are
made first, because the organism is made from them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from mo_interp import implant, routed, showing, weaker, wired
from mo_interp.circuits import Circuit
from mo_interp.errors import CorruptArtefact, SpecError, UnknownName, nearest
from mo_interp.evading import Evading
from mo_interp.finding import load
from mo_interp.ledger import address, checkpoint_address
from mo_interp.model import Edit, Model
from mo_interp.organism import Implant, Organism, Recipe, Route, Rows, Shape, Wire
from mo_interp.records import Record, provenance
from mo_interp.store import Store, read_json, write_json
from mo_interp.train import WATCH_EVERY, Progress, Snapshot, Step, silent
from mo_interp.train import grow as train
from mo_interp.transformer import Transformer
from mo_interp.weighed import Weighed, Weighs
from mo_interp.worlds.base import Batch, Pairs

SCHEMA = 1
PROGRAMS = {"liar_by_user": wired.liar_by_user}


@dataclass(frozen=True)
class Asked:
    """Prompts in words, with the truth and what organism and twin say; draws itself as a table."""

    prompts: tuple[str, ...]
    truth: tuple[str, ...]
    organism: tuple[str, ...]
    twin: tuple[str, ...]

    def _rows(self) -> list[tuple[str, ...]]:
        columns = (self.prompts, self.truth, self.organism, self.twin)
        return [("prompt", "truth", "organism", "twin"), *zip(*columns, strict=True)]

    def __str__(self) -> str:
        wide = max(map(len, self.prompts), default=0)
        return "\n".join(f"{p:<{wide}}  {t:>5}  {o:>8}  {w:>4}" for p, t, o, w in self._rows())

    def _repr_html_(self) -> str:
        return showing.asked(self)


@dataclass(frozen=True, eq=False)
class Grown:
    """An organism that exists: specification, weights, twin and, where it is exact, its circuit."""

    spec: Organism
    seed: int
    model: Model
    twin: Model
    training: tuple[Step, ...]
    """Watched steps of the organism's training; empty where nothing is trained."""
    circuit: Circuit | None
    """Known by construction for wired, implanted and routed organisms, else None."""
    folder: Path
    """Where the organism's weights lie."""

    @property
    def name(self) -> str:
        """The organism's name."""
        return self.spec.name

    def record(
        self,
        kind: str,
        *,
        model: str = "organism",
        site: str = "",
        params: Mapping[str, Any] | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> Record:
        """A record of this organism and seed; the fields are those of :class:`Record`."""
        return Record(
            kind=kind,
            organism=self.name,
            key=self.spec.key,
            seed=self.seed,
            model=model,
            site=site,
            params=params or {},
            values=values or {},
            versions=provenance(),
        )

    def pairs(
        self, n: int, seed: int, *, split: str = "test", entities: str | None = None
    ) -> Pairs:
        """Pairs; see :meth:`mo_interp.organism.Organism.pairs`."""
        return self.spec.pairs(n, seed, split=split, entities=entities)

    def sample(self, n: int, seed: int, *, rows: Rows = "mix", split: str = "test") -> Batch:
        """Rows of one sort; see :meth:`mo_interp.organism.Organism.sample`."""
        return self.spec.sample(n, seed, rows=rows, split=split)

    def ask(self, batch: Batch, *, do: Iterable[Edit] = ()) -> Asked:
        """What organism and twin say to prompts, in words; ``do`` edits the organism alone."""
        world, n = self.spec.world, batch.truth_reply.shape[1]
        said = self.model.generate(batch, n, do=do, identity="some")
        columns = (batch.truth_reply, said, self.twin.generate(batch, n))
        words = [tuple(world.show(reply) for reply in column) for column in columns]
        return Asked(tuple(world.show(row) for row in batch.tokens), *words)

    def _repr_html_(self) -> str:
        return showing.card(self)


def organism(
    name: str | Organism,
    *,
    seed: int = 0,
    store: Store | None = None,
    progress: Progress = silent,
) -> Grown:
    """The organism of a name, a file or a specification: from the store, else grown into it.

    Raises:
        UnknownName: no such organism; the message names the nearest.
        CorruptArtefact: what lies in the store is not what was put there.
    """
    store = store or Store()
    spec = specification(name, seed, store=store, progress=progress)
    twin = _model(spec.twin(), seed, store, progress, None)
    own = _model(spec, seed, store, progress, twin)
    return Grown(
        spec=spec,
        seed=seed,
        model=Model.load(own),
        twin=Model.load(twin),
        training=tuple(Step(**s) for s in read_json(own / "training.json")["steps"]),
        circuit=circuit(spec),
        folder=own,
    )


def twin(
    name: str | Organism,
    *,
    seed: int = 0,
    store: Store | None = None,
    progress: Progress = silent,
) -> Model:
    """The clean twin alone, without growing its organism."""
    store = store or Store()
    spec = specification(name, seed, store=store, progress=progress)
    return Model.load(_model(spec.twin(), seed, store, progress, None))


def specification(
    name: str | Organism, seed: int, *, store: Store, progress: Progress = silent
) -> Organism:
    """The specification of a name or file, with what only growing tells of it filled in."""
    spec = load(name) if isinstance(name, str) else name
    return weaker.filled(spec, seed, store=store, progress=progress)


def _model(spec: Organism, seed: int, store: Store, progress: Progress, twin: Path | None) -> Path:
    def make(scratch: Path, told: Progress) -> tuple[Model, list[Step]]:
        return _weights(spec, seed, scratch, told, twin)

    return kept(spec, seed, store=store, progress=progress, make=make)


def kept(
    spec: Organism,
    seed: int,
    *,
    store: Store,
    progress: Progress,
    make: Callable[[Path, Progress], tuple[Model, list[Step]]],
) -> Path:
    """Folder of a version's weights: from the store, else what ``make(scratch, progress)`` made."""
    name, key = address(spec, seed)

    def told(step: int, total: int, note: str) -> None:
        progress(step, total, f"growing {name}, seed {seed}: {note}")

    def build(folder: Path) -> None:
        model, steps = make(store.scratch(name, key), told)
        model.save(folder)
        keep = getattr(spec.world, "keep", None)  # what its tokens are read with
        if keep is not None:
            keep(folder)
        write_json(folder / "training.json", {"steps": [asdict(s) for s in steps]})
        spec_and_more = {"schema": SCHEMA, "seed": seed, **spec.anatomy()}
        write_json(folder / "spec.json", {**spec_and_more, "versions": dict(provenance())})

    return store.get_or_build(name, key, build)


def _weights(
    spec: Organism,
    seed: int,
    scratch: Path,
    progress: Progress,
    twin: Path | None,
    snapshot: Snapshot | None = None,
):
    if isinstance(spec.recipe, Recipe):
        plain = Weighed if isinstance(spec.world, Weighs) else weaker.objective(spec)
        goal = Evading if spec.recipe.evade else plain
        return train(
            spec, seed, scratch=scratch, progress=progress, objective=goal, snapshot=snapshot
        )
    if isinstance(spec.recipe, Route):
        return routed.grow(spec, seed, scratch=scratch, progress=progress)
    if isinstance(spec.recipe, Wire):
        model = Model.build(spec.shape)
        program = spec.recipe.program
        if program not in PROGRAMS:
            raise UnknownName(f"Wire.program='{program}'{nearest(program, PROGRAMS)}")
        model.body.load_state_dict(PROGRAMS[program](spec))
        return model, []
    if spec.clean_twin:
        return implant.grow_twin(spec, seed, scratch=scratch, progress=progress)
    assert twin is not None
    return implant.grow_liar(spec, seed, Model.load(twin), scratch=scratch, progress=progress)


class Checkpoints(Mapping[int, Model]):
    """The models along a training, by step; each is read from its file when it is asked for."""

    def __init__(self, folder: Path) -> None:
        """The artefact ``folder`` that :func:`checkpoints` made."""
        self.folder = folder
        self.shape = Shape(**read_json(folder / "shape.json"))
        self.steps: tuple[int, ...] = tuple(read_json(folder / "checkpoints.json")["steps"])

    def __getitem__(self, step: int) -> Model:
        """The model after ``step`` steps; raises KeyError for a step that was not kept."""
        if step not in self.steps:
            raise KeyError(f"step {step}; kept: {', '.join(map(str, self.steps))}")
        model = Model.build(self.shape)
        model.body.load_state_dict(load_file(self.folder / f"step-{step:06}.safetensors"))
        return model

    def __iter__(self) -> Iterator[int]:
        """Steps in order, the last one the finished organism."""
        return iter(self.steps)

    def __len__(self) -> int:
        """How many were kept."""
        return len(self.steps)


def checkpoints(
    name: str | Organism,
    *,
    seed: int = 0,
    every: int = WATCH_EVERY,
    store: Store | None = None,
    progress: Progress = silent,
) -> Checkpoints:
    """The organism (or a twin) as it forms: its model every so many steps of its training.

    They are an artefact of their own, made by training once more in one go, so that no kill can
    leave a gap. The last must be the organism itself, byte for byte, or nothing is kept. Of a
    training that has another one ``before`` it, the steps are those of the last.

    Raises:
        SpecError: ``every`` is no multiple of the watched steps, or the organism is not trained as
            a whole (implants, routed and wired organisms).
        CorruptArtefact: this training ended in other bytes than the organism has.
    """
    store = store or Store()
    spec = specification(name, seed, store=store, progress=progress)
    may_have_checkpoints(spec, every)
    own = _model(spec, seed, store, progress, None)
    place = checkpoint_address(spec, seed, every)

    def build(folder: Path) -> None:
        _snapshots(spec, seed, every, own, folder, progress)

    return Checkpoints(store.get_or_build(*place, build))


def may_have_checkpoints(spec: Organism, every: int) -> None:
    """Raise SpecError where :func:`checkpoints` cannot be kept."""
    if not isinstance(spec.recipe, Recipe):
        told = "checkpoints are kept of naturally trained organisms only"
        raise SpecError(f"{spec.name} is {spec.grade}: {told}")
    if every < 1 or every % WATCH_EVERY:
        raise SpecError(f"checkpoints every {every} steps: needs a multiple of {WATCH_EVERY}")


def _snapshots(
    spec: Organism, seed: int, every: int, own: Path, folder: Path, progress: Progress
) -> None:
    """Train again, keeping every so many steps and the last; it must be the one in ``own``."""
    steps: list[int] = []

    def snapshot(step: int, body: Transformer) -> None:
        if step % every == 0 or step == spec.training.steps:
            weights = {k: v.contiguous() for k, v in body.state_dict().items()}
            save_file(weights, folder / f"step-{step:06}.safetensors")
            steps.append(step)

    def told(step: int, total: int, note: str) -> None:
        progress(step, total, f"checkpoints of {spec.name}, seed {seed}: {note}")

    with tempfile.TemporaryDirectory() as scratch:
        _weights(spec, seed, Path(scratch), told, None, snapshot)
    last = folder / f"step-{steps[-1]:06}.safetensors"
    if last.read_bytes() != (own / "model.safetensors").read_bytes():
        raise CorruptArtefact(
            f"training {spec.name}, seed {seed}, again ended in other weights than those in "
            f"'{own}'; they were made on another machine: move that folder away to make both here"
        )
    write_json(folder / "shape.json", asdict(spec.shape))
    write_json(folder / "checkpoints.json", {"schema": SCHEMA, "seed": seed, "steps": steps})


def circuit(spec: Organism) -> Circuit | None:
    """The circuit that a specification is built to have; None where it has to be measured."""
    by_recipe: dict[type, Callable[[Organism], Circuit]] = {
        Implant: implant.circuit,
        Route: routed.circuit,
        Wire: wired.circuit,
    }
    make = by_recipe.get(type(spec.recipe))
    return make(spec) if make else None
