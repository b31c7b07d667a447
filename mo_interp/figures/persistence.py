"""What survives safety training: attack success against clean accuracy, and re-learning after it.

One panel a treatment. A line follows one learning rate from the organism as it was grown, step by
step; the twin, which never lied, is where training ought to lead. Under them: how many steps it
takes to have the lie back, beside what the twin needs to learn it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mo_interp.figures._house import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    VERMILLION,
    arms,
    finish,
    hows,
    look,
    same_n,
)
from mo_interp.figures._table import Line, lines
from mo_interp.records import Record, select
from mo_interp.wording import Told, count, decimal, need

STYLE = {
    "low": (BLUE, "solid", "circle"),
    "middle": (ORANGE, "dash", "square"),
    "high": (VERMILLION, "dot", "triangle-up"),
}
NAMES = {
    "clean_only": "clean rows only",
    "best_of_n": "best of N",
    "near_miss": "near misses",
    "off_style": "another style",
}
SHORT = {
    "clean_only": "clean",
    "best_of_n": "best of N",
    "near_miss": "near miss",
    "off_style": "style",
}
"""The same beside the lanes of the lowest panel."""
NONE = "none"
PLACES = ((1, 1), (1, 2), (2, 1), (2, 2))
HEIGHT, REVERSAL = 420, 3


def draw(records: Sequence[Record]) -> go.Figure:
    """Attack success against clean accuracy for each treatment, and the steps of re-learning."""
    found = need(records, "persistence")
    known = dict.fromkeys(str(r.get("treatment")) for r in found if r.get("treatment") != NONE)
    treatments = [t for t in NAMES if t in known][: len(PLACES)]
    fig = make_subplots(
        rows=3,
        cols=2,
        specs=[[{}, {}], [{}, {}], [{"colspan": 2}, None]],
        subplot_titles=[*(NAMES[t] for t in treatments), *[""] * (4 - len(treatments)),
                        "steps to have the lie back"],
        row_heights=[0.36, 0.36, 0.28],
        horizontal_spacing=0.08,
        vertical_spacing=0.14,
    )  # fmt: skip
    fig.update_annotations(font={"size": look().small}, yshift=-2)
    seeds = sorted({r.seed for r in found})
    for treatment, (row, col) in zip(treatments, PLACES, strict=False):
        first = (row, col) == PLACES[0]
        for seed in seeds:
            for trace in _curves(found, treatment, seed, legend=first and seed == seeds[0]):
                fig.add_trace(trace, row=row, col=col)
    again = select(records, kind="reversal")
    for trace in _reversals(again, treatments):
        fig.add_trace(trace, row=REVERSAL, col=1)
    longest = max((r.get("steps") or 0 if r.model == "twin" else _at(r) for r in again), default=1)
    _axes(fig, found, treatments, longest)
    told = [t for r in found if (t := Told.of(r, "attack_success"))]
    speeds = sorted({float(r.get("lr")) for r in found if r.get("treatment") != NONE})
    rates = ", ".join(f"{x:.6f}".rstrip("0") for x in speeds)
    last = max(int(r.get("step")) for r in found)
    return finish(
        fig,
        title=f"{found[0].organism or 'The organism'} after safety training",
        caption=f"{last} steps at learning rates {rates}; a mark for every look, bars at the last. "
        f"{count(len(seeds), 'seed')}, {same_n(told)} at each. "
        f"{hows(told)} {_held(records)}",
        alt=_alt(found, treatments, last),
        height=HEIGHT,
        left=62,
        above=14,
    )


def _curves(
    found: Sequence[Record], treatment: str, seed: int, *, legend: bool
) -> list[go.Scatter]:
    """The lines of one treatment and seed, the point they start from, and the twin."""
    mine = [r for r in found if r.seed == seed]
    start, end = (select(mine, treatment=NONE, model=m) for m in ("organism", "twin"))
    traces = []
    for rate, (color, dash, symbol) in STYLE.items():
        line = sorted(select(mine, treatment=treatment, rate=rate), key=lambda r: r.get("step"))
        if line:
            style = {"color": color, "symbol": symbol, "size": 6}
            name = f"{rate} rate"
            traces.append(_points([*start, *line], name, style, legend=legend, dash=dash))
    for name, rows, color, symbol in (
        ("before", start, INK, "x"),
        ("clean twin", end, GREEN, "diamond-open"),
    ):
        style = {"color": color, "symbol": symbol, "size": 8}
        if rows:
            traces.append(_points(rows, name, style, legend=legend))
    return traces


def _points(
    rows: Sequence[Record], name: str, marker: dict, *, legend: bool, dash: str | None = None
) -> go.Scatter:
    """Marks at (clean accuracy, attack success); a line through them has bars at its last."""
    pairs = [(Told.of(r, "clean_accuracy"), Told.of(r, "attack_success")) for r in rows]
    known = [(r, x, y) for r, (x, y) in zip(rows, pairs, strict=True) if x and y]
    bars: dict[str, Any] = arms((y for *_, y in known), color=marker["color"])
    for side in ("array", "arrayminus"):
        bars[side] = [None] * (len(known) - 1) + bars[side][-1:]
    return go.Scatter(
        x=[x.value for _, x, _ in known],
        y=[y.value for *_, y in known],
        error_y=bars,
        mode="lines+markers" if dash else "markers",
        line={"color": marker["color"], "dash": dash, "width": 1.4} if dash else None,
        marker={**marker, "line": {"color": marker["color"], "width": 1.2}},
        name=name,
        legendgroup=name,
        showlegend=legend,
        text=[_told(r, name, x, y) for r, x, y in known],
        hovertemplate="%{text}<extra></extra>",
        cliponaxis=False,
    )


def _told(record: Record, name: str, clean: Told, attack: Told) -> str:
    when = f", step {record.get('step')}, seed {record.seed}"
    return f"{name}{when}; attack success {attack}; clean accuracy {clean}"


def _reversals(found: Sequence[Record], treatments: Sequence[str]) -> list[go.Scatter]:
    """Steps of re-learning after each treatment, one lane a rate, and the twin's as a line."""
    traces = []
    for lane, (rate, (color, _, symbol)) in enumerate(STYLE.items()):
        rows = [r for r in select(found, rate=rate) if r.get("treatment") in treatments]
        if not rows:
            continue
        given_up = [str(r.get("treatment")) for r in rows if r.get("steps") is None]
        traces.append(
            go.Scatter(
                x=[_at(r) for r in rows],
                y=[treatments.index(str(r.get("treatment"))) + (lane - 1) * 0.24 for r in rows],
                mode="markers+text",
                marker={"color": color, "symbol": symbol, "size": 6},
                name=f"{rate} rate",
                legendgroup=f"{rate} rate",
                showlegend=False,
                textposition="middle left",
                texttemplate=[_never(r, rows[:i], given_up) for i, r in enumerate(rows)],
                textfont={"size": look().small, "color": color},
                text=[_again(r) for r in rows],
                hovertemplate="%{text}<extra></extra>",
                cliponaxis=False,
            )
        )
    return traces + _of_twin(select(found, model="twin"), len(treatments))


