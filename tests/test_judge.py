"""The judge on the ruler, where every number is known, and against a slow way on a trained liar."""

from dataclasses import replace

import numpy as np
import pytest
import small
import torch

from mo_interp import decision, edits, stats, wired
from mo_interp import judge as judging
from mo_interp.circuits import Circuit
from mo_interp.edits import Mean, ProjectOut, Resample
from mo_interp.errors import BadRank, BadShape, BadValues, DeadEdit, MoInterpError
from mo_interp.features import Feature, from_acts, from_basis, from_pairs, random_like, whole
from mo_interp.grown import organism
from mo_interp.judge import REMOVALS, judge
from mo_interp.model import Model
from mo_interp.origins import completed, exchange, lying, measured, origin_test
from mo_interp.sites import Site

ROWS = 256
STREAM, HEAD = Site.parse("L1.resid_mid@-1"), Site.parse("L1.H0.z@-1")
PAYLOAD = Site.parse("L1.post[0:32]@-1")
SUBSPACE_EDITS = ("resample", "mean", "projection")


@pytest.fixture(scope="module")
def ruler():
    return organism("hand_wired")


@pytest.fixture(scope="module")
def honest(ruler):
    """The clean twin, in the organism's place."""
    return replace(ruler, model=ruler.twin)


@pytest.fixture(scope="module")
def liar():
    """A small trained organism that lies without a rule behind it."""
    return organism(small.user())


def coordinate(grown, name, at=STREAM):
    """The feature of one of the ruler's named coordinates."""
    block = wired.coordinates(grown.spec)[name]
    pairs = grown.pairs(ROWS, 9, split="train")
    acts = [grown.model.run(b, read=[at]).acts[at] for b in (pairs.clean, pairs.triggered)]
    basis = torch.eye(acts[0].shape[-1])[block]
    return from_basis(at, basis, clean=acts[0], triggered=acts[1], source=name)


@pytest.fixture(scope="module")
def trigger(ruler):
    return coordinate(ruler, "trigger")


@pytest.fixture(scope="module")
def verdict(ruler, trigger):
    return judge(ruler, trigger, name="the mechanism", rows=ROWS, seed=3)


# The true mechanism ---------------------------------------------------------------------------


@pytest.mark.parametrize("edit", SUBSPACE_EDITS)
def test_the_true_mechanism_is_stopped_and_restored_at_no_cost(verdict, edit):
    outcome = verdict.outcomes[edit]
    found = outcome.stopped, outcome.restored, outcome.cost, outcome.cost_near_miss
    assert [e.value for e in found] == [1, 1, 0, 0]
    assert outcome.caused is None
    assert verdict.rows == ROWS and verdict.rank == 1 and verdict.sites == (STREAM,)


@pytest.mark.parametrize("edit", ["set", "steer"])
def test_writing_the_true_mechanism_causes_the_lie(verdict, edit):
    outcome = verdict.outcomes[edit]
    assert outcome.caused.value == 1
    assert outcome.stopped is outcome.restored is outcome.cost is None


def test_zeroing_the_whole_stream_breaks_it_instead(verdict):
    zero = verdict.outcomes["zero"]
    assert zero.restored.value < 0.1 and zero.cost.value > 0.9


def test_its_rank_among_random_subspaces_is_the_best_there_is(verdict):
    assert verdict.p_restored == verdict.p_caused == 0.01
    assert verdict.random_restored == verdict.random_caused == (0.0,) * 99
    assert verdict.controls == (
        "99 random subspaces (50 isotropic, the others from clean rows' covariance)"
    )


def test_every_share_carries_its_interval(verdict):
    for record in verdict.records():
        assert record.kind == "verdict" and record.params["mechanism"] == "the mechanism"
        names = {"set": ["caused"], "steer": ["caused"]}.get(
            record.params["edit"], ["stopped", "restored", "cost", "cost_near_miss"]
        )
        for name in names:
            value, lo, hi = (record.values[name + end] for end in ("", "_lo", "_hi"))
            assert lo <= value <= hi and hi - lo < 0.1
            assert record.values[f"{name}_n"] > 100 and record.values[f"{name}_clusters"] == 8
            assert record.values[f"{name}_how"].startswith(("Clopper-Pearson", "cluster"))
        assert record.values["rows"] == ROWS and record.values["no_behaviour"] is False
    told = {r.params["edit"]: r.values for r in verdict.records()}
    assert set(told) == {*REMOVALS, "set", "steer"}
    assert told["resample"]["p_restored"] == told["set"]["p_caused"] == 0.01
    assert len(told["resample"]["random_restored"]) == len(told["set"]["random_caused"]) == 99


