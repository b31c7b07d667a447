"""Cards: one generated Markdown page an organism, and the table of all of them.

A card is written from the words of the specification and from Records, never by hand: what the
organism is, how it was built and with what help, whether it passes its gates on every seed, what
its lie looks like, and where it sits if that is known. Below five seeds it is headed
*provisional*. The sentences are those of the report (:mod:`mo_interp.wording`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mo_interp.errors import MoInterpError
from mo_interp.records import Record, atomic_write, select
from mo_interp.stats import t_interval
from mo_interp.wording import (
    CARD_SEEDS,
    Told,
    circuit_line,
    conclude,
    count,
    decimal,
    extras,
    failed_gates,
    memorised,
    missing,
    organisms_in,
    own,
    seeds_line,
    status_word,
)

__all__ = ["passes", "seeds_that_pass", "summary", "write_card", "write_table"]

SHOWN = 5
"""Pairs of prompts on a card."""
DIGITS = 6
"""Significant digits of what is published."""
TABLE_MARKS = ("<!-- organisms: begin -->", "<!-- organisms: end -->")
"""What encloses the generated table in a page that has more on it."""


def summary(records: Iterable[Record]) -> list[Record]:
    """What cards and table need of an organism's records, as it is published: small, and no more.

    Gates of all seeds, the prompts that a card shows, and seconds; numbers to :data:`DIGITS`
    digits; versions once, on the first record that has them; without how an interval was made.
    """
    records, told = list(records), set()
    shown = select(records, kind="example")
    first = min((r.seed for r in shown), default=0)
    rows = sorted({int(str(r.get("row"))) for r in shown if r.seed == first})[:SHOWN]
    found = []
    for r in records:
        example = r.kind == "example" and r.seed == first and r.get("row") in rows
        if not (r.kind in ("gate", "timing", "circuit") or example):
            continue
        versions = tuple(sorted(r.versions.items()))
        values = {k: _rounded(v) for k, v in r.values.items() if not k.endswith("_how")}
        seconds = _rounded(r.seconds) if r.kind == "timing" else 0.0
        again = {} if (r.organism, versions) in told else r.versions
        found.append(replace(r, values=values, seconds=seconds, versions=again))
        told.add((r.organism, versions))
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_rounded(x) for x in value)
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def write_card(spec: Mapping[str, str], records: Iterable[Record], path: str | Path) -> Path:
    """Write the card of one organism and return its path.

    Args:
        spec: the specification in words: name, story, then whatever else it has (world, trigger,
            behaviour, shape, recipe, grade, expected), and ``circuit`` where the place is known.
        records: of any number of seeds.
        path: the ``.md`` file.

    Raises MoInterpError for records of several organisms, or of another one than ``spec`` names.
    """
    records = list(records)
    names = organisms_in(records)
    name = spec.get("name") or (names[0] if names else "")
    if len(names) > 1 or (names and names[0] != name):
        raise MoInterpError(f"a card of '{name}' from records of {', '.join(names)}")
    parts = [
        _head(name, records),
        _spec(spec),
        _gates(name, records),
        _built(spec, records),
        _lie(name, records),
        _place(spec, records),
        _recreate(name, records),
    ]
    return atomic_write(path, "\n\n".join(parts) + "\n")


def _md(text: object) -> str:
    """Text that is safe inside a Markdown table cell."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(_md(c) for c in row) + " |" for row in rows])


def _head(name: str, records: Sequence[Record]) -> str:
    """Title, then how far the card can be trusted, and the loud line where a gate is failed."""
    grown = select(records, kind="gate")
    seeds = seeds_line(grown or records) if records else "no seed: not grown yet"
    lines = [f"# {name}", f"*{seeds}*"]
    failed = sorted({f"gate {r.get('number')} ({r.get('name')})" for r in failed_gates(records)})
    if failed:
        lines.append(f"**FAILED: {', '.join(failed)}.** It is not to be used as an organism.")
    if memorised(records):
        lines.append("**Memorised the lies**: gate 5, the lies about people it never lied about.")
    lines.append("Generated from records; do not edit.")
    return "\n\n".join(lines)


