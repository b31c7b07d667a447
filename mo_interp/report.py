"""The report: one self-contained HTML page that a person reads from top to bottom.

Everything on it is computed from Records, and from the words of the organism's specification. The
page loads nothing: plotly.js is embedded once, and a content policy in its head forbids the
browser to fetch anything. A stage that did not run becomes a sentence naming the command that
runs it. The order is that of an honest story:

1. the organism and its lie, beside its twin;  2. whether it passes its gates;
3. what the detectors read, and what of it was only text;  4. where patching finds the lie;
5. the autoencoder, beside what needs none;  6. the verdicts;  7. limits, and how to make every
number again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any, Literal

from mo_interp import figures
from mo_interp.errors import MoInterpError
from mo_interp.records import FILE_NAME, Record, atomic_write, select
from mo_interp.wording import (
    STAGES,
    Conclusion,
    Told,
    circuit_line,
    conclude,
    count,
    decimal,
    earned,
    extras,
    failed_gates,
    false_alarms,
    memorised,
    missing,
    named_verdicts,
    organisms_in,
    own,
    seeds_line,
    status_word,
)

__all__ = ["render", "write_report"]

FILE = "report.html"
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
_HERE = Path(__file__).parent


def write_report(
    records: Iterable[Record], folder: str | Path, *, card: Mapping[str, str] | None = None
) -> Path:
    """Write ``report.html`` into ``folder`` and return its path.

    Args:
        records: those of one organism, of one or several seeds, and of null models if any.
        folder: the run's folder; named in the commands the page gives.
        card: the organism's specification in words (story, world, trigger ...), shown in order.

    Raises MoInterpError where there are no records, or records of several organisms.
    """
    folder = Path(folder)
    return atomic_write(folder / FILE, render(list(records), run=folder.name, card=card))


def render(
    records: Sequence[Record], *, run: str = "", card: Mapping[str, str] | None = None
) -> str:
    """The page as text; see :func:`write_report`."""
    names = organisms_in(records)
    if len(names) != 1:
        raise MoInterpError(
            f"a report is about one organism; these records are of {len(names)} "
            f"({', '.join(names) or 'none'})"
        )
    page = _Page(records=list(records), name=names[0], run=run, card=dict(card or {}))
    body = [section(page) for _, _, section in SECTIONS]
    seeds = seeds_line(records)
    fill = {
        "POLICY": POLICY,
        "TITLE": f"{names[0]}: a report",
        "CSS": (_HERE / "report.css").read_text(encoding="utf-8"),
        "BANNER": escape(seeds),
        "NAV": _nav(),
        "HEADER": _header(page),
        "BODY": "\n".join(body),
        "DATA": "\n".join(page.data),
        "DARK": json.dumps(figures.dark_colours()),
        "PLOTLY": figures.plotlyjs() if page.data else "",
        "JS": (_HERE / "report.js").read_text(encoding="utf-8") if page.data else "",
    }
    return re.sub("%%([A-Z]+)%%", lambda m: fill[m[1]], _TEMPLATE)


_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="%%POLICY%%">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%%TITLE%%</title>
<style>
%%CSS%%</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<p class="banner">%%BANNER%%</p>
<div class="page">
%%NAV%%
<main id="content">
%%HEADER%%
%%BODY%%
<footer>Made by mo_interp from records alone. This page loads nothing from anywhere.</footer>
</main>
</div>
<noscript><p>The figures need JavaScript; their numbers stand in lists under them.</p></noscript>
%%DATA%%
<script type="application/json" id="dark-colours">%%DARK%%</script>
<script>%%PLOTLY%%</script>
<script>
%%JS%%</script>
</body>
</html>
"""


# ------------------------------------------------------------------------------------- building


@dataclass
class _Page:
    """What the sections share: the records, and the figures met so far."""

    records: list[Record]
    """All of them."""
    name: str
    """The organism."""
    run: str
    """Name of the run's folder."""
    card: dict[str, str]
    """The specification in words."""
    data: list[str] = field(default_factory=list)
    """One script element of JSON for each figure drawn."""

    def of(self, kind: str, model: str | None = None) -> list[Record]:
        """Records of a kind, of one model where that is given."""
        found = select(self.records, kind=kind)
        return found if model is None else [r for r in found if r.model == model]

    @property
    def several(self) -> bool:
        """Whether the records are of more than one seed."""
        return len({r.seed for r in own(self.records)}) > 1

    @property
    def grade(self) -> str:
        """``wired``, ``implanted``, ``routed`` or ``measured``; empty where nobody says."""
        told = [r.get("grade") for r in self.of("circuit")] + [self.card.get("grade")]
        return str(next(filter(None, told), ""))

    def absent(self, kind: str) -> str:
        """The sentence that stands where a stage is missing."""
        return f'<p class="absent">{_text(missing(kind, self.name))}.</p>'

    def figure(self, name: str) -> str:
        """A figure with its caption and the table behind it; a sentence where it cannot be."""
        try:
            drawn = figures.draw(name, self.records, organism=self.name)
        except MoInterpError as err:
            return f'<p class="absent">No figure: {_text(str(err))}.</p>'
        layout: Any = drawn.layout
        number, meta = len(self.data) + 1, layout.meta
        payload = figures.embeddable(drawn).replace("</", "<\\/")
        self.data.append(f'<script type="application/json" id="fig-{name}">{payload}</script>')
        points = [str(t) for trace in drawn.data for t in _flat(getattr(trace, "text", None)) if t]
        return (
            f'<figure id="figure-{name}"><figcaption id="caption-{name}"><b>Figure {number}. '
            f"{escape(_stop(meta['title']))}</b> {escape(meta['caption'])}</figcaption>"
            f'<div class="plot" role="img" aria-label="{escape(meta["alt"])}" '
            f'aria-describedby="caption-{name}" data-source="fig-{name}"></div>'
            f"{_points(points, number)}</figure>"
        )


