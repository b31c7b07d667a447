"""The report: one self-contained HTML page that a person reads from top to bottom.

Everything on it is computed from Records, and from the words of the organism's specification. A
stage that did not run becomes a sentence naming the command that runs it. The order is that of an
honest story, a module of this package for each step or two:

1. the organism and its lie, beside its twin, and 2. was it planted well? (:mod:`.planted`);
3. what detectors read, and what of it was only text (:mod:`.reading`), token by token
   (:mod:`.tokens`);
4. where it lives (:mod:`.place`), as a graph (:mod:`.circuit`);
5. what the SAE sees (:mod:`.sae`);
6. what happened when we cut it (:mod:`.cutting`);
7. limits, and how to recreate every number (:mod:`.limits`).

:func:`compare` puts several organisms or runs side by side (:mod:`.comparison`). The file itself
is made in :mod:`.page`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from mo_interp.errors import MoInterpError
from mo_interp.records import Record, atomic_write
from mo_interp.report import cutting, limits, place, planted, reading, sae
from mo_interp.report.comparison import Compared, compare, write_comparison
from mo_interp.report.page import Page, conclusion, contents, filled
from mo_interp.report.pieces import prose
from mo_interp.wording import conclude, organisms_in, seeds_line

__all__ = [
    "FILE",
    "SECTIONS",
    "Compared",
    "Page",
    "compare",
    "render",
    "write_comparison",
    "write_report",
]

FILE = "report.html"
SECTIONS: tuple[tuple[str, str, Callable[[Page], list[str]]], ...] = (
    ("organism", "The organism and its lie", planted.organism),
    ("gates", "Planted well?", planted.gates),
    ("detectors", "What detectors read", reading.detectors),
    ("patching", "Where it lives", place.patching),
    ("sae", "What the SAE sees", sae.dictionaries),
    ("verdicts", "What happened when we cut it", cutting.verdicts),
    ("limits", "Limits, and how to recreate every number", limits.limits),
)
"""Anchor, title and writer of every section, in reading order."""


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
    page = Page(records=list(records), name=names[0], run=run, card=dict(card or {}))
    body = [_section(i, page) for i in range(len(SECTIONS))]
    return filled(
        title=f"{names[0]}: a report",
        banner=seeds_line(records),
        nav=contents([(anchor, title) for anchor, title, _ in SECTIONS]),
        header=_header(page),
        body="\n".join(body),
        data=page.data,
        plots=page.drawn > 0,
    )


def _section(i: int, page: Page) -> str:
    """One step of the story under its number and title."""
    anchor, title, write = SECTIONS[i]
    head = f'<h2 id="{anchor}-title"><span class="no">{i + 1}</span>{escape(title)}</h2>'
    inside = "\n".join(part for part in write(page) if part)
    return f'<section id="{anchor}" aria-labelledby="{anchor}-title">{head}\n{inside}</section>'


def _header(page: Page) -> str:
    """Name, what this is, and the conclusion."""
    story = page.card.get("story", "")
    lede = f'<p class="lede">{prose(story)}</p>' if story else ""
    return (
        '<header><p class="eyebrow">Planted, found, cut out, judged</p>'
        f"<h1>{escape(page.name)}</h1>{lede}{conclusion(conclude(page.records))}</header>"
    )