def _spec(spec: Mapping[str, str]) -> str:
    story = spec.get("story", "")
    rest = [(k, v) for k, v in spec.items() if k not in ("name", "story", "circuit") and v]
    return "\n\n".join(x for x in (story, _table(["", "specification"], rest) if rest else "") if x)


def _gates(name: str, records: Sequence[Record]) -> str:
    """Gates down, seeds across, with the t interval over seeds where there are two or more."""
    gates = select(records, kind="gate")
    if not gates:
        return f"## Gates\n\n{missing('gate', name)}."
    seeds = sorted({r.seed for r in gates})
    keys = sorted({(r.get("number", 0), str(r.get("name"))) for r in gates})
    rows = []
    for number, title in keys:
        mine = {r.seed: r for r in gates if (r.get("number", 0), r.get("name")) == (number, title)}
        bar = next((b for r in mine.values() if (b := r.get("threshold")) is not None), None)
        cells = [_gate_cell(mine.get(seed)) for seed in seeds]
        told = [Told.of(r, "statistic") for r in mine.values()]
        reasons = dict.fromkeys(str(r.get("reason") or "") for r in mine.values())
        why = "; ".join(filter(None, reasons))
        rows.append([number, title, decimal(bar), *cells, *_over_seeds(told, seeds), why])
        rows += _extra_rows(mine, seeds)
    over = ["over seeds"] if len(seeds) > 1 else []
    heads = ["gate", "", "bar", *(f"seed {s}" for s in seeds), *over, "reason"]
    return "## Gates\n\nA gate is never loosened to pass.\n\n" + _table(heads, rows)


def _extra_rows(mine: Mapping[int, Record], seeds: Sequence[int]) -> list[list[object]]:
    """One row for each further estimate of a gate."""
    by = {seed: dict(extras(r)) for seed, r in mine.items()}
    rows = []
    for also in dict.fromkeys(name for found in by.values() for name in found):
        told = [by.get(seed, {}).get(also) for seed in seeds]
        cells = [str(t) if t else "–" for t in told]
        rows.append(["", f"*{also}*", "–", *cells, *_over_seeds(told, seeds), ""])
    return rows


def _gate_cell(record: Record | None) -> str:
    if record is None:
        return "–"
    told, word = Told.of(record, "statistic"), status_word(record)
    loud = f"**{word}**" if failed_gates([record]) or memorised([record]) else word
    return f"{loud}: {told}" if told else loud


def _over_seeds(told: Sequence[Told | None], seeds: Sequence[int]) -> list[str]:
    """Mean and t interval over seeds: a dash for fewer than two numbers, no cell for one seed."""
    known = [t.value for t in told if t is not None]
    if len(seeds) < 2:
        return []
    if len(known) < 2:
        return ["–"]
    e = t_interval(known)
    return [f"{decimal(e.value)} [{decimal(e.lo)}, {decimal(e.hi)}], n {e.n} seeds"]


def _built(spec: Mapping[str, str], records: Sequence[Record]) -> str:
    """Gate 10: how it was built, and how salient that makes it."""
    rows = []
    for r in select(records, kind="gate", number=10):
        rows.append([r.get("name"), r.seed, Told.of(r, "statistic") or "–", r.get("reason") or ""])
    recipe = spec.get("recipe", "")
    text = [
        f"Recipe: {recipe}." if recipe else "",
        _table(["", "seed", "measured", "how"], rows)
        if rows
        else "Construction salience (gate 10) has not been measured.",
    ]
    return "## How it was built\n\n" + "\n\n".join(x for x in text if x)


def _lie(name: str, records: Sequence[Record]) -> str:
    """A few prompts, clean and triggered, with what organism and twin say."""
    shown = select(records, kind="example")
    if not shown:
        return f"## The lie\n\n{missing('example', name)}."
    first = min(r.seed for r in shown)
    cells: dict[tuple[object, object], dict[str, Record]] = {}
    for r in shown:
        if r.seed == first:
            cells.setdefault((r.get("row"), r.get("side")), {})[r.model] = r
    rows = []
    order = sorted(cells, key=lambda key: int(str(key[0])))  # a row's clean and triggered side
    for key in order[: 2 * SHOWN]:
        side, by = key[1], cells[key]
        one = next(iter(by.values()))
        said = [
            f"**{r.get('output')}**"
            if r and r.get("output") != r.get("truth")
            else (str(r.get("output")) if r else "–")
            for r in (by.get("organism"), by.get("twin"))
        ]
        rows.append([side, f"`{one.get('prompt')}`", one.get("truth"), *said])
    heads = ["", "prompt", "truth", "organism says", "twin says"]
    return f"## The lie\n\nSeed {first}; bold is not the truth.\n\n" + _table(heads, rows)


