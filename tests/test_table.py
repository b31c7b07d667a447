"""The table and the cards of organisms: made of the published records, and of nothing else.

Where organisms/records.jsonl, a card or organisms/README.md is stale: grow what is missing and run
``mo-interp card --all``.
"""

import json
import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import synthetic
from reading import ROOT
from verbs import verb

from mo_interp import telling
from mo_interp.cards import DIGITS, passes, seeds_that_pass, summary, write_table
from mo_interp.growing import is_slow
from mo_interp.ledger import PUBLISHED, gate_file, gates_code, keep_times, once, published
from mo_interp.pipeline import timing
from mo_interp.records import Record, read_records, select
from mo_interp.store import Store

FOLDER = ROOT / "organisms"
SPECS = telling.shipped()
RECORDS = published(FOLDER)
PAGE = FOLDER / "README.md"
TABLE = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
LARGEST = 3_000_000
"""Bytes of published records: they are in the repository."""


# What is published ------------------------------------------------------------------------------


def same_software() -> bool:
    """Whether a key here can equal a published one: it hashes syntax trees and torch's version."""
    made = next((r.versions for r in RECORDS if "torch" in r.versions), {})
    here = platform.python_version_tuple()[:2]
    python = tuple(str(made.get("python", "")).split(".")[:2])
    return made.get("torch") == version("torch") and python == here


@pytest.mark.parametrize("name", SPECS)
def test_every_shipped_organism_has_published_seeds_of_this_very_specification(name):
    gates = select(RECORDS, kind="gate", organism=name)
    if not gates and is_slow(SPECS[name]):
        row = next(line for line in TABLE.splitlines() if line.startswith(f"| {name} |"))
        assert "not grown yet" in row
        pytest.skip(f"{name} takes many minutes; the table says that it is not published yet")
    assert gates, f"{name} is not among the published records"
    if not same_software():
        pytest.skip("published on another version of Python or torch, where keys differ")
    assert {r.key for r in gates} == {SPECS[name].key}, f"{name} was published of another version"


def test_nothing_else_is_published_and_it_is_small():
    assert {r.organism for r in RECORDS} <= set(SPECS)
    assert (FOLDER / PUBLISHED).stat().st_size < LARGEST


def test_cards_and_table_are_those_that_the_published_records_make(tmp_path):
    written = telling.publish(SPECS, RECORDS, tmp_path)
    for path in written:
        there = FOLDER / path.name
        assert there.is_file(), f"{path.name} was never written"
        assert there.read_text(encoding="utf-8") == path.read_text(encoding="utf-8"), path.name
    cards = {p.stem for p in FOLDER.glob("[a-z]*.md")}
    assert cards == {p.stem for p in written if p.suffix == ".md"} - {"README"}


# How it is made ---------------------------------------------------------------------------------


def several(n: int, case: str = "named") -> list[Record]:
    return [r for seed in range(n) for r in synthetic.records(seed=seed, case=case)]


@pytest.fixture(scope="module")
def spec():
    return SPECS["quirky_user"]


def held(spec, store, seeds=(0, 1), seconds=12.0):
    """A store in which these seeds of a specification were measured."""
    for seed in seeds:
        mine = [replace(r, key=spec.key) for r in synthetic.records(seed=seed)]
        kept = [r for r in mine if r.kind in ("gate", "example", "training", "behaviour")]
        code = gates_code(spec.family, "gate")
        once(gate_file(store, spec, seed, "gate"), lambda kept=kept: kept, code=code)
        keep_times(store, spec, seed, [timing(spec, seed, "grow", seconds + seed, seconds)])
    return store


def test_a_summary_is_small_and_makes_the_same_card(spec, tmp_path):
    records = [replace(r, key=spec.key) for r in several(3)]
    small = summary(records)
    assert {r.kind for r in small} <= {"gate", "example", "timing", "circuit"}
    assert {r.seed for r in select(small, kind="gate")} == {0, 1, 2}
    assert {r.seed for r in select(small, kind="example")} == {0}
    assert sum(bool(r.versions) for r in small) == 1 and summary(small) == small
    values = {"a": 1 / 3, "a_how": "by hand", "b": (2 / 3, 1), "c": True}
    (one,) = summary([Record(kind="gate", values=values)])
    assert one.values == {"a": 0.333333, "b": (0.666667, 1), "c": True} and DIGITS == 6
    kept = [r for r in records if r.kind in ("gate", "example", "circuit")]
    cards = [telling.card(spec, rs, tmp_path / f"{i}.md") for i, rs in enumerate((kept, small))]
    assert cards[0].read_text() == cards[1].read_text()


def test_what_the_store_holds_is_gathered_and_what_was_published_stays(spec, tmp_path):
    store = held(spec, Store(tmp_path / "one"))
    found = telling.gather({spec.name: spec}, store, [])
    assert {r.get("seeds") for r in select(found, kind="gate")} == {"1 of 2", "2 of 2"}
    assert [r.seconds for r in select(found, kind="timing")] == [12, 13]
    # Another store has seed 1 anew and seed 2: seed 0 stays as it was published.
    other = held(spec, Store(tmp_path / "two"), seeds=(1, 2), seconds=20.0)
    merged = telling.gather({spec.name: spec}, other, found)
    assert {r.get("seeds") for r in select(merged, kind="gate")} == {"1 of 3", "2 of 3", "3 of 3"}
    assert [r.seconds for r in select(merged, kind="timing")] == [12, 21, 22]
    assert telling.gather({spec.name: spec}, Store(tmp_path / "none"), merged) == merged
    # Of another version of the specification nothing is taken.
    changed = replace(spec, recipe=replace(spec.training, steps=601))
    assert telling.gather({spec.name: changed}, other, merged) == []
    assert telling.gather({}, other, merged) == []


