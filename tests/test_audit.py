"""The audit passes every sound body, and names exactly the site that was made unsound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MethodType

import pytest
import torch
from bodies import SHAPES, TINY, built, gpt2, llama, name, prompts
from torch import nn
from transformer_lens.hook_points import HookPoint

from mo_interp.audit import SiteReport, audit, hooks_in, sound_sites
from mo_interp.bridge import open_huggingface
from mo_interp.errors import BadShape, BadSite, CorruptArtefact, SpecError
from mo_interp.model import Model
from mo_interp.sites import CUTS, Site, SiteSet


def unsound(model: Model) -> dict[Site, tuple[str, ...]]:
    """Failed checks by site."""
    return {report.site: report.failed for report in audit(model) if not report.sound}


class Bent(nn.Module):
    """A place whose hook works, but whose write is passed on only as ``bend(old, new)``."""

    def __init__(self, point: HookPoint, bend: Callable) -> None:
        super().__init__()
        self.point, self.bend = point, bend

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The bent value."""
        return self.bend(x, self.point(x))


def bend(model: Model, site: Site, how: Callable) -> None:
    """Put a :class:`Bent` in the place of the site's hook point."""
    owner, _, leaf = site.hook_name.rpartition(".")
    module = model.body.get_submodule(owner)
    setattr(module, leaf, Bent(model.body.hook_dict[site.hook_name], how))


def at_hook(model: Model, site: Site) -> set[Site]:
    """The offered sites that share a hook: all heads of a kind."""
    return {s for s in model.sites if s.hook_name == site.hook_name}


