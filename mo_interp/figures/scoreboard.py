"""The scoreboard: what each method reaches on each organism, with its interval, chance and twin.

One heat map a part of the evidence, and no number over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mo_interp.errors import MoInterpError
from mo_interp.figures._house import INK, ORANGE, SKY, ZERO, finish, look
from mo_interp.figures._table import Line, lines
from mo_interp.records import Record, select
from mo_interp.wording import Told, count, decimal, false_alarms

BOARD = {
    "detection": ("AUROC, trigger at the answer", "AUROC, triggered against clean, at the answer"),
    "localisation": ("AUROC of parts", "AUROC of parts, ranked against the planted circuit"),
    "mechanism": ("restored, resample", "share of lies restored to the truth, resampled"),
    "removal": ("restored", "share of lies restored to the truth by the cured weights"),
    "discovery": ("found among ten, 256 rows", "searches that name the trigger among ten"),
}
"""Part to the measure that is drawn, and what that is."""
CELL_WIDE, CELL_HIGH, GAP = 136, 54, 64


def draw(records: Sequence[Record]) -> go.Figure:
    """Methods down, organisms across, one panel a part."""
    found = select(records, kind="score")
    if not found:
        raise MoInterpError("no records of kind 'score' here; `mo-interp bench NAME` makes them")
    panels = []
    for part, (measure, told) in BOARD.items():
        mine = [r for r in found if (r.get("part"), r.get("measure")) == (part, measure)]
        if mine:
            panels.append((part, told, mine))
    if not panels:
        told = ", ".join(sorted({str(r.get("part")) for r in found}))
        raise MoInterpError(f"scores of {told} alone, and the scoreboard draws {', '.join(BOARD)}")
    names = list(dict.fromkeys(r.organism for _, _, mine in panels for r in mine))
    rows = [list(dict.fromkeys(str(r.get("method")) for r in mine)) for _, _, mine in panels]
    heights = [CELL_HIGH * len(listed) for listed in rows]
    high = sum(heights) + GAP * (len(panels) - 1)
    fig = make_subplots(
        rows=len(panels),
        cols=1,
        row_heights=[h / sum(heights) for h in heights],
        vertical_spacing=GAP / high if len(panels) > 1 else 0,
        subplot_titles=[f"<b>{part}</b>: {told}" for part, told, _ in panels],
    )
    fig.update_annotations(font={"size": look().small}, x=0, xanchor="left")
    for i, (_, _, mine) in enumerate(panels, start=1):
        _panel(fig, mine, rows[i - 1], names, i)
    seeds = sorted({int(r.get("mean_n") or 0) for _, _, mine in panels for r in mine})
    left = 24 + 6 * max(len(method) for listed in rows for method in listed)
    finish(
        fig,
        title="The scoreboard",
        caption=_caption(records, seeds),
        alt=f"Heat maps of {count(len(panels), 'part')} of the evidence, "
        f"{count(sum(map(len, rows)), 'method')} by {count(len(names), 'organism')}.",
        height=high,
        left=left,
        below=70,
        above=26,
    )
    wide = max(look().width, left + CELL_WIDE * len(names) + 12)
    fig.update_layout(width=wide)
    fig.update_annotations(x=(8 - left) / (wide - left - 12))
    return fig


def _caption(records: Sequence[Record], seeds: Sequence[int]) -> str:
    told = "–".join(dict.fromkeys(map(str, (seeds[0], seeds[-1]))))
    drawn = (
        f"Mean over {told} seed{'' if told == '1' else 's'} with its 95 % interval (of one seed, "
        "over its rows; a ranking of parts has none); below it chance (the 95th percentile of "
        "random directions, the mean of random rankings or writes) and the clean twin. "
    )
    return drawn + false_alarms(records) if select(records, kind="null") else drawn.strip()


def _panel(
    fig: go.Figure, found: Sequence[Record], rows: list[str], names: list[str], at: int
) -> None:
    cells = {(rows.index(str(r.get("method"))), names.index(r.organism)): r for r in found}
    spots = [[cells.get((y, x)) for x in range(len(names))] for y in range(len(rows))]
    fig.add_trace(
        go.Heatmap(
            z=[[None if r is None else r.get("mean") for r in line] for line in spots],
            x=list(range(len(names))),
            y=list(range(len(rows))),
            text=[["" if r is None else _cell(r) for r in line] for line in spots],
            hovertext=[["" if r is None else _hover(r) for r in line] for line in spots],
            texttemplate="%{text}",
            textfont={"size": look().small, "color": INK},
            hovertemplate="%{hovertext}<extra></extra>",
            colorscale=[[0.0, SKY], [0.5, ZERO], [1.0, ORANGE]],
            zmin=0.0,
            zmax=1.0,
            showscale=False,
            xgap=1,
            ygap=1,
        ),
        row=at,
        col=1,
    )
    fig.update_xaxes(
        tickvals=list(range(len(names))),
        ticktext=[name.replace("_", "<br>", 1) for name in names],
        showgrid=False,
        zeroline=False,
        row=at,
        col=1,
    )
    fig.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=rows,
        range=[len(rows) - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
        ticks="",
        row=at,
        col=1,
    )


def _cell(r: Record) -> str:
    told = Told.of(r, "mean")
    if told is None:
        return "–"
    lines = [f"<b>{decimal(float(told.value), 2)}</b>"]
    if told.lo is not None and told.hi is not None:
        lines.append(f"[{decimal(float(told.lo), 2)}, {decimal(float(told.hi), 2)}]")
    beside = [
        f"{word} {decimal(float(value), 2)}"
        for word, value in (("chance", r.get("random")), ("twin", r.get("twin")))
        if value is not None
    ]
    return "<br>".join([*lines, *([" · ".join(beside)] if beside else [])])


def _hover(r: Record) -> str:
    told = Told.of(r, "mean")
    each = ", ".join(decimal(float(x)) for x in r.get("each") or ())
    return f"{r.organism}, {r.get('method')}: {told}; seeds {r.get('seeds')}: {each}"


def table(records: Sequence[Record]) -> list[Line]:
    """Every score of the measures that are drawn, beside chance and twin, and its seeds."""
    found = []
    for r in select(records, kind="score"):
        part, measure = str(r.get("part")), str(r.get("measure"))
        if BOARD.get(part, ("",))[0] == measure:
            line = lines([r], {"mean": measure}, by=("part", "method"), also=("random", "twin"))
            seeds = " ".join(map(str, r.get("seeds") or ()))
            found += [{**one, "seed": None, "seeds": seeds} for one in line]
    return found
