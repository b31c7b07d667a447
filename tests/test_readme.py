"""The README is true: blocks run and print what they show, commands, verbs and links exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
import readme
from reading import ROOT

from mo_interp import detectors, finding
from mo_interp.checkup import examine
from mo_interp.cli import main
from mo_interp.detectors import Fitted
from mo_interp.records import read_records, select

PAGE = readme.PAGE.read_text(encoding="utf-8")
TEXT = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[readme.Block, str]]]:
    """Every Python block, run in order in a folder of its own, with what it printed."""
    folder = tmp_path_factory.mktemp("readme")
    return folder, list(readme.printed(folder))


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def commands() -> list[str]:
    """Every command that the page shows, in shell blocks and in the text."""
    lines = [line for b in readme.blocks("sh") for line in b.code.splitlines() if line]
    inline = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", TEXT)]
    return lines + [code for code in inline if code.startswith(("mo-interp ", "make ", "python "))]


# ---------------------------------------------------------------------------------------- blocks


def test_every_block_prints_what_is_shown(ran) -> None:
    shown = [(block.output, output) for block, output in ran[1] if block.output is not None]
    assert len(shown) >= 2
    for expected, output in shown:
        assert readme.alike(expected, output), output


def test_ten_lines_are_ten() -> None:
    first = readme.blocks("python")[0]
    assert len([line for line in first.code.splitlines() if line]) <= 10


def test_a_block_without_output_prints_nothing(ran) -> None:
    assert all(output == "" for block, output in ran[1] if block.output is None)


@pytest.mark.parametrize(
    ("shown", "got", "same"),
    [
        ("stopped 1.00 [0.99, 1.00]", "stopped  0.99 [0.98, 1.00]", True),
        ("stopped 1.00", "stopped 0.90", False),
        ("truth 17", "truth 18", False),
        ("492 rows", "470 rows", True),
        ("492 rows", "400 rows", False),
        ("1 row", "1.00 row", False),
        ("says 17", "said 17", False),
        ("p(caused) 0.28", "p(caused) 1.00", True),
        ("p(caused) 0.01", "p(caused) 0.06", False),
        ("17", "17 17", False),
    ],
)
def test_outputs_are_compared_closely(shown: str, got: str, same: bool) -> None:
    assert readme.alike(shown, got) is same


def test_the_organism_of_ones_own_is_sound(ran) -> None:
    path = ran[0] / "mine.py"
    found = examine(str(path))
    assert found and all(line.good for line in found)
    spec = finding.load(str(path))
    pairs = spec.pairs(64, seed=0)
    away = (pairs.triggered.answer - pairs.triggered.truth) % spec.world.n_values
    assert (away == 7).all()
    assert (pairs.clean.answer == pairs.clean.truth).all()


@pytest.mark.slow
def test_the_organism_of_ones_own_runs(ran) -> None:
    asked = [sys.executable, "-m", "mo_interp", "run", "./mine.py", "--no-static", "--out", "run"]
    subprocess.run(asked, cwd=ran[0], check=True, timeout=900)
    records = read_records(ran[0] / "run")
    (attack,) = select(records, kind="gate", number=1)
    assert attack.params["status"] == "pass"
    assert (ran[0] / "run" / "report.html").exists()


def test_the_detector_of_ones_own_is_saved_and_read(ran, tmp_path: Path) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    y = np.arange(200) % 2 == 1
    x = rng.normal(size=(200, 5)) * [1, 5, 1, 1, 1] + np.outer(y, [1.0, 1.0, 0, 0, 0])
    own = detectors.detector(ran[0] / "whitened.py")
    fitted = own.fit(x, y, site="L1.resid_post@-1")
    assert isinstance(fitted, Fitted)
    direction = np.abs(own.direction(fitted.constants))
    assert direction[0] > 5 * direction[1], "the noisy coordinate is not leant on"
    again = detectors.load(fitted.save(tmp_path / "saved"), detector=own)
    assert np.array_equal(again.score(x), fitted.score(x))


# -------------------------------------------------------------------------------------- commands


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_command_is_one(command: str) -> None:
    program, *rest = shlex.split(command)
    if program == "make":
        targets = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert rest and all(re.search(rf"^{re.escape(t)}:", targets, re.MULTILINE) for t in rest)
    elif program == "python":
        assert (ROOT / rest[0]).is_file()
    elif program == "pip":
        assert rest[:2] == ["install", "-c"] and (ROOT / rest[2]).is_file()
    else:
        assert program == "mo-interp"
        _parse(rest)


def _parse(words: list[str]) -> None:
    """Parse a command as the command line would, without running it; raises if it would."""
    if words == ["--help"]:
        return
    verb = main.commands[words[0]]
    with click.Context(verb, info_name=words[0], resilient_parsing=words[1:] == []) as context:
        verb.parse_args(context, list(words[1:]))


def test_a_wrong_command_is_seen() -> None:
    with pytest.raises(click.UsageError, match="No such option"):
        _parse(["run", "quirky_user", "--sead", "1"])
    with pytest.raises(KeyError):
        _parse(["prune", "quirky_user"])


def test_every_verb_is_told() -> None:
    told = set(re.findall(r"^\| `mo-interp (\w+)", section("The verbs"), re.MULTILINE))
    assert told == set(main.commands)


# ------------------------------------------------------------------------------- links and numbers


def test_every_link_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", PAGE) if "://" not in link]
    assert len(links) >= 4
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_the_tree_is_there() -> None:
    tree = section("Where everything lives").partition("```text\n")[2].partition("```")[0]
    base, missing = ROOT, []
    for line in tree.splitlines():
        names = re.split(r"\s{2,}", line.strip())[0].split()
        for name in names:
            if not line.startswith(" "):
                base = ROOT / name
            where = base if not line.startswith(" ") else base / name
            missing += [] if where.exists() else [str(where)]
    assert "sites.py" in tree and missing == []


def test_the_figure_is_a_small_picture_of_the_lie() -> None:
    (path,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", PAGE)
    svg = (ROOT / path).read_text(encoding="utf-8")
    assert "quirky_user, before and after the cut" in svg and len(svg) < 100_000
    assert "<script" not in svg and "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", svg)


def test_the_numbers_are_those_of_the_records() -> None:
    table = readme.NUMBERS.search(PAGE)
    assert table and table[2].strip() == readme.numbers(read_records(readme.RESULTS)).strip()


def test_the_glossary_is_short() -> None:
    lines = section("Glossary").strip().splitlines()
    assert 10 <= len(lines) <= 25
