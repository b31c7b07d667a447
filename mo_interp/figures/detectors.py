"""What each detector reads: on the organism, refitted on the honest twin, and after the cut.

One row a detector, in groups by what it is asked for and where it reads; each reads at the site
that was best on validation people. On the right stands what it has earned to be said of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mo_interp.figures._house import (
    BAND,
    GRID,
    MUTED,
    ORANGE,
    ORGANISM,
    PAPER,
    TWIN,
    VERMILLION,
    Mark,
    Sheet,
    finish,
    grey,
    hows,
    look,
    same_n,
)
from mo_interp.figures._table import Line, lines
from mo_interp.records import Record, select
from mo_interp.wording import Told, count, earned, need

MARKS = {
    "auroc": ORGANISM,
    "auroc_twin": Mark("twin, refitted", TWIN.color, TWIN.symbol, 1),
    "auroc_after_cut": Mark("after the cut", VERMILLION, "square-open", 2),
    "auroc_near_miss": Mark("near misses", ORANGE, "triangle-up-open", 3),
}
BASELINES = {
    "bag_of_tokens": "bag of tokens",
    "bag_of_tokens_hard": "bag of tokens, hardest contrast",
    "bag_of_tokens_pairs": "bag of tokens and pairs",
    "output_entropy": "entropy of the output",
    "output_logprob": "log-probability of the output",
    "behaviour": "the behaviour alone",
}
BRIEF = {
    "bag_of_tokens_hard": "bag, hardest",
    "bag_of_tokens_pairs": "bag of pairs",
    "output_entropy": "output entropy",
    "output_logprob": "output log-prob.",
    "behaviour": "behaviour",
}
"""The same beside their rows."""
SHORT = {
    "reads the trigger's text": "text",
    "reads the decision to lie": "decision",
    "reads nothing": "nothing",
}
LANE, ROW, HEAD, LOW = 4.2, 19, 24, 15
"""Pixels: a lane, a detector's row, the head of a group, a baseline's row."""
NAMED = 2
"""Sites that fit into the head of a group."""
Group = tuple[str, str]


def group_of(r: Record) -> Group:
    """What a detector is asked for, and at which position it reads."""
    at = "answer" if r.site.endswith("@-1") else r.site.partition("@")[2].partition("[")[0]
    return str(r.get("label")), str(r.get("position") or at or "whole row")


def short(r: Record) -> str:
    """The sentence that it earned in a word: *text*, *decision*, *both, 87 %*, *nothing*."""
    said = earned(r)
    if said.startswith("reads both"):
        share = re.search(r"(\d+) ?%", said)
        return f"both, {share[1]} %" if share else "both"
    return SHORT.get(said, "–")


def draw(records: Sequence[Record]) -> go.Figure:
    """AUROC on test groups, one row a detector, beside its controls and random directions."""
    found, seeds = _first_seed(need(records, "detector"))
    base = [r for r in select(records, kind="baseline", seed=seeds[0]) if Told.of(r, "auroc")]
    groups = list(dict.fromkeys(group_of(r) for r in found))
    found = sorted(found, key=lambda r: groups.index(group_of(r)))
    page, where = _page(found, base, groups)
    page.fig.update_xaxes(range=_span([*found, *base]), title_text="AUROC on test groups")
    page.chance(0.5)
    _random(page, found)
    for name, mark in MARKS.items():
        page.dots([(i, _at(r), Told.of(r, name)) for i, r in enumerate(found)], mark)
    for i, r in enumerate(base, start=len(found)):
        page.dots(
            [(i, _name(r), Told.of(r, "auroc"))],
            Mark("baseline", MUTED, "cross-open"),
            legend=False,
        )
    every = [Told.of(r, name) for r in found for name in MARKS]
    finish(
        page.fig,
        title="What the detectors read",
        caption=f"At the best site on validation people, {same_n(every)} test rows."
        f"{_only(seeds)} Right: what it reads, judged by its score after the cut, and of both the "
        f"decision's share. Grey: random directions, median to 95th percentile, and the best. "
        f"Dotted: chance. {hows(every)}",
        alt=f"AUROC of {len(found)} detectors on the organism, refitted on the honest twin and "
        "after the cut, beside random directions.",
        height=page.height,
        left=where,
        right=66,
    )
    for note in page.fig.layout.annotations:  # type: ignore[attr-defined]
        if note.xref == "x domain":  # a head of a group begins where the names do
            note.update(xshift=4 - where)
    return page.fig


def _first_seed(found: Sequence[Record]) -> tuple[list[Record], list[int]]:
    """The records of the first seed, and all seeds; the scoreboard is for several."""
    seeds = sorted({r.seed for r in found})
    return [r for r in found if r.seed == seeds[0]], seeds


def _only(seeds: Sequence[int]) -> str:
    return f" Seed {seeds[0]}, the first of {len(seeds)}." if len(seeds) > 1 else ""


def _name(r: Record) -> str:
    return BASELINES.get(str(r.get("name")), str(r.get("name")).replace("_", " "))


def _at(r: Record) -> str:
    return f"{r.get('detector')} at {r.site}, label {r.get('label')}, {earned(r)}"


def _page(
    found: Sequence[Record], base: Sequence[Record], groups: Sequence[Group]
) -> tuple[Sheet, int]:
    """Rows under the heads of their groups, names on the left; and how much room those take."""
    fig, at, starts, ticks = make_subplots(rows=1, cols=1), 0, [], []
    for i, r in enumerate(found):
        if i == 0 or group_of(r) != group_of(found[i - 1]):
            label, position = group_of(r)
            sites = {x.site.partition("@")[0] for x in found if group_of(x) == group_of(r)}
            few = len(sites) <= NAMED
            where = grey(f" ({', '.join(sorted(sites)) if few else count(len(sites), 'site')})")
            place = "every position" if position == "every" else f"the {position}"
            at = _head(fig, at, f"<b>label {label}</b>, at {place}{where}")
        starts.append(at + 1)
        ticks.append((at + ROW / 2, str(r.get("detector"))))
        _say(fig, 1, at + ROW / 2, short(r))
        at += ROW
    if base:
        at = _head(fig, at, f"<b>baselines</b>, {same_n(Told.of(r, 'auroc') for r in base)}")
    for r in base:
        starts.append(at + (LOW - LANE) / 2)
        ticks.append((at + LOW / 2, BRIEF.get(str(r.get("name")), _name(r))))
        at += LOW
    longest = max((len(word) for _, word in ticks), default=0)
    fig.update_yaxes(
        tickvals=[-y for y, _ in ticks],
        ticktext=[word for _, word in ticks],
        range=[-at, 0],
        showgrid=False,
        zeroline=False,
        ticks="",
        fixedrange=True,
    )
    fig.update_xaxes(fixedrange=True, showline=True)
    return Sheet(fig, tuple(starts), at, LANE), 14 + round(0.53 * look().small * longest)


def _head(fig: go.Figure, at: int, text: str) -> int:
    """The head of a group; returns where its rows begin."""
    _say(fig, -1, at + HEAD / 2 + 2, text)
    return at + HEAD


def _say(fig: go.Figure, x: float, y: float, text: str) -> None:
    """Text from the left (-1) edge of the figure or right (1) edge of the plot, ``y`` down."""
    fig.add_annotation(
        text=text,
        x=max(x, 0),
        xref="paper" if x > 0 else "x domain",
        xanchor="left",
        xshift=4,
        bgcolor=PAPER,
        borderpad=0,
        y=-y,
        yanchor="middle",
        showarrow=False,
        align="left",
        font={"size": look().small},
    )


def _random(page: Sheet, found: Sequence[Record]) -> None:
    """Random directions behind every row: a bar from median to 95th percentile, and the best."""
    xs: list[Any] = []
    ys: list[Any] = []
    ticks = []
    for i, r in enumerate(found):
        p95, best = r.get("random_p95"), r.get("random_best")
        if p95 is None or best is None:
            continue
        y, n = page.y(i, 1.5), r.get("random_n")
        many = f"{n:,} random directions" if isinstance(n, int) else "random directions"
        xs += [r.get("random_median", 0.5), p95, None]
        ys += [y, y, None]
        told = f"95th percentile {p95:.3f}, best {best:.3f}"
        ticks.append((best, y, f"{r.get('detector')} at {r.site}; {many}: {told}"))
    if not ticks:
        return
    page.fig.add_trace(
        go.Scatter(
            x=xs,
            y=ys,
            mode="lines",
            line={"color": GRID, "width": ROW - 6},
            hoverinfo="skip",
            name="random directions",
        )
    )
    page.ticks(ticks, name="random, best", color=BAND, size=ROW - 6)


def _span(records: Sequence[Record]) -> tuple[float, float]:
    """From 0.4, or from below the lowest interval, to just above 1."""
    told = [t for r in records for name in MARKS if (t := Told.of(r, name))]
    lows = [x for t in told for x in (t.value, t.lo) if x is not None]
    return (min([0.4, *(x - 0.03 for x in lows)]), 1.02)


def table(records: Sequence[Record]) -> list[Line]:
    """Every AUROC of every detector and baseline, with its controls and the sentence it earned."""
    found, seeds = _first_seed(need(records, "detector"))
    words = {name: mark.name for name, mark in MARKS.items()}
    beside = ("random_median", "random_p95", "random_best", "random_n", "sentence")
    beside += ("random_dictionary_p95", "random_dictionary_n")
    by = ("detector", "label", "site")
    base = select(records, kind="baseline", seed=seeds[0])
    told = lines(base, {"auroc": "baseline"}, by=("name",))
    told = [{"detector": line.pop("name"), **line} for line in told]
    return lines(found, words, by=by, also=beside) + told
