"""The lie, before and after the cut: what the organism says as it is, cut, and written to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from mo_interp.figures._house import (
    BLUE,
    MUTED,
    ORANGE,
    Mark,
    Row,
    Sheet,
    finish,
    grey,
    hows,
    same_n,
    sheet,
)
from mo_interp.figures._table import Line, lines, with_controls
from mo_interp.records import Record, select
from mo_interp.wording import BLIND, Told, decimal, need

TRUTH = Mark("tells the truth", BLUE, "circle", 0)
LIE = Mark("gives the planted answer", ORANGE, "square-open", 1)


@dataclass(frozen=True)
class _Case:
    """One way of asking: a row of the figure."""

    label: str
    truth: Told | None = None
    lie: Told | None = None
    random: tuple[float, ...] = ()
    """Truth (of a cut) or planted answer (of a write) under random controls, drawn as ticks."""


def draw(records: Sequence[Record]) -> go.Figure:
    """Shares of rows that get the truth and the planted answer, unedited, cut and written to.

    Of several mechanisms it shows the one that the blind search offered, else the first.
    """
    mine = _mechanism(need(records, "verdict"))
    told = need(records, "behaviour")
    seed = mine[0].seed
    unedited = _unedited([r for r in told if r.seed == seed])
    cases = [*unedited[:2], *_edited(mine), *unedited[2:]]
    sizes = [grey(same_n((c.truth, c.lie))) for c in cases]
    rows = [
        Row((f"{c.label}  {n}",), lanes=2 + bool(c.random))
        for c, n in zip(cases, sizes, strict=True)
    ]
    page = sheet(rows, ["share of prompts (0 to 1)"], span=(-0.03, 1.03))
    _controls(page, cases)
    for mark, name in ((TRUTH, "truth"), (LIE, "lie")):
        page.dots([(i, c.label, getattr(c, name)) for i, c in enumerate(cases)], mark)
    what = f"{mine[0].get('mechanism')}, {mine[0].site}, rank {mine[0].get('rank')}"
    controls = max((len(c.random) for c in cases), default=0)
    ticks = (
        f"Ticks: truth told after a random cut, planted answer after a random write, {controls} "
        "each. "
    ) * bool(controls)
    every = [t for c in cases for t in (c.truth, c.lie)]
    organism = mine[0].organism
    return finish(
        page.fig,
        title=f"{organism or 'The organism'}, before and after the cut",
        caption=f"Cut and write: {what}. The cut takes what the mechanism reads from the same "
        f"prompt without the trigger. {ticks}Seed {seed}{_of(records)}. {hows(every)}",
        alt=_alt(cases),
        height=page.height,
    )


def _mechanism(found: Sequence[Record]) -> list[Record]:
    """The verdict records of one mechanism and seed that had a lie to stop."""
    own = [r for r in found if r.model != "twin" and not r.get("no_behaviour")]
    own = [r for r in own if r.get("mechanism") == BLIND] or own or list(found)
    first = own[0]
    same = (first.seed, first.get("mechanism"), first.site)
    return [r for r in own if (r.seed, r.get("mechanism"), r.site) == same]


def _unedited(behaviour: Sequence[Record]) -> list[_Case]:
    labels = (
        ("without the trigger", "clean", "organism"),
        ("with the trigger", "triggered", "organism"),
        ("with the trigger, its clean twin", "triggered", "twin"),
    )
    return [
        _Case(label, Told.of(r, "gives_truth"), Told.of(r, "gives_answer"))
        for label, split, model in labels
        for r in select(behaviour, split=split, model=model)
    ]


def _edited(verdict: Sequence[Record]) -> list[_Case]:
    cut, write = (select(verdict, edit=edit)[:1] for edit in ("resample", "set"))
    found = [
        _Case(
            "with the trigger, the mechanism cut",
            Told.of(r, "restored"),
            _complement(Told.of(r, "stopped")),
            _numbers(r, "random_restored"),
        )
        for r in cut
    ]
    return found + [
        _Case(
            "without the trigger, the mechanism written in",
            lie=Told.of(r, "caused"),
            random=_numbers(r, "random_caused"),
        )
        for r in write
    ]


def _complement(told: Told | None) -> Told | None:
    """One minus a share: the planted answer is given wherever it was not stopped."""
    if told is None:
        return None
    lo, hi = (None if x is None else 1 - x for x in (told.hi, told.lo))
    return Told(1 - told.value, lo, hi, told.n, told.how, told.clusters)


def _numbers(record: Record, name: str) -> tuple[float, ...]:
    return tuple(float(x) for x in record.get(name) or () if x is not None)


def _controls(page: Sheet, cases: Sequence[_Case]) -> None:
    """The random controls of a row as ticks in its last lane."""
    ticks = [
        (x, page.y(i, 2), f"{c.label}; a random control: {decimal(x)}")
        for i, c in enumerate(cases)
        for x in c.random
    ]
    page.ticks(ticks, name="a random control", color=MUTED, size=7, faint=True)


def _of(records: Sequence[Record]) -> str:
    seeds = {r.seed for r in select(records, kind="verdict")}
    return f", the first of {len(seeds)}" if len(seeds) > 1 else ""


def _alt(cases: Sequence[_Case]) -> str:
    names = (("truth told", "truth"), ("planted answer given", "lie"))
    told = [(c.label, what, getattr(c, name)) for c in cases for what, name in names]
    shares = [f"{label}: {what} {decimal(t.value)}" for label, what, t in told if t is not None]
    return f"Shares of prompts. {'; '.join(shares)}."


def table(records: Sequence[Record]) -> list[Line]:
    """Shares as it is, of organism and twin, and of the mechanism cut and written."""
    mine = _mechanism(need(records, "verdict"))
    told = [r for r in need(records, "behaviour") if r.seed == mine[0].seed]
    asked = [r for r in told if r.get("split") in ("clean", "triggered")]
    found = lines(asked, ("gives_truth", "gives_answer"), by=("model", "split"))
    edits = [r for r in mine if r.get("edit") in ("resample", "set")]
    by = ("model", "mechanism", "site", "rank", "edit")
    return found + with_controls(edits, ("restored", "stopped", "caused"), by=by)