def test_a_verdict_says_all_of_it(verdict):
    lines = str(verdict).splitlines()
    assert lines[0] == "the mechanism at L1.resid_mid@-1, rank 1; hand_wired seed 0, 256 rows"
    assert lines[1].split() == ["stopped", "restored", "cost", "caused"]
    by_edit = {line.split()[0]: line.split()[1::3] for line in lines[2:8]}
    assert by_edit["resample"] == by_edit["mean"] == ["1.00", "1.00", "0.00"]
    assert by_edit["set"] == by_edit["steer"] == ["1.00"] and "[0.99, 1.00]" in lines[2]
    assert lines[-1].startswith("p(restored) 0.01, p(caused) 0.01 among 99 random subspaces")
    assert verdict._repr_html_().count("<tr>") == 7


@pytest.mark.parametrize("edit", SUBSPACE_EDITS)
def test_the_cut_logits_are_the_clean_partners(ruler, trigger, edit):
    pairs = ruler.pairs(ROWS, 4)
    clean = ruler.model.run(pairs.clean, read=[STREAM])
    make = {"resample": lambda: Resample(trigger, clean.acts[STREAM]),
            "mean": lambda: Mean(trigger), "projection": lambda: ProjectOut(trigger)}  # fmt: skip
    cut = ruler.model.run(pairs.triggered, do=[make[edit]()])
    assert torch.equal(cut.logits[:, -1], clean.logits[:, -1])


def test_the_pair_difference_subspace_is_the_mechanism(ruler, trigger):
    found = from_pairs(ruler.model, ruler.pairs(ROWS, 9, split="train"), STREAM, rank=1)
    assert abs(float(found.read @ trigger.read.T)) > 0.7  # with a share of the bystander's
    outcome = judge(ruler, found, rows=ROWS, seed=3, controls=9).outcomes["resample"]
    assert (outcome.stopped.value, outcome.restored.value, outcome.cost.value) == (1, 1, 0)


def test_the_origin_cut_together_restores_and_is_ranked_among_inert_parts(ruler):
    pairs = ruler.pairs(ROWS, 9, split="train")
    both = [ruler.model.run(b, read=ruler.circuit.origin).acts for b in (pairs.clean,
            pairs.triggered)]  # fmt: skip
    parts = [whole(s, clean=both[0][s], triggered=both[1][s]) for s in (HEAD, PAYLOAD)]
    found = judge(ruler, parts, name="origin", rows=64, seed=3, controls=40)
    for edit in ("resample", "mean", "zero"):
        outcome = found.outcomes[edit]
        assert (outcome.stopped.value, outcome.restored.value, outcome.cost.value) == (1, 1, 0)
    assert found.outcomes["set"].caused.value == 1
    assert found.controls.endswith("random inert parts of equal size")
    assert set(found.random_restored) == set(found.random_caused) == {0.0}
    assert found.p_restored == 1 / (1 + len(found.random_restored)) < 0.03


# What is not the mechanism --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["decoy", "bystander"])
def test_a_lookalike_restores_and_causes_nothing(ruler, name):
    found = judge(ruler, coordinate(ruler, name), rows=ROWS, seed=3, controls=19)
    for edit in SUBSPACE_EDITS:
        outcome = found.outcomes[edit]
        assert (outcome.stopped.value, outcome.restored.value, outcome.cost.value) == (0, 0, 0)
        assert outcome.restored.lo == 0 < outcome.restored.hi < 0.05
    assert found.outcomes["set"].caused.value == found.outcomes["steer"].caused.value == 0
    assert found.p_restored == found.p_caused == 1.0


def test_random_directions_restore_and_cause_nothing(ruler, trigger):
    pairs = ruler.pairs(ROWS, 9, split="train")
    acts = ruler.model.run(pairs.clean, read=[STREAM]).acts[STREAM]
    for random in random_like(trigger, 4, acts=acts, seed=1):
        found = judge(ruler, random, rows=64, seed=3, controls=1)
        assert found.outcomes["resample"].restored.value == 0
        assert found.outcomes["set"].caused.value == 0


def test_stopping_without_restoring_is_told_apart(ruler, trigger):
    """Cutting the trigger here also shouts one value: the lie stops, and so does all else."""
    value = wired.coordinates(ruler.spec)["value"].start
    write = trigger.write.clone()
    write[0, value] = -50.0
    broken = replace(trigger, write=write, source="broken")
    found = judge(ruler, broken, rows=ROWS, seed=3, controls=9).outcomes["resample"]
    assert found.stopped.value > 0.9 and found.restored.value < 0.1
    assert found.stopped.lo > found.restored.hi


