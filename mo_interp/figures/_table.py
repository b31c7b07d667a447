"""The table behind a figure: as CSV, as LaTeX (booktabs), and what its caption has to say.

A table is a list of *lines*, plain dictionaries. A figure file may define ``table(records)``, which
:func:`lines` makes short to write: one line an estimate, with interval, n and groups. For a figure
that has none, :func:`drawn` reads the lines off what is drawn.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from mo_interp.records import Record
from mo_interp.wording import Told, count, decimal

Line = dict[str, Any]
TOLD = ("value", "lo", "hi", "n", "groups", "interval")
"""The columns of an estimate; ``interval`` says how ``lo`` and ``hi`` were made."""
HEADS = {"interval": "interval from", "lo": "lower", "hi": "upper"}


def lines(
    records: Iterable[Record],
    measures: Mapping[str, str] | Sequence[str],
    *,
    by: Sequence[str] = (),
    also: Sequence[str] = (),
) -> list[Line]:
    """One line a record and estimate that it holds.

    Args:
        records: what the figure is drawn from.
        measures: names of estimates, with a word for each or without.
        by: what a record is about, besides organism and seed: ``model``, ``site``, params, values.
        also: values of the record that stand after the estimate, such as random controls.
    """
    words = measures if isinstance(measures, Mapping) else {name: "" for name in measures}
    found = []
    for r in records:
        about = {"organism": r.organism, "seed": r.seed, **{name: asked(r, name) for name in by}}
        for name, word in words.items():
            told = Told.of(r, name)
            if told is not None:
                more = {name: asked(r, name) for name in also}
                found.append({**about, "measure": word or name, **estimate(told), **more})
    return found


def with_controls(
    records: Iterable[Record], measures: Mapping[str, str] | Sequence[str], *, by: Sequence[str]
) -> list[Line]:
    """As :func:`lines`, with the random controls of each estimate: best, how many, and p."""
    words = measures if isinstance(measures, Mapping) else {name: "" for name in measures}
    found = []
    for r in records:
        for name, word in words.items():
            given = r.get(f"random_{name}")
            known = [x for x in given if x is not None] if isinstance(given, tuple) else []
            beside = {"random_best": max(known, default=None), "random_n": len(known) or None}
            beside["p"] = r.get(f"p_{name}")
            found += [line | beside for line in lines([r], {name: word or name}, by=by)]
    return found


def estimate(told: Told) -> Line:
    """The columns of one estimate."""
    ends = (told.value, told.lo, told.hi, told.n, told.clusters, told.how or None)
    return dict(zip(TOLD, ends, strict=True))


def asked(record: Record, name: str) -> Any:
    """A field, a param or a value of a record; of a list how many it has."""
    value = getattr(record, name) if name in ("model", "site") else record.get(name)
    return len(value) if isinstance(value, tuple) else value


def drawn(fig: go.Figure) -> list[Line]:
    """The points of a figure: series, place, ends of the bar, and the n that its text tells."""
    found = []
    traces: Any = fig.data
    for t in traces:
        if t.type == "heatmap":
            found += _cells(t)
        elif t.type == "scatter" and t.text is not None and not isinstance(t.text, str):
            found += [_point(t, i) for i in range(len(t.x)) if t.text[i]]
    return found


def _point(trace: Any, i: int) -> Line:
    line: Line = {"series": trace.name, "x": trace.x[i], "y": trace.y[i]}
    for axis in ("x", "y"):
        bars, at = trace[f"error_{axis}"], line[axis]
        if bars.array is not None and bars.array[i] is not None:
            low = bars.arrayminus[i] if bars.arrayminus is not None else bars.array[i]
            line |= {"lo": at - (low or 0.0), "hi": at + bars.array[i]}
    return line | {"n": _size(trace.text[i]), "text": trace.text[i]}


def _cells(trace: Any) -> list[Line]:
    told = trace.text if trace.text is not None else [[""] * len(row) for row in trace.z]
    return [
        {"series": trace.name, "x": x, "y": y, "value": z, "n": _size(text), "text": text}
        for y, row in enumerate(trace.z)
        for x, (z, text) in enumerate(zip(row, told[y], strict=True))
        if z is not None
    ]


def _size(text: str) -> int | None:
    found = re.search(r"\bn[ =]([\d,]+)", str(text))
    return int(found[1].replace(",", "")) if found else None


def columns(table: Iterable[Line]) -> list[str]:
    """All columns, in the order in which they are first met."""
    return list(dict.fromkeys(name for line in table for name in line))


# ------------------------------------------------------------------------------------------ files


def as_csv(table: Sequence[Line]) -> str:
    """Comma-separated, with a head; numbers in full, nothing where there is none."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns(table), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return out.getvalue()


