"""The circuit view: layers by positions, every part that was patched, as large as its effect.

Drawn from the sweep's records as inline SVG, with words for every part, and a table beneath. A
column is a role (the trigger's word, the answer's position ...), a row is a layer, read from the
bottom up. In each cell the residual stream runs upwards; heads flow into the attention's output,
and that and the MLP's into the stream. A line is as thick as the effect of the part it leaves; a
stretch of stream as thick as the smaller effect of its ends. No line joins two columns: a sweep
measures places, and not the paths between them.

What the circuit's records call origin or mediator is outlined.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from mo_interp.records import Record, select
from mo_interp.report.page import Page
from mo_interp.report.pieces import est, prose, row, table
from mo_interp.swept import MATTERS, ROLES, STREAM, Part, bare, by_role, once, standing, strongest
from mo_interp.wording import Told, decimal

__all__ = ["DIRECTIONS", "circuit_view", "drawing"]

DIRECTIONS = {
    "denoising": "clean into triggered: is the truth restored?",
    "noising": "triggered into clean: does the lie appear?",
}
HEADS_A_LINE, STEP, LEFT, TOP, BOTTOM = 4, 34, 70, 26, 46
ATTENTION, MLP, HEADS = 46, 46, 40
"""Pixels of height for a line of the attention's output, of the MLP, and of heads."""


@dataclass(frozen=True)
class _Part(Part):
    """A swept part at a role, and where it is drawn."""

    x: float
    y: float


@dataclass(frozen=True)
class _Plan:
    """How large the drawing is, and where its columns and layers are."""

    roles: tuple[str, ...]
    layers: tuple[int, ...]
    heads: int

    @property
    def column(self) -> int:
        """Width of a column."""
        return 62 + STEP * min(max(self.heads, 1), HEADS_A_LINE)

    @property
    def layer(self) -> int:
        """Height of a layer."""
        lines = math.ceil(self.heads / HEADS_A_LINE)
        return ATTENTION + MLP + HEADS * lines + 22

    @property
    def width(self) -> int:
        """Of the whole drawing."""
        return LEFT + self.column * len(self.roles) + 8

    @property
    def height(self) -> int:
        """Of the whole drawing."""
        return TOP + self.layer * len(self.layers) + BOTTOM

    def x(self, role: str) -> float:
        """The stream of a column."""
        return LEFT + self.column * self.roles.index(role) + 18

    def base(self, layer: int) -> float:
        """The lower edge of a layer."""
        return TOP + self.layer * (len(self.layers) - self.layers.index(layer))

    def at(self, r: Record) -> tuple[float, float]:
        """The middle of a part."""
        kind, head = str(r.get("kind")), int(r.get("head") or 0)
        x, base = self.x(str(r.get("role"))), self.base(int(r.get("layer")))
        middle = base - self.layer + MLP + 6
        if kind == "z":
            line, place = divmod(head, HEADS_A_LINE)
            return x + 40 + STEP * place, base - 18 - HEADS * line
        if kind == "attn_out":
            return x + 40, middle + ATTENTION - 24
        if kind == "mlp_out":
            return x + 40, base - self.layer + MLP - 10
        heights = {"resid_pre": base, "resid_mid": middle, "resid_post": base - self.layer}
        return x, heights[kind]


def circuit_view(page: Page) -> str:
    """The graph for both directions of patching, its key, and the table."""
    found = page.of("sweep")
    if not found:
        return page.absent("sweep")
    seed = min(r.seed for r in found)
    records = select(page.records, seed=seed)
    drawn = {d: drawing(records, direction=d) for d in DIRECTIONS}
    drawn = {d: svg for d, svg in drawn.items() if svg}
    if not drawn:
        return '<p class="absent">No graph: this sweep is not by role.</p>'
    choice = "".join(
        f'<label><input type="radio" name="direction" value="{d}"'
        f"{' checked' if d == next(iter(drawn)) else ''}> {d}, {DIRECTIONS[d]}</label>"
        for d in drawn
    )
    pictures = "".join(
        f'<div class="drawing" data-direction="{d}"{"" if d == next(iter(drawn)) else " hidden"}>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="Graph, {d}">{svg}</div></div>'
        for d, svg in drawn.items()
    )
    only = f" Seed {seed} only." if page.several else ""
    return (
        f'<h3>The parts that matter</h3><div class="circuit-view" id="circuit-view">'
        f'{_reading(records, only)}<fieldset class="choice"><legend>Direction of patching'
        f"</legend>{choice}</fieldset>{pictures}"
        '<p class="readout" data-readout="circuit">Point at a part, or reach it with the Tab key.'
        f"</p>{_key(records)}{_table(records)}</div>"
    )