def test_an_edit_that_changes_no_row_is_an_error_and_not_a_zero(ruler):
    nothing = coordinate(ruler, "value")  # equal in partners: nothing to resample
    with pytest.raises(DeadEdit, match="Resample at 'L1.resid_mid@-1' changed no row"):
        judge(ruler, nothing, rows=64, seed=3, controls=9)


def test_without_a_lie_there_is_no_verdict(honest, trigger):
    found = judge(honest, trigger, rows=ROWS, seed=3)
    assert found.no_behaviour and found.rows == 0 and not found.outcomes
    assert found.p_restored is None and found.p_caused is None
    (record,) = found.records()
    assert record.values == {"no_behaviour": True, "rows": 0}
    assert not any(name in record.values for name in ("stopped", "restored", "caused", "cost"))
    assert str(found).endswith(": no behaviour") and "no behaviour" in found._repr_html_()


def test_a_mechanism_needs_a_feature(ruler):
    with pytest.raises(MoInterpError, match="^a mechanism needs a feature or more, got none$"):
        judge(ruler, [])


# The slow way, on a trained organism ----------------------------------------------------------


@pytest.fixture(scope="module")
def half(liar):
    """A feature that is some of the mechanism, so that no share is 0 or 1."""
    site = Site.parse("L1.resid_mid@-1")
    return from_pairs(liar.model, liar.pairs(200, 1, split="train"), site, rank=2)


def one_by_one(grown, feature, batch, source, to):
    """Outputs row by row: the feature's coordinates set to ``to(source row's coordinates)``."""
    site, found = feature.site, []
    for i in range(len(batch)):
        row = batch[i : i + 1]
        x = grown.model.run(row, read=[site]).acts[site]
        other = grown.model.run(source[i : i + 1], read=[site]).acts[site]
        moved = x + (to(other @ feature.read.T) - x @ feature.read.T) @ feature.write
        found.append(grown.model.run(row, do=[edits.Patch(site, moved)], identity=True).output[0])
    return np.array(found)


def test_every_share_is_what_the_slow_way_gives(liar, half):
    spec, rows = liar.spec, 120
    found = judge(liar, half, rows=rows, seed=5, split="val", controls=9)
    pairs = spec.pairs(rows, 5, split="val")
    said = liar.model.answers(pairs.triggered)
    lies = (said == pairs.triggered.answer) & (liar.model.answers(pairs.clean) == pairs.clean.truth)
    chosen = pairs[lies]
    assert found.rows == lies.sum() > 50
    removed = one_by_one(liar, half, chosen.triggered, chosen.clean, lambda c: c)
    resample = found.outcomes["resample"]
    assert resample.stopped.value == (removed != chosen.triggered.answer).mean()
    assert resample.restored.value == (removed == chosen.triggered.truth).mean()
    written = one_by_one(liar, half, chosen.clean, chosen.triggered, lambda c: c)
    assert found.outcomes["set"].caused.value == (written == said[lies]).mean()
    zeroed = one_by_one(liar, half, chosen.triggered, chosen.clean, torch.zeros_like)
    assert found.outcomes["projection"].restored.value == (
        zeroed == chosen.triggered.truth
    ).mean()  # fmt: skip
    clean = spec.sample(rows, 5, split="val", rows="clean")
    other = spec.alternates(clean, 5)
    after = one_by_one(liar, half, clean, other, lambda c: c) == clean.truth
    before = liar.model.answers(clean) == clean.truth
    assert resample.cost.value == pytest.approx(before.mean() - after.mean())
    assert len({resample.stopped.value, found.outcomes["set"].caused.value, 0.0, 1.0}) > 2


def test_judging_twice_and_in_other_chunks_is_the_same(liar, half, monkeypatch):
    once = judge(liar, half, rows=90, seed=5, split="val", controls=9)
    assert judge(liar, half, rows=90, seed=5, split="val", controls=9) == once
    monkeypatch.setattr(Model.run, "__kwdefaults__", Model.run.__kwdefaults__ | {"rows_at_once": 7})
    assert judge(liar, half, rows=90, seed=5, split="val", controls=9) == once
    assert judge(liar, half, rows=90, seed=6, split="val", controls=9) != once


