"""The scoreboard: jobs that are measured once, plans, intervals, and means over seeds."""

import json
import math
import re
from dataclasses import replace

import pytest
import small
from scipy import stats as tables
from verbs import verb

from mo_interp import bench, detection, figures, scoreboard
from mo_interp.bench import parts as board
from mo_interp.errors import BadValues, CorruptArtefact, MoInterpError, SpecError, UnknownName
from mo_interp.records import Record, read_records
from mo_interp.store import Store


def detector(seed, auroc, *, organism="one", name="lda", sentence=detection.DECISION):
    return Record(
        kind="detector",
        organism=organism,
        key="k",
        seed=seed,
        params={"detector": name, "label": "trigger", "position": "answer"},
        values={
            "auroc": auroc,
            "auroc_lo": auroc - 0.1,
            "auroc_hi": auroc + 0.05,
            "auroc_how": "bootstrap",
            "random_p95": 0.7,
            "auroc_twin": 0.5,
            "sentence": sentence,
        },
    )


def null(seed, named, twin="clean", weights=None):
    told = {"organism": "one", "key": "k", "seed": seed, "model": "twin"}
    params = {"twin": twin, "weights": weights or f"{twin} {seed}"}
    return Record(kind="null", params=params, values={"named": named}, **told)


# Jobs -------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    """Two parts, the second after the first, that say how often each was measured."""
    seen = []

    def first(work):
        seen.append("first")
        return [work.record("behaviour", values={"x": 1.0})]

    def second(work):
        seen.append("second")
        assert [r.kind for r in work.records if r.kind != "timing"] == ["behaviour"]
        return [work.record("score", values={"x": 2.0})]

    made = {"first": board.Part(first, (), ("stats",))}
    made["second"] = board.Part(second, ("first",), ("stats",))
    monkeypatch.setattr(board, "PARTS", made)
    monkeypatch.setattr("mo_interp.bench.running.PARTS", made)
    return seen


def job(out, parts=("first", "second")):
    return bench.Bench(small.wired("ours"), 0, out=str(out), parts=parts)


def test_what_is_there_is_not_measured_again(counted, tmp_path):
    store, one = Store(tmp_path / "store"), job(tmp_path)
    assert not one.done(store) and one.left() == ["first", "second"]
    one.do(store, lambda *_: None)
    assert counted == ["first", "second"] and one.done(store)
    one.do(store, lambda *_: None)
    assert counted == ["first", "second"]
    one.path("second").unlink()  # as if it had been killed in between
    one.do(store, lambda *_: None)
    assert counted == ["first", "second", "second"]
    kinds = [r.kind for r in bench.gather(tmp_path, [one])]
    assert kinds == ["behaviour", "timing", "score", "timing"]


def test_a_part_made_after_something_else_is_measured_again(counted, tmp_path):
    store, one = Store(tmp_path / "store"), job(tmp_path)
    one.do(store, lambda *_: None)
    one.path("first").unlink()
    assert one.left() == ["first", "second"]
    one.do(store, lambda *_: None)
    assert counted == ["first", "second"] * 2


def test_an_edited_part_is_named_and_refused(counted, tmp_path):
    one = job(tmp_path)
    one.do(Store(tmp_path / "store"), lambda *_: None)
    one.path("first").write_text(one.path("first").read_text().replace("1.0", "0.9"))
    with pytest.raises(CorruptArtefact, match=r"first.jsonl was changed"):
        one.left()


def test_parts_bring_those_they_follow():
    assert board.with_needed(["mechanism"]) == tuple(
        part for part in board.PARTS if part in {*board.PARTS["mechanism"].after, "mechanism"}
    )
    assert "detection" in board.with_needed(["mechanism"])
    with pytest.raises(UnknownName, match="part 'detecion'; did you mean 'detection'"):
        board.with_needed(["detecion"])
    with pytest.raises(SpecError, match="one seed or more"):
        bench.jobs(["hand_wired"], seeds=0, parts=["null"])


