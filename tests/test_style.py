"""Habits a machine can watch: short functions, docstrings, silence, no arguments handed through."""

import ast
from collections.abc import Iterator

import pytest
from reading import ROOT, modules, tree

LONGEST = 60
LONGEST_PROBE = 120
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(source: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(source) if isinstance(node, Function))


def too_long(source: ast.AST) -> list[str]:
    lengths = {f"{f.name}, line {f.lineno}": f.end_lineno - f.lineno + 1 for f in functions(source)}
    return [f"{name}: {n} lines" for name, n in lengths.items() if n > LONGEST]


def undocumented(source: ast.AST, prefix: str = "") -> list[str]:
    """Public classes, functions and methods without a docstring, and the module itself."""
    found = [] if prefix or ast.get_docstring(source) else ["the module"]
    for node in getattr(source, "body", []):
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            found.append(f"{prefix}{node.name}")
        if isinstance(node, ast.ClassDef):
            found += undocumented(node, f"{node.name}.")
    return found


def prints(source: ast.AST) -> list[str]:
    calls = (node for node in ast.walk(source) if isinstance(node, ast.Call))
    return [f"line {c.lineno}" for c in calls if getattr(c.func, "id", "") == "print"]


def passed_on(source: ast.AST) -> list[str]:
    """Calls that hand a function's own ``**kwargs`` to another."""
    found = []
    for function in functions(source):
        own = function.args.kwarg.arg if function.args.kwarg else None
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            given = [k.value for k in call.keywords if k.arg is None]
            if own and any(getattr(value, "id", "") == own for value in given):
                found.append(f"{function.name}, line {call.lineno}")
    return found


RULES = {f.__name__: f for f in (too_long, undocumented, prints, passed_on)}
SAMPLES = {
    "too_long": "def f():\n" + "    x = 1\n" * LONGEST,
    "undocumented": '"""Said."""\nclass A:\n    """Said."""\n    def f(self): pass',
    "prints": "def f():\n    print('here')",
    "passed_on": "def f(**options):\n    return g(1, **options)",
}


def _places() -> dict[str, object]:
    specs = {f"organisms/{p.stem}": p for p in sorted((ROOT / "organisms").glob("*.py"))}
    return modules() | specs


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("place", _places())
def test_habit(place, rule):
    assert RULES[rule](tree(_places()[place])) == []


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_habit_is_seen(rule):
    assert len(RULES[rule](ast.parse(SAMPLES[rule]))) == 1


@pytest.mark.parametrize("path", sorted((ROOT / "probes").glob("*.py")), ids=lambda p: p.stem)
def test_a_probe_reads_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_PROBE
