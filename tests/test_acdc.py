"""ACDC on circuits that are known: the planted path is kept, the rest dropped, runs counted."""

from dataclasses import replace

import numpy as np
import pytest
from test_attribution import passes  # noqa: F401
from test_edges import two_layers
from test_hypotheses import PATH, ruler, small
from test_patching import BASE, build, made_pairs

from mo_interp import attribution, wired
from mo_interp.attribution import subgraphs
from mo_interp.attribution.acdc import acdc, against, planted_edges
from mo_interp.circuits import Circuit
from mo_interp.errors import BadLabels, BadSite, BadValues, DeadEdit, UnknownName


@pytest.fixture(scope="module")
def pairs():
    return small.wired().pairs(16, 0)


@pytest.fixture(scope="module")
def found(pairs):
    return acdc(ruler(), pairs, taus=(0.1, 1e-6))


def kept(result, tau: float) -> set[str]:
    return {str(edge) for edge in result.circuit(tau)}


# The planted path ------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", ["kl", "lost logit difference"])
@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_on_a_line_of_heads_it_keeps_the_line(direction, distance):
    model, rows = two_layers()
    taus = [1e-8, 1e-6] if distance == "kl" else [1e-4, 0.5]  # two logits of which one is 1/49 up
    result = acdc(model, rows, taus=taus, direction=direction, distance=distance)
    planted = {"embed -> L0.H0.v", "L0.H0.z -> L1.H0.v", "L1.H0.z -> L1.resid_post"}
    for tau in result.taus:
        assert kept(result, tau) == planted
    assert [one.value for one in result.faithful] == pytest.approx([1, 1])
    assert result.distance == pytest.approx([0, 0], abs=1e-9)


def test_on_the_ruler_it_keeps_the_liars_path_and_drops_inert_heads(found):
    for tau in (1e-6, 0.1):
        assert kept(found, tau) == set(PATH)
    assert [one.value for one in found.faithful] == [1, 1] and not found.distance.any()


def test_the_truth_is_kept_by_any_edge_that_keeps_the_lie_out(pairs):
    """From the clean side every link of the path suffices: the last one met is kept alone."""
    result = acdc(ruler(), pairs, taus=[0.1], direction="noising")
    assert len(result.circuit(0.1)) >= 1 and kept(result, 0.1) <= set(PATH)
    assert result.faithful[0].value == 1.0


def test_a_tau_beyond_everything_keeps_nothing(pairs):
    result = acdc(ruler(), pairs, taus=[1.5], distance="lost logit difference")
    assert not result.kept.any() and result.distance[0] == 1.0
    assert result.faithful[0].value == 0.0


def test_only_what_is_asked_is_tried_and_the_rest_stays(pairs):
    asked = [PATH[2], "L1.H1.z -> L1.pre", "L1.H0.z -> L1.resid_post"]
    result = acdc(ruler(), pairs, taus=[0.1], wanted=asked)
    assert {str(e) for e in result.edges} == set(asked) and kept(result, 0.1) == {PATH[2]}
    joined = acdc(ruler(), pairs, taus=[0.1], split=False)
    assert kept(joined, 0.1) == {"embed -> L1.H0.z", *PATH[2:]}


def test_it_goes_backwards(pairs, monkeypatch):
    """The first run takes an edge into the logits, the last one the words from layer 0."""
    tried = []
    run = subgraphs.EdgeGraph.logits

    def watched(self, replaced):
        tried.append(tuple(replaced))
        return run(self, replaced)

    monkeypatch.setattr(subgraphs.EdgeGraph, "logits", watched)
    result = acdc(ruler(), pairs, taus=[0.1])
    assert [str(e) for e in tried[0]] == ["L1.mlp_out -> L1.resid_post"]
    order = {edge: i for i, edge in enumerate(result.edges)}
    newest = [min(order[e] for e in gone) for gone in tried]
    assert newest == sorted(newest, reverse=True) and newest[-1] == 0
    layers = [e.reader.layer for e in result.edges]
    assert layers == sorted(layers)


def test_the_largest_tau_at_which_an_edge_is_kept_is_its_score(found):
    scores = dict(zip(map(str, found.edges), found.scores, strict=True))
    assert all(scores[edge] == 0.1 for edge in PATH)
    assert sum(scores.values()) == pytest.approx(0.4)


# Costs ------------------------------------------------------------------------------------------


def test_its_runs_are_counted(found, pairs):
    n = len(attribution.all_edges(ruler().shape))
    assert len(found.edges) == n
    assert found.forwards == len(pairs) * (2 + 2 * n)


def test_the_count_is_of_what_is_run(monkeypatch, pairs):
    calls = []
    run = subgraphs._Walk.run

    def counted(self, batch):
        calls.append(len(batch))
        return run(self, batch)

    monkeypatch.setattr(subgraphs._Walk, "run", counted)
    asked = ["L1.H0.z -> L1.pre", "L1.H1.z -> L1.pre", "L0.mlp_out -> L1.pre"]
    result = acdc(ruler(), pairs, taus=[0.1, 0.2, 0.3], wanted=asked)
    assert result.forwards == sum(calls) == len(pairs) * (2 + 3 * 3)


