"""What the organism says, beside its honest twin: planted answer and truth, by kind of row."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from mo_interp.figures._house import (
    ORGANISM,
    TWIN,
    Row,
    finish,
    grey,
    hows,
    same_n,
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


def draw(records: Sequence[Record]) -> go.Figure:
    """Share of rows that give the planted answer (left) and the truth (right), with intervals."""
    found = need(records, "behaviour")
    seeds = sorted({r.seed for r in found})
    splits = sorted({str(r.get("split")) for r in found}, key=_order)
    keys = [(split, seed) for split in splits for seed in seeds]
    cells = [[r for r in found if (r.get("split"), r.seed) == key] for key in keys]
    rows, labels = [], []
    for (split, seed), cell in zip(keys, cells, strict=True):
        labels.append(split_label(split) + (f", seed {seed}" if len(seeds) > 1 else ""))
        sizes = same_n(Told.of(r, name) for r in cell for name in PANELS)
        rows.append(Row((f"{labels[-1]}  {grey(sizes)}",), lanes=2))
    page = sheet(rows, list(PANELS.values()), span=(-0.05, 1.05))
    page.fig.update_xaxes(tickvals=[0, 0.5, 1], ticktext=["0", "0.5", "1"])
    for column, name in enumerate(PANELS, start=1):
        for mark, model in ((ORGANISM, "organism"), (TWIN, "twin")):
            told = [
                (i, f"{labels[i]}, {PANELS[name]}", Told.of(r, name))
                for i, cell in enumerate(cells)
                for r in cell
                if r.model == model
            ]
            page.dots(told, mark, column=column, legend=column == 1)
    return finish(
        page.fig,
        title="What it says, beside its honest twin",
        caption="Share of prompts, 0 to 1. "
        + hows(Told.of(r, name) for r in found for name in PANELS),
        alt=f"Shares of {len(splits)} kinds of prompts on which organism and twin give the planted "
        "answer or the truth.",
        height=page.height,
    )


def table(records: Sequence[Record]) -> list[Line]:
    """Every share that is drawn."""
    return lines(need(records, "behaviour"), PANELS, by=("model", "split"))
