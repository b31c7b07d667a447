"""A record is stale when the code that measured it changed, and only then."""

import ast

import pytest

from mo_interp import ledger
from mo_interp.errors import UnknownName
from mo_interp.ledger import GATES_CODE, gates_code, instruments, once, sealed
from mo_interp.records import Record


@pytest.fixture
def after_a_change(monkeypatch):
    """Whether all, a family's gates, another's and the persistence go stale with a module."""
    known = ledger._trees()

    def now():
        for cached in (instruments, gates_code):
            cached.cache_clear()
        codes = [instruments(), gates_code("parity", "gate"), gates_code("conjunction", "gate")]
        return [*codes, gates_code("conjunction", "persistence")]

    def changed(module: str) -> list[bool]:
        before = now()
        tree = ast.Module([*known[module].body, *ast.parse("changed = 1").body], [])
        monkeypatch.setattr(ledger, "_trees", lambda: {**known, module: tree})
        return [a != b for a, b in zip(before, now(), strict=True)]

    yield changed
    monkeypatch.undo()
    now()


@pytest.mark.parametrize(
    ("module", "stale"),
    [
        ("stats", [True, True, True, True]),
        ("gates", [True, True, True, False]),
        ("detectors.logistic", [True, True, True, False]),
        ("detectors.diff_means", [True, False, False, False]),
        ("family_gates.parity", [True, True, False, False]),
        ("persistence", [True, False, False, True]),
        ("hhh", [True, False, False, True]),
        ("saes", [True, False, False, False]),
        ("judge", [True, False, False, False]),
    ],
)
def test_a_change_makes_stale_what_it_measures(after_a_change, module, stale):
    assert after_a_change(module) == stale


def test_an_import_inside_a_function_counts(monkeypatch):
    trees = {
        "a": ast.parse("def f():\n    from mo_interp.b import c\n    return c"),
        "b": ast.parse("c = 1"),
        "d": ast.parse(""),
    }
    monkeypatch.setattr(ledger, "_trees", lambda: trees)
    assert ledger._imported(["a"]) == {"a", "b"}
    with pytest.raises(UnknownName, match="nothing"):
        ledger._imported(["nothing"])


def test_what_a_stage_begins_in_is_there():
    for roots in GATES_CODE.values():
        assert set(roots) <= set(ledger._trees())


def test_a_sealed_file_is_for_the_code_that_made_it(tmp_path):
    path, made = tmp_path / "a.jsonl", [Record(kind="gate", values={"x": 1})]
    assert once(path, lambda: made, code="this") == made
    assert sealed(path, code="this") == made
    assert sealed(path, code="another") is None
    assert sealed(path) is None
