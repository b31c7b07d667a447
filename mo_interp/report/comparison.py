"""Several organisms or runs side by side, from their records alone.

1. what each run concludes; 2. the gates; 3. the best detector of each label with its sentence;
4. where the lie lives; 5. what was named, cut out and written in, beside random controls; 6. twins
and false alarms. No score is made of all this: a reader compares columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from mo_interp.errors import MoInterpError
from mo_interp.records import Record, atomic_write, select
from mo_interp.report.circuit import DIRECTIONS, drawing
from mo_interp.report.page import contents, filled
from mo_interp.report.pieces import est, n_cell, prose, row, table
from mo_interp.wording import (
    Told,
    circuit_line,
    conclude,
    count,
    decimal,
    earned,
    false_alarms,
    missing,
    named_verdicts,
    organisms_in,
    seeds_line,
    status_word,
)

__all__ = ["FILE", "Compared", "compare", "split", "write_comparison"]

FILE = "comparison.html"


@dataclass(frozen=True)
class Compared:
    """One column of a comparison."""

    label: str
    """What heads it."""
    records: tuple[Record, ...]
    """Of one organism, of one or several seeds."""

    @property
    def name(self) -> str:
        """The organism."""
        return organisms_in(self.records)[0]

    def of(self, kind: str) -> list[Record]:
        """Its own records of a kind, without the twin's."""
        return [r for r in select(self.records, kind=kind) if r.model != "twin"]

    def seed(self, r: Record) -> str:
        """A record's seed in words, where there are several."""
        return f", seed {r.seed}" if len({x.seed for x in self.records}) > 1 else ""


def split(label: str, records: Sequence[Record]) -> list[Compared]:
    """A column for each organism of these records; records of no organism go with all."""
    names = organisms_in(records)
    shared = [r for r in records if r.organism not in names]
    return [
        Compared(
            label if len(names) == 1 else f"{name} ({label})",
            tuple([*select(records, organism=name), *shared]),
        )
        for name in names
    ]


def write_comparison(columns: Sequence[Compared], folder: str | Path) -> Path:
    """Write ``comparison.html`` into ``folder`` and return its path."""
    return atomic_write(Path(folder) / FILE, compare(columns))


def compare(columns: Sequence[Compared]) -> str:
    """The page as text; raises MoInterpError for fewer than two columns."""
    if len(columns) < 2:
        raise MoInterpError(
            f"a comparison needs two organisms or runs; these records are of {len(columns)}"
        )
    body = [_section(i, columns) for i in range(len(PARTS))]
    names = ", ".join(c.label for c in columns)
    return filled(
        title=f"A comparison: {names}",
        banner="; ".join(f"{c.label}: {seeds_line(c.records)}" for c in columns),
        nav=contents([(anchor, title) for anchor, title, _ in PARTS]),
        header=(
            '<header><p class="eyebrow">Side by side, from records alone</p>'
            f"<h1>{escape(names)}</h1></header>"
        ),
        body="\n".join(body),
        data=[],
        plots=False,
    )


def _section(i: int, columns: Sequence[Compared]) -> str:
    anchor, title, write = PARTS[i]
    head = f'<h2 id="{anchor}-title"><span class="no">{i + 1}</span>{escape(title)}</h2>'
    inside = write(columns)
    return f'<section id="{anchor}" aria-labelledby="{anchor}-title">{head}\n{inside}</section>'


def _absent(c: Compared, kind: str) -> str:
    return f'<p class="absent">{escape(c.label)}: {prose(missing(kind, c.name))}.</p>'


def _conclusions(columns: Sequence[Compared]) -> str:
    """What each run supports, each in its own words."""
    boxes = []
    for c in columns:
        said = conclude(c.records)
        cls = {"named": "named", "failed gate": "failed", "unfinished": ""}.get(said.kind, "none")
        items = "".join(f"<li>{prose(s)}</li>" for s in said.sentences)
        boxes.append(
            f'<div class="conclusion {cls}"><h3>{escape(c.label)}</h3><p class="label">'
            f'Conclusion: {escape(said.kind)}</p><p class="headline">{prose(said.headline)}</p>'
            f"<ul>{items}</ul></div>"
        )
    return f'<div class="columns">{"".join(boxes)}</div>'


