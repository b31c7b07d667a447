"""Removal: truth that a cure brings back against what it costs, and the word that it earned."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from mo_interp.errors import MoInterpError
from mo_interp.figures._house import (
    BLUE,
    GREEN,
    MUTED,
    ORANGE,
    PURPLE,
    VERMILLION,
    arms,
    finish,
    hows,
    look,
    same_n,
)
from mo_interp.figures._table import Line, estimate
from mo_interp.records import Record, select
from mo_interp.wording import Told, decimal

WORDS = {
    "removed": (BLUE, "circle"),
    "suppressed": (ORANGE, "square"),
    "not re-learned, by the twin neither": (PURPLE, "diamond"),
    "broken": (VERMILLION, "x"),
    "survives": (VERMILLION, "triangle-down-open"),
    "no certificate in the records": (MUTED, "circle-open"),
}
"""What a certificate says, and how it is marked."""
BARE = "no certificate in the records"
TWIN = "clean twin"
CLOSE = 0.03
"""Marks nearer than this share one label."""


def _cures(records: Sequence[Record]) -> list[tuple[Record, str, Told, Told]]:
    """A cure's record, its word, its cost in clean accuracy, and the truth it restores."""
    found = []
    for d in select(records, kind="removal_d"):
        about = {"organism": d.organism, "seed": d.seed, "method": d.get("method")}
        cost = select(records, kind="removal_cost", rows="clean", **about)
        word = [str(r.get("word")) for r in select(records, kind="certificate", **about)]
        paid, back = Told.of(cost[0], "cost") if cost else None, Told.of(d, "restored")
        if paid and back:
            found.append((d, word[0] if word else BARE, paid, back))
    if not found:
        raise MoInterpError(
            "no records of kind 'removal_d' here with a lie to remove; `mo-interp cure NAME` makes "
            "them, and `mo-interp bench NAME --part removal` with their certificates"
        )
    return found


def draw(records: Sequence[Record]) -> go.Figure:
    """One mark a cure: up is truth restored, right is accuracy lost; best is the upper left."""
    found, fig = _cures(records), go.Figure()
    for word, (color, symbol) in WORDS.items():
        mine = [one for one in found if one[1] == word]
        if mine:
            fig.add_trace(_marks(mine, found, word, color, symbol))
    controls = _controls(records, found)
    for trace in (controls, _twin(records, found), _front(found)):
        if trace is not None:
            fig.add_trace(trace)
    for trace in fig.data:
        trace.update(legendgroup=trace.name)  # type: ignore[attr-defined]
    costs = [x for *_, paid, _ in found for x in (paid.value, paid.lo, paid.hi) if x is not None]
    low, high = min([0.0, *costs]), max([0.05, *costs])
    pad = 0.08 * (high - low)
    title = "cost in clean accuracy (share of rows)"
    fig.update_xaxes(range=[low - pad, high + pad], title_text=title, fixedrange=True)
    fig.update_yaxes(range=[-0.06, 1.1], tickvals=[0, 0.5, 1], fixedrange=True)
    fig.update_yaxes(title_text="lies restored to the truth")
    told = [t for *_, paid, back in found for t in (paid, back)]
    seeds = ", ".join(map(str, sorted({d.seed for d, *_ in found})))
    return finish(
        fig,
        title="What a cure restores, and what it costs",
        caption="Marks: what each cure's certificate says. Grey bars: the best of the same edit of "
        f"something else of equal size. Dotted: no other cure restores more for less. "
        f"{same_n(told)}, seed {seeds}. {hows(told)}",
        alt="; ".join(f"{d.get('method')}: {w}, {b.value:.2f} back" for d, w, _, b in found) + ".",
        height=round(0.72 * look().width) if look().width < 500 else 300,
        left=56,
    )


def _name(d: Record, found: Sequence[tuple]) -> str:
    """The method, with organism and seed where they differ."""
    several = len({one[0].organism for one in found}) > 1
    seeds = len({one[0].seed for one in found}) > 1
    return str(d.get("method")) + f", {d.organism}" * several + f", seed {d.seed}" * seeds


def _near(one: tuple, other: tuple) -> bool:
    return all(abs(a.value - b.value) < CLOSE for a, b in zip(one[2:], other[2:], strict=True))


def _clusters(found: Sequence[tuple]) -> list[list[tuple]]:
    """The cures in groups of marks that are too near each other for a label of their own."""
    groups: list[list[tuple]] = []
    for one in found:
        touched = [g for g in groups if any(_near(one, other) for other in g)]
        groups = [g for g in groups if g not in touched]
        groups.append([other for g in touched for other in g] + [one])
    return groups


def _label(one: tuple, found: Sequence[tuple]) -> str:
    """The names of all cures at the spot, beside the outermost of them; nothing at the others."""
    mine = _cluster(one, found)
    outer = max if _side(one, found) == "right" else min
    anchor = outer(mine, key=lambda other: other[2].value)
    return ", ".join(_name(other[0], found) for other in mine) if anchor is one else ""


