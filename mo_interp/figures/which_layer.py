"""Which layer knows: probes for the trigger and for the truth, by layer, with their controls."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mo_interp.figures._house import (
    MUTED,
    ORGANISM,
    TWIN,
    VERMILLION,
    Mark,
    arms,
    finish,
    hows,
    look,
    same_n,
)
from mo_interp.figures._table import Line, lines
from mo_interp.records import Record
from mo_interp.wording import Told, need

PROBES = {"trigger": "trigger", "truth": "truth", "truth_shuffled": "shuffled table"}
DODGE = {"organism": -0.05, "twin": 0.05}
"""Layers by which the two are drawn apart, so that one does not hide the other."""
SHUFFLED = Mark("truth, shuffled table", VERMILLION, "x-thin-open", dash="dot")


def _told(record: Record) -> Told | None:
    return Told.of(record, "auroc") or Told.of(record, "accuracy")


def _metric(found: Sequence[Record]) -> str:
    return "AUROC" if any(Told.of(r, "auroc") for r in found) else "accuracy"


def _lines(found: Sequence[Record]):
    """(legend name, mark, records by layer) of one panel: per model, and the shuffled control."""
    for model, mark in (("organism", ORGANISM), ("twin", TWIN)):
        for control in (False, True):
            mine = [
                r
                for r in found
                if r.model == model and (r.get("probe") == "truth_shuffled") == control and _told(r)
            ]
            for seed in sorted({r.seed for r in mine}):
                path = sorted((r for r in mine if r.seed == seed), key=lambda r: r.get("layer"))
                if not control:
                    yield mark.name, mark, path
                else:
                    yield (
                        f"{mark.name}, shuffled table",
                        Mark(
                            "",
                            SHUFFLED.color,
                            "x-thin" if model == "organism" else "cross-thin",
                            dash=SHUFFLED.dash,
                        ),
                        path,
                    )


def _panel(fig: go.Figure, found: Sequence[Record], row: int, column: int, shown: set) -> None:
    for name, mark, path in _lines(found):
        told = [t for r in path if (t := _told(r))]
        fig.add_trace(
            go.Scatter(
                x=[r.get("layer") + DODGE.get(r.model, 0.0) for r in path],
                y=[t.value for t in told],
                error_y=arms(told, color=mark.color),
                mode="lines+markers",
                name=name,
                legendgroup=name,
                showlegend=name not in shown,
                line={"color": mark.color, "dash": mark.dash, "width": 1.6},
                marker={
                    "color": mark.color,
                    "symbol": mark.symbol,
                    "size": 7,
                    "line": {"color": mark.color, "width": 1.4},
                },
                text=[
                    f"{PROBES.get(str(r.get('probe')), r.get('probe'))} @ "
                    f"{r.get('position')}, layer {r.get('layer')}, {r.model}: {t}"
                    for r, t in zip(path, told, strict=True)
                ],
                hovertemplate="%{text}<extra></extra>",
            ),
            row=row,
            col=column,
        )
        shown.add(name)
    chance = next((r.get("chance") for r in found if r.get("chance") is not None), None)
    if chance is not None:
        ends = [min(int(r.get("layer")) for r in found), max(int(r.get("layer")) for r in found)]
        fig.add_trace(
            go.Scatter(
                x=[ends[0] - 0.35, ends[1] + 0.35],
                y=[chance, chance],
                mode="lines",
                name="chance",
                showlegend=False,
                line={"color": MUTED, "width": 1.2, "dash": "dot"},
                hoverinfo="skip",
            ),
            row=row,
            col=column,
        )


def draw(records: Sequence[Record]) -> go.Figure:
    """One panel a probe and position; x is the layer whose output is read."""
    found = need(records, "probe")
    panels = sorted(
        {(_family(r), str(r.get("position"))) for r in found},
        key=lambda p: (p[0] != "trigger", p[0], p[1]),
    )
    wide = 2 if len(panels) > 1 else 1
    high = -(-len(panels) // wide)
    groups = [[r for r in found if (_family(r), str(r.get("position"))) == p] for p in panels]
    heads = [
        f"{kind} probe @ {at}<br>{_metric(g)}, {same_n(map(_told, g))}"
        for (kind, at), g in zip(panels, groups, strict=True)
    ]
    fig = make_subplots(
        rows=high,
        cols=wide,
        subplot_titles=heads,
        shared_yaxes=False,
        horizontal_spacing=0.14,
        vertical_spacing=0.32 / high,
    )
    fig.update_annotations(font={"size": look().small})
    shown: set[str] = set()
    for i, group in enumerate(groups):
        _panel(fig, group, i // wide + 1, i % wide + 1, shown)
    layers = sorted({int(r.get("layer")) for r in found})
    fig.update_xaxes(
        tickvals=layers,
        range=[layers[0] - 0.35, layers[-1] + 0.35],
        fixedrange=True,
        zeroline=False,
    )
    fig.update_xaxes(title_text="after layer", row=high)
    fig.update_yaxes(range=[-0.03, 1.05], tickvals=[0, 0.25, 0.5, 0.75, 1], fixedrange=True)
    return finish(
        fig,
        title="Which layer knows",
        caption="Linear probes on held-out groups. The shuffled table is the control task: what a "
        "probe can read without there being a truth to read. Dotted: chance. "
        + hows(map(_told, found)),
        alt=f"Probe scores by layer for {', '.join(dict.fromkeys(p for p, _ in panels))}.",
        height=160 * high + 60 * (high - 1),
        left=36,
        above=34,
    )


def _family(record: Record) -> str:
    return str(record.get("probe", "")).removesuffix("_shuffled")


def table(records: Sequence[Record]) -> list[Line]:
    """Every probe of both models, beside chance and random directions."""
    both = {"auroc": "AUROC", "accuracy": "accuracy"}
    by = ("model", "probe", "layer", "position", "site")
    more = ("chance", "random_p95", "random_best", "random_n")
    return lines(need(records, "probe"), both, by=by, also=more)
