"""The page itself: what its sections share, and the one file that they are written into.

The page loads nothing: a content policy in its head forbids the browser to fetch anything. The
drawing library is embedded once, packed with gzip and base64 (1.9 MB for 4.8 MB), and unpacked by
the browser's own ``DecompressionStream`` after the text is shown. Where a browser has none, the
figures say so and their numbers stand in lists under them.
"""

from __future__ import annotations

import base64
import functools
import gzip
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from mo_interp import figures
from mo_interp.errors import MoInterpError
from mo_interp.records import Record, select
from mo_interp.report.pieces import flat, full_stop, points_list, prose
from mo_interp.wording import Conclusion, missing, own

__all__ = ["POLICY", "Page", "conclusion", "contents", "file_text", "filled", "packed"]

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
TALL = 1500
"""Pixels above which a figure stands in a box that scrolls."""
_HERE = Path(__file__).parent
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
<main id="content" tabindex="-1">
%%HEADER%%
%%BODY%%
<footer>Made by mo_interp from records alone. This page loads nothing from anywhere.</footer>
</main>
</div>
<noscript><p class="absent">The figures and the token view's controls need JavaScript; the numbers
of every figure stand in a list under it.</p></noscript>
%%DATA%%
<script>
%%JS%%</script>
</body>
</html>
"""


@dataclass
class Page:
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
    """One script element of JSON for each figure drawn, and for each view."""
    drawn: int = 0
    """How many figures so far."""

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
        return f'<p class="absent">{prose(missing(kind, self.name))}.</p>'

    def embed(self, anchor: str, payload: str) -> None:
        """Put JSON on the page, where its script finds it by ``anchor``."""
        safe = payload.replace("</", "<\\/").replace("<!--", "<\\!--")
        self.data.append(f'<script type="application/json" id="{anchor}">{safe}</script>')

    def figure(self, name: str) -> str:
        """A figure with its caption and the table behind it; a sentence where it cannot be."""
        try:
            drawn = figures.draw(name, self.records, organism=self.name)
        except MoInterpError as err:
            return f'<p class="absent">No figure: {prose(str(err))}.</p>'
        self.drawn += 1
        self.embed(f"fig-{name}", figures.embeddable(drawn))
        return _figure(name, self.drawn, drawn.layout, _points(drawn))


def _points(drawn: Any) -> list[str]:
    """What every point of a figure says."""
    return [str(t) for trace in drawn.data for t in flat(getattr(trace, "text", None)) if t]


def _figure(name: str, number: int, layout: Any, points: Sequence[str]) -> str:
    """The element that a figure is drawn into, between its caption and its numbers."""
    meta, height = layout.meta, int(layout.height or 340)
    plot = (
        f'<div class="plot" role="img" aria-label="{escape(meta["alt"])}" '
        f'aria-describedby="caption-{name}" data-source="fig-{name}" '
        f'style="min-height:{height}px"></div>'
    )
    if height > TALL:
        plot = (
            f'<div class="tall" tabindex="0" role="region" aria-label="Figure {number}, which '
            f'scrolls">{plot}</div><p class="printed">Figure {number} is longer than a page and '
            "is not printed; its numbers stand in the table of this section.</p>"
        )
    return (
        f'<figure id="figure-{name}"><figcaption id="caption-{name}"><b>Figure {number}. '
        f"{escape(full_stop(meta['title']))}</b> {escape(meta['caption'])}</figcaption>"
        f"{plot}{points_list(points, number)}</figure>"
    )


def contents(sections: Sequence[tuple[str, str]]) -> str:
    """The table of contents: anchors and titles in reading order."""
    items = "".join(f'<li><a href="#{a}">{escape(t)}</a></li>' for a, t in sections)
    return f'<nav aria-label="Contents"><h2>Contents</h2><ol>{items}</ol></nav>'


def conclusion(said: Conclusion) -> str:
    """The plain-words conclusion in its box."""
    cls = {"named": "named", "failed gate": "failed", "unfinished": ""}.get(said.kind, "none")
    items = "".join(f"<li>{prose(s)}</li>" for s in said.sentences)
    return (
        f'<div class="conclusion {cls}" role="region" aria-label="Conclusion">'
        f'<p class="label">Conclusion: {escape(said.kind)}</p>'
        f'<p class="headline">{prose(said.headline)}</p><ul>{items}</ul></div>'
    )


def file_text(name: str) -> str:
    """The text of a file beside this one."""
    return (_HERE / name).read_text(encoding="utf-8")


@functools.cache
def packed() -> str:
    """The drawing library as gzip in base64; the same bytes every time."""
    return base64.b64encode(gzip.compress(figures.plotlyjs().encode(), 9, mtime=0)).decode()


def filled(
    *, title: str, banner: str, nav: str, header: str, body: str, data: Sequence[str], plots: bool
) -> str:
    """The whole file; the drawing library is on it where there are ``plots``."""
    more = [f'<script type="application/json" id="dark-colours">{_dark()}</script>']
    if plots:
        more.append(f'<script type="text/plain" id="plotly-packed">{packed()}</script>')
    fill = {
        "POLICY": POLICY,
        "TITLE": escape(title),
        "CSS": file_text("page.css"),
        "BANNER": escape(banner),
        "NAV": nav,
        "HEADER": header,
        "BODY": body,
        "DATA": "\n".join([*data, *more]),
        "JS": file_text("page.js"),
    }
    return re.sub("%%([A-Z]+)%%", lambda m: fill[m[1]], _TEMPLATE)


def _dark() -> str:
    return json.dumps(figures.dark_colours())
