"""The parts of a sweep by role, in words: what the report's graph and the figure both draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mo_interp.records import Record, select
from mo_interp.wording import Told, decimal

__all__ = ["MATTERS", "ROLES", "STREAM", "Part", "bare", "by_role", "once", "standing", "strongest"]

MATTERS = 0.05
"""Share of the logit difference from which a part is drawn in full and told in numbers."""
ROLES = ("trigger", "near_miss", "entity", "relation", "other", "answer")
STREAM = ("resid_pre", "resid_mid", "resid_post")
PARTS = ("z", "attn_out", "mlp_out")
KNOWN = {"origin": "; the circuit's origin", "mediators": "; a mediator"}
"""What the circuit's records say of a part, and how that is added to its sentence."""


@dataclass(frozen=True)
class Part:
    """A swept part at a role, and what the circuit's records say of it."""

    record: Record
    standing: str
    """``origin``, ``mediators``, or empty."""

    @property
    def key(self) -> tuple[int, str, int]:
        """Layer, kind, and head (-1 for what is no head)."""
        layer, head = self.record.get("layer"), self.record.get("head")
        return int(layer), self.kind, int(head) if self.kind == "z" and head is not None else -1

    @property
    def kind(self) -> str:
        """``z``, ``attn_out``, ``mlp_out`` or a cut of the stream."""
        return str(self.record.get("kind"))

    @property
    def role(self) -> str:
        """The role at which it was patched."""
        return str(self.record.get("role"))

    @property
    def effect(self) -> float:
        """The share of the logit difference that moved; 0 where it was not measured."""
        return _effect(self.record)

    @property
    def matters(self) -> bool:
        """Whether it is drawn in full."""
        return abs(self.effect) >= MATTERS

    @property
    def words(self) -> str:
        """Where, which, how much, with interval and n, and its standing."""
        r, told = self.record, Told.of(self.record, "effect")
        names = {"z": f"head {r.get('head')}", "attn_out": "attention", "mlp_out": "MLP"}
        names |= {"resid_pre": "stream before"}
        name = names.get(self.kind, "stream after " + self.kind.removeprefix("resid_"))
        size = f", {told.size}" if told else ""
        much = f"unchanged, exactly 0{size}" if r.get("unchanged") else str(told or "not measured")
        where = f"layer {r.get('layer')}, {name}, at {self.role}"
        return f"{r.site} ({where}), {r.get('direction')}: {much}{KNOWN.get(self.standing, '')}"


P = TypeVar("P", bound=Part)


def bare(role: str) -> str:
    """A role without its number: ``trigger[0]`` is ``trigger``."""
    return role.partition("[")[0]


def by_role(records: Iterable[Record]) -> list[Record]:
    """The sweep's cells at one role and one layer, without those over all positions."""
    return [
        r
        for r in select(records, kind="sweep")
        if bare(str(r.get("role"))) in ROLES
        and r.get("layer") is not None
        and str(r.get("kind")) in (*STREAM, *PARTS)
    ]


def standing(r: Record, records: Iterable[Record]) -> str:
    """What the circuit's records say of a part at its role: an origin before a mediator."""
    part = r.site.partition("@")[0]
    neurons = part.replace("mlp_out", "post")
    known = select(records, kind="circuit")
    for word in KNOWN:
        for c in select(known, standing=word):
            site, _, position = c.site.partition("@")
            role = "answer" if position == "-1" else bare(position)
            here = site == part or site.partition("[")[0] == neurons
            moves = abs(_effect(r)) >= MATTERS
            if here and (role == bare(str(r.get("role"))) or not role and moves):
                return word
    return ""


def once(found: Sequence[P]) -> list[P]:
    """Without the stream before later layers, which is the stream after the layer below."""
    first = min(p.key[0] for p in found)
    return [p for p in found if p.kind != "resid_pre" or p.key[0] == first]


def strongest(found: Iterable[Part]) -> str:
    """The strongest part that is no cut of the stream, in words."""
    inner = [p for p in found if p.kind not in STREAM and p.matters]
    if not inner:
        return f"No part reaches {MATTERS:g}."
    best = max(inner, key=lambda p: abs(p.effect))
    return f"The strongest part is {best.record.site}, {decimal(best.effect)}."


def _effect(r: Record) -> float:
    return float(r.get("effect") or 0.0)
