"""The circuit: layers by positions, every part that was patched, as large as its effect.

A column is a role (the trigger's word, the answer ...) at which something matters; a row is a part,
in layers from the bottom up. In each column the residual stream runs upwards: heads flow into the
attention's output, that and the MLP's into the stream. A line is as wide as the effect of the part
it leaves, a stretch of stream as wide as the smaller effect of its ends. No line joins two columns,
since a sweep measures places and not the paths between them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mo_interp.errors import MoInterpError
from mo_interp.figures._house import BAND, BLUE, INK, MUTED, PAPER, ZERO, finish, hows, look, same_n
from mo_interp.figures._table import Line, lines
from mo_interp.records import Record, select
from mo_interp.swept import MATTERS, ROLES, STREAM, Part, bare, by_role, once, standing, strongest
from mo_interp.wording import Told, decimal, need

DIRECTIONS = {"denoising": "clean into triggered", "noising": "triggered into clean"}
MARKS = (
    ("a head", "circle", ("z",)),
    ("attention", "square", ("attn_out",)),
    ("MLP", "diamond", ("mlp_out",)),
    ("residual stream", "line-ew", STREAM),
)
"""Name, symbol, and the kinds of parts that it stands for."""
RINGS = {"origin": ("origin", "square-open", 2.0), "mediators": ("mediator", "circle-open", 1.4)}
"""What the circuit's records say of a part, and how it is outlined."""
HIGH, LOW, AIR = 16, 11, 9
"""Pixels: a part's line, the line of other heads, the room around a cut of the stream."""
CELL, APART, BETWEEN = 54, 60, 50
"""Pixels: the least width of a role, and from one direction to the next, across and down."""
OUT = {"z": 22.0, "attn_out": 11.0, "mlp_out": 11.0}
"""Pixels from the stream to a part."""
LEFT, RIGHT, ABOVE, BELOW, RING, WIDE, TALLEST = 52, 8, 20, 26, 6.5, 6.0, 500
Key = tuple[int, str, int]
"""Layer, kind and head: one line of the drawing."""
Spot = tuple[float, float]


def parts(records: Sequence[Record]) -> list[Part]:
    """The sweep's parts at one role and one layer, of the first seed, with their standing."""
    swept = need(records, "sweep")
    seed = min(r.seed for r in swept)
    known = select(records, kind="circuit", seed=seed)
    found = [r for r in by_role(swept) if r.seed == seed]
    if not found:
        raise MoInterpError(
            "this sweep is not by role, so there is no graph of it; `mo-interp run NAME` patches "
            "every part at every role"
        )
    return [Part(r, standing(r, known)) for r in found]


# ------------------------------------------------------------------------------------- where


@dataclass(frozen=True)
class _Plan:
    """Where roles and parts are drawn, in pixels from the lower left."""

    roles: tuple[str, ...]
    column: float
    """Width of a role."""
    heights: Mapping[Key, float]
    """Height of every cut of the stream, and of every part with a line of its own."""
    rest: Mapping[int, float]
    """Height, by layer, of the line of heads that matter nowhere."""
    tops: Mapping[int, float]
    """The upper edge of every layer."""

    @property
    def high(self) -> float:
        """Of one direction's drawing."""
        return max(self.tops.values())

    @property
    def wide(self) -> float:
        """Of one direction's drawing."""
        return self.column * len(self.roles)

    def stream(self, role: str) -> float:
        """The stream of a role."""
        return self.column * self.roles.index(role) + 12

    def at(self, part: Part) -> tuple[float, float]:
        """The middle of a part."""
        layer, kind, head = part.key
        x = self.stream(part.role) + OUT.get(kind, 0.0)
        if part.key in self.heights:
            return x, self.heights[part.key]
        own = {k[2] for k in self.heights if k[:2] == (layer, "z")}
        place = sum(other not in own for other in range(head))
        return x + RING * place, self.rest[layer]