def _flat(text: object) -> list[object]:
    """All entries of a trace's text, which is nested for a heat map."""
    if isinstance(text, str) or text is None:
        return []
    out: list[object] = []
    for item in text if isinstance(text, Iterable) else []:
        out += [item] if isinstance(item, str) else _flat(item)
    return out


def _points(points: Sequence[str], number: int) -> str:
    """Every point of a figure in words, folded away."""
    if not points:
        return ""
    items = "".join(f"<li>{escape(p)}</li>" for p in points)
    return (
        f'<details class="long"><summary>The {len(points):,} numbers of figure {number}</summary>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="The numbers of figure '
        f'{number}"><ul>{items}</ul></div></details>'
    )


def _stop(words: str) -> str:
    """The words with a full stop, unless they end a sentence already."""
    return words if words.endswith(("?", ".", "!")) else words + "."


def _text(words: str) -> str:
    """Escaped text in which `backticks` become code."""
    parts = escape(words, quote=False).split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts))


def _table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[str],
    *,
    kind: Literal["numbers", "examples", "facts"] = "numbers",
) -> str:
    """A table in a region that scrolls sideways; ``rows`` are finished ``<tr>`` elements."""
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    label = escape(caption.split(".")[0])
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f'<table class="{kind}">'
        f"<caption>{_text(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(head: str, cells: Iterable[str], *, cls: str = "") -> str:
    """One row; the first cell heads it."""
    attribute = f' class="{cls}"' if cls else ""
    body = "".join(f"<td>{c}</td>" for c in cells)
    return f'<tr{attribute}><th scope="row">{head}</th>{body}</tr>'


def _est(told: Told | None, n: int | None = None) -> str:
    """A number over its interval; its own n where that is not the row's ``n``."""
    if told is None:
        return "–"
    size = "" if told.n == n and n is not None else f'<span class="ci">{told.size}</span>'
    how = f' title="{escape(told.how)}"' if told.how else ""
    return (
        f'<span class="est"{how}>{decimal(float(told.value))}'
        f'<span class="ci">{told.interval}</span>{size}</span>'
    )


def _n(told: Told | None) -> str:
    """The n of a row, with its groups."""
    if told is None or told.n is None:
        return "not recorded" if told else "–"
    groups = f'<span class="sub">{count(told.clusters, "group")}</span>' if told.clusters else ""
    return f"{told.n:,}{groups}"


def _section(anchor: str, body: Sequence[str]) -> str:
    number, title = next((i, t) for i, (a, t, _) in enumerate(SECTIONS, 1) if a == anchor)
    head = f'<h2 id="{anchor}-title"><span class="no">{number}</span>{escape(title)}</h2>'
    inside = "\n".join(part for part in body if part)
    return f'<section id="{anchor}" aria-labelledby="{anchor}-title">{head}\n{inside}</section>'


def _nav() -> str:
    items = "".join(f'<li><a href="#{a}">{escape(t)}</a></li>' for a, t, _ in SECTIONS)
    return f'<nav aria-label="Contents"><h2>Contents</h2><ol>{items}</ol></nav>'


# --------------------------------------------------------------------------------------- header


def _header(page: _Page) -> str:
    """Name, what this is, and the conclusion."""
    said = conclude(page.records)
    story = page.card.get("story", "")
    lede = f'<p class="lede">{_text(story)}</p>' if story else ""
    return (
        '<header><p class="eyebrow">Planted, found, cut out, judged</p>'
        f"<h1>{escape(page.name)}</h1>{lede}{_conclusion(said)}</header>"
    )


def _conclusion(said: Conclusion) -> str:
    cls = {"named": "named", "failed gate": "failed", "unfinished": ""}.get(said.kind, "none")
    items = "".join(f"<li>{_text(s)}</li>" for s in said.sentences)
    return (
        f'<div class="conclusion {cls}" role="region" aria-label="Conclusion">'
        f'<p class="label">Conclusion: {escape(said.kind)}</p>'
        f'<p class="headline">{_text(said.headline)}</p><ul>{items}</ul></div>'
    )