def test_publishing_writes_records_cards_and_table_and_twice_the_same(spec, tmp_path):
    store = held(spec, Store(tmp_path / "store"), seeds=range(5))
    specs = {spec.name: spec, "hand_wired": SPECS["hand_wired"]}
    folder = tmp_path / "out"
    paths = telling.publish(specs, telling.gather(specs, store, []), folder)
    assert [p.name for p in paths] == [PUBLISHED, "quirky_user.md", "README.md"]
    first = {p.name: p.read_bytes() for p in paths}
    telling.publish(specs, telling.gather(specs, Store(tmp_path), published(folder)), folder)
    assert {p.name: p.read_bytes() for p in paths} == first
    table = first["README.md"].decode()
    (row,) = [line for line in table.splitlines() if line.startswith("| [quirky_user]")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:4] == [
        "quirky_user",
        "One user of six, named after from",
        "A lie: the true value plus 1, modulo the number of values",
    ]
    assert cells[4:8] == ["FACT", "measured", "", "1-6 on 5 of 5"]
    assert cells[8] == "0.998 [0.995, 1.000]" and cells[11] == "2,000 × 5" and cells[13] == "12"
    assert "| hand_wired |" in table and "not grown yet" in table
    assert "2 specifications; 1 of them pass gates 1-6 on four fifths of 5 seeds" in table
    assert "| timing" not in first["quirky_user.md"].decode()  # times are in the table alone


def test_list_falls_back_on_what_was_published_and_says_so(spec, tmp_path, monkeypatch):
    monkeypatch.setenv("MO_INTERP_HOME", str(tmp_path / "empty"))
    store = held(spec, Store(tmp_path / "store"), seeds=range(5))
    found = telling.gather({spec.name: spec}, store, [])
    status = []
    for key in (spec.key, "another"):
        known = [replace(r, key=key) for r in found]
        monkeypatch.setattr("mo_interp.ledger.published", lambda known=known: known)
        text = verb("list").stdout
        status += [line for line in text.splitlines() if line.startswith("quirky_user ")]
        rows = json.loads(verb("list", "--json").stdout)
        (row,) = [row for row in rows if row["name"] == "quirky_user"]
        assert row["status"] == "not grown yet" and row["seeds"] == []
        assert row["published"]["seeds"] == [0, 1, 2, 3, 4]
        assert row["published"]["current"] == (key == spec.key)
    assert "measured   not grown here; published: passes its gates (5 seeds)" in status[0]
    assert "published of another version of it, or on other software: passes" in status[1]


def test_a_stale_specification_shows_in_its_card(spec, tmp_path):
    records = telling.gather({spec.name: spec}, held(spec, Store(tmp_path / "s")), [])
    told = []
    for one in (spec, replace(spec, story="Another story.")):
        telling.publish({spec.name: one}, records, tmp_path / "out")
        told.append((tmp_path / "out" / "quirky_user.md").read_text(encoding="utf-8"))
    assert told[0] != told[1]


def test_families_stay_together_and_the_plain_one_comes_first(tmp_path):
    words = {
        "b_wired": {"family": "b", "grade": "wired"},
        "b": {"family": "b", "grade": "measured"},
        "a_routed": {"family": "a", "grade": "routed"},
        "b_low": {"family": "b", "grade": "measured", "modifiers": "dilution"},
        "a": {"family": "a", "grade": "measured"},
    }
    text = write_table(words, [], tmp_path / "README.md").read_text()
    rows = [line.split(" | ")[0][2:] for line in text.splitlines() if line.startswith("| ")]
    assert rows[1:] == ["a", "a_routed", "b", "b_low", "b_wired"]


def gate(number: int, seed: int, status: str) -> Record:
    params = {"number": number, "name": "x", "status": status}
    return Record(kind="gate", organism="o", seed=seed, model="organism", params=params)


def test_gates_are_counted_over_seeds_and_what_fails_is_named():
    records = [gate(n, s, "pass") for n in (1, 2, 3, 5, 6) for s in range(5)]
    assert passes(records) == "1-6 on 5 of 5" and seeds_that_pass(records)[0] == [0, 1, 2, 3, 4]
    records += [gate(4, s, "reported") for s in range(5)] + [gate(11, 0, "fail")]
    records += [gate(11, s, "pass") for s in range(1, 5)]
    assert passes(records) == "1-6 on 5 of 5; own on 4 of 5"
    bad = [*records[1:], gate(1, 0, "fail"), gate(5, 3, "memorised"), gate(7, 3, "reported")]
    assert passes(bad) == "1-6 on 3 of 5 (1 fails on 1, 5 memorised the lies on 1); own on 4 of 5"
    assert passes([gate(1, 0, "pass"), gate(6, 0, "not applicable")]).endswith("; provisional")


def test_published_records_can_be_read_again(spec, tmp_path):
    store = held(spec, Store(tmp_path / "store"))
    found = telling.gather({spec.name: spec}, store, [])
    telling.publish({spec.name: spec}, found, tmp_path / "out")
    assert read_records(tmp_path / "out" / PUBLISHED) == found == published(tmp_path / "out")
    assert published(Path(tmp_path / "none")) == []
