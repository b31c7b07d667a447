"""The verdicts: what happened when a mechanism was cut out, and when it was written in.

First the blind rule's own judgement of the organism and of its honest twin, then every mechanism
under every edit. A row holds all seeds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

from mo_interp.figures._house import (
    BLUE,
    GREEN,
    MUTED,
    ORANGE,
    VERMILLION,
    Mark,
    finish,
    grey,
    hows,
    look,
    same_n,
)
from mo_interp.figures._list import Block, Item, Listing, listing, split, tall
from mo_interp.figures._table import Line, with_controls
from mo_interp.records import Record, select
from mo_interp.wording import Told, count, decimal, need

MARKS = {
    "stopped": Mark("stopped", ORANGE, "square-open", -3.5),
    "restored": Mark("restored", BLUE, "circle", 0),
    "cost": Mark("cost in clean accuracy", VERMILLION, "x-thin", 3.5),
    "caused": Mark("caused", GREEN, "diamond", 0),
}
EDITS = {
    "resample": "resampled from the clean partner",
    "mean": "set to the clean mean",
    "projection": "projected out",
    "zero": "whole site zeroed",
    "set": "written into the clean partner",
    "steer": "steered by the mean difference",
}
HEADLINES = ("resample", "set")
"""The edits that are kept where there is no room for all."""
RULE = "blind rule"
WHO = {"organism": "organism", "twin": "clean twin"}
TALLEST = {"column": 550, "page": 740}
"""Pixels for the rows: a column of 7 inches, a page of 9."""
SEED = 0.9
"""Pixels by which seeds are apart."""
Key = tuple[str, str]


def edit_label(record: Record) -> str:
    """The edit in words."""
    edit = str(record.get("edit"))
    return EDITS.get(edit, edit)


def mechanism_label(record: Record) -> str:
    """``diff_means, L1.attn_out@-1, rank 1``; the twin's is marked."""
    rank = record.get("rank")
    words = [str(record.get("mechanism")), record.site, f"rank {rank}" if rank else ""]
    return ", ".join(w for w in words if w) + (" (twin)" if record.model == "twin" else "")


def draw(records: Sequence[Record]) -> go.Figure:
    """The rule's caused on organism and twin; stopped, restored, cost and caused of every edit."""
    every = need(records, "verdict")
    judged = _judged(records)
    found, blocks = _fitting(every, judged)
    rows = _rows(judged, found)
    told = [t for r in rows for k in MARKS if (t := Told.of(r, k))]
    low = min([-0.03, *(t.lo - 0.02 for t in told if t.lo is not None)])
    page = listing(blocks, axis="share of rows (0 to 1)", span=(low, 1.03))
    most = _strip(page, rows)
    seeds = sorted({r.seed for r in rows})
    down = {seed: SEED * (i - (len(seeds) - 1) / 2) for i, seed in enumerate(seeds)}
    for name, mark in MARKS.items():
        shown = [(row, _what(r), Told.of(r, name), down[r.seed]) for r, row in rows.items()]
        page.dots(shown, mark)
    return finish(
        page.fig,
        title="Cut it out: the verdicts",
        caption=_caption(records, every, found, told, most),
        alt=f"What the blind rule said of the organism and of its twin, and the verdicts of "
        f"{count(len({_mechanism(r) for r in found}), 'mechanism')}, beside random controls.",
        height=page.height,
        left=page.left,
        right=page.right,
    )


def _judged(records: Sequence[Record]) -> list[Record]:
    """The decision records that hold what their write caused, organism first."""
    found = [r for r in select(records, kind="decision") if Told.of(r, "caused")]
    return sorted(found, key=lambda r: (list(WHO).index(r.model or "organism"), r.seed))


def _mechanism(r: Record) -> str:
    """A mechanism over all seeds: without the number of its latent, the twin's marked."""
    name = re.sub(r" \d+$", "", str(r.get("mechanism")))
    return name + (" (twin)" if r.model == "twin" else "")