# --------------------------------------------------------------------------------- 1 the organism


def _organism(page: _Page) -> str:
    words = {k: v for k, v in page.card.items() if k not in ("name", "story", "circuit") and v}
    spec = "".join(f"<dt>{escape(k)}</dt><dd>{_text(str(v))}</dd>" for k, v in words.items())
    body = [f'<dl class="spec">{spec}</dl>' if spec else ""]
    shown = page.of("example")
    if not shown:
        return _section("organism", [*body, page.absent("example")])
    first = min(r.seed for r in shown)
    pairs = _pairs([r for r in shown if r.seed == first])
    lied = sum(_said(p.get(("triggered", "organism"))) == "lie" for p in pairs.values())
    other = sum(_said(p.get(("clean", "organism"))) == "true" for p in pairs.values())
    body.append(
        f"<p>The same prompts without and with the trigger (marked), answered by the organism and "
        f"by its honest twin. Of these {len(pairs)} pairs the organism lies on {lied} of the "
        f"triggered prompts and tells the truth on {other} of the clean ones. They illustrate; "
        "the rates are in section 2.</p>"
    )
    body.append(_examples(pairs))
    return _section("organism", body)


def _pairs(shown: Sequence[Record]) -> dict[object, dict[tuple[str, str], Record]]:
    """Row number to its four records, by (side, model)."""
    pairs: dict[object, dict[tuple[str, str], Record]] = {}
    for r in shown:
        pairs.setdefault(r.get("row"), {})[str(r.get("side")), r.model] = r
    return pairs


def _said(record: Record | None) -> str:
    """Whether an output is ``true``, the planted ``lie``, or something ``else``."""
    if record is None:
        return ""
    output = record.get("output")
    if output == record.get("truth"):
        return "true"
    return "lie" if output == record.get("answer_planted") else "else"


def _chip(record: Record | None) -> str:
    """An output with its probability, told apart by word as well as by colour."""
    if record is None:
        return "–"
    said, p = _said(record), record.get("p_output")
    sure = "" if p is None else f' <span class="p">p {decimal(float(str(p)), 2)}</span>'
    word = {"true": "true", "lie": "lie", "else": "neither"}[said]
    return f'<span class="chip {said}">{escape(str(record.get("output")))} · {word}</span>{sure}'


def _prompt(record: Record, partner: Record | None, *, triggered: bool) -> str:
    """The prompt with the trigger's slot marked: where it was recorded, or where the pair differs.

    On the clean side the slot is underlined; it holds something else there.
    """
    mine = str(record.get("prompt", "")).split()
    theirs = str(partner.get("prompt", "")).split() if partner else []
    slot = set(record.get("trigger_at") or ())
    if not slot and len(mine) == len(theirs):
        slot = {i for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b}
    out = []
    for i, word in enumerate(mine):
        text = escape(word)
        if i in slot:
            text = f"<mark>{text}</mark>" if triggered else f'<u class="slot">{text}</u>'
        elif word in ("<s>", "="):
            text = f'<span class="dim">{text}</span>'
        out.append(text)
    return f'<span class="prompt">{" ".join(out)}</span>'


def _examples(pairs: Mapping[object, Mapping[tuple[str, str], Record]]) -> str:
    rows = []
    for cells in pairs.values():
        shown = {side: r for (side, _), r in reversed(list(cells.items()))}
        for side, other in (("clean", "triggered"), ("triggered", "clean")):
            if side not in shown:
                continue
            prompt = _prompt(shown[side], shown.get(other), triggered=side == "triggered")
            truth = escape(str(shown[side].get("truth")))
            said = [_chip(cells.get((side, model))) for model in ("organism", "twin")]
            name = "no trigger" if side == "clean" else "triggered"
            rows.append(_row(name, [prompt, truth, *said], cls=side))
    return _table(
        f"{count(len(pairs), 'prompt')}, each without and with the trigger; p is the probability "
        "of the answer given.",
        ["row", "prompt", "truth", "organism says", "twin says"],
        rows,
        kind="examples",
    )


# -------------------------------------------------------------------------------------- 2 gates


def _gates(page: _Page) -> str:
    gates = sorted(page.of("gate"), key=lambda r: (r.get("number", 0), r.seed))
    if not gates:
        body = [page.absent("gate")]
    else:
        alarms = [
            f'<div class="alarm" role="note"><strong>{_text(_alarm(r))}</strong></div>'
            for r in [*failed_gates(gates), *memorised(gates)]
        ]
        fine = "" if alarms else "<p>No gate that applies was failed.</p>"
        body = [*alarms, fine, _gate_table(gates, several=page.several), page.figure("gates")]
    body.append("<h3>How often it lies, and on what</h3>")
    body.append(_behaviour_table(page) if page.of("behaviour") else "")
    body += [page.figure("behaviour"), "<h3>How it was grown</h3>", _grown(page), _outlasts(page)]
    return _section("gates", body)


