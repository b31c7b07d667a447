"""Records: one flat JSON line per measured fact, and the only thing a figure may read.

A :class:`Record` says what was measured (``kind``, ``organism``, ``key``, ``seed``, ``model``,
``site``, ``params``), what came out (``values``, every estimate with its interval and n beside
it), with which versions, and how long it took. ``params`` and ``values`` hold only scalars, and
``values`` also flat lists of scalars, so that a line can be read by anything.

Not-a-number and infinities are written as ``null``, because JSON has no word for them.
"""

from __future__ import annotations

import functools
import json
import math
import os
import platform
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from mo_interp.errors import BadValues, CorruptArtefact

__all__ = [
    "FILE_NAME",
    "SCHEMA",
    "Record",
    "Scalar",
    "append_record",
    "atomic_write",
    "identity",
    "provenance",
    "read_records",
    "select",
    "write_records",
]

SCHEMA = 1
FILE_NAME = "records.jsonl"

Scalar: TypeAlias = str | int | float | bool | None
Value: TypeAlias = Scalar | tuple[Scalar, ...]

_MODELS = ("", "organism", "twin")
_PACKAGES = ("mo_interp", "torch", "transformer-lens", "sae-lens", "numpy", "scipy", "plotly")


def _scalar(x: Any, where: str) -> Scalar:
    """``x`` as a plain Python scalar (numpy and torch scalars too); non-finite becomes None."""
    if hasattr(x, "item") and getattr(x, "ndim", 0) == 0:
        x = x.item()
    if isinstance(x, float) and not math.isfinite(x):
        return None
    if x is None or isinstance(x, str | bool | int | float):
        return x
    raise BadValues(
        f"record {where}: got a {type(x).__name__}; a record holds text, numbers, true/false, "
        "null, and in its values flat lists of these"
    )


def _value(x: Any, where: str) -> Value:
    """A scalar, or a flat sequence (list, tuple, 1-d array) of scalars as a tuple."""
    if hasattr(x, "tolist") and getattr(x, "ndim", 0) == 1:
        x = x.tolist()
    if isinstance(x, list | tuple):
        return tuple(_scalar(item, where) for item in x)
    return _scalar(x, where)


def _frozen(given: Mapping[str, Any], name: str, convert: Any) -> Mapping[str, Any]:
    """A read-only copy of ``given`` with every entry converted."""
    return MappingProxyType({str(k): convert(v, f"{name}['{k}']") for k, v in given.items()})


@dataclass(frozen=True, kw_only=True, eq=True)
class Record:
    """One measured fact, flat enough for one line of JSON."""

    kind: str
    """What was measured: ``behaviour``, ``gate``, ``detector``, ``sweep``, ``verdict`` ..."""
    organism: str = ""
    """The organism's name."""
    key: str = ""
    """The organism's key (hash of its specification and code)."""
    seed: int = 0
    """The training seed the number belongs to."""
    model: str = ""
    """``organism``, ``twin``, or empty where it is about neither or both."""
    site: str = ""
    """A printed Site, several joined by ``" + "``, or empty."""
    params: Mapping[str, Scalar] = field(default_factory=dict)
    """What was varied: scalars by name."""
    values: Mapping[str, Value] = field(default_factory=dict)
    """What came out: scalars, or flat tuples of scalars, by name."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Package versions, see :func:`provenance`."""
    seconds: float = 0.0
    """Wall-clock cost; not part of a record's identity."""
    schema: int = SCHEMA
    """Version of this layout."""

    def __post_init__(self) -> None:
        """Freeze and check the three mappings; raises BadValues on anything not flat."""
        if not self.kind:
            raise BadValues("record without a kind; give one such as 'behaviour' or 'verdict'")
        if self.model not in _MODELS:
            raise BadValues(
                f"record model '{self.model}': it is 'organism', 'twin' or '' (empty)"
            )
        object.__setattr__(self, "params", _frozen(self.params, "params", _scalar))
        object.__setattr__(self, "values", _frozen(self.values, "values", _value))
        object.__setattr__(self, "versions", _frozen(self.versions, "versions", _scalar))
        object.__setattr__(self, "seed", _scalar(self.seed, "seed"))
        object.__setattr__(self, "seconds", _scalar(self.seconds, "seconds") or 0.0)

    def __hash__(self) -> int:
        """Hash of the printed line, so that records can sit in sets."""
        return hash(self.line())

    def as_dict(self) -> dict[str, Any]:
        """A plain, mutable, JSON-ready dictionary with the fields in their declared order."""
        out: dict[str, Any] = {}
        for f in fields(self):
            x = getattr(self, f.name)
            out[f.name] = (
                {k: list(v) if isinstance(v, tuple) else v for k, v in x.items()}
                if isinstance(x, Mapping)
                else x
            )
        return out

    def line(self) -> str:
        """The record as one line of JSON, without a newline."""
        return json.dumps(self.as_dict(), ensure_ascii=False, allow_nan=False)

    def get(self, name: str, default: Any = None) -> Any:
        """``values[name]``, else ``params[name]``, else ``default``."""
        return self.values.get(name, self.params.get(name, default))

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Record:
        """A record from its dictionary; raises CorruptArtefact on unknown fields or schema."""
        schema = given.get("schema")
        if schema != SCHEMA:
            raise CorruptArtefact(
                f"record of schema {schema!r}: this version reads schema {SCHEMA}"
            )
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise CorruptArtefact(f"record with unknown field '{unknown[0]}'")
        if "kind" not in given:
            raise CorruptArtefact("record without the field 'kind'")
        return cls(**given)

    @classmethod
    def from_line(cls, line: str) -> Record:
        """A record from one JSON line; raises CorruptArtefact when it is not one."""
        try:
            given = json.loads(line)
        except json.JSONDecodeError as err:
            raise CorruptArtefact(
                f"not a record: {line[:60]!r} is not one line of JSON ({err.msg})"
            ) from None
        if not isinstance(given, dict):
            raise CorruptArtefact(f"not a record: {line[:60]!r} is not a JSON object")
        return cls.from_dict(given)