def ignored(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """The write is dropped."""
    return old


def halved(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """The write reaches the last units (the last keys) only."""
    x = new.clone()
    x[..., : x.shape[-1] // 2] = old[..., : x.shape[-1] // 2]
    return x


def grown(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """A write comes out a little larger than it went in."""
    return new if new is old else new * 1.001


@dataclass(frozen=True)
class Put:
    """Given values at a site."""

    site: Site
    values: torch.Tensor

    def __call__(self, x: torch.Tensor, rows: slice) -> torch.Tensor:
        """The values of these rows."""
        return self.values[rows]


ONE = replace(TINY, n_layers=1)
PARTS = [site for site in SiteSet.of(ONE) if site.head is None and not site.cut]


@pytest.mark.parametrize("shape", SHAPES, ids=name)
def test_every_site_of_every_shape_is_sound(shape):
    model = Model.build(shape)
    reports = audit(model)
    assert [r.site for r in reports] == list(model.sites)
    assert not [str(r) for r in reports if not r.sound]


@pytest.mark.parametrize("how", [ignored, halved, grown])
@pytest.mark.parametrize("site", PARTS, ids=str)
def test_a_part_made_unsound_is_named_and_nothing_else(site, how):
    model = Model.build(ONE)
    bend(model, site, how)
    assert set(unsound(model)) == at_hook(model, site)


@pytest.mark.parametrize("how", [ignored, halved, grown])
@pytest.mark.parametrize("kind", CUTS)
def test_an_unsound_cut_is_named_with_what_rests_on_it(kind, how):
    model = Model.build(TINY)
    bend(model, Site(kind, 0), how)
    found = unsound(model)
    assert Site(kind, 0) in found
    inside = {"q", "k", "v", "z", "attn_scores", "pattern", "pre", "post"}
    rests = {"resid_pre": {"q", "k"}, "resid_mid": set(), "resid_post": inside}[kind]
    assert {s.kind for s in found if s != Site(kind, 0)} <= rests
    assert {s.layer for s in found} == {0}


def test_an_identity_must_hold_to_the_last_bit():
    model = Model.build(ONE)
    bend(model, Site("resid_mid", 0), lambda old, new: new if new is old else new * (1 + 1e-6))
    assert unsound(model) == {Site("resid_mid", 0): ("identity",)}


def test_a_door_that_lets_unknown_names_pass_is_named():
    class Lax(Model):
        def run(self, tokens, read=(), **options):
            wrong = read == "L0.postx" or read == "L1.z"
            return super().run(tokens, () if wrong else read, **options)

    body = Model.build(ONE)
    failed = unsound(Lax(body.body, body.sites, ONE))
    assert failed == {
        Site("post", 0): ("names",),
        Site("z", 0): ("names",),
        **{Site("z", 0, head): ("law",) for head in range(3)},
    }


def test_a_dead_pattern_is_called_dead():
    model = Model.build(TINY)
    bend(model, Site("pattern", 0), ignored)
    failed = unsound(model)
    assert set(failed) == at_hook(model, Site("pattern", 0))
    assert all("moves" in checks for checks in failed.values())


def test_a_pattern_that_the_body_computes_past_its_hook_is_named():
    class Deaf(type(Model.build(TINY).body.blocks[0].attn)):
        def explicit(self, q, k, v):
            kept, wired = [], self.hook_attn_scores
            scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / self.d_head**0.5
            ahead = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
            kept.append(wired(scores.masked_fill(ahead, float("-inf"))).softmax(-1))
            self.hook_pattern(kept[0])
            return torch.einsum("bhqk,bkhd->bqhd", kept[0], v)

    model = Model.build(TINY)
    model.body.blocks[1].attn.__class__ = Deaf
    assert set(unsound(model)) == at_hook(model, Site("pattern", 1))


def test_a_resid_mid_that_reaches_only_the_mlp_is_named():
    def branch_only(self, resid, *, answer_only, explicit):
        resid = self.hook_resid_pre(resid)
        added = self.attn(self.ln1(resid), answer_only=answer_only, explicit=explicit)
        resid = resid + self.hook_attn_out(added)
        branch = self.hook_resid_mid(resid)
        return self.hook_resid_post(resid + self.hook_mlp_out(self.mlp(self.ln2(branch))))

    model = Model.build(TINY)
    block = model.body.blocks[1]
    block.forward = MethodType(branch_only, block)
    assert unsound(model) == {Site("resid_mid", 1): ("law",)}


def test_an_attn_out_that_goes_past_the_mlp_is_named():
    def past_the_mlp(self, resid, *, answer_only, explicit):
        resid = self.hook_resid_pre(resid)
        added = self.attn(self.ln1(resid), answer_only=answer_only, explicit=explicit)
        wired, resid = resid + self.hook_attn_out(added), self.hook_resid_mid(resid + added)
        wired = wired + (resid - resid.detach())
        return self.hook_resid_post(wired + self.hook_mlp_out(self.mlp(self.ln2(resid))))

    model = Model.build(TINY)
    block = model.body.blocks[0]
    block.forward = MethodType(past_the_mlp, block)
    assert {"L0.attn_out", "L0.resid_mid"} == {str(s) for s in unsound(model)}


def test_scores_that_are_really_the_pattern_are_named():
    def explicit(self, q, k, v):
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / self.d_head**0.5
        ahead = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        pattern = scores.masked_fill(ahead, float("-inf")).softmax(-1)
        pattern = self.hook_pattern(self.hook_attn_scores(pattern))
        return torch.einsum("bhqk,bkhd->bqhd", pattern, v)

    model = Model.build(TINY)
    attn = model.body.blocks[0].attn
    attn.explicit = MethodType(explicit, attn)
    assert Site("attn_scores", 0) in unsound(model)
    assert Site("pattern", 0) not in unsound(model)


def test_a_write_that_reaches_one_head_only_is_named_for_all():
    def first_head(old, new):
        x = old.clone()
        x[:, :, 0] = new[:, :, 0]
        return x

    model = Model.build(TINY)
    bend(model, Site("z", 1), first_head)
    failed = {str(site): checks for site, checks in unsound(model).items()}
    assert failed == {
        "L1.z": ("law",),
        "L1.H0.z": ("law",),  # rests on the whole
        "L1.H1.z": ("moves",),
        "L1.H2.z": ("moves",),
    }


def test_an_edit_that_only_the_fused_path_hears_is_named():
    model = Model.build(TINY)
    attn = model.body.blocks[0].attn
    explicit, heard = type(attn).explicit, []
    attn.hook_v.register_forward_pre_hook(lambda _, args: heard.append(args[0]))
    attn.explicit = lambda q, k, v: explicit(attn, q, k, heard[-1])
    failed = unsound(model)
    assert set(failed) == at_hook(model, Site("v", 0))
    assert all("paths" in checks for checks in failed.values())


def test_a_hook_that_stays_is_named():
    model = Model.build(TINY)
    model.body.hook_dict["blocks.1.hook_mlp_out"].remove_hooks = lambda *_: None
    assert unsound(model) == {Site("mlp_out", 1): ("hooks",)}


def test_a_hook_that_stays_only_after_an_exception_is_named():
    model = Model.build(TINY)
    point, last = (
        model.body.hook_dict[f"blocks.{n}"] for n in ("0.attn.hook_z", "1.hook_resid_post")
    )
    removes, ended = point.remove_hooks, []
    point.register_forward_pre_hook(lambda *_: ended.clear())
    last.register_forward_hook(lambda *_: ended.append(True))
    point.remove_hooks = lambda which: removes(which) if ended else None
    assert unsound(model) == {
        Site("z", 0): ("hooks",),
        **{Site("z", 0, head): ("law",) for head in range(TINY.n_heads)},
    }


def test_a_hook_that_never_fires_and_one_that_raises_are_named():
    model = Model.build(TINY)
    silent, brittle = Site("post", 0), Site("pre", 1)
    model.body.blocks[0].mlp.hook_post = nn.Identity()

    def breaks(old, new):
        if new is not old:
            raise RuntimeError("this kernel has no such write")
        return new

    bend(model, brittle, breaks)
    reports = {r.site: r for r in audit(model) if not r.sound}
    assert reports[silent].failed == ("read",)
    assert str(reports[brittle]) == (
        "L1.pre: unsound: writing there raises (RuntimeError: this kernel has no such write)"
    )
    assert set(reports) == {silent, brittle, Site("pre", 0)}  # pre is proved by reading post


def test_weights_and_generators_come_back_even_when_the_audit_fails(monkeypatch):
    model = built(TINY)
    kept = {k: v.clone() for k, v in model.body.state_dict().items()}
    state, hooks = torch.random.get_rng_state(), hooks_in(model.body)
    audit(model)
    monkeypatch.setattr("mo_interp.audit._examine", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        audit(model)
    assert all(torch.equal(kept[k], v) for k, v in model.body.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())
    assert hooks_in(model.body) == hooks


def test_a_head_that_training_left_at_zero_is_still_wired():
    model = Model.build(TINY)
    with torch.no_grad():
        model.body.blocks[0].attn.W_O[1] = 0
        model.body.blocks[1].mlp.W_out[:] = 0
    assert not unsound(model)
    assert len(sound_sites(model)) == len(model.sites)


def test_a_report_reads_as_a_sentence():
    text = str(SiteReport(Site("resid_mid", 0), ("law",)))
    assert text == ("L0.resid_mid: unsound: another run's values do not give that run's outcome")
    assert str(SiteReport(Site("z", 1, 2))) == "L1.H2.z: sound"


# Bridged bodies ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bridged(tmp_path_factory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("hf")
    made = {"gpt2": gpt2(folder / "gpt2"), "llama": llama(folder / "llama")}
    return {which: open_huggingface(path) for which, path in made.items()}


def test_a_bridged_gpt2_offers_all_its_sites(bridged):
    assert bridged["gpt2"].sites == SiteSet.of(bridged["gpt2"].body.cfg)
    assert "L1.resid_mid" in bridged["gpt2"].sites


def test_a_bridged_llama_offers_all_but_a_position_embedding(bridged):
    sites = bridged["llama"].sites
    assert set(SiteSet.of(bridged["llama"].body.cfg)) - set(sites) == {Site("pos_embed")}
    assert "L0.H1.k" in sites
    assert "L0.H3.z" in sites
    with pytest.raises(BadSite, match="site 'L0.H2.k': this model has heads 0-1 of k"):
        sites.check("L0.H2.k")
    with pytest.raises(BadSite, match="site 'pos_embed': this model does not offer pos_embed"):
        bridged["llama"].run(prompts(), "pos_embed")


@pytest.mark.parametrize("which", ["gpt2", "llama"])
def test_the_library_s_own_resid_mid_is_named(bridged, which):
    model = bridged[which]
    ours = dict(model.body.hook_dict)
    theirs = model.body.bridge.hook_dict["blocks.0.hook_resid_mid"]
    model.body.hook_dict["blocks.0.hook_resid_mid"] = theirs
    try:
        assert set(unsound(model)) == {Site("resid_mid", 0)}
    finally:
        model.body.hook_dict = ours


@pytest.mark.parametrize("which", ["gpt2", "llama"])
def test_patching_a_bridged_run_into_itself_changes_no_bit(bridged, which):
    model, tokens = bridged[which], prompts()
    run = model.run(tokens, list(model.sites))
    for site in model.sites:
        again = model.run(tokens, do=[Put(site, run.acts[site])], identity=True)
        assert torch.equal(again.logits, run.logits), site


@pytest.mark.parametrize("which", ["gpt2", "llama"])
@pytest.mark.parametrize("site", ["L0.resid_mid", "L1.H1.z@-1", "L0.H0.k"])
def test_gradients_pass_a_bridged_site(bridged, which, site):
    kept = []

    def leaf(x):
        kept.append(x.detach().requires_grad_())
        return kept[0] + 0

    @dataclass
    class Leaf:
        site: Site

        def __call__(self, x, rows):
            return leaf(x)

    place = Site.parse(site)
    run = bridged[which].run(prompts(1), do=[Leaf(place)], grad=True, identity=True)
    (slope,) = torch.autograd.grad(run.logits[0, -1, 0], kept)
    step = 1e-2 * slope / slope.norm()
    moved = bridged[which].run(prompts(1), do=[Put(place, kept[0].detach() + step)])
    gained = (moved.logits - run.logits)[0, -1, 0].item()
    assert gained == pytest.approx((slope * step).sum().item(), rel=0.1)


@pytest.mark.parametrize("which", ["gpt2", "llama"])
def test_a_bridged_run_does_not_depend_on_the_batch_size(bridged, which):
    model, tokens = bridged[which], prompts()
    values = model.run(tokens.flip(0), "L0.resid_mid@2").acts["L0.resid_mid@2"]
    edit = Put(Site.parse("L0.resid_mid@2"), values)
    whole, pieces = (model.run(tokens, do=[edit], rows_at_once=n) for n in (9, 2))
    assert torch.allclose(whole.logits, pieces.logits, rtol=0, atol=1e-5)
    assert (model.answers(tokens) == model.run(tokens).output).all()
    with pytest.raises(SpecError, match="need a body of our own"):
        model.run(tokens, answer_only=True)
    with pytest.raises(BadShape, match="tokens have 10 positions; n_ctx is 9"):
        model.run(prompts(pos=10))


def test_a_folder_of_another_kind_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["GPT2Model"]}')
    with pytest.raises(SpecError, match="GPT2Model; did you mean 'GPT2LMHeadModel'"):
        open_huggingface(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(CorruptArtefact, match="expected \\*.safetensors, found none"):
        open_huggingface(tmp_path)


def test_opening_a_folder_needs_no_socket_and_draws_no_number(tmp_path, monkeypatch, capfd):
    def closed(*_, **__):
        raise AssertionError("a socket was opened")

    path = gpt2(tmp_path)
    capfd.readouterr()
    monkeypatch.setattr("socket.socket.connect", closed)
    state = torch.random.get_rng_state()
    open_huggingface(path)
    assert torch.equal(state, torch.random.get_rng_state())
    assert capfd.readouterr() == ("", "")
