"""The laws of the one door for hooks, on every kind of shape."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from bodies import SHAPES, TINY, built, name, prompts

from mo_interp.audit import hooks_in
from mo_interp.errors import BadShape, BadSite, BadValues, DeadEdit, SpecError, UnknownName
from mo_interp.model import Model
from mo_interp.sites import Site
from mo_interp.worlds.base import Batch

SQUARE = ("pattern", "attn_scores")


@dataclass(frozen=True)
class Put:
    """Given values at a site."""

    site: Site
    values: torch.Tensor

    def __call__(self, x: torch.Tensor, rows: slice) -> torch.Tensor:
        """The values of these rows."""
        return self.values[rows]


@dataclass(frozen=True)
class Do:
    """Any function of a site's values."""

    site: Site
    change: Callable[[torch.Tensor], torch.Tensor]

    def __call__(self, x: torch.Tensor, rows: slice) -> torch.Tensor:
        """The changed values."""
        return self.change(x)


PARTS = ("attn_out", "attn_out mlp_out", "z", "z post", "q k v", "pattern v", "attn_scores v pre")


def _needs_mlp(group: list[str]) -> bool:
    return any(glob.endswith(("pre", "post", "mlp_out")) and "resid" not in glob for glob in group)


def put(site: str, values: torch.Tensor) -> Put:
    return Put(Site.parse(site), values)


