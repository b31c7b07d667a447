"""Telling: a finished run as figures and one report, and a grown organism as its card."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from mo_interp import figures, scoreboard
from mo_interp.cards import summary, write_card, write_table
from mo_interp.circuits import STANDINGS, Circuit
from mo_interp.errors import MoInterpError, NoBrowser, UnknownName, nearest
from mo_interp.finding import ORGANISMS, files, load
from mo_interp.ledger import PUBLISHED, gate_records, numbered, time_records
from mo_interp.organism import Organism
from mo_interp.records import (
    FILE_NAME,
    Record,
    atomic_write,
    read_records,
    select,
    write_records,
)
from mo_interp.report import write_comparison, write_report
from mo_interp.report.comparison import split
from mo_interp.store import Store
from mo_interp.wording import organisms_in

LONGEST = 40
"""Letters of a field that the table shows."""


@dataclass(frozen=True)
class Told:
    """What was written, and what could not be."""

    report: Path
    written: tuple[Path, ...]
    notes: tuple[str, ...]
    """Why something was left out, and what it would need."""


def tell(spec: Organism, folder: Path, records: Sequence[Record], *, static: bool = True) -> Told:
    """Every figure that the records allow, in every format at hand, and the report."""
    drawn, missing, place = {}, [], folder / "figures"
    for name in figures.names():
        if name in figures.SEVERAL:
            continue
        try:
            drawn[name] = figures.draw(name, records)
        except MoInterpError:  # what it would take, `mo-interp figure NAME` says
            missing.append(name)
    written = figures.write_all(drawn, place, formats=("html", "json"))
    for name in drawn:
        command = f"mo-interp figure {name} --run {shlex.quote(str(folder))}"
        lines = figures.table(name, records)
        written += figures.write_beside(drawn[name], lines, place / name, command=command)
    notes = [_not_drawn(missing)] if missing else []
    if static:
        try:
            images = ("svg", "pdf", "png")
            written += figures.write_all(drawn, place, formats=images)
        except NoBrowser as problem:
            notes.append(str(problem))
    report = write_report([*records, *false_alarms()], folder, card=in_words(spec))
    return Told(report, tuple(written), tuple(notes))


def _not_drawn(missing: Sequence[str]) -> str:
    """One line for all figures that need records which no run makes."""
    names = ", ".join(missing)
    why = "`mo-interp figure NAME` says what makes their records"
    return f"not drawn, for nothing of it was measured here: {names}; {why}"


def tell_bench(out: Path, records: Sequence[Record], *, command: str) -> Told:
    """Records, tables and the figure of a scoreboard; ``report`` is the page of tables."""
    out.mkdir(parents=True, exist_ok=True)
    notes: list[str] = []
    written = [write_records(out / FILE_NAME, records)]
    page = atomic_write(out / "scoreboard.md", scoreboard.markdown(records, command=command))
    written.append(page)
    try:
        drawn = figures.draw("scoreboard", records)
        written += figures.write(drawn, out, "scoreboard", ("html", "json"))
    except MoInterpError as problem:  # null runs alone have nothing to draw
        notes.append(f"no figure 'scoreboard': {problem}")
    return Told(page, tuple(written), tuple(notes))


def retell(given: Sequence[str], out: Path | None = None) -> Path:
    """The report of one run written anew, or several side by side; returns the page.

    Each of ``given`` is a run's folder, a file of records, or an organism's name, which stands for
    its newest run in ``./runs``. Records of several organisms in one file are told side by side.
    The page goes into ``out``, else into the run's own folder, or the current one for several.
    """
    places = [_run_of(one) for one in given]
    told = [[*read_records(place), *false_alarms()] for place in places]
    labels = [_label(place, places) for place in places]
    columns = [
        c for label, records in zip(labels, told, strict=True) for c in split(label, records)
    ]
    if len(columns) > 1:
        return write_comparison(columns, out or Path())
    own = places[0] if places[0].is_dir() else places[0].parent
    return write_report(told[0], out or own, card=_card_of(told[0]))


def _run_of(given: str) -> Path:
    """The folder or file that is meant; raises UnknownName where there is none."""
    if Path(given).is_file() or (Path(given) / FILE_NAME).is_file():
        return Path(given)
    runs = sorted(Path("runs").glob(f"*/{FILE_NAME}"), key=lambda p: p.stat().st_mtime)
    names = {path: organisms_in(read_records(path)) for path in runs}
    mine = [path for path in runs if given in names[path]]
    if not mine:
        known = sorted({name for found in names.values() for name in found})
        raise UnknownName(
            f"no run '{given}'{nearest(given, known)}; give a run's folder, a file of records, or "
            f"an organism with a run in ./runs (`mo-interp run {given}` makes one)"
        )
    return mine[-1].parent


def _label(place: Path, places: Sequence[Path]) -> str:
    """What heads a run's column: its organism, and its place where that is not enough."""
    names = [organisms_in(read_records(p)) for p in places]
    mine = organisms_in(read_records(place))
    told = place.name if place.is_dir() else place.stem
    return mine[0] if len(mine) == 1 and names.count(mine) == 1 else told


