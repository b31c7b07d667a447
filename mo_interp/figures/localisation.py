"""How well each method finds the planted circuit: origin against inert parts, beside chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import plotly.graph_objects as go

from mo_interp.figures._house import (
    BLUE,
    GREEN,
    ORANGE,
    VERMILLION,
    Mark,
    Row,
    finish,
    grey,
    hows,
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


def draw(records: Sequence[Record]) -> go.Figure:
    """One row a method: precision at size, recall, AUROC and AUPRC."""
    found = need(records, "localisation")
    several = len({r.seed for r in found}) > 1
    rows = []
    for r in found:
        forwards, seconds = r.get("forwards"), r.get("seconds_cost")
        cost = (
            f"{decimal(forwards)} forwards, {decimal(seconds, 2)} s" if forwards else "no forwards"
        )
        label = method_label(r) + (f", seed {r.seed}" if several else "")
        rows.append(Row((f"{label}  {grey(cost)}",), lanes=4))
    page = sheet(rows, ["score (0 to 1)"], span=(-0.03, 1.03))
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
        caption=f"{sizes}. {hows(told)}{whose}",
        alt=f"Localisation scores of {len(found)} rankings of the parts.",
        height=page.height,
    )


def table(records: Sequence[Record]) -> list[Line]:
    """Every score, over how many parts, and what the ranking cost."""
    found = []
    for r in need(records, "localisation"):
        about = {"organism": r.organism, "seed": r.seed, "method": method_label(r)}
        cost = {name: r.get(name) for name in ("origin", "inert", "forwards")}
        for name, mark in METRICS.items():
            if told := told_of(r, name):
                found.append({**about, "measure": mark.name, **estimate(told), **cost})
    return found