# Against the circuit ----------------------------------------------------------------------------


def test_the_planted_edges_are_found_and_no_inert_one(found):
    circuit = wired.circuit(small.wired())
    planted, inert = planted_edges(found, circuit)
    names = [{str(e) for e, mine in zip(found.edges, mask, strict=True) if mine}
             for mask in (planted, inert)]  # fmt: skip
    # The head's own way to the logits is planted by its ends, though nothing is written there.
    assert names[0] == {*PATH, "L1.H0.z -> L1.resid_post"}
    assert "embed -> L1.H1.k" in names[1] and "L1.H2.z -> L1.pre" in names[1]
    assert not any("L0.H2" in name for name in names[0] | names[1]), "a mediator"
    assert not {"embed -> L1.H0.q", "embed -> L1.pre"} & (names[0] | names[1]), "idle"
    records = against(found, planted, inert, organism="x")
    rocs = [r for r in records if r.kind == "acdc_roc"]
    assert [(r.values["tpr"], r.values["fpr"]) for r in rocs] == [(0.8, 0.0)] * 2
    assert rocs[0].values["tpr_n"] == 5 and 0 < rocs[0].values["random_tpr"] < 0.3
    acd, rnd = (r.values for r in records if r.kind == "acdc_auroc")
    assert acd["auroc"] == pytest.approx(0.9) and acd["precision"] == pytest.approx(
        0.8 + 0.2 / (len(names[1]) + 1)
    )
    assert rnd["auroc"] == pytest.approx(0.5, abs=0.02) and rnd["forwards"] == 0
    assert acd["auroc_random_lo"] < 0.5 < acd["auroc_random_hi"] < acd["auroc"]


def test_exactly_the_path_given_is_found_whole(found):
    planted = np.array([str(edge) in PATH for edge in found.edges])
    records = against(found, planted, ~planted)
    assert records[0].values["tpr"] == 1 and records[0].values["fpr"] == 0
    assert records[2].values["auroc"] == records[2].values["auprc"] == 1


def test_beside_a_designated_head_the_others_of_its_layer_are_inert(found):
    routed = Circuit(("L1.H0.z@-1",), (), (), "routed", "")
    planted, inert = planted_edges(found, routed)
    ends = {str(e): (p, i) for e, p, i in zip(found.edges, planted, inert, strict=True)}
    assert ends["embed -> L1.H0.k"] == (True, False)
    assert ends["embed -> L1.H1.k"] == (False, True)
    assert ends["L1.H0.z -> L1.pre"] == ends["embed -> L0.H0.k"] == (False, False)


def test_the_twin_keeps_nothing(pairs):
    result = acdc(ruler(twin=True), pairs, taus=[1e-6])
    assert not result.kept.any()
    (record,) = result.records(model="twin")
    assert record.model == "twin" and record.values["kept"] == 0
    assert record.values["faithfulness"] is None, "there is no lie to carry"


def test_records(found):
    records = found.records(organism="x", seed=2)
    assert [r.params["tau"] for r in records] == [1e-6, 0.1]
    first = records[0].values
    assert set(first["found"]) == set(PATH) and first["kept"] == 4 and first["n"] == 16
    assert first["faithfulness"] == 1 and first["forwards"] == found.forwards


# Refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "error", "text"),
    [
        ({"taus": []}, BadValues, "above 0, each once"),
        ({"taus": [0.1, 0.1]}, BadValues, "above 0, each once"),
        ({"taus": [0.0]}, BadValues, "above 0, each once"),
        ({"wanted": []}, BadSite, "an edge or more"),
        ({"wanted": ["L1.H0.z -> L0.pre"]}, BadSite, "not in this body"),
        ({"distance": "far"}, UnknownName, "distance 'far'"),
        ({"direction": "up"}, UnknownName, "direction 'up'"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked, error, text):
    with pytest.raises(error, match=text):
        acdc(build(BASE), made_pairs(), **asked)


def test_what_is_not_there_is_refused(found, pairs):
    with pytest.raises(BadValues, match="tau=0.5 was not tried"):
        found.circuit(0.5)
    every = np.ones(len(found.edges), dtype=bool)
    with pytest.raises(BadLabels, match="none in both"):
        against(found, every, every)
    with pytest.raises(BadLabels, match="one of the two has none"):
        against(found, every, ~every)
    alike = replace(pairs.triggered, tokens=pairs.clean.tokens)
    runs = subgraphs.graph
    with pytest.raises(DeadEdit, match="alike at all"):
        runs(ruler(), alike, pairs.clean, PATH)
    with pytest.raises(BadValues, match="use 'kl'"):
        acdc(ruler(twin=True), pairs, taus=[0.1], distance="lost logit difference")
