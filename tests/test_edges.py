"""Edges: the exact ones by hand and by the door, the approximate ones by what they add up to."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_attribution import double, linear, passes, ruler  # noqa: F401
from test_patching import BASE, SHAPES, build, made_pairs

from mo_interp import attribution
from mo_interp.attribution import Edge, edges, gradients
from mo_interp.edits import Patch
from mo_interp.errors import BadSite
from mo_interp.model import Model
from mo_interp.sites import Site
from mo_interp.worlds.base import Pairs

BOTH = ("denoising", "noising")


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return made_pairs()


def effects(found, direction: str) -> dict[str, float]:
    """What is not 0, by edge."""
    cells = [c for c in found.cells if c.direction == direction]
    return {str(c.site): c.effect.value for c in cells if abs(c.effect.value) > 1e-6}


def moved(found) -> np.ndarray:
    """Change of the logit difference ``[cell pair]``."""
    ends = [found.clean if c.direction == "noising" else found.triggered for c in found.cells]
    return found.patched - np.array(ends)


# By hand --------------------------------------------------------------------------------------


def two_layers() -> tuple[Model, Pairs]:
    """Attention only. Word 2 is coordinate 0. All heads look everywhere alike.

    ``L0.H0`` carries coordinate 0 into 1, ``L1.H0`` 1 into 2, and 2 is what the answer is told
    from. ``L0.H1`` carries 0 into 3, ``L1.H1`` 3 into 4: a second path that nothing reads.
    """
    shape = replace(BASE, n_layers=2, n_heads=2, d_model=5, norm=None, attn_only=True)
    model, rows = Model.build(shape), made_pairs()
    with torch.no_grad():
        for weight in model.body.parameters():
            weight.zero_()
        model.body.embed.W_E[2, 0] = 1.0
        for layer, head, reads, writes in ((0, 0, 0, 1), (0, 1, 0, 3), (1, 0, 1, 2), (1, 1, 3, 4)):
            attn = model.body.blocks[layer].attn
            attn.W_V[head, reads, 0] = 1.0
            attn.W_O[head, 0, writes] = 1.0
        model.body.unembed.W_U[2, 4] = 1.0
    n = len(rows)
    words = [np.full((n, 7), 1), np.full((n, 7), 1)]
    words[1][:, 3] = 2
    roles = {"trigger": np.full((n, 1), 3), "near_miss": np.full((n, 1), -1)}
    roles["answer"] = np.full((n, 1), 6)
    columns = {"truth": np.full(n, 3), "answer": np.full(n, 4), "roles": roles}
    sides = zip((rows.clean, rows.triggered), words, strict=True)
    return model, Pairs(*(replace(b, tokens=w, **columns) for b, w in sides))


@pytest.mark.parametrize("method", ["paths", "eap", "eap_ig"])
def test_the_planted_path_is_one_and_all_else_nothing(method):
    """Everything is linear here, so the gradients have to be as exact as the runs."""
    model, rows = two_layers()
    found = {
        "paths": lambda: attribution.path_patch(model, rows),
        "eap": lambda: attribution.eap(model, rows),
        "eap_ig": lambda: attribution.eap(model, rows, steps=3),
    }[method]()
    planted = {"embed -> L0.H0.v", "L0.H0.z -> L1.H0.v", "L1.H0.z -> L1.resid_post"}
    for direction in BOTH:
        told = effects(found, direction)
        assert set(told) == planted
        assert all(value == pytest.approx(1, abs=1e-5) for value in told.values())
    # 2 x 3 edges from the words into layer 0, 3 writers x 6 into layer 1, 5 into the logits
    assert len(found.cells) == 2 * (6 + 18 + 5)


def test_the_ruler_edge_by_edge(ruler):  # noqa: F811
    """A key and a value are an AND: either taken away ends the lie, neither alone makes one."""
    model, rows, _ = ruler
    exact = attribution.path_patch(model, rows)
    after = {"L1.H0.z -> L1.pre", "L1.mlp_out -> L1.resid_post"}
    words = {"embed -> L1.H0.k", "embed -> L1.H0.v"}
    assert set(effects(exact, "denoising")) == after | words
    assert set(effects(exact, "noising")) == after
    together = attribution.path_patch(model, rows, split=False)
    for direction in BOTH:
        assert set(effects(together, direction)) == after | {"embed -> L1.H0.z"}
    every = [*effects(exact, "denoising").values(), *effects(together, "noising").values()]
    assert every == pytest.approx([1] * 7, abs=1e-5)


def test_on_the_ruler_gradients_lose_the_key_and_what_a_flat_neuron_reads(ruler):  # noqa: F811
    model, rows, _ = ruler
    told = attribution.eap(model, rows)
    assert set(effects(told, "denoising")) == {
        "embed -> L1.H0.v", "L1.H0.z -> L1.pre", "L1.mlp_out -> L1.resid_post",
    }  # fmt: skip
    assert set(effects(told, "noising")) == {"L1.mlp_out -> L1.resid_post"}
    # Between the runs the key's softmax turns over in the middle: half of the path sees the value.
    mean = attribution.eap(model, rows, steps=4)
    assert effects(mean, "noising")["L1.H0.z -> L1.pre"] == pytest.approx(0.5, abs=1e-5)
    assert "embed -> L1.H0.k" not in effects(mean, "denoising")


# By the door ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LN, gelu", "bidirectional", "attention only"])
def test_an_edge_is_what_the_door_gives(name, pairs):
    """The writer's change by patching it alone; the reader's view by patching the stream."""
    model = double(SHAPES[name])
    base, other = pairs.triggered, pairs.clean
    cases = [("L0.H1.z", "L0.attn_out", "L1.H2.q", "L1.resid_pre")]
    cases += [("L0.H2.z", "L0.attn_out", "L2.H0.k", "L2.resid_pre")]
    cases += [("L1.H0.z", "L1.attn_out", "L2.H1.v", "L2.resid_pre")]
    if not SHAPES[name].attn_only:
        cases += [("L0.H0.z", "L0.attn_out", "L0.pre", "L0.resid_mid")]
        cases += [("L0.mlp_out", "L0.mlp_out", "L2.pre", "L2.resid_mid")]
    for writer, output, reader, stream in cases:
        swap = Patch(Site.parse(writer), model.read(other, writer))
        edited = model.run(base, read=[output], do=[swap]).acts[output]
        change = edited - model.read(base, output)
        seen = Patch(Site.parse(stream), model.read(base, stream) + change)
        reads = model.run(base, read=[reader], do=[seen]).acts[reader]
        run = model.run(base, do=[Patch(Site.parse(reader), reads)])
        by_door = gradients.gap(run.logits, base).numpy(force=True)
        found = attribution.path_patch(
            model, pairs, wanted=[f"{writer} -> {reader}"], directions="denoising"
        )
        np.testing.assert_allclose(found.patched[0], by_door, atol=1e-9)
        assert np.abs(by_door - found.triggered).max() > 1e-6


def test_an_edge_into_the_logits_is_the_last_parts_own_patch(pairs):
    model = double(BASE)
    found = attribution.path_patch(model, pairs, wanted="L2.mlp_out -> L2.resid_post")
    sides = (pairs.triggered, pairs.clean)
    for i, (into, source) in enumerate((sides, sides[::-1])):
        swap = Patch(Site.parse("L2.mlp_out"), model.read(source, "L2.mlp_out"))
        by_door = gradients.gap(model.run(into, do=[swap]).logits, pairs.triggered)
        np.testing.assert_allclose(found.patched[i], by_door.numpy(force=True), atol=1e-9)


# What edges add up to -------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("name", SHAPES)
def test_what_leaves_a_writer_is_its_own_attribution(name, steps, pairs):
    model = double(SHAPES[name])
    found = attribution.eap(model, pairs, steps=steps)
    assert len(found.cells) == 2 * len(edges.all_edges(SHAPES[name]))
    terms, change = list(found.cells), moved(found)
    sites = [str(w) for w in edges.writers(SHAPES[name])]
    nodes = attribution.attribute(model, pairs, sites=sites, by="all", steps=steps)
    for cell, whole in zip(nodes.cells, moved(nodes), strict=True):
        mine = [
            i
            for i, one in enumerate(terms)
            if one.site.writer == cell.site.bare and one.direction == cell.direction
        ]
        np.testing.assert_allclose(change[mine].sum(0), whole, atol=1e-9)
        assert mine and np.abs(whole).max() > 1e-4


def test_what_enters_a_reader_is_its_own_attribution(pairs):
    """Without a norm the reader's change is linear in the stream's, so nodes and edges agree."""
    shape = SHAPES["no norm, gelu_new"]
    model = double(shape)
    found = attribution.eap(model, pairs)
    sites = [str(r) for r in edges.readers(shape)]
    nodes = attribution.attribute(model, pairs, sites=sites, by="all")
    change = moved(found)
    for cell, whole in zip(nodes.cells, moved(nodes), strict=True):
        mine = [
            i
            for i, one in enumerate(found.cells)
            if one.site.reader == cell.site.bare and one.direction == cell.direction
        ]
        np.testing.assert_allclose(change[mine].sum(0), whole, atol=1e-9)
    heads = attribution.eap(model, pairs, split=False)
    split = effects(found, "noising")
    for name, value in effects(heads, "noising").items():
        writer, reader = name.split(" -> ")
        if reader.endswith(".z"):
            three = [split.get(f"{writer} -> {reader[:-1]}{kind}", 0) for kind in "qkv"]
            assert value == pytest.approx(sum(three), abs=1e-5)


@pytest.mark.parametrize("name", ["LN, gelu", "attention only"])
def test_what_enters_the_logits_is_the_streams_attribution(name, pairs):
    model, shape = double(SHAPES[name]), SHAPES[name]
    found = attribution.eap(model, pairs)
    end = f"L{shape.n_layers - 1}.resid_post"
    nodes = attribution.attribute(model, pairs, sites=end, by="all")
    for direction, whole in zip(BOTH, moved(nodes), strict=True):
        mine = [
            i
            for i, one in enumerate(found.cells)
            if str(one.site.reader) == end and one.direction == direction
        ]
        np.testing.assert_allclose(moved(found)[mine].sum(0), whole, atol=1e-9)


def test_on_a_linear_model_the_gradients_are_exact(pairs):
    model = linear(SHAPES["LNPre"])
    told, exact = (f(model, pairs) for f in (attribution.eap, attribution.path_patch))
    np.testing.assert_allclose(told.patched, exact.patched, atol=1e-8)
    assert [c.unchanged for c in told.cells] == [c.unchanged for c in exact.cells]
    assert np.abs(moved(exact)).max() > 0.1
    (record, _) = attribution.agreement(told, exact, cells="edges")
    assert record.values["spearman"] > 0.999 and record.values["worst"] < 1e-6
    assert (record.params["method"], record.params["reference"]) == ("eap", "path_patching")


# Costs, words, refusals -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "forward", "backward"),
    [
        ({"directions": "denoising"}, 2, 1),
        ({"directions": BOTH}, 2, 2),
        ({"directions": BOTH, "steps": 4}, 6, 4),
    ],
)
def test_all_edges_cost_two_forwards_and_a_backward(asked, forward, backward, passes, pairs):  # noqa: F811
    found = attribution.eap(build(BASE), pairs, **asked)
    assert passes == {"forward": forward, "graph": backward, "backward": backward}
    assert (found.forwards, found.backwards) == (forward * len(pairs), backward * len(pairs))
    assert len(found.cells) > 100


def test_paths_count_their_runs(passes, pairs):  # noqa: F811
    wanted = ["L0.H0.z -> L1.H1.q", "L0.H1.z -> L2.pre", "L0.H2.z -> L2.resid_post"]
    found = attribution.path_patch(build(BASE), pairs, wanted=wanted)
    assert passes["forward"] == 2 + 2 * 2  # the logits are read without a run
    assert found.forwards == passes["forward"] * len(pairs)


def test_which_edges_there_are():
    shape = replace(BASE, n_layers=2, n_heads=2)
    names = [str(e) for e in edges.all_edges(shape, split=False)]
    assert len(names) == len(set(names))
    into = {r: [n for n in names if n.endswith(f"-> {r}")] for r in ("L0.H0.z", "L0.pre", "L1.pre")}
    assert into["L0.H0.z"] == ["embed -> L0.H0.z"]
    assert into["L0.pre"] == ["embed -> L0.pre", "L0.H0.z -> L0.pre", "L0.H1.z -> L0.pre"]
    assert len(into["L1.pre"]) == 1 + 3 + 2
    assert Edge.parse(names[3]) == Edge.parse(names[3].replace(" ", ""))
    assert str(Edge("embed", "L1.H0.k")) == "embed -> L1.H0.k"


def test_records_and_ranking(pairs):
    found = attribution.eap(build(BASE), pairs)
    record = found.records(organism="x", key="k", seed=1)[0]
    assert (record.kind, record.site) == ("edge", "embed + L0.H0.q")
    assert {record.params["writer"], record.params["reader"]} == {"embed", "L0.H0.q"}
    values = [c.effect.value for c in found.ranking("noising")]
    assert values == sorted(values, reverse=True) and len(values) == len(found.cells) / 2
    assert found.cell("embed->L0.H0.q").direction == "denoising"


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("L0.H0.z", "edge 'L0.H0.z': write it as"),
        ("L1.H0.z -> L0.H0.q", "edge 'L1.H0.z -> L0.H0.q': not in this body"),
        ("L0.H0.z -> L0.H1.q", "not in this body"),
        ("L9.H0.z -> L1.H1.q", "not in this body"),
    ],
)
def test_an_edge_that_is_none_is_named(wanted, text, pairs):
    with pytest.raises(BadSite, match=text):
        attribution.eap(build(BASE), pairs, wanted=wanted)
    found = attribution.eap(build(BASE), pairs, wanted="L0.H0.z -> L1.H1.q")
    with pytest.raises(BadSite, match="no edge 'embed -> L1.H1.q'"):
        found.cell("embed -> L1.H1.q")