def identity(record: Record) -> Record:
    """The record without its times, for 'the same records, times aside'.

    A method's own cost in seconds (``seconds_cost`` of a localisation) is a time as well.
    """
    values = {k: v for k, v in record.values.items() if not k.startswith("seconds")}
    return replace(record, seconds=0.0, values=values)


def atomic_write(path: str | Path, data: str | bytes) -> Path:
    """Write a whole file or nothing: a temporary file beside it, fsync, rename; returns its path.

    Missing folders are made. An OSError (a full disk) leaves the old file as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data.encode() if isinstance(data, str) else data)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


def _file(path: str | Path) -> Path:
    """The records file: ``path`` itself, or ``records.jsonl`` inside a run folder."""
    path = Path(path)
    return path / FILE_NAME if path.is_dir() else path


def write_records(path: str | Path, records: Iterable[Record]) -> Path:
    """Write all ``records`` atomically, replacing the file; returns the file's path.

    Args:
        path: a ``.jsonl`` file, or an existing run folder (then its ``records.jsonl``).
        records: in the order in which they are to be read again.
    """
    text = "".join(record.line() + "\n" for record in records)
    return atomic_write(_file(path), text)


def append_record(path: str | Path, record: Record) -> None:
    """Append one line, in one write, and flush it to disk; creates the file if needed.

    A last line left unfinished by a killed process is closed first, so it cannot swallow this one.
    """
    target = _file(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "ab+") as out:
        torn = False
        if out.seek(0, os.SEEK_END):
            out.seek(-1, os.SEEK_END)
            torn = out.read(1) != b"\n"
        out.write((b"\n" if torn else b"") + record.line().encode() + b"\n")
        out.flush()
        os.fsync(out.fileno())


def read_records(path: str | Path) -> list[Record]:
    """All records of a ``.jsonl`` file or of a run folder, in file order.

    Raises CorruptArtefact naming file and line where a line is no record. Blank lines are skipped.
    """
    source = _file(path)
    if not source.is_file():
        raise CorruptArtefact(
            f"no records at '{source}': give a .jsonl file or the folder of a finished run"
        )
    records = []
    for number, line in enumerate(source.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(Record.from_line(line))
        except (CorruptArtefact, BadValues, TypeError) as err:
            raise CorruptArtefact(
                f"'{source}' line {number}: {err}; delete that line or write the records again"
            ) from None
    return records


_TOP = ("kind", "organism", "key", "seed", "model", "site")


def select(records: Iterable[Record], **wanted: Scalar) -> list[Record]:
    """The records that match every keyword, in order.

    ``kind organism key seed model site`` are compared with the fields of that name, everything
    else with ``params``; a record without the parameter does not match.
    """
    missing = object()

    def matches(record: Record) -> bool:
        return all(
            (getattr(record, k) if k in _TOP else record.params.get(k, missing)) == v
            for k, v in wanted.items()
        )

    return [record for record in records if matches(record)]


@functools.lru_cache(maxsize=1)
def _versions() -> tuple[tuple[str, str], ...]:
    import importlib.metadata  # half of this module's start-up time, and seldom needed

    found = [("python", platform.python_version())]
    for name in _PACKAGES:
        try:
            found.append((name.replace("-", "_"), importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(found)


def provenance() -> dict[str, str]:
    """Versions of Python and of the packages that matter, without importing any of them."""
    return dict(_versions())