def test_other_code_makes_a_part_stale(counted, tmp_path, monkeypatch):
    one = job(tmp_path, ("first",))
    one.do(Store(tmp_path / "store"), lambda *_: None)
    assert one.done(Store(tmp_path / "store"))
    changed = {"first": replace(board.PARTS["first"], roots=("stats", "sites"))}
    monkeypatch.setattr("mo_interp.bench.running.PARTS", changed)
    assert one.left() == ["first"]


# The verb ---------------------------------------------------------------------------------------


def test_the_verb_measures_tells_and_goes_on(tmp_path):
    out = tmp_path / "out"
    words = ["hand_wired", "--part", "null", "--out", str(out)]
    told = json.loads(verb("bench", *words, "--plan", "--interval", "0.1", "--json").stdout)
    assert told["left"] == 1 and told["rows_needed"] == bench.rows_needed(0.1)
    written = json.loads(verb("bench", *words, "--json").stdout)["written"]
    found = read_records(out / "records.jsonl")
    (alarm,) = [r for r in found if r.kind == "null" and r.organism == "all"]
    assert alarm.values["models"] == 1 and not alarm.values["named"]
    (score,) = [r for r in found if r.kind == "score"]
    assert score.params["method"] == "decision rule on the clean twin" and not score.values["mean"]
    assert any(path.endswith("scoreboard.md") for path in written)
    assert "named a mechanism in 0" in (out / "scoreboard.md").read_text()
    assert json.loads(verb("bench", *words, "--plan", "--json").stdout)["left"] == 0


# How many ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [0.2, 0.1, 0.05, 0.03])
def test_rows_needed_is_the_fewest(half):
    n = bench.rows_needed(half)

    def width(rows):
        k = rows // 2
        lo, hi = tables.beta.ppf([0.025, 0.975], [k, k + 1], [rows - k + 1, rows - k])
        return (hi - lo) / 2

    assert width(n) <= half < width(n - 2)


def test_seeds_needed_is_the_fewest():
    each, half = [0.9, 0.8, 1.0, 0.7], 0.1
    n, spread = bench.seeds_needed(each, half), math.sqrt(0.05 / 3)

    def width(k):
        return tables.t.ppf(0.975, k - 1) * spread / math.sqrt(k)

    assert width(n) <= half < width(n - 1)
    assert bench.seeds_needed([0.5], half) is None
    assert bench.seeds_needed([0.5, 0.5], half) == 2
    assert bench.seeds_needed([0.0, 1.0], 1e-3) is None


def test_widths_that_mean_nothing_are_refused():
    with pytest.raises(BadValues, match="between 0 and 0.5"):
        bench.rows_needed(0.5)
    with pytest.raises(BadValues, match="above 0"):
        bench.seeds_needed([0.1, 0.2], 0.0)


# Scores -----------------------------------------------------------------------------------------


def test_means_over_seeds_stand_with_interval_chance_and_twin():
    found = bench.scores([detector(0, 0.8), detector(1, 0.9), detector(2, 1.0)])
    auroc, reads = found
    half = tables.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert auroc.values["mean"] == pytest.approx(0.9)
    assert auroc.values["mean_lo"] == pytest.approx(0.9 - half)
    assert auroc.values["mean_hi"] == 1.0 < 0.9 + half  # an AUROC cannot be more
    assert auroc.values["mean_n"] == 3 and auroc.values["seeds"] == (0, 1, 2)
    assert (auroc.values["random"], auroc.values["twin"]) == pytest.approx((0.7, 0.5))
    assert reads.values["mean"] == 1.0
    assert reads.values["mean_lo"] == pytest.approx(0.025 ** (1 / 3))


