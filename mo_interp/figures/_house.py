"""The house style of every figure: one column wide, 9 points, colour-blind safe, n always said.

Nothing here is a figure. :func:`house` is a plain ``go.layout.Template`` that each figure carries
itself; plotly's global default is never touched. The colours are those of Okabe and Ito (2008),
and no two series differ by colour alone: marker shape or line dash differs as well.

The usual figure is a list of *rows*: a line of text across the column, and under it dots with
their intervals. :func:`sheet` lays the rows out, :meth:`Sheet.dots` fills them, and
:func:`finish` adds the title, the caption with n and units, and the alternative text.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mo_interp.wording import Told

COLUMN = 340
"""Width of one column in CSS pixels: 90 mm, so that 12 px print as 9 points."""
FONT, SMALL = 12, 11
"""Pixels: 9 and 8.25 points."""

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
    axis = {
        "gridcolor": GRID,
        "linecolor": MUTED,
        "zerolinecolor": BAND,
        "zerolinewidth": 1,
        "ticks": "outside",
        "ticklen": 3,
        "tickcolor": MUTED,
        "tickfont": {"size": SMALL, "color": INK},
        "title": {"font": {"size": FONT, "color": INK}, "standoff": 6},
        "automargin": False,
    }
    return go.layout.Template(
        layout={
            "font": {
                "family": "Arial, Helvetica, Liberation Sans, sans-serif",
                "size": FONT,
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
                "font": {"color": INK, "size": FONT},
            },
            "legend": {
                "orientation": "h",
                "font": {"size": SMALL},
                "itemclick": False,
                "itemdoubleclick": False,
                "tracegroupgap": 0,
                "bgcolor": "rgba(0,0,0,0)",
            },
            "dragmode": False,
        }
    )


def wrap(text: str, width: int = 56) -> list[str]:
    """Lines of ``text`` that fit a column."""
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]


def _legend_lines(fig: go.Figure) -> int:
    """How many lines the legend takes in one column."""
    traces: Any = fig.data
    names = [t.name for t in traces if t.showlegend is not False and t.name]
    lines, used = (1 if names else 0), 0
    for name in names:
        size = 44 + 6 * len(name)
        if used and used + size > COLUMN - 10:
            lines, used = lines + 1, 0
        used += size
    return lines


def finish(
    fig: go.Figure,
    *,
    title: str,
    caption: str,
    alt: str,
    height: int,
    left: int = 12,
    below: int = 44,
    above: int = 0,
) -> go.Figure:
    """Title, caption and sizes; returns the same figure.

    Args:
        fig: what was drawn; it is changed in place.
        title: a few words.
        caption: what the marks are, in which unit, over how many, with which interval.
        alt: one sentence that stands in for the picture.
        height: of the plotting area, in pixels.
        left: margin for labels on the left.
        below: room under the plotting area for the ticks and title of the x axis.
        above: room over the plotting area for what heads the panels.
    """
    told = wrap(caption)
    head = wrap(title, 44)
    top = 14 + 17 * len(head) + 17 * len(told) + 4
    legend = 20 * _legend_lines(fig) + 8
    total = top + above + height + below + legend
    text = f"<b>{'<br>'.join(head)}</b><br><span style='font-size:{SMALL}px;color:{MUTED}'>"
    fig.update_layout(
        template=house(),
        width=COLUMN,
        height=total,
        margin={"t": top + above, "b": below + legend, "l": left, "r": 12, "pad": 0},
        title={
            "text": text + "<br>".join(told) + "</span>",
            "x": 0,
            "xanchor": "left",
            "y": 1 - 14 / total,
            "yanchor": "top",
            "yref": "container",
            "pad": {"l": 8},
            "font": {"size": FONT + 1},
        },
        meta={"title": title, "caption": caption, "alt": alt, "head": top},
    )
    fig.update_layout(legend={"x": 0, "xanchor": "left", "y": -below / height, "yanchor": "top"})
    return fig


ON_PAGE = 1.2
"""How much larger a figure is drawn on a page, where the text around it is larger as well."""


def bare(fig: go.Figure) -> go.Figure:
    """A larger copy without title and fixed width, for a page that prints the caption itself."""
    layout: Any = fig.layout
    head = layout.meta["head"] - 8  # keeps a little air at the top
    margin = {k: v * ON_PAGE for k, v in layout.margin.to_plotly_json().items()}
    margin["t"] -= head * ON_PAGE
    copy = go.Figure(_larger(fig.to_plotly_json()))
    copy.update_layout(
        title=None,
        width=None,
        autosize=True,
        margin=margin,
        height=(layout.height - head) * ON_PAGE,
    )
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

LINE, LANE, GAP = 15, 10, 7
"""Pixels: a line of text, a lane of dots, the space after a row."""


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


def noted(text: str) -> tuple[str, ...]:
    """A grey note as lines that fit the column."""
    return tuple(grey(line) for line in wrap(text, 60))


@dataclass(frozen=True)
class Sheet:
    """A figure made of rows. Its y axis is in pixels, downwards from 0."""

    fig: go.Figure
    starts: tuple[float, ...]
    """Pixel at which the lanes of each row begin."""
    height: int
    """Of the plotting area, in pixels."""

    def y(self, row: int, lane: float) -> float:
        """The middle of a lane."""
        return -(self.starts[row] + LANE * (lane + 0.5))

    def dots(
        self,
        told: Iterable[tuple[int, str, Told | None]],
        mark: Mark,
        *,
        column: int = 1,
        legend: bool = True,
    ) -> None:
        """Dots with intervals: ``told`` holds (row, what it is, the estimate); None is left out.

        Every point carries its own sentence (value, interval, n) for the pointer and for the
        table behind the figure.
        """
        known = [(row, what, t) for row, what, t in told if t is not None]
        if not known:
            return
        self.fig.add_trace(
            go.Scatter(
                x=[t.value for *_, t in known],
                y=[self.y(row, mark.lane) for row, *_ in known],
                error_x=arms((t for *_, t in known), color=mark.color),
                mode="markers",
                marker={
                    "color": mark.color,
                    "symbol": mark.symbol,
                    "size": 7.5,
                    "line": {"color": mark.color, "width": 1.4},
                },
                name=mark.name,
                showlegend=legend,
                legendgroup=mark.name,
                text=[f"{what}; {mark.name}: {t}" for _, what, t in known],
                hovertemplate="%{text}<extra></extra>",
                cliponaxis=False,
            ),
            row=1,
            col=column,
        )

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
        if not told:
            return
        self.fig.add_trace(
            go.Scatter(
                x=[x for x, *_ in told],
                y=[y for _, y, _ in told],
                mode="markers",
                name=name,
                showlegend=legend,
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
        )


def sheet(rows: Sequence[Row], panels: Sequence[str], *, span: tuple[float, float]) -> Sheet:
    """Rows of text across one panel per x axis, ready for dots."""
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
            font={"size": SMALL},
            borderpad=0,
            bgcolor=PAPER,
        )
        starts.append(at + LINE * len(row.lines) + 3)
        at = starts[-1] + LANE * row.lanes + GAP
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
    return Sheet(fig, tuple(starts), height)


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
