"""The house style of every figure: one column wide, 8 points or more, colour-blind safe, n said.

Nothing here is a figure. :func:`house` is a plain ``go.layout.Template`` that each figure carries
itself; plotly's global default is never touched. The colours are those of Okabe and Ito (2008),
and no two series differ by colour alone: marker shape or line dash differs as well.

A figure is drawn in a :class:`Look`, which :func:`looking` sets for as long as it takes. The theme
``screen`` prints title and caption over the plot. The theme ``paper`` leaves them to the text of
the paper: every letter has 8 points, and the file is exactly as wide as a column or a page.

The usual figure is a list of *rows*: a line of text across the column, and under it dots with
their intervals. :func:`sheet` lays the rows out, :meth:`Sheet.dots` fills them, and
:func:`finish` adds the title, the caption with n and units, and the alternative text.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mo_interp.errors import UnknownName, nearest
from mo_interp.wording import Told

COLUMN = 340
"""Width of one column in CSS pixels: 90 mm, so that 12 px print as 9 points."""
FONT, SMALL = 12, 11
"""Pixels: 9 and 8.25 points."""
PRINT = 8 * 96 / 72
"""Pixels of 8 points, the one size of the theme ``paper``."""
INCHES = {"column": 3.25, "page": 6.75}
"""Widths in print: a column and the text block of a two-column page (234 and 486 points)."""
WIDE = {
    "screen": {"column": COLUMN, "page": 706},
    "paper": {name: round(96 * inches) for name, inches in INCHES.items()},
}
"""Widths in CSS pixels, 96 to an inch, by theme."""
STEP = 8
"""Heights in print are multiples of so many pixels: a browser cuts pages to 0.24 points."""

BLUE, GREEN, VERMILLION = "#0072B2", "#009E73", "#D55E00"
ORANGE, PURPLE, SKY = "#E69F00", "#CC79A7", "#56B4E9"
INK, MUTED, GRID, BAND = "#1a1a1e", "#5c5f66", "#dfe1e5", "#b9bdc5"
PAPER, ZERO = "#ffffff", "#f4f4f6"

DARK = {
    BLUE: "#56b4e9",
    GREEN: "#2fc39a",
    VERMILLION: "#f4894a",
    ORANGE: "#f0b840",
    PURPLE: "#dd9bc0",
    SKY: "#8fd0f5",
    INK: "#e6e7ea",
    MUTED: "#a3a7b0",
    GRID: "#353942",
    BAND: "#6b717d",
    PAPER: "#16181d",
    ZERO: "#23262d",
}
"""What each colour becomes on a dark page; figures use no other colours."""


@dataclass(frozen=True)
class Look:
    """For what, how wide and how large a figure is drawn."""

    theme: str = "screen"
    width: int = COLUMN
    """CSS pixels, 96 to an inch."""
    font: float = FONT
    small: float = SMALL

    @property
    def paper(self) -> bool:
        """Whether it is for print, where title and caption stand in the text."""
        return self.theme == "paper"

    def letters(self, column: int) -> int:
        """How many letters fit a line that holds ``column`` of them in a column on screen."""
        return int(column * (self.width / COLUMN) * (SMALL / self.small))


_LOOK: ContextVar[Look | None] = ContextVar("look", default=None)


def look() -> Look:
    """What is drawn in just now."""
    return _LOOK.get() or Look()


@contextmanager
def looking(theme: str, width: str) -> Iterator[Look]:
    """Draw in this theme (``screen``, ``paper``) and width (``column``, ``page``) for a while."""
    if theme not in WIDE:
        raise UnknownName(f"theme '{theme}'{nearest(theme, WIDE)}")
    if width not in WIDE[theme]:
        raise UnknownName(f"width '{width}'{nearest(width, WIDE[theme])}")
    sizes = (PRINT, PRINT) if theme == "paper" else (FONT, SMALL)
    token = _LOOK.set(Look(theme, WIDE[theme][width], *sizes))
    try:
        yield look()
    finally:
        _LOOK.reset(token)


@dataclass(frozen=True)
class Mark:
    """How one series is drawn and named in the legend."""

    name: str
    color: str
    symbol: str
    lane: float = 0.0
    """Which lane of a row, so that intervals do not cover each other."""
    dash: str = "solid"


ORGANISM = Mark("organism", BLUE, "circle", 0)
TWIN = Mark("clean twin", GREEN, "diamond-open", 1, "dash")


def house() -> go.layout.Template:
    """The template every figure carries."""
    font, small = look().font, look().small
    axis = {
        "gridcolor": GRID,
        "linecolor": MUTED,
        "zerolinecolor": BAND,
        "zerolinewidth": 1,
        "ticks": "outside",
        "ticklen": 3,
        "tickcolor": MUTED,
        "tickfont": {"size": small, "color": INK},
        "title": {"font": {"size": font, "color": INK}, "standoff": 6},
        "automargin": False,
    }
    return go.layout.Template(
        layout={
            "font": {
                "family": "Arial, Helvetica, Liberation Sans, sans-serif",
                "size": font,
                "color": INK,
            },
            "paper_bgcolor": PAPER,
            "plot_bgcolor": PAPER,
            "colorway": [BLUE, GREEN, VERMILLION, ORANGE, PURPLE, SKY],
            "xaxis": axis,
            "yaxis": axis,
            "hoverlabel": {
                "bgcolor": PAPER,
                "bordercolor": MUTED,
                "align": "left",
                "font": {"color": INK, "size": font},
            },
            "legend": {
                "orientation": "h",
                "font": {"size": small},
                "itemclick": False,
                "itemdoubleclick": False,
                "tracegroupgap": 0,
                "bgcolor": "rgba(0,0,0,0)",
            },
            "dragmode": False,
        }
    )


def wrap(text: str, width: int = 56) -> list[str]:
    """Lines of ``text`` for which ``width`` letters fit a column on screen."""
    return textwrap.wrap(text, look().letters(width), break_on_hyphens=False) or [""]


def _legend_lines(fig: go.Figure) -> int:
    """How many lines the legend takes: names in groups fill line after line, others in columns."""
    traces: Any = fig.data
    shown = [t for t in traces if t.showlegend is not False and t.name]
    shown = [t for t in shown if getattr(t, "legend", None) in (None, "legend")]
    sizes = [48 + 0.54 * look().small * len(t.name) for t in shown]
    room = look().width - 20
    if not shown or sum(sizes) <= room:
        return min(len(shown), 1)
    if not any(t.legendgroup for t in shown):
        return -(-len(shown) // max(1, int(room // max(sizes))))
    lines, at = 1, 0.0
    for size in sizes:
        if at and at + size > room:
            lines, at = lines + 1, 0.0
        at += size
    return lines


def finish(
    fig: go.Figure,
    *,
    title: str,
    caption: str,
    alt: str,
    height: int,
    left: int = 12,
    right: int = 12,
    below: int = 44,
    above: int = 0,
    width: int = 0,
) -> go.Figure:
    """Title, caption and sizes; returns the same figure.

    Args:
        fig: what was drawn; it is changed in place.
        title: a few words.
        caption: what the marks are, in which unit, over how many, with which interval.
        alt: one sentence that stands in for the picture.
        height: of the plotting area, in pixels.
        left: margin for labels on the left.
        right: margin for words on the right.
        below: room under the plotting area for the ticks and title of the x axis.
        above: room over the plotting area for what heads the panels.
        width: of the whole figure, where it is not the look's.
    """
    seen, head, told = look(), wrap(title, 44), wrap(caption)
    top = 8 if seen.paper else 18 + 17 * (len(head) + len(told))
    legend = 20 * _legend_lines(fig) + 8
    total = top + above + height + below + legend
    if seen.paper:
        legend += -total % STEP
        total += -total % STEP
    fig.update_layout(
        template=house(),
        width=width or seen.width,
        height=total,
        margin={"t": top + above, "b": below + legend, "l": left, "r": right, "autoexpand": False},
        title=None if seen.paper else _heading(head, told, total),
        meta={"title": title, "caption": caption, "alt": alt, "head": top, "theme": seen.theme},
    )
    start = (4 - left) / ((width or seen.width) - left - right)
    box = {"x": start, "xanchor": "left", "y": -below / height, "yanchor": "top"}
    fig.update_layout(legend=box)
    return fig


def _heading(head: Sequence[str], told: Sequence[str], height: int) -> dict[str, Any]:
    """Title and caption over the plot."""
    text = f"<b>{'<br>'.join(head)}</b><br><span style='font-size:{SMALL}px;color:{MUTED}'>"
    return {
        "text": text + "<br>".join(told) + "</span>",
        "x": 0,
        "xanchor": "left",
        "y": 1 - 14 / height,
        "yanchor": "top",
        "yref": "container",
        "pad": {"l": 8},
        "font": {"size": FONT + 1},
    }


def fitted(fig: go.Figure) -> go.Figure:
    """The same figure; one that was not finished by the house gets its template and width."""
    layout: Any = fig.layout
    if not layout.meta:
        height = layout.height or round(0.8 * look().width)
        fig.update_layout(template=house(), width=look().width, height=height)
        fig.update_layout(meta={"theme": look().theme})
    return fig


ON_PAGE = 1.2
"""How much larger a figure is drawn on a page, where the text around it is larger as well."""


def bare(fig: go.Figure) -> go.Figure:
    """A larger copy without title and fixed width, for a page that prints the caption itself."""
    layout: Any = fig.layout
    head = layout.meta["head"] - 8  # keeps a little air at the top
    margin = {side: layout.margin[side] * ON_PAGE for side in "tblr"}
    margin["t"] -= head * ON_PAGE
    copy = go.Figure(_larger(fig.to_plotly_json()))
    copy.update_layout(
        title=None,
        width=None,
        autosize=True,
        margin=margin,
        height=(layout.height - head) * ON_PAGE,
    )
    wide: Any = copy.layout
    for name in (key for key in wide if key.startswith("legend")):
        if (wide[name].x or 0) < 0:  # a share of the width, which is the page's to choose
            wide[name].x = 0
    return copy


def _larger(node: Any) -> Any:
    """The same figure with every font and marker larger; what is in data units stays."""
    if isinstance(node, dict):
        return {
            k: v * ON_PAGE if k == "size" and isinstance(v, int | float) else _larger(v)
            for k, v in node.items()
        }
    return [_larger(x) for x in node] if isinstance(node, list) else node


# --------------------------------------------------------------------------------- rows of dots

LINE, LANE, NARROW, GAP = 15, 10, 5, 7
"""Pixels: a line of text, a lane of dots, the lane of one of several seeds, the space of a row."""


def lane_of(seeds: int) -> float:
    """Pixels of a lane where every lane is there once a seed."""
    return LANE if seeds == 1 else NARROW


def seeds_told(seeds: Sequence[int]) -> str:
    """``seed 0``, or ``seeds 0, 1, 2, from the top down in each row``."""
    listed = ", ".join(map(str, seeds))
    return f"seeds {listed}, from the top down in each row" if len(seeds) > 1 else f"seed {listed}"


@dataclass(frozen=True)
class Row:
    """Lines of text across the column, and lanes of dots under them."""

    lines: tuple[str, ...]
    """Text, in plotly's HTML."""
    lanes: int = 1
    """Lanes of dots."""


