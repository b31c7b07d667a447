"""The scoreboard: what each method reaches on each organism, with its interval, chance and twin.

A heat map a part of the evidence, one measure of each, and no number over all of them. Where the
records hold the scores of one part alone (``part="detection"``), all its measures are drawn. Under
the number of a cell a line from its left edge (0) to the right (1) shows interval, chance and twin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from mo_interp.errors import MoInterpError
from mo_interp.figures._house import GREEN, INK, MUTED, ORANGE, SKY, ZERO, finish, grey, look
from mo_interp.figures._list import Block, Item, Listing, listing, names_wide, split, tall
from mo_interp.figures._table import Line, lines
from mo_interp.records import Record, select
from mo_interp.wording import Told, count, decimal, false_alarms

BOARD = {
    "detection": ("AUROC, trigger at the answer", "AUROC, trigger at the answer"),
    "localisation": ("AUROC of parts", "AUROC of parts against the circuit"),
    "mechanism": ("restored, resample", "lies restored, resampled"),
    "removal": ("restored", "lies restored by the cure"),
    "discovery": ("found among ten, 256 rows", "trigger named among ten"),
}
"""Part to the measure that is drawn beside other parts, and what that is."""
SHORT = {
    "attribution_patching": "attr. patching",
    "direct_logit_attribution": "direct logit",
    "integrated_gradients_input": "int. gradients",
    "integrated_gradients_site": "int. grad. at site",
    "weight_magnitude": "weight size",
    "logistic probe at the answer": "probe at answer",
    "logistic probe at the trigger": "probe at trigger",
    "the wired coordinate": "wired coordinate",
    "decision rule on the organism": "rule, organism",
    "decision rule on the clean twin": "rule, clean twin",
}
SIDES = {" denoising": ", d", " noising": ", n"}
"""How a method is written beside its row, and its direction."""
ROW, CELL, ROOMY, AIR, SLACK = 19, 16.5, 27, 0.37, 0.05
"""Pixels of a row, least width of a cell and of one that is written in full; half of its bar, as a
share of the cell; how far a number may lie outside of 0 to 1 before its bar is longer."""
TALLEST = {"column": 672, "page": 864}
"""Pixels: a column of 7 inches, a page of 9."""
AROUND = 70
"""Pixels of legend and margins."""


@dataclass(frozen=True)
class _Panel:
    """A measure of a part: one heat map."""

    part: str
    told: str
    found: tuple[Record, ...]

    @property
    def methods(self) -> list[str]:
        """In the order of the records."""
        return list(dict.fromkeys(str(r.get("method")) for r in self.found))

    @property
    def span(self) -> tuple[float, float]:
        """What the bars reach from and to: 0 to 1, or further where a number lies outside."""
        told = [t for r in self.found if (t := Told.of(r, "mean"))]
        ends = [x for t in told for x in (t.value, t.lo, t.hi) if x is not None]
        low, high = min([0.0, *ends]), max([1.0, *ends])
        return low if low < -SLACK else 0.0, high if high > 1 + SLACK else 1.0

    @property
    def block(self) -> Block:
        """Its rows."""
        low, high = self.span
        wide = "" if (low, high) == (0, 1) else f"; bars {decimal(low, 1)} to {decimal(high, 1)}"
        items = tuple(Item(short(method)) for method in self.methods)
        return Block(f"<b>{self.part}</b>  {grey(self.told + wide)}", items, ROW)

    def at(self, value: float) -> float:
        """A number as a place in its cell."""
        low, high = self.span
        return AIR * (2 * (min(max(value, low), high) - low) / (high - low) - 1)


def short(method: str) -> str:
    """A method as it is written beside its row."""
    for side, letter in SIDES.items():
        if method.endswith(side):
            return short(method.removesuffix(side)) + letter
    return SHORT.get(method, method)


def _panels(records: Sequence[Record]) -> list[_Panel]:
    """One measure of every part; of a single part, all."""
    found = select(records, kind="score")
    if not found:
        raise MoInterpError("no records of kind 'score' here; `mo-interp bench NAME` makes them")
    parts = list(dict.fromkeys(str(r.get("part")) for r in found))
    first = [(part, *BOARD[part]) for part in BOARD if part in parts]
    if len(parts) == 1:
        known = {measure for _, measure, _ in first}
        more = dict.fromkeys(str(r.get("measure")) for r in found)
        first += [(parts[0], name, name) for name in more if name not in known]
    panels = []
    for part, measure, told in first:
        mine = [r for r in found if (r.get("part"), r.get("measure")) == (part, measure)]
        panels += [_Panel(part, told, tuple(mine))] * bool(mine)
    if not panels:
        told = ", ".join(sorted(parts))
        raise MoInterpError(f"scores of {told} alone, and the scoreboard draws {', '.join(BOARD)}")
    return panels


def draw(records: Sequence[Record]) -> go.Figure:
    """Methods down, organisms across, one panel a part, or one a measure of the only part."""
    every = _panels(records)
    panels = _fitting(every)
    names = list(dict.fromkeys(r.organism for panel in panels for r in panel.found))
    blocks = [panel.block for panel in panels]
    columns = len(split(blocks))
    room = _width(names, blocks) / columns - names_wide(blocks)
    shown = names[: max(1, int(room // CELL))]
    page = listing(blocks, axis="", span=(-0.5, len(shown) - 0.5), width=_width(names, blocks))
    start = 0
    for panel in panels:
        _draw_panel(page, panel, shown, start, wide=room / len(shown) >= ROOMY)
        start += len(panel.methods)
    page.fig.update_xaxes(
        side="top", tickangle=-90, showgrid=False, zeroline=False, showline=False, ticks=""
    )
    page.fig.update_xaxes(tickvals=list(range(len(shown))), ticktext=shown)
    return finish(
        page.fig,
        title="The scoreboard",
        caption=_caption(records, every, panels, [n for n in names if n not in shown]),
        alt=f"Heat maps of {count(len(panels), 'measure')} of the evidence, "
        f"{count(sum(len(p.methods) for p in panels), 'method')} by "
        f"{count(len(shown), 'organism')}.",
        height=page.height,
        left=page.left,
        right=page.right,
        below=4,
        above=_above(shown),
        width=_width(names, blocks),
    )


def _above(names: Sequence[str]) -> int:
    """Pixels that the names of organisms take, which stand upright."""
    return 10 + round(0.52 * look().small * max(map(len, names)))


def _width(names: Sequence[str], blocks: Sequence[Block]) -> int:
    """On a screen as wide as full cells take; in print exactly as wide as asked."""
    needed = names_wide(blocks) + round((ROOMY + 8) * len(names))
    return look().width if look().paper else max(look().width, needed)


def _fitting(panels: Sequence[_Panel]) -> list[_Panel]:
    """The panels that there is room for, the first ones first."""
    most = TALLEST["page" if look().width > 500 else "column"]
    most -= AROUND + _above([r.organism for panel in panels for r in panel.found])
    shown = list(panels)
    while look().paper and len(shown) > 1:
        if max(map(tall, split([panel.block for panel in shown]))) <= most:
            break
        shown.pop()
    return shown


def _draw_panel(
    page: Listing, panel: _Panel, names: Sequence[str], start: int, *, wide: bool
) -> None:
    """The heat map; numbers, and under each its interval, chance and the twin."""
    methods = panel.methods
    column = page.spots[start][0]
    ys = [page.spots[start + i][1] for i in range(len(methods))]
    cells = {(str(r.get("method")), r.organism): r for r in panel.found}
    grid = [[cells.get((method, name)) for name in names] for method in methods]
    page.fig.add_trace(_heat(grid, names, ys), row=1, col=column)
    known = [
        (x, ys[y], r, told)
        for y, line in enumerate(grid)
        for x, r in enumerate(line)
        if r is not None and (told := Told.of(r, "mean"))
    ]
    for trace in _bars(panel, known, wide):
        page.add(trace, column, legend=trace.mode != "text")


def _heat(
    grid: Sequence[Sequence[Record | None]], names: Sequence[str], ys: Sequence[float]
) -> go.Heatmap:
    return go.Heatmap(
        z=[[None if r is None else r.get("mean") for r in line] for line in grid],
        x=list(range(len(names))),
        y=list(ys),
        text=[["" if r is None else _cell(r) for r in line] for line in grid],
        hovertext=[["" if r is None else _hover(r) for r in line] for line in grid],
        hovertemplate="%{hovertext}<extra></extra>",
        colorscale=[[0.0, SKY], [0.5, ZERO], [1.0, ORANGE]],
        zmin=0.0,
        zmax=1.0,
        opacity=0.45,
        showscale=False,
        xgap=1,
        ygap=1,
    )


def _bars(
    panel: _Panel, known: Sequence[tuple[float, float, Record, Told]], wide: bool
) -> list[go.Scatter]:
    """Numbers in the upper part of the cells, and what stands under them."""
    down, ends = ROW * 0.3, []
    for x, y, _, told in known:
        if told.lo is not None and told.hi is not None:
            ends += [(x + panel.at(told.lo), y - down), (x + panel.at(told.hi), y - down), None]
    line = {"color": INK, "width": 1.3}
    bars = go.Scatter(
        x=[e and e[0] for e in ends], y=[e and e[1] for e in ends], mode="lines", line=line
    )
    numbers = go.Scatter(
        x=[x for x, *_ in known],
        y=[y + ROW * 0.16 for _, y, *_ in known],
        mode="text",
        texttemplate=[_number(told.value, wide) for *_, told in known],
        textfont={"size": look().small, "color": INK},
    )
    found = [numbers, bars.update(name="95 % interval")] if ends else [numbers]
    for name, of, symbol, size, color in (
        ("mean", "mean", "circle", 4 if wide else 3.5, INK),
        ("chance", "random", "line-ns", 6, MUTED),
        ("clean twin", "twin", "diamond-open", 6 if wide else 5, GREEN),
    ):
        mine = [(x, y, float(r.get(of))) for x, y, r, _ in known if r.get(of) is not None]
        marker = {"symbol": symbol, "size": [size] * len(mine), "color": color, "opacity": 1}
        trace = go.Scatter(
            x=[x + panel.at(value) for x, _, value in mine],
            y=[y - down for _, y, _ in mine],
            customdata=[value for *_, value in mine],
            mode="markers",
            marker={**marker, "line": {"color": color, "width": 1.3}},
            name=name,
            cliponaxis=False,
        )
        found += [trace] * bool(mine)
    return [trace.update(hoverinfo="skip", legendgroup=trace.name) for trace in found]


def _number(value: float, wide: bool) -> str:
    """``0.98``; where there is little room ``.98`` and ``1.0``."""
    text = decimal(float(value), 2)
    if wide:
        return text
    return text[:-1] if abs(round(value, 2)) >= 1 else text.replace("0.", ".", 1)


def _caption(
    records: Sequence[Record],
    every: Sequence[_Panel],
    panels: Sequence[_Panel],
    gone: Sequence[str],
) -> str:
    sizes = sorted({int(r.get("mean_n") or 0) for panel in panels for r in panel.found})
    told = "–".join(dict.fromkeys(map(str, (sizes[0], sizes[-1]))))
    sides = any(short(m).endswith((", d", ", n")) for panel in panels for m in panel.methods)
    rest = list(dict.fromkeys(f"{p.part} ({p.told})" for p in every if p not in panels))
    said = [
        f"Mean over {told} seed{'' if told == '1' else 's'}; the line under it is its 95 % "
        "interval from 0 at the left to 1 at the right of the cell (of one seed, over its rows; a "
        "ranking of parts has none). Tick: chance (the 95th percentile of random directions, the "
        "mean of random rankings or writes). Diamond: the clean twin.",
        "d: denoising, n: noising." if sides else "",
        f"In the table alone, for want of room: {'; '.join([*rest, *gone])}."
        if rest or gone
        else "",
        false_alarms(records) if select(records, kind="null") else "",
    ]
    return " ".join(filter(None, said))


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
    beside = [
        f"{word} {decimal(float(value))}"
        for word, value in (("chance", r.get("random")), ("twin", r.get("twin")))
        if value is not None
    ]
    where = f"{r.organism}, {r.get('method')}, {r.get('measure')}: {told}"
    return "; ".join([where, *beside, f"seeds {r.get('seeds')}: {each}"])


def table(records: Sequence[Record]) -> list[Line]:
    """Every score of the measures that are drawn, beside chance and twin, and its seeds."""
    found = []
    for panel in _panels(records):
        for r in panel.found:
            about = {"mean": str(r.get("measure"))}
            line = lines([r], about, by=("part", "method"), also=("random", "twin"))
            seeds = " ".join(map(str, r.get("seeds") or ()))
            found += [{**one, "seed": None, "seeds": seeds} for one in line]
    return found