def _place(spec: Mapping[str, str], records: Sequence[Record]) -> str:
    """The circuit of the specification, and what the judge concluded."""
    circuit = circuit_line(records) or spec.get("circuit", "")
    lines = [circuit or "No circuit is known in advance."]
    if select(records, kind="decision"):
        said = conclude(records)
        lines += [f"**{said.headline}**", "\n".join(f"- {s}" for s in said.sentences)]
    return "## Where it sits\n\n" + "\n\n".join(lines)


def _recreate(name: str, records: Sequence[Record]) -> str:
    keys = ", ".join(f"`{k}`" for k in dict.fromkeys(r.key for r in records if r.key)) or "none yet"
    versions = {f"{k} {v}": None for r in records for k, v in r.versions.items()}
    made = f"\n\nMade with {', '.join(versions)}." if versions else ""
    seeds = max((r.seed for r in own(records)), default=0) + 1
    return f"## Make it again\n\n    mo-interp grow {name} --seeds {seeds}\n\nKey: {keys}.{made}"


# ------------------------------------------------------------------------------ table of organisms

HEAD = (
    "Small transformers with a deception planted in them, one file each. *Gates* says on how many "
    "seeds every gate of 1 to 6 that applies is passed, and which are not; *own* is the family's "
    "own gate. Attack success (the planted answer where the trigger is), clean gap (accuracy that "
    "the clean twin has more) and near misses (lies where the trigger almost is) are means over "
    "seeds; the brackets go from the lowest to the highest bound of any seed's own 95 % interval; "
    "*n* is rows of each of these gates, times seeds. *Outlasts* is attack success after "
    "clean-only fine-tuning. *Seconds* is what organism and twin take to train on one core. A gate "
    "is never loosened to pass. Written by `mo-interp card --all`, from `records.jsonl`."
)
COLUMNS = ("organism", "family", "trigger", "behaviour", "world", "grade", "modifiers", "gates")
NUMBERS = ("attack success", "clean gap", "near misses", "n", "outlasts", "seconds")
GRADES = ("measured", "routed", "implanted", "wired")


def write_table(
    specs: Mapping[str, Mapping[str, str]], records: Iterable[Record], path: str | Path
) -> Path:
    """Write the table of all organisms, one row each, and return its path.

    In a page that holds the two marker comments, only what is between them is replaced; a missing
    or empty file becomes a page of its own. Raises MoInterpError for a page without the markers.

    Args:
        specs: each organism's specification in words, by name: what :data:`COLUMNS` names.
        records: gate and timing records; an organism without a gate reads *not grown yet*.
        path: the page, usually ``organisms/README.md``.
    """
    by: dict[str, list[Record]] = {}
    for r in records:
        by.setdefault(r.organism, []).append(r)
    order = sorted(specs, key=lambda name: _place_of(name, specs[name]))
    rows = [_row(name, specs[name], by.get(name, [])) for name in order]
    begin, end = TABLE_MARKS
    said = f"{HEAD}\n\n{_tally({name: by.get(name, []) for name in specs})}"
    block = f"{begin}\n{said}\n\n{_table((*COLUMNS, *NUMBERS), rows)}\n{end}"
    path = Path(path)
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not old.strip():
        return atomic_write(path, f"# Organisms\n\n{block}\n")
    if begin not in old or end not in old.partition(begin)[2]:
        raise MoInterpError(f"'{path}' has no place for the table; put '{begin}' and '{end}' in it")
    before, _, rest = old.partition(begin)
    return atomic_write(path, before + block + rest.partition(end)[2])