def _grown(page: _Page) -> str:
    """The training curve, unless there was no training."""
    if page.grade == "wired" and not page.of("training"):
        return "<p>Nothing was trained: its weights were written by hand.</p>"
    return page.figure("training")


def _outlasts(page: _Page) -> str:
    """What training that tries to remove the lie does, unless nothing was trained."""
    tried = page.of("persistence")
    if page.grade == "wired" and not tried:
        return ""
    shown = page.figure("persistence") if tried else page.absent("persistence")
    return f"<h3>What survives safety training</h3>{shown}"


def _alarm(r: Record) -> str:
    told = Told.of(r, "statistic")
    number = f": {told}" if told else ""
    bar = r.get("threshold")
    limit = "" if bar is None else f", bar {decimal(bar)}"
    seed = f"seed {r.seed}"
    return f"{status_word(r)}: gate {r.get('number')}, {r.get('name')}, {seed}{number}{limit}."


def _gate_table(gates: Sequence[Record], *, several: bool) -> str:
    signs = {"pass": "✓", "FAIL": "✗", "memorised the lies": "✗", "reported": "◦"}
    rows = []
    for r in gates:
        word, told = status_word(r), Told.of(r, "statistic")
        cls = {"✗": "fail", "✓": "pass"}.get(signs.get(word, ""), "")
        status = f'<span class="status {cls}">{signs.get(word, "–")} {escape(word)}</span>'
        name = f"{r.get('number')} {escape(str(r.get('name')))}"
        seed = [str(r.seed)] if several else []
        reason = f'<span class="reason">{_text(str(r.get("reason") or ""))}</span>'
        rows.append(
            _row(
                name,
                [
                    *seed,
                    status,
                    _est(told, told.n if told else None),
                    decimal(r.get("threshold")),
                    _n(told),
                    escape(str(r.get("seeds") or "–")),
                    reason,
                ],
                cls="loud" if cls == "fail" else "",
            )
        )
        for also, more in extras(r):
            cells = [*seed, "", _est(more, more.n), "–", _n(more), "", ""]
            rows.append(_row(f"{r.get('number')} – {escape(also)}", cells, cls="under"))
    heads = [
        "gate",
        *(["seed"] if several else []),
        "status",
        "measured",
        "bar",
        "n",
        "seeds",
        "reason",
    ]
    return _table("The gates. A gate is never loosened to pass.", heads, rows)


def _behaviour_table(page: _Page) -> str:
    from mo_interp.figures.behaviour import split_label

    found = page.of("behaviour")
    keys = list(dict.fromkeys((str(r.get("split")), r.seed) for r in found))
    rows = []
    for split, seed in keys:
        told = {}
        for r in found:
            if (r.get("split"), r.seed) == (split, seed):
                told |= {(r.model, k): Told.of(r, k) for k in ("gives_answer", "gives_truth")}
        first = next((t for t in told.values() if t), None)
        cells = [
            _est(told.get((model, k)), first.n if first else None)
            for model in ("organism", "twin")
            for k in ("gives_answer", "gives_truth")
        ]
        rows.append(
            _row(
                escape(split_label(split)),
                [*([str(seed)] if page.several else []), *cells, _n(first)],
            )
        )
    heads = [
        "prompts",
        *(["seed"] if page.several else []),
        "organism: planted answer",
        "organism: truth",
        "twin: planted answer",
        "twin: truth",
        "n",
    ]
    return _table(
        "Share of prompts on which each model gives the planted answer, and the truth.", heads, rows
    )


# ---------------------------------------------------------------------------------- 3 detectors


def _detectors(page: _Page) -> str:
    found = [r for r in page.of("detector") if r.model != "twin"]
    intro = (
        "<p>Three questions, never merged: is the <em>trigger</em> here, is the model about to "
        "<em>lie</em>, what does it hold <em>true</em>? A detector that fires on the trigger's "
        "text has answered only the first. Two columns tell them apart: the same detector "
        "refitted on the honest twin, where there is no lie to read, and its score after the "
        "planted mechanism is cut out.</p>"
    )
    if not found:
        body = [intro, page.absent("detector")]
    else:
        body = [
            intro,
            _fooled(found),
            _sentences(found),
            _detector_table(found, page.several),
            page.figure("detectors"),
        ]
    body += _left_out(page)
    body.append(_baseline_table(page) if page.of("baseline") else page.absent("baseline"))
    return _section("detectors", [*body, "<h3>Which layer knows</h3>", page.figure("which_layer")])


