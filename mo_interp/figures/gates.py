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
    GAP,
    GREEN,
    INK,
    LANE,
    LINE,
    MUTED,
    VERMILLION,
    Mark,
    Row,
    Sheet,
    finish,
    grey,
    hows,
    look,
    points,
    same_n,
    sheet,
)
from mo_interp.figures._table import Line, lines
from mo_interp.records import Record
from mo_interp.wording import Told, count, decimal, failed_gates, memorised, need, status_word

MARKS = {
    "pass": Mark("pass", BLUE, "circle"),
    "fail": Mark("FAIL", VERMILLION, "x"),
    "memorised": Mark("memorised the lies", VERMILLION, "x-open"),
    "reported": Mark("reported", GREEN, "diamond-open"),
    "not applicable": Mark("not applicable", MUTED, "line-ew"),
}
END = 0.0004
TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
TALLEST, SMALL_GAP, CLOSE, LEAST = 540, 4, 7.0, 4.0
"""Pixels: for all rows in print, after a row, and most and least from seed to seed."""


def logit(share: float) -> float:
    """Log odds to base 10, of a share kept ``END`` away from 0 and 1."""
    p = min(max(share, END), 1 - END)
    return math.log10(p / (1 - p))


def _status(record: Record) -> str:
    """The key of a gate's mark."""
    return "memorised" if memorised([record]) else str(record.get("status"))


def _bent(told: Told) -> Told:
    """The estimate on the logit axis."""
    ends = [None if x is None else logit(x) for x in (told.lo, told.hi)]
    return replace(told, value=logit(told.value), lo=ends[0], hi=ends[1])


def _note(mine: Sequence[Record]) -> list[str]:
    """What one seed did, in numbers; of several, how many did what."""
    bar = dict.fromkeys(r.get("threshold") for r in mine if r.get("threshold") is not None)
    bars = [f"bar {', '.join(map(decimal, bar))}"] if bar else []
    if len(mine) == 1:
        told = Told.of(mine[0], "statistic")
        return [status_word(mine[0]), *([told.short, told.size] if told else []), *bars]
    said = dict.fromkeys(map(status_word, mine))
    if len(said) == 1:
        return [f"{next(iter(said))}, {count(len(mine), 'seed')}", *bars]
    many = {word: sum(status_word(r) == word for r in mine) for word in said}
    return [*(f"{word} {n} of {len(mine)}" for word, n in many.items()), *bars]


def _row(mine: Sequence[Record]) -> Row:
    """Name and numbers, in bold and spelt out where the gate is failed."""
    name = f"{mine[0].get('number')} {mine[0].get('name')}"
    failed = "✗ FAILED " if failed_gates(mine) else ""
    first, *more = _lines(_note(mine), len(failed + name) + 2)
    head = f"<b>{mine[0].get('number')}</b> {mine[0].get('name')}"
    if failed:
        head = f"<b><span style='color:{VERMILLION}'>{failed}</span>{head}</b>"
    lanes = len(mine) if any(Told.of(r, "statistic") for r in mine) else 0
    return Row((f"{head}  {grey(first)}".rstrip(), *map(grey, more)), lanes=lanes)


def _lines(pieces: Sequence[str], taken: int) -> list[str]:
    """Pieces in lines that fit, broken between pieces; of the first line ``taken`` letters are."""
    lines, at, room = [""], taken, look().letters(58)
    for piece in pieces:
        more = len(piece) + 3
        if at and at + more > room:
            lines, at = [*lines, ""], 0
        lines[-1] += f" · {piece}" if lines[-1] else piece
        at += more
    return lines


def _lane(rows: Sequence[Row], several: bool) -> float:
    """Pixels from seed to seed: as many as a page has room for."""
    if not several:
        return LANE
    most = TALLEST if look().paper else 2 * TALLEST
    lanes = sum(row.lanes for row in rows)
    free = most - sum(LINE * len(row.lines) + SMALL_GAP + 3 for row in rows)
    return min(CLOSE, max(LEAST, free / max(lanes, 1)))


def draw(records: Sequence[Record]) -> go.Figure:
    """One row a gate, a lane a seed: the statistic with its interval, and the bar as a tick."""
    groups = _groups(need(records, "gate"))
    found = [r for mine in groups for r in mine]
    at = {id(r): (i, lane) for i, mine in enumerate(groups) for lane, r in enumerate(mine)}
    rows = [_row(mine) for mine in groups]
    several = len({r.seed for r in found}) > 1
    page = sheet(
        rows,
        ["measured (share of rows, logit axis)"],
        span=(logit(0), logit(1)),
        lane=_lane(rows, several),
        gap=SMALL_GAP if several else GAP,
    )
    for status, mark in MARKS.items():
        mine = [r for r in found if _status(r) == status and Told.of(r, "statistic")]
        if mine:
            _dots(page, [(page.y(*at[id(r)]), r) for r in mine], mark)
    _bars(page, groups)
    page.fig.update_xaxes(
        tickvals=[logit(x) for x in TICKS], ticktext=[f"{x:g}" for x in TICKS], zeroline=False
    )
    failed = len(failed_gates(found))
    seeds = sorted({r.seed for r in found})
    told = [Told.of(r, "statistic") for r in found]
    return finish(
        page.fig,
        title=f"Planted well? {failed} FAILED" if failed else "Planted well? The gates",
        caption=f"{same_n(told)}, {'seeds' if several else 'seed'} {', '.join(map(str, seeds))}"
        f"{', from the top down in each row' if several else ''}. {hows(told)}",
        alt=f"{len(groups)} gates with their statistics and bars; {failed} failed.",
        height=page.height,
    )


def _groups(found: Sequence[Record]) -> list[list[Record]]:
    """The records of each gate, by seed."""
    groups: dict[tuple, list[Record]] = {}
    for r in sorted(found, key=lambda r: (r.get("number", 0), r.seed)):
        groups.setdefault((r.get("number", 0), r.get("name")), []).append(r)
    return list(groups.values())


def _bars(page: Sheet, groups: Sequence[Sequence[Record]]) -> None:
    """What had to be cleared, as a tick in the lane of every seed."""
    ticks = [
        (logit(bar), page.y(i, lane), f"{r.get('name')}: the bar is {decimal(bar)}")
        for i, mine in enumerate(groups)
        for lane, r in enumerate(mine)
        if (bar := r.get("threshold")) is not None and Told.of(r, "statistic")
    ]
    page.ticks(ticks, name="the bar", color=INK, size=min(13.0, page.lane + 3))


def _dots(page: Sheet, mine: Sequence[tuple[float, Record]], mark: Mark) -> None:
    """The statistics of one status, placed by logit and told as they were recorded."""
    told = [(y, "", _bent(t)) for y, r in mine if (t := Told.of(r, "statistic"))]
    trace = points(told, mark, size=min(7.5, page.lane + 1))
    trace.text = [
        f"gate {r.get('number')}, {r.get('name')}, seed {r.seed}; {mark.name}: "
        f"{Told.of(r, 'statistic')}"
        for _, r in mine
    ]
    trace.customdata = [r.get("statistic") for _, r in mine]
    page.fig.add_trace(trace)


def table(records: Sequence[Record]) -> list[Line]:
    """The statistic of every gate that has one, and its bar."""
    by = ("number", "name", "status")
    return lines(need(records, "gate"), {"statistic": "share of rows"}, by=by, also=("threshold",))
