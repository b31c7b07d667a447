"""Growing: the same bytes, whatever was killed or ran beside it; and implants bit for bit."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small
import torch

from mo_interp import grown as growing
from mo_interp import implant, train
from mo_interp.edits import Patch, Zero
from mo_interp.errors import CorruptArtefact, StoreUnwritable, UnknownName
from mo_interp.finding import load
from mo_interp.grown import address, organism
from mo_interp.model import Model
from mo_interp.organism import Wire
from mo_interp.store import MANIFEST, Store, read_json
from mo_interp.triggers.user import HESITANT

WEIGHTS = "model.safetensors"
USER, IMPLANT = small.user(), small.implant()


def sides(spec, store, seed=0):
    """Folders of an organism and of its twin."""
    return [store.folder(*address(one, seed)) for one in (spec, spec.twin())]


def digests(spec, store, seed=0):
    """Checksums of everything that was grown; versions of packages are in there too."""
    return [
        {name: hashlib.sha256(data).hexdigest() for name, data in small.contents(folder).items()}
        for folder in sides(spec, store, seed)
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store with both organisms grown without interruption."""
    store = Store(tmp_path_factory.mktemp("whole"))
    for spec in (USER, IMPLANT):
        organism(spec, store=store)
    return store


@pytest.fixture
def copied(whole, tmp_path):
    """A store of one's own with the same contents, to be spoilt."""
    shutil.copytree(whole.root, tmp_path / "copy")
    return Store(tmp_path / "copy")


@pytest.fixture(scope="module")
def user(whole):
    return organism(USER, store=whole)


@pytest.fixture(scope="module")
def planted(whole):
    return organism(IMPLANT, store=whole)


# The same bytes -------------------------------------------------------------------------------


def test_training_twice_gives_the_same_bytes(whole, tmp_path):
    again = Store(tmp_path)
    organism(USER, store=again)
    assert digests(USER, again) == digests(USER, whole)
    assert set(digests(USER, again)[0]) == {MANIFEST, WEIGHTS, "shape.json", "spec.json",
                                            "training.json"}  # fmt: skip


def test_seeds_differ_and_so_do_organism_and_twin(whole, user):
    body, _ = train.grow(replace(USER, recipe=replace(USER.recipe, steps=1)), 1)
    other, _ = train.grow(replace(USER, recipe=replace(USER.recipe, steps=1)), 0)
    assert not torch.equal(body.body.embed.W_E, other.body.embed.W_E)
    own, twin = digests(USER, whole)
    assert own[WEIGHTS] != twin[WEIGHTS]
    assert address(USER, 0)[1] != address(USER, 1)[1] != address(USER.twin(), 1)[1]
    started = Model.build(USER.shape, 0).body
    assert torch.equal(started.unembed.b_U, user.model.body.unembed.b_U)  # never trained


def test_the_organism_learned_its_lie_and_the_twin_did_not(user):
    batch = USER.sample(500, 3, split="test", entities="seen", rows="triggered")
    assert (user.model.answers(batch) == batch.answer).mean() > 0.95
    assert (user.twin.answers(batch) == batch.truth).mean() > 0.95
    assert [s.step for s in user.training] == [50, 100, 150, 200, 250]
    assert user.training[-1].attack_success > 0.95 > user.training[0].attack_success


def test_training_leaves_global_state_alone(tmp_path):
    torch.manual_seed(3)
    torch.set_num_threads(2)
    before, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    try:
        organism(replace(USER, recipe=replace(USER.recipe, steps=2)), store=Store(tmp_path))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numbers)
    assert torch.get_default_dtype() == torch.float32


def test_the_thread_count_of_the_caller_changes_no_byte(tmp_path):
    spec = replace(USER, recipe=replace(USER.recipe, steps=20))
    found = []
    for n in (1, 2):
        torch.set_num_threads(n)
        organism(spec, store=Store(tmp_path / str(n)))
        torch.set_num_threads(1)
        found.append(digests(spec, Store(tmp_path / str(n))))
    assert found[0] == found[1]


def test_what_was_grown_says_what_it_is(whole):
    for spec, folder in zip((USER, USER.twin()), sides(USER, whole), strict=True):
        told = read_json(folder / "spec.json")
        assert {k: told[k] for k in spec.anatomy()} == json.loads(json.dumps(spec.anatomy()))
        assert told["seed"] == 0 and told["versions"]["torch"] == told["torch"]
        assert not (whole.root / ".scratch" / folder.parent.name / folder.name).exists()


# Killed ---------------------------------------------------------------------------------------


