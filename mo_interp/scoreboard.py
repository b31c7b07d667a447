"""The scoreboard in Markdown: a table a part of the evidence, made from ``score`` records alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mo_interp.records import Record, select
from mo_interp.wording import Told, decimal, false_alarms

__all__ = ["markdown"]

HEAD = (
    "Means over seeds with their 95 % intervals: t over seeds; the widest of theirs over rows "
    "where all are alike; Clopper-Pearson for what a seed has or has not; over the rows of a "
    "single seed. *Chance* is the 95th percentile of random directions for detectors, and the "
    "mean of random rankings, subspaces or writes elsewhere. No number is taken over different "
    "measures."
)


def markdown(records: Iterable[Record], *, command: str = "mo-interp bench") -> str:
    """Every part's table, the false-alarm rate beside each, and the command that recreates it."""
    found = list(records)
    scores = select(found, kind="score")
    parts = list(dict.fromkeys(str(r.get("part")) for r in scores))
    alarm = false_alarms(found)
    text = ["# Scoreboard", "", HEAD, "", f"Made by `{command}` from its records.", ""]
    for part in parts:
        mine = [r for r in scores if r.get("part") == part]
        text += [f"## {part.capitalize()}", "", alarm, "", *_table(mine), ""]
    return "\n".join(text)


def _table(found: Sequence[Record]) -> list[str]:
    head = ("organism", "method", "measure", "mean over seeds", "seeds", "chance", "twin")
    wide = (*head, f"seeds for ±{decimal(float(found[0].get('half_width')), 2)}")
    lines = ["| " + " | ".join(wide) + " |", "|" + " --- |" * len(wide)]
    for r in found:
        told = Told.of(r, "mean")
        more = [r.get(k) for k in ("random", "twin")]
        cells = (
            r.organism,
            str(r.get("method")),
            str(r.get("measure")),
            told.short if told else "–",
            decimal(told.n if told else None),
            *(decimal(None if x is None else float(x)) for x in more),
            decimal(r.get("seeds_needed")),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines
