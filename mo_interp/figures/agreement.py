"""Do cheap methods say what patching says? Rank correlation with the sweep, and the worst cell."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from mo_interp.errors import MoInterpError
from mo_interp.figures._house import (
    BLUE,
    GREEN,
    LANE,
    LINE,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Mark,
    Row,
    finish,
    hows,
    look,
    same_n,
    sheet,
)
from mo_interp.figures._table import Line, lines
from mo_interp.records import Record, select
from mo_interp.wording import Told, count

METHODS = {
    "attribution_patching": "attribution patching",
    "integrated_gradients_input": "integrated gradients, input",
    "integrated_gradients_site": "integrated gradients, site",
    "relp": "RelP",
    "relp_half": "RelP, attention halved",
    "direct_logit_attribution": "direct logit attribution",
    "eap": "EAP",
    "eap_ig": "EAP-IG",
}
CELLS = {"role": "sites by role", "parts": "parts", "edges": "edges"}
PANELS = {"spearman": "Spearman's rank correlation", "worst": "error of the worst cell"}
TALLEST, CLOSE = 570, 4
"""Pixels: for the rows in print, and after a row."""
LOOKS = (
    (BLUE, "circle"),
    (ORANGE, "square"),
    (GREEN, "diamond"),
    (VERMILLION, "triangle-up"),
    (PURPLE, "triangle-down"),
    (SKY, "star"),
)


def _found(records: Sequence[Record]) -> list[Record]:
    found = select(records, kind="localisation_agreement")
    if not found:
        raise MoInterpError(
            "no records of kind 'localisation_agreement' here; "
            "`python probes/gradient_against_sweep.py` makes them"
        )
    first = min(r.seed for r in found)
    return [r for r in found if r.seed == first]


def draw(records: Sequence[Record]) -> go.Figure:
    """One row a method and set of cells; an organism a lane, filled denoising, open noising."""
    found = _found(records)
    names = list(dict.fromkeys(r.organism for r in found))
    keys = sorted({_key(r) for r in found}, key=lambda k: (list(CELLS).index(k[0]), _rank(k[1])))
    rows = [Row((f"<b>{_word(m)}</b>, {CELLS[cells]}",), lanes=len(names)) for cells, m in keys]
    text, lanes = len(rows) * (LINE + CLOSE + 3), len(rows) * max(len(names), 1)
    lane = max(4.5, min(LANE, (TALLEST - text) / lanes)) if look().paper else LANE
    page = sheet(rows, list(PANELS.values()), span=(-1.05, 1.05), lane=lane, gap=CLOSE)
    page.fig.update_xaxes(range=[-0.05, 1.15], col=2)
    page.chance(0)
    for lane, name in enumerate(names):
        color, symbol = LOOKS[lane % len(LOOKS)]
        shapes = (("denoising", symbol, -0.2), ("noising", f"{symbol}-open", 0.2))
        for direction, shape, shift in shapes:
            mine = select(found, organism=name, direction=direction)
            label = name if direction == "denoising" else f"{name}, noising"
            mark = Mark(label, color, shape, lane + shift)
            for column, measure in enumerate(PANELS, start=1):
                told = [(keys.index(_key(r)), _at(r, measure), Told.of(r, measure)) for r in mine]
                page.dots(told, mark, column=column, legend=(column, direction) == (1, "denoising"))
    every = [Told.of(r, "spearman") for r in found]
    return finish(
        page.fig,
        title="Do gradients say what patching says?",
        caption="Each method against the exhaustive sweep, or path patching for edges, of the same "
        "cells and pairs; filled denoising, open noising. Dotted: a random order. The worst cell's "
        f"error is a share of the logit difference. {same_n(every)} pairs, seed "
        f"{found[0].seed}. {hows(every)}",
        alt=f"Agreement of {count(len(keys), 'method')} with patching on "
        f"{count(len(names), 'organism')}.",
        height=page.height,
    )


def _key(r: Record) -> tuple[str, str]:
    return str(r.params["cells"]), str(r.get("method"))


def _rank(method: str) -> int:
    return list(METHODS).index(method) if method in METHODS else len(METHODS)


def _word(method: str) -> str:
    return METHODS.get(method, method.replace("_", " "))


def _at(r: Record, measure: str) -> str:
    worst = f", worst at {r.site} ({r.get('worst_told'):.3f}, is {r.get('worst_true'):.3f})"
    cells = f", {CELLS[str(r.params['cells'])]}, {r.values.get('cells')} cells"
    return f"{_word(str(r.get('method')))}{cells}{worst if measure == 'worst' else ''}"


def table(records: Sequence[Record]) -> list[Line]:
    """Both numbers of every method, organism and direction, and the cells missed and invented."""
    by = ("method", "reference", "direction")
    more = ("site", "worst_told", "worst_true", "missed", "invented", "large", "forwards")
    return [
        {"cells": CELLS[str(r.params["cells"])], **line}
        for r in _found(records)
        for line in lines([r], PANELS, by=by, also=more)
    ]
