"""Telling: a finished run as figures and one report, and a grown organism as its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mo_interp import figures
from mo_interp.cards import write_card
from mo_interp.circuits import STANDINGS, Circuit
from mo_interp.errors import MoInterpError, NoBrowser
from mo_interp.finding import ORGANISMS
from mo_interp.organism import Organism
from mo_interp.records import Record, read_records, select
from mo_interp.report import write_report


@dataclass(frozen=True)
class Told:
    """What was written, and what could not be."""

    report: Path
    written: tuple[Path, ...]
    notes: tuple[str, ...]
    """Why something was left out, and what it would need."""


def tell(spec: Organism, folder: Path, records: Sequence[Record], *, static: bool = True) -> Told:
    """Every figure that the records allow, in every format at hand, and the report."""
    drawn, notes = {}, []
    for name in figures.names():
        try:
            drawn[name] = figures.draw(name, records)
        except MoInterpError as problem:
            notes.append(f"no figure '{name}': {problem}")
    written = figures.write_all(drawn, folder / "figures", formats=("html", "json"))
    if static:
        try:
            images = ("svg", "pdf", "png")
            written += figures.write_all(drawn, folder / "figures", formats=images)
        except NoBrowser as problem:
            notes.append(str(problem))
    report = write_report([*records, *false_alarms()], folder, card=in_words(spec))
    return Told(report, tuple(written), tuple(notes))


def false_alarms() -> list[Record]:
    """The shipped outcome of the blind runs on models without a lie, to stand beside every table.

    ``python probes/false_alarms.py`` makes it.
    """
    path = ORGANISMS / "false_alarms.jsonl"
    found = select(read_records(path), kind="null") if path.exists() else []
    return [r for r in found if "false_alarm" in r.values]


def in_words(spec: Organism) -> dict[str, str]:
    """A specification in words, for the report and the card."""
    parts = ("world", "trigger", "behaviour", "shape", "recipe", "gates")
    words = {"name": spec.name, "grade": spec.grade, "story": spec.story}
    words["expected"] = spec.expected
    words |= {part: _said(getattr(spec, part)) for part in parts}
    return words


def _said(value: Any) -> str:
    """A dataclass as ``Type: field value, ...``."""
    told = ", ".join(f"{f.name} {getattr(value, f.name)}" for f in fields(value))
    return f"{type(value).__name__}: {told}" if told else type(value).__name__


def card(
    spec: Organism, records: Sequence[Record], path: Path, *, circuit: Circuit | None = None
) -> Path:
    """Write the card of an organism from the records of its seeds, with its circuit if known."""
    words = in_words(spec)
    if circuit is not None:
        parts = (f"{name} {', '.join(map(str, getattr(circuit, name)))}" for name in STANDINGS)
        words["circuit"] = f"{'; '.join(parts)} ({circuit.established})"
    return write_card(words, records, path)
