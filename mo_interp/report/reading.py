"""Step 3: what detectors read, and what of it was only text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mo_interp.records import Record
from mo_interp.report.page import Page
from mo_interp.report.pieces import est, n_cell, row, table
from mo_interp.report.tokens import token_view
from mo_interp.wording import Told, count, decimal, earned


def detectors(page: Page) -> list[str]:
    """What every detector reads, beside the twin and the cut; then token by token."""
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
    if page.of("probe"):
        body += ["<h3>Which layer knows</h3>", page.figure("which_layer")]
    else:
        body += ["<h3>Which layer knows</h3>", page.absent("probe")]
    return [*body, token_view(page)]


def _left_out(page: Page) -> list[str]:
    """Detectors that could not be fitted here, each with its reason."""
    rows = [
        row(escape(str(r.get("detector"))), [escape(str(r.get("reason")))])
        for r in page.of("detector_skipped")
    ]
    if not rows:
        return []
    return [table("Detectors that were not fitted here.", ["detector", "why"], rows, kind="facts")]


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


_RANDOM, _SHUFFLED = "random directions", "shuffled labels"
_DETECTOR_COLUMNS = {
    "auroc": "AUROC, organism",
    "auroc_twin": "refitted on the twin",
    _RANDOM: _RANDOM,  # beside the number, where no page is too narrow to show it
    "auroc_transfer": "transferred to the twin",
    "auroc_after_cut": "after the cut",
    "drop": "drop under the cut",
    "auroc_near_miss": "against near misses",
    "tpr_at_1pct": "TPR at 1 % FPR",
    _SHUFFLED: _SHUFFLED,
}


def _detector_table(found: Sequence[Record], several: bool) -> str:
    special = {_RANDOM: _random_cell, _SHUFFLED: _null_cell}
    columns = {
        k: v
        for k, v in _DETECTOR_COLUMNS.items()
        if k in special or any(Told.of(r, k) for r in found)
    }
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
            row(
                name,
                [
                    f'<span class="earned">{says}</span>',
                    n_cell(told),
                    *(special[k](r) if k in special else est(Told.of(r, k), n) for k in columns),
                ],
            )
        )
    heads = [
        "detector",
        "what it earned",
        "n",
        *columns.values(),
    ]
    papers = {str(r.get("paper")) for r in found if r.get("paper")}
    source = f" Papers: {', '.join(sorted(papers))}." if papers else ""
    return table(
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
    told = f'p95 {decimal(p95)}<span class="sub">best {decimal(best)}, {size}</span>'
    if r.get("random_dictionary_n") is not None:  # latents are chosen among many; so are these
        p95, best, n = (r.get(f"random_dictionary_{k}") for k in ("p95", "best", "n"))
        told += (
            '<span class="sub">random dictionaries:</span>'
            f'<span class="sub">p95 {decimal(p95)}</span>'
            f'<span class="sub">best {decimal(best)}, n {decimal(n)}</span>'
        )
    return told


def _null_cell(r: Record) -> str:
    """The p of the permutation null, and how many permutations."""
    p, p95 = r.get("null_p"), r.get("null_p95")
    n = r.get("null_draws", r.get("null_n"))
    if p is None:
        return "–"
    size = "n not recorded" if n is None else f"n {decimal(n)}"
    return f'p {decimal(p)}<span class="sub">p95 {decimal(p95)}, {size}</span>'


def _baseline_table(page: Page) -> str:
    from mo_interp.figures.detectors import BASELINES

    rows = []
    for r in page.of("baseline"):
        told, name = Told.of(r, "auroc"), str(r.get("name"))
        rows.append(
            row(
                escape(BASELINES.get(name, name)),
                [est(told, told.n if told else None), n_cell(told)],
            )
        )
    return table(
        "What needs no look inside: the words of the prompt, and the outputs alone.",
        ["baseline", "AUROC", "n"],
        rows,
    )
