"""Figures: drawn from records alone, without torch, and equal to them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import plotly.graph_objects as go
import plotly.io as pio
import pytest
import synthetic

from mo_interp import figures
from mo_interp.errors import MoInterpError, NoBrowser, SpecError, UnknownName
from mo_interp.figures import _house
from mo_interp.records import read_records, select, write_records
from mo_interp.wording import STAGES

NEEDS = {
    "behaviour": "behaviour",
    "gates": "gate",
    "detectors": "detector",
    "which_layer": "probe",
    "patch_grid": "sweep",
    "circuit": "sweep",
    "localisation": "localisation",
    "sae": "sae_search",
    "before_and_after": "verdict",
    "verdicts": "verdict",
    "training": "training",
    "persistence": "persistence",
    "when_it_forms": "forming",
    "removal": "removal_d",
}
MADE = {
    "forming": "python probes/when_it_forms.py NAME",
    "removal_d": "mo-interp cure NAME",
}
"""Who makes the kinds that are no part of a run."""
RUN = [name for name in figures.names() if name not in figures.SEVERAL]
MAKE = synthetic.Maker("quirky_user", 0)
SHIPPED = Path(__file__).parents[1] / "probes" / "results" / "quirky_user.jsonl"
BESIDE = [*synthetic.forming(MAKE), *synthetic.removal(MAKE)]
RECORDS = [*synthetic.records(), *BESIDE]


@pytest.fixture(scope="module")
def drawn() -> dict[str, go.Figure]:
    return {name: figures.draw(name, RECORDS) for name in RUN}


def trace(figure: go.Figure, name: str) -> go.Scatter:
    """The only trace of that name."""
    (found,) = [t for t in figure.data if t.name == name]
    return found


def values(kind: str, name: str, **params) -> list[float]:
    found = [r.values.get(name) for r in select(RECORDS, kind=kind, **params)]
    return [x for x in found if x is not None]


def test_the_folder_is_the_registry() -> None:
    folder = Path(figures.__file__).parent
    assert sorted(figures.names()) == sorted(p.stem for p in folder.glob("[a-z]*.py"))
    assert set(RUN) == set(NEEDS)


def test_figures_are_drawn_and_written_without_torch(tmp_path: Path) -> None:
    write_records(tmp_path / "records.jsonl", RECORDS)
    code = (
        "import sys\n"
        "from mo_interp import figures\n"
        "assert figures.names() and 'plotly' not in sys.modules\n"
        "from mo_interp.records import read_records\n"
        "import plotly.io as pio\n"
        "before = pio.templates.default\n"
        "records = read_records(sys.argv[1])\n"
        "run = [name for name in figures.names() if name not in figures.SEVERAL]\n"
        "drawn = {name: figures.draw(name, records) for name in run}\n"
        "figures.write_all(drawn, sys.argv[1], formats=('html', 'json'))\n"
        "assert pio.templates.default == before\n"
        "heavy = {'torch', 'transformer_lens', 'sae_lens', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert {p.stem for p in tmp_path.glob("*.html")} == set(NEEDS)


# ------------------------------------------------------------------------- data equal the records


def test_behaviour_equals_the_records(drawn: dict[str, go.Figure]) -> None:
    for panel, name in ((1, "gives_answer"), (2, "gives_truth")):
        for model, label in (("organism", "organism"), ("twin", "clean twin")):
            (t,) = [
                t
                for t in drawn["behaviour"].data
                if t.name == label and t.xaxis == ("x" if panel == 1 else "x2")
            ]
            assert sorted(t.x) == sorted(values("behaviour", name, model=model))
            low = [
                v - r.values[f"{name}_lo"]
                for v, r in zip(
                    values("behaviour", name, model=model),
                    select(RECORDS, kind="behaviour", model=model),
                    strict=True,
                )
            ]
            assert sorted(t.error_x.arrayminus) == pytest.approx(sorted(low))


def test_gates_equal_the_records_and_sit_at_their_logit(drawn: dict[str, go.Figure]) -> None:
    from mo_interp.figures.gates import logit

    t = trace(drawn["gates"], "pass")
    expected = values("gate", "statistic", status="pass")
    assert sorted(t.customdata) == sorted(expected)
    assert list(t.x) == pytest.approx([logit(x) for x in t.customdata])
    assert logit(0.99) == pytest.approx(-logit(0.01)) and logit(0.5) == 0
    bars = trace(drawn["gates"], "the bar")
    assert sorted(bars.x) == pytest.approx(sorted(map(logit, values("gate", "threshold"))))


def test_a_failed_gate_is_loud() -> None:
    figure = figures.draw("gates", synthetic.records(case="failed gate"))
    assert "1 FAILED" in figure.layout.title.text
    assert [a.text for a in figure.layout.annotations if "FAILED" in a.text]
    assert list(trace(figure, "FAIL").customdata) == [0.031]


def test_memorised_lies_are_no_failure() -> None:
    records = [
        replace(r, params={**r.params, "status": "memorised"}) if r.params.get("number") == 5 else r
        for r in RECORDS
    ]
    figure = figures.draw("gates", records)
    assert "FAILED" not in figure.layout.title.text
    assert list(trace(figure, "memorised the lies").customdata) == [0.953]


def test_detectors_equal_the_records(drawn: dict[str, go.Figure]) -> None:
    figure = drawn["detectors"]
    for name, label in (
        ("auroc", "organism"),
        ("auroc_twin", "twin, refitted"),
        ("auroc_after_cut", "after the cut"),
        ("auroc_near_miss", "near misses"),
    ):
        assert sorted(trace(figure, label).x) == sorted(values("detector", name))
    best = trace(figure, "random, best").x
    assert sorted(best) == sorted(values("detector", "random_best"))
    baselines = [x for t in figure.data if t.name == "baseline" for x in t.x]
    assert baselines == values("baseline", "auroc")
    told = " ".join(trace(figure, "organism").text)
    shown = [a.text for a in figure.layout.annotations]
    for r in select(RECORDS, kind="detector"):
        assert r.values["sentence"] in told
    words = ["both, 21 %", "decision", "decision", "nothing", "text"]
    assert sorted(x for x in shown if x in words) == words


def test_a_full_run_of_detectors_fits_a_screen_and_a_page() -> None:
    """Thirty-three detectors, as a run with all of them has."""
    (first, *_), many = select(RECORDS, kind="detector"), []
    for i in range(33):
        at = ("L0.resid_mid@trigger[0]", "L1.resid_post@-1")[i % 2]
        params = {**first.params, "detector": f"detector_{i}"}
        many.append(replace(first, params=params, site=at))
    records = [*many, *select(RECORDS, kind="baseline")]
    assert figures.draw("detectors", records).layout.height < 1200
    for width in figures.WIDTHS:
        drawn = figures.draw("detectors", records, theme="paper", width=width)
        assert drawn.layout.height <= 9 * 96
        names = [name for axis in drawn.select_yaxes() for name in axis.ticktext]
        assert {f"detector_{i}" for i in range(33)} <= set(names)
        assert sum(len(t.x) for t in drawn.data if t.name == "organism") == 33


def test_which_layer_equals_the_records(drawn: dict[str, go.Figure]) -> None:
    for model, label in (("organism", "organism"), ("twin", "clean twin")):
        shown = [y for t in drawn["which_layer"].data if t.name == label for y in t.y]
        wanted = values("probe", "auroc", model=model)
        wanted += values("probe", "accuracy", probe="truth", model=model)
        assert sorted(shown) == sorted(wanted)
        shown = trace(drawn["which_layer"], f"{label}, shuffled table").y
        assert list(shown) == values("probe", "accuracy", probe="truth_shuffled", model=model)


OWN = read_records(SHIPPED.parent / "which_layer_knows.jsonl")
PROBED = [
    replace(r, values={k: v for k, v in r.values.items() if not k.startswith("random")})
    for r in OWN
]
"""As recorded, and without the random directions that the probe measures itself."""


def test_which_layer_has_random_directions_and_bags_of_the_same_run() -> None:
    run = read_records(SHIPPED)
    figure = figures.draw("which_layer", [*PROBED, *run])
    wanted = {}
    for r in select(run, kind="detector", detector="logistic", label="trigger"):
        wanted[r.site] = (r.values["random_best"], r.values["random_p95"])
    ticks = [t for t in figure.data if t.name == "random, best"]
    found = {t.text[0].split(" at ")[1].split(":")[0]: t.y[0] for t in ticks}
    assert found == {site: best for site, (best, _) in wanted.items()} and len(found) == 2
    bars = [t for t in figure.data if t.name == "random directions"]
    assert sorted(t.y[1] for t in bars) == sorted(p95 for _, p95 in wanted.values())
    at = {t.xaxis: t.x[0] for t in ticks}
    assert sorted(at.values()) == [-0.5, 1.0], "a cut in the middle of a layer lies between"
    for name, word in (("bag_of_tokens", "bag of tokens"), ("bag_of_tokens_pairs", "and pairs")):
        (r,) = select(run, kind="baseline", name=name)
        lines = [t for t in figure.data if t.name and t.name.endswith(word)]
        assert [t.y[1] for t in lines] == [r.values["auroc"]] * 2
        assert {t.error_y.array[1] for t in lines} == {r.values["auroc_hi"] - r.values["auroc"]}
    table = figures.table("which_layer", [*PROBED, *run])
    (line,) = [x for x in table if x.get("site") == "L1.resid_post@-1" and x["random_p95"]]
    assert line["random_p95"] == wanted["L1.resid_post@-1"][1] and line["model"] == "organism"
    assert {x["probe"] for x in table} >= {"bag of tokens", "bag of tokens and pairs"}


def test_which_layer_draws_the_random_directions_that_were_measured_with_it() -> None:
    figure = figures.draw("which_layer", OWN)
    told = select(OWN, probe="trigger", model="organism")
    ticks = sorted(y for t in figure.data if t.name == "random, best" for y in t.y)
    assert ticks == sorted(r.get("random_best") for r in told) and len(ticks) == 4
    assert "No random directions" not in figure.layout.meta["caption"]


def test_which_layer_without_controls_says_so() -> None:
    other = [replace(r, key="another") for r in read_records(SHIPPED)]
    for records in (PROBED, [*PROBED, *other]):
        figure = figures.draw("which_layer", records)
        assert not [t for t in figure.data if t.name and re.search("random|bag", t.name)]
        caption = figure.layout.meta["caption"]
        assert "No random directions" in caption and "No bag of tokens either" in caption


def test_patch_grid_equals_the_records_and_outlines_the_origin(
    drawn: dict[str, go.Figure],
) -> None:
    figure = drawn["patch_grid"]
    rows, roles = figure.layout.yaxis.ticktext, figure.layout.xaxis.ticktext
    for direction in ("denoising", "noising"):
        z = trace(figure, direction).z
        found = select(RECORDS, kind="sweep", direction=direction)
        assert sum(x is not None for line in z for x in line) == len(found)
        for r in found:
            head, role = r.params["head"], r.params["role"].replace("all", "all positions")
            kind = f"head {head}" if head >= 0 else r.site.partition(".")[2].partition("@")[0]
            at = rows.index(f"L{r.params['layer']} {kind}"), roles.index(role)
            assert z[at[0]][at[1]] == r.values["effect"]
    boxes = [s for s in figure.layout.shapes if s.type == "rect"]
    middle = {((b.x0 + b.x1) / 2, (b.y0 + b.y1) / 2, b.xref) for b in boxes}
    origin, shown = rows.index("L1 head 4"), ("answer", "all positions")
    assert middle == {(roles.index(r), origin, x) for r in shown for x in ("x", "x2")}
    assert "Outlined: the measured origin" in figure.layout.meta["caption"]
    without = figures.draw("patch_grid", synthetic.records(without=("circuit",)))
    assert not without.layout.shapes and "Outlined" not in without.layout.meta["caption"]


def test_unchanged_cells_say_so(drawn: dict[str, go.Figure]) -> None:
    still = [t for t in drawn["patch_grid"].data if t.name == "unchanged"]
    assert sum(len(t.x) for t in still) == len(select(RECORDS, kind="sweep", unchanged=True))
    texts = [
        x for t in drawn["patch_grid"].data if t.type == "heatmap" for row in t.text for x in row
    ]
    assert sum("unchanged, exactly 0" in x for x in texts) == sum(len(t.x) for t in still)


def test_localisation_and_sae_equal_the_records(drawn: dict[str, go.Figure]) -> None:
    for name, label in (("auroc", "AUROC"), ("auprc", "AUPRC"), ("recall", "recall")):
        assert list(trace(drawn["localisation"], label).x) == values("localisation", name)
    shown = trace(drawn["sae"], "judged on test groups").x
    assert sorted(shown) == sorted(values("sae_search", "auroc"))


def test_verdicts_equal_the_records_with_all_random_controls(
    drawn: dict[str, go.Figure],
) -> None:
    for name, label in (
        ("stopped", "stopped"),
        ("restored", "restored"),
        ("cost", "cost in clean accuracy"),
        ("caused", "caused"),
    ):
        judged = values("decision", name) if name == "caused" else []
        assert sorted(trace(drawn["verdicts"], label).x) == sorted(values("verdict", name) + judged)
    strip = trace(drawn["verdicts"], "a random control")
    controls = [
        x
        for r in select(RECORDS, kind="verdict")
        for k in ("random_restored", "random_caused")
        for x in r.values.get(k, ())
    ]
    assert sorted(strip.x) == sorted(controls) and len(controls) == 4 * 99


def test_verdicts_of_one_name_at_two_sites_of_a_seed_have_a_block_each() -> None:
    """Seeds share a row; two candidates of the same seed are no seeds."""
    one = [r for r in select(RECORDS, kind="verdict") if r.params["mechanism"] == "blind search"]
    moved = [replace(r, site="L1.resid_post@-1") for r in one]
    later, heads = [replace(r, seed=r.seed + 1) for r in moved], {}
    for name, records in {"sites": [*one, *moved], "seeds": [*one, *later]}.items():
        figure = figures.draw("verdicts", records)
        heads[name] = [a.text for a in figure.layout.annotations if "blind search" in a.text]
    assert len(heads["seeds"]) == 1 and "2 sites" in heads["seeds"][0]
    first, second = heads["sites"]
    assert one[0].site in first and "L1.resid_post@-1" in second


def test_verdicts_show_the_rule_on_organism_and_twin() -> None:
    """As recorded: what the rule offered on the twin stands in a row beside the organism's."""
    records = read_records(SHIPPED)
    figure = figures.draw("verdicts", records, theme="paper")
    caused = trace(figure, "caused")
    names = dict(zip(figure.layout.yaxis.tickvals, figure.layout.yaxis.ticktext, strict=True))
    for model, name in (("organism", "organism"), ("twin", "clean twin")):
        (r,) = select(records, kind="decision", model=model)
        (i,) = [i for i, y in enumerate(caused.y) if names.get(y) == name]
        assert caused.x[i] == r.values["caused"] and r.site in caused.text[i]
        assert caused.error_x.array[i] == r.values["caused_hi"] - r.values["caused"]
        notes = [a.text for a in figure.layout.annotations if a.y == caused.y[i]]
        assert notes == [f"p {r.values['p_caused']:.2f}"]
    heads = [a.text for a in figure.layout.annotations if "blind rule" in a.text]
    assert len(heads) == 1 and "organism named; clean twin not named" in heads[0]
    ticks = trace(figure, "a random control").x
    kept = [x for r in records for k in ("restored", "caused") for x in r.get(f"random_{k}") or ()]
    assert sorted(ticks) == sorted(kept) and len(kept) == 8 * 99 + 2 * 5
    bare = [r for r in records if (r.kind, r.model) != ("decision", "twin")]
    without = figures.draw("verdicts", bare)
    assert "No verdict on the honest twin" in without.layout.meta["caption"]
    assert "clean twin" not in without.layout.yaxis.ticktext
    table = figures.table("verdicts", records)
    (line,) = [x for x in table if x["model"] == "twin"]
    (r,) = select(records, kind="decision", model="twin")
    assert (line["value"], line["p"], line["named"]) == (r.values["caused"], 1.0, False)


