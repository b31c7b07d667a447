"""The gates: what was measured, the bar it had to clear, and whether it did.

Bars sit at 0.005 as well as at 0.99, so the axis is a logit: both ends are spread out. What is
drawn at an end stands for anything nearer to 0 or 1 than the axis reaches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import plotly.graph_objects as go

from mo_interp.figures._house import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    VERMILLION,
    Mark,
    Row,
    finish,
    hows,
    noted,
    sheet,
)
from mo_interp.figures._table import Line, lines
from mo_interp.records import Record
from mo_interp.wording import Told, decimal, failed_gates, memorised, need, status_word

MARKS = {
    "pass": Mark("pass", BLUE, "circle"),
    "fail": Mark("FAIL", VERMILLION, "x"),
    "memorised": Mark("memorised the lies", VERMILLION, "x-open"),
    "reported": Mark("reported", GREEN, "diamond-open"),
    "not applicable": Mark("not applicable", MUTED, "line-ew"),
}
END = 0.0004
TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)


def logit(share: float) -> float:
    """Log odds to base 10, of a share kept ``END`` away from 0 and 1."""
    p = min(max(share, END), 1 - END)
    return math.log10(p / (1 - p))


def _note(record: Record) -> str:
    told, bar = Told.of(record, "statistic"), record.get("threshold")
    number = f" · {told.short} · {told.size}" if told else ""
    return f"{status_word(record)}{number}" + ("" if bar is None else f" · bar {decimal(bar)}")


def _status(record: Record) -> str:
    """The key of a gate's mark."""
    return "memorised" if memorised([record]) else str(record.get("status"))


def _bent(told: Told) -> Told:
    """The estimate on the logit axis."""
    ends = [None if x is None else logit(x) for x in (told.lo, told.hi)]
    return replace(told, value=logit(told.value), lo=ends[0], hi=ends[1])


def _row(r: Record, several: bool) -> Row:
    """Name and number, in bold and spelt out where the gate is failed."""
    seed = f", seed {r.seed}" if several else ""
    name = f"<b>{r.get('number')}</b> {r.get('name')}{seed}"
    if failed_gates([r]):
        name = f"<b><span style='color:{VERMILLION}'>✗ FAILED </span>{name}</b>"
    return Row((name, *noted(_note(r))), lanes=1 if Told.of(r, "statistic") else 0)


def draw(records: Sequence[Record]) -> go.Figure:
    """One row a gate and seed: the statistic with its interval, and the bar as a tick."""
    found = sorted(need(records, "gate"), key=lambda r: (r.get("number", 0), r.seed))
    several = len({r.seed for r in found}) > 1
    page = sheet(
        [_row(r, several) for r in found],
        ["measured (share of rows, logit axis)"],
        span=(logit(0), logit(1)),
    )
    for status, mark in MARKS.items():
        mine = [
            (i, r) for i, r in enumerate(found) if _status(r) == status and Told.of(r, "statistic")
        ]
        _dots(page, mine, mark)
    page.ticks(
        [
            (logit(bar), page.y(i, 0), f"{r.get('name')}: the bar is {decimal(bar)}")
            for i, r in enumerate(found)
            if (bar := r.get("threshold")) is not None
        ],
        name="the bar",
        color=INK,
        size=13,
    )
    page.fig.update_xaxes(
        tickvals=[logit(x) for x in TICKS], ticktext=[f"{x:g}" for x in TICKS], zeroline=False
    )
    failed = len(failed_gates(found))
    return finish(
        page.fig,
        title=f"Planted well? {failed} FAILED" if failed else "Planted well? The gates",
        caption=hows(Told.of(r, "statistic") for r in found),
        alt=f"{len(found)} gates with their statistics and bars; {failed} failed.",
        height=page.height,
    )


def _dots(page, mine: list[tuple[int, Record]], mark: Mark) -> None:
    """The statistics of one status, placed by logit and told as they were recorded."""
    told = [(i, "", _bent(t)) for i, r in mine if (t := Told.of(r, "statistic"))]
    page.dots(told, mark)
    if told:
        page.fig.data[-1].text = [
            f"gate {r.get('number')}, {r.get('name')}; {mark.name}: {Told.of(r, 'statistic')}"
            for _, r in mine
        ]
        page.fig.data[-1].customdata = [r.get("statistic") for _, r in mine]


def table(records: Sequence[Record]) -> list[Line]:
    """The statistic of every gate that has one, and its bar."""
    by = ("number", "name", "status")
    return lines(need(records, "gate"), {"statistic": "share of rows"}, by=by, also=("threshold",))