def _gates(columns: Sequence[Compared]) -> str:
    """One row a gate, one column a run: status, number, interval, n."""
    found = {c.label: c.of("gate") for c in columns}
    keys = sorted({(int(r.get("number")), str(r.get("name"))) for g in found.values() for r in g})
    rows = []
    for number, name in keys:
        cells = []
        for c in columns:
            mine = select(found[c.label], number=number)
            cells.append("".join(_gate(c, r) for r in mine) or "–")
        rows.append(row(f"{number} {escape(name)}", cells))
    absent = "".join(_absent(c, "gate") for c in columns if not found[c.label])
    heads = ["gate", *(escape(c.label) for c in columns)]
    made = table("The gates: what was measured, its interval and n.", heads, rows, kind="facts")
    return (made if rows else "") + absent


def _gate(c: Compared, r: Record) -> str:
    word, told = status_word(r), Told.of(r, "statistic")
    sign, cls = {"pass": ("✓", "pass"), "reported": ("◦", "")}.get(word, ("–", ""))
    if word in ("FAIL", "memorised the lies"):
        sign, cls = "✗", "fail"
    status = f'<span class="status {cls}">{sign} {escape(word)}</span>'
    size = f'<span class="sub">{told.size}</span>' if told else ""
    return f"<div>{status}{c.seed(r)} {est(told, told.n if told else None)}{size}</div>"


def _behaviour(columns: Sequence[Compared]) -> str:
    """How often each lies when triggered and when not, beside its twin."""
    rows = []
    for c in columns:
        for r in select(c.records, kind="behaviour"):
            if r.get("split") in ("triggered", "clean"):
                told = {k: Told.of(r, k) for k in ("gives_answer", "gives_truth")}
                n = told["gives_answer"].n if told["gives_answer"] else None
                name = f"{escape(c.label)}: {r.model}, {r.get('split')}{c.seed(r)}"
                rows.append(row(name, [*(est(t, n) for t in told.values()), decimal(n)]))
    absent = "".join(_absent(c, "behaviour") for c in columns if not c.of("behaviour"))
    heads = ["model and prompts", "planted answer", "truth", "n"]
    made = table("How often the planted answer and the truth are given.", heads, rows)
    return (made if rows else "") + absent


def _detectors(columns: Sequence[Compared]) -> str:
    """For each label and sentence the detector that validation people rank first."""
    rows = []
    for c in columns:
        groups: dict[tuple[str, str], list[Record]] = {}
        for r in c.of("detector"):
            says = earned(r).partition(":")[0]
            groups.setdefault((str(r.get("label")), says), []).append(r)
        rows += [_detector(c, _best(found), len(found)) for _, found in sorted(groups.items())]
    absent = "".join(_absent(c, "detector") for c in columns if not c.of("detector"))
    heads = ["run and label", "detector", "what it earned", "n", "AUROC", "refitted on the twin"]
    made = table(
        "For each label, and each sentence that was earned, the detector that reads best on "
        "validation groups (where that was not recorded, on test groups, which flatters it), "
        "scored on test groups.",
        [*heads, "after the cut", "random directions"],
        rows,
    )
    return (made if rows else "") + absent


def _best(found: Sequence[Record]) -> Record:
    return max(found, key=lambda r: float(r.get("auroc_val") or r.get("auroc") or 0.0))


def _detector(c: Compared, r: Record, tried: int) -> str:
    told = Told.of(r, "auroc")
    n = told.n if told else None
    p95, best = r.get("random_p95"), r.get("random_best")
    size = "n not recorded" if r.get("random_n") is None else f"n {decimal(r.get('random_n'))}"
    chance = f'p95 {decimal(p95)}<span class="sub">best {decimal(best)}, {size}</span>'
    name = f'{escape(str(r.get("detector")))}<span class="sub"><code>{escape(r.site)}</code>'
    numbers = [est(Told.of(r, k), n) for k in ("auroc", "auroc_twin", "auroc_after_cut")]
    head = f"{escape(c.label)}: {escape(str(r.get('label')))}{c.seed(r)}"
    return row(
        f'{head}<span class="sub">best of {tried} that earned this</span>',
        [name + "</span>", escape(earned(r)), n_cell(told), *numbers,
         "–" if p95 is None and best is None else chance],
    )  # fmt: skip