def _plan(found: Sequence[Part], shown: Sequence[str], room: float) -> _Plan:
    """Parts that matter have a line each, the same for all roles; other heads share one."""
    layers = sorted({p.key[0] for p in found})
    heights, rest, tops, at = {}, {}, {}, 0.0
    for layer in layers:
        mine = {p.key for p in found if p.key[0] == layer}
        own = sorted({p.key for p in found if p.key in mine and p.matters and p.kind == "z"})
        at += AIR
        if layer == layers[0]:
            heights[layer, "resid_pre", -1] = at - AIR / 2
        if len(own) < sum(key[1] == "z" for key in mine):
            rest[layer] = at + LOW / 2
            at += LOW
        for key in [*reversed(own), (layer, "attn_out", -1), (layer, "mlp_out", -1)]:
            if key in mine:
                heights[key] = at + HIGH / 2
                at += HIGH
            if key[1] != "z":
                cut = "resid_mid" if key[1] == "attn_out" else "resid_post"
                heights[layer, cut, -1] = at + AIR / 2
                at += AIR
        tops[layer] = at
    return _Plan(tuple(shown), room / len(shown), heights, rest, tops)


def _shown(found: Sequence[Part], fits: int) -> list[str]:
    """The roles at which something matters: the strongest, as many as fit, in their order."""
    most = {p.role: 0.0 for p in found}
    for p in found:
        most[p.role] = max(most[p.role], abs(p.effect))
    ranked = sorted(most, key=lambda role: -most[role])
    strong = [role for role in ranked if most[role] >= MATTERS] or ranked[:1]
    return sorted(strong[:fits], key=lambda role: (ROLES.index(bare(role)), role))


# ------------------------------------------------------------------------------------- drawing


