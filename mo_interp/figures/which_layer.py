"""Which layer knows: probes for the trigger and for the truth, by layer, with their controls.

Random directions and bags of tokens are drawn where the records hold them: of a probe itself, or of
the run of the same organism (key and seed), whose detectors were compared with both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mo_interp.figures._house import (
    BAND,
    GRID,
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
from mo_interp.figures._table import Line, estimate, lines
from mo_interp.records import Record, select
from mo_interp.wording import Told, decimal, need

PROBES = {"trigger": "trigger", "truth": "truth", "truth_shuffled": "shuffled table"}
DODGE = {"organism": -0.05, "twin": 0.05}
"""Layers by which the two are drawn apart, so that one does not hide the other."""
SHUFFLED = Mark("truth, shuffled table", VERMILLION, "x-thin-open", dash="dot")

BAGS = {
    "bag_of_tokens": ("bag of tokens", "dashdot", "cross-open"),
    "bag_of_tokens_pairs": ("bag of tokens and pairs", "longdash", "x-open"),
}
"""Baselines that read the prompt alone, and how they are drawn."""
RANDOM = "random directions"
CUTS = {"resid_pre": -1.0, "resid_mid": -0.5, "resid_post": 0.0}
"""Where a cut of the stream lies on an axis of layers."""


class _Random(NamedTuple):
    """What random directions read at a cut."""

    x: float
    median: float
    p95: float
    best: float
    n: int
    site: str


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


def _panel(
    fig: go.Figure, found: Sequence[Record], place: tuple, shown: set, ends: tuple[float, float]
) -> None:
    """Lines of both models and of the shuffled table, and chance."""
    row, column = place
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
        fig.add_trace(
            go.Scatter(
                x=list(ends),
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


def _same(found: Sequence[Record], records: Sequence[Record], kind: str) -> list[Record]:
    """Records of a kind that are about the very organisms which were probed."""
    known = {(r.organism, r.key, r.seed) for r in found}
    return [r for r in select(records, kind=kind) if (r.organism, r.key, r.seed) in known]


def _randoms(group: Sequence[Record], run: Sequence[Record]) -> list[_Random]:
    """Random directions beside a panel: of its own probes, and of the run's detectors there."""
    first = group[0]
    found = {}
    for r in [*group, *select(run, label=_family(first), position=str(first.get("position")))]:
        kind = r.site.partition("@")[0].partition(".")[2]
        if r.get("random_p95") is None or kind not in CUTS or r.model == "twin":
            continue
        if r.kind == "probe" or r.get("detector") == "logistic":
            x = int(r.site[1 : r.site.index(".")]) + CUTS[kind]
            p95, best, n = (r.get(f"random_{name}") for name in ("p95", "best", "n"))
            low = r.get("random_median")
            found.setdefault(x, _Random(x, p95 if low is None else low, p95, best, n, r.site))
    return list(found.values())


def _draw_random(
    fig: go.Figure, found: Sequence[_Random], row: int, column: int, shown: set
) -> None:
    """A broad bar from the median to the 95th percentile, and the best as a tick."""
    if not found:
        return
    xs = [x for one in found for x in (one.x, one.x, None)]
    ys = [y for one in found for y in (one.median, one.p95, None)]
    line = {"color": GRID, "width": 14}
    bar = go.Scatter(x=xs, y=ys, mode="lines", line=line, hoverinfo="skip", name=RANDOM)
    told = [
        f"{one.n:,} random directions at {one.site}: 95th percentile {decimal(one.p95)}, best "
        f"{decimal(one.best)}"
        for one in found
    ]
    marker = {"symbol": "line-ew", "size": 14, "color": BAND, "line": {"width": 2, "color": BAND}}
    best = go.Scatter(
        x=[one.x for one in found],
        y=[one.best for one in found],
        mode="markers",
        name="random, best",
        marker=marker,
        text=told,
        hovertemplate="%{text}<extra></extra>",
    )
    for trace in (bar, best):
        trace.update(legendgroup=trace.name, showlegend=trace.name not in shown)
        shown.add(trace.name)
        fig.add_trace(trace, row=row, col=column)


def _draw_bags(
    fig: go.Figure, found: Sequence[Record], ends: tuple[float, float], place: tuple, shown: set
) -> None:
    """What the prompt's words alone tell of the trigger: a line, its interval at the end."""
    for name, (word, dash, symbol) in BAGS.items():
        for r in select(found, name=name):
            told = Told.of(r, "auroc")
            if told is None:
                continue
            bars = arms([told], color=MUTED)
            for side in ("array", "arrayminus"):
                bars[side] = [None, *bars[side]]
            trace = go.Scatter(
                x=list(ends),
                y=[told.value] * 2,
                error_y=bars,
                mode="lines+markers",
                line={"color": MUTED, "dash": dash, "width": 1.2},
                marker={"symbol": symbol, "color": MUTED, "size": 6.5},
                name=word,
                legendgroup=word,
                showlegend=word not in shown,
                text=[f"{word}: {told}"] * 2,
                hovertemplate="%{text}<extra></extra>",
            )
            shown.add(word)
            fig.add_trace(trace, row=place[0], col=place[1])