def grey(text: str) -> str:
    """A note beside or under a label."""
    return f"<span style='color:{MUTED}'>{text}</span>"


@dataclass(frozen=True)
class Sheet:
    """A figure made of rows. Its y axis is in pixels, downwards from 0."""

    fig: go.Figure
    starts: tuple[float, ...]
    """Pixel at which the lanes of each row begin."""
    height: int
    """Of the plotting area, in pixels."""
    lane: float = LANE
    """Pixels from one lane of a row to the next."""

    def y(self, row: int, lane: float) -> float:
        """The middle of a lane."""
        return -(self.starts[row] + self.lane * (lane + 0.5))

    def dots(
        self,
        told: Iterable[tuple[int, str, Told | None] | tuple[int, str, Told | None, float]],
        mark: Mark,
        *,
        column: int = 1,
        legend: bool = True,
    ) -> None:
        """Dots with intervals: ``told`` holds (row, what it is, the estimate); None is left out.

        A fourth entry says how many lanes a point lies below that of its mark.

        Every point carries its own sentence (value, interval, n) for the pointer and for the
        table behind the figure.
        """
        known = [
            (self.y(row, mark.lane + sum(down)), what, t)
            for row, what, t, *down in told
            if t is not None
        ]
        if not known:
            return
        trace = points(known, mark, size=min(7.5, self.lane + 1.5))
        self.fig.add_trace(trace.update(showlegend=legend), row=1, col=column)

    def chance(self, x: float) -> None:
        """A dotted line from top to bottom at the score of a guess."""
        self.fig.add_trace(
            go.Scatter(
                x=[x, x],
                y=[0, -self.height],
                mode="lines",
                name="chance",
                showlegend=False,
                line={"color": MUTED, "width": 1.2, "dash": "dot"},
                hoverinfo="skip",
            )
        )

    def ticks(
        self,
        told: Sequence[tuple[float, float, str]],
        *,
        name: str,
        color: str,
        size: float = 9,
        legend: bool = True,
        faint: bool = False,
    ) -> None:
        """Upright ticks at (x, y, text): a bar to clear, random controls."""
        if told:
            trace = upright(told, name=name, color=color, size=size, faint=faint)
            self.fig.add_trace(trace.update(showlegend=legend))


