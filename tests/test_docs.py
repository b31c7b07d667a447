"""The documentation is true: examples run and print what is shown, and the site builds whole.

``python docs/examples.py`` writes what every example prints into its page.
"""

from __future__ import annotations

import html
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import pytest
import readme
from reading import PACKAGE, ROOT, modules

from mo_interp.cli import main

DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))
try:
    import examples
    import pages
    import scored
finally:
    sys.path.remove(str(DOCS))

PAGES = {p.relative_to(DOCS).with_suffix("").as_posix(): p for p in examples.written()}
TEXT = {name: path.read_text(encoding="utf-8") for name, path in PAGES.items()}
SLOW = [name for name, text in TEXT.items() if any(b.slow for b in examples.blocks(text))]
PROGRAMS = {"mo-interp", "make", "pip", "export", "git", "python"}

everywhere = pytest.mark.parametrize("name", PAGES)


# Examples ---------------------------------------------------------------------------------------


def differing(text: str, folder: Path, *, slow: bool) -> list[tuple[str | None, str]]:
    """What is shown and what is printed, where the two are not alike."""
    return [
        (block.output, output)
        for block, output in examples.ran(text, folder, slow=slow)
        if not readme.alike(block.output or "", output)
    ]


@everywhere
def test_quick_examples_print_what_is_shown(name, tmp_path):
    assert differing(TEXT[name], tmp_path, slow=False) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SLOW)
def test_slow_examples_print_what_is_shown(name, tmp_path):
    assert differing(TEXT[name], tmp_path, slow=True) == []


def test_an_example_that_fails_is_seen(tmp_path):
    page = "```python\nprint('here')\n```\n\n```text\nthere\n```\n"
    assert differing(page, tmp_path, slow=False) == [("there\n", "here")]
    assert differing(page.replace("there\n", "here\n"), tmp_path, slow=False) == []
    assert differing("```python\nprint(1)\n```\n", tmp_path, slow=False) == [(None, "1")]
    with pytest.raises(ZeroDivisionError):
        differing("```python\n1 / 0\n```\n", tmp_path, slow=False)
    assert differing("<!-- slow -->\n```python\n1 / 0\n```\n", tmp_path, slow=False) == []


def test_outputs_are_filled_in(tmp_path):
    page = "```python\nprint(2)\n```\n\nText.\n\n```python\nx = 1\n```\n\n```text\nold\n```\n"
    wanted = "```python\nprint(2)\n```\n\n```text\n2\n```\n\nText.\n\n```python\nx = 1\n```\n"
    assert examples.filled(page, tmp_path) == wanted
    assert examples.filled(wanted, tmp_path) == wanted


@everywhere
def test_a_file_that_a_page_shows_is_used_by_it(name):
    blocks = examples.blocks(TEXT[name], "python")
    for i, block in enumerate(blocks):
        if block.file:
            stem = Path(block.file).stem
            assert any(stem in b.code for b in blocks[i + 1 :]), f"{block.file} is never used"


@everywhere
def test_every_fence_is_read(name):
    """A fence that the reader misses would not be tested."""
    opened = re.findall(r"^```(\w+)$", TEXT[name], re.MULTILINE)
    blocks = examples.blocks(TEXT[name])
    assert len(opened) == len(blocks) + sum(b.output is not None for b in blocks)


# Commands ---------------------------------------------------------------------------------------


def parse(line: str) -> None:
    """Parse a command as the command line would, without running it; raises if it would."""
    program, *words = shlex.split(line, comments=True) or [""]
    assert program in PROGRAMS, line
    if program == "make":
        targets = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{re.escape(t)}:", targets, re.MULTILINE) for t in words), line
    if program == "python":
        assert (ROOT / words[0]).is_file(), line
    if program == "mo-interp" and words != ["--help"]:
        verb = main.commands[words[0]]
        named = len(words) == 1  # a verb that is spoken of need not have its arguments
        with click.Context(verb, info_name=words[0], resilient_parsing=named) as context:
            verb.parse_args(context, words[1:])


def commands(text: str) -> list[str]:
    """Every command of a page, in ``sh`` blocks and between backticks."""
    lines = [line for b in examples.blocks(text, "sh") for line in b.code.splitlines() if line]
    said = r"`((?:mo-interp|make|python \w+/)[ \w][^`\n]*(?:\n[^`\n]+)?)`"
    inline = re.findall(said, examples.FENCE.sub("", text))
    return lines + [" ".join(c.split()) for c in inline]


@everywhere
def test_every_command_exists(name):
    for line in commands(TEXT[name]):
        parse(line)


def test_a_wrong_command_is_seen():
    with pytest.raises(click.UsageError, match="No such option"):
        parse("mo-interp run quirky_user --sead 1")
    with pytest.raises(KeyError):
        parse("mo-interp prune quirky_user")
    with pytest.raises(AssertionError):
        parse("make coffee")
    assert commands("Say `mo-interp lisst`.\n\n```sh\nmake docs\n```\n") == [
        "make docs",
        "mo-interp lisst",
    ]


# Prose ------------------------------------------------------------------------------------------

ROLE = re.compile(r"\{py:(\w+)\}`~?(mo_interp[\w.]*)`")


def found(path: str) -> Any:
    """What a dotted path stands for; raises where there is no such thing."""
    parts = path.split(".")
    for cut in range(len(parts), 0, -1):
        name = ".".join(parts[1:cut])
        if cut == 1 or name in modules():
            value = importlib.import_module(".".join(parts[:cut]))
            for part in parts[cut:]:
                value = getattr(value, part)
            return value
    raise AttributeError(path)