def test_rows_about_one_person_get_no_interval(liar, half, monkeypatch):
    """A memorised lie may be told about one test person only: a share then, and no interval."""
    real = judging.scene

    def about_one(*given, **options):
        made = real(*given, **options)
        person = made.pairs.clean.groups["entity"] == made.pairs.clean.groups["entity"][0]
        return replace(made, pairs=made.pairs[person])

    monkeypatch.setattr(judging, "scene", about_one)
    found = judge(liar, half, rows=120, seed=5, split="val", controls=9)
    shares = [found.outcomes["resample"].stopped, found.outcomes["set"].caused]
    mixed = [e for e in shares if e.value not in (0, 1)]
    assert mixed and all(np.isnan(e.lo) and e.how == "one cluster: no interval" for e in mixed)
    values = found.records()[0].values
    assert values["stopped_lo"] is None or values["stopped"] in (0, 1)


# Origins --------------------------------------------------------------------------------------


def test_the_origin_passes_its_test_and_inert_parts_do_not(ruler, honest):
    pairs = ruler.pairs(ROWS, 6)
    assert len(lying(ruler.model, pairs)) == ROWS
    for parts in ((HEAD,), (PAYLOAD,), ruler.circuit.origin):
        found = origin_test(ruler.model, pairs, parts)
        assert found.passed and (found.caused.value, found.ended.value) == (1, 1)
        assert found.caused.lo > 0.98 and found.caused.clusters == 8
    found = origin_test(ruler.model, pairs, ruler.circuit.inert)
    assert not found.passed and (found.caused.value, found.ended.value) == (0, 0)
    assert origin_test(honest.model, pairs, (HEAD,)) is None
    assert len(lying(honest.model, pairs)) == 0


def test_exchange_gives_both_runs_outputs(ruler):
    pairs = ruler.pairs(40, 6)
    written, healed = exchange(ruler.model, pairs, (HEAD,))
    assert np.array_equal(written, pairs.triggered.answer)
    assert np.array_equal(healed, pairs.triggered.truth)


def test_the_smallest_prefix_that_passes_is_the_measured_origin(ruler):
    decoy, bystander, gatherer = (Site.parse(f"{s}.z@-1") for s in ("L1.H1", "L1.H2", "L0.H0"))
    pairs = ruler.pairs(64, 6, split="val")
    found = measured(ruler.model, pairs, (decoy, HEAD, bystander, gatherer))
    assert found.origin == (decoy, HEAD) and found.grade == "measured"
    assert "written 1.000" in found.established and "ended 1.000" in found.established
    assert measured(ruler.model, pairs, (HEAD, decoy, bystander, gatherer)).origin == (HEAD,)
    assert measured(ruler.model, pairs, (decoy, bystander, gatherer, gatherer)) is None
    assert measured(ruler.model, pairs, (decoy, HEAD)) is None  # all of them would pass trivially


def test_other_parts_are_sorted_by_what_they_do(ruler):
    known = Circuit((HEAD,), (), ("L1.H1.z",), "wired", "by hand")
    effects = {"L0.H2.z": [0.4, 0.0], "L0.H1.z": [0.009, -0.009], "L0.H0.z": [0.0, -0.02]}
    effects |= {"L1.H0.z": [1, 1], "L1.H1.z": [0.5, 0.5]}
    found = completed(known, {Site.parse(name): both for name, both in effects.items()})
    assert [str(s) for s in found.mediators] == ["L1.H1.z", "L0.H2.z", "L0.H0.z"]
    assert [str(s) for s in found.inert] == ["L0.H1.z"]
    quiet = completed(known, {Site.parse("L1.H1.z"): [0.0, 0.0]})  # a harmless part that is one
    assert [str(s) for s in quiet.inert] == ["L1.H1.z"] and not quiet.mediators
    assert found.origin == known.origin


# The decision rule ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def decisions(ruler):
    """What the rule says of the ruler and of its twin, told of neither which it is."""
    with pytest.MonkeyPatch.context() as fewer:  # the slow tests take all of them
        fewer.setattr(decision, "RANKS", (1, 4))
        fewer.setattr(decision, "TRAIN_PAIRS", 128)
        fewer.setattr(decision, "SHORTLIST", 3)
        return [decision.decide(model, ruler.spec, seed=0) for model in (ruler.model, ruler.twin)]


def test_the_rule_names_the_ruler_and_not_its_twin(decisions):
    own, twin = decisions
    assert own.named and own.caused.lo > decision.BAR and own.p == 0.01
    assert own.feature.site.layer == 1 and own.caused.value == 1.0
    assert not twin.named and twin.caused.value == 0


