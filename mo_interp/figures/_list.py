"""Long lists of estimates: blocks of rows, names on the left, notes on the right.

In a column the blocks stand under each other. On a page of print they stand in two columns, so that
a list which fills a column of a paper takes half of a page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mo_interp.figures._house import MUTED, PAPER, Mark, look, points, upright
from mo_interp.wording import Told

HEAD, GAP, RIM = 17, 5, 12
"""Pixels: the line that heads a block, the room after a block, the margin on the right."""


@dataclass(frozen=True)
class Item:
    """A row: its name, and a note on the right."""

    name: str
    note: str = ""


@dataclass(frozen=True)
class Block:
    """Rows under a line of text."""

    head: str
    """In plotly's HTML."""
    items: tuple[Item, ...]
    row: float = 13
    """Pixels of a row."""

    @property
    def high(self) -> float:
        """Pixels of the whole block."""
        return HEAD + self.row * len(self.items) + GAP


@dataclass(frozen=True)
class Listing:
    """A figure made of blocks. Its y axes are in pixels, downwards from 0."""

    fig: go.Figure
    spots: tuple[tuple[int, float], ...]
    """Of every row, counted through all blocks: its column, and y at its middle."""
    height: int
    """Of the plotting area, in pixels."""
    columns: int
    left: int
    """Pixels that the names take."""
    right: int
    """Pixels that the notes take."""

    def dots(
        self, told: Iterable[tuple[int, str, Told | None, float]], mark: Mark, *, size: float = 6.5
    ) -> None:
        """Dots with intervals: (row, what it is, the estimate, pixels below the mark's lane).

        A lane is a pixel, counted down from the middle of the row.
        """
        known = [(row, what, t, down) for row, what, t, down in told if t is not None]
        for column in self._columns(row for row, *_ in known):
            mine = [
                (self.spots[row][1] - mark.lane - down, what, t)
                for row, what, t, down in known
                if self.spots[row][0] == column
            ]
            self.add(points(mine, mark, size=size), column)

    def ticks(
        self,
        told: Sequence[tuple[int, float, str]],
        *,
        name: str,
        color: str,
        size: float,
        faint: bool = False,
    ) -> None:
        """Upright ticks at (row, x, text)."""
        for column in self._columns(row for row, *_ in told):
            mine = [
                (x, self.spots[row][1], text)
                for row, x, text in told
                if self.spots[row][0] == column
            ]
            self.add(upright(mine, name=name, color=color, size=size, faint=faint), column)

    def bars(self, told: Sequence[tuple[int, float, float]], *, name: str, color: str) -> None:
        """Broad bars behind the rows, from one x to another."""
        for column in self._columns(row for row, *_ in told):
            mine = [t for t in told if self.spots[t[0]][0] == column]
            xs = [x for _, low, high in mine for x in (low, high, None)]
            ys = [y for row, *_ in mine for y in (*[self.spots[row][1]] * 2, None)]
            line = {"color": color, "width": 11}
            bar = go.Scatter(x=xs, y=ys, mode="lines", line=line, hoverinfo="skip", name=name)
            self.add(bar.update(legendgroup=name), column)

    def line(self, x: float, name: str) -> None:
        """A dotted line through all rows."""
        for column in range(1, self.columns + 1):
            self.add(
                go.Scatter(
                    x=[x, x],
                    y=[0, -self.height],
                    mode="lines",
                    name=name,
                    line={"color": MUTED, "width": 1.2, "dash": "dot"},
                    hoverinfo="skip",
                ),
                column,
                legend=False,
            )

    def _columns(self, rows: Iterable[int]) -> list[int]:
        return sorted({self.spots[row][0] for row in rows})

    def add(self, trace: go.Scatter, column: int, *, legend: bool = True) -> None:
        """A trace in a column, named in the legend once."""
        traces: Any = self.fig.data
        first = all(t.name != trace.name or not t.showlegend for t in traces)
        self.fig.add_trace(trace.update(showlegend=legend and first), row=1, col=column)


def split(blocks: Sequence[Block]) -> list[list[Block]]:
    """The blocks in as many columns as there is room for, about equally high."""
    if not look().paper or look().width < 500 or len(blocks) < 2:
        return [list(blocks)]
    cuts = [(list(blocks[:i]), list(blocks[i:])) for i in range(1, len(blocks))]
    return list(min(cuts, key=lambda cut: max(map(tall, cut))))


def tall(blocks: Iterable[Block]) -> float:
    """Pixels that the blocks take under each other."""
    return sum(block.high for block in blocks)


def names_wide(blocks: Iterable[Block]) -> int:
    """Pixels that the names beside the rows take."""
    longest = max((len(item.name) for block in blocks for item in block.items), default=0)
    return 14 + round(0.53 * look().small * longest)


def listing(
    blocks: Sequence[Block], *, axis: str, span: tuple[float, float], width: int = 0
) -> Listing:
    """Blocks with their names and notes, ready for dots; ``width`` where it is not the look's."""
    columns = split(blocks)
    notes = [len(item.note) for block in blocks for item in block.items]
    left = names_wide(blocks)
    right = RIM + round(0.53 * look().small * max(notes, default=0))
    height = round(max(map(tall, columns)))
    room = (width or look().width) - left - right
    apart = (left + right) / room if len(columns) > 1 else 0
    fig = make_subplots(rows=1, cols=len(columns), horizontal_spacing=apart)
    spots = []
    for i, mine in enumerate(columns, start=1):
        spots += [(i, y) for y in _column(fig, mine, i, left)]
    fig.update_yaxes(range=[-height, 0], showgrid=False, zeroline=False, ticks="", fixedrange=True)
    fig.update_xaxes(range=list(span), title_text=axis, fixedrange=True, showline=True)
    return Listing(fig, tuple(spots), height, len(columns), left, right)


def _column(fig: go.Figure, blocks: Sequence[Block], column: int, left: int) -> list[float]:
    """Heads, names and notes of one column; returns the middles of its rows."""
    at, names, spots = 0.0, [], []
    for block in blocks:
        _say(fig, column, -at - HEAD / 2, block.head, 4 - left)
        at += HEAD
        for item in block.items:
            spots.append(-at - block.row / 2)
            names.append(item.name)
            if item.note:
                _say(fig, column, spots[-1], item.note, 4)
            at += block.row
        at += GAP
    fig.update_yaxes(tickvals=spots, ticktext=names, row=1, col=column)
    return spots


def _say(fig: go.Figure, column: int, y: float, text: str, shift: float) -> None:
    """A head, from the left edge on (``shift`` below 0), or a note right of the plot."""
    axis = "" if column == 1 else str(column)
    fig.add_annotation(
        text=text,
        x=0 if shift < 0 else 1,
        xref=f"x{axis} domain",
        xanchor="left",
        xshift=shift,
        y=y,
        yref=f"y{axis}",
        yanchor="middle",
        showarrow=False,
        align="left",
        bgcolor=PAPER,
        borderpad=0,
        font={"size": look().small},
    )
