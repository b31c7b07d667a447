"""What each detector reads: on the organism, refitted on the honest twin, and after the cut.

One row a detector, in groups by what it is asked for and where it reads; each reads at the site
that was best on validation people. On the right stands what it has earned to be said of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import plotly.graph_objects as go

from mo_interp.figures._house import (
    BAND,
    GRID,
    MUTED,
    ORANGE,
    ORGANISM,
    TWIN,
    VERMILLION,
    Mark,
    finish,
    grey,
    hows,
    look,
    same_n,
)
from mo_interp.figures._list import Block, Item, Listing, listing, split, tall
from mo_interp.figures._table import Line, lines
from mo_interp.records import Record, select
from mo_interp.wording import Told, count, earned, need

MARKS = {
    "auroc": ORGANISM,
    "auroc_twin": Mark("twin, refitted", TWIN.color, TWIN.symbol, 1),
    "auroc_after_cut": Mark("after the cut", VERMILLION, "square-open", 2),
    "auroc_near_miss": Mark("near misses", ORANGE, "triangle-up-open", 3),
}
BASE = Mark("baseline", MUTED, "cross-open")
BASELINES = {
    "bag_of_tokens": "bag of tokens",
    "bag_of_tokens_hard": "bag of tokens, hardest contrast",
    "bag_of_tokens_pairs": "bag of tokens and pairs",
    "output_entropy": "entropy of the output",
    "output_logprob": "log-probability of the output",
    "behaviour": "the behaviour alone",
}
BRIEF = {
    "bag_of_tokens_hard": "bag, hardest",
    "bag_of_tokens_pairs": "bag of pairs",
    "output_entropy": "output entropy",
    "output_logprob": "output log-prob.",
    "behaviour": "behaviour",
}
"""The same beside their rows."""
SHORT = {
    "reads the trigger's text": "text",
    "reads the decision to lie": "decision",
    "reads nothing": "nothing",
}
LANE, ROW, CLOSE, LOW = 4.2, 19, 13.5, 13
"""Pixels: a lane, a detector's row, the same in a column of print, a baseline's row."""
TALLEST = {"column": 560, "page": 700}
"""Pixels for all rows in print, from which on they stand closer."""
NAMED = 2
"""Sites that fit into the head of a group."""
Group = tuple[str, str]


def group_of(r: Record) -> Group:
    """What a detector is asked for, and at which position it reads."""
    at = "answer" if r.site.endswith("@-1") else r.site.partition("@")[2].partition("[")[0]
    return str(r.get("label")), str(r.get("position") or at or "whole row")


def short(r: Record) -> str:
    """The sentence that it earned in a word: *text*, *decision*, *both, 87 %*, *nothing*."""
    said = earned(r)
    if said.startswith("reads both"):
        share = re.search(r"(\d+) ?%", said)
        return f"both, {share[1]} %" if share else "both"
    return SHORT.get(said, "–")


def draw(records: Sequence[Record]) -> go.Figure:
    """AUROC on test groups, one row a detector, beside its controls and random directions."""
    found, seeds = _first_seed(need(records, "detector"))
    base = [r for r in select(records, kind="baseline", seed=seeds[0]) if Told.of(r, "auroc")]
    groups = list(dict.fromkeys(group_of(r) for r in found))
    found = sorted(found, key=lambda r: groups.index(group_of(r)))
    blocks, lane = _blocks(found, base)
    page = listing(blocks, axis="AUROC on test groups", span=_span([*found, *base]))
    _random(page, found)
    page.line(0.5, "chance")
    for name, mark in MARKS.items():
        down = lane * (mark.lane - 1.5)
        told = [(i, _at(r), Told.of(r, name), down) for i, r in enumerate(found)]
        page.dots(told, replace(mark, lane=0.0), size=min(7.5, lane + 2.8))
    told = [(i, _name(r), Told.of(r, "auroc"), 0.0) for i, r in enumerate(base, start=len(found))]
    page.dots(told, BASE)
    every = [Told.of(r, name) for r in found for name in MARKS]
    return finish(
        page.fig,
        title="What the detectors read",
        caption=f"At the best site on validation people, {same_n(every)} test rows."
        f"{_only(seeds)} Right: what it reads, judged by its score after the cut, and of both the "
        f"decision's share. Grey: random directions, median to 95th percentile, and the best. "
        f"Dotted: chance. {hows(every)}",
        alt=f"AUROC of {len(found)} detectors on the organism, refitted on the honest twin and "
        "after the cut, beside random directions.",
        height=page.height,
        left=page.left,
        right=page.right,
    )


def _first_seed(found: Sequence[Record]) -> tuple[list[Record], list[int]]:
    """The records of the first seed, and all seeds; the scoreboard is for several."""
    seeds = sorted({r.seed for r in found})
    return [r for r in found if r.seed == seeds[0]], seeds


def _only(seeds: Sequence[int]) -> str:
    return f" Seed {seeds[0]}, the first of {len(seeds)}." if len(seeds) > 1 else ""


def _name(r: Record) -> str:
    return BASELINES.get(str(r.get("name")), str(r.get("name")).replace("_", " "))


def _at(r: Record) -> str:
    return f"{r.get('detector')} at {r.site}, label {r.get('label')}, {earned(r)}"


def _blocks(found: Sequence[Record], base: Sequence[Record]) -> tuple[list[Block], float]:
    """Rows under the heads of their groups, and how far their lanes are apart."""
    row: float = ROW
    most = TALLEST["page" if look().width > 500 else "column"]
    for high in (ROW, CLOSE):
        row = high
        blocks = [_block(group, [r for r in found if group_of(r) == group], row)
                  for group in dict.fromkeys(map(group_of, found))]  # fmt: skip
        if base:
            head = f"<b>baselines</b>  {grey(same_n(Told.of(r, 'auroc') for r in base))}"
            items = [Item(BRIEF.get(str(r.get("name")), _name(r))) for r in base]
            blocks.append(Block(head, tuple(items), LOW))
        if not look().paper or max(map(tall, split(blocks))) <= most:
            break
    return blocks, LANE * row / ROW


def _block(group: Group, mine: Sequence[Record], row: float) -> Block:
    """The detectors that are asked for one thing at one position."""
    label, position = group
    sites = {r.site.partition("@")[0] for r in mine}
    where = ", ".join(sorted(sites)) if len(sites) <= NAMED else count(len(sites), "site")
    place = "every position" if position == "every" else f"the {position}"
    head = f"<b>label {label}</b>, at {place} {grey(f'({where})')}"
    return Block(head, tuple(Item(str(r.get("detector")), short(r)) for r in mine), row)


def _random(page: Listing, found: Sequence[Record]) -> None:
    """Random directions behind every row: a bar from median to 95th percentile, and the best."""
    bars, ticks = [], []
    for i, r in enumerate(found):
        p95, best = r.get("random_p95"), r.get("random_best")
        if p95 is None or best is None:
            continue
        n = r.get("random_n")
        many = f"{n:,} random directions" if isinstance(n, int) else "random directions"
        bars.append((i, r.get("random_median", 0.5), p95))
        told = f"95th percentile {p95:.3f}, best {best:.3f}"
        ticks.append((i, best, f"{r.get('detector')} at {r.site}; {many}: {told}"))
    page.bars(bars, name="random directions", color=GRID)
    page.ticks(ticks, name="random, best", color=BAND, size=11)


def _span(records: Sequence[Record]) -> tuple[float, float]:
    """From 0.4, or from below the lowest interval, to just above 1."""
    told = [t for r in records for name in MARKS if (t := Told.of(r, name))]
    lows = [x for t in told for x in (t.value, t.lo) if x is not None]
    return (min([0.4, *(x - 0.03 for x in lows)]), 1.02)


def table(records: Sequence[Record]) -> list[Line]:
    """Every AUROC of every detector and baseline, with its controls and the sentence it earned."""
    found, seeds = _first_seed(need(records, "detector"))
    words = {name: mark.name for name, mark in MARKS.items()}
    beside = ("random_median", "random_p95", "random_best", "random_n", "sentence")
    beside += ("random_dictionary_p95", "random_dictionary_n")
    by = ("detector", "label", "site")
    base = select(records, kind="baseline", seed=seeds[0])
    told = lines(base, {"auroc": "baseline"}, by=("name",))
    told = [{"detector": line.pop("name"), **line} for line in told]
    return lines(found, words, by=by, also=beside) + told