def points(told: Sequence[tuple[float, str, Told]], mark: Mark, *, size: float = 7.5) -> go.Scatter:
    """Dots with intervals: ``told`` holds (y, what it is, the estimate).

    Every point carries its own sentence (value, interval, n) for the pointer and for the table
    behind the figure.
    """
    return go.Scatter(
        x=[t.value for *_, t in told],
        y=[y for y, *_ in told],
        error_x=arms((t for *_, t in told), color=mark.color),
        mode="markers",
        marker={
            "color": mark.color,
            "symbol": mark.symbol,
            "size": size,
            "line": {"color": mark.color, "width": 1.4},
        },
        name=mark.name,
        legendgroup=mark.name,
        text=[f"{what}; {mark.name}: {t}" for _, what, t in told],
        hovertemplate="%{text}<extra></extra>",
        cliponaxis=False,
    )


def upright(
    told: Sequence[tuple[float, float, str]],
    *,
    name: str,
    color: str,
    size: float = 9,
    faint: bool = False,
) -> go.Scatter:
    """Upright ticks at (x, y, text)."""
    return go.Scatter(
        x=[x for x, *_ in told],
        y=[y for _, y, _ in told],
        mode="markers",
        name=name,
        legendgroup=name,
        text=[text for *_, text in told],
        hovertemplate="%{text}<extra></extra>",
        opacity=0.5 if faint else 1.0,
        marker={
            "symbol": "line-ns",
            "size": size,
            "color": color,
            "line": {"width": 1.4, "color": color},
        },
    )