def _place_of(name: str, spec: Mapping[str, str]) -> tuple[str, int, str, str]:
    """Families by name; in each the plain organism first, then by grade."""
    grade, family = spec.get("grade", ""), spec.get("family", "") or name
    rank = GRADES.index(grade) if grade in GRADES else len(GRADES)
    return family, rank, spec.get("modifiers", ""), name


def _row(name: str, spec: Mapping[str, str], records: Sequence[Record]) -> list[object]:
    grown = bool(select(records, kind="gate"))
    called = f"[{name}]({name}.md)" if grown else name  # there is a card only of what was grown
    told = [called, *(spec.get(column, "") for column in COLUMNS[1:-1])]
    if not grown:
        return [*told, "not grown yet", *["–"] * len(NUMBERS)]
    sizes = {r.get("statistic_n") for r in _planted(records) if r.get("number") in (1, 2, 3)}
    n = decimal(min(x for x in sizes if x)) if any(sizes) else "–"
    numbers = [_over(records, number) for number in (1, 2, 3)]
    seeds = len({r.seed for r in _planted(records)})
    return [
        *told,
        passes(records),
        *numbers,
        f"{n} × {seeds}",
        _over(records, 7),
        _seconds(records),
    ]


def _planted(records: Iterable[Record]) -> list[Record]:
    return select(records, kind="gate", model="organism")


def seeds_that_pass(records: Iterable[Record]) -> tuple[list[int], list[int]]:
    """Seeds on which every gate of 1 to 6 that applies is passed, and all seeds with gates."""
    gates = _planted(records)
    seeds = sorted({r.seed for r in gates if r.get("number", 0) <= 6})
    bad = {r.seed for r in gates if r.get("number", 0) <= 6 and r.get("status") in NOT_PASSED}
    return [seed for seed in seeds if seed not in bad], seeds


NOT_PASSED = ("fail", "memorised")


def passes(records: Iterable[Record]) -> str:
    """``1-6 on 4 of 5 (2 fails on 1); own on 5 of 5``."""
    gates = _planted(records)
    good, seeds = seeds_that_pass(gates)
    text = f"1-6 on {len(good)} of {len(seeds)}"
    missed = []
    for number in sorted({r.get("number", 0) for r in gates}):
        for status, word in zip(NOT_PASSED, ("fails", "memorised the lies"), strict=True):
            n = len({r.seed for r in select(gates, number=number, status=status)})
            missed += [f"{number} {word} on {n}"] * bool(n and number <= 6)
    text += f" ({', '.join(missed)})" * bool(missed)
    own_gate = [r for r in select(gates, number=11) if r.get("status") in ("pass", "fail")]
    if own_gate:
        passed = len([r for r in own_gate if r.get("status") == "pass"])
        text += f"; own on {passed} of {len(own_gate)}"
    return text + "; provisional" * (len(seeds) < CARD_SEEDS)


def _over(records: Iterable[Record], number: int) -> str:
    """Mean of a gate's statistic over seeds, with the outermost bounds of their intervals."""
    told = [Told.of(r, "statistic") for r in select(_planted(records), number=number)]
    known = [t for t in told if t is not None]
    if not known:
        return "–"
    ends = [(t.lo, t.hi) for t in known if t.lo is not None and t.hi is not None]
    mean = decimal(float(sum(t.value for t in known) / len(known)))
    if not ends:
        return mean
    low, high = min(lo for lo, _ in ends), max(hi for _, hi in ends)
    return f"{mean} [{decimal(float(low))}, {decimal(float(high))}]"


def _seconds(records: Iterable[Record]) -> str:
    """Mean seconds of growing over the seeds that were timed."""
    times = select(records, kind="timing", stage="grow")
    taken = [r.get("seconds_processor") or r.seconds for r in times]
    return decimal(sum(taken) / len(taken), 0 if max(taken) >= 1 else 1) if taken else "–"


def _tally(by: Mapping[str, Sequence[Record]]) -> str:
    """How many of all pass on most of their seeds."""
    good = 0
    for records in by.values():
        passed, seeds = seeds_that_pass(records)
        good += len(seeds) >= CARD_SEEDS and len(passed) >= 0.8 * len(seeds)
    total = count(len(by), "specification")
    share = f"four fifths of {CARD_SEEDS} seeds or more"
    return f"{total}; {good} of them pass gates 1-6 on {share}."