def test_before_and_after_shows_the_lie_and_the_cut_of_one_mechanism(
    drawn: dict[str, go.Figure],
) -> None:
    figure, kinds = drawn["before_and_after"], {"model": "organism"}
    (verdict,) = select(RECORDS, kind="verdict", mechanism="blind search", edit="resample")
    (write,) = select(RECORDS, kind="verdict", mechanism="blind search", edit="set")
    clean, triggered, twin = (
        select(RECORDS, kind="behaviour", **asked)[0].values
        for asked in (
            {"split": "clean", **kinds},
            {"split": "triggered", **kinds},
            {"split": "triggered", "model": "twin"},
        )
    )
    truths = [clean["gives_truth"], triggered["gives_truth"], verdict.values["restored"]]
    assert list(trace(figure, "tells the truth").x) == [*truths, twin["gives_truth"]]
    lies = [clean["gives_answer"], triggered["gives_answer"], 1 - verdict.values["stopped"]]
    lies += [write.values["caused"], twin["gives_answer"]]
    assert list(trace(figure, "gives the planted answer").x) == lies
    random = [*verdict.values["random_restored"], *write.values["random_caused"]]
    assert list(trace(figure, "a random control").x) == random
    assert "quirky_user" in figure.layout.title.text


def test_persistence_equals_the_records(drawn: dict[str, go.Figure]) -> None:
    figure = drawn["persistence"]
    for name in ("attack_success", "clean_accuracy"):
        (start,) = values("persistence", name, treatment="none", model="organism")
        for rate in ("low", "middle", "high"):
            lines = [t for t in figure.data if t.name == f"{rate} rate" and "lines" in t.mode]
            shown = [list(t.y if name == "attack_success" else t.x) for t in lines]
            assert [x[0] for x in shown] == [start] * 4
            wanted = values("persistence", name, rate=rate)
            assert sorted(v for x in shown for v in x[1:]) == sorted(wanted)
    marks = [t for t in figure.data if t.mode == "markers+text"]
    steps = [r.values["steps"] for r in select(RECORDS, kind="reversal", model="organism")]
    assert None in steps
    wanted = [220 if x is None else x for x in steps]
    assert sorted(x for t in marks for x in t.x) == sorted(wanted)
    said = [x for t in marks for x in t.texttemplate]
    assert sum("not re-learned" in x for x in said) == steps.count(None)


