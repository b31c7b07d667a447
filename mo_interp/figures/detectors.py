"""What each detector reads: on the organism, refitted on the honest twin, and after the cut."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from mo_interp.figures._house import (
    BAND,
    MUTED,
    ORANGE,
    ORGANISM,
    TWIN,
    VERMILLION,
    Mark,
    Row,
    Sheet,
    finish,
    grey,
    hows,
    noted,
    same_n,
    sheet,
)
from mo_interp.records import Record, select
from mo_interp.wording import Told, earned, need

MARKS = {
    "auroc": ORGANISM,
    "auroc_twin": Mark("refitted on the clean twin", TWIN.color, TWIN.symbol, 1),
    "auroc_after_cut": Mark("after the cut", VERMILLION, "square-open", 2),
    "auroc_near_miss": Mark("against near misses", ORANGE, "triangle-up-open", 3),
}
RANDOM_LANE = 4
BASELINES = {
    "bag_of_tokens": "bag of tokens",
    "bag_of_tokens_hard": "bag of tokens, hardest contrast",
    "output_entropy": "entropy of the output",
    "output_logprob": "log-probability of the output",
    "behaviour": "the behaviour alone",
}


def _row(r: Record, several: bool) -> Row:
    site = f" @ {r.site}" if r.site else ""
    seed = f" · seed {r.seed}" if several else ""
    says = f"“{earned(r)}”" if r.get("sentence") else earned(r)
    size = same_n([Told.of(r, "auroc")])
    note = f"label {r.get('label')} · {size}{seed} · {says}"
    return Row((f"<b>{r.get('detector')}</b>{site}", *noted(note)), lanes=5)


def _random(page: Sheet, found: Sequence[Record]) -> None:
    """Random directions of every row: a bar from median to 95th percentile, a tick at the best."""
    lines: dict[int, tuple[list, list]] = {5: ([], []), 1: ([], [])}
    ticks = []
    for i, r in enumerate(found):
        p95, best = r.get("random_p95"), r.get("random_best")
        if p95 is None or best is None:
            continue
        y, n = page.y(i, RANDOM_LANE), r.get("random_n")
        many = (
            f"{n:,} random directions"
            if isinstance(n, int)
            else "random directions, n not recorded"
        )
        for width, x in ((5, (r.get("random_median", 0.5), p95)), (1, (p95, best))):
            lines[width][0].extend([*x, None])
            lines[width][1].extend([y, y, None])
        ticks.append(
            (
                best,
                y,
                f"{r.get('detector')} at {r.site}; {many}: 95th percentile "
                f"{p95:.3f}, best {best:.3f}",
            )
        )
    for width, (xs, ys) in lines.items():
        if ticks:
            page.fig.add_trace(
                go.Scatter(
                    x=xs,
                    y=ys,
                    mode="lines",
                    line={"color": BAND, "width": width},
                    hoverinfo="skip",
                    name="random directions: median to p95, and best",
                    showlegend=width == 5,
                )
            )
    page.ticks(ticks, name="best random direction", color=MUTED, legend=False)


def draw(records: Sequence[Record]) -> go.Figure:
    """AUROC on test groups, one row a detector and site, with the sentence it earned."""
    found = need(records, "detector")
    several = len({r.seed for r in found}) > 1
    base = [r for r in select(records, kind="baseline") if Told.of(r, "auroc")]
    names = [BASELINES.get(str(r.get("name")), str(r.get("name"))) for r in base]
    rows = [_row(r, several) for r in found]
    rows += [
        Row((f"<i>{name}</i>  {grey('baseline · ' + same_n([Told.of(r, 'auroc')]))}",))
        for name, r in zip(names, base, strict=True)
    ]
    page = sheet(rows, ["AUROC on test groups"], span=_span([*found, *base]))
    page.chance(0.5)
    _random(page, found)
    for name, mark in MARKS.items():
        page.dots(
            [
                (i, f"{r.get('detector')} at {r.site}, label {r.get('label')}", Told.of(r, name))
                for i, r in enumerate(found)
            ],
            mark,
        )
    page.dots(
        [
            (len(found) + i, name, Told.of(r, "auroc"))
            for i, (name, r) in enumerate(zip(names, base, strict=True))
        ],
        Mark("baseline", MUTED, "cross-open"),
    )
    every = [Told.of(r, name) for r in found for name in MARKS]
    return finish(
        page.fig,
        title="What the detectors read",
        caption=f"Dotted: chance. {hows(every)}",
        alt=f"AUROC of {len(found)} detectors on the organism, refitted on the honest twin and "
        "after the cut, beside random directions.",
        height=page.height,
    )


def _span(records: Sequence[Record]) -> tuple[float, float]:
    """From 0.4, or from below the lowest interval, to just above 1."""
    lows = [
        x
        for r in records
        for name in MARKS
        if (t := Told.of(r, name))
        for x in (t.value, t.lo)
        if x is not None
    ]
    return (min([0.4, *(x - 0.03 for x in lows)]), 1.02)
