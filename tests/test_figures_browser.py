"""Every figure as drawn: no text is cut off or lies on another, no mark lies in the legend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import chromium
import plotly.graph_objects as go
import pytest
import synthetic

from mo_interp import figures
from mo_interp.records import Record, read_records, select

BROWSER = figures.browser()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chrome or Chromium on this machine"),
]
ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "probes" / "results"
MAKE = synthetic.Maker("quirky_user", 0)
MADE = [*synthetic.records(), *synthetic.removal(MAKE)]
SEEDS = [r for s in range(5) for r in synthetic.records(seed=s)]
DRAWN = "document.querySelector('.js-plotly-plot .xtick, .js-plotly-plot text') !== null"
BOXES = """[...document.querySelectorAll('svg text')].filter(t => t.textContent.trim()).map(t => {
    const b = t.getBoundingClientRect(), turned = t.closest('[transform*=rotate]') !== null;
    const size = parseFloat(getComputedStyle(t).fontSize);
    return [t.textContent, b.left, b.top, b.right, b.bottom, size, turned];
})"""
MARKS = """[...document.querySelectorAll('.scatterlayer path.point, path.js-line')].map(m => {
    const b = m.getBoundingClientRect(); return ['mark', b.left, b.top, b.right, b.bottom];
})"""
LEGENDS = """[...document.querySelectorAll('[class^=legend] > .bg, .legend .bg')].map(m => {
    const b = m.getBoundingClientRect(); return ['legend', b.left, b.top, b.right, b.bottom];
})"""
Box = tuple[str, float, float, float, float]


def recorded(*names: str) -> list[Record]:
    """Records as they are shipped."""
    return [r for name in names for r in read_records(RESULTS / f"{name}.jsonl")]


def of_cards(organism: str) -> list[Record]:
    """The gates of all seeds of an organism."""
    return select(read_records(ROOT / "organisms" / "records.jsonl"), organism=organism)


CASES = {
    **{f"{name}, made": (name, lambda: MADE) for name in (
        "training", "behaviour", "gates", "persistence", "detectors", "which_layer", "patch_grid",
        "circuit", "localisation", "sae", "before_and_after", "verdicts", "removal")},
    **{f"{name}, five seeds": (name, lambda: SEEDS) for name in (
        "training", "behaviour", "gates", "persistence", "detectors", "patch_grid", "circuit",
        "localisation", "sae", "before_and_after", "verdicts")},
    **{f"{name}, recorded": (name, lambda: recorded("quirky_user")) for name in (
        "behaviour", "gates", "detectors", "sae", "before_and_after", "verdicts")},
    "gates of deploy_tag": ("gates", lambda: of_cards("deploy_tag")),
    "gates of quirky_user_obfuscated": ("gates", lambda: of_cards("quirky_user_obfuscated")),
    "when_it_forms": ("when_it_forms", lambda: recorded("when_it_forms")),
    "which_layer": ("which_layer", lambda: recorded("which_layer_knows", "quirky_user")),
    "agreement": ("agreement", lambda: recorded("gradient_against_sweep")),
    "scoreboard": ("scoreboard", lambda: recorded("scoreboard")),
    "a large scoreboard": ("scoreboard", lambda: large()),
}  # fmt: skip


def large() -> list[Record]:
    """The scoreboard with eleven organisms."""
    found = recorded("scoreboard")
    mine = [r for r in found if r.organism == "quirky_user"]
    names = ("conjunction", "count_threshold", "deploy_tag", "implanted_conjunction")
    more = [replace(r, organism=name) for name in (*names, "semantic_gate", "parity") for r in mine]
    return [*found, *more]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drawn")


@pytest.fixture(scope="module")
def tab(folder: Path) -> Iterator[chromium.Tab]:
    with chromium.tab(str(BROWSER), folder / "profile") as made:
        yield made


def opened(tab: chromium.Tab, folder: Path, figure: go.Figure) -> list[list]:
    """The boxes of all texts of a figure, drawn at its own size."""
    (page,) = figures.write(figure, folder, "drawn", formats=("html",))
    html = page.read_text()
    page.write_text(html.replace("<body>", '<body style="margin:0">'))
    tab.look(width=figure.layout.width + 20, height=figure.layout.height + 20)
    tab.open(page, wait=DRAWN)
    return [box for box in tab.run(BOXES) if box[3] > box[1]]


def over(one: list, other: list, slack: float = 1.5) -> bool:
    """Whether two boxes lie on each other by more than a hair."""
    wide = min(one[3], other[3]) - max(one[1], other[1])
    high = min(one[4], other[4]) - max(one[2], other[2])
    return wide > slack and high > 2 * slack


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("theme", "width"), [
    ("paper", "column"), ("paper", "page"), ("screen", "column"),
])  # fmt: skip
def test_no_text_is_cut_off_or_lies_on_another(tab, folder, case, theme, width) -> None:
    name, records = CASES[case]
    figure = figures.draw(name, records(), theme=theme, width=width)
    boxes = opened(tab, folder, figure)
    assert len(boxes) > 5 and tab.problems == []
    size = (figure.layout.width, figure.layout.height)
    out = [t for t, x, y, right, low, *_ in boxes
           if min(x, y) < -0.5 or right > size[0] + 0.5 or low > size[1] + 0.5]  # fmt: skip
    assert out == [], "cut off"
    level = [b for b in boxes if not b[6]]
    pairs = [(a[0], b[0]) for i, a in enumerate(level) for b in level[:i] if over(a, b)]
    assert pairs == [], "on each other"
    small = {b[0]: b[5] for b in boxes if b[5] * 0.75 < 7.99}
    assert small == {}, "under 8 points"
    if theme == "paper":
        assert size[1] <= 9 * 96


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("width", figures.WIDTHS)
def test_no_mark_lies_in_a_legend(tab, folder, case, width) -> None:
    name, records = CASES[case]
    opened(tab, folder, figures.draw(name, records(), theme="paper", width=width))
    marks, legends = tab.run(MARKS), tab.run(LEGENDS)
    assert marks
    assert [m for m in marks for legend in legends if over(m, legend, 0.5)] == []


def test_a_text_on_another_and_one_cut_off_would_be_seen(tab, folder) -> None:
    figure = figures.draw("sae", MADE, theme="paper")
    figure.add_annotation(x=0.98, y=0.5, xref="paper", yref="paper", text="much too long " * 3)
    first = figure.layout.annotations[0]
    figure.add_annotation(first.to_plotly_json() | {"text": "upon it"})
    boxes = opened(tab, folder, figure)
    assert any(over(a, b) for a in boxes for b in boxes if (a[0], b[0][:4]) == ("upon it", "trig"))
    assert any(b[0].startswith("much") and b[3] > figure.layout.width for b in boxes)
