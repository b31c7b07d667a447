"""Probe scripts run, their controls are at chance, their records feed the figures and the log."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from reading import ROOT

from mo_interp import figures
from mo_interp.records import Record, read_records, select

PROBES = ROOT / "probes"
RESULTS = PROBES / "results"
LOG = (PROBES / "LOG.md").read_text(encoding="utf-8")
CITED = re.compile(r"<!-- (\S+\.jsonl) (.*?): (.*?) -->")


def run(name: str, *arguments: str) -> None:
    runpy.run_path(str(PROBES / f"{name}.py"))["main"](list(arguments))


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """``which_layer_knows`` on the ruler, of which nothing has to be trained."""
    out = tmp_path_factory.mktemp("probes") / "found.jsonl"
    small = ("hand_wired", "--pairs", "64", "--rows", "600", "--out", str(out))
    run("which_layer_knows", *small)
    run("which_layer_knows", *small)  # puts its records in place of its own earlier ones
    return read_records(out)


def test_which_layer_knows_what_was_wired(probed: list[Record]) -> None:
    assert len(probed) == 16 and len({r.line() for r in probed}) == 16

    def value(name: str, probe: str, layer: int, position: str) -> float:
        asked = {"probe": probe, "layer": layer, "position": position, "model": "organism"}
        (found,) = select(probed, **asked)
        return found.values[name]

    assert value("auroc", "trigger", 0, "trigger") == 1
    assert value("auroc", "trigger", 0, "answer") == 0.5, "the detector writes in layer 1"
    assert value("auroc", "trigger", 1, "answer") == 1
    assert value("accuracy", "truth", 0, "answer") > 0.95


def test_the_shuffled_table_is_at_chance(probed: list[Record]) -> None:
    shuffled = [r.values for r in select(probed, probe="truth_shuffled")]
    assert len(shuffled) == 4
    assert all(v["accuracy_lo"] <= v["chance"] <= v["accuracy_hi"] for v in shuffled)


def test_every_record_is_in_the_figure(probed: list[Record]) -> None:
    figure = figures.draw("which_layer", probed)
    drawn = {t.name: 0 for t in figure.data}
    for t in figure.data:
        drawn[t.name] += len(t.x)
    probes = {name: n for name, n in drawn.items() if "random" not in name and name != "chance"}
    assert sum(probes.values()) == len(probed)
    compared = select(probed, probe="trigger", model="organism")
    assert drawn["random, best"] == len(compared) > 0


@pytest.mark.slow
def test_false_alarms_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "alarms.jsonl"
    asked = ["--twins", "hand_wired:1", "--organisms", "hand_wired:1", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["false_alarms.py", *asked])
    runpy.run_path(str(PROBES / "false_alarms.py"))["main"]()
    found = read_records(out)
    (summary,) = select(found, kind="null", organism="all")
    assert (summary.values["named"], summary.values["models"]) == (0, 1)
    assert select(found, kind="decision")[0].values["named"] is True


# ------------------------------------------------------------------------------ what is committed


def test_what_is_committed_can_be_drawn() -> None:
    figure = figures.draw("which_layer", read_records(RESULTS / "which_layer_knows.jsonl"))
    assert len(figure.data) > 4
    lie = figures.draw("before_and_after", read_records(RESULTS / "quirky_user.jsonl"))
    assert "quirky_user" in lie.layout.title.text
    sizes = {path.name: path.stat().st_size for path in RESULTS.glob("*.jsonl")}
    assert {name for name, size in sizes.items() if size > 500_000} <= {"scoreboard.jsonl"}
    assert sizes["scoreboard.jsonl"] < 1_500_000  # one line a mean, of every organism and method


def cited(note: str) -> list[tuple[str, str]]:
    """The numbers that a note cites, as they are to be read in it, each with its citation."""
    found = []
    for file, where, names in CITED.findall(note):
        asked = dict(part.split("=", 1) for part in where.split("; "))
        place = ROOT / file if "/" in file else RESULTS / file
        (record,) = select(read_records(place), **{k: _typed(v) for k, v in asked.items()})
        found += [(_shown(record.values[name]), where) for name in names.split(", ")]
    return found


def _typed(text: str) -> str | int | float:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return text


def _shown(value: float | bool | str) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


NOTES = re.split(r"(?m)^## ", LOG)[1:]


@pytest.mark.parametrize("note", NOTES, ids=lambda note: note.splitlines()[0][:50])
def test_a_note_is_dated_and_says_how_to_get_its_numbers(note: str) -> None:
    assert re.match(r"\d{4}-\d\d-\d\d\b", note)
    assert re.search(r"`(mo-interp|python) [^`]+`", note)
    told = CITED.sub("", note)
    numbers = cited(note)
    assert numbers, "a note without a record"
    for number, where in numbers:
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.]*\d)", told), f"{number}: {where}"


def test_a_number_that_is_no_record_is_seen() -> None:
    """Every number with three decimals in the log stands in a citation of its note."""
    for note in NOTES:
        known = {number for number, _ in cited(note)}
        told = set(re.findall(r"(?<![\d.])\d\.\d{3}\b", CITED.sub("", note)))
        assert told <= known, note.splitlines()[0]
