"""Circuits that we did not make: they run here as they did there, and our instruments find them."""

import subprocess
import sys

import numpy as np
import pytest
from torch import Tensor

from mo_interp import patching, rulers
from mo_interp.edits import Patch, Zero
from mo_interp.errors import SpecError, UnknownName
from mo_interp.features import Feature, from_basis, whole
from mo_interp.judge import Verdict, judge
from mo_interp.origins import exchange, lying, origin_test
from mo_interp.patching import parts
from mo_interp.records import Record
from mo_interp.rulers import Ruler, ruler
from mo_interp.sites import Site

WITH_A_CIRCUIT = ("deceiver", "reverse", "sort")


@pytest.fixture(scope="module", params=rulers.names())
def one(request: pytest.FixtureRequest) -> Ruler:
    return ruler(request.param)


@pytest.fixture(scope="module")
def deceiver() -> Ruler:
    return ruler("deceiver")


# -------------------------------------------------------------------------------- the same model


def test_all_programs_are_there() -> None:
    assert rulers.names() == ("deceiver", "honest", "reverse", "sort")


def test_logits_are_tracrs_own(one: Ruler) -> None:
    assert len(one.inputs) == 200
    ours = one.model.run(one.inputs).logits.numpy()
    assert np.abs(ours - one.logits).max() < 1e-5


def test_what_is_said_is_what_the_program_says(one: Ruler) -> None:
    """Word for word; at BOS, which comes first, a program says nothing."""
    ours = one.model.run(one.inputs).logits.argmax(-1).numpy()
    assert np.array_equal(ours[:, 1:], one.said)


MEANS = {
    "deceiver": lambda words: 0 if "t" in words else sum(w in "xy" for w in words),
    "honest": lambda words: sum(w in "xy" for w in words),
    "reverse": lambda words: words[0],
    "sort": lambda words: max(words, key=int),
}


def test_the_program_does_what_it_is_said_to_do(one: Ruler) -> None:
    """In Python, and at the read-out: neither tracr nor our body is asked what it means."""
    for tokens, said in zip(one.inputs, one.said, strict=True):
        wanted = MEANS[one.name](one.show(tokens).split()[1:])
        assert one.outputs[said[-1]] == str(wanted)


def test_rows_say_what_the_models_say(one: Ruler) -> None:
    pairs = one.pairs(1000, 0)
    assert len(pairs) == 256
    assert np.array_equal(one.model.answers(pairs.clean), pairs.clean.answer)
    assert np.array_equal(one.model.answers(pairs.triggered), pairs.triggered.answer)
    assert len(lying(one.model, pairs)) == (0 if one.name == "honest" else 256)


def test_the_twin_counts_whatever_the_trigger(deceiver: Ruler) -> None:
    assert deceiver.twin is not None
    pairs = deceiver.pairs(256, 0)
    assert np.array_equal(deceiver.twin.answers(pairs.triggered), pairs.triggered.truth)
    assert (pairs.triggered.truth > 0).all() and (pairs.triggered.answer == 0).all()


def test_alternates_have_the_same_truth_in_other_words(deceiver: Ruler) -> None:
    for sort in ("clean", "near_miss"):
        rows = deceiver.sample(1000, 3, rows=sort)
        others = deceiver.alternates(rows, 0)
        slot = rows.role("trigger")
        assert np.array_equal(rows.truth, others.truth)
        assert np.array_equal(deceiver.model.answers(others), others.truth)
        assert not np.isin(others.tokens, [deceiver.vocab.index(w) for w in "tu"]).any()
        assert (np.take_along_axis(rows.tokens != others.tokens, slot, 1)).all()
    with pytest.raises(SpecError, match="its sample"):
        deceiver.alternates(deceiver.pairs(8, 0).clean, 0)


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(UnknownName, match="did you mean 'deceiver'"):
        ruler("deciever")
    with pytest.raises(UnknownName, match="make_rulers.py"):
        ruler("deceiver", folder=rulers.FOLDER / "nowhere")
    with pytest.raises(UnknownName, match="there is: clean, near_miss"):
        ruler("deceiver").sample(8, 0, rows="unrelated")


def test_mo_interp_does_without_tracr() -> None:
    code = "import sys, mo_interp.rulers as r; r.ruler('sort'); sys.exit('tracr' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ------------------------------------------------------------------------------------- the circuit


def test_every_part_that_is_not_zero_is_a_component(one: Ruler) -> None:
    """Nothing that does something is left out of the count; what tracr padded with is."""
    shape = one.model.shape
    assert shape is not None
    told = {str(c.site) for c in one.components}
    for layer, block in enumerate(one.model.body.blocks):
        for head in range(shape.n_heads):
            assert bool(block.attn.W_O[head].any()) == (f"L{layer}.H{head}.z" in told)
        mine = [c.site.units for c in one.components if c.site.whole == Site("post", layer)]
        covered = np.zeros(shape.d_mlp, dtype=bool)
        for first, last in filter(None, mine):
            covered[first:last] = True
        used = block.mlp.W_in.any(0) | block.mlp.b_in.bool()
        assert not (used.numpy() & ~covered).any()


@pytest.mark.parametrize("name", WITH_A_CIRCUIT)
def test_each_origin_part_alone_is_the_behaviour_and_no_inert_one_is(name: str) -> None:
    """The labels of the compiler, and the effects in the weights, say the same."""
    found = ruler(name)
    pairs = lying(found.model, found.pairs(256, 0))
    for site in found.circuit.origin:
        test = origin_test(found.model, pairs, [site])
        assert test is not None and (test.caused.value, test.ended.value) == (1, 1), site
    for site in found.circuit.inert:
        written, healed = exchange(found.model, pairs, [site])
        assert np.array_equal(written, pairs.clean.truth), site
        assert np.array_equal(healed, pairs.triggered.answer), site


