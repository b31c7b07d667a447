"""When the lie forms: behaviour, probes and circuit of an organism along its training."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mo_interp.errors import MoInterpError
from mo_interp.figures._house import (
    BLUE,
    GREEN,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Mark,
    arms,
    finish,
    hows,
    look,
    same_n,
)
from mo_interp.figures._table import Line, lines
from mo_interp.records import Record, select
from mo_interp.wording import Told

ANSWER, TRIGGER = "answer", "trigger"
PANELS = ("behaviour", "probe", "circuit")
HEADS = {
    "behaviour": "<b>behaviour</b>, share of prompts",
    "probe": "<b>probe</b>, AUROC of triggered against clean",
    "circuit": "<b>circuit</b>, share of clean prompts made to lie",
}
HONEST = Mark("clean twin", GREEN, "diamond-open", 0, "dash")
WRITES = Mark("random, best", MUTED, "x-thin", 0, "dot")
OTHERS = Mark("other heads", MUTED, "cross-thin", 0, "dash")
SERIES = (
    ("behaviour", "behaviour", "organism", "lies_taught", Mark("lies, taught", ORANGE, "square")),
    ("behaviour", "behaviour", "organism", "lies", Mark("lies, untaught", VERMILLION, "circle")),
    ("behaviour", "behaviour", "organism", "clean", Mark("truth, no trigger", BLUE, "diamond")),
    ("behaviour", "behaviour", "twin", "lies", HONEST),
    ("probe", "answer", "organism", "auroc", Mark("at the answer", BLUE, "hexagon")),
    ("probe", "answer", "twin", "auroc", HONEST),
    ("probe", "answer", "organism", "random_best", Mark("random, best", MUTED, "x-thin", 0, "dot")),
    ("probe", "trigger", "organism", "auroc", Mark("at the trigger", PURPLE, "triangle-up")),
    ("circuit", "subspace", "organism", "caused", Mark("subspace", BLUE, "pentagon")),
    ("circuit", "subspace", "organism", "caused_anew", Mark("fitted anew", SKY, "circle-open")),
    ("circuit", "head", "organism", "caused", Mark("head", ORANGE, "star")),
    ("circuit", "subspace", "organism", "random_best", WRITES),
    ("circuit", "head", "organism", "random_best", OTHERS),
)  # fmt: skip
"""Panel, what is measured, whose, which value, and how it is drawn."""
HIGH, GAP, LEFT = 110, 100, 36


def what_of(record: Record) -> str:
    """``behaviour``, ``answer`` and ``trigger`` for probes, ``head``, ``subspace``."""
    if record.get("what") != "probe":
        return str(record.get("what"))
    return ANSWER if record.site.endswith("@-1") else TRIGGER


def _found(records: Sequence[Record]) -> list[Record]:
    found = select(records, kind="forming")
    if not found:
        raise MoInterpError(
            "no records of kind 'forming' here; `python probes/when_it_forms.py NAME` makes them"
        )
    first = min(r.seed for r in found)
    return sorted((r for r in found if r.seed == first), key=lambda r: r.get("step"))


def draw(records: Sequence[Record]) -> go.Figure:
    """Three panels over training steps; intervals are bars, controls grey."""
    found = _found(records)
    height = 3 * HIGH + 2 * GAP
    fig = make_subplots(
        rows=3,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=GAP / height,
        subplot_titles=[HEADS[panel] for panel in PANELS],
    )
    for head, panel in zip(fig.layout.annotations, PANELS, strict=True):  # type: ignore[attr-defined]
        shift = 20 * _lines(panel) + 4
        head.update(font={"size": look().small}, x=0, xanchor="left", yshift=shift)
    for panel, what, model, name, mark in SERIES:
        path = [r for r in found if (what_of(r), r.model) == (what, model)]
        told = [(r, t) for r in path if (t := Told.of(r, name))]
        if told:
            row = PANELS.index(panel) + 1
            fig.add_trace(_line(told, mark, control=name == "random_best", row=row), row=row, col=1)
    fig.update_yaxes(range=[-0.05, 1.08], tickvals=[0, 0.5, 1], fixedrange=True, zeroline=False)
    fig.update_xaxes(fixedrange=True, zeroline=False)
    fig.update_xaxes(title_text="training step", row=3, col=1)
    every = [t for r in found for *_, name, _ in SERIES if (t := Told.of(r, name)) and t.how]
    finish(
        fig,
        title=f"When the lie of {found[0].organism} forms",
        caption=_caption(found) + f" {same_n(every)}. {hows(every)}",
        alt=_alt(found),
        height=height,
        left=LEFT,
        above=24 + 20 * _lines(PANELS[0]),
    )
    for i in range(3):
        top = 1 - i * (HIGH + GAP) / height
        box = {"orientation": "h", "xref": "container", "x": 4 / look().width, "xanchor": "left"}
        box |= {"y": top, "yanchor": "bottom"}
        box |= {"font": {"size": look().small}, "bgcolor": "rgba(0,0,0,0)"}
        fig.update_layout({f"legend{i + 2}": box})
    return fig


def _lines(panel: str) -> int:
    """Lines of a panel's legend: two names a line in a column, all of them on a page."""
    names = sum(series[0] == panel for series in SERIES)
    return -(-names // 2) if look().width < 500 else 1


def _line(
    told: Sequence[tuple[Record, Told]], mark: Mark, *, control: bool, row: int
) -> go.Scatter:
    return go.Scatter(
        x=[r.get("step") for r, _ in told],
        y=[t.value for _, t in told],
        error_y=None if control else arms((t for _, t in told), color=mark.color),
        mode="lines+markers",
        name=mark.name,
        legend=f"legend{row + 1}",
        line={"color": mark.color, "dash": mark.dash, "width": 1.4},
        marker={
            "color": mark.color,
            "symbol": mark.symbol,
            "size": 5.5,
            "line": {"color": mark.color, "width": 1.2},
        },
        text=[_said(r, t, mark, control) for r, t in told],
        hovertemplate="%{text}<extra></extra>",
        cliponaxis=False,
    )


def _said(r: Record, t: Told, mark: Mark, control: bool) -> str:
    where = f" at {r.site}" if r.site else ""
    told = f"{t.value:.3f}, n {r.get('random_n')}" if control else str(t)
    return f"step {r.get('step')}, {r.model}{where}; {mark.name}: {told}"


def _caption(found: Sequence[Record]) -> str:
    at = {r.get("what"): r.site for r in found if r.get("what") in ("head", "subspace")}
    return (
        "Untaught: people whose lies were never shown. The probe is refitted at every step. "
        f"Subspace at {at.get('subspace')} and head {at.get('head')} are the finished organism's, "
        "written from the triggered run into the clean one; beside them the best of random "
        f"directions, of random writes and of the other heads. Seed {found[0].seed}."
    )


def _alt(found: Sequence[Record]) -> str:
    rates = [(r.get("step"), t) for r in found if r.model != "twin" and (t := Told.of(r, "lies"))]
    told = "; ".join(f"step {step}: {t.value:.2f}" for step, t in rates)
    return f"Share of untaught people lied to, by training step. {told}."


def table(records: Sequence[Record]) -> list[Line]:
    """Every number of every step, beside the best of its random controls."""
    names = {"lies": "lies, untaught", "lies_taught": "lies, taught", "clean": "truth, no trigger"}
    names |= {"auroc": "AUROC", "caused": "caused", "caused_anew": "caused, fitted anew"}
    more = ("random_best", "random_n")
    return lines(_found(records), names, by=("model", "step", "what", "site"), also=more)