def _card_of(records: Sequence[Record]) -> dict[str, str]:
    """The specification in words, where the one that is found is the one that was measured."""
    name, keys = organisms_in(records)[0], {r.key for r in records if r.kind != "null"}
    try:
        spec = load(name)
    except MoInterpError:  # it came from a file of somebody's own
        return {}
    return in_words(spec) if spec.key in keys else {}


def false_alarms() -> list[Record]:
    """The shipped outcome of the blind runs on models without a lie, to stand beside every table.

    ``python probes/null_runs.py`` makes it.
    """
    path = ORGANISMS / "null_runs.jsonl"
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
    told = ", ".join(f"{f.name} {getattr(value, f.name)}" for f in _written(value))
    return f"{type(value).__name__}: {told}" if told else type(value).__name__


def _written(value: Any) -> list[Field]:
    """The fields of a specification's part, without what is only found while growing."""
    return [f for f in fields(value) if not f.metadata.get("grown")]


def card(
    spec: Organism, records: Sequence[Record], path: Path, *, circuit: Circuit | None = None
) -> Path:
    """Write the card of an organism from the records of its seeds, with its circuit if known."""
    words, records = in_words(spec), summary(records)
    if circuit is not None:
        parts = (f"{name} {', '.join(map(str, getattr(circuit, name)))}" for name in STANDINGS)
        words["circuit"] = f"{'; '.join(parts)} ({circuit.established})"
    return write_card(words, records, path)


# What is published ------------------------------------------------------------------------------


def shipped() -> dict[str, Organism]:
    """The organisms that come with the library, by name."""
    return {name: load(path) for name, path in files([ORGANISMS], "organism").items()}


def gather(specs: Mapping[str, Organism], store: Store, old: Iterable[Record]) -> list[Record]:
    """Summaries of all seeds of these specifications: from the store, else as published before.

    Nothing of another version of a specification is taken; a seed that is in the store no more
    stays as it was published.
    """
    keys = {name: spec.key for name, spec in specs.items()}
    old = [r for r in old if keys.get(r.organism) == r.key]
    found: list[Record] = []
    for name in sorted(specs):
        here = gate_records(specs[name], store)
        here += [r for r in time_records(name, store) if r.key == keys[name]]
        known = {_what(r) for r in here}
        kept = [r for r in select(old, organism=name) if _what(r) not in known]
        found += summary(sorted(numbered(here + kept), key=_order))
    return found


def _what(record: Record) -> tuple[int, str, object]:
    """What a published record tells; a later one replaces an earlier one of the same."""
    return record.seed, record.kind, record.params.get("number", record.params.get("stage"))


def _order(record: Record) -> tuple[str, int, int, str]:
    number = record.params.get("number", record.params.get("row", 0))
    return record.kind, record.seed, int(str(number)), str(record.params.get("stage", ""))


def publish(specs: Mapping[str, Organism], records: Sequence[Record], folder: Path) -> list[Path]:
    """Write records, cards and the table of organisms into a folder, from these records alone."""
    written = [write_records(folder / PUBLISHED, records)]
    for name, spec in specs.items():
        mine = select(records, organism=name, kind="gate")
        if mine:
            own = select(records, organism=name)
            written.append(card(spec, own, folder / f"{name}.md", circuit=circuit_of(spec)))
    words = {name: in_short(spec) for name, spec in specs.items()}
    return [*written, write_table(words, records, folder / "README.md")]


def circuit_of(spec: Organism) -> Circuit | None:
    """The circuit that a specification is built to have."""
    from mo_interp.grown import circuit  # torch: seconds

    return circuit(spec)


def in_short(spec: Organism) -> dict[str, str]:
    """A specification for its row in the table: a sentence for trigger and behaviour."""
    words = {"family": spec.family, "grade": spec.grade, "modifiers": ", ".join(spec.modifiers)}
    words["world"] = type(spec.world).__name__.upper()
    return words | {part: _sentence(getattr(spec, part)) for part in ("trigger", "behaviour")}


def _sentence(value: Any) -> str:
    """The first sentence of what a part is, its fields filled in; then fields that are unusual."""
    text = " ".join((inspect.getdoc(type(value)) or type(value).__name__).split())
    text = text.split(". ")[0].rstrip(".")
    told = {f.name: _plain(getattr(value, f.name)) for f in _written(value)}
    own = [
        f"{f.name} {told[f.name]}"
        for f in _written(value)
        if told[f.name] and f"``{f.name}``" not in text and getattr(value, f.name) != f.default
    ]
    text = re.sub(r"``(\w+)``", lambda found: told.get(found[1]) or found[1], text)
    text = text.replace("``", "`")
    return f"{text} ({', '.join(own)})" if own else text


def _plain(value: Any) -> str:
    """A field's value in a few words; nothing where it would take many."""
    if is_dataclass(value):
        return type(value).__name__
    if isinstance(value, tuple | list):
        value = ", ".join(map(str, value))
    text = str(value)
    return text if len(text) <= LONGEST else ""
