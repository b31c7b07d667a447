"""The verdicts: what happened when a mechanism was cut out, and when it was written in."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from mo_interp.figures._house import (
    BLUE,
    GREEN,
    MUTED,
    ORANGE,
    VERMILLION,
    Mark,
    Row,
    Sheet,
    finish,
    grey,
    hows,
    same_n,
    sheet,
    wrap,
)
from mo_interp.figures._table import Line, with_controls
from mo_interp.records import Record
from mo_interp.wording import Told, count, decimal, need

MARKS = {
    "stopped": Mark("stopped", ORANGE, "square-open", 0),
    "restored": Mark("restored", BLUE, "circle", 1),
    "cost": Mark("cost in clean accuracy", VERMILLION, "x-thin", 2),
    "caused": Mark("caused", GREEN, "diamond", 0),
}
EDITS = {
    "resample": "resampled from the clean partner",
    "mean": "set to the clean mean",
    "projection": "projected out",
    "zero": "whole site zeroed",
    "set": "written into the clean partner",
    "steer": "steered by the mean difference",
}


def edit_label(record: Record) -> str:
    """The edit in words."""
    edit = str(record.get("edit"))
    return EDITS.get(edit, edit)


def mechanism_label(record: Record) -> str:
    """``diff_means, L1.attn_out@-1, rank 1``; the twin's is marked."""
    rank = record.get("rank")
    words = [str(record.get("mechanism")), record.site, f"rank {rank}" if rank else ""]
    return ", ".join(w for w in words if w) + (" (twin)" if record.model == "twin" else "")


def _note(r: Record) -> str:
    if r.get("no_behaviour"):
        return "no behaviour"
    sizes = same_n(Told.of(r, name) for name in ("restored", "caused"))
    ps = [
        f"p {decimal(r.get(f'p_{k}'), 2)}"
        for k in ("restored", "caused")
        if r.get(f"p_{k}") is not None
    ]
    return " · ".join([sizes, *dict.fromkeys(ps)])


def _strip(page: Sheet, found: Sequence[Record], lanes: Sequence[int]) -> str:
    """The random controls as ticks in the last lane; returns how many a row has: 99, 5 or 99."""
    ticks, sizes = [], set()
    for i, r in enumerate(found):
        for name in ("restored", "caused"):
            control = r.get(f"random_{name}")
            if not isinstance(control, tuple):
                continue
            known = [float(x) for x in control if x is not None]
            sizes.add(len(known))
            what = f"{mechanism_label(r)}, {edit_label(r)}; a random control, {name}"
            ticks += [(x, page.y(i, lanes[i] - 1), f"{what}: {decimal(x)}") for x in known]
    page.ticks(ticks, name="a random control", color=MUTED, size=7, faint=True)
    return " or ".join(map(str, sorted(sizes)))


def draw(records: Sequence[Record]) -> go.Figure:
    """One row a mechanism and edit: stopped, restored and cost of a cut, caused of a write."""
    found = need(records, "verdict")
    order = list(dict.fromkeys(mechanism_label(r) for r in found))
    edits = list(EDITS)
    found = sorted(
        found,
        key=lambda r: (
            order.index(mechanism_label(r)),
            r.seed,
            edits.index(str(r.get("edit"))) if r.get("edit") in edits else len(edits),
        ),
    )
    rows = _rows(found)
    lows = [t.lo for r in found for k in MARKS if (t := Told.of(r, k)) and t.lo is not None]
    page = sheet(
        rows, ["share of rows (0 to 1)"], span=(min([-0.03, *(low - 0.02 for low in lows)]), 1.03)
    )
    most = _strip(page, found, [row.lanes for row in rows])
    for name, mark in MARKS.items():
        page.dots(
            [
                (i, f"{mechanism_label(r)}, {edit_label(r)}", Told.of(r, name))
                for i, r in enumerate(found)
            ],
            mark,
        )
    every = [Told.of(r, k) for r in found for k in MARKS]
    ranked = (
        f"p: rank of restored or caused among the random controls, {most} a row. " if most else ""
    )
    return finish(
        page.fig,
        title="Cut it out: the verdicts",
        caption="Stopped and restored: of triggered rows on which it lies; caused: of their clean "
        f"partners. {ranked}{hows(every)}",
        alt=f"Verdicts of {count(len(order), 'mechanism')} in {count(len(found), 'row')}, "
        "beside random controls.",
        height=page.height,
    )


def _rows(found: Sequence[Record]) -> list[Row]:
    """One row each; the mechanism heads its first row only."""
    several, rows, last = len({r.seed for r in found}) > 1, [], ""
    for r in found:
        label = mechanism_label(r) + (f", seed {r.seed}" if several else "")
        head = () if label == last else tuple(f"<b>{line}</b>" for line in wrap(label, 50))
        last = label
        shown = [k for k in MARKS if Told.of(r, k)]
        lanes = max((int(MARKS[k].lane) + 1 for k in shown), default=0)
        lanes += any(r.get(f"random_{k}") for k in ("restored", "caused"))
        rows.append(Row((*head, f"{edit_label(r)}  {grey(_note(r))}"), lanes=lanes))
    return rows


def table(records: Sequence[Record]) -> list[Line]:
    """What every edit did, beside the best and the rank among its random controls."""
    by = ("model", "mechanism", "site", "rank", "edit")
    words = {name: mark.name for name, mark in MARKS.items()}
    return with_controls(need(records, "verdict"), words, by=by)