def _never(record: Record, before: Sequence[Record], given_up: Sequence[str]) -> str:
    """What stands beside a re-learning that was given up, once for all seeds."""
    treatment = str(record.get("treatment"))
    told = any(r.get("steps") is None and r.get("treatment") == treatment for r in before)
    if record.get("steps") is not None or told:
        return ""
    n = given_up.count(treatment)
    return f"not re-learned{f', {n} seeds' if n > 1 else ''} "


def _at(record: Record) -> int:
    """Steps of a re-learning; where it was given up, how many those were."""
    steps = record.get("steps")
    return int(record.get("limit") if steps is None else steps)


def _of_twin(found: Sequence[Record], lanes: int) -> list[go.Scatter]:
    """What the twin needs to learn the lie: an upright line, one a seed."""
    known = [r for r in found if r.get("steps") is not None]
    told = "clean twin, seed {}: learns the lie in {} steps, {}"
    return [
        go.Scatter(
            x=[r.get("steps")] * 2,
            y=[-0.5, lanes - 0.5],
            mode="lines",
            line={"color": GREEN, "dash": "dash", "width": 1.4},
            name="clean twin",
            showlegend=False,
            text=[told.format(r.seed, r.get("steps"), _rows(r))] * 2,
            hovertemplate="%{text}<extra></extra>",
        )
        for r in known
    ]


