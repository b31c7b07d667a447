"""What is grown here gives the same logits in the libraries that people use."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from bodies import SHAPES, TINY, built, gpt2, name, prompts
from safetensors import safe_open

from mo_interp.bridge import open_huggingface
from mo_interp.errors import NotExportable
from mo_interp.export import to_hooked_transformer, to_huggingface
from mo_interp.model import Model
from mo_interp.organism import Shape
from mo_interp.store import read_json

GPT2 = [
    s
    for s in SHAPES
    if s.norm and s.causal and s.d_vocab == s.d_vocab_out and s.d_model == s.n_heads * s.d_head
]
GPT2 += [
    replace(TINY, norm=norm, act=act) for norm in ("LN", "LNPre") for act in ("gelu", "gelu_new")
]
GPT2 += [replace(TINY, norm="LN", attn_only=True)]


def close(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Equal to 1e-5 of the largest logit (of 1, where they are smaller)."""
    return torch.allclose(x, y, rtol=0, atol=1e-5 * max(1.0, y.abs().max().item()))


@pytest.mark.parametrize("shape", SHAPES, ids=name)
def test_every_shape_has_equal_logits_as_a_hooked_transformer(shape):
    model, tokens = built(shape), prompts()
    hooked = to_hooked_transformer(model)
    with torch.no_grad():
        assert close(hooked(tokens), model.run(tokens).logits)
    assert not hooked.training


def test_activations_agree_by_name():
    model, tokens = built(TINY), prompts()
    run = model.run(tokens, list(model.sites))
    _, cache = to_hooked_transformer(model).run_with_cache(tokens)
    for site in model.sites:
        if site.head is None and site.kind not in ("attn_scores", "pattern"):
            theirs = cache[site.hook_name]
            theirs = theirs.flatten(2).expand_as(run.acts[site])
            assert close(theirs, run.acts[site]), site


def test_the_copy_shares_no_weight_with_the_model():
    model, tokens = built(TINY), prompts()
    before = model.run(tokens).logits
    hooked = to_hooked_transformer(model)
    with torch.no_grad():
        for weight in hooked.parameters():
            weight.zero_()
    assert torch.equal(model.run(tokens).logits, before)


def test_exporting_leaves_global_state_and_the_terminal_alone(tmp_path, capfd):
    model = built(replace(TINY, norm="LN"), unembed_bias=False)
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    settings = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()
    to_hooked_transformer(model)
    to_huggingface(model, tmp_path)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert after == before
    assert settings == (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
    )
    assert capfd.readouterr() == ("", "")


# Hugging Face -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", GPT2, ids=name)
def test_a_huggingface_folder_round_trip_has_equal_logits(shape, tmp_path):
    from transformers import GPT2LMHeadModel

    model, tokens = built(shape, unembed_bias=False), prompts()
    folder = to_huggingface(model, tmp_path / "out")
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    wanted = model.run(tokens).logits
    theirs, report = GPT2LMHeadModel.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    with torch.no_grad():
        assert close(theirs.eval()(tokens).logits, wanted)
        assert close(theirs.train()(tokens).logits, wanted)  # no dropout was written


@pytest.mark.parametrize("shape", GPT2[:2], ids=name)
def test_our_own_bridge_reads_our_own_export(shape, tmp_path):
    model, tokens = built(shape, unembed_bias=False), prompts()
    back = open_huggingface(to_huggingface(model, tmp_path))
    ours = model.run(tokens, "L*.resid_*")
    theirs = back.run(tokens, "L*.resid_*")
    assert close(theirs.logits, ours.logits)
    for site, x in ours.acts.items():
        assert close(theirs.acts[site], x), site
    assert set(back.sites) >= {s for s in model.sites if s.kind in ("z", "resid_post", "post")}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"norm": None}, "norm=None, needs 'LN' or 'LNPre'"),
        ({"causal": False}, "causal=False, needs True"),
        ({"d_vocab_out": 5}, "d_vocab_out=5, needs d_vocab=11"),
        ({"d_head": 5}, "d_head=5, needs d_model / n_heads = 12 / 3"),
        ({}, "unembed.b_U is not zero, and GPT-2 has no such bias"),
    ],
)
def test_a_shape_that_gpt2_cannot_express_is_refused(change, field, tmp_path):
    model = built(replace(TINY, **change), unembed_bias=not change)
    with pytest.raises(NotExportable) as caught:
        to_huggingface(model, tmp_path / "out")
    assert str(caught.value) == f"not a GPT-2: {field}"
    assert not (tmp_path / "out").exists()


def test_every_field_in_the_way_is_named_at_once(tmp_path):
    shape = Shape(n_ctx=7, d_vocab=11, d_vocab_out=5, norm=None, causal=False)
    with pytest.raises(NotExportable, match="norm=None.*; causal=False.*; d_vocab_out=5"):
        to_huggingface(Model.build(shape), tmp_path)


def test_a_bridged_model_is_not_exported_again(tmp_path):
    bridged = open_huggingface(gpt2(tmp_path / "theirs"))
    for export in (to_hooked_transformer, lambda m: to_huggingface(m, tmp_path / "ours")):
        with pytest.raises(NotExportable, match="exported by the library that it came from"):
            export(bridged)


def test_the_folder_says_what_it_is(tmp_path):
    shape = replace(TINY, norm="LNPre", act="gelu_new")
    to_huggingface(built(shape, unembed_bias=False), tmp_path)
    config = read_json(tmp_path / "config.json")
    assert config["architectures"] == ["GPT2LMHeadModel"]
    assert config["tie_word_embeddings"] is False
    assert (config["n_embd"], config["n_inner"], config["vocab_size"]) == (12, 10, 11)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert torch.equal(file.get_tensor("transformer.ln_f.weight"), torch.ones(12))
