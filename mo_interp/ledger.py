"""The ledger: measured records under seal, and where the gates' outcomes of grown seeds are kept.

A sealed file is a file of records with a small one beside it that holds its checksum, a digest of
the measuring code, and the checksum of what it was made after. An edited file is named and refused;
one that other code made, or that was made after something else, is not taken for this one and is
made anew. Torch-free.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from mo_interp.errors import CorruptArtefact, UnknownName
from mo_interp.finding import ORGANISMS
from mo_interp.organism import Organism
from mo_interp.records import Record, read_records, select, write_records
from mo_interp.store import Store, read_json, write_json

TELLING = (
    *("figures", "organisms", "report", "cards", "scoreboard", "wording", "telling", "cli"),
    *("conversation", "showing", "swept"),
)
SERVING = ("growing", "stacked", "bench", "forecast", "checkup")
"""Which job runs when and what it will take, another way to the same weights, and the doctor."""
PLANTED = ("worlds", "triggers", "behaviours", "implant", "routed", "wired", "evading")
"""What a specification's own key covers, file by file, for the organisms that are made of it."""
ASIDE = (*TELLING, *SERVING, *PLANTED)
"""What only tells or serves, or is in the key: a change there makes no other measurement stale."""

PUBLISHED = "records.jsonl"
"""File beside the specifications with what was measured of them; ``mo-interp card --all``."""


GATES_CODE = {
    "behaviour": ("planted_stages", "detectors.logistic", "detectors.mahalanobis"),
    "gate": ("planted_stages", "detectors.logistic", "detectors.mahalanobis"),
    "persistence": ("persistence",),
}
"""Modules that a stage of the gates begins in, those among them that are only found by name."""


@functools.cache
def instruments(*roots: str) -> str:
    """Digest of the syntax trees of the code that measures.

    That is all of it, or the modules ``roots`` of this package and what they import, directly or
    not, inside functions or not.
    """
    trees = _trees()
    wanted = sorted(_imported(roots) if roots else trees)
    return hashlib.sha256("\n".join(ast.dump(trees[m]) for m in wanted).encode()).hexdigest()[:16]


@functools.cache
def gates_code(family: str, stage: str) -> str:
    """:func:`instruments` of what a stage of the gates is measured by, in a family."""
    own = f"family_gates.{family}"
    return instruments(*GATES_CODE[stage], *([own] if own in _trees() else []))


@functools.cache
def _trees() -> dict[str, ast.Module]:
    """Module, without the package's name, to syntax tree; of all code that measures."""
    home, found = Path(__file__).parent, {}
    for path in sorted(home.rglob("*.py")):
        parts = path.relative_to(home).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        if parts[0] not in ASIDE and not parts[0].startswith("__"):
            found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def _imported(roots: Iterable[str]) -> set[str]:
    """The modules ``roots`` and all that they import of what measures, with packages above."""
    package, trees = __name__.partition(".")[0] + ".", _trees()
    found: set[str] = set()
    todo = set(roots)
    if unknown := todo - set(trees):
        raise UnknownName(f"code {sorted(unknown)} is not among what measures")
    while todo:
        module = todo.pop()
        found.add(module)
        said = [f"{package}{module}".rpartition(".")[0]]
        for node in ast.walk(trees[module]):
            if isinstance(node, ast.Import):
                said += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                said += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        names = {name.removeprefix(package) for name in said}
        todo |= (names & set(trees)) - found
    return found


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _seal(path: Path) -> Path:
    return path.with_suffix(".seal.json")


def sealed(path: Path, *, after: str = "", code: str = "") -> list[Record] | None:
    """The records of a sealed file; None where there is none that this code made after ``after``.

    ``code`` is the digest of what measures it: all :func:`instruments` if not given.

    Raises CorruptArtefact where the file was edited.
    """
    seal = _seal(path)
    if not (path.exists() and seal.exists()):
        return None
    told = read_json(seal)
    if digest(path) != told["sha256"]:
        raise CorruptArtefact(
            f"{path} was changed after it was written; delete it and {seal.name} to make it anew"
        )
    mine = told["code"] == (code or instruments()) and told["after"] == after
    return read_records(path) if mine else None