@everywhere
def test_everything_that_a_page_names_is_there(name):
    for role, path in ROLE.findall(TEXT[name]):
        if role == "mod":
            assert path.removeprefix("mo_interp.") in modules(), path
        else:
            found(path)


@everywhere
def test_every_link_between_pages_leads_somewhere(name):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", TEXT[name])
    made = ("../made/", "made/")  # written by a build, which checks them
    local = [x for x in links if not re.match(r"\w+:", x) and not x.startswith(made)]
    assert [x for x in local if not (PAGES[name].parent / x).is_file()] == []


@everywhere
def test_every_file_that_a_page_names_is_there(name):
    prose = examples.FENCE.sub("", TEXT[name])
    named = re.findall(r"`((?:probes|notebooks|tests|organisms|benchmarks)/[\w./]+\.\w+)`", prose)
    assert [x for x in named if not (ROOT / x).is_file()] == []


@everywhere
def test_every_paper_is_one_that_the_code_cites(name):
    cited = "".join(p.read_text(encoding="utf-8") for p in PACKAGE.rglob("*.py"))
    papers = re.findall(r"arXiv (\d{4}\.\d{5})", TEXT[name])
    assert [paper for paper in papers if paper not in cited] == []


def typed(text: str) -> list[str]:
    """Decimal numbers of the prose that no example of the page prints."""
    prose = re.sub(r"arXiv \d+\.\d+", "", examples.FENCE.sub("", text))
    shown = {n for b in examples.blocks(text) for n in re.findall(r"\d+\.\d+", b.output or "")}
    return [n for n in re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", prose) if n not in shown]


@everywhere
def test_no_number_of_a_measurement_is_typed(name):
    """Numbers come from records and from the code: prose has none that no example prints."""
    assert typed(TEXT[name]) == []


def test_a_typed_number_is_seen():
    page = "It reads 0.97, as arXiv 2310.06824 does.\n\n```python\nf()\n```\n"
    assert typed(page) == ["0.97"]
    assert typed(page + "\n```text\n0.97\n```\n") == []


def test_every_page_is_reached():
    listed = set()
    for name, text in TEXT.items():
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", text, re.DOTALL):
            lines = [x for x in tree.splitlines() if x and not x.startswith(":")]
            lines = [re.sub(r".*<(.*)>", r"\1", x) for x in lines]
            listed |= {(Path(name).parent / x).as_posix() for x in lines}
    assert set(PAGES) - {"index"} <= listed


@pytest.mark.parametrize("name", [n for n in PAGES if re.fullmatch(r"concepts/(?!index).+", n)])
def test_a_concept_stands_on_its_own(name):
    """What it is, an example with what it prints, how it is read, its limits, the code."""
    text = TEXT[name]
    assert 40 <= len(text.splitlines()) <= 150
    assert any(b.output for b in examples.blocks(text, "python"))
    assert re.search(r"^## .*[Hh]ow to read", text, re.MULTILINE)
    assert re.search(r"^## .*[Ll]imits", text, re.MULTILINE)
    assert "The code: {py:mod}" in text


# Generated pages --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Every generated page, by its place."""
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
    page = made["detectors/lof"]
    assert "It needs: **clean**" in page and "Breunig" in page and "| `neighbours` | `20` |" in page


def test_what_a_method_scored_is_what_the_records_say(made):
    """Each kept mean is on the page of its method, rounded."""
    shown = 0
    for record in scored.board():
        part, method = record.params["part"], str(record.params["method"])
        if part in ("detection", "discovery"):
            page = made[f"{'detectors' if part == 'detection' else 'searchers'}/{method}"]
            assert f"| {record.params['measure']} | {record.values['mean']:.2f}" in page
            shown += 1
    assert shown > 100
    assert "relp, denoising" in made["localisation/relp"]
    assert "What it scored" not in made["localisation/acdc"], "nothing is kept of it"


def test_every_module_is_on_one_floor_of_the_api(made):
    for name in pages.modules():
        assert f"| [{name}]({name}.md) |" in made["api/index"]
    units = " ".join(pages.FLOORS.values()).split()
    assert sorted(units) == sorted(set(units))
    assert set(units) == {name.split(".")[0] for name in pages.modules()} - {"__main__"}


def test_a_formula_of_a_docstring_keeps_its_letters():
    text = "With\n\n    a = b\n    c = d\n\nand\n\n* item\n\n    deep\n\nend."
    wanted = "With\n\n::\n\n    a = b\n    c = d\n\nand\n\n* item\n\n    deep\n\nend."
    assert pages.literal(text) == wanted
    assert pages.literal(wanted) == wanted


def test_only_what_docutils_cannot_read_is_shown_as_it_stands():
    table = "=====  ===\na      b\nlonger than its column  c\n=====  ==="
    text = f"A length |W| it cannot read.\n\n{table}\n\nIt goes on with *this*."
    shown = pages.shown(text)
    assert shown.startswith("A length \\|W\\| it") and shown.endswith("\n\nIt goes on with *this*.")
    assert "::\n\n    =====  ===\n" in shown and pages.sound(shown) and not pages.sound(text)


def test_generated_examples_run_and_their_commands_exist(made, tmp_path):
    """Specifications, mostly; each is run on its own."""
    ran = 0
    for name, text in made.items():
        for block in examples.blocks(text, "python"):
            exec(compile(block.code, name, "exec"), {"__name__": "__main__"})
            ran += 1
        for line in commands(text):
            parse(line)
    assert ran > 20


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
