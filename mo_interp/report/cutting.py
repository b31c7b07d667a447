"""Step 6: what happened when it was cut out and written in: the verdicts with their controls."""

from __future__ import annotations

from html import escape

from mo_interp.records import Record
from mo_interp.report.page import Page
from mo_interp.report.pieces import est, n_cell, prose, row, table
from mo_interp.wording import Told, decimal, named_verdicts


def verdicts(page: Page) -> list[str]:
    """The rule, what it named, and every mechanism under every edit beside its controls."""
    rules = list(dict.fromkeys(str(d.get("rule")) for d in page.of("decision") if d.get("rule")))
    said = "".join(f"<blockquote><p>{prose(rule)}</p></blockquote>" for rule in rules)
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
    return body


def _decisions(page: Page) -> str:
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
            f"<li><strong>{who}, seed {d.seed}: {escape(word)}</strong>{prose(reason)}</li>"
        )
    return f"<ul>{''.join(items)}</ul>"


def _verdict_table(page: Page) -> str:
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
        cells = [est(told[k], main.n if main else None) for k in names]
        if r.get("no_behaviour"):
            cells = ["no behaviour", *"––––"]
        rows.append(
            row(
                escape(edit_label(r)),
                [*cells, n_cell(main), _controls(r)],
                cls="under chosen" if id(r) in chosen else "under",
            )
        )
    return table(
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
