"""How well each method finds the planted circuit: origin against inert parts, beside chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import plotly.graph_objects as go

from mo_interp.figures._house import (
    BLUE,
    GAP,
    GREEN,
    LANE,
    LINE,
    ORANGE,
    VERMILLION,
    Mark,
    Row,
    finish,
    grey,
    hows,
    look,
    sheet,
)
from mo_interp.figures._table import Line, estimate
from mo_interp.records import Record
from mo_interp.wording import Told, decimal, need

METRICS = {
    "precision": Mark("precision at the circuit's size", BLUE, "circle", 0),
    "recall": Mark("recall", GREEN, "diamond-open", 1),
    "auroc": Mark("AUROC", VERMILLION, "square-open", 2),
    "auprc": Mark("AUPRC", ORANGE, "triangle-up", 3),
}
TALLEST = 560
"""Pixels for the rows in print, from which on they stand closer."""
METHODS = {
    "patching": "activation patching",
    "random": "random ranking",
    "weight_magnitude": "weight magnitude",
}


def method_label(record: Record) -> str:
    """The method in words, with its direction where it has one."""
    method, direction = str(record.get("method")), record.get("direction")
    return METHODS.get(method, method.replace("_", " ")) + (f", {direction}" if direction else "")


def parts(record: Record) -> str:
    """``2 origin against 37 inert parts``: over how many parts a score is taken."""
    return (
        f"{decimal(record.get('origin'))} origin against {decimal(record.get('inert'))} inert parts"
    )


def told_of(record: Record, metric: str) -> Told | None:
    """A score of the ranking; its n is the number of parts ranked where none is recorded."""
    told = Told.of(record, metric)
    if told is None or told.n is not None:
        return told
    sizes = [record.get("origin"), record.get("inert")]
    return replace(told, n=sum(sizes) if all(isinstance(x, int) for x in sizes) else None)


def _first(records: Sequence[Record]) -> tuple[list[Record], list[int]]:
    """The rankings of the first seed, and all seeds; the scoreboard is for several."""
    found = need(records, "localisation")
    seeds = sorted({r.seed for r in found})
    return [r for r in found if r.seed == seeds[0]], seeds


def _of(seeds: Sequence[int]) -> str:
    return f", the first of {len(seeds)}" if len(seeds) > 1 else ""


def draw(records: Sequence[Record]) -> go.Figure:
    """One row a method: precision at size, recall, AUROC and AUPRC."""
    found, seeds = _first(records)
    rows = []
    for r in found:
        forwards, seconds = r.get("forwards"), r.get("seconds_cost")
        cost = (
            f"{decimal(forwards)} forwards, {decimal(seconds, 2)} s" if forwards else "no forwards"
        )
        rows.append(Row((f"{method_label(r)}  {grey(cost)}",), lanes=4))
    text = sum(LINE + GAP + 3 for _ in rows)
    close = max(4.5, min(LANE, (TALLEST - text) / (4 * len(rows)))) if look().paper else LANE
    page = sheet(rows, ["score (0 to 1)"], span=(-0.03, 1.03), lane=close)
    for name, mark in METRICS.items():
        page.dots([(i, method_label(r), told_of(r, name)) for i, r in enumerate(found)], mark)
    sizes = "; ".join(dict.fromkeys(parts(r) for r in found))
    told = [Told.of(r, m) for r in found for m in METRICS]
    whose = (
        "" if all(t is None or t.lo is not None for t in told) else " No bar: one exact ranking."
    )
    return finish(
        page.fig,
        title="Does the ranking find what was planted?",
        caption=f"{sizes}. Seed {seeds[0]}{_of(seeds)}. {hows(told)}{whose}",
        alt=f"Localisation scores of {len(found)} rankings of the parts.",
        height=page.height,
    )


def table(records: Sequence[Record]) -> list[Line]:
    """Every score, over how many parts, and what the ranking cost."""
    found = []
    for r in _first(records)[0]:
        about = {"organism": r.organism, "seed": r.seed, "method": method_label(r)}
        cost = {name: r.get(name) for name in ("origin", "inert", "forwards")}
        for name, mark in METRICS.items():
            if told := told_of(r, name):
                found.append({**about, "measure": mark.name, **estimate(told), **cost})
    return found
