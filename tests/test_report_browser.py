"""The report in a real browser: nothing fails, nothing leaves the page, every control works."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest
import synthetic

from mo_interp import figures
from mo_interp.report import compare, render
from mo_interp.report.comparison import split

BROWSER = figures.browser()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chrome or Chromium on this machine"),
]
DRAWN = "['drawn', 'none', 'missing'].includes(document.documentElement.dataset.figures)"
RECORDS = synthetic.records()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("report")
    (place / "report.html").write_text(render(RECORDS, run="r", card=synthetic.SPEC))
    columns = [c for name in ("one", "two") for c in split(name, synthetic.records(organism=name))]
    (place / "comparison.html").write_text(compare(columns))
    return place


@pytest.fixture(scope="module")
def tab(folder: Path) -> Iterator[chromium.Tab]:
    with chromium.tab(str(BROWSER), folder / "profile") as made:
        yield made


@pytest.fixture
def report(tab: chromium.Tab, folder: Path) -> chromium.Tab:
    """The report, opened from disk and drawn."""
    tab.look()
    tab.open(folder / "report.html", wait=DRAWN)
    return tab


def text(tab: chromium.Tab, selector: str) -> str:
    return str(tab.run(f"document.querySelector({selector!r}).textContent"))


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["report.html", "comparison.html"])
def test_no_error_and_no_request_leaves_the_page(tab, folder, name, dark):
    tab.look(dark=dark)
    tab.open(folder / name, wait=DRAWN)
    assert tab.problems == []
    away = [url for url in tab.requests if not url.startswith(("file:", "data:", "blob:"))]
    assert away == [] and sum(url.startswith("file:") for url in tab.requests) == 1


def test_a_problem_and_a_request_would_be_seen(tab, folder):
    (folder / "bad.html").write_text(
        "<script>console.error('no'); undefined_name()</script><img src='http://127.0.0.1:9/x.png'>"
    )
    tab.open(folder / "bad.html")
    assert len(tab.problems) >= 2 and "http://127.0.0.1:9/x.png" in tab.requests


def test_every_figure_is_drawn_and_none_is_empty(report):
    assert report.run("document.documentElement.dataset.figures") == "drawn"
    marks = report.run(
        "[...document.querySelectorAll('.plot')].map(p => p.querySelectorAll("
        "'.points path, .heatmaplayer image, .trace path, .bars path, .shapelayer path').length)"
    )
    assert len(marks) == len(re.findall('class="plot"', render(RECORDS, card=synthetic.SPEC)))
    assert len(marks) >= 9 and min(marks) > 0, marks
    parts = "document.querySelectorAll('#circuit-view .drawing:not([hidden]) .node.on').length"
    assert report.run(parts) > 3


def test_without_a_decompressor_the_figures_say_so(tab, folder):
    given = tab.ask(
        "Page.addScriptToEvaluateOnNewDocument", source="delete window.DecompressionStream"
    )
    try:
        tab.open(folder / "report.html", wait=DRAWN)
        assert tab.run("document.documentElement.dataset.figures") == "missing"
        assert "could not be unpacked" in text(tab, ".plot") and tab.problems == []
    finally:
        tab.ask("Page.removeScriptToEvaluateOnNewDocument", identifier=given["identifier"])


def _choose(tab: chromium.Tab, selector: str, value: str) -> None:
    tab.run(
        f"(() => {{ const box = document.querySelector({selector!r}); box.value = {value!r};"
        "box.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )


def _scores(tab: chromium.Tab, side: str) -> list[str]:
    return tab.run(
        f"[...document.querySelectorAll('[data-side={side}] .score')].map(s => s.textContent)"
    )


def test_the_token_view_shows_what_is_chosen(report):
    assert _scores(report, "triggered")[5:] == ["0.98", "0.92", "0.92"]
    assert _scores(report, "clean")[5:] == ["0.02", "0.50", "0.50"]
    written = report.run("document.querySelector('[data-side=clean] ol').innerHTML")
    _choose(report, "#token-site", "L0.resid_pre")
    assert _scores(report, "triggered")[5:] == ["0.98", "0.50", "0.50"]
    assert "L0.resid_pre" in text(report, "#token-caption")
    _choose(report, "#token-site", "L2.resid_post")
    again = report.run("document.querySelector('[data-side=clean] ol').innerHTML")
    bare = [re.sub(r"[\s;]", "", words) for words in (written, again)]
    assert bare[0] == bare[1], "the script writes what was written into the page"
    _choose(report, "#token-prompt", "1")
    assert _scores(report, "triggered")[5] == "0.99" and "Bea" in text(report, ".tokens")
    assert "lie" in text(report, "[data-side=triggered] .said")
    report.run("document.querySelector('input[value=twin]').click()")
    assert _scores(report, "triggered")[5:] == ["0.99", "0.50", "0.50"]
    assert "true" in text(report, "[data-side=triggered] .said")
    assert report.run("document.querySelectorAll('#token-rows tr').length") == 8


def test_tokens_are_read_with_the_arrow_keys(report):
    report.run("document.querySelector('[data-side=triggered] .token').focus()")
    for _ in range(5):
        report.key("ArrowRight")
    said = text(report, "#token-view .readout")
    assert "position 5" in said and "suki" in said and "mara" in said and "0.982" in said
    assert report.run("document.querySelectorAll('.token.paired').length") == 2
    report.key("End")
    assert "position 7" in text(report, "#token-view .readout")


def test_the_circuit_view_turns_round_and_tells_its_parts(report):
    hidden = "[...document.querySelectorAll('.drawing')].map(d => d.hidden)"
    assert report.run(hidden) == [False, True]
    report.run("document.querySelector('input[value=noising]').click()")
    assert report.run(hidden) == [True, False]
    report.run("document.querySelector('.drawing:not([hidden]) .node.on').focus()")
    said = text(report, "#circuit-view .readout")
    assert "noising" in said and re.search(r"\[.*\], n ", said)


def test_every_control_is_reached_by_tab_and_its_focus_is_seen(report):
    report.run("document.querySelector('.skip').focus()")
    missed = "[...document.querySelectorAll('a, select, summary, .node[tabindex], input')]" \
        ".filter(e => e.checkVisibility() && !(e.type === 'radio' && !e.checked))"  # fmt: skip
    report.run(f"window.todo = new Set({missed})")
    wanted = report.run("window.todo.size")
    assert wanted > 25
    plain = report.run(
        "(() => { window.plain = []; const note = () => { const e = document.activeElement;"
        "window.todo.delete(e); if (getComputedStyle(e).outlineStyle === 'none') "
        "window.plain.push(e.outerHTML.slice(0, 80)); };"
        "document.addEventListener('focusin', note); return 0; })()"
    )
    for _ in range(400):
        report.key("Tab")
        if report.run("window.todo.size") <= 1:
            break
    left = report.run("[...window.todo].map(e => e.outerHTML.slice(0, 90))")
    assert [e for e in left if 'class="skip"' not in e] == [] and plain == 0
    assert report.run("window.plain") == []


@pytest.mark.parametrize("width", [1400, 600])
@pytest.mark.parametrize("name", ["report.html", "comparison.html"])
def test_nothing_makes_the_page_scroll_sideways(tab, folder, name, width):
    tab.look(width=width)
    tab.open(folder / name, wait=DRAWN)
    assert tab.run("document.documentElement.scrollWidth") <= width


def test_it_prints(report, folder):
    data = report.pdf(folder / "report.pdf").read_bytes()
    assert data.startswith(b"%PDF") and len(data) > 50_000
    assert len(re.findall(rb"/Type\s*/Page\b", data)) >= 8
