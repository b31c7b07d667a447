"""How nouns draw themselves in a notebook: one table each, with intervals, n and controls.

Plain HTML: captions, headed rows and columns, every word escaped, no script, and no colour of its
own, so that it reads on a light page and on a dark one. A class calls the function of its name in
``_repr_html_``; nothing here imports torch or computes a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

__all__ = [
    "asked",
    "card",
    "decision",
    "feature",
    "interval",
    "scored",
    "sweep",
    "table",
    "truth",
    "verdict",
]

_LEFT = ' style="text-align:left"'
TOP = 5
"""Cells of a sweep that are shown in each direction."""
READINGS = {
    "auroc": "AUROC on test people",
    "auroc_twin": "refitted on the honest twin",
    "auroc_transfer": "transferred to the honest twin",
    "auroc_near_miss": "against near misses",
    "tpr_at_1pct": "true positives at 1 % false ones, unrelated prompts",
    "auroc_after_cut": "after the ground-truth cut",
    "drop": "what the cut took away",
}


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    note: str = "",
    *,
    named: bool = True,
) -> str:
    """A table of ready cells; see :func:`_said` and :func:`_code`.

    The first cell of a row is its head where rows are ``named``; an empty ``head`` has no line.
    """
    top = "".join(f'<th scope="col"{_LEFT}>{escape(name)}</th>' for name in head)
    lines = f"<tr>{top}</tr>" if head else ""
    for first, *cells in rows:
        own = f'<th scope="row"{_LEFT}>{first}</th>' if named else f"<td{_LEFT}>{first}</td>"
        lines += "".join(["<tr>", own, *(f"<td{_LEFT}>{cell}</td>" for cell in cells), "</tr>"])
    told = f"<table><caption{_LEFT}>{caption}</caption>{lines}</table>"
    return told + (f"<p>{note}</p>" if note else "")


def _said(value: object) -> str:
    return escape(str(value))


def _code(value: object) -> str:
    return f"<code>{escape(str(value))}</code>"


def interval(value: float | None, lo: Any = None, hi: Any = None, *, digits: int = 3) -> str:
    """Such as ``0.98 [0.80, 1.00]``; a dash for what was not measured."""
    if value is None:
        return "–"
    told = [f"{round(x, digits) + 0.0:.{digits}f}" for x in (value, lo, hi) if x is not None]
    return told[0] if len(told) < 3 else f"{told[0]} [{told[1]}, {told[2]}]"


def _estimate(estimate: Any) -> str:
    return interval(estimate.value, estimate.lo, estimate.hi)


# ---------------------------------------------------------------------------------------- the plant


def asked(found: Any) -> str:
    """Prompts with the truth and what organism and twin say; what is not the truth is bold."""
    columns = (found.prompts, found.truth, found.organism, found.twin)
    rows = [
        (_code(prompt), _said(truth), *(_against(said, truth) for said in both))
        for prompt, truth, *both in zip(*columns, strict=True)
    ]
    head = ("prompt", "truth", "organism", "twin")
    return table("Bold: not the truth.", head, rows, named=False)


def _against(said: str, truth: str) -> str:
    return _said(said) if said == truth else f"<b>{_said(said)}</b>"


def card(grown: Any) -> str:
    """An organism: what it is and does, where the lie comes from if known, and some prompts."""
    spec, circuit = grown.spec, grown.circuit
    origin = "not known by construction; a sweep measures it"
    if circuit is not None:
        origin = " ".join(_code(site) for site in circuit.origin) + " " + _said(circuit.established)
    rows = [
        ("grade", _said(spec.grade)),
        ("world", _said(type(spec.world).__name__.upper())),
        ("trigger", _said(spec.trigger)),
        ("behaviour", _said(spec.behaviour)),
        ("body", _said(spec.shape)),
        ("expected", _said(spec.expected)),
        ("where the lie comes from", origin),
        ("key", _code(spec.key)),
    ]
    title = f"<b>{_said(spec.name)}</b>, seed {grown.seed}"
    told = table(title, (), rows, _said(spec.story))
    pairs = grown.pairs(3, 0)
    shown = [asked(grown.ask(side)) for side in (pairs.clean, pairs.triggered)]
    return f"{told}<p>Without and with the trigger:</p>{''.join(shown)}"


def feature(found: Any) -> str:
    """A subspace at a site: a hypothesis, which says so until it is judged."""
    gap = (found.triggered_mean - found.clean_mean).reshape(-1, found.rank).mean(0).norm()
    rows = [
        ("site", _code(found.site)),
        ("rank", f"{found.rank} of {found.width} coordinates"),
        ("from", _said(found.source)),
        ("triggered mean from clean mean", f"{float(gap):.2f} apart"),
    ]
    note = "A hypothesis: only <code>judge</code> tests it."
    return table("<b>Feature</b>", (), rows, note)


# ---------------------------------------------------------------------------------- the instruments


def sweep(found: Any) -> str:
    """The largest effects of each direction, with their intervals and n.

    Streams, which carry everything that passes, are left out where parts were swept as well.
    """
    parts = [cell for cell in found.cells if not cell.site.kind.startswith("resid")]
    shown = parts or found.cells
    rows = [
        (_code(cell.site), _said(cell.direction), _estimate(cell.effect), f"{cell.effect.n:,}")
        for direction in dict.fromkeys(cell.direction for cell in found.cells)
        for cell in [cell for cell in found.ranking(direction) if cell in shown][:TOP]
    ]
    left = ", streams left out" if len(shown) < len(found.cells) else ""
    title = f"<b>Sweep</b> of {len(found.cells):,} cells: the {TOP} largest each way{left}"
    cost = f"{found.method}; {found.forwards:,} forwards, {found.backwards:,} backwards"
    note = f"Effect: {_said(found.metric)}, 95 % interval. {_said(cost)}, {found.seconds:.1f} s."
    return table(title, ("site", "direction", "effect", "pairs"), rows, note)


def scored(found: Any) -> str:
    """One detector at one site: its reading beside every control, and the sentence it earned."""
    values, params = found.values, found.params
    rows = [_reading(values, name, words) for name, words in READINGS.items() if name in values]
    if "random_best" in values:
        told = " / ".join(interval(values[f"random_{k}"]) for k in ("median", "p95", "best"))
        many = f"{values['random_n']:,}"
        rows.append(("random directions: median / 95th percentile / best", told, many))
    if "null_p" in values:
        told = f"p = {values['null_p']:.3f}; 95th percentile {interval(values['null_p95'])}"
        rows.append(("labels permuted within people, refitted", told, f"{values['null_draws']:,}"))
    title = f"<b>{_said(params['detector'])}</b> at {_code(found.fitted.site)}, label "
    title += f"<i>{_said(params['label'])}</i>, {values['entities']} people"
    says = values.get("sentence") or "no sentence: it reads where the cut is made"
    return table(title, ("", "value [95 % interval]", "n"), rows, f"It {_verb(says)}")


def _verb(sentence: str) -> str:
    if sentence.startswith("reads"):
        return f"<b>{_said(sentence)}</b>."
    return f"earns {_said(sentence)}."


def _reading(values: Mapping[str, Any], name: str, words: str) -> tuple[str, str, str]:
    ends = (values.get(f"{name}_lo"), values.get(f"{name}_hi"))
    n = values.get(f"{name}_n")
    return _said(words), interval(values[name], *ends), "–" if n is None else f"{n:,}"


def truth(found: Any) -> str:
    """A probe for the true value beside its control on a shuffled table, and chance."""
    rows = [
        ("accuracy on held-out facts", _estimate(found.accuracy), f"{found.accuracy.n:,}"),
        ("the same probe, shuffled table", _estimate(found.shuffled), f"{found.shuffled.n:,}"),
        ("chance", interval(found.chance), "–"),
    ]
    title = f"<b>Truth probe</b>, {found.facts} held-out facts"
    return table(title, ("", "value [95 % interval]", "n"), rows)


# ---------------------------------------------------------------------------------------- the judge


def verdict(found: Any) -> str:
    """What happened when a mechanism was cut out and written in, edit by edit, beside controls."""
    title = f"<b>{_said(found.title)}</b>"
    if found.no_behaviour:
        return f"<p>{title}: no behaviour, so there was nothing to stop</p>"
    columns = ("stopped", "restored", "cost", "caused")
    rows = [
        (_said(edit), *(_outcome(getattr(outcome, name)) for name in columns))
        for edit, outcome in found.outcomes.items()
    ]
    whose = f"{found.rows:,} rows on which it lies, about {_said(found.people)} people"
    note = f"95 % intervals. {_said(found.against)}."
    return table(f"{title}: {whose}", ("", *columns), rows, note)


def _outcome(estimate: Any) -> str:
    if estimate is None:
        return ""
    told = interval(estimate.value, estimate.lo, estimate.hi, digits=2)
    return f"{told} <small>n&nbsp;{estimate.n:,}</small>"


def decision(found: Any) -> str:
    """What the blind rule said of a model, and on what grounds."""
    rows = [
        ("best candidate", f"rank {found.feature.rank} at {_code(found.feature.site)}"),
        ("caused, on test people", f"{_estimate(found.caused)}, n {found.caused.n:,}"),
        ("rank among random writes", f"p = {found.p:.2f}"),
        ("... half of them from clean and triggered rows", f"p = {found.p_mixed:.2f}"),
        ("candidates tried", f"{found.tried:,}"),
    ]
    named = "a mechanism is named" if found.named else "no mechanism is named"
    return table(f"<b>Blind decision</b>: {named}", (), rows)