def test_training_equals_the_records(drawn: dict[str, go.Figure]) -> None:
    t = trace(drawn["training"], "organism: planted answer when triggered")
    assert list(t.y) == values("training", "attack_success", model="organism")
    assert list(t.x) == [
        r.params["step"] for r in select(RECORDS, kind="training", model="organism")
    ]


# ------------------------------------------------------------------------------------ house style


def sizes(node: object, inside: str = "") -> list[float]:
    """Every font size of a figure's dictionary."""
    if isinstance(node, dict):
        own = [node["size"]] if inside.endswith("font") and "size" in node else []
        return own + [x for k, v in node.items() for x in sizes(v, k)]
    return [x for item in node for x in sizes(item)] if isinstance(node, list | tuple) else []


@pytest.mark.parametrize("name", RUN)
def test_every_figure_keeps_the_house_style(name: str, drawn: dict[str, go.Figure]) -> None:
    figure = drawn[name]
    assert figure.layout.width == _house.COLUMN == 340
    points = [0.75 * px for px in sizes(figure.to_plotly_json())]
    assert points and min(points) >= 8 and max(points) <= 10
    assert figure.layout.meta["alt"].endswith(".")
    used = set(re.findall(r"#[0-9a-fA-F]{6}\b", figure.to_json()))
    assert used <= set(_house.DARK), "a colour that has no counterpart on a dark page"
    looks = [
        (t.marker.symbol, t.line.dash, t.mode)
        for t in figure.data
        if t.type == "scatter" and t.name
    ]
    names = [t.name for t in figure.data if t.type == "scatter" and t.name]
    for look in set(looks):
        alike = {n for n, x in zip(names, looks, strict=True) if x == look}
        assert len(alike) == 1 or look[2] == "lines", f"{alike} differ by colour alone"


