"""The training curve: the loss, how often the lie succeeds, and how often clean rows are right."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mo_interp.figures._house import BLUE, GREEN, ORANGE, VERMILLION, finish, same_n
from mo_interp.figures._table import Line, lines
from mo_interp.records import Record
from mo_interp.wording import Told, count, need

PANELS = {"loss": 1, "clean_accuracy": 2, "attack_success": 2}
"""What is drawn in which panel."""
WORDS = {
    "loss": "loss, and accuracy on clean rows",
    "attack_success": "planted answer when triggered",
    "clean_accuracy": "loss, and accuracy on clean rows",
}
STYLE = {
    ("loss", "organism"): (BLUE, "solid", "circle"),
    ("loss", "twin"): (GREEN, "dash", "diamond-open"),
    ("clean_accuracy", "organism"): (BLUE, "solid", "circle"),
    ("clean_accuracy", "twin"): (GREEN, "dash", "diamond-open"),
    ("attack_success", "organism"): (VERMILLION, "dot", "square"),
    ("attack_success", "twin"): (ORANGE, "dashdot", "square-open"),
}


def draw(records: Sequence[Record]) -> go.Figure:
    """Two panels over training steps: the loss (log axis) and the two shares."""
    found = sorted(need(records, "training"), key=lambda r: r.get("step"))
    fig = make_subplots(
        rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.09, row_heights=[0.42, 0.58]
    )
    runs = sorted({(r.model or "organism", r.seed) for r in found})
    seeds = len({seed for _, seed in runs})
    for model, seed in runs:
        mine = [r for r in found if (r.model or "organism", r.seed) == (model, seed)]
        for name, row in PANELS.items():
            told = [(r.get("step"), t) for r in mine if (t := Told.of(r, name))]
            if not told:
                continue
            color, dash, symbol = STYLE[name, model]
            fig.add_trace(
                go.Scatter(
                    x=[step for step, _ in told],
                    y=[t.value for _, t in told],
                    mode="lines+markers",
                    name=f"{model}: {WORDS[name]}",
                    legendgroup=f"{model}{name}",
                    showlegend=seed == runs[0][1] and name != "loss",
                    line={"color": color, "dash": dash, "width": 1.6},
                    marker={"color": color, "symbol": symbol, "size": 5},
                    text=[
                        f"{model}, seed {seed}, step {step}; {name.replace('_', ' ')}: {t}"
                        for step, t in told
                    ],
                    hovertemplate="%{text}<extra></extra>",
                ),
                row=row,
                col=1,
            )
    fig.update_yaxes(title_text="loss (nats)", type="log", row=1, col=1, dtick=1)
    fig.update_yaxes(title_text="share of rows", range=[-0.03, 1.04], row=2, col=1)
    fig.update_xaxes(title_text="training step", row=2, col=1)
    fig.update_xaxes(fixedrange=True)
    fig.update_yaxes(fixedrange=True)
    size = same_n(Told.of(r, k) for r in found for k in ("attack_success", "clean_accuracy"))
    return finish(
        fig,
        title="Growing the organism and its twin",
        caption=f"Measured while training, {count(seeds, 'seed')}, {size} at each point; a guide "
        "only, no intervals, and nothing else is computed from these.",
        alt=f"Training curves over {len({r.get('step') for r in found})} steps.",
        height=300,
        left=52,
    )


def table(records: Sequence[Record]) -> list[Line]:
    """Loss and both shares at every look."""
    return lines(need(records, "training"), tuple(PANELS), by=("model", "step"))
