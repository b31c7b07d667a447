"""A module imports only from lower floors, or from modules listed before it on its own floor."""

import ast

import pytest
from reading import ROOT, imported, modules, tree

FLOORS = (
    ("errors", "records", "sites", "stats", "showing"),
    ("worlds", "triggers", "behaviours", "organism", "hhh")
    + ("modifiers", "finding", "circuits"),
    ("store", "ledger", "transformer", "model", "export", "audit", "bridge")
    + ("train", "weighed", "evading", "implant", "routed", "wired", "weaker", "grown", "stacked")
    + ("twins", "rulers"),
    ("features", "edits", "detectors", "probing", "baselines", "detection", "feeding")
    + ("patching", "attribution", "origins", "transfer", "saes", "directions", "diffing")
    + ("discovery",)
    + ("hypotheses",),
    ("judge", "decision", "gating", "persistence", "family_gates", "modifier_checks", "gates")
    + ("planted_stages", "stages", "tokenwise", "pipeline", "removal", "growing", "bench")
    + ("conversation",)
    + ("checkup", "forecast"),
    ("wording", "swept", "figures", "report", "cards", "scoreboard", "telling", "cli", "__init__")
    + ("__main__",),
)
ORDER = {name: i for i, name in enumerate(name for floor in FLOORS for name in floor)}
PLANT = ORDER["circuits"]


def unit(name: str) -> str:
    """The module or package on the floor plan: ``mo_interp.worlds.fact`` is ``worlds``."""
    first = name.removeprefix("mo_interp").lstrip(".").split(".")[0]
    return first if first in ORDER else "__init__"


def upward(source: ast.AST, place: str, limit: int | None = None) -> list[str]:
    """The imports in ``source`` that leave ``place`` for somewhere not below it."""
    limit = ORDER[place] - 1 if limit is None else limit
    ours = [(n, line) for n, line in imported(source) if n.split(".")[0] == "mo_interp"]
    return [
        f"{place}, line {line}: {name}"
        for name, line in ours
        if unit(name) != place and ORDER[unit(name)] > limit
    ]


@pytest.mark.parametrize("name", modules())
def test_a_module_imports_only_from_below(name):
    place = name.split(".")[0]
    assert place in ORDER, f"{name} is on no floor: add it to FLOORS where it belongs"
    assert upward(tree(modules()[name]), place) == []


@pytest.mark.parametrize("path", sorted((ROOT / "organisms").glob("*.py")), ids=lambda p: p.stem)
def test_an_organism_imports_only_words_and_plant(path):
    assert upward(tree(path), "organisms", PLANT) == []


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("sites", "from mo_interp.cli import main"),
        ("sites", "def f():\n    import mo_interp.organism"),
        ("model", "from mo_interp import judge"),
        ("model", "from mo_interp import Site"),
        ("edits", "import importlib\nimportlib.import_module('mo_interp.patching')"),
        ("errors", "from mo_interp.records import Record"),
    ],
)
def test_an_upward_import_is_seen(place, text):
    assert len(upward(ast.parse(text), place)) == 1


def test_a_downward_import_is_allowed():
    text = "from mo_interp.worlds.fact import Fact\nfrom mo_interp.errors import nearest"
    assert upward(ast.parse(text), "organism") == []
