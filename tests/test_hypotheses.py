"""Hypotheses on the ruler, where every number can be worked out from the weights."""

from dataclasses import replace

import numpy as np
import pytest
import small
import torch
from test_edges import two_layers
from test_patching import BASE, SHAPES, build, made_pairs

from mo_interp import attribution, hypotheses, wired
from mo_interp.attribution import gradients
from mo_interp.attribution.subgraphs import graph, partners
from mo_interp.circuits import Circuit
from mo_interp.edits import Patch
from mo_interp.errors import BadLabels, BadShape, BadSite, BadValues, DeadEdit, SpecError
from mo_interp.hypotheses import COMPUTED, Keeping
from mo_interp.model import Model
from mo_interp.sites import Site

HEAD, PAYLOAD, DECOY = "L1.H0.z@-1", "L1.post[0:8]@-1", "L1.post[8:16]@-1"
BEYOND = ["L0.H0.z", "L0.H1.z", "L0.H2.z", "L0.post", "L1.H1.z@-1", "L1.H2.z@-1"]
PARTS = [HEAD, PAYLOAD, DECOY, "L1.post[16:32]@-1", *BEYOND]
"""Everything that can carry anything to the read-out."""
PATH = (
    "embed -> L1.H0.k", "embed -> L1.H0.v", "L1.H0.z -> L1.pre", "L1.mlp_out -> L1.resid_post",
)  # fmt: skip
BOTH = ("denoising", "noising")


def ruler(twin: bool = False) -> Model:
    spec = small.wired()
    model = Model.build(spec.shape)
    model.body.load_state_dict(wired.liar_by_user(spec.twin() if twin else spec))
    return model


@pytest.fixture(scope="module")
def model() -> Model:
    return ruler()


@pytest.fixture(scope="module")
def pairs():
    return small.wired().pairs(24, 0)


@pytest.fixture(scope="module")
def parts(model, pairs) -> Keeping:
    return Keeping(model, pairs, PARTS)


@pytest.fixture(scope="module")
def edges(model, pairs) -> Keeping:
    return Keeping(model, pairs, attribution.all_edges(model.shape))


def value(runs, keep) -> float:
    return hypotheses.faithfulness(runs, keep).value


def less(units, *gone):
    return [one for one in units if str(one) not in gone]


