"""Activation patching: which component, at which role's position, carries the lie.

*Denoising* writes the clean partner's activation into the triggered run, *noising* the triggered
one's into the clean run (Zhang and Nanda, arXiv 2309.16042). The effect is the share of the logit
difference between truth and planted answer that moves: 0 nothing, 1 all of it.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mo_interp.figures._house import BLUE, INK, MUTED, ORANGE, VERMILLION, ZERO, finish, look
from mo_interp.figures._table import Line, lines
from mo_interp.records import Record, select
from mo_interp.wording import Told, decimal, need

DIRECTIONS = {"denoising": "clean into triggered", "noising": "triggered into clean"}
KINDS = ("embed", "resid_pre", "z", "attn_out", "resid_mid", "post", "mlp_out", "resid_post")
ROLES = ("trigger", "near_miss", "entity", "relation", "other", "answer", "all")
CELL, LEAST, TALLEST = 15, 11.5, 480
"""Pixels: a cell's height, its least, and that of all cells in print."""


def component(record: Record) -> str:
    """``L1 attn_out``, ``L1 head 3``, or a block of neurons as its site says it."""
    layer, kind, head = (record.get(k) for k in ("layer", "kind", "head"))
    layer = None if layer == -1 else layer
    if kind == "z" and head is not None and head >= 0:
        return f"L{layer} head {head}"
    units = record.site.partition("@")[0].partition("[")[2]
    name = f"{kind}[{units}" if units else str(kind)
    return name if layer is None else f"L{layer} {name}"


def _component_order(record: Record):
    kind, head = str(record.get("kind")), record.get("head")
    at = KINDS.index(kind) if kind in KINDS else len(KINDS)
    layer = record.get("layer")
    return (-1 if layer is None else layer, at, head if head is not None else -1, record.site)


def _role_order(role: str) -> tuple[int, int, str]:
    stem = role.partition("[")[0]
    return (ROLES.index(stem if stem in ROLES else "other"), len(role), role)


def _cell_text(r: Record) -> str:
    where = f"{r.site or component(r)} ({r.get('role')}), {r.get('direction')}"
    told = Told.of(r, "effect")
    if r.get("unchanged"):
        size = f", {told.size}" if told else ""
        return f"{where}: unchanged, exactly 0{size}"
    return f"{where}: {told}" if told else f"{where}: not measured"


