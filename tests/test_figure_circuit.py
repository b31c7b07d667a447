"""The circuit as a figure: the same parts and words as the report's graph, in every width."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import plotly.graph_objects as go
import pytest
import synthetic

from mo_interp import figures
from mo_interp.errors import MoInterpError
from mo_interp.figures import _table, circuit
from mo_interp.records import Record, select
from mo_interp.report.circuit import drawing

RECORDS = synthetic.records()


def said(figure: go.Figure) -> dict[str, float]:
    """Every part's words and its effect, outlines left out."""
    marks = [t for t in figure.data if t.name not in ("origin", "mediator")]
    found = [pair for t in marks for pair in zip(t.text, t.customdata, strict=True)]
    assert len(dict(found)) == len(found), "a part is drawn twice"
    return dict(found)


def test_it_says_of_every_part_what_the_report_says() -> None:
    figure = figures.draw("circuit", RECORDS, theme="paper")
    shown = {words for words in said(figure)}
    told = set()
    for direction in circuit.DIRECTIONS:
        svg = drawing(RECORDS, direction=direction)
        told |= {html.unescape(x) for x in re.findall(r'data-said="([^"]*)"', svg)}
    told = {w for w in told if re.search(r"at (trigger|answer)\)", w) and "unchanged" not in w}
    assert told == {w for w in shown if "unchanged" not in w} and len(told) > 50


def test_effects_and_outlines_equal_the_records() -> None:
    figure = figures.draw("circuit", RECORDS)
    drawn = said(figure)
    known = {
        (r.site, r.params["direction"]): r.values["effect"]
        for r in select(RECORDS, kind="sweep")
        if r.params["role"] in ("trigger", "answer")
        and not (r.params["kind"] == "resid_pre" and r.params["layer"])
    }
    assert len(drawn) == len(known)
    for words, effect in drawn.items():
        site, direction = re.match(r"(\S+) .*, (denoising|noising): ", words).groups()
        assert known[site, direction] == effect
    rings = {t.name: t.text for t in figure.data if t.name in ("origin", "mediator")}
    assert {w.split(" ")[0] for w in rings["origin"]} == {"L1.H4.z@answer"}
    assert {w.split(" ")[0] for w in rings["mediator"]} == {"L0.mlp_out@trigger"}
    bare = figures.draw("circuit", synthetic.records(without=("circuit",)))
    assert not [t for t in bare.data if t.name in ("origin", "mediator")]
    assert "nothing is outlined" in bare.layout.meta["caption"]


def test_lines_are_as_wide_as_the_effect_of_what_they_leave() -> None:
    figure = figures.draw("circuit", RECORDS)
    lines = [s for s in figure.layout.shapes if s.type == "line"]
    at = {
        (round(x, 3), round(y, 3), t.xaxis): e
        for t in figure.data
        for x, y, e in zip(t.x, t.y, t.customdata, strict=True)
    }
    axes = {"x": "x", "x2": "x2"}
    slanted = [s for s in lines if s.x0 != s.x1]
    assert len(slanted) > 30
    for s in slanted:
        effect = at[round(s.x0, 3), round(s.y0, 3), axes[s.xref]]
        assert s.line.width == pytest.approx(0.8 + circuit.WIDE * min(1, abs(effect)))
        assert (s.line.dash == "dot") == (effect <= -circuit.MATTERS)
    upright = [s for s in lines if s.x0 == s.x1]
    for s in upright:
        ends = [abs(at[round(s.x0, 3), round(y, 3), axes[s.xref]]) for y in (s.y0, s.y1)]
        assert s.line.width == pytest.approx(0.8 + circuit.WIDE * min(1, *ends))
    assert {s.line.dash for s in slanted} == {None, "dot"}, "the negative head is dotted"


@pytest.mark.parametrize(("width", "tall"), [("column", 7 * 96), ("page", 9 * 96)])
def test_it_fits_a_page_and_every_part_is_apart(width: str, tall: int) -> None:
    figure = figures.draw("circuit", RECORDS, theme="paper", width=width)
    assert figure.layout.width == {"column": 312, "page": 648}[width]
    assert figure.layout.height <= tall
    strong = [t for t in figure.data if t.mode == "markers+text" and t.name != "residual stream"]
    for axis in {t.yaxis for t in strong}:
        spots = [(x, y) for t in strong if t.yaxis == axis for x, y in zip(t.x, t.y, strict=True)]
        for i, (x, y) in enumerate(spots):
            near = [s for s in spots[:i] if abs(s[0] - x) < 40 and abs(s[1] - y) < circuit.HIGH]
            assert not near, "two numbers would overlap"
    assert {t.text for t in figure.layout.annotations} == {
        f"<b>{d}</b>, {words}" for d, words in circuit.DIRECTIONS.items()
    }


def deep(layers: int) -> list[Record]:
    """The sweep with its first layer again and again."""
    first = [r for r in select(RECORDS, kind="sweep") if r.params["layer"] == 0]
    found = []
    for layer in range(layers):
        for r in first:
            site = r.site.replace("L0.", f"L{layer}.")
            found.append(replace(r, site=site, params={**r.params, "layer": layer}))
    return found


def test_a_deep_model_fits_a_column_with_one_direction_and_says_so() -> None:
    figure = figures.draw("circuit", deep(5), theme="paper")
    assert figure.layout.height <= 7 * 96
    assert [t.text for t in figure.layout.annotations] == ["<b>denoising</b>, clean into triggered"]
    assert "In the table alone, for want of room: noising." in figure.layout.meta["caption"]
    both = figures.draw("circuit", deep(5), theme="paper", width="page")
    assert len(both.layout.annotations) == 2
    assert "for want of room" not in both.layout.meta["caption"]


def test_roles_at_which_nothing_matters_are_named_and_in_the_table() -> None:
    figure = figures.draw("circuit", RECORDS)
    assert list(figure.layout.xaxis.ticktext) == ["trigger", "answer"]
    caption = figure.layout.meta["caption"]
    assert "Nothing reaches 0.05 at entity, relation, other." in caption
    assert "n 256 pairs, seed 0" in caption and "95 %" in caption
    table = figures.table("circuit", RECORDS)
    swept = [r for r in select(RECORDS, kind="sweep") if r.params["role"] != "all"]
    assert [line["value"] for line in table] == [r.values["effect"] for r in swept]
    assert {line["role"] for line in table} == set(synthetic.ROLES)
    assert {line["circuit"] for line in table} == {"", "origin", "mediators"}
    csv = _table.as_csv(table)
    assert csv.count("\n") == len(table) + 1


def test_a_sweep_without_roles_says_what_would_help() -> None:
    whole = [r for r in select(RECORDS, kind="sweep") if r.params["role"] == "all"]
    with pytest.raises(MoInterpError, match="not by role.*`mo-interp run NAME`"):
        figures.draw("circuit", whole)