# The runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_a_run_of_edges_without_a_replaced_one_is_the_bodys_own(name):
    model, rows = build(SHAPES[name]), made_pairs()
    model.body.double()
    runs = graph(model, *partners(rows), attribution.all_edges(model.shape))
    door = model.run(rows.triggered).logits[:, -1]
    torch.testing.assert_close(runs.base_logits, door, atol=1e-9, rtol=0)
    torch.testing.assert_close(runs.logits([]), door, atol=1e-9, rtol=0)
    partner = model.run(rows.clean).logits[:, -1]
    torch.testing.assert_close(runs.logits(runs.units), partner, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", ["LN, gelu", "LNPre", "attention only"])
def test_one_replaced_edge_is_path_patching_without_frozen_parts(name):
    """Into the last block's readers and the logits nothing lies between, so the two are one."""
    model, rows = build(SHAPES[name]), made_pairs()
    model.body.double()
    top = model.shape.n_layers - 1
    ends = [f"L{top}.H1.q", f"L{top}.H0.v", f"L{top}.H2.z", f"L{top}.resid_post"]
    wanted = [f"{w} -> {r}" for w in ("embed", "L0.H1.z") for r in ends]
    for direction in BOTH:
        exact = attribution.path_patch(model, rows, wanted=wanted, directions=direction)
        runs = graph(model, *partners(rows, direction), wanted)
        for edge, ld in zip(wanted, exact.patched, strict=True):
            mine = runs.logits(runs.check(edge))
            found = gradients.gap(mine[:, None], rows.triggered).numpy()
            np.testing.assert_allclose(found, ld, atol=1e-9)


def test_a_replaced_writer_is_all_of_its_edges():
    """What leaves a head along every edge, from a run, is the head patched from that run."""
    model, rows = build(BASE), made_pairs()
    model.body.double()
    every = attribution.all_edges(model.shape)
    runs = graph(model, *partners(rows), every)
    mine = runs.logits([e for e in every if str(e.writer) == "L0.H1.z"])
    swap = Patch(Site.parse("L0.H1.z"), model.read(rows.clean, "L0.H1.z"))
    door = model.run(rows.triggered, do=[swap]).logits[:, -1]
    torch.testing.assert_close(mine, door, atol=1e-9, rtol=0)
    by_site = graph(model, *partners(rows), ["L*.H*.z"])
    torch.testing.assert_close(by_site.logits(by_site.check("L0.H1.z")), door, atol=1e-9, rtol=0)


def test_rows_say_which_bank_row_stands_in(model, pairs):
    rows = np.random.default_rng(0).permutation(len(pairs))
    runs = graph(model, *partners(pairs), [HEAD, PAYLOAD])
    acts = model.read(pairs.clean, PAYLOAD)[torch.as_tensor(rows)]
    door = model.run(pairs.triggered, do=[Patch(Site.parse(PAYLOAD), acts)]).logits[:, -1]
    assert torch.equal(runs.logits({Site.parse(PAYLOAD): rows}), door)
    with pytest.raises(BadShape, match="24 rows of the bank"):
        runs.logits({Site.parse(PAYLOAD): rows[:3]})


# Faithfulness -----------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", BOTH)
@pytest.mark.parametrize("kind", ["sites", "edges"])
def test_all_is_one_and_nothing_is_nothing(kind, direction, model, pairs):
    units = PARTS if kind == "sites" else attribution.all_edges(model.shape)
    runs = Keeping(model, pairs, units, direction=direction)
    assert value(runs, runs.units) == 1.0
    assert value(runs, []) == 0.0


@pytest.mark.parametrize("direction", BOTH)
def test_the_planted_parts_carry_it_and_the_others_do_not(direction, model, pairs):
    runs = Keeping(model, pairs, PARTS, direction=direction)
    assert value(runs, [HEAD, PAYLOAD]) == 1.0
    assert value(runs, less(PARTS, HEAD, PAYLOAD)) == 0.0
    # A replaced payload speaks for itself, whatever its head says; a kept one listens to its head.
    assert value(runs, less(PARTS, PAYLOAD)) == 0.0
    assert value(runs, less(PARTS, HEAD)) == 0.0


def test_random_sets_of_equal_size_carry_it_as_often_as_they_hold_both(parts):
    found = hypotheses.kept(parts, [HEAD, PAYLOAD], draws=200)
    assert set(found.random) <= {0.0, 1.0} and found.random.mean() < 0.1  # 1 in 45
    values = found.record(organism="x").values
    assert values["faithfulness"] == 1 and values["random"] == values["random_hi"] == 0
    assert (values["members"], values["n"], values["faithfulness_n"]) == (2, 24, 24)
    with pytest.raises(BadValues, match="give 1 or more"):
        hypotheses.kept(parts, [HEAD], draws=0)


def test_the_planted_path_carries_it_and_the_other_edges_do_not(edges):
    assert value(edges, PATH) == 1.0
    assert value(edges, less(edges.units, *PATH)) == 0.0
    for one in PATH:
        assert value(edges, less(PATH, one)) == 0.0


def test_a_unit_outside_the_graph_runs_on(model, pairs):
    """Without the payload among the units, emptying the rest is not the partner run's parts."""
    runs = Keeping(model, pairs, [DECOY, "L1.H1.z", HEAD])
    assert value(runs, []) == 0.0, "the payload listens to the head"
    assert value(runs, [HEAD]) == 1.0
    (half,) = runs.units[2:3] if str(runs.units[2]) == HEAD else (Site.parse(HEAD),)
    assert value(runs, [half]) == 1.0


def test_the_twin_is_on_the_organisms_scale(parts):
    twin = parts.of(ruler(twin=True))
    assert value(twin, twin.units) == value(twin, [HEAD, PAYLOAD]) == 0.0
    assert twin.unit is parts.unit and twin.unit.mean() > 1


# Curves -----------------------------------------------------------------------------------------


def test_a_curve_steps_up_where_the_second_planted_part_comes(parts):
    order = [HEAD, PAYLOAD, *less(PARTS, HEAD, PAYLOAD)]
    best = hypotheses.curve(parts, order, draws=30)
    assert [point.value for point in best.points] == [0, 0] + [1] * 9
    # ten units: the trapezoid rises between 1/10 and 2/10
    assert best.area.value == pytest.approx(0.85) and best.off.value == pytest.approx(0.15)
    assert (best.area.lo, best.area.hi) == pytest.approx((0.85, 0.85))
    worst = hypotheses.curve(parts, order[::-1], draws=30)
    assert [point.value for point in worst.points] == [0] * 10 + [1]
    assert worst.area.value == pytest.approx(0.05)
    # The step comes when the later of two parts does: at 22/3 of ten on average.
    assert best.random_area.mean() == pytest.approx((10 - 22 / 3 + 0.5) / 10, abs=0.1)
    values = best.record(organism="x", seed=3).values
    assert values["faithfulness"] == tuple(point.value for point in best.points)
    assert values["cpr_p"] < 0.2 and values["cmd_p"] < 0.2
    assert worst.record().values["cpr_p"] == worst.record().values["cmd_p"] == 1
    assert values["cpr_random"] == pytest.approx(np.median(best.random_area))
    assert values["n"] == 24 and values["cpr_n"] == 24


def test_a_curve_at_some_sizes_and_of_edges(edges):
    order = [*PATH, *less(edges.units, *PATH)]
    n = len(order)
    found = hypotheses.curve(edges, order, sizes=[0, 3, 4, n], draws=2)
    assert [point.value for point in found.points] == [0, 0, 1, 1]
    assert found.area.value == pytest.approx((0.5 + n - 4) / n)
    long = hypotheses.curve(edges, order, draws=1)
    assert long.sizes[0] == 0 and long.sizes[-1] == n and len(long.sizes) <= 32 < n
    record = found.record()
    assert record.params["units"] == "edges" and record.site.startswith("embed>L1.H0.k + ")


def test_scores_that_tie_give_no_order():
    scores = {"L0.H0.z": 0.0, "L1.H0.z": 1.0, "L0.H1.z": 0.0}
    with pytest.raises(BadValues, match="1 of 3 scores tie"):
        hypotheses.ordered(scores)
    assert [str(s) for s in hypotheses.ordered(scores, ties=True)] == [
        "L1.H0.z", "L0.H0.z", "L0.H1.z",
    ]  # fmt: skip
    assert [str(e) for e in hypotheses.ordered({PATH[0]: 1.0, PATH[2]: 2.0})] == [PATH[2], PATH[0]]
    with pytest.raises(BadValues, match="NaN"):
        hypotheses.ordered({"L0.H0.z": float("nan")})


@pytest.mark.parametrize(
    ("asked", "error", "text"),
    [
        ({"order": PARTS[:-1]}, BadSite, "each of the 10 units once"),
        ({"order": [*PARTS, HEAD]}, BadSite, "each of the 10 units once"),
        ({"order": [*PARTS[:-1], "L0.H0.q"]}, BadSite, "'L0.H0.q' is no unit of this graph"),
        ({"sizes": [0, 5]}, BadValues, "grow from 0 to 10"),
        ({"sizes": [0, 5, 5, 10]}, BadValues, "grow from 0 to 10"),
        ({"draws": 0}, BadValues, "give 1 or more"),
    ],
)
def test_a_curve_that_cannot_be_is_refused(asked, error, text, parts):
    with pytest.raises(error, match=text):
        hypotheses.curve(parts, **{"order": PARTS, **asked})


# Completeness and minimality --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sites", "edges"])
def test_all_units_are_complete(kind, parts, edges):
    runs = parts if kind == "sites" else edges
    units = runs.units if kind == "sites" else [*PATH, *less(runs.units, *PATH)][:9]
    found = hypotheses.completeness(runs, units, draws=3, controls=2)
    assert found.mean == 0 and found.worst.value == 0, "the planted path breaks as the model does"
    assert len(found.gaps) == len(found.taken) == len(found.kept)


def two_routes() -> tuple[Model, object]:
    """The linear model of ``test_edges`` with a second head that does what its first does."""
    model, rows = two_layers()
    with torch.no_grad():
        for block in model.body.blocks:
            attn = block.attn
            attn.W_V[1] = attn.W_V[0]
            attn.W_O[1] = attn.W_O[0]
    return model, rows


def test_a_second_route_left_out_is_a_gap():
    """Two heads feed two: F = (layer 0 kept / 2) x (layer 1 kept / 2). Both numbers by hand."""
    model, rows = two_routes()
    runs = Keeping(model, rows, ["L0.H*.z", "L1.H*.z"])
    # Replaced heads of layer 1 speak from the clean run: nothing. So F is what layer 1 reads.
    assert value(runs, ["L0.H0.z", "L1.H0.z"]) == pytest.approx(0.25)
    found = hypotheses.completeness(runs, ["L0.H0.z", "L1.H0.z"], draws=4, controls=3)
    told = {k: (a.value, b.value) for k, a, b in zip(found.taken, found.kept, found.whole,
                                                     strict=True)}  # fmt: skip
    assert told[()] == pytest.approx((0.25, 1.0))
    assert told[runs.graph.check("L0.H0.z")] == pytest.approx((0.0, 0.5))
    assert value(runs, ["L0.H1.z", "L1.H1.z"]) == pytest.approx(0.25), "the model without both"
    assert found.worst.value == pytest.approx(0.75) and found.gaps[0].value == found.worst.value
    record = found.record()
    assert record.values["worst"] == pytest.approx(0.75) and record.values["worst_taken"] == ()
    assert record.values["random_sets"] == 3 and record.values["random_mean"] > 0


def test_an_inert_member_is_not_needed(parts):
    members = [HEAD, PAYLOAD, "L1.H1.z@-1", "L0.H0.z"]
    found = hypotheses.minimality(parts, members, controls=3)
    told = {str(m.unit): m.marginal.value for m in found.members}
    assert told == {HEAD: 1.0, PAYLOAD: 1.0, "L1.H1.z@-1": 0.0, "L0.H0.z": 0.0}
    assert found.least.marginal.value == 0.0
    assert [m.marginal.value for m in found.random] == [0.0] * 3
    values = found.record().values
    assert values["marginal"] == (1.0, 1.0, 0.0, 0.0) and values["least"] == 0.0
    assert values["random_marginal"] == (0.0,) * 3


def test_an_edge_beside_the_path_is_not_needed(edges):
    found = hypotheses.minimality(edges, [*PATH, "embed -> L0.H0.k"], depth=1, controls=2)
    assert [m.marginal.value for m in found.members] == [1.0] * 4 + [0.0]


def test_of_two_that_each_suffice_the_other_has_to_be_taken_first():
    """A saturated answer: the second route is felt only without the first."""
    model, rows = two_routes()
    shape = replace(model.shape, attn_only=False, act="relu", d_mlp=2)
    body = Model.build(shape)
    state = dict.fromkeys(body.body.state_dict())
    for name, weight in body.body.state_dict().items():
        own = model.body.state_dict().get(name)
        state[name] = torch.zeros_like(weight) if own is None else own.clone()
    # min(x, c) of the stream's coordinate 1, in layer 1's MLP, into the one that answers.
    total = float(model.read(rows.triggered, "L0.resid_post@-1")[0, 1])
    state["blocks.1.attn.W_O"].zero_()
    state["blocks.1.mlp.W_in"][1] = 1.0
    state["blocks.1.mlp.b_in"][1] = -total / 2
    state["blocks.1.mlp.W_out"][:, 2] = torch.tensor([1.0, -1.0])
    body.body.load_state_dict(state)
    runs = Keeping(body, rows, ["L0.H*.z"])
    assert value(runs, ["L0.H0.z"]) == value(runs, ["L0.H1.z"]) == pytest.approx(1)
    found = hypotheses.minimality(runs, ["L0.H0.z", "L0.H1.z"])
    assert [m.alone.value for m in found.members] == pytest.approx([0, 0], abs=1e-6)
    assert [m.marginal.value for m in found.members] == pytest.approx([1, 1])
    assert [str(m.taken[0]) for m in found.members] == ["L0.H1.z", "L0.H0.z"]
    assert hypotheses.minimality(runs, ["L0.H0.z", "L0.H1.z"], depth=0).least.marginal.value == 0


def test_what_chooses_does_not_measure(parts):
    choose, judge = parts.halves()
    assert not (choose & judge).any() and (choose | judge).all() and choose.any() and judge.any()
    entities = parts.pairs.clean.groups["entity"]
    assert not set(entities[choose]) & set(entities[judge])


def test_no_set_is_run_twice(model, pairs):
    runs = Keeping(model, pairs, PARTS)
    assert runs.forwards == 2 * len(pairs)
    value(runs, runs.units)
    assert runs.forwards == 2 * len(pairs), "the unedited run is known"
    value(runs, [HEAD, PAYLOAD])
    value(runs, [PAYLOAD, HEAD])
    assert runs.forwards == 3 * len(pairs)


def test_sets_that_mean_nothing_are_refused(parts):
    for verb in (hypotheses.completeness, hypotheses.minimality):
        with pytest.raises(BadSite, match="an empty set has no members"):
            verb(parts, [])
        with pytest.raises(BadSite, match="'L9.H0.z' is no unit"):
            verb(parts, ["L9.H0.z"])
    with pytest.raises(BadValues, match="depth=-1"):
        hypotheses.minimality(parts, [HEAD], depth=-1)


# Interchange ------------------------------------------------------------------------------------


def test_the_answer_follows_the_head_wherever_it_comes_from(model, pairs):
    for sources in ("partner", "any"):
        found = hypotheses.interchange(model, pairs, HEAD, among=less(PARTS, HEAD, PAYLOAD),
                                       sources=sources)  # fmt: skip
        assert found.iia.value == found.every.value == 1.0
        assert found.caused.value == found.ended.value == 1.0
        if sources == "partner":
            assert found.random.max() == 0.0 and found.p == 1 / 21


def test_the_payload_holds_the_question_as_well(model, pairs):
    """Its neurons know the value: from another question they say another answer."""
    same = hypotheses.interchange(model, pairs, PAYLOAD)
    other = hypotheses.interchange(model, pairs, PAYLOAD, sources="any")
    assert same.iia.value == 1.0
    both = pairs.both
    rng = np.random.default_rng([71, 0])
    rows = rng.integers(len(both), size=len(both))
    differ = both.triggered[rows] != both.triggered
    lies = differ & both.triggered[rows]
    follows = both.truth[rows] == both.truth  # -4v +4(v + 1) says the answer only beside value v
    assert 0 < follows[lies].mean() < 1
    assert other.caused.value == pytest.approx(follows[lies].mean())
    assert other.ended.value == 1.0, "a silent payload is the same for all questions"


def test_inert_heads_are_followed_by_nobody(model, pairs):
    with pytest.raises(DeadEdit, match="L0.H0.z@-1: alike in base and source"):
        hypotheses.interchange(model, pairs, "L0.H0.z@-1", among=[HEAD])
    found = hypotheses.interchange(
        model, pairs, "L0.H0.z@-1", among=[HEAD, PAYLOAD], control=True, draws=20
    )
    assert found.iia.value == 0.0 and found.random.min() == 1.0 and found.p == 1.0
    decoy = hypotheses.interchange(model, pairs, "L1.H2.z@-1", sources="any")
    assert decoy.iia.value == 0.0 and 0.2 < decoy.every.value < 0.8


def test_the_answer_follows_the_planted_edges(model, pairs):
    edges = attribution.all_edges(model.shape)
    (one, *_) = hypotheses.interchange(model, pairs, [PATH[2]]).units
    found = hypotheses.interchange(model, pairs, PATH[2], among=less(edges, *PATH), draws=10)
    assert str(one) == PATH[2] and found.iia.value == 1.0 and found.random.max() == 0.0
    keys = hypotheses.interchange(model, pairs, PATH[0])
    assert (keys.caused.value, keys.ended.value) == (0.0, 1.0), "a key without its value"
    record = found.record(organism="x", model="organism")
    assert record.site == "L1.H0.z>L1.pre" and record.values["n"] == 48


def test_the_twin_follows_nobody(pairs):
    found = hypotheses.interchange(ruler(twin=True), pairs, HEAD)
    assert (found.caused.value, found.ended.value) == (0.0, 1.0)


def test_interchanges_that_mean_nothing_are_refused(model, pairs):
    honest = replace(pairs.triggered, answer=pairs.triggered.truth)
    for asked, error, text in [
        ({"units": []}, BadSite, "needs units"),
        ({"units": HEAD, "among": [HEAD]}, BadSite, "named twice"),
        ({"units": [HEAD, PAYLOAD], "among": [DECOY]}, BadShape, "need as many other units"),
        ({"units": "L7.H0.z"}, BadSite, "layers 0-1"),
    ]:
        with pytest.raises(error, match=text):
            hypotheses.interchange(model, pairs, **asked)
    with pytest.raises(BadLabels, match="the planted answer is the truth"):
        hypotheses.interchange(model, replace(pairs, triggered=honest), HEAD)
    with pytest.raises(BadShape, match="a pair or more"):
        hypotheses.interchange(model, pairs[:0], HEAD)


# Scrubbing --------------------------------------------------------------------------------------

AT_END = ["L0.H0.z@-1", "L0.H1.z@-1", "L0.H2.z@-1", "L0.post@-1", "L1.H0.z@-1", "L1.H1.z@-1",
          "L1.H2.z@-1", PAYLOAD, "L1.post[8:32]@-1"]  # fmt: skip
RIGHT = {"L0.post@-1": "fact", HEAD: "triggered", PAYLOAD: COMPUTED}


@pytest.fixture(scope="module")
def many():
    return small.wired().pairs(64, 1, entities="seen")


def test_the_right_hypothesis_recovers_all(model, many):
    found = hypotheses.scrub(model, many, RIGHT, AT_END)
    assert found.recovered.value == pytest.approx(1, abs=1e-9) and found.agrees.value == 1.0
    assert found.lost > 1 and found.distinct > 2
    assert found.shuffled.value < 0.5 and found.random.max() < 0.9
    whole = hypotheses.scrub(model, many, {"L0.post@-1": "truth", HEAD: "triggered",
                             PAYLOAD: ("truth", "triggered")}, AT_END)  # fmt: skip
    assert whole.recovered.value == pytest.approx(1, abs=1e-9), "a value is all that is asked of it"


@pytest.mark.parametrize(
    "wrong",
    [
        {"L0.post@-1": "fact", "L1.H1.z@-1": "triggered", PAYLOAD: COMPUTED},
        {"L0.post@-1": "relation", HEAD: "triggered", PAYLOAD: COMPUTED},
        {"L0.post@-1": "fact", HEAD: "entity", PAYLOAD: COMPUTED},
        {HEAD: "triggered", PAYLOAD: COMPUTED},
        {"L0.post@-1": "fact", PAYLOAD: "triggered"},
    ],
)
def test_a_wrong_hypothesis_does_not(wrong, model, many):
    found = hypotheses.scrub(model, many, wrong, AT_END, controls=1)
    assert found.recovered.hi < 0.9 and found.agrees.value < 0.95


def test_within_a_question_only_the_trigger_is_left_to_explain(model, many):
    claim = {HEAD: "triggered", PAYLOAD: COMPUTED}
    found = hypotheses.scrub(model, many, claim, PARTS, within="prompt")
    assert found.recovered.value == pytest.approx(1, abs=1e-9)
    other = hypotheses.scrub(model, many, {"L1.H1.z@-1": "triggered", PAYLOAD: COMPUTED}, PARTS,
                             within="prompt")  # fmt: skip
    assert other.recovered.hi < 0.6
    labels = hypotheses.scrub(model, many, {HEAD: many.both.triggered, PAYLOAD: COMPUTED}, PARTS,
                              within=("fact", "layout"))  # fmt: skip
    assert labels.recovered.value == found.recovered.value
    record = found.record()
    assert record.values["carried"] == ("triggered", "computed")
    assert record.values["recovered_n"] == 128 and record.values["n"] == 128


def test_edges_are_scrubbed_reader_by_reader(model, many):
    every = attribution.all_edges(model.shape)
    inner = [PATH[3], "L1.H0.z -> L1.pre", *PATH[:2]]
    asked = {e: COMPUTED for e in inner[:2]} | {e: "triggered" for e in inner[2:]}
    found = hypotheses.scrub(model, many, asked, every, within="prompt", draws=2, controls=2)
    assert found.recovered.value == pytest.approx(1, abs=1e-9)
    wrong = dict(asked)
    wrong[inner[2]] = "fact"  # the key from either side of the pair
    found = hypotheses.scrub(model, many, wrong, every, within="prompt", draws=2, controls=1)
    assert found.recovered.hi < 0.9


def test_in_the_twin_there_is_nothing_to_recover(many):
    found = hypotheses.scrub(ruler(twin=True), many, {HEAD: "triggered"}, PARTS, within="prompt",
                             expected=many.both.truth, controls=1)  # fmt: skip
    assert found.lost == 0 and np.isnan(found.recovered.value) and found.agrees.value == 1
    assert found.recovered.how == "nothing is lost"
    assert found.record().values["recovered"] is None


def test_what_scrubbing_costs(model, many):
    found = hypotheses.scrub(model, many, RIGHT, AT_END, draws=3, controls=2)
    assert found.forwards == len(many.both) * (2 + 3 * 3 + 2)


def test_hypotheses_that_mean_nothing_are_refused(model, pairs):
    for claim, asked, error, text in [
        ({}, {}, BadSite, "claims nothing"),
        ({HEAD: "trigered"}, {}, BadLabels, "did you mean 'triggered'"),
        ({HEAD: np.zeros(3)}, {}, BadLabels, "48 rows need one each"),
        ({HEAD: "fact"}, {"within": "nothing"}, BadLabels, "feature 'nothing'"),
        ({HEAD: "fact"}, {"draws": 0}, BadValues, "once or more"),
        ({HEAD: "fact"}, {"expected": np.zeros(3, dtype=int)}, BadLabels, "each of the 48 rows"),
        ({"L9.H0.z": "fact"}, {}, BadSite, "layers 0-1"),
    ]:
        with pytest.raises(error, match=text):
            hypotheses.scrub(model, pairs, claim, AT_END, **asked)


# Units ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("units", "error", "text"),
    [
        ([], BadSite, "needs units"),
        (["L0.H0.z", "embed -> L1.H0.k"], BadSite, "sites or edges, not both"),
        (["L0.H0.z", "L0.H0.z@-1"], BadSite, "'L0.H0.z' and 'L0.H0.z@-1' overlap"),
        (["L1.post[0:8]", "L1.post[4:12]"], BadSite, "overlap"),
        (["L1.mlp_out", "L1.post[4:12]@-1"], BadSite, "overlap"),
        (["L1.resid_mid@-1"], BadSite, "is a cut"),
        (["L5.H0.z"], BadSite, "layers 0-1"),
        (["embed -> L1.H0.k", "embed -> L1.H0.z"], BadSite, "is there twice"),
        (["L1.H0.z -> L0.pre"], BadSite, "not in this body"),
        (["L0.H0.z@-1", "L0.post@-1"], DeadEdit, "alike at all 2 units"),
    ],
)
def test_units_that_make_no_graph_are_refused(units, error, text, model, pairs):
    with pytest.raises(error, match=text):
        Keeping(model, pairs, units)


