"""The public names: each resolves, and a verb that is also a submodule is both."""

import importlib
import subprocess
import sys

import pytest

import mo_interp as mo
from mo_interp import records


@pytest.mark.parametrize("name", [n for n in mo.__all__ if n != "__version__"])
def test_every_public_name_is_there(name):
    assert mo._load(name) is not None
    assert getattr(mo, name) is mo._load(name) or name in mo._VERBS


def test_there_are_not_too_many_of_them():
    assert len(mo.__all__) <= 25


def test_a_verb_calls_its_target_and_stays_the_module(monkeypatch):
    assert mo.records is records is importlib.import_module("mo_interp.records")
    assert mo.records.Record is mo.Record
    monkeypatch.setitem(mo._NAMES, "records", "mo_interp.sites:Site")
    assert mo.records("embed") == mo.Site("embed")
    with pytest.raises(TypeError, match="colour"):
        mo.records("embed", colour=1)


@pytest.mark.parametrize(
    "first", ["import mo_interp.records", "from mo_interp.records import Record"]
)
def test_a_verb_can_be_called_however_its_module_was_imported(first):
    code = f"{first}\nimport mo_interp as mo\nassert callable(mo.records), type(mo.records)"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