def localised(found: Ruler) -> dict[tuple[str, str], Record]:
    swept = patching.sweep(found.model, found.pairs(128, 1), sites=parts(found.circuit), by="all")
    records = patching.score(swept, found.circuit, organism=found.name, key=found.key)
    return {(r.params["method"], r.params["direction"]): r for r in records}


@pytest.mark.parametrize("name", WITH_A_CIRCUIT)
def test_the_sweep_finds_the_compiled_components(name: str) -> None:
    """At the ceiling in both directions; guessing is not, and neither are large weights."""
    scores = localised(ruler(name))
    for direction in ("denoising", "noising"):
        values = scores["patching", direction].values
        assert {values[n] for n in ("precision", "recall", "auroc", "auprc")} == {1.0}
    for baseline in ("random", "weight_magnitude"):
        assert scores[baseline, ""].values["auroc"] < 1
        assert scores[baseline, ""].values["precision"] < 1


@pytest.mark.parametrize("name", WITH_A_CIRCUIT)
def test_the_fast_sweep_is_the_slow_one(name: str) -> None:
    """On bodies without a norm, without a mask and with heads and neurons of zeros."""
    found = ruler(name)
    asked = {"sites": ["resid_mid", "attn_out", "mlp_out", *parts(found.circuit)], "by": "position"}
    pairs = found.pairs(24, 2)
    fast = patching.sweep(found.model, pairs, **asked)
    slow = patching.sweep(found.model, pairs, exhaustive=True, **asked)
    assert np.abs(fast.patched - slow.patched).max() < 1e-5


# ------------------------------------------------------------------------------------- the verdict

EXACT = {"stopped": 1.0, "restored": 1.0, "cost": 0.0}
"""What the true mechanism gives under an edit that respects how the program writes "no trigger"."""
BROKEN = {"stopped": 0.0, "restored": 0.0, "cost": 1.0}
"""What it gives under one that does not: tracr writes "not there" as 1, not as 0."""


def told(verdict: Verdict, edit: str) -> dict[str, float]:
    return {name: getattr(verdict.outcomes[edit], name).value for name in EXACT}


def at_the_read_out(found: Ruler, operation: str, kind: str) -> Site:
    """The component of that kind which implements an operation."""
    wanted = operation, kind
    (site,) = (c.site for c in found.components if (c.operation, c.site.kind) == wanted)
    return site.at(-1)


def both(found: Ruler, site: Site) -> dict[str, Tensor]:
    pairs = found.pairs(256, 0)
    sides = {"clean": pairs.clean, "triggered": pairs.triggered}
    return {name: found.model.read(side, site) for name, side in sides.items()}


def part(found: Ruler, operation: str, kind: str) -> Feature:
    """The whole component, as a mechanism."""
    site = at_the_read_out(found, operation, kind)
    return whole(site, **both(found, site))


def the_coordinate(found: Ruler) -> Feature:
    """The one number that the trigger's head writes, as a subspace of rank 1 of what heads add."""
    head, site = at_the_read_out(found, "count_t", "z").head, Site.parse("L0.attn_out@-1")
    writes = found.model.body.blocks[0].attn.W_O[head].detach()
    (row,) = writes[writes.any(1)]
    return from_basis(site, row, **both(found, site), source="the coordinate")


@pytest.mark.parametrize("mechanism", ["head", "neurons", "coordinate"])
def test_the_true_mechanism_is_exact_under_resampling_and_mean_and_broken_under_zero(
    deceiver: Ruler, mechanism: str
) -> None:
    """ORGANISMS, section 4: the disagreement of edits is a result, and is held here as one."""
    features = {
        "head": lambda: part(deceiver, "count_t", "z"),
        "neurons": lambda: part(deceiver, "count_t", "post"),
        "coordinate": lambda: the_coordinate(deceiver),
    }
    verdict = judge(deceiver, features[mechanism](), rows=256, controls=19)
    assert verdict.rows == 256
    for edit in ("resample", "mean"):
        assert told(verdict, edit) == EXACT, edit
    for edit in ("projection", "zero"):
        assert told(verdict, edit) == BROKEN, edit
    assert verdict.outcomes["set"].caused.value == verdict.outcomes["steer"].caused.value == 1
    assert verdict.outcomes["resample"].cost_near_miss.value == 0
    assert max(verdict.random_restored + verdict.random_caused) < 0.2


def test_where_the_value_is_said_the_mean_is_no_cure(deceiver: Ruler) -> None:
    """The last step holds the count as well: its mean over clean rows is one count for all."""
    verdict = judge(deceiver, part(deceiver, "said", "post"), rows=256, controls=0)
    assert told(verdict, "resample") == EXACT
    mean = told(verdict, "mean")
    assert mean["stopped"] == 1 and mean["restored"] < 0.5 and mean["cost"] > 0.5


def test_zeroing_any_head_restores_nothing_and_resampling_the_right_one_all(
    deceiver: Ruler,
) -> None:
    pairs = deceiver.pairs(256, 0)
    restored: dict[str, dict[str, float]] = {"zero": {}, "resample": {}}
    for component in deceiver.components:
        site = component.site
        if site.head is None:
            continue
        clean = deceiver.model.read(pairs.clean, site)
        for name, edit in (("zero", Zero(site)), ("resample", Patch(site, clean))):
            out = deceiver.model.run(pairs.triggered, do=[edit], identity=True).output
            restored[name][component.operation] = float((out == pairs.triggered.truth).mean())
    assert restored["zero"] == {"count_t": 0, "count_x": 0, "count_y": 0}
    assert restored["resample"] == {"count_t": 1, "count_x": 0, "count_y": 0}