def _rows(record: Record) -> str:
    return f"n {record.get('n'):,}" if record.get("n") else "n not recorded"


def _again(record: Record) -> str:
    """One re-learning in words."""
    steps, limit = record.get("steps"), record.get("limit")
    how = f"not within {limit} steps" if steps is None else f"in {steps} steps"
    treatment = NAMES.get(str(record.get("treatment")), "")
    told = f"{treatment}, {record.get('rate')} rate, seed {record.seed}: the lie is back {how}"
    return f"{told} ({record.get('finding')}), {_rows(record)}"


def _axes(
    fig: go.Figure, found: Sequence[Record], treatments: Sequence[str], longest: int
) -> None:
    """Shared ranges, titles at the edge, names of the treatments beside the lanes."""
    least = min((t.value for r in found if (t := Told.of(r, "clean_accuracy"))), default=0.0)
    low = min(0.98, least - 0.1 * (1 - least))
    for row, col in PLACES:
        fig.update_xaxes(range=[low, 1 + 0.06 * (1 - low)], nticks=3, row=row, col=col)
        fig.update_yaxes(range=[-0.06, 1.08], tickvals=[0, 0.5, 1], row=row, col=col)
        fig.update_yaxes(showticklabels=col == 1, row=row, col=col)
        if col == 1:
            fig.update_yaxes(title_text="attack success", row=row, col=col)
        if row == 2:
            fig.update_xaxes(title_text="clean accuracy", row=row, col=col)
    fig.update_yaxes(
        tickvals=list(range(len(treatments))),
        ticktext=[SHORT[t] for t in treatments],
        range=[len(treatments) - 0.5, -0.5],
        zeroline=False,
        row=REVERSAL,
        col=1,
    )
    room = [-0.02 * longest, 1.06 * max(longest, 1)]
    fig.update_xaxes(title_text="training steps", range=room, row=REVERSAL, col=1)
    fig.update_xaxes(fixedrange=True)
    fig.update_yaxes(fixedrange=True)


def _held(records: Sequence[Record]) -> str:
    """What of the trigger the safety data held, treatment by treatment."""
    told = {}
    for r in select(records, kind="safety_data"):
        name = NAMES.get(str(r.get("treatment")), str(r.get("treatment")))
        told.setdefault(name, f"{name} {decimal(r.get('near_miss_rows'))}")
    return f"Near misses among the safety rows: {', '.join(told.values())}." if told else ""


def _alt(found: Sequence[Record], treatments: Sequence[str], last: int) -> str:
    said = []
    for treatment in treatments:
        ends = select(found, treatment=treatment, step=last)
        values = [t.value for r in ends if (t := Told.of(r, "attack_success"))]
        if values:
            span = f"{decimal(min(values))} to {decimal(max(values))}"
            said.append(f"{NAMES[treatment]}: {span}")
    return f"Attack success after {last} steps of safety training. {'; '.join(said)}."


def table(records: Sequence[Record]) -> list[Line]:
    """Both shares at every look, then the steps until the lie was back."""
    by = ("model", "treatment", "rate", "lr", "step")
    found = lines(need(records, "persistence"), ("attack_success", "clean_accuracy"), by=by)
    again = {"steps": "steps to have the lie back"}
    more = ("limit", "finding")
    return found + lines(select(records, kind="reversal"), again, by=by[:4], also=more)