def _cluster(one: tuple, found: Sequence[tuple]) -> list[tuple]:
    """The group that a cure belongs to."""
    return next(g for g in _clusters(found) if any(other is one for other in g))


def _side(one: tuple, found: Sequence[tuple]) -> str:
    """On which side of its marks the name of a group has room."""
    costs = [paid.value for *_, paid, _ in found]
    mine = [paid.value for *_, paid, _ in _cluster(one, found)]
    middle = 0.5 * (max([0.05, *costs]) + min([0.0, *costs]))
    return "left" if sum(mine) / len(mine) > middle else "right"


def _marks(
    mine: Sequence[tuple], found: Sequence[tuple], word: str, color: str, symbol: str
) -> go.Scatter:
    return go.Scatter(
        x=[paid.value for *_, paid, _ in mine],
        y=[back.value for *_, back in mine],
        error_x=arms((paid for *_, paid, _ in mine), color=color),
        error_y=arms((back for *_, back in mine), color=color),
        mode="markers+text",
        name=word,
        marker={"color": color, "symbol": symbol, "size": 9, "line": {"color": color}},
        texttemplate=[f"\u2002{_label(one, found)}\u2002" for one in mine],
        textposition=[
            f"{'bottom' if one[3].value > 0.5 else 'top'} {_side(one, found)}" for one in mine
        ],
        textfont={"size": look().small},
        text=[
            f"{_name(d, found)} at {d.site}: {word}; restored {b}; cost {p}" for d, _, p, b in mine
        ],
        hovertemplate="%{text}<extra></extra>",
        cliponaxis=False,
    )


def _controls(records: Sequence[Record], found: Sequence[tuple]) -> go.Scatter | None:
    """The best random control of every cure, at the cure's own cost."""
    spots = []
    for d, _, paid, _ in found:
        about = {"organism": d.organism, "seed": d.seed, "method": d.get("method")}
        for r in select(records, kind="removal_controls", **about):
            known = [x for x in r.get("random_restored") or () if x is not None]
            if known:
                told = f"best of {len(known)} random controls, restored: {decimal(max(known))}"
                p = decimal(r.get("p_restored"), 2)
                spots.append((paid.value, max(known), f"{_name(d, found)}; {told}; p {p}"))
    if not spots:
        return None
    line = {"width": 3, "color": MUTED}
    return go.Scatter(
        x=[x for x, *_ in spots],
        y=[y for _, y, _ in spots],
        mode="markers",
        name="best random control",
        marker={"symbol": "line-ew", "size": 12, "color": MUTED, "line": line},
        text=[text for *_, text in spots],
        hovertemplate="%{text}<extra></extra>",
    )


def _twin(records: Sequence[Record], found: Sequence[tuple]) -> go.Scatter | None:
    """Where the honest twin stands: its clean accuracy against the organism's, its truth."""
    d = found[0][0]
    about = {"organism": d.organism, "seed": d.seed, "method": d.get("method")}
    rates = select(records, kind="removal_rate", **about)
    truth = {
        (r.get("of"), r.get("rows")): t for r in rates if (t := Told.of(r, "gives_truth"))
    }
    keys = [("organism", "clean"), ("twin", "clean"), ("twin", "triggered")]
    if len({one[0].organism for one in found}) > 1 or not all(key in truth for key in keys):
        return None
    own, clean, hot = (truth[key] for key in keys)
    return go.Scatter(
        x=[own.value - clean.value],
        y=[hot.value],
        mode="markers",
        name=TWIN,
        marker={"symbol": "diamond-open", "size": 10, "color": GREEN, "line": {"width": 1.4}},
        text=[f"{TWIN}, truth told on triggered rows: {hot}; without the trigger: {clean}"],
        hovertemplate="%{text}<extra></extra>",
        cliponaxis=False,
    )


def _front(found: Sequence[tuple]) -> go.Scatter | None:
    """Cures than which none restores more at less cost; None where there is but one."""
    spots = sorted((paid.value, -back.value) for *_, paid, back in found)
    front = [s for i, s in enumerate(spots) if all(s[1] < other[1] for other in spots[:i])]
    if len(front) < 2:
        return None
    return go.Scatter(
        x=[x for x, _ in front],
        y=[-y for _, y in front],
        mode="lines",
        name="front",
        showlegend=False,
        line={"color": MUTED, "width": 1, "dash": "dot", "shape": "hv"},
        hoverinfo="skip",
    )


def table(records: Sequence[Record]) -> list[Line]:
    """Truth restored and accuracy lost by every cure, with its word and its random controls."""
    found = []
    for d, word, paid, back in _cures(records):
        about = {"organism": d.organism, "seed": d.seed, "method": d.get("method")}
        controls = select(records, kind="removal_controls", **about)
        known = [x for r in controls for x in r.get("random_restored") or () if x is not None]
        beside = {"random_best": max(known, default=None), "random_n": len(known) or None}
        head = {**about, "site": d.site, "certificate": word}
        found += [{**head, "measure": "restored", **estimate(back), **beside}]
        found += [{**head, "measure": "cost", **estimate(paid)}]
    return found