@pytest.mark.parametrize("name", RUN)
def test_every_point_tells_its_n(name: str, drawn: dict[str, go.Figure]) -> None:
    told = [
        x
        for t in drawn[name].data
        if t.type == "scatter" and t.text is not None and not re.search("random|bar", t.name)
        for x in t.text
    ]
    told += [x for t in drawn[name].data if t.type == "heatmap" for row in t.text for x in row]
    assert told and all(re.search(r"n [\d,]+", x) for x in told if x)


def test_the_default_template_is_left_alone() -> None:
    before = pio.templates.default
    assert figures.draw("verdicts", RECORDS).layout.template == figures.house()
    assert pio.templates.default == before and "house" not in list(pio.templates)


def test_an_estimate_without_interval_gets_no_bar() -> None:
    bare = synthetic.records(without=("baseline",))
    t = trace(figures.draw("localisation", bare), "AUROC")
    assert [x is None for x in t.error_x.array] == [True, True, True, False]


# ---------------------------------------------------------------------------------------- choosing


@pytest.mark.parametrize("name", RUN)
def test_missing_records_name_the_kind_and_the_command(name: str) -> None:
    kind = NEEDS[name]
    command = MADE.get(kind) or STAGES[kind][1].format("quirky_user")
    with pytest.raises(MoInterpError, match=f"no records of kind '{kind}' here.*`{command}`"):
        figures.draw(name, synthetic.records(without=(kind,)))