def draw(records: Sequence[Record]) -> go.Figure:
    """One panel a direction: under each other in a column, beside each other on a page."""
    found = once(parts(records))
    directions = [d for d in DIRECTIONS if any(_towards(p, d) for p in found)]
    beside = len(directions) if look().width > 500 else 1
    room = (look().width - LEFT - RIGHT - APART * (beside - 1)) / beside
    shown = _shown(found, max(1, int(room // CELL)))
    plan = _plan(found, shown, room)
    if beside == 1 and 2 * plan.high > TALLEST:
        directions = directions[:1]
    fig, high = _panels(directions, plan, beside)
    for i, direction in enumerate(directions):
        mine = [p for p in found if _towards(p, direction) and p.role in shown]
        row, col = i // beside + 1, i % beside + 1
        _lines(fig, mine, plan, row, col)
        _marks(fig, mine, plan, (row, col), legend=i == 0)
    return finish(
        fig,
        title="The circuit, as patching finds it",
        caption=_caption(records, found, shown, directions),
        alt=f"Graph of the parts that matter at {', '.join(shown)}, {' and '.join(directions)}. "
        f"{strongest(found)}",
        height=round(high),
        left=LEFT,
        right=RIGHT,
        above=ABOVE,
        below=BELOW,
    )


def _towards(part: Part, direction: str) -> bool:
    return part.record.get("direction") == direction


def _panels(directions: Sequence[str], plan: _Plan, beside: int) -> tuple[go.Figure, float]:
    """Empty panels under their heads, and how high they are together."""
    rows = -(-len(directions) // beside)
    high = plan.high * rows + BETWEEN * (rows - 1)
    fig = make_subplots(
        rows=rows,
        cols=beside,
        vertical_spacing=BETWEEN / high if rows > 1 else 0,
        horizontal_spacing=APART / (look().width - LEFT - RIGHT) if beside > 1 else 0,
        subplot_titles=[f"<b>{d}</b>, {DIRECTIONS[d]}" for d in directions],
    )
    fig.update_annotations(font={"size": look().small})
    plain = {"showgrid": False, "zeroline": False, "ticks": "", "fixedrange": True}
    words = {"z": "H", "attn_out": "attn", "mlp_out": "MLP"}
    named = {y: f"L{k[0]} {words[k[1]]}{k[2] if k[1] == 'z' else ''}"
             for k, y in plan.heights.items() if k[1] in words}  # fmt: skip
    own = {layer for layer, kind, _ in plan.heights if kind == "z"}
    named |= {y: f"L{k} {'others' if k in own else 'heads'}" for k, y in plan.rest.items()}
    fig.update_yaxes(
        range=[0, plan.high], tickvals=list(named), ticktext=list(named.values()), **plain
    )
    roles = [role.replace("_", " ") for role in plan.roles]
    at = [plan.stream(role) + 10 for role in plan.roles]
    fig.update_xaxes(range=[0, plan.wide], tickvals=at, ticktext=roles, **plain)
    return fig, high


def _lines(fig: go.Figure, mine: Sequence[Part], plan: _Plan, row: int, col: int) -> None:
    """A band for every other layer; streams, and lines from the parts into them."""
    edges = [0.0, *plan.tops.values()]
    for low, high in list(zip(edges, edges[1:], strict=False))[::2]:
        box = {"x0": 0, "x1": plan.wide, "y0": low, "y1": high, "line": {"width": 0}}
        fig.add_shape(type="rect", fillcolor=ZERO, layer="below", **box, row=row, col=col)
    for (x0, y0), (x1, y1), effect in _edges(mine, plan):
        on = abs(effect) >= MATTERS
        line = {"width": 0.8 + WIDE * min(1.0, abs(effect)), "color": BLUE if on else BAND}
        line |= {"dash": "dot"} if on and effect < 0 else {}
        ends = {"x0": x0, "y0": y0, "x1": x1, "y1": y1}
        fig.add_shape(type="line", line=line, opacity=0.45, layer="below", **ends, row=row, col=col)


def _edges(mine: Sequence[Part], plan: _Plan) -> list[tuple[Spot, Spot, float]]:
    """Both ends of every line, and the effect that it is as wide as."""
    found = []
    for role in plan.roles:
        path = [(*plan.at(p), p.effect) for p in mine if p.role == role and p.kind in STREAM]
        path.sort(key=lambda cut: cut[1])
        for low, high in zip(path, path[1:], strict=False):
            found.append((low[:2], high[:2], min(low[2], high[2], key=abs)))
    into = {(p.role, p.key[0]): plan.at(p) for p in mine if p.kind == "attn_out"}
    for p in mine:
        if p.kind in STREAM:
            continue
        joins = (plan.stream(p.role), plan.at(p)[1] + HIGH / 2 + AIR / 2)
        if p.kind == "z":
            joins = into.get((p.role, p.key[0]), joins)
        found.append((plan.at(p), joins, p.effect))
    return found


def _marks(
    fig: go.Figure, mine: Sequence[Part], plan: _Plan, place: tuple[int, int], *, legend: bool
) -> None:
    """A mark for every part, those that matter with their number; outlines around what is known."""
    strong, (row, col) = [p for p in mine if p.matters], place
    for name, symbol, kinds in MARKS:
        here = [p for p in strong if p.kind in kinds]
        if here:
            trace = _scatter(here, plan, name, legend=legend)
            size, line = [_size(p) for p in here], {"width": 1.4, "color": BLUE}
            marker = {"symbol": symbol, "color": BLUE, "size": size, "line": line, "opacity": 1}
            trace.update(marker=marker, mode="markers+text", textposition="middle right")
            fig.add_trace(trace, row=row, col=col)
    weak = [p for p in mine if not p.matters]
    if weak:
        trace = _scatter(weak, plan, f"below {MATTERS:g}", legend=legend)
        line = {"width": 0.8, "color": MUTED}
        marker = {"symbol": "circle", "color": PAPER, "size": 4.5, "line": line, "opacity": 1}
        fig.add_trace(trace.update(marker=marker), row=row, col=col)
    for word, (name, symbol, thick) in RINGS.items():
        outlined = [p for p in mine if p.standing == word]
        if outlined:
            trace = _scatter(outlined, plan, name, legend=legend)
            size = [max(_size(p), 4.5) + 6 for p in outlined]
            line = {"width": thick, "color": INK}
            marker = {"symbol": symbol, "color": INK, "size": size, "line": line, "opacity": 1}
            fig.add_trace(trace.update(marker=marker), row=row, col=col)


def _scatter(shown: Sequence[Part], plan: _Plan, name: str, *, legend: bool) -> go.Scatter:
    """Parts at their places, each with its words; ``customdata`` holds the effects."""
    at = [plan.at(p) for p in shown]
    return go.Scatter(
        x=[x for x, _ in at],
        y=[y for _, y in at],
        mode="markers",
        opacity=1.0,
        name=name,
        legendgroup=name,
        showlegend=legend,
        customdata=[p.effect for p in shown],
        text=[p.words for p in shown],
        texttemplate=[f" {decimal(p.effect, 2)}" if p.kind in OUT else "" for p in shown],
        textfont={"size": look().small},
        hovertemplate="%{text}<extra></extra>",
        cliponaxis=False,
    )


def _size(part: Part) -> float:
    """Of a mark: its area grows with the effect."""
    if part.kind in STREAM:
        return 9.0
    return (4.5 + 7 * math.sqrt(min(1.0, abs(part.effect)))) if part.matters else 4.5


# ----------------------------------------------------------------------------- caption and table


def _caption(
    records: Sequence[Record],
    found: Sequence[Part],
    shown: Sequence[str],
    directions: Sequence[str],
) -> str:
    told = [t for p in found if (t := Told.of(p.record, "effect"))]
    seed = min(p.record.seed for p in found)
    seeds = sorted({r.seed for r in select(records, kind="sweep")})
    only = f", seed {seed}" + (f", the first of {len(seeds)}" if len(seeds) > 1 else "")
    return " ".join(
        [
            "A part and the line that leaves it are as large as its effect, the share of the logit "
            f"difference that moves when it alone is patched ({same_n(told)} pairs{only}). The "
            "residual stream runs upwards. Dotted: moved the wrong way.",
            *_absent(found, shown, directions),
            *_known(records, found, seed),
            hows(told).replace("Bars: 95 % intervals", "In the table: 95 % intervals"),
        ]
    )


def _absent(
    found: Sequence[Part], shown: Sequence[str], directions: Sequence[str]
) -> list[str]:
    """Which roles and which direction stand in the table alone, and why."""
    out = [p for p in found if p.role not in shown]
    weak = {p.role: None for p in out} if not any(p.matters for p in out) else {}
    strong = {p.role: None for p in out if p.matters}
    weak |= {p.role: None for p in out if p.role not in strong}
    names = [", ".join(roles).replace("_", " ") for roles in (weak, strong)]
    told = [f"Nothing reaches {MATTERS:g} at {names[0]}."] if weak else []
    rest = [d for d in DIRECTIONS if d not in directions and any(_towards(p, d) for p in found)]
    rest = [*([names[1]] if strong else []), *rest]
    return told + [f"In the table alone, for want of room: {'; '.join(rest)}."] * bool(rest)


def _known(records: Sequence[Record], found: Sequence[Part], seed: int) -> list[str]:
    """What the outlines are, where there are any."""
    if not any(p.standing for p in found):
        return ["No circuit is known, so nothing is outlined."]
    grade = str(select(records, kind="circuit", seed=seed)[0].get("grade"))
    how = "found by the exhaustive sweep itself" if grade == "measured" else f"{grade}, so known"
    return [f"Boxed: the circuit's origin ({how}); ringed: its mediators."]


def table(records: Sequence[Record]) -> list[Line]:
    """Every part at every role in both directions, and what is known of it."""
    by = ("site", "role", "direction", "unchanged")
    return [
        {**line, "circuit": p.standing, "drawn in full": p.matters}
        for p in parts(records)
        for line in lines([p.record], ("effect",), by=by)
    ]
