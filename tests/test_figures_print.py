"""Figures for print: exact widths, 8 points that stay text, safe colours, caption and tables."""

from __future__ import annotations

import csv
import io
import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
import synthetic
from click.testing import CliRunner

from mo_interp import cli, figures
from mo_interp.errors import NoBrowser, UnknownName
from mo_interp.figures import _house, _table
from mo_interp.figures.scoreboard import BOARD
from mo_interp.figures.verdicts import EDITS
from mo_interp.records import Record, read_records, select, write_records

MAKE = synthetic.Maker("quirky_user", 0)
RECORDS = [*synthetic.records(), *synthetic.forming(MAKE), *synthetic.removal(MAKE)]
RECORDS += synthetic.agreement(MAKE)
SHIPPED = Path(__file__).parents[1] / "probes" / "results"
NAMES = [name for name in figures.names() if name != "scoreboard"]
# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
}  # fmt: skip


def lab(colour: str, sees: str = "") -> np.ndarray:
    """CIELAB of a colour as it is seen, D65."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(BLIND[sees]) @ linear, 0, 1) if sees else linear
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(to_xyz) @ linear / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sees", ["", *BLIND])
def test_the_main_colours_are_told_apart_by_all(sees: str) -> None:
    series = (_house.BLUE, _house.GREEN, _house.VERMILLION, _house.ORANGE, _house.MUTED)
    for one, other in itertools.combinations(series, 2):
        away = np.linalg.norm(lab(one, sees) - lab(other, sees))
        assert away > 10, f"{one} and {other} are {away:.1f} apart"


def test_a_red_and_a_green_would_be_seen_as_alike() -> None:
    assert np.linalg.norm(lab("#b35a00", "deutan") - lab("#8a7000", "deutan")) < 10


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", figures.WIDTHS)
def test_print_is_as_wide_as_asked_and_in_8_points(name: str, width: str) -> None:
    drawn = figures.draw(name, RECORDS, theme="paper", width=width)
    assert drawn.layout.width == {"column": 3.25 * 96, "page": 6.75 * 96}[width]
    assert drawn.layout.height % _house.STEP == 0 and not drawn.layout.title.text
    sizes = re.findall(r'font": ?\{[^{}]*?"size": ?([\d.]+)', drawn.to_json())
    assert sizes and {round(float(px) * 0.75, 6) for px in sizes} == {8.0}


TALL = {"column": 7 * 96, "page": 9 * 96}


@pytest.mark.parametrize("width", figures.WIDTHS)
@pytest.mark.parametrize("seeds", [1, 5])
def test_verdicts_fit_with_every_row(width: str, seeds: int) -> None:
    """Those of a whole run as it is recorded, and of five such seeds."""
    recorded = read_records(SHIPPED / "quirky_user.jsonl")
    records = [replace(r, seed=seed) for r in recorded for seed in range(seeds)]
    drawn = figures.draw("verdicts", records, theme="paper", width=width)
    assert drawn.layout.width == 96 * _house.INCHES[width]
    assert drawn.layout.height <= TALL[width]
    shown = {t.name: 0 for t in drawn.data}
    for t in drawn.data:
        shown[t.name] += len(t.x)
    verdicts = select(records, kind="verdict")
    for name in ("restored", "stopped", "caused"):
        kinds = ("verdict", "decision") if name == "caused" else ("verdict",)
        assert shown[name] == sum(name in r.values for r in records if r.kind in kinds)
    names = [n for axis in drawn.select_yaxes() for n in axis.ticktext]
    mechanisms = {r.params["mechanism"] for r in verdicts}
    assert sorted(names) == sorted(["organism", "clean twin", *[*EDITS] * 5])
    heads = " ".join(a.text for a in drawn.layout.annotations)
    assert all(f"<b>{name}</b>" in heads for name in mechanisms) and len(mechanisms) == 5


@pytest.mark.parametrize("width", figures.WIDTHS)
def test_where_verdicts_are_too_many_what_is_left_out_is_said(width: str) -> None:
    """Fifteen mechanisms: the headline edits alone, and in a column not all mechanisms."""
    recorded = select(read_records(SHIPPED / "quirky_user.jsonl"), kind="verdict")
    records = [
        replace(r, params={**r.params, "mechanism": f"{r.params['mechanism']} {letter}"})
        for letter in "abc"
        for r in recorded
    ]
    drawn = figures.draw("verdicts", records, theme="paper", width=width)
    assert drawn.layout.height <= TALL[width]
    rows = [n for a in drawn.select_yaxes() for n in a.ticktext]
    left = 15 - rows.count("set")
    assert set(rows) == {"resample", "set"} and left == {"column": 4, "page": 0}[width]
    caption = drawn.layout.meta["caption"]
    assert "Other edits are in the table alone." in caption
    assert ("So are 4 mechanisms." in caption) == (width == "column")
    every = [k for r in records for k in ("stopped", "restored", "cost", "caused") if k in r.values]
    assert len(figures.table("verdicts", records)) == len(every)


CARDS = read_records(SHIPPED.parents[1] / "organisms" / "records.jsonl")
SEVERAL = {r.organism for r in CARDS if r.kind == "gate" and r.seed == 4}


@pytest.mark.parametrize("organism", sorted(SEVERAL)[::3])
@pytest.mark.parametrize("width", figures.WIDTHS)
def test_gates_of_five_seeds_fit_with_every_gate_and_seed(organism: str, width: str) -> None:
    records = select(CARDS, kind="gate", organism=organism)
    drawn = figures.draw("gates", records, theme="paper", width=width)
    assert drawn.layout.width == 96 * _house.INCHES[width]
    assert drawn.layout.height <= TALL[width]
    shown = [x for t in drawn.data for x in t.customdata or ()]
    kept = [r.values["statistic"] for r in records if r.values.get("statistic") is not None]
    assert sorted(shown) == sorted(kept) and len(kept) > 20
    ys = [y for t in drawn.data if t.customdata for y in t.y]
    assert min(np.diff(sorted(ys))) >= 4, "two seeds cover each other"
    heads = [re.sub("<.*?>", "", a.text.split("<br>")[0]) for a in drawn.layout.annotations]
    gates = {(r.params["number"], r.params["name"]) for r in records}
    assert len(heads) == len(gates)
    assert all(any(f"{n} {name} " in head for head in heads) for n, name in gates)
    seeds = ", ".join(map(str, sorted({r.seed for r in records})))
    assert f"seeds {seeds}, from the top down" in drawn.layout.meta["caption"]


@pytest.mark.parametrize("width", figures.WIDTHS)
def test_no_number_of_a_gate_is_torn_from_its_word(width: str) -> None:
    drawn = figures.draw("gates", RECORDS, theme="paper", width=width)
    lines = [x for a in drawn.layout.annotations for x in a.text.split("<br>")]
    lines = [re.sub("<.*?>", "", line) for line in lines]
    assert sum(bool(re.search(r"\bbar [\d.]+$", line)) for line in lines) >= 4
    assert not [line for line in lines if line.endswith((" bar", " n", "·")) or line[:1] == "·"]
    assert max(map(len, lines)) * 0.5 * _house.PRINT < drawn.layout.width


def board(organisms: int, methods: int) -> list[Record]:
    """Scores of every part: organisms by methods, each its own number."""
    found = []
    for part, (measure, _) in BOARD.items():
        for method in range(methods):
            for i in range(organisms):
                mean = (i + 10 * method) / 200
                values = {"mean": mean, "mean_lo": mean - 0.02, "mean_hi": mean + 0.1, "mean_n": 3}
                values |= {"random": 0.4, "twin": 0.6, "seeds": [0, 1, 2], "each": [mean] * 3}
                params = {"part": part, "method": f"method {method}", "measure": measure}
                of = f"organism_{i:02}"
                found.append(Record(kind="score", organism=of, params=params, values=values))
    return found


def in_cells(drawn: go.Figure, name: str) -> list[float]:
    """The numbers that stand in the cells under this name."""
    return [x for t in drawn.data if t.name == name for x in t.customdata]


@pytest.mark.parametrize("width", figures.WIDTHS)
def test_a_large_scoreboard_is_exactly_as_wide_as_asked_and_readable(width: str) -> None:
    records = board(11, 8)
    drawn = figures.draw("scoreboard", records, theme="paper", width=width)
    assert drawn.layout.width == 96 * _house.INCHES[width]
    assert drawn.layout.height <= TALL[width]
    maps = [t for t in drawn.data if t.type == "heatmap"]
    parts = {"column": 3, "page": 5}[width]
    shown = [r for r in records if r.params["part"] in list(BOARD)[:parts]]
    means = [r.values["mean"] for r in shown]
    assert sorted(z for t in maps for line in t.z for z in line) == sorted(means)
    assert sorted(in_cells(drawn, "mean")) == sorted(means)
    assert len(in_cells(drawn, "chance")) == len(in_cells(drawn, "clean twin")) == len(shown)
    left = drawn.layout.margin.l + drawn.layout.margin.r
    axes = list(drawn.select_xaxes())
    wide = (drawn.layout.width - left) * (axes[0].domain[1] - axes[0].domain[0])
    assert wide / len(axes[0].ticktext) > 15.5, "three letters of 8 points"
    marks = [t for t in drawn.data if t.type == "scatter"]
    numbers = [x for t in marks if t.mode == "text" for x in t.texttemplate]
    assert max(map(len, numbers)) == 3 and len(numbers) == len(means)
    said = drawn.layout.meta["caption"]
    assert ("In the table alone, for want of room: removal" in said) == (width == "column")
    assert len(figures.table("scoreboard", records)) == len(records)


def test_intervals_of_the_scoreboard_lie_in_their_cells_as_recorded() -> None:
    records = board(3, 2)
    drawn = figures.draw("scoreboard", records, theme="paper", width="page")
    bars = [t for t in drawn.data if t.name == "95 % interval"]
    long = {}
    for t in bars:
        ends = zip(t.x[::3], t.x[1::3], strict=True)
        for low, high in ends:
            cell = round((low + high) / 2)
            assert cell - 0.5 < low < high < cell + 0.5
            long.setdefault(cell, []).append(high - low)
    made = [[r for r in records if r.organism == f"organism_{i:02}"] for i in range(3)]
    for cell, mine in enumerate(made):
        told = [r.values["mean_hi"] - max(0, r.values["mean_lo"]) for r in mine]
        ratio = {round(a / b, 6) for a, b in zip(sorted(long[cell]), sorted(told), strict=True)}
        assert len(ratio) == 1, "a bar is not as long as its interval"


def test_a_part_of_the_scoreboard_alone_shows_all_that_it_measures() -> None:
    records = read_records(SHIPPED / "scoreboard.jsonl")
    asked = {"theme": "paper", "width": "page"}
    drawn = figures.draw("scoreboard", records, part="detection", **asked)
    mine = [r for r in records if r.params.get("part") == "detection"]
    assert drawn.layout.height <= TALL["page"]
    assert len(in_cells(drawn, "mean")) == len(mine)
    heads = " ".join(a.text for a in drawn.layout.annotations)
    assert all(r.params["measure"] in heads for r in mine)
    assert len(figures.table("scoreboard", records, part="detection")) == len(mine)
    with pytest.raises(UnknownName, match="part 'detecting'; did you mean 'detection'"):
        figures.draw("scoreboard", records, part="detecting")


@pytest.mark.parametrize("name", NAMES)
def test_the_table_has_what_is_drawn_with_n(name: str) -> None:
    table = figures.table(name, RECORDS)
    assert table and {"value", "lo", "hi", "n"} <= set(_table.columns(table))
    known = {float(line["value"]) for line in table if line["value"] is not None}
    drawn = figures.draw(name, RECORDS)
    points = [x for t in drawn.data if t.type == "heatmap" for row in t.z for x in row]
    for t in drawn.data:
        if t.type == "scatter" and (t.error_x.array is not None or t.error_y.array is not None):
            points += t.x if t.error_x.array is not None else t.y
    if name in ("gates", "circuit"):
        points = [x for t in drawn.data for x in t.customdata or ()]
    if name == "training":  # has no intervals
        points = [y for t in drawn.data for y in t.y]
    if name == "before_and_after":  # one minus what was stopped is drawn
        known |= {1 - x for x in known}
    assert points and {float(x) for x in points if x is not None} <= known


def test_csv_and_latex_hold_the_same_lines() -> None:
    table = figures.table("removal", RECORDS)
    rows = list(csv.DictReader(io.StringIO(_table.as_csv(table))))
    assert [float(r["value"]) for r in rows] == [line["value"] for line in table]
    tex = _table.as_tex(table, title="Cures", command="mo-interp figure removal")
    body = re.search(r"\\midrule\n(.*)\n\\bottomrule", tex, re.S)
    assert body is not None and tex.count(r"\toprule") == 1
    lines = [re.split(r"(?<!\\)&", line.removesuffix(r"\\")) for line in body[1].splitlines()]
    shape = re.search(r"\\begin\{tabular\}\{([lr]+)\}", tex)
    assert shape is not None and {len(line) for line in lines} == {len(shape[1])}
    assert len(lines) == len(rows) and any("zero \\& all" in cell for cell in lines[4])


def test_latex_is_escaped() -> None:
    told = _table.escaped(r"50 % of a_b & {c} #1 $x \ ~ ^ −1")
    assert not re.search(r"(?<!\\)[%&#_]", told)
    assert "−" not in told and r"\textbackslash{}" in told and r"\textasciitilde{}" in told


def test_the_verb_writes_caption_and_tables_without_a_chrome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "browser", lambda: None)
    write_records(tmp_path / "records.jsonl", RECORDS)
    asked = ["figure", "verdicts", "--run", str(tmp_path), "--theme", "paper", "--format", "pdf"]
    done = CliRunner().invoke(cli.main, [*asked, "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, NoBrowser | SystemExit) and done.exit_code
    assert "verdicts.html" in str(done.exception) + done.output
    written = {p.name for p in (tmp_path / "out").iterdir()}
    assert written >= {"verdicts.caption.txt", "verdicts.csv", "verdicts.tex", "verdicts.html"}
    caption = (tmp_path / "out" / "verdicts.caption.txt").read_text()
    command = re.search(r"Made by: mo-interp (.*)", caption)
    assert command is not None and f"--run {tmp_path} " in command[1]
    assert re.search(r"n: [\d,]+", caption)
    assert "Seeds: 0" in caption and "Intervals: 95 %" in caption


def test_every_cure_is_named_once_also_in_a_chain_of_near_marks() -> None:
    records = synthetic.removal(MAKE)
    moved = {"mean": 0.95, "heads": 0.93, "zero & all": 0.91}
    paid = {"mean": 0.01, "heads": 0.03, "zero & all": 0.05}
    chain = []
    for r in records:
        values, method = dict(r.values), r.params["method"]
        if r.kind == "removal_d" and method in moved:
            values["restored"] = moved[method]
        if r.kind == "removal_cost" and method in paid:
            values["cost"] = paid[method]
        chain.append(replace(r, values=values))
    drawn = figures.draw("removal", chain)
    marks = [t for t in drawn.data if t.mode == "markers+text"]
    labels = [x.strip() for t in marks for x in t.texttemplate if x.strip()]
    assert sorted(labels) == ["leace", "mean, heads, zero & all"]


def test_a_cure_without_certificate_is_no_cure() -> None:
    drawn = figures.draw("removal", RECORDS)
    found = {t.name: len(t.x) for t in drawn.data if t.error_x.array is not None}
    bare = "no certificate in the records"
    assert found == {"removed": 1, "suppressed": 1, "broken": 1, bare: 1}
    assert len(select(RECORDS, kind="certificate")) == 3


EXPORTED = {
    "behaviour": lambda: RECORDS,
    "circuit": lambda: RECORDS,
    "gates": lambda: select(CARDS, organism="deploy_tag"),
    "verdicts": lambda: read_records(SHIPPED / "quirky_user.jsonl"),
    "scoreboard": lambda: board(11, 8),
}


@pytest.mark.slow
@pytest.mark.skipif(figures.browser() is None, reason="no Chrome on this machine")
@pytest.mark.parametrize("name", EXPORTED)
@pytest.mark.parametrize("width", figures.WIDTHS)
def test_files_have_the_exact_width_and_text_stays_text(
    tmp_path: Path, name: str, width: str
) -> None:
    figures.export(name, EXPORTED[name](), tmp_path, formats=("svg", "pdf"), width=width)
    svg = (tmp_path / f"{name}.svg").read_text()
    inches = _house.INCHES[width]
    size = re.search(r'width="([\d.]+)in" height="([\d.]+)in"', svg[:300])
    assert size is not None and float(size[1]) == inches and float(size[2]) <= 9
    assert len(re.findall(r"<text[^>]*>(?:<tspan[^>]*>)?([^<]+)", svg)) > 8
    pixels = {float(px) for px in re.findall(r"font-size: ([\d.]+)px", svg)}
    assert all(px * 0.75 == pytest.approx(8, abs=0.01) for px in pixels)
    pdf = (tmp_path / f"{name}.pdf").read_bytes()
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)", pdf)
    assert [float(box[0]) for box in boxes] == [72 * inches], "one page, exactly as wide"
    caption = (tmp_path / f"{name}.caption.txt").read_text()
    assert re.search(r"^n: [\d,]+", caption, re.M) and "Intervals: 95 %" in caption
    rows = list(csv.DictReader((tmp_path / f"{name}.csv").open()))
    told = figures.table(name, EXPORTED[name]())
    assert [row["value"] for row in rows] == [str(line["value"]) for line in told]
    assert (tmp_path / f"{name}.tex").read_text().count(r" \\") == len(rows) + 1