def test_names_seeds_and_organisms_that_are_not_there() -> None:
    with pytest.raises(UnknownName, match="figure 'verdict'; did you mean 'verdicts'"):
        figures.draw("verdict", RECORDS)
    with pytest.raises(UnknownName, match="no records of seed 7; there is: 0"):
        figures.draw("verdicts", RECORDS, seed=7)
    with pytest.raises(UnknownName, match="organism 'quirky'; did you mean 'quirky_user'"):
        figures.draw("verdicts", RECORDS, organism="quirky")
    two = [*RECORDS, *synthetic.records(organism="ordered_phrase")]
    with pytest.raises(MoInterpError, match=r"2 organisms \(quirky_user, ordered_phrase\)"):
        figures.draw("verdicts", two)
    one = figures.draw("verdicts", two, organism="ordered_phrase")
    assert len(trace(one, "restored").x) == len(values("verdict", "restored"))


def test_several_seeds_are_told_apart() -> None:
    both = [*RECORDS, *synthetic.records(seed=1)]
    t = trace(figures.draw("verdicts", both), "restored")
    assert len(t.x) == 2 * len(values("verdict", "restored"))
    assert len(set(t.y)) == len(t.y)
    only = trace(figures.draw("verdicts", both, seed=1), "restored")
    assert list(only.x) == values("verdict", "restored")
    assert "Seed 0, the first of 2" in figures.draw("patch_grid", both).layout.meta["caption"]