def draw(records: Sequence[Record]) -> go.Figure:
    """One panel a probe and position; x is the layer whose output is read."""
    found = need(records, "probe")
    groups = _groups(found)
    wide = min(len(groups), 3 if look().width > 500 else 2)
    high = -(-len(groups) // wide)
    fig = make_subplots(
        rows=high,
        cols=wide,
        subplot_titles=[_head(group) for group in groups],
        shared_yaxes=False,
        horizontal_spacing=0.14 if wide < 3 else 0.07,
        vertical_spacing=0.32 / high,
    )
    fig.update_annotations(font={"size": look().small})
    run, bags = _same(found, records, "detector"), _same(found, records, "baseline")
    beside = [_randoms(group, run) for group in groups]
    layers = sorted({int(r.get("layer")) for r in found})
    low = min([layers[0], *(one.x for some in beside for one in some)]) - 0.35
    ends = (low, layers[-1] + (0.6 if bags else 0.35))
    shown: set[str] = set()
    for i, group in enumerate(groups):
        row, column = i // wide + 1, i % wide + 1
        _draw_random(fig, beside[i], row, column, shown)
        if _family(group[0]) == "trigger":
            _draw_bags(fig, bags, (ends[0] + 0.12, ends[1] - 0.2), (row, column), shown)
        _panel(fig, group, (row, column), shown, ends)
        if i + wide >= len(groups):
            fig.update_xaxes(title_text="after layer", row=row, col=column)
    fig.update_xaxes(tickvals=layers, range=list(ends), fixedrange=True, zeroline=False)
    fig.update_yaxes(range=[-0.03, 1.05], tickvals=[0, 0.25, 0.5, 0.75, 1], fixedrange=True)
    return finish(
        fig,
        title="Which layer knows",
        caption=_caption(found, beside, bags),
        alt=f"Probe scores by layer for {', '.join(dict.fromkeys(_family(g[0]) for g in groups))}.",
        height=160 * high + 60 * (high - 1),
        left=36,
        above=34,
    )


def _groups(found: Sequence[Record]) -> list[list[Record]]:
    """The records of every panel: a probe, with its control, at a position."""
    panels = sorted(
        {(_family(r), str(r.get("position"))) for r in found},
        key=lambda p: (p[0] != "trigger", p[0], p[1]),
    )
    return [[r for r in found if (_family(r), str(r.get("position"))) == p] for p in panels]


def _head(group: Sequence[Record]) -> str:
    """What is probed where, in which unit, over how many."""
    where = f"{_family(group[0])} probe @ {group[0].get('position')}"
    return f"{where}<br>{_metric(group)}, {same_n(map(_told, group))}"


def _caption(
    found: Sequence[Record], beside: Sequence[Sequence[_Random]], bags: Sequence[Record]
) -> str:
    seeds = sorted({r.seed for r in found})
    said = [
        f"Linear probes on held-out groups, {'seeds' if len(seeds) > 1 else 'seed'} "
        f"{', '.join(map(str, seeds))}. The shuffled table is the control task: what a probe can "
        "read without there being a truth to read. Dotted: chance.",
    ]
    known = [one for some in beside for one in some]
    if known:
        sites = ", ".join(dict.fromkeys(one.site for one in known))
        said += [f"Grey: {known[0].n:,} random directions at {sites}, median to 95th percentile."]
    else:
        said += ["No random directions stand beside these probes: the records hold none."]
    shown = [r for name in BAGS for r in select(bags, name=name)]
    if shown:
        said += [f"Bags of tokens read the prompt alone ({same_n(_told(r) for r in shown)})."]
    else:
        said += ["No bag of tokens either; a run of this organism holds one (--run)."]
    return " ".join([*said, hows(map(_told, found))])


def _family(record: Record) -> str:
    return str(record.get("probe", "")).removesuffix("_shuffled")


def table(records: Sequence[Record]) -> list[Line]:
    """Every probe of both models, beside chance and random directions; then the bags of tokens."""
    found = need(records, "probe")
    both = {"auroc": "AUROC", "accuracy": "accuracy"}
    by = ("model", "probe", "layer", "position", "site")
    more = ("chance", "random_p95", "random_best", "random_n")
    told = lines(found, both, by=by, also=more)
    run = _same(found, records, "detector")
    known = {
        (_family(group[0]), one.site): one
        for group in _groups(found)
        for one in _randoms(group, run)
    }
    for line in told:
        one = known.get((line["probe"], line["site"]))
        if one and line["model"] == "organism" and line["random_p95"] is None:
            line |= {"random_p95": one.p95, "random_best": one.best, "random_n": one.n}
    bags = _same(found, records, "baseline")
    for name, (word, *_) in BAGS.items():
        for r in select(bags, name=name):
            if bag := Told.of(r, "auroc"):
                about = {"organism": r.organism, "seed": r.seed, "probe": word}
                told.append({**about, "measure": "AUROC", **estimate(bag)})
    return told
