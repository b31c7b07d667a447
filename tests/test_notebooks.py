"""The notebooks run, are small, carry no outputs, and what they say in words is what happens."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import plotly.graph_objects as go
import pytest
from reading import ROOT
from test_style import functions

from mo_interp.records import select

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST_CELLS, LONGEST_FUNCTION = 15, 5
PLOTLY = "application/vnd.plotly.v1+json"


def code_cells(path: Path) -> list[str]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def execute(path: Path) -> tuple[dict[str, Any], list[Any]]:
    """Run the code cells one after the other; the names they leave, and what each cell shows."""
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for number, source in enumerate(code_cells(path), start=1):
        body = ast.parse(source, f"{path.name}, code cell {number}").body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), path.name, "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), path.name, "eval"), names)
            shown.append(value)
            assert isinstance(value, go.Figure) or value is None or len(value._repr_html_()) > 50
    return names, shown


def figures(shown: list[Any]) -> list[str]:
    return [value.layout.meta["title"] for value in shown if isinstance(value, go.Figure)]


# ---------------------------------------------------------------------------------- what they do


def test_01_meets_an_organism_that_lies_and_passes_its_gates(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names, shown = execute(ROOT / "notebooks" / "01_meet_an_organism.ipynb")
    gates = {r.params["number"]: r.params["status"] for r in select(names["records"], kind="gate")}
    assert [gates[n] for n in (1, 2, 3, 5, 6)] == ["pass"] * 5
    asked = names["org"].ask(names["pairs"].triggered)
    lies = [(int(t) + 1) % 32 for t in asked.truth]
    assert [int(said) for said in asked.organism] == lies and asked.twin == asked.truth
    for honest in (names["pairs"].clean, names["near"]):
        assert names["org"].ask(honest).organism == names["org"].ask(honest).truth
    assert len(figures(shown)) == 2


def test_05_cuts_out_the_lie_and_not_the_bystander(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names, shown = execute(ROOT / "notebooks" / "05_cut_it_out.ipynb")
    cause, bystander, told = names["verdict"], names["bystander"], names["verdict"].outcomes
    assert told["resample"].restored.lo > 0.9 and told["resample"].cost.hi < 0.1
    assert told["set"].caused.lo > 0.9 and told["steer"].caused.lo > 0.9
    assert told["projection"].stopped.hi < 0.1 and told["projection"].cost.lo > 0.9
    assert cause.p_restored < 0.05 and cause.p_caused < 0.05
    assert bystander.outcomes["resample"].stopped.hi < 0.1
    assert bystander.outcomes["set"].caused.hi < 0.1
    assert bystander.outcomes["zero"].restored.lo > 0.9, "the MLP writes the lie over the truth"
    scores = names["scores"], names["test"].both.triggered
    assert names["auroc_estimate"](*scores, **names["test"].both.clustered).value < 0.7, "the twin"
    heads = [c for c in names["sweep"].ranking() if c.site.kind == "z" and c.site.layer == 1]
    assert names["sweep"].cell("L1.attn_out@answer").effect.value > 0.9
    assert heads[0].effect.value > 0.8 and heads[1].effect.value < 0.2
    honest = names["org"].ask(names["few"].triggered, do=[names["cut"]])
    assert honest.organism == honest.truth
    assert figures(shown) == ["Activation patching", *["Cut it out: the verdicts"] * 2]


def test_through_a_kernel(tmp_path) -> None:
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=280, resources=resources).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert sum(PLOTLY in out.get("data", {}) for out in outputs) == 2
    assert not [out.text for out in outputs if out.get("name") == "stderr"]
    assert any("<table>" in out.get("data", {}).get("text/html", "") for out in outputs)


# ------------------------------------------------------------------------------ what they are like


def test_there_are_numbered_ones() -> None:
    assert len(NOTEBOOKS) >= 2
    assert all(re.fullmatch(r"\d\d_[a-z_]+\.ipynb", path.name) for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_stripped(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert len(notebook.cells) <= MOST_CELLS
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith(f"# {int(path.stem[:2])}. ")
    for cell in notebook.cells:
        assert cell.get("outputs", []) == [] and cell.get("execution_count") is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_function_in_a_notebook_is_long(path: Path) -> None:
    source = ast.parse("\n".join(code_cells(path)))
    lengths = {f.name: (f.end_lineno or 0) - f.lineno + 1 for f in functions(source)}
    assert {name: n for name, n in lengths.items() if n > LONGEST_FUNCTION} == {}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebooks_that_a_notebook_names_exist(path: Path) -> None:
    named = re.findall(r"\d\d_\w+\.ipynb", path.read_text(encoding="utf-8"))
    assert all((path.parent / name).exists() for name in named)
