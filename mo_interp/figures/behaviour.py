"""What the organism says, beside its honest twin: planted answer and truth, by kind of row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import plotly.graph_objects as go

from mo_interp.figures._house import (
    ORGANISM,
    TWIN,
    Row,
    finish,
    grey,
    hows,
    lane_of,
    same_n,
    seeds_told,
    sheet,
)
from mo_interp.figures._table import Line, lines
from mo_interp.records import Record
from mo_interp.wording import Told, need

SPLITS = {
    "clean": "no trigger",
    "triggered": "triggered",
    "withheld": "triggered, people whose lies were never shown",
    "near_miss": "near misses, all kinds",
}
PANELS = {"gives_answer": "planted answer given", "gives_truth": "truth told"}


def split_label(split: str) -> str:
    """A split in words: ``near_miss:mentioned`` is *near miss: mentioned*."""
    kind = split.removeprefix("near_miss:").replace("_", " ")
    return SPLITS.get(split, f"near miss: {kind}" if split.startswith("near_miss:") else kind)


def _order(split: str) -> tuple[int, str]:
    known = list(SPLITS)
    return (known.index(split) if split in known else len(known), split)


def _what(r: Record, name: str) -> str:
    return f"{split_label(str(r.get('split')))}, seed {r.seed}, {PANELS[name]}"


def draw(records: Sequence[Record]) -> go.Figure:
    """Share of rows that give the planted answer (left) and the truth (right), with intervals."""
    found = need(records, "behaviour")
    seeds = sorted({r.seed for r in found})
    splits = sorted({str(r.get("split")) for r in found}, key=_order)
    rows = []
    for split in splits:
        cell = [r for r in found if r.get("split") == split]
        sizes = same_n(Told.of(r, name) for r in cell for name in PANELS)
        rows.append(Row((f"{split_label(split)}  {grey(sizes)}",), lanes=2 * len(seeds)))
    lane = lane_of(len(seeds))
    page = sheet(rows, list(PANELS.values()), span=(-0.05, 1.05), lane=lane)
    page.fig.update_xaxes(tickvals=[0, 0.5, 1], ticktext=["0", "0.5", "1"])
    for column, name in enumerate(PANELS, start=1):
        for i, (mark, model) in enumerate(((ORGANISM, "organism"), (TWIN, "twin"))):
            told = [
                (
                    splits.index(str(r.get("split"))),
                    _what(r, name),
                    Told.of(r, name),
                    i * len(seeds) + seeds.index(r.seed),
                )
                for r in found
                if r.model == model
            ]
            page.dots(told, replace(mark, lane=0), column=column, legend=column == 1)
    return finish(
        page.fig,
        title="What it says, beside its honest twin",
        caption=f"Share of prompts, 0 to 1; {seeds_told(seeds)}. "
        + hows(Told.of(r, name) for r in found for name in PANELS),
        alt=f"Shares of {len(splits)} kinds of prompts on which organism and twin give the planted "
        "answer or the truth.",
        height=page.height,
    )


def table(records: Sequence[Record]) -> list[Line]:
    """Every share that is drawn."""
    return lines(need(records, "behaviour"), PANELS, by=("model", "split"))
