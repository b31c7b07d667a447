"""What a method scored, as a table: from the records of the scoreboard that the checkout keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from examples import ROOT

from mo_interp.records import Record, read_records, select

BOARD = "probes/results/scoreboard.jsonl"


@cache
def board() -> tuple[Record, ...]:
    """Every mean over seeds that is kept."""
    return tuple(select(read_records(ROOT / BOARD), kind="score"))


def table(part: str, methods: Mapping[str, str], measures: Sequence[str]) -> str:
    """A section with a line for each organism, method and measure; empty where nothing is kept.

    ``methods`` gives the name to print for each method, empty for no name.
    """
    found = [
        (record, told)
        for method, told in methods.items()
        for measure in measures
        for record in select(board(), part=part, method=method, measure=measure)
    ]
    if not found:
        return ""
    named = any(methods.values())
    head = ["organism", *(["method"] if named else []), "what", "mean [95 %]", "chance", "twin"]
    lines = ["## What it scored", "", _row([*head, "seeds"]), "|---" * (len(head) + 1) + "|"]
    found.sort(key=lambda x: (x[0].organism, measures.index(str(x[0].params["measure"]))))
    for i, (record, told) in enumerate(found):
        first = not i or found[i - 1][0].organism != record.organism
        lines.append(_row(_cells(record, told, named, first=first)))
    return "\n".join([*lines, "", _source(part, [record for record, _ in found])])


def _cells(record: Record, told: str, named: bool, *, first: bool) -> list[str]:
    v: Mapping[str, Any] = record.values
    name = [told] if named else []
    each = f"{_number(v['mean'])}{_ends(v)}"
    beside = [_number(v.get(x)) for x in ("random", "twin")]
    what = str(record.params["measure"])
    who = f"`{record.organism}`" if first else ""
    return [who, *name, what, each, *beside, str(len(v["seeds"]))]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.2f}"


def _ends(values: Mapping[str, Any]) -> str:
    lo, hi = values.get("mean_lo"), values.get("mean_hi")
    return "" if lo is None or hi is None else f" [{lo:.2f}, {hi:.2f}]"


def _source(part: str, records: Sequence[Record]) -> str:
    each: list[Any] = [r.values["seeds"] for r in records]
    few = " One seed is no finding." if min(map(len, each)) == 1 else ""
    return (
        f"Means over seeds, from `{BOARD}`; `mo-interp bench --part {part}` makes such records. "
        f"*Chance* is what the same search finds at random; an interval over one seed is over "
        f"its rows.{few} How to read it: [scoreboard](../../concepts/scoreboard.md)."
    )