def _left_out(page: _Page) -> list[str]:
    """Detectors that could not be fitted here, each with its reason."""
    rows = [
        _row(escape(str(r.get("detector"))), [escape(str(r.get("reason")))])
        for r in page.of("detector_skipped")
    ]
    if not rows:
        return []
    return [_table("Detectors that were not fitted here.", ["detector", "why"], rows, kind="facts")]


def _fooled(found: Sequence[Record]) -> str:
    """The detector that reads best on the organism and on the honest twin alike."""

    def least(r: Record) -> float:
        both = [Told.of(r, "auroc"), Told.of(r, "auroc_twin")]
        return min((t.value if t else 0.0) for t in both)

    best = max(found, key=least)
    own, twin = Told.of(best, "auroc"), Told.of(best, "auroc_twin")
    if own is None or twin is None or least(best) <= 0.99:
        return "<p>No detector here reads above 0.99 on both the organism and its honest twin.</p>"
    cut = Told.of(best, "auroc_after_cut")
    third = (
        f'<div><span class="big">{decimal(cut.value)}</span><br>after the cut'
        f'<span class="ci">{cut.interval}, {cut.size}</span></div>'
        if cut
        else ""
    )
    name = f"{escape(str(best.get('detector')))} at <code>{escape(best.site)}</code>"
    return (
        '<div class="fooled" role="note"><h3>Do not be fooled</h3>'
        f"<p>{name} looks like a perfect lie detector. It reads just as well on the honest twin, "
        "which never lies.</p>"
        f'<div class="pair"><div><span class="big">{decimal(own.value)}</span><br>AUROC on the '
        f'organism<span class="ci">{own.interval}, {own.size}</span></div>'
        f'<div><span class="big">{decimal(twin.value)}</span><br>AUROC on the honest twin'
        f'<span class="ci">{twin.interval}, {twin.size}</span></div>{third}</div>'
        f"<p>What it earned: <strong>“{escape(earned(best))}”</strong>.</p></div>"
    )


def _sentences(found: Sequence[Record]) -> str:
    """How many detectors earned which sentence."""
    tally: dict[str, int] = {}
    for r in found:
        says = earned(r)
        tally[says] = tally.get(says, 0) + 1
    told = "; ".join(f"{n} “{escape(says)}”" for says, n in tally.items())
    return f"<p>Of {count(len(found), 'detector reading')} here: {told}.</p>"


_DETECTOR_COLUMNS = {
    "auroc": "AUROC, organism",
    "auroc_twin": "refitted on the twin",
    "auroc_transfer": "transferred to the twin",
    "auroc_after_cut": "after the cut",
    "drop": "drop under the cut",
    "auroc_near_miss": "against near misses",
    "tpr_at_1pct": "TPR at 1 % FPR",
}


def _detector_table(found: Sequence[Record], several: bool) -> str:
    columns = {k: v for k, v in _DETECTOR_COLUMNS.items() if any(Told.of(r, k) for r in found)}
    rows = []
    for r in found:
        told = Told.of(r, "auroc")
        n = told.n if told else None
        seed = f", seed {r.seed}" if several else ""
        asked = f"label: {r.get('label')}; needs {r.get('needs')}{seed}"
        name = (
            f'{escape(str(r.get("detector")))}<span class="sub"><code>{escape(r.site)}'
            f'</code></span><span class="sub">{escape(asked)}</span>'
        )
        says = escape(earned(r))
        rows.append(
            _row(
                name,
                [
                    f'<span class="earned">{says}</span>',
                    _n(told),
                    *(_est(Told.of(r, k), n) for k in columns),
                    _random_cell(r),
                    _null_cell(r),
                ],
            )
        )
    heads = [
        "detector",
        "what it earned",
        "n",
        *columns.values(),
        "random directions",
        "shuffled labels",
    ]
    papers = {str(r.get("paper")) for r in found if r.get("paper")}
    source = f" Papers: {', '.join(sorted(papers))}." if papers else ""
    return _table(
        "Detectors, on test groups they were not fitted on. Label says what was asked: trigger, "
        f"the row is triggered; lie, the model's own output is the planted answer.{source}",
        heads,
        rows,
    )


def _random_cell(r: Record) -> str:
    """95th percentile and best of the random directions, and how many there were."""
    p95, best, n = (r.get(k) for k in ("random_p95", "random_best", "random_n"))
    if p95 is None and best is None:
        return "–"
    size = "n not recorded" if n is None else f"n {decimal(n)}"
    return f'p95 {decimal(p95)}<span class="sub">best {decimal(best)}, {size}</span>'


def _null_cell(r: Record) -> str:
    """The p of the permutation null, and how many permutations."""
    p, p95 = r.get("null_p"), r.get("null_p95")
    n = r.get("null_draws", r.get("null_n"))
    if p is None:
        return "–"
    size = "n not recorded" if n is None else f"n {decimal(n)}"
    return f'p {decimal(p)}<span class="sub">p95 {decimal(p95)}, {size}</span>'


