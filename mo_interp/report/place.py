"""Step 4: where the lie lives, by patching, and what that finds of what was planted."""

from __future__ import annotations

from html import escape

from mo_interp.report.circuit import circuit_view
from mo_interp.report.page import Page
from mo_interp.report.pieces import est, prose, row, table
from mo_interp.wording import circuit_line, decimal


def patching(page: Page) -> list[str]:
    """The circuit as a graph, every cell of the sweep, and its score against what is known."""
    intro = (
        "<p>Each cell replaces one component, at the position of one role, by what it was in the "
        "paired prompt. <em>Denoising</em> puts the clean activation into the triggered run and "
        "asks whether the truth comes back; <em>noising</em> puts the triggered one into the "
        "clean run and asks whether the lie appears.</p>"
    )
    circuit = circuit_line(page.records) or page.card.get("circuit", "")
    truth = f"<p>{prose(circuit)}</p>" if circuit else ""
    body = [
        intro,
        truth,
        circuit_view(page),
        "<h3>Every cell of the sweep</h3>",
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
    return body


def _localisation_table(page: Page) -> str:
    from mo_interp.figures.localisation import METRICS, method_label, told_of

    rows = []
    for r in page.of("localisation"):
        told = {m: told_of(r, m) for m in METRICS}
        first = next((t for t in told.values() if t), None)
        seed = f", seed {r.seed}" if page.several else ""
        n = first.n if first else None
        rows.append(
            row(
                escape(method_label(r) + seed),
                [
                    *(est(told[m], n) for m in METRICS),
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
    return table(
        "Rankings of the parts, scored against the planted origin. n: pairs behind a patching "
        "score, draws of the random ranking, or parts ranked by weight; mediators are shown and "
        "left out of the score. One exact ranking has no sampling interval.",
        heads,
        rows,
    )
