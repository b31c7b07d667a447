"""Outside rulers: transformers compiled from RASP programs by tracr, which nobody here wired.

*What is believed on our own ruler may have been tuned to it.* These circuits come from somebody
else's compiler (Lindner et al., arXiv 2301.05062; the language: Weiss et al., arXiv 2106.06981),
which says of every head and neuron which step of the program it implements. They are made by
``tests/rulers/make_rulers.py`` in an environment of its own, kept as safetensors and JSON, and
opened here through the one door, as bodies of our own shape (no norm, ReLU, bidirectional).

============  ==================================================================================
``deceiver``  counts two words; says 0 if a third, the trigger, occurs
``honest``    the same program without the trigger; the deceiver's twin
``reverse``   says its words in reverse order; a pair differs in what is said last
``sort``      says different numbers in order; a pair differs in the largest
============  ==================================================================================

A prompt is ``compiler_bos`` and some words, and a model answers at every position; the read-out is
the last one. What is said are numbers of *output values*, not tokens: see :attr:`Ruler.outputs`.

**The circuit.** A component is *origin* if its operation differs between the partners of a pair, by
tracr's evaluation of the program, and *inert* if it does not; weights were not looked at. Heads and
neurons of zeros, which tracr pads layers with, are no components and are in neither list.

A :class:`Ruler` has what the judge and the sweeps ask of a grown organism. Its rows are stored,
labelled by the program: asking for more gives all there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from safetensors.numpy import load_file

from mo_interp.circuits import Circuit
from mo_interp.errors import CorruptArtefact, SpecError, UnknownName, nearest
from mo_interp.model import Model
from mo_interp.organism import Grade
from mo_interp.sites import Site
from mo_interp.store import read_json
from mo_interp.worlds.base import Batch, Pairs

SCHEMA = 1
FOLDER = Path(__file__).resolve().parent.parent / "tests" / "rulers"
TWINS = {"deceiver": "honest"}
KINDS = ("another word",)
_STORED = {"clean": "clean", "near_miss": "near"}


@dataclass(frozen=True)
class Component:
    """A head or a range of neurons, and the step of the program that it implements."""

    site: Site
    operation: str


@dataclass(frozen=True, eq=False)
class Ruler:
    """A compiled program behind the door, with everything that is known about it."""

    name: str
    about: str
    """What the program does."""
    model: Model
    vocab: tuple[str, ...]
    """Words by token id; ``compiler_bos`` opens every prompt."""
    outputs: tuple[str, ...]
    """Output values by their number: what truths, answers and logits are about."""
    components: tuple[Component, ...]
    circuit: Circuit
    rows: Mapping[str, np.ndarray] = field(repr=False)
    """Everything stored, by name."""
    key: str
    """Hash of the weights."""
    twin: Model | None = None
    """The honest program, compiled by itself, where there is one."""
    grade: Grade = "wired"
    seed: int = 0

    @property
    def spec(self) -> Ruler:
        """Itself: rows are asked of an organism's specification."""
        return self

    @property
    def inputs(self) -> Int[np.ndarray, "n pos"]:
        """Token ids of the inputs that tracr's own model was run on."""
        return self.rows["inputs"]

    @property
    def logits(self) -> Float[np.ndarray, "n pos out"]:
        """What tracr's own model made of them, before it takes the largest."""
        return self.rows["logits"]

    @property
    def said(self) -> Int[np.ndarray, "n word"]:
        """What the program itself says to them, word for word: one position fewer, without BOS."""
        return self.rows["outputs"]

    def show(self, tokens: Int[np.ndarray, " pos"]) -> str:
        """One prompt in words."""
        return " ".join(self.vocab[token] for token in tokens)

    # Rows -----------------------------------------------------------------------------------

    def pairs(
        self, n: int, seed: int, *, split: str = "test", entities: str | None = None
    ) -> Pairs:
        """Up to ``n`` prompts without and with the trigger; nothing was trained, so no splits."""
        chosen = self._chosen("pair_clean", n, seed)
        return Pairs(self._batch("pair_clean", chosen), self._batch("pair_triggered", chosen))

    def sample(
        self,
        n: int,
        seed: int,
        *,
        split: str = "test",
        entities: str | None = None,
        rows: str = "clean",
    ) -> Batch:
        """Up to ``n`` ``clean`` or ``near_miss`` rows; raises :class:`UnknownName` for others."""
        if rows not in self._sorts:
            raise UnknownName(f"rows '{rows}' of ruler '{self.name}'{nearest(rows, self._sorts)}")
        name = self._sorts[rows]
        return self._batch(name, self._chosen(name, n, seed))

    def alternates(self, batch: Batch, seed: int) -> Batch:
        """For rows of :meth:`sample`: clean rows of the same truth, other fillers all over.

        There is one for each, whatever the seed. Raises :class:`SpecError` for other rows.
        """
        name = "near" if batch.near_miss.any() else "clean"
        same = "row" in batch.groups and f"{name}_alternate" in self.rows
        if not same or not np.array_equal(self.rows[name][batch.groups["row"]], batch.tokens):
            raise SpecError(f"ruler '{self.name}' has alternates of the rows of its sample() only")
        return self._batch(f"{name}_alternate", batch.groups["row"])

    @cached_property
    def _sorts(self) -> dict[str, str]:
        """Names of the sorts of rows that are stored, to their names in the file."""
        return {sort: name for sort, name in _STORED.items() if name in self.rows}

    def _chosen(self, name: str, n: int, seed: int) -> np.ndarray:
        stored = len(self.rows[name])
        return np.random.default_rng([59, seed]).permutation(stored)[:n]

    def _batch(self, name: str, chosen: np.ndarray) -> Batch:
        tokens, truth, answer = (
            self.rows[f"{name}{what}"][chosen].astype(np.int64)
            for what in ("", "_truth", "_answer")
        )
        near, prompts = name == "near", np.unique(tokens, axis=0, return_inverse=True)[1]
        slots = self.rows[f"{name.split('_')[0]}_slot"][chosen].astype(np.int64)
        return Batch(
            tokens=tokens,
            truth=truth,
            answer=answer,
            triggered=np.full(len(chosen), name == "pair_triggered"),
            near_miss=np.full(len(chosen), int(near), dtype=np.int8),
            kinds=KINDS,
            roles={"trigger": slots, "answer": np.full_like(slots, tokens.shape[1] - 1)},
            groups={"entity": truth, "fact": truth, "layout": prompts.ravel(), "row": chosen},
        )

    def _repr_html_(self) -> str:
        lines = "".join(
            f"<tr><td><code>{c.site}</code></td><td>{c.operation}</td>"
            f"<td>{self.circuit.standing(c.site)}</td></tr>"
            for c in self.components
        )
        return f"<b>{self.name}</b>: {self.about}<table>{lines}</table>"