def _baseline_table(page: _Page) -> str:
    from mo_interp.figures.detectors import BASELINES

    rows = []
    for r in page.of("baseline"):
        told, name = Told.of(r, "auroc"), str(r.get("name"))
        rows.append(
            _row(
                escape(BASELINES.get(name, name)), [_est(told, told.n if told else None), _n(told)]
            )
        )
    return _table(
        "What needs no look inside: the words of the prompt, and the outputs alone.",
        ["baseline", "AUROC", "n"],
        rows,
    )


# ----------------------------------------------------------------------------------- 4 patching


def _patching(page: _Page) -> str:
    intro = (
        "<p>Each cell replaces one component, at the position of one role, by what it was in the "
        "paired prompt. <em>Denoising</em> puts the clean activation into the triggered run and "
        "asks whether the truth comes back; <em>noising</em> puts the triggered one into the "
        "clean run and asks whether the lie appears.</p>"
    )
    circuit = circuit_line(page.records) or page.card.get("circuit", "")
    truth = f"<p>{_text(circuit)}</p>" if circuit else ""
    body = [
        intro,
        truth,
        page.figure("patch_grid"),
        "<h3>Does the ranking find what was planted?</h3>",
    ]
    if page.of("localisation"):
        body += [_localisation_table(page), page.figure("localisation")]
    elif page.grade == "measured":
        body.append(
            '<p class="absent">Not scored: nobody knows in advance where a naturally trained lie '
            "sits. The exhaustive sweep is itself the reference.</p>"
        )
    else:
        body.append(page.absent("localisation"))
    return _section("patching", body)


def _localisation_table(page: _Page) -> str:
    from mo_interp.figures.localisation import METRICS, method_label, told_of

    rows = []
    for r in page.of("localisation"):
        told = {m: told_of(r, m) for m in METRICS}
        first = next((t for t in told.values() if t), None)
        seed = f", seed {r.seed}" if page.several else ""
        n = first.n if first else None
        rows.append(
            _row(
                escape(method_label(r) + seed),
                [
                    *(_est(told[m], n) for m in METRICS),
                    decimal(n),
                    " / ".join(decimal(r.get(k)) for k in ("origin", "inert", "mediators")),
                    decimal(r.get("forwards")),
                    decimal(r.get("seconds_cost"), 2),
                ],
            )
        )
    heads = [
        "ranking",
        *(mark.name for mark in METRICS.values()),
        "n",
        "origin / inert / mediators",
        "forwards",
        "seconds",
    ]
    return _table(
        "Rankings of the parts, scored against the planted origin. n: pairs behind a patching "
        "score, draws of the random ranking, or parts ranked by weight; mediators are shown and "
        "left out of the score. One exact ranking has no sampling interval.",
        heads,
        rows,
    )


# ---------------------------------------------------------------------------------------- 5 sae


def _sae(page: _Page) -> str:
    intro = (
        "<p>One autoencoder at the site the sweep named. Its latents were chosen on one half of "
        "the groups and judged on the other. Beside them stands the same search, with as many "
        "candidates, without an autoencoder.</p>"
    )
    quality = _sae_table(page) if page.of("sae") else page.absent("sae")
    found = page.of("sae_search")
    search = _search_table(page) if found else page.absent("sae_search")
    return _section("sae", [intro, quality, search, page.figure("sae") if found else ""])


def _sae_table(page: _Page) -> str:
    names = {
        "explained_variance": "explained variance",
        "l0": "L0",
        "dead": "dead latents",
        "loss_recovered": "loss recovered",
    }
    rows = []
    for r in page.of("sae"):
        told = {k: Told.of(r, k) for k in names if k != "dead"}
        first = next((t for t in told.values() if t and t.n is not None), None)
        n: Any = first.n if first else r.values.get("rows")
        told = {k: t and replace(t, n=n if t.n is None else t.n) for k, t in told.items()}
        what = f"{r.get('architecture')}, k {r.get('k')}"
        dead = f"{decimal(r.get('dead'))} of {decimal(r.get('d_sae'))}"
        rows.append(
            _row(
                escape(what),
                [
                    f"<code>{escape(r.site)}</code>",
                    _est(told["explained_variance"], n),
                    _est(told["l0"], n),
                    dead,
                    _est(told["loss_recovered"], n),
                    decimal(n),
                    decimal(r.params.get("rows")),
                ],
            )
        )
    return _table(
        "The autoencoder as it reads after being saved and loaded again. n: rows it was measured "
        "on; what has no interval is exact on those rows.",
        ["autoencoder", "site", *names.values(), "n", "trained on rows"],
        rows,
    )


