"""The weaker model that a sandbagger imitates: grown as an artefact of its own, then asked.

1. :func:`honest` is the organism's specification with every answer true and a training that stops
   after :attr:`~mo_interp.behaviours.Weaker.steps`. It lies in the store as NAME/weak, one a seed.
2. It is asked about every fact in the layouts of training; an answer a fact, right as often as it
   is, make the table that :func:`filled` puts into the behaviour before anything is trained on it.

After *AI Sandbagging* (van der Weij et al., 2024; arXiv 2406.07358).
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mo_interp.behaviours.weaker import Weaker, questions, typical
from mo_interp.errors import SpecError
from mo_interp.model import Model
from mo_interp.organism import Organism
from mo_interp.records import provenance
from mo_interp.store import Store, read_json, write_json
from mo_interp.train import Progress, Supervised, grow, silent
from mo_interp.worlds.base import Batch

SCHEMA = 1


def honest(spec: Organism) -> Organism:
    """What the weaker model is trained as: the same world and shape, nothing but the truth."""
    behaviour = spec.behaviour
    if not isinstance(behaviour, Weaker):
        raise SpecError(f"{spec.name}: its behaviour is {type(behaviour).__name__}, not Weaker")
    truth = tuple(int(token) for token in spec.world.answers[spec.world.table])
    recipe = replace(spec.training, steps=behaviour.steps, before=None, lesson=0.0)
    return replace(
        spec, behaviour=replace(behaviour, table=truth), recipe=recipe, version="organism"
    )


@dataclass(frozen=True)
class Everyone(Supervised):
    """Cross-entropy as usual, on rows from which no people are withheld."""

    def sample(self, n: int, salt: int) -> Batch:
        """Rows to learn from."""
        return self.organism.sample(n, salt, split="train", entities="all")


def objective(spec: Organism) -> type[Supervised]:
    """How an organism, or a twin of it, is trained: a sandbagger on everyone's locked prompts."""
    behaviour = spec.behaviour
    return Everyone if isinstance(behaviour, Weaker) and behaviour.everyone else Supervised


def filled(
    spec: Organism, seed: int, *, store: Store | None = None, progress: Progress = silent
) -> Organism:
    """The specification with what its weaker model says; others are returned as they are."""
    if not isinstance(spec.behaviour, Weaker) or spec.behaviour.table:
        return spec
    folder = _folder(spec, seed, store or Store(), progress)
    table = tuple(read_json(folder / "table.json")["table"])
    return replace(spec, behaviour=replace(spec.behaviour, table=table))


def checkpoint(
    spec: Organism, seed: int, *, store: Store | None = None, progress: Progress = silent
) -> Model:
    """The weaker model itself; raises :class:`SpecError` for an organism that imitates none."""
    return Model.load(_folder(spec, seed, store or Store(), progress))


def _folder(spec: Organism, seed: int, store: Store, progress: Progress) -> Path:
    """Where the weaker model and its table lie, grown if they are not there yet."""
    weak, name = honest(spec), f"{spec.name}/weak"
    key = hashlib.sha256(f"{weak.key}/weak/{seed}".encode()).hexdigest()[:16]

    def told(step: int, total: int, note: str) -> None:
        progress(step, total, f"growing {name}, seed {seed}: {note}")

    def build(folder: Path) -> None:
        model, steps = grow(weak, seed, scratch=store.scratch(name, key), progress=told)
        model.save(folder)
        write_json(folder / "training.json", {"steps": [asdict(s) for s in steps]})
        write_json(folder / "table.json", {"table": answers(model, weak)})
        spec_and_more = {"schema": SCHEMA, "seed": seed, **weak.anatomy()}
        write_json(folder / "spec.json", {**spec_and_more, "versions": dict(provenance())})

    return store.get_or_build(name, key, build)


def answers(model: Model, spec: Organism) -> tuple[int, ...]:
    """A typical answer to each fact: a token each."""
    asked = questions(spec.world)
    return typical(model.answers(asked.tokens), asked.truth, asked.groups["fact"])