def test_one_seed_has_the_interval_of_its_rows_and_says_so():
    (auroc, _) = bench.scores([detector(0, 0.8)])
    assert (auroc.values["mean_lo"], auroc.values["mean_hi"]) == pytest.approx((0.7, 0.85))
    assert auroc.values["mean_how"] == "one seed, over its rows: bootstrap"
    assert auroc.values["seeds_needed"] is None


def test_organisms_and_keys_are_never_pooled():
    two = [detector(0, 0.8), detector(0, 0.6, organism="two"), replace(detector(1, 0.4), key="old")]
    means = [r.values["mean"] for r in bench.scores(two) if "AUROC" in r.params["measure"]]
    assert means == [0.8, 0.6, 0.4]


def test_a_model_counts_once_among_the_null_runs():
    runs = [null(0, False), null(1, True), null(1, True), null(1, False, "benign")]
    runs.append(null(7, False, weights="clean 0"))  # weights by hand are alike for every seed
    told = bench.false_alarms(runs)
    assert (told.values["named"], told.values["models"]) == (1, 3)
    assert told.values["which"] == ("one seed 1, clean",)
    assert bench.false_alarms([*runs, told]).values == told.values  # its own record is no run
    assert bench.false_alarms([]) is None


def test_a_detector_without_a_sentence_is_not_said_to_read_nothing():
    for sentence in ("", detection.EITHER):
        found = bench.scores([detector(s, 0.9, sentence=sentence) for s in range(3)])
        assert [r.params["measure"] for r in found] == ["AUROC, trigger at the answer"]
    both = bench.scores([detector(0, 0.9, sentence="reads both: 97 % the decision")])
    assert both[1].values["mean"] == 0.0 and both[1].params["measure"].endswith("alone")


def removal(kind, seed, **values):
    told = {"organism": "one", "key": "k", "seed": seed, "params": {"method": "heads"}}
    return Record(kind=kind, values=values, **told)


def test_a_cure_that_failed_counts_and_one_without_behaviour_does_not():
    found = bench.scores([
        removal("certificate", 0, word="removed", complete=True),
        removal("certificate_skipped", 1, reason="nothing found"),
        removal("certificate", 2, word="no behaviour", complete=False),
    ])  # fmt: skip
    (score,) = found
    assert score.values["each"] == (1.0, 0.0) and score.values["seeds"] == (0, 1)


def test_weights_written_by_hand_are_measured_once_however_many_seeds_are_asked_for():
    made = bench.jobs(["hand_wired", "quirky_user"], seeds=3, parts=["planted"])
    assert [(one.spec.name, one.seed) for one in made] == [
        ("hand_wired", 0),
        *(("quirky_user", seed) for seed in range(3)),
    ]


def cured(seed, restored, control, again):
    """What a certificate measures, for one seed: its controls, and how fast both models learn."""
    told = {"organism": "one", "key": "k", "seed": seed}
    method = {"method": "heads"}
    steps = {"twin": 40, "cured": again}
    return [
        Record(
            kind="removal_d", params=method, values={"stopped": 1.0, "restored": restored}, **told
        ),
        Record(
            kind="removal_controls", params=method, values={"random_restored": control}, **told
        ),
        *(
            Record(
                kind="relearning",
                model="twin" if of == "twin" else "",
                params={**method, "of": of},
                values={"median": median},
                **told,
            )
            for of, median in steps.items()
        ),
    ]


def test_a_cure_stands_beside_its_own_seeds_controls_and_what_the_twin_needs_to_learn():
    found = bench.scores([*cured(0, 1.0, (0.0, 0.2), 10), *cured(1, 0.5, (0.4, None), None)])
    said = {r.params["measure"]: r.values for r in found}
    assert said["restored"]["each"] == (1.0, 0.5)
    assert said["restored"]["random"] == pytest.approx((0.1 + 0.4) / 2)
    assert said["stopped"]["random"] is None  # nobody measured how often chance stops it
    again = said["steps to re-learn, over the twin's"]
    assert again["each"] == (0.25, 2.0) and again["twin"] == 1.0
    assert again["mean_lo"] == 0.0 and again["mean_hi"] == 2.0


