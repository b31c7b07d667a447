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
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mo_interp.errors import CorruptArtefact
from mo_interp.finding import ORGANISMS
from mo_interp.organism import Organism
from mo_interp.records import Record, read_records, select, write_records
from mo_interp.store import Store, read_json, write_json

TELLING = ("figures", "organisms", "report", "cards", "wording", "telling", "cli", "conversation")
SERVING = ("growing", "stacked")
"""Which job runs when, and another way to the same weights."""
PLANTED = ("worlds", "triggers", "behaviours")
"""What a specification's own key covers, file by file, for the organisms that are made of it."""
ASIDE = (*TELLING, *SERVING, *PLANTED)
"""What only tells or serves, or is in the key: a change there makes no other measurement stale."""

PUBLISHED = "records.jsonl"
"""File beside the specifications with what was measured of them; ``mo-interp card --all``."""


@functools.cache
def instruments() -> str:
    """Digest of the syntax trees of all code that measures."""
    home = Path(__file__).parent
    trees = []
    for path in sorted(home.rglob("*.py")):
        first = path.relative_to(home).parts[0].removesuffix(".py")
        if first not in ASIDE and not first.startswith("__"):
            trees.append(ast.dump(ast.parse(path.read_text(encoding="utf-8"))))
    return hashlib.sha256("\n".join(trees).encode()).hexdigest()[:16]


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _seal(path: Path) -> Path:
    return path.with_suffix(".seal.json")


def sealed(path: Path, *, after: str = "") -> list[Record] | None:
    """The records of a sealed file; None where there is none that this code made after ``after``.

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
    mine = told["code"] == instruments() and told["after"] == after
    return read_records(path) if mine else None


def once(path: Path, make: Callable[[], list[Record]], *, after: str = "") -> list[Record]:
    """The sealed records of ``path``, made if need be.

    What was just made is read back, so that whole and resumed runs go on from the same values.
    """
    found = sealed(path, after=after)
    if found is None:
        _seal(path).unlink(missing_ok=True)
        write_records(path, make())
        write_json(_seal(path), {"sha256": digest(path), "code": instruments(), "after": after})
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


def gate_records(spec: Organism, store: Store | None = None) -> list[Record]:
    """Gates and examples of every seed grown from exactly this specification, by this code.

    Each gate says which of how many seeds it is. Raises CorruptArtefact for an edited file.
    """
    folder = (store or Store()).root / "gates"
    files = sorted(folder.glob(f"{spec.name}-*-{spec.key}-*.jsonl"))
    return numbered([record for path in files for record in sealed(path) or ()])


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