def do(site: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Do:
    return Do(Site.parse(site), change)


def noisy(x: torch.Tensor) -> torch.Tensor:
    return x + torch.randn(x.shape, generator=torch.Generator().manual_seed(1))


def close(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Equal to 1e-5 of the largest value of ``y`` (of 1, where they are smaller)."""
    return torch.allclose(x, y, rtol=0, atol=1e-5 * max(1.0, y.abs().max().item()))


def batch(n: int = 6) -> Batch:
    """Rows whose trigger and entity move; the second half has no near miss."""
    rng = np.random.default_rng(0)
    first, half = rng.integers(0, 5, n), np.arange(n) < n // 2
    return Batch(
        tokens=prompts(n).numpy(),
        truth=np.zeros(n, int),
        answer=np.zeros(n, int),
        triggered=half,
        near_miss=half.astype(np.int8),
        roles={
            "trigger": np.stack([first, first + 1], 1),
            "entity": rng.integers(0, 7, (n, 1)),
            "near_miss": np.where(half, 2, -1)[:, None],
            "answer": np.full((n, 1), 6),
        },
    )


@pytest.fixture(scope="module")
def model() -> Model:
    return built(TINY)


# 1. A dead edit raises --------------------------------------------------------------------------


def test_an_edit_that_changes_no_row_raises(model):
    kept = [do("L0.z@-1", lambda x: x)]
    with pytest.raises(DeadEdit) as caught:
        model.run(prompts(), do=kept)
    assert str(caught.value) == (
        "Do at 'L0.z@-1' changed no row; if it is meant to, say identity=True"
    )
    assert torch.equal(
        model.run(prompts(), do=kept, identity=True).logits, model.run(prompts()).logits
    )


def test_an_edit_that_never_fires_raises(model):
    stream = model.run(prompts(), "L1.resid_pre").acts["L1.resid_pre"]
    with pytest.raises(DeadEdit, match="Do at 'L0.mlp_out' never fired: the run does not pass"):
        model.run(None, do=[do("L0.mlp_out", noisy)], start=(1, stream))
    with pytest.raises(BadSite, match="L0.z: not reached in this run"):
        model.run(None, "L0.z", start=(1, stream))


@pytest.mark.parametrize("row", [0, 4])
@pytest.mark.parametrize("rows_at_once", [1, 2, 100])
def test_one_changed_row_is_enough_whichever_chunk_it_is_in(model, rows_at_once, row):
    values = model.run(prompts(), "L0.attn_out").acts["L0.attn_out"]
    values[row] = noisy(values[row])
    run = model.run(prompts(), do=[put("L0.attn_out", values)], rows_at_once=rows_at_once)
    plain = model.run(prompts())
    same = [close(run.logits[i], plain.logits[i]) for i in range(5)]
    assert same == [i != row for i in range(5)]


def test_of_two_edits_the_dead_one_is_named(model):
    edits = [do("L0.post", noisy), do("L1.q", lambda x: x.clone())]
    with pytest.raises(DeadEdit, match="'L1.q' changed no row"):
        model.run(prompts(), do=edits)


@pytest.mark.parametrize("shape", SHAPES, ids=name)
def test_patching_a_run_into_itself_gives_exactly_its_logits(shape):
    model = built(shape)
    for site in model.sites:
        run = model.run(prompts(), [site])
        again = model.run(prompts(), do=[Put(site, run.acts[site])], identity=True)
        assert torch.equal(again.logits, run.logits), site


@pytest.mark.parametrize("at", ["@trigger", "@trigger[1]", "@entity", "@3", "@-1", "[1:3]@trigger"])
def test_patching_a_piece_of_a_run_into_itself_gives_exactly_its_logits(model, at):
    for kind in ("resid_mid", "k", "H1.z", "pre"):
        place = f"L1.{kind}{at}"
        run = model.run(batch(), place)
        again = model.run(batch(), do=[put(place, run.acts[place])], identity=True)
        assert torch.equal(again.logits, run.logits), place


@pytest.mark.parametrize("shape", SHAPES, ids=name)
def test_patching_everything_recovers_everything(shape):
    model, here, there = built(shape), prompts(seed=1), prompts(seed=2)
    groups = [["embed"], ["embed", "pos_embed"], *([str(s)] for s in model.sites if s.cut)]
    groups += [["embed", *(f"L*.{kind}" for kind in kinds.split())] for kinds in PARTS]
    for group in groups if not shape.attn_only else [g for g in groups if not _needs_mlp(g)]:
        sites = [s for glob in group for s in model.sites.match(glob)]
        donor = model.run(there, sites, do=[Do(s, noisy) for s in sites])
        patches = [Put(s, donor.acts[s]) for s in sites]
        assert close(model.run(here, do=patches).logits, donor.logits), group
        assert not close(model.run(here, do=patches[:1]).logits, donor.logits) or len(sites) == 1


@pytest.mark.parametrize("shape", SHAPES, ids=name)
def test_all_parts_of_a_cut_make_the_cut(shape):
    model = built(shape)
    acts = model.run(prompts(), list(model.sites)).acts
    stream = acts["embed"] + acts["pos_embed"]
    for layer in range(shape.n_layers):
        assert close(stream, acts[f"L{layer}.resid_pre"])
        stream = stream + acts[f"L{layer}.attn_out"]
        if not shape.attn_only:
            assert close(stream, acts[f"L{layer}.resid_mid"])
            stream = stream + acts[f"L{layer}.mlp_out"]
        assert close(stream, acts[f"L{layer}.resid_post"])


# Reads and edits --------------------------------------------------------------------------------


def test_reads_see_edits_at_their_site_and_below_it(model):
    plain = model.run(prompts(), ["L0.attn_out", "L0.resid_mid", "L0.resid_pre"]).acts
    raised = model.run(
        prompts(), ["L0.resid_*", "L0.attn_out"], do=[do("L0.attn_out@2", lambda x: x + 3)]
    ).acts
    wanted = torch.zeros(7, 1)
    wanted[2] = 3
    for site in ("L0.attn_out", "L0.resid_mid"):
        assert close(raised[site] - plain[site], wanted.expand_as(plain[site]))
    assert torch.equal(raised["L0.resid_pre"], plain["L0.resid_pre"])


def test_edits_at_one_site_apply_in_order(model):
    add, double = do("L0.z", lambda x: x + 1), do("L0.z", lambda x: 2 * x)
    z = model.run(prompts(), "L0.z").acts["L0.z"]
    read = [
        model.run(prompts(), "L0.z", do=pair).acts["L0.z"]
        for pair in ([add, double], [double, add])
    ]
    assert torch.equal(read[0], 2 * (z + 1))
    assert torch.equal(read[1], 2 * z + 1)


def test_an_edit_of_a_head_and_one_of_the_whole_meet(model):
    z = model.run(prompts(), "L0.z").acts["L0.z"]
    edits = [do("L0.H1.z", lambda x: 0 * x), do("L0.z", lambda x: x + 1)]
    found = model.run(prompts(), ["L0.z", "L0.H1.z"], do=edits).acts
    wanted = z.clone()
    wanted[..., 4:8] = 0
    assert torch.equal(found["L0.z"], wanted + 1)
    assert torch.equal(found["L0.H1.z"], torch.ones_like(found["L0.H1.z"]))


def test_an_edit_in_place_is_an_edit_and_changes_no_other_run(model):
    before = model.run(prompts(), ["pos_embed", "L0.H1.q@-1"])
    edits = [do("pos_embed", lambda x: x.mul_(2)), do("L0.H1.q@-1", lambda x: x.add_(1))]
    found = model.run(prompts(), ["pos_embed"], do=edits).acts
    assert torch.equal(found["pos_embed"], 2 * before.acts["pos_embed"])
    again = model.run(prompts(), ["pos_embed", "L0.H1.q@-1"])
    assert torch.equal(again.logits, before.logits)
    with pytest.raises(DeadEdit):
        model.run(prompts(), do=[do("pos_embed", lambda x: x.add_(0))])


@pytest.mark.parametrize("kind", ["q", "k", "v", "z", "pattern", "attn_scores"])
def test_heads_are_slices_of_the_whole(model, kind):
    acts = model.run(prompts(), [f"L1.{kind}", f"L1.H*.{kind}"]).acts
    heads = torch.cat([acts[f"L1.H{head}.{kind}"] for head in range(3)], -1)
    assert torch.equal(heads, acts[f"L1.{kind}"])
    width = 7 if kind in SQUARE else 4
    assert acts[f"L1.H0.{kind}"].shape == (5, 7, width)


@pytest.mark.parametrize("kind", ["v", "z", "pattern", "attn_scores"])
def test_writing_one_head_leaves_the_others(model, kind):
    site, whole = f"L0.H1.{kind}@3", f"L0.{kind}"
    before = model.run(prompts(), whole).acts[whole]
    run = model.run(prompts(), whole, do=[do(site, noisy)])
    changed = (run.acts[whole] != before).unflatten(-1, (3, -1)).any(0).any(-1)
    assert changed.nonzero().tolist() == [[3, 1]]  # position, head


def test_units_are_read_and_written_alone(model):
    before = model.run(prompts(), "L1.post").acts["L1.post"]
    run = model.run(prompts(), "L1.post", do=[do("L1.post[2:5]@-1", lambda x: x + 1)])
    wanted = before.clone()
    wanted[:, -1, 2:5] += 1
    assert torch.equal(run.acts["L1.post"], wanted)
    part = model.run(prompts(), "L1.post[2:5]@-1").acts["L1.post[2:5]@-1"]
    assert torch.equal(part, before[:, -1, 2:5])


# Positions and roles ----------------------------------------------------------------------------


def test_a_position_is_read_as_a_row_and_all_as_a_run(model):
    acts = model.run(prompts(), ["L0.resid_pre", "L0.resid_pre@-1", "L0.resid_pre@2"]).acts
    assert torch.equal(acts["L0.resid_pre@-1"], acts["L0.resid_pre"][:, -1])
    assert torch.equal(acts["L0.resid_pre@2"], acts["L0.resid_pre"][:, 2])
    pattern = model.run(prompts(), ["L0.H2.pattern", "L0.H2.pattern@4"]).acts
    assert torch.equal(pattern["L0.H2.pattern@4"], pattern["L0.H2.pattern"][:, 4])


@pytest.mark.parametrize("kind", ["resid_pre", "H2.z", "H0.pattern", "post[1:4]"])
def test_a_role_is_resolved_row_by_row(model, kind):
    rows = batch()
    at = rows.roles["trigger"]
    names = [f"L1.{kind}{role}" for role in ("", "@trigger", "@trigger[1]", "@entity")]
    whole, both, second, entity = model.run(rows, names).acts.values()
    for row in range(len(rows)):
        assert torch.equal(both[row], whole[row, at[row]])
        assert torch.equal(second[row], whole[row, at[row, 1]])
        assert torch.equal(entity[row], whole[row, rows.roles["entity"][row, 0]])


@pytest.mark.parametrize("kind", ["mlp_out", "k", "H2.v", "attn_scores"])
def test_a_write_at_a_role_is_the_write_at_each_row_s_positions(model, kind):
    rows = batch()
    plain = model.run(rows, f"L0.{kind}").acts[f"L0.{kind}"]
    run = model.run(rows, f"L0.{kind}", do=[do(f"L0.{kind}@trigger", noisy)])
    changed = (run.acts[f"L0.{kind}"] != plain).any(-1).numpy()
    wanted = np.zeros_like(changed)
    np.put_along_axis(wanted, rows.roles["trigger"], True, axis=1)
    assert (changed == wanted).all()
    for row in range(len(rows)):
        values = run.acts[f"L0.{kind}"][row : row + 1]
        alone = model.run(rows[[row]], do=[put(f"L0.{kind}", values)])
        assert close(alone.logits[0], run.logits[row])


def test_roles_that_are_not_there_are_refused(model):
    rows = batch()
    with pytest.raises(UnknownName, match="role '@triger' .* did you mean 'trigger'"):
        model.run(rows, "L0.z@triger")
    with pytest.raises(BadSite, match="3 of 6 rows have no such role"):
        model.run(rows, "L0.z@near_miss")
    with pytest.raises(BadSite, match="the role has 2 positions"):
        model.run(rows, "L0.z@trigger[2]")
    with pytest.raises(BadSite, match="names a role; run the Batch, not its tokens"):
        model.run(rows.tokens, "L0.z@trigger")
    with pytest.raises(BadSite, match="this run has positions 0-6"):
        model.run(rows, "L0.z@7")


def test_sites_outside_the_model_are_refused_before_anything_runs(model):
    for given, answer in {
        "L2.resid_post": "this model has layers 0-1",
        "L0.H3.z": "this model has heads 0-2 of z",
        "L0.resid_pst": "did you mean 'resid_post'?",
        "L0.post[8:12]": "has units 0-9 in this model",
        "L*.mpl_out": "no site of this model matches",
    }.items():
        with pytest.raises(BadSite, match=answer.replace("?", "\\?")):
            model.run(prompts(), given)
    with pytest.raises(BadSite, match="layers 0-1"):
        model.run(prompts(), do=[do("L5.z", noisy)])
    with pytest.raises(BadSite, match="does not offer resid_mid"):
        built(replace(TINY, attn_only=True)).run(prompts(), "L0.resid_mid")


def test_what_was_not_read_is_named(model):
    with pytest.raises(BadSite, match="'L1.z' was not read; read: L0.z@-1"):
        model.run(prompts(), "L0.z@-1").acts["L1.z"]


# Exceptions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda x: x[:, :1], BadShape),
        (lambda x: x / 0, BadValues),
        (lambda x: x * float("nan"), BadValues),
        (lambda x: 1 / 0, ZeroDivisionError),
        (lambda x: x, DeadEdit),
    ],
)
@pytest.mark.parametrize("kind", ["resid_pre", "attn_scores", "H1.z@-1"])
def test_an_exception_leaves_no_hook_behind(model, change, error, kind):
    before, plain = hooks_in(model.body), model.run(prompts()).logits
    with pytest.raises(error):
        model.run(prompts(), "L*.z", do=[do("L0.post", noisy), do(f"L1.{kind}", change)])
    assert hooks_in(model.body) == before
    assert torch.equal(model.run(prompts()).logits, plain)


def test_a_nan_in_one_row_is_enough(model):
    def one(x):
        x[3, 0] = float("nan")
        return x

    with pytest.raises(BadValues) as caught:
        model.run(prompts(), do=[do("L0.H1.q@2", one)], rows_at_once=2 + 3)
    assert str(caught.value) == "edit at 'L0.H1.q@2' wrote a NaN or an infinity"


def test_bad_tokens_are_refused(model):
    with pytest.raises(BadShape, match="with a row or more, got \\[0, 7\\]"):
        model.run(prompts()[:0])
    with pytest.raises(BadShape, match="got \\[7\\]"):
        model.run(prompts()[0])
    with pytest.raises(BadShape, match="tokens have 9 positions; n_ctx is 7"):
        model.run(prompts(pos=9))
    with pytest.raises(BadValues, match="this model has 0-10"):
        model.run(prompts() + 5)


# Equal ways to the same logits ------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=name)
def test_explicit_attention_equals_the_fused_kind(shape):
    model = built(shape)
    fused, explicit = model.run(prompts()), model.run(prompts(), "L0.pattern")
    assert close(explicit.logits, fused.logits)
    answer = model.run(prompts(), "L1.pattern", answer_only=True)
    assert close(answer.logits[:, 0], fused.logits[:, -1])


@pytest.mark.parametrize("shape", SHAPES, ids=name)
def test_answer_only_equals_the_last_position_of_a_full_run(shape):
    model = built(shape)
    sites = [s.at(-1) for s in model.sites if s.layer is not None]
    sites = [s for s in sites if s.kind not in ("k", "v")]
    full, short = (model.run(prompts(), sites, answer_only=on) for on in (False, True))
    assert short.logits.shape == (5, 1, shape.d_vocab_out)
    assert close(short.logits[:, 0], full.logits[:, -1])
    for site in sites:
        finite = full.acts[site].isfinite()
        assert close(short.acts[site][finite], full.acts[site][finite]), site


def test_answer_only_takes_edits_at_the_answer_and_refuses_them_elsewhere(model):
    rows = batch()
    for place in ("L1.H0.z@-1", "L1.mlp_out@6", "L1.resid_mid@answer", "L1.k@2", "L0.post@trigger"):
        full, short = (
            model.run(rows, do=[do(place, noisy)], answer_only=on) for on in (False, True)
        )
        assert close(short.logits[:, 0], full.logits[:, -1]), place
    for place in ("L1.z@0", "L1.mlp_out@-2", "L1.q@5", "L1.pattern@1"):
        with pytest.raises(BadSite, match="answer_only computes only the last position"):
            model.run(rows, place, answer_only=True)
    with pytest.raises(BadSite, match="outside what this run computed"):
        model.run(rows, "L1.z@trigger", answer_only=True)


def test_answer_only_knows_the_last_position_of_short_prompts(model):
    short = prompts(pos=4)
    full = model.run(short, "L1.z@3").acts["L1.z@3"]
    assert close(model.run(short, "L1.z@3", answer_only=True).acts["L1.z@3"], full)
    with pytest.raises(BadSite, match="positions 0-3"):
        model.run(short, "L1.z@6", answer_only=True)
    assert model.run(prompts(pos=1), "L1.z@0").acts["L1.z@0"].shape == (5, 12)


@pytest.mark.parametrize("shape", SHAPES, ids=name)
def test_starting_from_a_cached_stream_equals_the_whole_run(shape):
    model = built(shape)
    whole = model.run(prompts(), ["L1.resid_pre", "L1.attn_out"])
    stream = whole.acts["L1.resid_pre"]
    later = model.run(None, ["L1.attn_out"], start=(1, stream))
    assert close(later.logits, whole.logits)
    assert close(later.acts["L1.attn_out"], whole.acts["L1.attn_out"])


def test_a_start_takes_roles_from_the_batch_and_must_fit_it(model):
    rows = batch()
    stream = model.run(rows, "L1.resid_pre").acts["L1.resid_pre"]
    edit = do("L1.z@trigger", noisy)
    wanted = model.run(rows, do=[edit]).logits
    for rows_at_once in (4, 100):
        run = model.run(
            rows,
            do=[do("L1.z@entity", lambda x: x + 1)],
            start=(1, stream),
            rows_at_once=rows_at_once,
        )
        full = model.run(rows, do=[do("L1.z@entity", lambda x: x + 1)])
        assert close(run.logits, full.logits)
    assert close(model.run(rows, do=[edit], start=(1, stream)).logits, wanted)
    with pytest.raises(BadShape, match="of as many rows"):
        model.run(rows, start=(1, stream[:2]))
    with pytest.raises(BadShape, match="run needs tokens"):
        model.run(None)


@pytest.mark.parametrize("rows_at_once", [1, 2, 5])
def test_batch_size_changes_no_score(model, rows_at_once):
    rows = batch()
    values = model.run(batch(), "L0.resid_mid@trigger").acts["L0.resid_mid@trigger"]
    values = noisy(values)
    edits = [put("L0.resid_mid@trigger", values), do("L1.H1.pattern@entity", lambda x: x**2)]
    one = model.run(rows, ["L1.mlp_out", "L0.q@trigger"], do=edits)
    many = model.run(rows, ["L1.mlp_out", "L0.q@trigger"], do=edits, rows_at_once=rows_at_once)
    assert close(many.logits, one.logits)
    for site, x in one.acts.items():
        assert close(many.acts[site], x), site


# Global state, graphs and files -----------------------------------------------------------------


def test_global_state_is_untouched(tmp_path):
    random.seed(1), np.random.seed(2), torch.manual_seed(3)

    def state():
        return (
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.get_rng_state().tolist(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.get_num_threads(),
        )

    before = state()
    model = Model.build(TINY, seed=5)
    model.run(batch(), "L*.*", do=[do("L0.z@trigger", noisy)])
    model.run(prompts(), "L0.pattern", grad=True)
    with pytest.raises(BadValues):
        model.run(prompts(), do=[do("L0.z", lambda x: x / 0)], grad=True)
    model.save(tmp_path)
    Model.load(tmp_path)
    assert state() == before


def test_equal_seeds_build_equal_models_and_others_do_not():
    one, again, other = (Model.build(TINY, seed).run(prompts()).logits for seed in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_graph_is_kept_only_where_it_is_asked_for(model):
    assert not model.run(prompts()).logits.requires_grad
    kept = []

    def leaf(x):
        kept.append(x.detach().requires_grad_())
        return kept[0] + 0

    run = model.run(prompts(), do=[do("L0.H1.z", leaf)], grad=True, identity=True)
    (slope,) = torch.autograd.grad(run.logits[:, -1, 0].sum(), kept)
    step = 1e-2 * torch.sign(slope)
    moved = model.run(prompts(), do=[put("L0.H1.z", kept[0].detach() + step)])
    gained = (moved.logits - run.logits)[:, -1, 0].sum().item()
    assert gained == pytest.approx((slope * step).sum().item(), rel=0.1)


@pytest.mark.parametrize("shape", SHAPES, ids=name)
def test_a_saved_model_opens_with_the_same_bits(shape, tmp_path):
    model = built(shape)
    model.save(tmp_path)
    again = Model.load(tmp_path)
    assert again.shape == shape
    assert again.sites == model.sites
    assert torch.equal(again.run(prompts()).logits, model.run(prompts()).logits)


def test_weights_that_do_not_fit_their_shape_are_refused(tmp_path):
    built(TINY).save(tmp_path / "a")
    built(replace(TINY, d_mlp=11)).save(tmp_path / "b")
    (tmp_path / "b" / "shape.json").write_bytes((tmp_path / "a" / "shape.json").read_bytes())
    with pytest.raises(BadShape, match="b/model.safetensors does not fit its shape.json"):
        Model.load(tmp_path / "b")


def test_a_bridged_model_is_not_saved_here(tmp_path):
    with pytest.raises(SpecError, match="saved by the library it came from"):
        Model(built(TINY).body, built(TINY).sites).save(tmp_path)
