"""Pieces of a page: text, tables, numbers with their intervals. Strings in, HTML out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Literal

from mo_interp.wording import Told, count, decimal


def flat(text: object) -> list[object]:
    """All entries of a trace's text, which is nested for a heat map."""
    if isinstance(text, str) or text is None:
        return []
    out: list[object] = []
    for item in text if isinstance(text, Iterable) else []:
        out += [item] if isinstance(item, str) else flat(item)
    return out


def points_list(points: Sequence[str], number: int) -> str:
    """Every point of a figure in words, folded away."""
    if not points:
        return ""
    items = "".join(f"<li>{escape(p)}</li>" for p in points)
    return (
        f'<details class="long"><summary>The {len(points):,} numbers of figure {number}</summary>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="The numbers of figure '
        f'{number}"><ul>{items}</ul></div></details>'
    )


def full_stop(words: str) -> str:
    """The words with a full stop, unless they end a sentence already."""
    return words if words.endswith(("?", ".", "!")) else words + "."


def prose(words: str) -> str:
    """Escaped text in which `backticks` become code."""
    parts = escape(words, quote=False).split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts))


def table(
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
        f"<caption>{prose(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def row(head: str, cells: Iterable[str], *, cls: str = "") -> str:
    """One row; the first cell heads it."""
    attribute = f' class="{cls}"' if cls else ""
    body = "".join(f"<td>{c}</td>" for c in cells)
    return f'<tr{attribute}><th scope="row">{head}</th>{body}</tr>'


def est(told: Told | None, n: int | None = None) -> str:
    """A number over its interval; its own n where that is not the row's ``n``."""
    if told is None:
        return "–"
    size = "" if told.n == n and n is not None else f'<span class="ci">{told.size}</span>'
    how = f' title="{escape(told.how)}"' if told.how else ""
    return (
        f'<span class="est"{how}>{decimal(float(told.value))}'
        f'<span class="ci">{told.interval}</span>{size}</span>'
    )


def n_cell(told: Told | None) -> str:
    """The n of a row, with its groups."""
    if told is None or told.n is None:
        return "not recorded" if told else "–"
    groups = f'<span class="sub">{count(told.clusters, "group")}</span>' if told.clusters else ""
    return f"{told.n:,}{groups}"