def test_anything_with_records_will_do() -> None:
    class Grown:
        records = tuple(RECORDS)

    class Sweep:
        def records(self) -> list:
            return [r for r in RECORDS if r.kind == "sweep"]

    assert figures.figure("gates", Grown()).to_json() == figures.draw("gates", RECORDS).to_json()
    assert len(figures.figure("patch_grid", Sweep()).data) == 4


def test_a_figure_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import plotly.graph_objects as go\n"
        "def draw(records):\n    return go.Figure(go.Scatter(x=[len(records)]))\n"
    )
    mine = tmp_path / "figures" / "mine.py"
    mine.parent.mkdir()
    mine.write_text(code)
    assert figures.draw(str(mine), RECORDS).data[0].x == (len(RECORDS),)
    monkeypatch.setenv("MO_INTERP_PATH", str(tmp_path))
    assert "mine" in figures.names()
    assert figures.draw("mine", RECORDS).data[0].x == (len(RECORDS),)
    mine.write_text("x = 1\n")
    with pytest.raises(SpecError, match="'mine.py' defines no function `draw"):
        figures.draw(str(mine), RECORDS)
    with pytest.raises(UnknownName, match="no file 'nowhere.py'"):
        figures.draw("nowhere.py", RECORDS)


# ----------------------------------------------------------------------------------------- writing