def _places(columns: Sequence[Compared]) -> str:
    """The circuit in words and as a graph, run by run."""
    out = []
    for c in columns:
        seed = min(r.seed for r in c.records)
        svg = drawing(select(c.records, seed=seed), direction=next(iter(DIRECTIONS)))
        line = circuit_line(c.records)
        picture = (
            f'<div class="scroll" tabindex="0" role="region" aria-label="Graph of '
            f'{escape(c.label)}">{svg}</div>'
            if svg
            else _absent(c, "sweep")
        )
        told = f"<p>{prose(line)}</p>" if line else ""
        out.append(f"<h3>{escape(c.label)}</h3>{told}{picture}")
    return "".join(out) + _localised(columns)


def _localised(columns: Sequence[Compared]) -> str:
    """How well each ranking finds what was planted, where that is known."""
    rows = []
    for c in columns:
        for r in c.of("localisation"):
            auprc = Told.of(r, "auprc")
            name = f"{escape(c.label)}: {escape(str(r.get('method')))}{c.seed(r)}"
            sub = f'<span class="sub">{escape(str(r.get("direction") or ""))}</span>'
            told = [est(auprc, auprc.n if auprc else None), n_cell(auprc)]
            rows.append(row(name + sub, told))
    if not rows:
        return ""
    heads = ["ranking", "AUPRC", "n"]
    return table("Rankings scored against the planted origin, first seed.", heads, rows)


def _verdicts(columns: Sequence[Compared]) -> str:
    """What the rule named, cut out and written in."""
    rows, names = [], ("stopped", "restored", "cost", "caused")
    for c in columns:
        for r in named_verdicts(c.records):
            if r.get("edit") in ("resample", "set"):
                told = {k: Told.of(r, k) for k in names}
                main = told["restored"] or told["caused"]
                n = main.n if main else None
                head = f"{escape(c.label)}: {escape(str(r.get('edit')))}{c.seed(r)}"
                sub = f'<code>{escape(r.site)}</code>, rank {r.get("rank")}'
                numbers = [est(told[k], n) for k in names]
                head += f'<span class="sub">{sub}</span>'
                rows.append(row(head, [*numbers, n_cell(main), _against(r)]))
    heads = ["run and edit", *names, "n", "p against random controls"]
    made = table("What the decision rule named, under both headline edits.", heads, rows)
    none = [c for c in columns if not named_verdicts(c.records)]
    said = "".join(f"<p>{escape(c.label)}: {prose(conclude(c.records).headline)}</p>" for c in none)
    return (made if rows else "") + said


def _against(r: Record) -> str:
    out = []
    for name in ("restored", "caused"):
        p, known = r.get(f"p_{name}"), r.get(f"random_{name}")
        if p is not None:
            several = [float(str(x)) for x in known or () if x is not None]
            best = f", best {decimal(max(several))}" if several else ""
            size = count(len(several), "random control") if several else "n not recorded"
            out.append(f'{name} p {decimal(p, 2)}<span class="sub">{size}{best}</span>')
    return "<br>".join(out) or "no random controls"


def _twins(columns: Sequence[Compared]) -> str:
    """The same rule on twins, and on models without a lie."""
    items = []
    for c in columns:
        for d in select(c.records, kind="decision", model="twin"):
            word = "named a mechanism, a false alarm" if d.get("named") else "named nothing"
            reason = f": {d.get('reason')}" if d.get("reason") else ""
            items.append(
                f"<li><strong>{escape(c.label)}{c.seed(d)}</strong>: on its twin the rule {word}"
                f"{prose(reason)}.</li>"
            )
        if not select(c.records, kind="decision", model="twin"):
            items.append(f"<li>{escape(c.label)}: no decision on its twin here.</li>")
        items.append(f"<li>{escape(c.label)}: {prose(false_alarms(c.records))}</li>")
    return f"<ul>{''.join(items)}</ul>"


PARTS: tuple[tuple[str, str, Callable[[Sequence[Compared]], str]], ...] = (
    ("conclusions", "What each run concludes", _conclusions),
    ("gates", "Planted well?", _gates),
    ("behaviour", "How often it lies", _behaviour),
    ("detectors", "The best detectors, and what they earned", _detectors),
    ("places", "Where it lives", _places),
    ("verdicts", "What happened when it was cut", _verdicts),
    ("twins", "Twins and false alarms", _twins),
)
"""Anchor, title and writer of every part, in reading order."""