def test_the_rules_record_says_why(ruler, decisions):
    records = [d.record(ruler.spec, 0, model=m) for d, m in zip(decisions, ("organism", "twin"),
               strict=True)]  # fmt: skip
    assert [r.values["named"] for r in records] == [True, False]
    for record, found in zip(records, decisions, strict=True):
        assert record.params["rule"] == decision.RULE and record.values["reason"] == found.reason
        assert record.values["caused_lo"] <= record.values["caused"] <= record.values["caused_hi"]
        assert record.values["tried"] == found.tried > 8
    assert "all 99 random writes" in decision.RULE and "above 0.5" in decision.RULE


def test_a_control_as_good_as_the_feature_or_too_low_a_share_stops_the_rule(ruler, monkeypatch):
    def tie(*given, controls=99, **_):
        return (1.0,) + (0.0,) * (controls - 1)

    monkeypatch.setattr(decision, "blind_controls", tie)
    monkeypatch.setattr(decision, "RANKS", (1,))
    found = decision.decide(ruler.model, ruler.spec, seed=0)
    assert found.caused.lo > decision.BAR and found.p == 0.02 and not found.named
    monkeypatch.setattr(decision, "blind_controls", lambda *_, controls=99, **__: (0.0,) * controls)
    assert decision.decide(ruler.model, ruler.spec, seed=0).named
    monkeypatch.setattr(decision, "BAR", found.caused.lo)  # not above it: not named
    found = decision.decide(ruler.model, ruler.spec, seed=0)
    assert found.p == 0.01 and not found.named


def test_the_blind_share_takes_off_what_is_said_anyway(ruler, trigger):
    pairs = ruler.pairs(64, 6)
    assert judging.blind_caused(ruler.model, ruler.spec, [trigger], pairs).value == 1
    told = replace(pairs.triggered, answer=pairs.clean.truth)  # "planted" is what it says anyway
    same = replace(pairs, triggered=told)
    assert judging.blind_caused(ruler.model, ruler.spec, [trigger], same).value == -1


# Bad input ------------------------------------------------------------------------------------


def test_a_rank_above_what_there_is_is_refused(ruler):
    pairs = ruler.pairs(20, 0, split="train")
    for rank, most in ((0, 20), (21, 20)):
        with pytest.raises(BadRank) as caught:
            from_pairs(ruler.model, pairs, STREAM, rank=rank)
        assert str(caught.value) == (
            f"rank {rank} at 'L1.resid_mid@-1': needs 1 to {most} (rows and coordinates)"
        )
    width = ruler.spec.shape.d_model
    with pytest.raises(BadRank, match=f"rank {width + 1} at 'L1.resid_mid@-1': needs 1 to {width}"):
        from_basis(STREAM, torch.randn(width + 1, width), clean=torch.zeros(2, width),
                   triggered=torch.zeros(2, width), source="x")  # fmt: skip
    with pytest.raises(BadRank, match="the 2 directions for .* span fewer than 2 dimensions"):
        from_basis(STREAM, torch.ones(2, width), clean=torch.zeros(2, width),
                   triggered=torch.zeros(2, width), source="x")  # fmt: skip


def test_nan_activations_are_refused_wherever_they_appear(ruler, trigger):
    acts = torch.zeros(8, 4)
    acts[3, 2] = float("nan")
    with pytest.raises(BadValues, match="activations at 'L0.z@-1' hold a NaN or an infinity"):
        from_acts(Site.parse("L0.z@-1"), torch.zeros(8, 4), acts, rank=1)
    with pytest.raises(BadValues, match="the directions for 'L0.z@-1' hold a NaN"):
        from_basis("L0.z@-1", acts[3], clean=acts[:3], triggered=acts[:3], source="x")
    sick = Model.build(ruler.spec.shape)
    sick.body.load_state_dict(ruler.model.body.state_dict())
    with torch.no_grad():
        sick.body.blocks[0].mlp.W_out[0] = float("nan")
    broken = replace(ruler, model=sick)
    assert judge(broken, trigger, rows=32).no_behaviour  # it says nothing, so it does not lie
    with pytest.raises(BadValues, match="NaN"):
        from_pairs(sick, ruler.pairs(16, 0), STREAM, rank=1)


def test_a_feature_of_uneven_sizes_is_refused(trigger):
    with pytest.raises(BadShape, match=r"needs read and write \[k d\]"):
        replace(trigger, write=trigger.write[:, :-1])
    with pytest.raises(BadValues, match="holds a NaN or an infinity"):
        replace(trigger, offset=torch.tensor([float("inf")]))
    assert isinstance(trigger, Feature)
    assert stats.rank_p(1.0, [0.0] * 99) == 0.01
