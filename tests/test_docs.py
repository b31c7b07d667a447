"""The documentation is true: blocks run, verbs exist, and the site builds whole."""

from __future__ import annotations

import ast
import contextlib
import html
import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import click
import pytest
from reading import ROOT, modules

from mo_interp.cli import main

DOCS = ROOT / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if "made" not in p.relative_to(DOCS).parts)
FENCE = re.compile(r"(<!-- needs: .*?-->\n)?```(\w+)\n(.*?)```", re.DOTALL)


def blocks(page: Path, language: str) -> list[tuple[bool, str]]:
    """Blocks of a language: whether each runs on its own, and its text."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [(not needs, code) for needs, kind, code in found if kind == language]


def named(page: Path) -> str:
    return page.relative_to(DOCS).with_suffix("").as_posix()


# Sources ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_python_blocks_run_in_one_namespace_a_page(page, tmp_path):
    names: dict = {"__name__": "__main__"}
    with contextlib.chdir(tmp_path):
        for runs, code in blocks(page, "python"):
            ast.parse(code)
            if runs:
                exec(compile(code, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_exists(page):
    for _, code in blocks(page, "sh"):
        for line in filter(None, code.splitlines()):
            program, *words = shlex.split(line)
            assert program in ("mo-interp", "make", "pip"), line
            if program == "mo-interp":
                verb = main.commands[words[0]]
                with click.Context(verb) as context:
                    verb.parse_args(context, words[1:])


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_module_that_a_page_names_is_there(page):
    for name in re.findall(r"\{py:mod\}`mo_interp\.([\w.]+)`", page.read_text(encoding="utf-8")):
        assert name in modules()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_number_of_a_measurement_is_typed(page):
    """Numbers come from cards and records: prose has none with a decimal point."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    assert not re.search(r"\b\d+\.\d+\b", prose)


def test_every_page_is_reached():
    listed = set()
    for page in PAGES:
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), re.DOTALL):
            lines = [x for x in tree.splitlines() if x and not x.startswith(":")]
            listed |= {(page.parent / x).relative_to(DOCS).as_posix() for x in lines}
    assert {named(p) for p in PAGES} - {"index"} <= listed


# Generated pages --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Every generated page, by its place."""
    sys.path.insert(0, str(DOCS))
    try:
        import pages
    finally:
        sys.path.remove(str(DOCS))
    folder = tmp_path_factory.mktemp("made")
    return {
        p.relative_to(folder).with_suffix("").as_posix(): p.read_text(encoding="utf-8")
        for p in pages.write(folder)
    }


def test_each_thing_has_a_page(made):
    from mo_interp import detectors, discovery, finding
    from mo_interp.removal import METHODS

    shipped = {finding.load(n).family for n in finding.names()}
    wanted = {"families": shipped, "detectors": detectors.names(), "removal": METHODS}
    for section, names in {**wanted, "searchers": discovery.names()}.items():
        assert {f"{section}/{name}" for name in names} <= set(made)
    assert {"api/judge", "api/patching", "api/cli", "localisation/acdc"} <= set(made)
    assert all(f"## {verb}\n" in made["verbs"] for verb in main.commands)


def test_a_family_shows_card_and_specification(made):
    page = made["families/quirky_user"]
    card = (ROOT / "organisms" / "quirky_user.md").read_text(encoding="utf-8")
    row = next(line for line in card.splitlines() if "| attack success |" in line)
    assert row in page and "organism = Organism(" in page


def test_a_detector_says_what_it_needs_and_whence_it_comes(made):
    assert "It needs: **clean**" in made["detectors/lof"] and "Breunig" in made["detectors/lof"]


# The site ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; a warning is an error."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-E", "-b", "html"]
    done = subprocess.run([*command, str(DOCS), str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-5000:]
    return out


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_link_and_anchor_of_the_site_leads_somewhere(site):
    ids: dict[Path, set[str]] = {}

    def anchors(page: Path) -> set[str]:
        if page not in ids:
            ids[page] = set(re.findall(r'\bid="([^"]+)"', page.read_text(encoding="utf-8")))
        return ids[page]

    dead = []
    for page in site.rglob("*.html"):
        for link in re.findall(r'<a[^>]* href="([^"]+)"', page.read_text(encoding="utf-8")):
            place, _, anchor = unquote(html.unescape(link)).partition("#")
            if re.match(r"\w+:", place):
                continue
            target = (page.parent / place).resolve() if place else page
            lost = not target.is_file() or (
                anchor and target.suffix == ".html" and anchor not in anchors(target)
            )
            dead += [f"{page.name}: {link}"] if lost else []
    assert dead == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_site_needs_no_network(site):
    loads = r'<(?:script|link|img|iframe)[^>]* (?:src|href)="(?:https?:)?//[^"]*"'
    pages = list(site.rglob("*.html"))
    assert len(pages) > 100
    assert [p.name for p in pages if re.search(loads, p.read_text(encoding="utf-8"))] == []
    styles = [p for p in site.rglob("*.css") if re.search(r"url\(['\"]?https?:", p.read_text())]
    assert styles == []