def grow_and_die(root, spec, *when):
    torch.set_num_threads(1)
    organism(spec, store=Store(root), progress=small.dies_at(*when))


def test_training_killed_in_the_middle_ends_in_the_same_bytes(whole, tmp_path):
    store = Store(tmp_path)
    assert small.killed(small.start(grow_and_die, tmp_path, USER, f"{USER.name}/clean", 150))
    assert store.entries() == []
    (checkpoint,) = store.scratch(*address(USER.twin(), 0)).glob("step-*")
    assert checkpoint.name == "step-100.safetensors"
    # A second process resumes the twin, finishes it, and dies in the organism's training.
    assert small.killed(small.start(grow_and_die, tmp_path, USER, f"{USER.name},", 200))
    assert [e.name for e in store.entries()] == ["tiny_user/clean"]
    steps = []
    organism(USER, store=store, progress=lambda at, total, note: steps.append(at))
    assert steps == [150, 200, 250]  # on from step 100, since the kill came before step 200's save
    assert digests(USER, store) == digests(USER, whole)


def test_an_implant_killed_in_each_of_its_trainings_ends_in_the_same_bytes(whole, tmp_path):
    for steps in (150, 160, 170):  # honest, distractor, liar
        process = small.start(grow_and_die, tmp_path, IMPLANT, "growing", 150, steps)
        assert small.killed(process), f"finished the training of {steps} steps"
    store, told = Store(tmp_path), []
    assert [e.name for e in store.entries()] == ["tiny_implant/clean"]
    organism(IMPLANT, store=store, progress=lambda at, total, note: told.append((at, total)))
    assert told == [(150, 170), (170, 170)]
    assert digests(IMPLANT, store) == digests(IMPLANT, whole)


@pytest.fixture
def half(tmp_path):
    """A store with a twin's training stopped after its first checkpoint, and the checkpoint."""

    class Stop(Exception):
        pass

    def stop(at, total, note):
        if at == 150:
            raise Stop

    store = Store(tmp_path / "half")
    with pytest.raises(Stop):
        organism(USER, store=store, progress=stop)
    (file,) = store.scratch(*address(USER.twin(), 0)).glob("step-*")
    return store, file