def test_what_the_search_causes_in_the_organism_stands_beside_what_it_causes_in_the_twin():
    told = {"organism": "one", "key": "k", "seed": 0}
    params = {"mechanism": "blind search", "edit": "set"}
    rule = {"named": False, "caused": 0.125}
    found = bench.scores([
        Record(kind="decision", model="twin", values=rule, **told),
        Record(kind="verdict", model="organism", params=params, values={"caused": 1.0}, **told),
    ])  # fmt: skip
    (caused,) = [r for r in found if r.params["measure"] == "caused, set"]
    assert caused.values["twin"] == 0.125


def test_seeds_that_are_all_alike_are_no_certainty():
    alike = bench.scores([detector(s, 0.9) for s in range(3)])[0].values
    assert (alike["mean_lo"], alike["mean_hi"]) == pytest.approx((0.8, 0.95))  # those over rows
    assert alike["mean_how"] == "seeds alike; the widest of their intervals over rows"
    apart = bench.scores([detector(s, 0.9 + 1e-4 * s) for s in range(3)])[0].values
    assert apart["mean_how"] == "t interval" and apart["mean_lo"] > 0.89


def test_seeds_for_a_share_are_those_of_its_own_interval():
    n = bench.shares_needed([1.0, 1.0, 1.0], 0.05)
    low = [0.025 ** (1 / k) for k in (n, n - 1)]  # of k out of k, the upper end is 1
    assert (1 - low[0]) / 2 <= 0.05 < (1 - low[1]) / 2
    found = bench.scores([detector(s, 0.9) for s in range(3)])
    assert found[1].values["seeds_needed"] == n and found[0].values["seeds_needed"] == 2


def test_people_seen_in_training_are_told_apart():
    told = {"kind": "verdict", "organism": "one", "key": "k", "model": "organism"}
    params = {"mechanism": "blind search", "edit": "resample"}
    found = bench.scores([
        Record(**told, seed=s, params={**params, "people": p}, values={"restored": 1.0})
        for s, p in enumerate(("test", "seen"))
    ])  # fmt: skip
    assert [r.params["measure"] for r in found] == [
        "restored, resample",
        "restored, resample, seen people",
    ]


def test_tables_and_figure_are_made_of_the_scores_alone():
    found = bench.scores([detector(0, 0.8), detector(1, 0.9)])
    text = scoreboard.markdown([*found, bench.false_alarms([null(0, False)])], command="mine")
    assert "| one | lda | AUROC, trigger at the answer | 0.850 [0.215, 1.000] | 2 |" in text
    assert "named a mechanism in 0" in text and "`mine`" in text
    drawn = figures.draw("scoreboard", found).to_plotly_json()
    assert drawn["data"][0]["z"][0] == [pytest.approx(0.85)]
    assert "chance 0.70 · twin 0.50" in str(drawn["data"][0]["text"])
    assert "n 2" in drawn["data"][0]["hovertext"][0][0]
    two = bench.scores([detector(0, 0.8), detector(0, 0.6, organism="two")])
    assert figures.draw("scoreboard", two).data[0].z[0] == pytest.approx([0.8, 0.6])


def test_the_figure_keeps_the_house_style_but_its_width():
    drawn = figures.draw("scoreboard", bench.scores([detector(0, 0.8), detector(1, 0.9)]))
    text = drawn.to_json()
    sizes = [float(x) for x in re.findall(r'"size":([\d.]+)', text)]
    assert sizes and min(sizes) * 0.75 >= 8 and drawn.layout.meta["alt"].endswith(".")
    assert set(re.findall(r"#[0-9a-fA-F]{6}\b", text)) <= set(figures.dark_colours())


def test_what_is_missing_is_said():
    with pytest.raises(MoInterpError, match="no records of kind 'score' here; `mo-interp bench"):
        figures.draw("scoreboard", [detector(0, 0.8)])
