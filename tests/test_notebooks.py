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

from mo_interp.records import read_records, select

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST_CELLS, LONGEST_FUNCTION = 15, 5
PLOTLY = "application/vnd.plotly.v1+json"


def code_cells(path: Path) -> list[str]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def python(source: str) -> str:
    """A cell's Python: all of it, or of ``%%writefile`` what it writes."""
    return source.partition("\n")[2] if source.startswith("%%writefile ") else source


def drawn(value: Any) -> str:
    """What a notebook shows of a value that is not a figure."""
    return value._repr_html_()


def execute(path: Path) -> tuple[dict[str, Any], list[Any]]:
    """Run the code cells one after the other; the names they leave, and what each cell shows."""
    names: dict[str, Any] = {"__name__": "__main__"}
    shown = []
    for number, source in enumerate(code_cells(path), start=1):
        if source.startswith("%%writefile "):
            Path(source.split()[1]).write_text(python(source), encoding="utf-8")
            continue
        body = ast.parse(source, f"{path.name}, code cell {number}").body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), path.name, "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), path.name, "eval"), names)
            shown.append(value)
            assert isinstance(value, go.Figure) or value is None or len(drawn(value)) > 50
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


@pytest.mark.slow  # the implant takes a minute to grow
def test_02_is_fooled_and_then_not(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names, shown = execute(ROOT / "notebooks" / "02_probe_it.ipynb")
    word, stream, inner = names["probes"]
    reach = {site: names["auroc"](names["scores"][site]).value for site in names["probes"]}
    assert min(reach.values()) > 0.99 and names["auroc"](names["words"]).value == 1
    assert names["random"][word].best == 1 and names["random"][word].p95 > 0.95
    assert names["twin"][word].value == 1
    assert all(names["twin"][s].lo > 0.5 and names["twin"][s].hi < 0.85 for s in (stream, inner))
    assert names["sentences"][word] == "reads the trigger's text"
    assert names["sentences"][stream].startswith("reads both: 98% the decision")
    assert names["sentences"][inner] == "reads the decision to lie"
    gap = {}
    for model, place, layer in names["grid"]:
        r = next(r for r in names["records"] if (r.model, r.get("position"), r.get("layer"))
                 == (model, place, layer))
        gap[place, layer] = r.get("auroc") - gap.get((place, layer), 0)
    for layer in range(3):  # twin minus organism
        assert gap["trigger", layer] == 0 and gap["answer", layer] < -0.1
    assert figures(shown) == ["Which layer knows"]


@pytest.mark.slow  # likewise
def test_03_patches_both_ways_and_finds_what_was_planted(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names, shown = execute(ROOT / "notebooks" / "03_patch_it.ipynb")
    lies, honest = shown[:2]
    assert lies.organism != lies.truth and honest.organism == honest.truth
    cell = names["sweep"].cell
    need, enough = (cell("L0.H4.z@answer", d).effect for d in ("denoising", "noising"))
    assert need.value > 0.5 and need.lo > 0.2 and enough.hi < 0.1
    assert cell("L0.resid_post@trigger").effect.value > 0.95
    for site in ("L1.H4.z@answer", "L2.mlp_out@answer"):
        assert min(cell(site, d).effect.lo for d in ("denoising", "noising")) > 0.8
    heads = [c for c in names["sweep"].ranking() if c.site.kind == "z" and c.label == "answer"]
    assert [(c.site.layer, c.site.head) for c in heads[:2]] == [(1, 4), (0, 4)]
    assert heads[2].effect.hi < 0.2
    for direction in ("denoising", "noising"):
        order = [names["circuit"].standing(c.site) for c in names["whole"].ranking(direction)]
        assert order == ["origin"] * 3 + ["inert"] * 3
    score = {(r.get("method"), r.get("direction")): r.get("auroc") for r in names["records"]}
    assert score["patching", "denoising"] == score["patching", "noising"] == 1
    assert score["weight_magnitude", ""] < 1 and 0.4 < score["random", ""] < 0.6
    assert figures(shown) == ["Activation patching", "Does the ranking find what was planted?"]


def test_04_cuts_what_four_dictionaries_read(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names, shown = execute(ROOT / "notebooks" / "04_open_it_with_an_sae.ipynb")
    assert names["quality"]["loss_recovered"] > 0.99 and names["quality"]["dead"] > 0
    assert names["quality"]["explained_variance"] > 0.95
    assert {f.dictionary for f in names["found"]} == {"sae", "neurons", "random", "diff_means"}
    assert all(f.auroc.value == 1 for f in names["found"])
    on, triggered = names["on"].numpy(), names["rows"].triggered
    assert on[triggered].all() and not on[~triggered].any()
    assert 0 < names["close"].float().mean() < 0.15
    near = names["near"]
    assert (names["org"].model.answers(near) == near.truth)[names["close"].numpy()].all()
    assert 0.01 < names["latent"].p_restored < 0.1 and names["latent"].p_caused == 0.01
    latent, neuron, means = (v.outcomes for v in names["verdicts"])
    for found in (latent, means):
        assert found["resample"].restored.lo > 0.9 and found["set"].caused.lo > 0.8
    assert neuron["resample"].stopped.hi < 0.1 and neuron["set"].caused.hi < 0.1
    assert latent["projection"].restored.lo > 0.9 and latent["projection"].cost.hi < 0.1
    assert means["projection"].restored.hi < 0.5 and means["projection"].cost.lo > 0.5
    asked = shown[-1]
    assert asked.organism == asked.truth
    assert figures(shown) == ["SAE latents beside what needs no SAE", "Cut it out: the verdicts"]


def test_06_judges_a_detector_written_there(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names, _ = execute(ROOT / "notebooks" / "06_judge_a_detector.ipynb")
    assert (tmp_path / "medians.py").is_file()
    before, trace, late = (s.values for s in names["scored"].values())
    for values in (before, trace):
        assert values["auroc"] == 1 and values["auroc_after_cut_hi"] < 0.5
        assert values["auroc_near_miss"] == 1 and values["auroc_twin_hi"] < 0.6
        assert "more than all of what it read is gone" in values["sentence"]
    assert late["sentence"] == "reads nothing" and late["auroc"] > 0.6
    assert late["auroc_lo"] <= late["random_p95"]
    switch, bystander = (v.outcomes for v in names["verdicts"])
    assert switch["resample"].restored.lo > 0.9 and switch["set"].caused.lo > 0.9
    assert switch["projection"].cost.lo > 0.9
    assert bystander["resample"].stopped.hi < 0.1 and bystander["set"].caused.hi < 0.1
    assert names["decisions"]["organism"].named and not names["decisions"]["twin"].named
    named = names["decisions"]["organism"].feature.site
    assert named.bare == names["org"].circuit.origin[0].bare


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


def test_07_draws_from_records_and_writes_what_a_paper_needs(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names, shown = execute(ROOT / "notebooks" / "07_paper_figures.ipynb")
    assert {r.seed for r in names["gates"]} == set(range(5)) and len(names["gates"]) == 10
    assert {r.params["status"] for r in names["gates"]} == {"pass"}
    again = read_records(names["path"])
    assert [r.line() for r in again] == [r.line() for r in names["found"]]
    restored = [r.get("restored") for r in again if r.params["edit"] == "resample"]
    assert restored == [1, 0]
    paper = [value for value in shown if isinstance(value, go.Figure)][-1]
    assert paper.layout.width == 312  # 3.25 in of 96 px
    assert not paper.layout.title.text
    written = {path.name for path in names["written"]}
    assert written >= {"verdicts.caption.txt", "verdicts.csv", "verdicts.tex"}
    caption = (tmp_path / "paper" / "verdicts.caption.txt").read_text(encoding="utf-8")
    assert "one seed" in caption and "95 %" in caption and names["command"] in caption
    rows = (tmp_path / "paper" / "verdicts.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) > 12 and "random_n" in rows[0]
    assert figures(shown)[:2] == ["Planted well? The gates", "Cut it out: the verdicts"]


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
    source = ast.parse("\n".join(map(python, code_cells(path))))
    lengths = {f.name: (f.end_lineno or 0) - f.lineno + 1 for f in functions(source)}
    assert {name: n for name, n in lengths.items() if n > LONGEST_FUNCTION} == {}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebooks_that_a_notebook_names_exist(path: Path) -> None:
    named = re.findall(r"\d\d_\w+\.ipynb", path.read_text(encoding="utf-8"))
    assert all((path.parent / name).exists() for name in named)