SIGNS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "·": r"$\cdot$",
    "“": "``",
    "”": "''",
    "–": "--",
    **{sign: "\\" + sign for sign in "&%$#_{}"},
}
"""What LaTeX reads as something else, and how it is written."""


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(SIGNS.get(letter, letter) for letter in text)


def as_tex(table: Sequence[Line], *, title: str = "", command: str = "") -> str:
    """A booktabs ``tabular`` with three decimals; what all lines share stands in a comment."""
    names = columns(table)
    alike = [n for n in names if len({str(line.get(n)) for line in table}) == 1 and n != "n"]
    alike = alike if len(table) > 1 else []
    shown = [name for name in names if name not in alike]
    numeric = {n for n in shown if all(_is_number(line.get(n)) for line in table)}
    shape = "".join("r" if name in numeric else "l" for name in shown)
    head = [f"% {title}", "% needs \\usepackage{booktabs}"]
    head += [f"% made by: {command}"] * bool(command)
    head += [f"% every line: {n} {table[0].get(n)}" for n in alike if table[0].get(n) is not None]
    body = [" & ".join(escaped(_cell(line.get(n))) for n in shown) + r" \\" for line in table]
    titles = " & ".join(escaped(HEADS.get(n, n).replace("_", " ")) for n in shown) + r" \\"
    rows = [f"\\begin{{tabular}}{{{shape}}}", r"\toprule", titles, r"\midrule", *body]
    return "\n".join([*head, *rows, r"\bottomrule", r"\end{tabular}", ""])


def _is_number(x: Any) -> bool:
    return x is None or (isinstance(x, int | float) and not isinstance(x, bool))


def _cell(x: Any) -> str:
    return "" if x is None else decimal(x)


# ---------------------------------------------------------------------------------------- caption


def caption(fig: go.Figure, table: Sequence[Line], *, command: str = "") -> str:
    """What stands under the figure in print: what is drawn, n, seeds, intervals, the command."""
    layout: Any = fig.layout
    meta = layout.meta or {}
    said = [f"{meta.get('title', '')}. {meta.get('caption', '')}".strip(" .") + ".", ""]
    said += [f"n: {_range(line.get('n') for line in table)}{_groups(table)}."]
    said += [f"Seeds: {_seeds(table)}.", f"Intervals: {_intervals(table)}."]
    about = list(dict.fromkeys(line["organism"] for line in table if line.get("organism")))
    said += [f"Organism{'s' * (len(about) > 1)}: {', '.join(about)}."] * bool(about)
    said += [f"Made by: {command}"] * bool(command)
    return "\n".join(said) + "\n"


def _range(sizes: Iterable[Any]) -> str:
    known = sorted({int(n) for n in sizes if n is not None})
    if not known:
        return "not recorded"
    ends = dict.fromkeys((known[0], known[-1]))
    return " to ".join(f"{n:,}" for n in ends) + " a number shown"


def _groups(table: Sequence[Line]) -> str:
    found = [line.get("groups") for line in table]
    return f", in {_range(found)[: -len(' a number shown')]} groups" if any(found) else ""


def _seeds(table: Sequence[Line]) -> str:
    known = {s for line in table if (s := line.get("seed")) is not None}
    listed = [s for line in table for s in str(line.get("seeds") or "").split()]
    known |= {int(s) for s in listed if s.isdigit()}
    if not known:
        return "not recorded"
    several = "" if len(known) > 1 else ", one seed: provisional"
    return ", ".join(map(str, sorted(known))) + several


def _intervals(table: Sequence[Line]) -> str:
    ways = list(dict.fromkeys(line["interval"] for line in table if line.get("interval")))
    some = any(line.get("lo") is not None for line in table)
    bare = sum(line.get("lo") is None and line.get("value") is not None for line in table)
    told = f"95 %, {'; '.join(ways)}" if ways else ("95 %" if some else "none")
    return told + (f"; {count(bare, 'number')} without one" if some and bare else "")