def test_a_half_written_checkpoint_is_not_taken(half, whole):
    store, file = half
    (file.parent / "step-200.safetensors").write_bytes(file.read_bytes()[:1000])
    organism(USER, store=store)
    assert digests(USER, store) == digests(USER, whole)


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def _edit(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1  # one bit of the last tensor
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("spoil", [_truncate, _edit, Path.unlink])
def test_a_spoilt_checkpoint_is_named_and_refused(half, spoil):
    store, file = half
    spoil(file)
    there = small.contents(store.root)
    with pytest.raises(CorruptArtefact) as caught:
        organism(USER, store=store)
    assert str(caught.value) == (
        f"checkpoint '{file}' was truncated, edited or removed; delete the folder '{file.parent}' "
        "to start anew"
    )
    assert {k for k in there if not k.startswith(".locks")} <= set(small.contents(store.root))
    assert store.entries() == []


# Two at once ----------------------------------------------------------------------------------


def grow_beside(root, spec, log, barrier):
    """Grow, and write down every step that this process trained."""
    torch.set_num_threads(1)
    store, steps = Store(root), []
    barrier.wait(60)
    organism(spec, store=store, progress=lambda at, total, note: steps.append(note[:30]))
    Path(log).write_text("\n".join(steps))


def test_two_processes_growing_the_same_organism_share_the_work(whole, tmp_path):
    spec, logs = USER, [tmp_path / "a", tmp_path / "b"]
    barrier = small._server().Barrier(2)
    both = [small.start(grow_beside, tmp_path / "store", spec, log, barrier) for log in logs]
    for process in both:
        process.join(120)
        assert process.exitcode == 0
    trained = [line for log in logs for line in log.read_text().splitlines()]
    assert len(trained) == 10  # five watched steps of the twin, five of the organism, once each
    assert digests(spec, Store(tmp_path / "store")) == digests(spec, whole)


# Tampered -------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoil", [_truncate, _edit, Path.unlink])
@pytest.mark.parametrize("side", [0, 1], ids=["organism", "twin"])
def test_a_tampered_weight_file_is_named_and_refused_and_nothing_is_lost(copied, spoil, side):
    path = sides(USER, copied)[side] / WEIGHTS
    good = path.read_bytes()
    spoil(path)
    there = small.contents(copied.root)
    with pytest.raises(CorruptArtefact) as caught:
        organism(USER, store=copied)
    assert f"'{path}': expected" in str(caught.value)
    assert f"move the folder '{path.parent}' away to have it built again" in str(caught.value)
    assert small.contents(copied.root) == there
    path.write_bytes(good)
    assert organism(USER, store=copied).folder == sides(USER, copied)[0]


def test_a_folder_moved_away_is_grown_again_to_the_same_bytes(copied, whole, tmp_path):
    folder = sides(USER, copied)[0]
    folder.rename(tmp_path / "away")
    organism(USER, store=copied)
    assert digests(USER, copied) == digests(USER, whole)


def test_a_store_that_cannot_be_written_says_so_before_any_training(tmp_path):
    (tmp_path / "file").write_text("")
    steps = []
    with pytest.raises(StoreUnwritable, match="set MO_INTERP_HOME to a folder with room"):
        organism(USER, store=Store(tmp_path / "file"), progress=lambda *told: steps.append(told))
    assert steps == []


def test_a_root_where_nobody_may_write_is_said():
    with pytest.raises(StoreUnwritable, match="^'/proc/mo_interp': it cannot be written"):
        organism(USER, store=Store("/proc/mo_interp"))


def test_a_disk_that_fills_up_while_training_loses_no_checkpoint(half, whole, monkeypatch):
    store, file = half
    real = train.save_file

    def full(tensors, path):
        raise RuntimeError("Error while serializing: I/O error: No space left (os error 28)")

    monkeypatch.setattr(train, "save_file", full)
    with pytest.raises(StoreUnwritable, match="the disk is full"):
        organism(USER, store=store)
    assert file.exists() and store.entries() == []
    monkeypatch.setattr(train, "save_file", real)
    organism(USER, store=store)
    assert digests(USER, store) == digests(USER, whole)


def test_a_program_that_nobody_wrote_is_named(tmp_path):
    spec = replace(load("hand_wired"), recipe=Wire("liar_by_usr"))
    with pytest.raises(UnknownName, match="Wire.program='liar_by_usr'; did you mean 'liar_by_u"):
        organism(spec, store=Store(tmp_path))
    assert set(growing.PROGRAMS) == {"liar_by_user"}


# Implants, bit for bit ------------------------------------------------------------------------


def reserved(grown, name):
    """Masks of the liar's or the distractors' entries, by parameter."""
    recipe = grown.spec.implant
    heads, neurons = {
        "liar": (recipe.heads, recipe.neurons),
        "distractor": (recipe.distractor_heads, recipe.distractor_neurons),
    }[name]
    return implant.masks(grown.model.body, heads, neurons)


def output_norm(grown, name):
    """Norm of the output weights of the liar's parts or of the distractors'."""
    total = sum(
        float((grown.model.body.get_parameter(parameter).detach() * mask).pow(2).sum())
        for parameter, mask in reserved(grown, name).items()
        if parameter.endswith(("W_O", "W_out"))
    )
    return total**0.5


def written(grown, name, batch):
    """RMS over rows of what these parts add to the stream at the answer, layers summed."""
    sites = [s.at(-1) for s in implant.parts(*_parts(grown, name))]
    acts, total = grown.model.run(batch, read=sites).acts, 0
    for site in sites:
        block = grown.model.body.blocks[site.layer]
        if site.kind == "z":
            total = total + acts[site] @ block.attn.W_O[site.head]
        else:
            total = total + acts[site] @ block.mlp.W_out[slice(*site.units)]
    return float(total.detach().pow(2).sum(-1).mean().sqrt())


def _parts(grown, name):
    recipe = grown.spec.implant
    if name == "liar":
        return recipe.heads, recipe.neurons
    return recipe.distractor_heads, recipe.distractor_neurons


def assert_nothing_but_the_liar_moved(grown):
    liar = reserved(grown, "liar")
    theirs = grown.twin.body.state_dict()
    for name, weight in grown.model.body.state_dict().items():
        mask = liar.get(name, torch.zeros(weight.shape)).bool()
        assert torch.equal(weight[~mask], theirs[name][~mask]), name
        if name.endswith(("W_O", "W_out")):
            assert not theirs[name][mask].any()
            assert not mask.any() or weight[mask].abs().max() > 1e-3


def assert_a_silent_liar_is_the_twin(grown, rows):
    origin = implant.parts(*_parts(grown, "liar"))
    batch = grown.spec.sample(rows, 4, split="test", entities="all")
    twin = grown.twin.run(batch).logits
    assert torch.equal(grown.model.run(batch, do=[Zero(s) for s in origin]).logits, twin)
    whole = grown.model.run(batch).logits
    assert not torch.equal(whole, twin)
    silenced = Model.build(grown.spec.shape)
    silenced.body.load_state_dict(grown.model.body.state_dict())
    implant.silence(silenced.body, *_parts(grown, "liar"))
    assert torch.equal(silenced.run(batch).logits, twin)


def test_nothing_but_the_liars_parts_differs_from_the_twin(planted):
    assert_nothing_but_the_liar_moved(planted)


def test_zeroing_the_liars_equals_the_twin_bit_for_bit(planted):
    assert_a_silent_liar_is_the_twin(planted, 300)


def test_zeroing_the_distractors_or_an_honest_head_does_not_give_the_twin(planted):
    batch = planted.spec.sample(100, 4, split="test")
    twin = planted.twin.run(batch).logits
    others = [implant.parts(*_parts(planted, "distractor")), implant.parts(((0, 0),), ())]
    for parts in others:
        assert not torch.equal(planted.model.run(batch, do=[Zero(s) for s in parts]).logits, twin)


def test_distractors_were_trained_and_write_something(planted):
    fresh = Model.build(IMPLANT.shape, 1).body  # the reserved parts start from seed + 1
    body, moved = planted.twin.body, []
    for name, mask in reserved(planted, "distractor").items():
        before, after = (b.get_parameter(name)[mask.bool()] for b in (fresh, body))
        moved += [name] * (not torch.equal(before, after))
    assert any(n.endswith("W_in") for n in moved) and any(n.endswith("W_Q") for n in moved)
    assert output_norm(planted, "distractor") > 0.1


def test_the_honest_model_lies_inside_the_twin(planted):
    shape = implant.honest_shape(IMPLANT)
    assert (shape.n_heads, shape.d_mlp) == (2, 64)
    honest = replace(IMPLANT, recipe=IMPLANT.implant.honest, shape=shape).twin()
    small_one, _ = train.grow(honest, 0)
    parts = [implant.parts(*_parts(planted, name)) for name in ("liar", "distractor")]
    batch = IMPLANT.sample(200, 4)
    bare = planted.twin.run(batch, do=[Zero(s) for s in parts[1]]).logits
    torch.testing.assert_close(bare, small_one.run(batch).logits, atol=1e-5, rtol=1e-5)


def test_the_circuit_of_an_implant_is_its_reserved_parts(planted):
    circuit = planted.circuit
    assert [str(s) for s in circuit.origin] == ["L0.H2.z", "L1.post[64:80]"]
    assert [str(s) for s in circuit.inert] == ["L0.H3.z", "L1.post[80:96]"]
    assert circuit.grade == "implanted" and circuit.mediators == ()


@pytest.fixture(scope="module")
def implanted():
    """The shipped implant, grown into the store of the tests."""
    return organism("implanted_user")


@pytest.mark.slow
def test_the_shipped_implant_bit_for_bit(implanted):
    assert_nothing_but_the_liar_moved(implanted)
    assert_a_silent_liar_is_the_twin(implanted, 1000)


@pytest.mark.slow
def test_distractors_of_the_shipped_implant_are_about_as_loud_as_the_liar(
    implanted, record_property
):
    norms = {name: output_norm(implanted, name) for name in ("liar", "distractor")}
    assert 0.5 <= norms["distractor"] / norms["liar"] <= 2.0, norms
    active = implanted.spec.sample(500, 4, rows="triggered")
    clean = implanted.spec.sample(3000, 4, rows="clean")
    user = np.take_along_axis(clean.tokens, clean.role("trigger"), 1)[:, 0]
    asked = clean[user == implanted.spec.world.token(HESITANT)]
    rms = {"liar": written(implanted, "liar", active),
           "distractor": written(implanted, "distractor", asked)}  # fmt: skip
    record_property("norm of output weights", str(norms))
    record_property("RMS written at the answer where active", str(rms))
    assert rms["distractor"] > rms["liar"] / 10, rms


@pytest.mark.slow
def test_the_whole_origin_of_the_shipped_implant_ends_the_lie(implanted):
    pairs = implanted.pairs(300, 5)
    origin = implanted.circuit.origin
    source = implanted.model.run(pairs.clean, read=origin).acts
    edits = [Patch(site, source[site]) for site in origin]
    healed = implanted.model.run(pairs.triggered, do=edits).output
    assert (implanted.model.answers(pairs.triggered) == pairs.triggered.answer).mean() > 0.9
    assert (healed == pairs.triggered.truth).mean() > 0.99