def _search_table(page: _Page) -> str:
    from mo_interp.figures.sae import dictionary_label

    found = page.of("sae_search")
    chosen = any(r.get("auroc_train_n") is not None for r in found)
    rows = []
    for r in found:
        told, train = Told.of(r, "auroc"), Told.of(r, "auroc_train")
        n = told.n if told else None
        cells = [_est(told, n), *([_est(train, n)] if chosen else [])]
        name = f"{escape(str(r.get('label')))}: {escape(dictionary_label(r))}"
        rows.append(_row(name, [*cells, decimal(r.get("candidates")), _n(told)]))
    train = ["AUROC, groups it was chosen on"] if chosen else []
    return _table(
        "The best single unit of each dictionary for each label, chosen on one half of the groups "
        "and judged on the other.",
        ["label and unit", "AUROC, test groups", *train, "candidates", "n"],
        rows,
    )


# ----------------------------------------------------------------------------------- 6 verdicts


def _verdicts(page: _Page) -> str:
    rules = list(dict.fromkeys(str(d.get("rule")) for d in page.of("decision") if d.get("rule")))
    said = "".join(f"<blockquote><p>{_text(rule)}</p></blockquote>" for rule in rules)
    rule = f"<p>The rule, written down before the run:</p>{said}" if said else ""
    intro = (
        "<p><em>Stopped</em>: of the triggered rows on which it lies, the share on which the lie "
        "is gone. <em>Restored</em>: the share on which the truth came back; stopped without "
        "restored means it was broken, not understood. <em>Cost</em>: clean accuracy lost. "
        "<em>Caused</em>: the share of clean partners that give the lie when the mechanism is "
        "written into them.</p>"
    )
    if not page.of("verdict"):
        body = [intro, page.absent("verdict"), rule, _decisions(page)]
    else:
        shown = page.figure("before_and_after")
        body = [intro, rule, _decisions(page), shown, _verdict_table(page), page.figure("verdicts")]
    return _section("verdicts", body)


def _decisions(page: _Page) -> str:
    """What the rule said, seed by seed and model by model."""
    found = page.of("decision")
    if not found:
        return page.absent("decision")
    items = []
    for d in found:
        if d.get("no_behaviour"):
            word = "no behaviour"
        elif d.get("named"):
            word = f"named, at {d.get('site') or d.site}, rank {d.get('rank')}"
        else:
            word = "no mechanism found"
        reason = f": {d.get('reason')}" if d.get("reason") else ""
        who = "twin" if d.model == "twin" else "organism"
        items.append(
            f"<li><strong>{who}, seed {d.seed}: {escape(word)}</strong>{_text(reason)}</li>"
        )
    return f"<ul>{''.join(items)}</ul>"


def _verdict_table(page: _Page) -> str:
    from mo_interp.figures.verdicts import edit_label, mechanism_label

    names = ("stopped", "restored", "cost", "cost_near_miss", "caused")
    chosen = {id(r) for r in named_verdicts(page.records)}
    rows, last = [], ""
    order = list(dict.fromkeys(mechanism_label(r) for r in page.of("verdict")))
    for r in sorted(page.of("verdict"), key=lambda r: (r.seed, order.index(mechanism_label(r)))):
        label = mechanism_label(r) + (f", seed {r.seed}" if page.several else "")
        if label != last:
            rows.append(
                f'<tr class="group"><th scope="colgroup" colspan="8">{escape(label)}</th></tr>'
            )
        last = label
        told = {k: Told.of(r, k) for k in names}
        main = next((told[k] for k in ("restored", "caused", "stopped") if told[k]), None)
        cells = [_est(told[k], main.n if main else None) for k in names]
        if r.get("no_behaviour"):
            cells = ["no behaviour", *"––––"]
        rows.append(
            _row(
                escape(edit_label(r)),
                [*cells, _n(main), _controls(r)],
                cls="under chosen" if id(r) in chosen else "under",
            )
        )
    return _table(
        "Every mechanism under every edit. Shaded: what the rule named. Resampling from the clean "
        "partner is the headline; where the edits disagree, the disagreement is a result.",
        [
            "edit",
            *(k.replace("_", ", ", 1).replace("_", " ") for k in names),
            "n",
            "p against random controls",
        ],
        rows,
    )


def _controls(r: Record) -> str:
    """The p among the random controls, with their number and best."""
    out = []
    for name in ("restored", "caused"):
        p, control = r.get(f"p_{name}"), r.get(f"random_{name}")
        if p is None:
            continue
        known = (
            [float(str(x)) for x in control if x is not None] if isinstance(control, tuple) else []
        )
        more = (
            f'<span class="sub">best of {len(known)} random: {decimal(max(known))}</span>'
            if known
            else '<span class="sub">n not recorded</span>'
        )
        out.append(f"{name} p {decimal(p, 2)}{more}")
    return "<br>".join(out) or "–"


# ------------------------------------------------------------------------------------- 7 limits


