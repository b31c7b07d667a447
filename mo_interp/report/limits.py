"""Step 7: limits, and how to recreate every number."""

from __future__ import annotations

from html import escape

from mo_interp.records import FILE_NAME
from mo_interp.report.page import Page
from mo_interp.report.pieces import prose, row, table
from mo_interp.wording import STAGES, count, decimal, false_alarms, own, seeds_line


def limits(page: Page) -> list[str]:
    """What this page does not show, and the commands, versions and records behind it."""
    return [
        f"<ul>{''.join(f'<li>{prose(x)}</li>' for x in _limit_lines(page))}</ul>",
        "<h3>Recreate every number</h3>",
        _commands(page),
        _facts(page),
        _ledger(page),
    ]


def _limit_lines(page: Page) -> list[str]:
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


def _finest_p(page: Page) -> list[str]:
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


def _commands(page: Page) -> str:
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


def _facts(page: Page) -> str:
    """Key, seeds and versions behind the page."""
    mine = own(page.records)
    keys = sorted({r.key for r in mine if r.key})
    versions: dict[str, dict[str, None]] = {}
    for r in mine:
        for package, version in r.versions.items():
            versions.setdefault(package, {})[str(version)] = None
    rows = [
        row("organism", [escape(page.name)]),
        row("key", [escape(", ".join(keys) or "–")]),
        row("seeds", [", ".join(str(s) for s in sorted({r.seed for r in mine}))]),
    ]
    rows += [row(escape(p), [escape(" and ".join(v))]) for p, v in versions.items()]
    return table("What the numbers were made with.", ["", "value"], rows, kind="facts")


def _ledger(page: Page) -> str:
    """How many records of each kind the page was made from, and what they cost."""
    kinds = list(dict.fromkeys(r.kind for r in page.records))
    rows = []
    for kind in kinds:
        found = page.of(kind)
        rows.append(
            row(
                f"<code>{escape(kind)}</code>",
                [decimal(len(found)), decimal(float(sum(r.seconds for r in found)), 1)],
            )
        )
    stages = "; ".join(
        f"{r.get('stage')} {decimal(float(r.get('seconds') or r.seconds), 1)} s"
        for r in page.of("timing")
    )
    spent = f"<p>Time by stage: {escape(stages)}.</p>" if stages else ""
    return spent + table(
        "The records behind this page.", ["kind", "records", "seconds"], rows, kind="facts"
    )