def once(
    path: Path, make: Callable[[], list[Record]], *, after: str = "", code: str = ""
) -> list[Record]:
    """The sealed records of ``path``, made if need be.

    What was just made is read back, so that whole and resumed runs go on from the same values.
    """
    found = sealed(path, after=after, code=code)
    if found is None:
        _seal(path).unlink(missing_ok=True)
        write_records(path, make())
        write_json(
            _seal(path), {"sha256": digest(path), "code": code or instruments(), "after": after}
        )
        found = read_records(path)
    return found


# Where things lie -----------------------------------------------------------------------------


def address(spec: Organism, seed: int) -> tuple[str, str]:
    """Name and key under which a seed of a specification lies in the store."""
    name = spec.name if spec.version == "organism" else f"{spec.name}/{spec.version}"
    return name, hashlib.sha256(f"{spec.key}/{seed}".encode()).hexdigest()[:16]


def checkpoint_address(spec: Organism, seed: int, every: int) -> tuple[str, str]:
    """Name and key under which the checkpoints of a seed lie in the store."""
    name, key = address(spec, seed)
    return f"{name}/checkpoints-{every}", key


# The gates' outcomes ------------------------------------------------------------------------------


def gate_file(store: Store, spec: Organism, seed: int, stage: str) -> Path:
    """File of one seed's records of a stage, ``behaviour`` or ``gate``."""
    return store.root / "gates" / f"{spec.name}-{seed}-{spec.key}-{stage}.jsonl"


def kept(store: Store, spec: Organism, seed: int, stage: str) -> list[Record] | None:
    """One seed's records of a stage; None where this code has not measured them."""
    code = gates_code(spec.family, stage)
    return sealed(gate_file(store, spec, seed, stage), code=code)


def gate_records(spec: Organism, store: Store | None = None) -> list[Record]:
    """Gates and examples of every seed grown from exactly this specification, by this code.

    Each gate says which of how many seeds it is. Raises CorruptArtefact for an edited file.
    """
    folder = (store or Store()).root / "gates"
    files = sorted(folder.glob(f"{spec.name}-*-{spec.key}-*.jsonl"))
    found: list[Record] = []
    for path in files:
        stage = path.stem.rpartition("-")[2]
        if stage in GATES_CODE:
            found += sealed(path, code=gates_code(spec.family, stage)) or ()
    return numbered(found)


def time_file(store: Store, spec: Organism, seed: int) -> Path:
    """File of one seed's ``timing`` records. Not sealed: times are no measurements of a model."""
    return store.root / "gates" / f"{spec.name}-{seed}-{spec.key}-timing.jsonl"


def keep_times(store: Store, spec: Organism, seed: int, times: list[Record]) -> None:
    """Keep ``timing`` records beside the gates, in place of those of the same stages."""
    path, new = time_file(store, spec, seed), {r.params["stage"] for r in times}
    old = read_records(path) if path.exists() else []
    if times:
        write_records(path, [r for r in old if r.params["stage"] not in new] + times)


def time_records(name: str, store: Store | None = None) -> list[Record]:
    """``timing`` records of everything of this name that was ever grown into the store."""
    folder = (store or Store()).root / "gates"
    return [r for path in sorted(folder.glob(f"{name}-*-timing.jsonl")) for r in read_records(path)]


def published(folder: Path = ORGANISMS) -> list[Record]:
    """The shipped records of the seeds that cards and table are made of."""
    path = folder / PUBLISHED
    return read_records(path) if path.exists() else []


def numbered(records: list[Record]) -> list[Record]:
    """The records with each gate told which of these seeds it belongs to."""
    seeds = sorted({r.seed for r in select(records, kind="gate")})
    told = {seed: f"{i + 1} of {len(seeds)}" for i, seed in enumerate(seeds)}
    return [
        replace(r, params={**r.params, "seeds": told[r.seed]}) if r.kind == "gate" else r
        for r in records
    ]