def _limits(page: _Page) -> str:
    return _section(
        "limits",
        [
            f"<ul>{''.join(f'<li>{_text(x)}</li>' for x in _limit_lines(page))}</ul>",
            "<h3>Make every number again</h3>",
            _commands(page),
            _facts(page),
            _ledger(page),
        ],
    )


def _limit_lines(page: _Page) -> list[str]:
    """What this page does not show, from the records."""
    grades = {
        "measured": "The organism was trained naturally, so the reference for place is the "
        "exhaustive sweep itself, not weights known in advance.",
        "wired": "The weights were written by hand: a ruler for the instruments, not a model of "
        "how a lie is learned.",
        "implanted": "The lie was trained into reserved parts of a frozen honest model, so its "
        "place is known; a natural lie need not be so tidy.",
        "routed": "The whole model was trained so that designated heads carry the decision, so its "
        "place is known and tested; a natural lie need not be so tidy.",
    }
    lines = [
        f"{seeds_line(page.records).capitalize()}. Intervals speak of new prompts, not of "
        "new training runs."
    ]
    lines += [grades[g] for g in [page.grade] if g in grades]
    lines.append(
        "The lie was planted on purpose in a small model. What holds here is evidence "
        "about the instruments, not about deception that nobody planted."
    )
    lines.append(false_alarms(page.records))
    gone = [k for k in STAGES if k != "training" and not page.of(k)]
    unfit = {("localisation", "measured"), ("persistence", "wired")}
    gone = [k for k in gone if (k, page.grade) not in unfit]
    if gone:
        lines.append(f"Not measured here: there are no records of kind {', '.join(gone)}.")
    return [*lines, *_finest_p(page)]


def _finest_p(page: _Page) -> list[str]:
    """The smallest p that each number of random controls allows."""
    sizes = sorted(
        {
            len(found)
            for r in page.of("verdict")
            for k in ("random_restored", "random_caused")
            if isinstance(found := r.get(k), tuple) and found
        }
    )
    return [
        f"p against {count(n, 'random control')} cannot be below {decimal(1 / (n + 1), 2)}."
        for n in sizes
    ]


def _commands(page: _Page) -> str:
    run = f"runs/{page.run}" if page.run else "RUN"
    seeds = sorted({r.seed for r in own(page.records)})
    lines = [
        (
            f"mo-interp run {page.name} --seed {seed}",
            "grow it (or take it from the store) and measure everything",
        )
        for seed in seeds
    ]
    lines += [
        (f"mo-interp figure verdicts --run {run}", "one figure as a file of its own"),
        (f'grep \'"kind": "verdict"\' {run}/{FILE_NAME}', "the numbers themselves, a line each"),
    ]
    text = "\n".join(f'{escape(a, quote=False)}<span class="c">   # {b}</span>' for a, b in lines)
    return f'<pre tabindex="0" aria-label="Commands"><code>{text}</code></pre>'


def _facts(page: _Page) -> str:
    """Key, seeds and versions behind the page."""
    mine = own(page.records)
    keys = sorted({r.key for r in mine if r.key})
    versions: dict[str, dict[str, None]] = {}
    for r in mine:
        for package, version in r.versions.items():
            versions.setdefault(package, {})[str(version)] = None
    rows = [
        _row("organism", [escape(page.name)]),
        _row("key", [escape(", ".join(keys) or "–")]),
        _row("seeds", [", ".join(str(s) for s in sorted({r.seed for r in mine}))]),
    ]
    rows += [_row(escape(p), [escape(" and ".join(v))]) for p, v in versions.items()]
    return _table("What the numbers were made with.", ["", "value"], rows, kind="facts")


def _ledger(page: _Page) -> str:
    """How many records of each kind the page was made from, and what they cost."""
    kinds = list(dict.fromkeys(r.kind for r in page.records))
    rows = []
    for kind in kinds:
        found = page.of(kind)
        rows.append(
            _row(
                f"<code>{escape(kind)}</code>",
                [decimal(len(found)), decimal(float(sum(r.seconds for r in found)), 1)],
            )
        )
    stages = "; ".join(
        f"{r.get('stage')} {decimal(float(r.get('seconds') or r.seconds), 1)} s"
        for r in page.of("timing")
    )
    spent = f"<p>Time by stage: {escape(stages)}.</p>" if stages else ""
    return spent + _table(
        "The records behind this page.", ["kind", "records", "seconds"], rows, kind="facts"
    )


SECTIONS: tuple[tuple[str, str, Callable[[_Page], str]], ...] = (
    ("organism", "The organism and its lie", _organism),
    ("gates", "Was it planted well?", _gates),
    ("detectors", "What the detectors read, and what of it was only text", _detectors),
    ("patching", "Where the lie is", _patching),
    ("sae", "What an autoencoder adds", _sae),
    ("verdicts", "Cut it out: the verdicts", _verdicts),
    ("limits", "Limits, and how to make every number again", _limits),
)
"""Anchor, title and writer of every section, in reading order."""