def _reading(records: Sequence[Record], only: str) -> str:
    """How to read the graph."""
    told = [t for r in select(records, kind="sweep") if (t := Told.of(r, "effect"))]
    sizes = sorted({t.n for t in told if t.n is not None})
    n = f"n {sizes[0]:,} pairs" if len(sizes) == 1 else "n differs, see the table"
    return (
        f"<p>Columns are positions by role, rows are layers from the bottom up. A part is as large "
        f"as its effect, the share of the logit difference that moves when it alone is patched "
        f"({n}); parts below {MATTERS:g} are small rings without a name. No line joins two "
        f"columns: the sweep measures places, not the paths between them.{only}</p>"
    )


# -------------------------------------------------------------------------------- the drawing


def drawing(records: Sequence[Record], *, direction: str) -> str:
    """One direction as SVG, empty where nothing was swept by role."""
    found = [r for r in by_role(records) if r.get("direction") == direction]
    if not found:
        return ""
    roles = sorted({str(r.get("role")) for r in found}, key=lambda x: (ROLES.index(bare(x)), x))
    heads = [int(r.get("head")) for r in found if r.get("kind") == "z"]
    layers = tuple(sorted({int(r.get("layer")) for r in found}))
    plan = _Plan(tuple(roles), layers, max(heads, default=-1) + 1)
    parts = once([_Part(r, standing(r, records), *plan.at(r)) for r in found])
    alt = (
        f"Graph of {len(parts)} parts at {len(roles)} roles in {len(layers)} layers, {direction}. "
        f"{strongest(parts)} The table beneath holds every number."
    )
    inside = _frame(plan) + _streams(parts) + _edges(parts, plan) + _nodes(parts)
    return (
        f'<svg class="circuit" viewBox="0 0 {plan.width} {plan.height}" width="{plan.width}" '
        f'height="{plan.height}" role="group" aria-label="{escape(alt)}">{inside}</svg>'
    )


def _frame(plan: _Plan) -> str:
    """Names of the columns and of the layers, and a band for every other layer."""
    out = []
    for i, layer in enumerate(plan.layers):
        base = plan.base(layer)
        if i % 2 == 0:
            out.append(
                f'<rect class="band" x="0" y="{base - plan.layer}" width="{plan.width}" '
                f'height="{plan.layer}"/>'
            )
        out.append(f'<text class="axis" x="8" y="{base - plan.layer / 2}">layer {layer}</text>')
    for role in plan.roles:
        words = {"other": "other words", "near_miss": "near miss"}.get(role, role)
        x, y = plan.x(role), plan.height - 10
        out.append(f'<text class="axis" x="{x - 8}" y="{y}">{escape(words)}</text>')
        out.append(f'<text class="axis small" x="{x - 8}" y="{TOP - 12}">logits</text>')
    return "".join(out)


def _line(a: tuple[float, float], b: tuple[float, float], effect: float) -> str:
    """A line as thick as an effect."""
    wide = 1 + 7 * min(1.0, abs(effect))
    cls = "edge on" if abs(effect) >= MATTERS else "edge"
    return (
        f'<line class="{cls}" x1="{a[0]:g}" y1="{a[1]:g}" x2="{b[0]:g}" y2="{b[1]:g}" '
        f'stroke-width="{wide:.1f}"/>'
    )


def _streams(parts: Sequence[_Part]) -> str:
    """The stream of every column, stretch by stretch from the bottom."""
    out = []
    for role in dict.fromkeys(p.role for p in parts):
        mine = [p for p in parts if p.kind in STREAM and p.role == role]
        mine.sort(key=lambda p: -p.y)
        for low, high in zip(mine, mine[1:], strict=False):
            out.append(_line((low.x, low.y), (high.x, high.y), min(map(abs, _both(low, high)))))
        if mine:
            top = mine[-1]
            out.append(_line((top.x, top.y), (top.x, top.y - 8), top.effect))
    return "".join(out)


def _both(low: _Part, high: _Part) -> tuple[float, float]:
    return low.effect, high.effect


def _edges(parts: Sequence[_Part], plan: _Plan) -> str:
    """From heads into the attention's output, and from there and the MLP into the stream."""
    attention = {_cell(p): p for p in parts if p.kind == "attn_out"}
    out = []
    for p in parts:
        stream = plan.x(p.role)
        if p.kind == "z":
            into = attention.get(_cell(p))
            target = (into.x, into.y) if into else (stream, p.y - 14)
            out.append(_line((p.x, p.y), target, p.effect))
        elif p.kind not in STREAM:
            joins = p.y - (18 if p.kind == "attn_out" else 36)
            out.append(_line((p.x, p.y), (stream, joins), p.effect))
    return "".join(out)


def _cell(p: _Part) -> tuple[str, int]:
    return p.role, p.key[0]


def _nodes(parts: Sequence[_Part]) -> str:
    """Every part with its words; those that matter can be reached with the keyboard."""
    return "".join(map(_node, sorted(parts, key=lambda p: (p.x, -p.y))))


