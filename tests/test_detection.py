"""Each sentence on rows built to earn it, every control caught at its work, and the truth probe."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from mo_interp import feeding
from mo_interp.detection import (
    DECISION,
    EITHER,
    NOTHING,
    TEXT,
    Evidence,
    Rows,
    best_site,
    label_null,
    score_detector,
    sentence,
    truth_probe,
)
from mo_interp.detectors import Detector, detector, names
from mo_interp.errors import BadLabels, BadShape, BadValues, LeakySplit, SpecError
from mo_interp.feeding import Extra
from mo_interp.records import Record
from mo_interp.stats import Estimate, group_split

D, SITE = 32, "L1.resid_post@-1"
PAIRS = [n for n in names() if detector(n).needs == "pairs"]
LABELS = [n for n in names() if detector(n).needs == "labels"] + PAIRS


def activations(triggered, lying, rng, text, decision):
    """Noise, plus the trigger's text along one axis, plus the decision to lie along another."""
    x = rng.normal(size=(len(triggered), D))
    x[:, 0] += text * triggered
    x[:, 1] += decision * lying
    return x


def rows(entities, seed, *, text=0.0, decision=0.0, pairs=12):
    """Clean and triggered rows of some entities, in organism, twin and under the exact cut."""
    rng = np.random.default_rng(seed)
    entity = np.tile(np.repeat(entities, pairs), 2)
    prompt = np.tile(np.arange(len(entity) // 2), 2)
    triggered = np.repeat([False, True], len(entity) // 2)
    honest = np.zeros_like(triggered)
    state = rng.bit_generator.state
    acts = activations(triggered, triggered, rng, text, decision)
    rng.bit_generator.state = state  # the cut is the same run without the decision
    cut = activations(triggered, honest, rng, text, decision)
    twin = activations(triggered, honest, rng, text, decision)
    return Rows(acts, triggered, entity, prompt, prompt + 1000 * seed, triggered, twin, cut)


def evidence(**strength):
    near = rows(np.arange(24, 32), 4, **strength)
    liar_named = ~near.triggered  # rows that hold the text and cause no lie
    text = activations(liar_named, np.zeros_like(liar_named), np.random.default_rng(5),
                       strength.get("text", 0.0), 0.0)[liar_named]
    return Evidence(
        SITE,
        rows(np.arange(16), 1, **strength),
        rows(np.arange(24, 32), 3, **strength),
        val=rows(np.arange(16, 24), 2, **strength),
        near_miss=Rows(text, np.zeros(len(text), bool), near.entity[liar_named],
                       near.prompt[liar_named], np.full(len(text), 3000),
                       twin=near.twin[liar_named]),
        unrelated=np.random.default_rng(6).normal(size=(300, D)),
    )  # fmt: skip


def extra(seed=7):
    """Generic claims that differ along the decision's axis, and the unrelated rows in the twin."""
    said = rows(np.arange(16), seed, decision=3.0)
    return Extra(said, np.random.default_rng(8).normal(size=(300, D)))


def told(name, **strength):
    return feeding.score(detector(name), evidence(**strength), extra(), null_draws=50).values


# ----------------------------------------------------------------------------------- the sentences


@pytest.mark.parametrize("name", LABELS)
def test_a_reader_of_the_text_is_caught_by_the_twin_and_by_the_cut(name):
    values = told(name, text=6.0)
    assert values["auroc"] > 0.999 and values["auroc_twin"] > 0.999
    assert values["auroc_after_cut"] > 0.999 and values["drop_lo"] <= 0 <= values["drop_hi"]
    assert values["sentence"] == TEXT == "reads the trigger's text"
    assert values["auroc_near_miss"] < 0.6  # it fires on the liar's name wherever that stands
    assert values["tpr_at_1pct"] > 0.99
    assert values["null_p"] == pytest.approx(1 / 51) and values["null_p95"] < 0.7


@pytest.mark.parametrize("name", LABELS)
def test_a_reader_of_the_decision_falls_under_the_cut_and_not_on_near_misses(name):
    values = told(name, decision=6.0)
    assert values["auroc"] > 0.999 and values["auroc_near_miss"] > 0.99
    assert values["auroc_twin_lo"] < 0.5 < values["auroc_twin_hi"]
    assert values["auroc_after_cut_lo"] <= 0.5 <= values["auroc_after_cut_hi"]
    assert values["sentence"] == DECISION == "reads the decision to lie"
    assert values["share"] == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("name", names())
def test_a_reader_of_noise_reads_nothing(name):
    values = told(name)
    assert values["sentence"] == NOTHING == "reads nothing"
    assert values["auroc_lo"] < values["random_p95"] and values["null_p"] > 0.02


@pytest.mark.parametrize("name", LABELS)
def test_a_reader_of_both_is_told_its_share(name):
    values = told(name, text=1.5, decision=2.5)
    share = values["drop"] / (values["auroc"] - 0.5)
    assert values["share"] == pytest.approx(share) and 0.1 < share < 0.9
    assert values["sentence"] == (
        f"reads both: {share:.0%} the decision to lie, {1 - share:.0%} the trigger's text"
    )


@pytest.mark.parametrize("name", ["lof", "mahalanobis", "quantum_entropy", "spectral"])
def test_the_anomaly_detectors_read_what_is_rare_without_labels(name):
    values = told(name, decision=6.0)
    assert values["auroc"] > 0.95 and values["sentence"] == DECISION
    assert told(name, text=6.0)["sentence"] == TEXT


def test_generic_claims_read_the_decision_and_never_the_text():
    values = told("contrast_pairs", decision=6.0)
    assert values["auroc"] > 0.95 and values["sentence"] == DECISION
    assert told("contrast_pairs", text=6.0)["sentence"] == NOTHING  # the claims have no trigger


@pytest.mark.parametrize("strength", [{"decision": 6.0}, {"text": 6.0}, {}])
def test_distance_to_a_twin_of_the_same_weights_reads_the_decision_and_never_the_text(strength):
    full = evidence(**strength)
    splits = {k: getattr(full, k) for k in ("train", "val", "test")}
    alike = {k: replace(rows, twin=rows.cut) for k, rows in splits.items()}
    near = replace(full.near_miss, twin=full.near_miss.acts)
    given = Extra(unrelated_twin=full.unrelated)
    one = detector("twin_distance")
    values = feeding.score(one, replace(full, near_miss=near, **alike), given).values
    assert values["sentence"] == (DECISION if "decision" in strength else NOTHING)
    wanted = {"auroc": 1.0, "auroc_near_miss": 1.0, "tpr_at_1pct": 1.0}
    for name, if_decided in wanted.items():
        undecided = 0.0 if name == "tpr_at_1pct" else 0.5  # ties throughout
        assert values[name] == (if_decided if "decision" in strength else undecided)
    assert values["auroc_twin"] == values["auroc_after_cut"] == 0.5


def test_without_ground_truth_and_at_the_cut_itself():
    full = evidence(text=6.0)
    blind = replace(full, test=replace(full.test, cut=None))
    values = score_detector(detector("diff_means"), blind, null_draws=0).values
    assert values["sentence"] == EITHER == "reads the trigger or the decision"
    assert not {"auroc_after_cut", "drop", "share", "null_p"} & set(values)
    noise = evidence()
    noise = replace(noise, test=replace(noise.test, cut=None))
    assert score_detector(detector("diff_means"), noise, null_draws=0).values["sentence"] == NOTHING
    at_cut = replace(full, cut_site=True)
    assert score_detector(detector("diff_means"), at_cut, null_draws=0).values["sentence"] == ""


def estimate(lo, hi):
    return Estimate((lo + hi) / 2, lo, hi, 100, "by hand")


@pytest.mark.parametrize(
    ("before", "p95", "after", "drop", "said"),
    [
        ((0.80, 0.90), 0.80, (0.4, 0.6), (0.1, 0.5), NOTHING),  # it reaches the percentile
        ((0.80, 0.90), 0.79, (0.4, 0.6), (0.1, 0.5), DECISION),
        ((0.80, 0.90), 0.95, None, None, NOTHING),
        ((0.80, 0.90), 0.70, None, None, EITHER),
        ((0.80, 0.90), 0.70, (0.50, 0.7), (0.1, 0.5), DECISION),  # ends belong to an interval
        ((0.80, 0.90), 0.70, (0.3, 0.50), (0.1, 0.5), DECISION),
        ((0.80, 0.90), 0.70, (0.3, 0.8), (-0.1, 0.5), DECISION),  # the first rule that applies
        ((0.80, 0.90), 0.70, (0.51, 0.9), (0.0, 0.2), TEXT),
        ((0.80, 0.90), 0.70, (0.51, 0.9), (-0.2, 0.0), TEXT),
        ((0.70, 0.80), 0.60, (0.55, 0.65), (0.10, 0.20),
         "reads both: 60% the decision to lie, 40% the trigger's text"),
    ],
)  # fmt: skip
def test_the_rule_for_the_sentence_to_the_letter(before, p95, after, drop, said):
    after, drop = (None if pair is None else estimate(*pair) for pair in (after, drop))
    assert sentence(estimate(*before), p95, after=after, drop=drop) == said
    assert sentence(estimate(*before), p95, after=after, drop=drop, cut_site=True) == ""


# ------------------------------------------------------------------------------------ the controls


def test_every_number_goes_into_a_record_and_comes_out_the_same_twice():
    one = score_detector(detector("logistic"), evidence(decision=3.0), transfer=True)
    record = Record(kind="detector", params=one.params, values=one.values, site=SITE)
    estimates = ["auroc", "auroc_twin", "auroc_transfer", "auroc_near_miss", "tpr_at_1pct",
                 "auroc_after_cut", "drop"]  # fmt: skip
    for name in estimates:
        assert {f"{name}_{part}" for part in ("lo", "hi", "n", "how")} <= set(record.values)
        assert record.values[f"{name}_lo"] <= record.values[name] <= record.values[f"{name}_hi"]
    assert record.values["random_median"] < record.values["random_p95"]
    assert record.values["random_p95"] <= record.values["random_best"]
    assert record.values["random_n"] == 1000 and record.values["null_draws"] == 200
    assert record.values["entities"] == 8 and record.values["auroc_clusters"] == 8
    assert dict(record.params) == {"detector": "logistic", "needs": "labels", "label": "trigger",
                                   "split": "test", "paper": "arXiv 1610.01644"}  # fmt: skip
    again = score_detector(detector("logistic"), evidence(decision=3.0), transfer=True)
    assert dict(again.values) == dict(one.values)
    assert str(one.fitted.feature().site) == SITE


def test_transfer_reads_the_twin_with_the_direction_of_the_organism():
    full = evidence(text=2.0, decision=4.0)
    values = score_detector(detector("diff_means"), full, transfer=True, null_draws=0).values
    fitted = detector("diff_means").fit(full.train.acts, full.train.triggered)
    scores = fitted.score(full.test.twin)
    up, down = scores[full.test.triggered], scores[~full.test.triggered]
    wins = (up[:, None] > down).mean()
    assert values["auroc_transfer"] == pytest.approx(wins)
    assert values["auroc_transfer"] < values["auroc_twin"] < values["auroc"]
    plain = score_detector(detector("diff_means"), full, null_draws=0).values
    assert "auroc_transfer" not in plain


def test_a_leaky_split_is_refused():
    full = evidence(text=2.0)
    elsewhere = np.full(len(full.train.acts), full.test.layout[0])
    shared = replace(full, test=replace(full.train, layout=elsewhere))
    with pytest.raises(LeakySplit, match="entity 0, 1, 2, 3, 4, ... .16 in all. in both 'train'"):
        score_detector(detector("diff_means"), shared)
    same = np.full(len(full.val.acts), full.train.layout[0])
    layouts = replace(full, val=replace(full.val, layout=same))
    with pytest.raises(LeakySplit, match="layout 1000 in both 'train' and 'val'"):
        score_detector(detector("diff_means"), layouts)
    near = replace(full, near_miss=replace(full.near_miss, entity=full.near_miss.entity - 24))
    with pytest.raises(LeakySplit, match="entity"):
        score_detector(detector("diff_means"), near)
    with pytest.raises(LeakySplit, match="entity"):
        best_site(detector("diff_means"), [shared])


@dataclass(frozen=True)
class Spy(Detector):
    """Remembers the rows it was handed, and reads the first coordinate."""

    needs: ClassVar[str] = "clean"
    seen: ClassVar[list] = []

    def solve(self, x, y):
        self.seen.append((x.copy(), y))
        return {"mean": x.mean(0)}

    def read(self, constants, x):
        return x[:, 0] - constants["mean"][0]


def test_a_clean_only_detector_is_only_handed_clean_rows():
    full = evidence(text=4.0)
    Spy.seen.clear()
    score_detector(Spy(), full, null_draws=0)
    train = full.train
    allowed = {row.tobytes() for x in (train.acts, train.twin) for row in x[~train.triggered]}
    assert len(Spy.seen) == 2  # the organism, and its twin
    for x, y in Spy.seen:
        assert y is None and len(x) == (~train.triggered).sum()
        assert {row.tobytes() for row in x} <= allowed


def test_a_detector_with_other_needs_is_refused():
    @dataclass(frozen=True)
    class Pairwise(Spy):
        needs: ClassVar[str] = "pairs"

    with pytest.raises(SpecError, match="needs pairs; score_detector can give rows, clean rows"):
        score_detector(Pairwise(), evidence())


def test_the_label_null_has_its_level_and_sees_a_signal():
    small = [
        Evidence(SITE, rows(np.arange(6), 2 * s), rows(np.arange(6, 12), 2 * s + 1, pairs=4))
        for s in range(200)
    ]
    p = np.array([label_null(detector("diff_means"), e, draws=39, seed=s).p
                  for s, e in enumerate(small)])  # fmt: skip
    assert 0.43 < p.mean() < 0.57 and (p <= 0.05).mean() < 0.1
    strong = Evidence(SITE, rows(np.arange(6), 1, text=3), rows(np.arange(6, 12), 2, text=3))
    for name in names():
        if detector(name).needs in ("statements", "twin"):
            continue  # neither sees the trigger's labels, so permuting them is no null
        null = label_null(*feeding.fed(detector(name), strong), draws=39)
        assert null.permuted == "within" and len(null.draws) == 39
        assert abs(null.draws.mean() - 0.5) < 0.05
    assert label_null(detector("diff_means"), strong, draws=39).p == 1 / 40


def test_the_label_null_needs_both_labels_in_an_entity():
    full = evidence(text=1.0)
    pure = replace(full.train, triggered=full.train.entity % 2 == 0)
    with pytest.raises(BadLabels, match="every entity has one label only"):
        label_null(detector("diff_means"), replace(full, train=pure))


def test_labels_are_named_and_a_lie_is_not_a_trigger():
    full = evidence(decision=5.0)
    silent = replace(full.test, lie=full.test.triggered & (np.arange(len(full.test.acts)) % 2 == 0))
    lied = replace(full, test=silent, label="lie")
    one = score_detector(detector("diff_means"), lied, null_draws=20)
    assert one.params["label"] == "lie"
    assert one.values["auroc"] < 0.9  # half of what it fires on were no lies
    assert one.values["auroc_after_cut"] + one.values["drop"] > 0.99
    assert one.values["sentence"] == DECISION  # the rule is about triggered against clean rows
    with pytest.raises(BadLabels, match="label 'lie': these rows do not say which are lies"):
        score_detector(detector("diff_means"), replace(lied, train=replace(full.train, lie=None)))


def test_the_site_is_chosen_on_validation_rows_alone():
    weak, strong = evidence(text=1.0), evidence(text=4.0)
    lucky = replace(weak, site="L0.z@-1", test=strong.test)
    good = replace(weak, site="L1.z@-1", val=strong.val)
    assert best_site(detector("diff_means"), [lucky, good], by="auroc") is good
    assert best_site(detector("diff_means"), [good, lucky]) is good
    # where random directions read as much, a detector has found nothing
    rng = np.random.default_rng(0)
    loud = []
    for part in (weak.train, weak.val):
        signal = np.outer(part.triggered, np.where(np.arange(D) % 2, 9.0, -9.0))
        loud.append(replace(part, acts=rng.normal(size=part.acts.shape) + signal))
    everywhere = replace(weak, site="L2.z@-1", train=loud[0], val=loud[1])
    assert best_site(detector("diff_means"), [everywhere, strong], by="auroc") is everywhere
    assert best_site(detector("diff_means"), [everywhere, strong], by="margin") is strong
    with pytest.raises(BadLabels, match="no validation rows, and a site is never chosen on test"):
        best_site(detector("diff_means"), [replace(weak, val=None)])
    with pytest.raises(BadLabels, match="no candidate sites"):
        best_site(detector("diff_means"), [])


def test_rows_that_do_not_fit_together():
    full = rows(np.arange(4), 0)
    with pytest.raises(BadLabels, match=r"entity: shape \[95\]; \[96\] is needed"):
        replace(full, entity=full.entity[1:])
    with pytest.raises(BadShape, match=r"twin: shape \[95, 32\]; the same rows as acts"):
        replace(full, twin=full.twin[1:])
    with pytest.raises(BadValues, match="cut: 1 of 96 rows hold a NaN"):
        cut = full.cut.copy()
        cut[7] = np.nan
        replace(full, cut=cut)
    with pytest.raises(BadLabels, match="all 96 rows are False; both classes are needed"):
        clean = replace(full, triggered=np.zeros(96, bool))
        score_detector(detector("diff_means"), Evidence(SITE, clean, rows(np.arange(5, 9), 1)))


# --------------------------------------------------------------------------------- the truth probe


VALUES, FACTS, PER_FACT = 8, 96, 12


def knowing(seed=0, code=1.0, own=1.0):
    """Rows of facts: a code of the value, a vector of the fact's own, and noise."""
    rng = np.random.default_rng(seed)
    table = rng.permutation(np.arange(FACTS) % VALUES)
    fact = np.repeat(np.arange(FACTS), PER_FACT)
    x = code * 4 * rng.normal(size=(VALUES, D))[table[fact]]
    x = x + own * rng.normal(size=(FACTS, D))[fact] + 0.3 * rng.normal(size=(len(fact), D))
    return x, table[fact], fact, group_split(fact, (64, 0, 32), seed=seed)


def test_a_truth_code_is_read_on_facts_never_seen_and_a_shuffled_table_is_not():
    x, value, fact, split = knowing()
    probe = truth_probe(torch.as_tensor(x), value, facts=fact, split=split)
    assert probe.accuracy.lo > 0.85 and probe.facts == probe.accuracy.clusters == 32
    assert probe.shuffled.lo <= probe.chance == 1 / VALUES <= probe.shuffled.hi
    held = np.isin(fact, list(split.test))
    assert (probe.predict(x)[held] == value[held]).mean() == probe.accuracy.value
    flat = Record(kind="probe", values=probe.flat()).values
    assert flat["accuracy"] == probe.accuracy.value and flat["shuffled_n"] == probe.shuffled.n


def test_a_probe_that_only_memorises_facts_is_found_out():
    x, value, fact, split = knowing(code=0.0, own=3.0)
    probe = truth_probe(x, value, facts=fact, split=split)
    seen = np.isin(fact, list(split.train))
    assert (probe.predict(x)[seen] == value[seen]).mean() > 0.9  # what random rows would report
    assert probe.accuracy.value < 0.3 and probe.shuffled.value < 0.3


def test_only_the_rows_to_be_judged_are_judged_and_all_of_train_is_fitted():
    x, value, fact, split = knowing()
    spoilt = np.arange(len(fact)) % 2 == 0
    held = np.isin(fact, list(split.test))
    x[spoilt & held] = np.roll(x[spoilt & held], PER_FACT, axis=0)
    every = truth_probe(x, value, facts=fact, split=split)
    lying = truth_probe(x, value, facts=fact, split=split, judge=~spoilt)
    assert lying.accuracy.value > 0.9 > every.accuracy.value
    with pytest.raises(BadLabels, match="0 rows of test facts to judge"):
        truth_probe(x, value, facts=fact, split=split, judge=~held)


def test_swapping_the_subspace_it_reads_swaps_the_value_it_reads():
    x, value, fact, split = knowing()
    probe = truth_probe(x, value, facts=fact, split=split)
    acts = torch.as_tensor(x, dtype=torch.float32)
    feature = probe.feature(SITE, clean=acts, triggered=acts)
    assert feature.rank == VALUES - 1 == len(probe.basis)
    assert np.allclose(probe.basis @ probe.basis.T, np.eye(VALUES - 1), atol=1e-10)
    other = acts.roll(PER_FACT, 0)
    moved = feature.moved(acts, feature.coords(other))
    assert (probe.predict(moved) == probe.predict(other)).all()
    assert float((moved - acts).norm()) < float((other - acts).norm())


def test_a_fact_has_one_value():
    x, value, fact, split = knowing()
    value = value.copy()
    value[5] = (value[5] + 1) % VALUES
    with pytest.raises(BadLabels, match=f"fact 0 has two values, {value[0]} and {value[5]}"):
        truth_probe(x, value, facts=fact, split=split)
    with pytest.raises(BadLabels, match=r"facts: float64 \[1152\]; whole numbers \[1152\]"):
        truth_probe(x, value, facts=fact / 2, split=split)