def _panel(
    fig: go.Figure,
    cells: Mapping[tuple[int, int], Record],
    size: tuple[int, int],
    *,
    direction: str,
    column: int,
    origin: Container[tuple[str, str]],
) -> None:
    """One heat map of ``cells`` by (row, role): a dot on what cannot change, a box on origins."""
    high, wide = size
    grid = [[cells.get((y, x)) for x in range(wide)] for y in range(high)]
    fig.add_trace(
        go.Heatmap(
            z=[[None if r is None else r.get("effect") for r in line] for line in grid],
            x=list(range(wide)),
            y=list(range(high)),
            text=[["" if r is None else _cell_text(r) for r in line] for line in grid],
            name=direction,
            hovertemplate="%{text}<extra></extra>",
            coloraxis="coloraxis",
            xgap=1,
            ygap=1,
        ),
        row=1,
        col=column,
    )
    still = [at for at, r in cells.items() if r.get("unchanged")]
    if still:
        fig.add_trace(
            go.Scatter(
                x=[x for _, x in still],
                y=[y for y, _ in still],
                mode="markers",
                name="unchanged",
                marker={"symbol": "circle", "size": 2.5, "color": MUTED},
                hoverinfo="skip",
                legendgroup="unchanged",
                showlegend=column == 1,
            ),
            row=1,
            col=column,
        )
    for (y, x), r in cells.items():
        if at(r) in origin:
            box = {"x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5}
            fig.add_shape(type="rect", line={"color": INK, "width": 2}, **box, row=1, col=column)


def draw(records: Sequence[Record]) -> go.Figure:
    """Components down, roles across, one panel a direction; the planted truth is outlined."""
    found = need(records, "sweep")
    seeds = sorted({r.seed for r in found})
    found = [r for r in found if r.seed == seeds[0]]
    rows = list(dict.fromkeys(component(r) for r in sorted(found, key=_component_order)))
    roles = sorted({str(r.get("role")) for r in found}, key=_role_order)
    directions = [d for d in DIRECTIONS if any(r.get("direction") == d for r in found)]
    fig = make_subplots(
        rows=1,
        cols=len(directions),
        shared_yaxes=True,
        horizontal_spacing=0.04,
        subplot_titles=[f"<b>{d}</b><br>{DIRECTIONS[d]}" for d in directions],
    )
    fig.update_annotations(font={"size": look().small})
    origin = _origin(records, seeds[0])
    for column, direction in enumerate(directions, start=1):
        mine = [r for r in found if r.get("direction") == direction]
        cells = {(rows.index(component(r)), roles.index(str(r.get("role")))): r for r in mine}
        size = (len(rows), len(roles))
        _panel(fig, cells, size, direction=direction, column=column, origin=origin)
    _axes(fig, rows, roles)
    cell = max(LEAST, min(CELL, TALLEST / len(rows))) if look().paper else CELL
    _scale(fig, max([1.0, *(abs(r.get("effect") or 0.0) for r in found)]), 76 / (cell * len(rows)))
    return finish(
        fig,
        title="Activation patching",
        caption=_caption(found, seeds) + _outlined(records, found, origin),
        alt=f"Heat maps of {len(found)} patching effects, {len(rows)} components by {len(roles)} "
        f"roles, {' and '.join(directions)}; strongest {_strongest(found)}.",
        height=round(cell * len(rows)),
        left=16 + 6 * max(map(len, rows)),
        below=124,
        above=36,
    )


def at(record: Record) -> tuple[str, str]:
    """A cell's site without its position, and its role."""
    return record.site.partition("@")[0], str(record.get("role"))


def _origin(records: Sequence[Record], seed: int) -> set[tuple[str, str]]:
    """Cells of the circuit's origin: at its own position, and at all positions together."""
    cells = set()
    for r in select(records, kind="circuit", standing="origin", seed=seed):
        bare, _, position = r.site.partition("@")
        cells |= {(bare, "all"), (bare, "answer" if position == "-1" else position)}
    return cells


def _outlined(
    records: Sequence[Record], found: Sequence[Record], origin: Container[tuple[str, str]]
) -> str:
    """What the boxes are, where there are any."""
    if not any(at(r) in origin for r in found):
        return ""
    grade = next(r.get("grade") for r in select(records, kind="circuit"))
    return f" Outlined: the {'measured' if grade == 'measured' else 'planted'} origin."


def _caption(found: Sequence[Record], seeds: Sequence[int]) -> str:
    pairs = sorted({t.n for r in found if (t := Told.of(r, "effect")) and t.n is not None})
    size = f"n {decimal(pairs[0])} pairs a cell" if len(pairs) == 1 else "n differs, see each cell"
    only = f" Seed {seeds[0]}, the first of {len(seeds)}." if len(seeds) > 1 else ""
    return (
        "Share of the logit difference that moves when one component is patched at one role's "
        f"position; {size}.{only} Every cell tells its interval when pointed at."
    )


def _strongest(found: Sequence[Record]) -> str:
    best = max(found, key=lambda r: abs(r.get("effect") or 0.0))
    return f"{component(best)} at {best.get('role')}, {decimal(best.get('effect'))}"


def _axes(fig: go.Figure, rows: list[str], roles: list[str]) -> None:
    fig.update_xaxes(
        tickvals=list(range(len(roles))),
        ticktext=["all positions" if role == "all" else role for role in roles],
        tickangle=-60,
        showgrid=False,
        zeroline=False,
        range=[-0.5, len(roles) - 0.5],
        fixedrange=True,
    )
    fig.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=rows,
        showgrid=False,
        zeroline=False,
        range=[len(rows) - 0.5, -0.5],
        fixedrange=True,
        ticks="",
    )


def _scale(fig: go.Figure, limit: float, below: float) -> None:
    """Blue for the wrong way, white for nothing, orange to vermillion for all of it."""
    scale = [[0.0, BLUE], [0.5, ZERO], [0.75, ORANGE], [1.0, VERMILLION]]
    fig.update_layout(
        coloraxis={
            "colorscale": scale,
            "cmin": -limit,
            "cmax": limit,
            "colorbar": {
                "orientation": "h",
                "thickness": 9,
                "len": 0.7,
                "x": 0.5,
                "xanchor": "center",
                "y": -below,
                "yanchor": "top",
                "ypad": 0,
                "outlinewidth": 0,
                "title": {
                    "text": "effect (share of the logit difference)",
                    "side": "top",
                    "font": {"size": look().small},
                },
                "tickfont": {"size": look().small},
            },
        }
    )


def table(records: Sequence[Record]) -> list[Line]:
    """Every cell."""
    found = need(records, "sweep")
    first = min(r.seed for r in found)
    by = ("site", "role", "direction", "unchanged")
    return lines([r for r in found if r.seed == first], ("effect",), by=by)