def _node(p: _Part) -> str:
    size = 3 + 9 * math.sqrt(min(1.0, abs(p.effect))) if p.matters else 2.5
    words, name = p.words, ""
    if p.matters and p.kind not in STREAM:
        short = {"z": f"H{p.record.get('head')}", "attn_out": "attn"}.get(p.kind, "MLP")
        beside = size + (10 if p.standing else 4)
        at = f'x="{p.x + beside:g}" y="{p.y + 3.5:g}"'
        if p.kind == "z":
            at = f'class="mid" x="{p.x:g}" y="{p.y + beside + 8:g}"'
        name = f"<text {at}>{short} {decimal(p.effect, 2)}</text>"
    cls = " ".join(
        ["node", "on" if p.matters else "off", *(["minus"] if p.matters and p.effect < 0 else [])]
    )
    reach = 'tabindex="0" role="img"' if p.matters else 'role="img"'
    return (
        f'<g class="{cls}" {reach} aria-label="{escape(words)}" data-said="{escape(words)}">'
        f"<title>{escape(words)}</title>{_outline(p, size)}{_shape(p, size)}{name}</g>"
    )


def _shape(p: _Part, size: float) -> str:
    """A circle for a head, a square for the attention, a diamond for the MLP, a dot of stream."""
    if p.kind == "attn_out":
        box = f'x="{p.x - size:.1f}" y="{p.y - size:.1f}" width="{2 * size:.1f}"'
        return f'<rect {box} height="{2 * size:.1f}"/>'
    if p.kind == "mlp_out":
        size *= 1.2
        corners = ((0, -size), (size, 0), (0, size), (-size, 0))
        return f'<path d="M{" L".join(f"{p.x + x:.1f} {p.y + y:.1f}" for x, y in corners)} Z"/>'
    small = min(size, 5.0) if p.kind in STREAM else size
    return f'<circle cx="{p.x:g}" cy="{p.y:g}" r="{small:.1f}"/>'


def _outline(p: _Part, size: float) -> str:
    """A ring around what is known: whole for the origin, broken for a mediator."""
    if not p.standing:
        return ""
    return f'<circle class="ring {p.standing}" cx="{p.x:g}" cy="{p.y:g}" r="{size + 5:.1f}"/>'


# ------------------------------------------------------------------------------ key and table


def _key(records: Sequence[Record]) -> str:
    """What shapes and outlines mean; an outline only where the circuit is known."""
    known = select(records, kind="circuit")
    shapes = [
        ('<circle cx="9" cy="9" r="6"/>', "a head"),
        ('<rect x="3" y="3" width="12" height="12"/>', "the attention's output, all heads"),
        ('<path d="M9 1 L17 9 L9 17 L1 9 Z"/>', "the MLP's output"),
    ]
    items = [f"{_sample(shape, 'on')}{words}" for shape, words in shapes]
    items.append(_sample('<circle cx="9" cy="9" r="2.5"/>', "off") + f"below {MATTERS:g}")
    if known:
        grade = str(known[0].get("grade"))
        word = "found by the exhaustive sweep" if grade == "measured" else f"{grade}, so known"
        ring = '<circle class="ring {}" cx="9" cy="9" r="7"/>'
        items.append(_sample(ring.format("origin"), "") + f"the circuit's origin ({word})")
        items.append(_sample(ring.format("mediators"), "") + "a mediator")
    return f'<ul class="key">{"".join(f"<li>{item}</li>" for item in items)}</ul>'


def _sample(shape: str, cls: str) -> str:
    return (
        f'<svg class="circuit" width="18" height="18" viewBox="0 0 18 18" aria-hidden="true">'
        f'<g class="node {cls}">{shape}</g></svg>'
    )


def _table(records: Sequence[Record]) -> str:
    """Every cell by role, strongest first, with both directions."""
    cells: dict[str, dict[str, Record]] = {}
    for r in by_role(records):
        cells.setdefault(r.site, {})[str(r.get("direction"))] = r
    ranked = sorted(cells.items(), key=lambda c: -max(_size(r) for r in c[1].values()))
    rows = [_cells(site, mine, records) for site, mine in ranked]
    heads = ["site", "role", *DIRECTIONS, "n", "circuit"]
    made = table(
        "Every part that was patched at a role, strongest first; 1 is all of the logit difference.",
        heads,
        rows,
        kind="facts",
    )
    return (
        f'<details class="long"><summary>The {len(rows):,} parts as a table</summary>{made}'
        "</details>"
    )


def _size(r: Record) -> float:
    return abs(float(r.get("effect") or 0.0))


def _cells(site: str, mine: Mapping[str, Record], records: Sequence[Record]) -> str:
    told = {d: Told.of(mine[d], "effect") if d in mine else None for d in DIRECTIONS}
    first = next(iter(mine.values()))
    n = next((t.n for t in told.values() if t), None)
    known = next(filter(None, (standing(r, records) for r in mine.values())), "")
    name = {"origin": "origin", "mediators": "mediator"}.get(known, "")
    numbers = [est(told[d], n) for d in DIRECTIONS]
    cells = [escape(str(first.get("role"))), *numbers, decimal(n), name]
    return row(prose(f"`{site}`"), cells)