def _key(r: Record, apart: set[str]) -> Key:
    """The block and the row that a record belongs to; those ``apart`` have a block a site."""
    if r.kind == "decision":
        return RULE, WHO[r.model or "organism"]
    name = _mechanism(r)
    block = f"{name} {r.site}" if name in apart else name
    return block, "no behaviour" if r.get("no_behaviour") else str(r.get("edit"))


def _apart(found: Iterable[Record]) -> set[str]:
    """Mechanisms that one seed offers at several sites: verdicts of their own, not other seeds'."""
    sites: dict[tuple, set[str]] = {}
    for r in found:
        if r.kind == "verdict":
            sites.setdefault((_mechanism(r), r.organism, r.seed), set()).add(r.site)
    return {name for (name, *_), here in sites.items() if len(here) > 1}


def _fitting(
    every: Sequence[Record], judged: Sequence[Record]
) -> tuple[list[Record], list[Block]]:
    """The verdicts that there is room for, and their blocks."""
    most = TALLEST["page" if look().width > 500 else "column"]
    headlines = [r for r in every if r.get("edit") in HEADLINES or r.get("no_behaviour")]
    names = list(dict.fromkeys(map(_mechanism, every)))
    fewer = [[r for r in headlines if _mechanism(r) in names[:n]] for n in range(len(names), 0, -1)]
    found, blocks = list(every), []
    for found in (list(every), *fewer):
        blocks = _blocks([*judged, *found])
        if max(map(tall, split(blocks))) <= most or not look().paper:
            break
    return found, blocks


def _order(found: Iterable[Record]) -> dict[Key, list[Record]]:
    """The records of every row, block after block, edits in their order."""
    groups: dict[Key, list[Record]] = {}
    found = list(found)
    apart = _apart(found)
    for r in found:
        groups.setdefault(_key(r, apart), []).append(r)
    heads, names = list(dict.fromkeys(head for head, _ in groups)), [*WHO.values(), *EDITS]
    at = {name: i for i, name in enumerate(names)}
    ranked = sorted(groups, key=lambda key: (heads.index(key[0]), at.get(key[1], len(at))))
    return {key: groups[key] for key in ranked}


def _rows(judged: Sequence[Record], found: Sequence[Record]) -> dict[Record, int]:
    """The row of every record."""
    groups = _order([*judged, *found])
    return {r: i for i, mine in enumerate(groups.values()) for r in mine}


def _blocks(found: Sequence[Record]) -> list[Block]:
    """A block a mechanism, a row an edit."""
    groups, blocks = _order(found), []
    row = 13 if look().paper and look().width < 500 else 16
    for head in dict.fromkeys(head for head, _ in groups):
        mine = {edit: records for (name, edit), records in groups.items() if name == head}
        items = tuple(Item(edit, _note(records)) for edit, records in mine.items())
        every = [r for records in mine.values() for r in records]
        blocks.append(Block(_head(head, every), items, row))
    return blocks


def _head(name: str, mine: Sequence[Record]) -> str:
    """``blind search  L1.attn_out@-1, rank 1``, or what the rule named."""
    if name == RULE:
        said = []
        for model, who in WHO.items():
            theirs = [r for r in mine if r.model == model]
            named = sum(bool(r.get("named")) for r in theirs)
            if len(theirs) > 1:
                said.append(f"{who} {named} of {len(theirs)}")
            elif theirs:
                said.append(f"{who} {'named' if named else 'not named'}")
        several = "named: " if len({r.seed for r in mine}) > 1 else ""
        return f"<b>{RULE}</b>  {grey(several + '; '.join(said))}"
    places = dict.fromkeys((r.site, r.get("rank")) for r in mine)
    where = count(len(places), "site")
    if len(places) == 1:
        site, rank = next(iter(places))
        where = ", ".join(filter(None, (site, f"rank {rank}" if rank else "")))
    full = list(dict.fromkeys(str(r.get("mechanism")) for r in mine))
    twin = " (twin)" if mine[0].model == "twin" else ""
    return f"<b>{full[0] + twin if len(full) == 1 else name}</b>  {grey(where)}"


