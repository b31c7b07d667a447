"""Nouns as tables: intervals, n and controls beside every number, all escaped, and no script."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from mo_interp import showing
from mo_interp.sites import Site
from mo_interp.stats import Estimate

HALF = Estimate(0.5, 0.4, 0.625, 1024, "cluster bootstrap", 8)
ODD = "<script>alert('&')</script>"


class Cells(HTMLParser):
    """Rows of cells in words; every tag must be closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows, self.open, self.seen = [], [], set()
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.seen.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def a_verdict(**changes: object) -> SimpleNamespace:
    outcome = SimpleNamespace(stopped=HALF, restored=HALF, cost=None, caused=None)
    told = {"title": "a probe at L1.resid_mid@-1", "rows": 501, "people": "test"}
    told |= {"no_behaviour": False, "outcomes": {"resample": outcome}}
    return SimpleNamespace(**told | {"against": "p(restored) 0.01 among 99"} | changes)


def a_score(**values: object) -> SimpleNamespace:
    told = {**HALF.flat("auroc"), **HALF.flat("auroc_twin"), "entities": 8}
    told |= {"random_median": 0.6, "random_p95": 0.75, "random_best": 0.875, "random_n": 1000}
    told |= {"null_p": 0.005, "null_p95": 0.55, "null_draws": 200, "sentence": "reads nothing"}
    params = {"detector": "mine", "label": "trigger"}
    fitted = SimpleNamespace(site="L1.mlp_out@-1")
    return SimpleNamespace(params=params, values=told | values, fitted=fitted)


def a_decision(named: bool) -> SimpleNamespace:
    feature = SimpleNamespace(rank=1, site="L1.H3.z@-1")
    told = {"feature": feature, "caused": HALF, "p": 0.01, "p_mixed": 0.08, "tried": 56}
    return SimpleNamespace(named=named, **told)


STREAM = [("L0.resid_post@-1", 1.0)]
HEADS = [(f"L0.H{i}.z", 0.5 - i / 20) for i in range(7)]


def a_sweep(sites: list[tuple[str, float]]) -> SimpleNamespace:
    cells = [
        SimpleNamespace(site=Site.parse(site), direction=way, effect=replace(HALF, value=value))
        for way in ("denoising", "noising")
        for site, value in sites
    ]
    ranked = {way: [c for c in cells if c.direction == way] for way in ("denoising", "noising")}
    told = {"cells": cells, "ranking": ranked.__getitem__, "metric": "logit difference"}
    return SimpleNamespace(**told, method="patching", forwards=9000, backwards=0, seconds=1.5)


def an_asked(prompt: str = "a prompt") -> SimpleNamespace:
    return SimpleNamespace(
        prompts=(prompt, prompt), truth=("1", "2"), organism=("1", "3"), twin=("1", "2")
    )


DRAWN = {
    "verdict": lambda: showing.verdict(a_verdict()),
    "scored": lambda: showing.scored(a_score()),
    "decision": lambda: showing.decision(a_decision(True)),
    "sweep": lambda: showing.sweep(a_sweep(STREAM + HEADS)),
    "asked": lambda: showing.asked(an_asked()),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_noun_is_a_table_with_a_caption_and_no_script(name) -> None:
    seen = Cells(DRAWN[name]()).seen
    assert {"table", "caption", "tr", "th"} <= seen
    assert not seen & {"script", "style", "iframe", "img", "link"}
    assert not re.search(r"color|background|#[0-9a-f]{3}", DRAWN[name]()), "light or dark, it reads"


def test_what_is_told_is_escaped() -> None:
    for html in (
        showing.asked(an_asked(ODD)),
        showing.verdict(a_verdict(title=ODD, against=ODD)),
        showing.verdict(a_verdict(title=ODD, no_behaviour=True)),
        showing.scored(a_score(sentence=ODD)),
    ):
        assert "<script" not in html and "&lt;script&gt;" in html


def test_a_verdict_says_interval_n_and_controls() -> None:
    html = showing.verdict(a_verdict())
    assert Cells(html).rows[1] == ["resample", *["0.50 [0.40, 0.62] n\xa01,024"] * 2, "", ""]
    assert "501 rows on which it lies, about test people" in html
    assert html.endswith("<p>95 % intervals. p(restored) 0.01 among 99.</p>")


def test_a_verdict_without_behaviour_is_no_table_of_zeros() -> None:
    html = showing.verdict(a_verdict(no_behaviour=True))
    assert "no behaviour" in html and "<table" not in html


def test_a_score_has_every_control_and_its_sentence() -> None:
    rows = {row[0]: row[1:] for row in Cells(showing.scored(a_score())).rows}
    assert rows["AUROC on test people"] == ["0.500 [0.400, 0.625]", "1,024"]
    assert rows["refitted on the honest twin"] == ["0.500 [0.400, 0.625]", "1,024"]
    random = rows["random directions: median / 95th percentile / best"]
    assert random == ["0.600 / 0.750 / 0.875", "1,000"]
    assert rows["labels permuted within people, refitted"][1] == "200"
    assert showing.scored(a_score()).endswith("<p>It <b>reads nothing</b>.</p>")
    silent = showing.scored(a_score(sentence=""))
    assert silent.endswith("<p>It earns no sentence: it reads where the cut is made.</p>")


def test_a_sweep_shows_the_largest_of_both_directions() -> None:
    rows = Cells(showing.sweep(a_sweep(STREAM + HEADS))).rows[1:]
    assert [row[1] for row in rows] == ["denoising"] * showing.TOP + ["noising"] * showing.TOP
    assert rows[0] == ["L0.H0.z", "denoising", "0.500 [0.400, 0.625]", "1,024"]
    assert "each way, streams left out" in showing.sweep(a_sweep(STREAM + HEADS))


def test_a_sweep_of_streams_alone_shows_them() -> None:
    html = showing.sweep(a_sweep(STREAM))
    assert [row[0] for row in Cells(html).rows[1:]] == ["L0.resid_post@-1"] * 2
    assert "left out" not in html


def test_a_decision_says_which() -> None:
    assert ": a mechanism is named" in showing.decision(a_decision(True))
    assert ": no mechanism is named" in showing.decision(a_decision(False))


def test_what_is_not_the_truth_is_bold() -> None:
    assert re.findall(r"<b>(\w+)</b>", showing.asked(an_asked())) == ["3"]
    assert showing.asked(an_asked()).count("<th ") == 4, "a prompt is no bold head of its row"


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        ((None,), "–"),
        ((0.25,), "0.250"),
        ((-0.0001, -0.01, 0.01), "0.000 [-0.010, 0.010]"),
    ],
)
def test_an_interval(ends, told) -> None:
    assert showing.interval(*ends) == told