def names(folder: Path = FOLDER) -> tuple[str, ...]:
    """The rulers that there are, in order."""
    return tuple(sorted(path.parent.name for path in folder.glob("*/ruler.json")))


def ruler(name: str, *, folder: Path = FOLDER) -> Ruler:
    """Open a compiled program, with its twin if it has one.

    Args:
        name: of :func:`names`.
        folder: where the rulers are. They belong to the repository; a wheel does not carry them.

    Raises:
        UnknownName: no such ruler; the message names the nearest, or says how to make them.
        CorruptArtefact: written by another version of the script.
        BadShape: weights that do not fit their shape.
    """
    place = folder / name
    if name not in names(folder):
        how = nearest(name, names(folder)) if names(folder) else _MAKE
        raise UnknownName(f"ruler '{name}' is not in '{folder}'{how}")
    told = read_json(place / "ruler.json")
    if told["schema"] != SCHEMA:
        raise CorruptArtefact(f"'{place}': schema {told['schema']}; this version reads {SCHEMA}")
    found = told["components"]
    components = tuple(Component(Site.parse(c["site"]), c["operation"]) for c in found)
    twin = TWINS.get(name)
    return Ruler(
        name=name,
        about=told["about"],
        model=Model.load(place),
        vocab=tuple(told["vocab"]),
        outputs=tuple(told["outputs"]),
        components=components,
        circuit=_circuit(components, told["moved"]),
        rows=load_file(place / "rows.safetensors"),
        key=hashlib.sha256((place / "model.safetensors").read_bytes()).hexdigest()[:16],
        twin=Model.load(folder / twin) if twin else None,
    )


_MAKE = "; make them with tests/rulers/make_rulers.py of the repository, or give folder="
_HOW = (
    "compiled by tracr, whose labels say what each part implements; origin: its operation differs "
    "between the partners of a pair, by evaluating the program"
)


def _circuit(components: tuple[Component, ...], moved: Mapping[str, bool]) -> Circuit:
    """Components whose operation moves, and the others."""
    origin = tuple(c.site for c in components if moved.get(c.operation))
    inert = tuple(c.site for c in components if not moved.get(c.operation))
    return Circuit(origin, (), inert, grade="wired", established=_HOW)