def _note(mine: Sequence[Record]) -> str:
    """The rank among the random controls: ``p 0.01``; of several seeds the largest."""
    known = [r.get(f"p_{k}") for r in mine for k in ("restored", "caused")]
    known = [float(p) for p in known if p is not None]
    return f"p {'≤ ' * (len(known) > 1)}{decimal(max(known), 2)}" if known else ""


def _what(r: Record) -> str:
    """What a point is about."""
    if r.kind == "decision":
        said = "named" if r.get("named") else "not named"
        p = decimal(r.get("p_caused"), 2)
        return f"{RULE}, {WHO[r.model or 'organism']}, seed {r.seed}, {r.site}, {said}, p {p}"
    return f"{mechanism_label(r)}, seed {r.seed}, {edit_label(r)}"


def _strip(page: Listing, rows: dict[Record, int]) -> str:
    """The random controls as ticks behind the row; returns how many one has: 99, 5 or 99."""
    ticks, sizes = [], set()
    for r, row in rows.items():
        for name in ("restored", "caused"):
            control = r.get(f"random_{name}")
            if not isinstance(control, tuple):
                continue
            known = [float(x) for x in control if x is not None]
            sizes.add(len(known))
            told = f"{_what(r)}; a random control, {name}"
            ticks += [(row, x, f"{told}: {decimal(x)}") for x in known]
    page.ticks(ticks, name="a random control", color=MUTED, size=10, faint=True)
    return " or ".join(map(str, sorted(sizes)))


def _caption(
    records: Sequence[Record],
    every: Sequence[Record],
    found: Sequence[Record],
    told: Sequence[Told],
    most: str,
) -> str:
    seeds = sorted({r.seed for r in found})
    edits = [e for e in EDITS if any(r.get("edit") == e for r in found)]
    words = "; ".join(f"{e}: {EDITS[e]}" for e in edits)
    said = [
        f"Stopped and restored: of triggered rows on which it lies; caused: of their clean "
        f"partners ({same_n(told)}, {'seeds' if len(seeds) > 1 else 'seed'} "
        f"{', '.join(map(str, seeds))}).",
        f"{words[:1].upper()}{words[1:]}." if words else "",
        f"p: rank among the random controls, {most} each." if most else "",
        _twin(records),
        *_left_out(every, found),
        hows(told),
    ]
    return " ".join(filter(None, said))


def _left_out(every: Sequence[Record], found: Sequence[Record]) -> list[str]:
    """What stands in the table alone, for want of room."""
    told = ["Other edits are in the table alone."] if len(found) < len(every) else []
    gone = {_mechanism(r) for r in every} - {_mechanism(r) for r in found}
    return told + [f"So are {count(len(gone), 'mechanism')}."] * bool(gone)


def _twin(records: Sequence[Record]) -> str:
    """What stands for the twin."""
    twins = [r for r in _judged(records) if r.model == "twin"]
    if not twins:
        return "No verdict on the honest twin in these records."
    return (
        "The blind rule searches the honest twin as it does the organism, and what it offers is "
        "written the same way; of its random writes p alone is recorded."
    )


def table(records: Sequence[Record]) -> list[Line]:
    """What the rule said of organism and twin; what every edit did, beside its controls."""
    by = ("model", "mechanism", "site", "rank", "edit")
    words = {name: mark.name for name, mark in MARKS.items()}
    judged = []
    for r in _judged(records):
        (line,) = with_controls([r], {"caused": "caused"}, by=by)
        said = {"mechanism": RULE, "edit": "set", "named": bool(r.get("named"))}
        judged.append({**line, **said})
    return [*with_controls(need(records, "verdict"), words, by=by), *judged]