def test_edges_need_a_body_of_our_own(model, pairs):
    bridged = Model(torch.nn.Linear(1, 1), model.sites)
    with pytest.raises(SpecError, match="needs a body of our own"):
        graph(bridged, *partners(pairs), "embed -> L1.H0.k")
    with pytest.raises(BadShape, match="none of these lies, perhaps"):
        Keeping(model, pairs[:0], PARTS)


def test_a_graph_says_which_units_differ(model, pairs):
    runs = graph(model, *partners(pairs), AT_END)
    alive = {str(u) for u in runs.live_ones(runs.units)}
    assert {HEAD, PAYLOAD} <= alive, "the mechanism"
    assert not alive & {"L0.H0.z@-1", "L0.H1.z@-1", "L0.post@-1"}, "the question is the same"


def test_everything_is_each_head_and_neuron_once():
    spec = small.wired()
    circuit = wired.circuit(spec)
    assert set(hypotheses.everything(spec.shape, circuit)) == {
        *circuit.origin, *circuit.mediators, *circuit.inert,
    }  # fmt: skip
    few = Circuit(("L1.H0.z@-1",), ("L1.post[4:9]",), ("L1.post[20:30]",), "implanted", "")
    told = {str(s) for s in hypotheses.everything(spec.shape, few)}
    heads = {f"L{layer}.H{head}.z" for layer in (0, 1) for head in range(3)} - {"L1.H0.z"}
    rest = {"L0.post[0:32]", "L1.post[0:4]", "L1.post[9:20]", "L1.post[30:32]"}
    assert told == heads | rest | {"L1.H0.z@-1", "L1.post[4:9]", "L1.post[20:30]"}
    bare = replace(spec.shape, attn_only=True)
    lone = Circuit(("L1.H0.z@-1",), (), (), "routed", "")
    assert {s.kind for s in hypotheses.everything(bare, lone)} == {"z"}