def sheet(
    rows: Sequence[Row],
    panels: Sequence[str],
    *,
    span: tuple[float, float],
    lane: float = LANE,
    gap: float = GAP,
) -> Sheet:
    """Rows of text across one panel per x axis, ready for dots; ``lane`` and ``gap`` in pixels."""
    n = max(len(panels), 1)
    fig = make_subplots(rows=1, cols=n, shared_yaxes=True, horizontal_spacing=0.1 / n)
    at, starts = 0.0, []
    for row in rows:
        fig.add_annotation(
            text="<br>".join(row.lines),
            x=0,
            xref="paper",
            xanchor="left",
            y=-at,
            yref="y",
            yanchor="top",
            showarrow=False,
            align="left",
            font={"size": look().small},
            borderpad=0,
            bgcolor=PAPER,
        )
        starts.append(at + LINE * len(row.lines) + 3)
        at = starts[-1] + lane * row.lanes + gap
    height = max(int(at), 40)
    fig.update_yaxes(
        range=[-height, 0],
        showticklabels=False,
        ticks="",
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )
    fig.update_xaxes(range=list(span), fixedrange=True, showline=True)
    for i, panel in enumerate(panels):
        fig.update_xaxes(title_text=panel, row=1, col=i + 1)
    return Sheet(fig, tuple(starts), height, lane)


def arms(told: Iterable[Told], *, color: str) -> dict[str, Any]:
    """Asymmetric error bars for these estimates; none where there is no interval."""
    told = list(told)
    up = [None if t.hi is None else t.hi - t.value for t in told]
    down = [None if t.lo is None else t.value - t.lo for t in told]
    return {
        "type": "data",
        "array": up,
        "arrayminus": down,
        "symmetric": False,
        "thickness": 1.3,
        "width": 2.5,
        "color": color,
    }


def same_n(told: Iterable[Told | None]) -> str:
    """``n 2,000``, ``n 480–512``, or ``n not recorded``, for a row or a caption."""
    sizes = sorted({t.n for t in told if t is not None and t.n is not None})
    if not sizes:
        return "n not recorded"
    return f"n {sizes[0]:,}" if len(sizes) == 1 else f"n {sizes[0]:,}–{sizes[-1]:,}"


def hows(told: Iterable[Told | None]) -> str:
    """How the intervals were made: ``Bars: 95 % intervals (cluster bootstrap; ...)``."""
    ways = list(dict.fromkeys(t.how for t in told if t is not None and t.how))
    return f"Bars: 95 % intervals ({'; '.join(ways)})." if ways else "Bars: 95 % intervals."