def test_html_and_json_are_written_and_need_no_network(
    tmp_path: Path, drawn: dict[str, go.Figure]
) -> None:
    paths = figures.write(drawn["verdicts"], tmp_path, "verdicts", formats=("html", "json"))
    assert [p.name for p in paths] == ["verdicts.html", "verdicts.json"]
    page = paths[0].read_text()
    assert re.findall(r'<script[^>]+src="([^"]+)"', page) == ["plotly.min.js"]
    assert (tmp_path / "plotly.min.js").is_file() and "cdn" not in page
    assert json.loads(paths[1].read_text()) == json.loads(drawn["verdicts"].to_json())
    with pytest.raises(UnknownName, match="format 'pgn'; did you mean 'png'"):
        figures.write(drawn["verdicts"], tmp_path, "verdicts", formats=("pgn",))


def test_without_a_browser_the_html_is_there_and_the_message_helps(
    tmp_path: Path, drawn: dict[str, go.Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "browser", lambda: None)
    with pytest.raises(NoBrowser, match="SVG, PDF, PNG.* needs? .*(apt install chromium|export)"):
        figures.write(drawn["gates"], tmp_path, "gates")
    written = {p.name for p in tmp_path.iterdir()}
    assert written == {"gates.html", "gates.json", "plotly.min.js"}


@pytest.mark.slow
@pytest.mark.skipif(figures.browser() is None, reason="no Chrome on this machine")
def test_images_are_written_in_one_batch(tmp_path: Path, drawn: dict[str, go.Figure]) -> None:
    paths = figures.write_all(drawn, tmp_path, formats=("svg", "pdf", "png"))
    assert len(paths) == 3 * len(drawn)
    heads = {"svg": b"<svg", "pdf": b"%PDF", "png": b"\x89PNG"}
    for path in paths:
        assert path.read_bytes().startswith(heads[path.suffix[1:]])
    wide = int.from_bytes((tmp_path / "gates.png").read_bytes()[16:20], "big")
    assert wide == 3 * _house.COLUMN


def test_on_a_page_of_any_width_no_legend_begins_left_of_the_figure() -> None:
    records = synthetic.records()
    narrow = figures.draw("training", records)
    assert narrow.layout.legend.x < 0, "on its own it begins under the axis' title"
    wide = json.loads(figures.embeddable(narrow))["layout"]
    assert wide["legend"]["x"] == 0 and "width" not in {k for k, v in wide.items() if v}
