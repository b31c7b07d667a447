"""Steps 1 and 2: the organism and its lie, and whether it was planted well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from mo_interp.records import Record
from mo_interp.report.page import Page
from mo_interp.report.pieces import est, n_cell, prose, row, table
from mo_interp.wording import Told, count, decimal, extras, failed_gates, memorised, status_word


def organism(page: Page) -> list[str]:
    """The specification in words, and what organism and twin say to the same prompts."""
    words = {k: v for k, v in page.card.items() if k not in ("name", "story", "circuit") and v}
    spec = "".join(f"<dt>{escape(k)}</dt><dd>{prose(str(v))}</dd>" for k, v in words.items())
    body = [f'<dl class="spec">{spec}</dl>' if spec else ""]
    shown = page.of("example")
    if not shown:
        return [*body, page.absent("example")]
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
    return body


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
            rows.append(row(name, [prompt, truth, *said], cls=side))
    return table(
        f"{count(len(pairs), 'prompt')}, each without and with the trigger; p is the probability "
        "of the answer given.",
        ["row", "prompt", "truth", "organism says", "twin says"],
        rows,
        kind="examples",
    )


def gates(page: Page) -> list[str]:
    """The gates, how often it lies, how it was grown, and whether that can be undone."""
    found = sorted(page.of("gate"), key=lambda r: (r.get("number", 0), r.seed))
    if not found:
        body = [page.absent("gate")]
    else:
        alarms = [
            f'<div class="alarm" role="note"><strong>{prose(_alarm(r))}</strong></div>'
            for r in [*failed_gates(found), *memorised(found)]
        ]
        fine = "" if alarms else "<p>No gate that applies was failed.</p>"
        body = [*alarms, fine, _gate_table(found, several=page.several), page.figure("gates")]
    body.append("<h3>How often it lies, and on what</h3>")
    body.append(_behaviour_table(page) if page.of("behaviour") else "")
    body += [page.figure("behaviour"), "<h3>How it was grown</h3>", _grown(page), _outlasts(page)]
    return body


def _grown(page: Page) -> str:
    """The training curve, unless there was no training."""
    if page.grade == "wired" and not page.of("training"):
        return "<p>Nothing was trained: its weights were written by hand.</p>"
    return page.figure("training")


def _outlasts(page: Page) -> str:
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
        reason = f'<span class="reason">{prose(str(r.get("reason") or ""))}</span>'
        rows.append(
            row(
                name,
                [
                    *seed,
                    status,
                    est(told, told.n if told else None),
                    decimal(r.get("threshold")),
                    n_cell(told),
                    escape(str(r.get("seeds") or "–")),
                    reason,
                ],
                cls="loud" if cls == "fail" else "",
            )
        )
        for also, more in extras(r):
            cells = [*seed, "", est(more, more.n), "–", n_cell(more), "", ""]
            rows.append(row(f"{r.get('number')} – {escape(also)}", cells, cls="under"))
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
    return table("The gates. A gate is never loosened to pass.", heads, rows)


def _behaviour_table(page: Page) -> str:
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
            est(told.get((model, k)), first.n if first else None)
            for model in ("organism", "twin")
            for k in ("gives_answer", "gives_truth")
        ]
        rows.append(
            row(
                escape(split_label(split)),
                [*([str(seed)] if page.several else []), *cells, n_cell(first)],
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
    return table(
        "Share of prompts on which each model gives the planted answer, and the truth.", heads, rows
    )
