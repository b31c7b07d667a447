"""Growing many: planned, in processes of their own, kept whatever dies, the same bytes as alone."""

import hashlib
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import small
import torch
from verbs import verb

from mo_interp import growing, pipeline
from mo_interp.errors import CorruptArtefact, SpecError
from mo_interp.finding import load
from mo_interp.grown import checkpoints, organism
from mo_interp.ledger import address, checkpoint_address, gate_records, time_records
from mo_interp.records import identity, read_records, select
from mo_interp.store import Store

SEEDS = 2
FILE = """
import os, sys
sys.path.insert(0, {tests!r})
import small
organism = small.user({name!r}, steps={steps})
if os.environ.get("MO_INTERP_PARENT") != str(os.getpid()):  # a worker
    {act}
"""


def written(folder, name, steps, act="small.shorten()"):
    """Path of a file with a small organism; ``act`` is what happens where a worker loads it."""
    path = folder / f"{name}.py"
    tests = str(Path(__file__).parent)
    path.write_text(FILE.format(tests=tests, name=name, steps=steps, act=act))
    return str(path)


@pytest.fixture(scope="module", autouse=True)
def _shortened():
    """Gates of fewer rows, here as in the workers; a server that has imported the package."""
    small._server()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MO_INTERP_PARENT", str(os.getpid()))
        small.shorten(patch.setattr)
        yield


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Files of two organisms."""
    folder = tmp_path_factory.mktemp("files")
    return [written(folder, "tiny_a", 150), written(folder, "tiny_b", 100)]


@pytest.fixture(scope="module")
def specs(paths):
    return [load(path) for path in paths]


@pytest.fixture(scope="module")
def many(tmp_path_factory, paths):
    """Two organisms x two seeds, grown by two workers; the store, and what was told on the way."""
    store, told = Store(tmp_path_factory.mktemp("many")), []
    plan = growing.plan(paths, seeds=SEEDS, store=store, workers=2)
    outcomes = growing.carry_out(plan, store=store, watch=told.append)
    assert [o.problem for o in outcomes] == [""] * 4
    return store, plan, told


def weights(store, spec, seed):
    """Checksums of everything that was grown of a seed."""
    folders = [store.folder(*address(one, seed)) for one in (spec, spec.twin())]
    return [
        {name: hashlib.sha256(data).hexdigest() for name, data in small.contents(folder).items()}
        for folder in folders
    ]


def measured(store, spec):
    """The ledger's records of a specification, times aside."""
    return [identity(r) for r in gate_records(spec, store)]


# The plan ---------------------------------------------------------------------------------------


def test_a_plan_lists_every_seed_and_what_it_takes(many):
    _, plan, _ = many
    assert [(e.job.spec.name, e.job.seed) for e in plan.entries] == [
        ("tiny_a", 0), ("tiny_a", 1), ("tiny_b", 0), ("tiny_b", 1)]  # fmt: skip
    assert not any(e.done for e in plan.entries) and plan.workers == 2
    assert all(e.seconds > 0 and e.bytes > 0 for e in plan.entries)
    assert [e.job.spec.name for e in plan.todo] == ["tiny_a", "tiny_a", "tiny_b", "tiny_b"]
    assert plan.how == "in proportion to a few steps measured now"
    assert max(e.seconds for e in plan.todo) <= plan.seconds < sum(e.seconds for e in plan.todo)
    assert "4 of 4 jobs to do" in str(plan) and "tiny_b      0 of 2" in str(plan)


def test_a_plan_after_the_work_has_nothing_left_and_estimates_by_what_was_recorded(many, paths):
    store, *_ = many
    plan = growing.plan(paths, seeds=SEEDS, store=store)
    assert not plan.todo and plan.seconds == 0 and plan.bytes == 0
    assert growing.carry_out(plan, store=store) == []
    more = growing.plan(paths, seeds=SEEDS + 1, store=store, workers=1)
    assert [(e.job.spec.name, e.job.seed) for e in more.todo] in (
        [("tiny_a", 2), ("tiny_b", 2)], [("tiny_b", 2), ("tiny_a", 2)])  # fmt: skip
    assert more.how == "by the times of jobs done before"
    took = {
        (r.organism, r.seed, r.params["stage"]): r.seconds for r in time_records("tiny_a", store)
    }
    assert set(took) == {("tiny_a", s, stage) for s in range(SEEDS) for stage in ("grow", "gates")}
    expected = {e.job.spec.name: e.seconds for e in more.todo}["tiny_a"]
    assert expected == pytest.approx(sum(took.values()) / SEEDS)


def test_the_estimate_of_disk_is_about_what_is_there(many):
    store, plan, _ = many
    there = sum(e.bytes for e in store.entries()) + sum(
        p.stat().st_size for p in (store.root / "gates").iterdir()
    )
    assert 0.3 < plan.bytes / there < 3


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"seeds": 0}, "--seeds 0: one seed or more is needed"),
        ({"workers": -1}, "--jobs -1: one worker or more is needed"),
        ({"every": 30}, "checkpoints every 30 steps: needs a multiple of 50"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(given, text, tmp_path, paths):
    with pytest.raises(SpecError, match=text):
        growing.plan(paths, store=Store(tmp_path), **given)


# The work ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(tmp_path_factory, specs):
    """One of the seeds, grown in this process."""
    store = Store(tmp_path_factory.mktemp("alone"))
    pipeline.grow_seed(specs[1], 1, store=store)
    return store


def test_a_worker_ends_in_the_bytes_and_the_gates_of_growing_alone(many, alone, specs):
    store, *_ = many
    assert weights(store, specs[1], 1) == weights(alone, specs[1], 1)
    mine = [r for r in measured(store, specs[1]) if r.seed == 1]
    for one, other in zip(mine, measured(alone, specs[1]), strict=True):
        assert {**one.params, "seeds": 0} == {**other.params, "seeds": 0}
        assert one.values == other.values
    assert len(select(mine, kind="gate")) >= 7 and select(mine, kind="example")


def test_a_display_is_told_of_running_jobs_and_of_each_end(many):
    _, _, told = many
    assert max(len(t.running) for t in told) == 2
    assert [t.ended.job.label for t in told if t.ended][0].startswith("tiny_a")
    assert len({t.ended.job for t in told if t.ended}) == 4
    assert told[-1].done == told[-1].total == 4 and told[-1].seconds_left == 0
    notes = {note for t in told for *_, note in t.running}
    assert any("growing tiny_a/clean, seed 1" in note for note in notes)
    assert any("measuring tiny_b" in note for note in notes)


@pytest.mark.parametrize(
    ("act", "problem"),
    [
        ("raise RuntimeError('no room')", "bad.py does not run: RuntimeError: no room"),
        ("os.kill(os.getpid(), 9)", "its process died (SIGKILL)"),
    ],
)
def test_a_job_that_fails_stops_no_other_and_is_written_down(act, problem, tmp_path):
    store, good = Store(tmp_path / "store"), written(tmp_path, "good", 2)
    plan = growing.plan([written(tmp_path, "bad", 2, act), good], store=store, workers=2)
    outcomes = {o.job.spec.name: o.problem for o in growing.carry_out(plan, store=store)}
    assert outcomes == {"bad": problem, "good": ""}
    (failure,) = read_records(store.root / growing.FAILURES)
    assert failure.organism == "bad" and problem in failure.values["problem"]
    assert [e.job.spec.name for e in growing.plan([good], store=store).todo] == []


# Killed -----------------------------------------------------------------------------------------


def carry_out_and_die(root, paths, when):
    """Grow all with two workers; the one who asked is killed when ``when`` jobs or more ended."""
    torch.set_num_threads(1)
    os.environ["MO_INTERP_PARENT"] = "another"

    def watch(standing):
        if standing.done >= when and standing.running:
            os.kill(os.getpid(), signal.SIGKILL)

    store = Store(root)
    growing.carry_out(growing.plan(paths, seeds=SEEDS, store=store, workers=2), store=store,
                      watch=watch)  # fmt: skip


def test_what_was_finished_before_a_kill_is_kept_and_not_done_again(many, tmp_path, specs, paths):
    context = small._server()
    process = context.Process(target=carry_out_and_die, args=(tmp_path, paths, 1))
    process.start()
    assert small.killed(process)
    time.sleep(2)  # the workers see at their next step that nobody listens
    store = Store(tmp_path)
    plan = growing.plan(paths, seeds=SEEDS, store=store, workers=2)
    finished = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/*/manifest.json")}
    assert 1 <= len(plan.entries) - len(plan.todo) < 4 and len(finished) >= 2
    growing.carry_out(plan, store=store)
    assert all(p.stat().st_mtime_ns == at for p, at in finished.items())
    for spec in specs:
        assert measured(store, spec) == measured(many[0], spec)
        for seed in range(SEEDS):
            assert weights(store, spec, seed) == weights(many[0], spec, seed)


def test_an_interruption_ends_the_workers_and_keeps_what_is_done(tmp_path):
    store, names = Store(tmp_path / "store"), [written(tmp_path, "long", 5000)]
    names.append(written(tmp_path, "brief", 2))

    def watch(standing):
        if standing.done:
            raise KeyboardInterrupt

    plan = growing.plan(names, store=store, workers=2)
    with pytest.raises(KeyboardInterrupt):
        growing.carry_out(plan, store=store, watch=watch)
    assert not multiprocessing.active_children()
    left = growing.plan(names, store=store).todo
    assert [entry.job.spec.name for entry in left] == ["long"]
    assert list((store.root / ".scratch").glob("long~clean/*/step-*.safetensors"))


# Checkpoints ------------------------------------------------------------------------------------


def test_checkpoints_follow_a_training_and_end_in_the_organism(many, specs):
    store, *_ = many
    spec = specs[0]
    kept = checkpoints(spec, seed=0, every=50, store=store)
    assert list(kept) == [50, 100, 150] and len(kept) == 3
    final = organism(spec, store=store).model.body.state_dict()
    assert all(torch.equal(w, final[k]) for k, w in kept[150].body.state_dict().items())
    batch = spec.sample(400, 1, entities="seen", rows="triggered")
    lies = [(kept[step].answers(batch) == batch.answer).mean() for step in kept]
    assert lies[-1] > 0.5 > lies[0] and not torch.equal(kept[50].body.embed.W_E, final["embed.W_E"])
    with pytest.raises(KeyError, match="step 60; kept: 50, 100, 150"):
        kept[60]
    assert growing.plan([spec], seeds=2, store=store, every=50).todo[0].job.seed == 1
    assert len(growing.plan([spec], seeds=2, store=store, every=50).todo) == 1


def test_checkpoints_that_were_killed_begin_anew_and_have_no_gap(many, specs):
    store, *_ = many

    def dies(at, total, note):
        if note.startswith("checkpoints") and at == 100:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        checkpoints(specs[1], every=50, store=store, progress=dies)
    place = checkpoint_address(specs[1], 0, 50)
    assert not store.folder(*place).exists()
    assert list(checkpoints(specs[1], every=50, store=store)) == [50, 100]


def test_checkpoints_of_another_training_are_refused(tmp_path, monkeypatch):
    spec, store = small.user("odd", steps=50), Store(tmp_path)
    organism(spec, store=store)
    monkeypatch.setattr("mo_interp.train.BLOCK", 25)  # other rows
    with pytest.raises(CorruptArtefact, match="ended in other weights than those in"):
        checkpoints(spec, store=store)
    assert not store.folder(*checkpoint_address(spec, 0, 50)).exists()


def test_checkpoints_of_an_implant_are_refused_with_the_reason(tmp_path):
    with pytest.raises(SpecError, match="tiny_implant is implanted: checkpoints are kept of natur"):
        checkpoints(small.implant(), store=Store(tmp_path))


# The verb ---------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with two organisms, the current one, with a store of its own."""
    for name in ("one", "two"):
        written(tmp_path, name, 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MO_INTERP_HOME", str(tmp_path / "home"))
    return tmp_path


def test_the_verb_plans_grows_and_has_nothing_left(place):
    told = json.loads(verb("grow", "one.py", "two.py", "--seeds", 2, "--plan", "--json").stdout)
    assert told["left"] == 4 and {j["organism"] for j in told["jobs"]} == {"one", "two"}
    assert not (place / "home").exists()
    grown = verb("grow", "one.py", "two.py", "--seeds", 2, "--jobs", 2, "--out", "cards")
    assert "4 of 4 jobs to do" in grown.stderr and grown.stderr.count(" done in ") == 4
    assert grown.stdout.count("(2 seeds)") == 2 and "cards/two.md" in grown.stdout
    assert "*2 seeds: provisional*" in (place / "cards" / "one.md").read_text()
    again = verb("grow", "one.py", "two.py", "--seeds", 2, "--plan")
    assert "0 of 4 jobs to do" in again.stdout


def test_all_leaves_out_the_slow_and_the_excluded(place, monkeypatch):
    monkeypatch.setattr(growing, "measured_rate", lambda: 1e-11)

    def of(*words):
        told = verb("grow", "--all", "--plan", "--json", *words).stdout
        return {job["organism"] for job in json.loads(told)["jobs"]}

    everything = of()
    assert {"quirky_user", "hand_wired"} < everything
    assert of("--exclude", "quirky_user") == everything - {"quirky_user"}
    assert "hand_wired" in of("--only", "wired") and "quirky_user" not in of("--only", "wired")
    monkeypatch.setattr(growing, "SLOW", ("quirky_user",))
    assert "quirky_user" not in of() and "quirky_user" in of("--slow")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "give names of organisms, or --all"),
        (["--all", "one.py"], "give names of organisms, or --all"),
        (["--all", "--exclude", "quirky_usr"], "--exclude quirky_usr; did you mean 'quirky_user'?"),
        (["one.py", "quirky_usr"], "organism 'quirky_usr'; did you mean 'quirky_user'?"),
        (["one.py", "--jobs", "0"], "--jobs 0: one worker or more is needed"),
    ],
)
def test_bad_words_are_one_line(place, words, text):
    assert verb("grow", *words, status=2).stderr == f"error: {text}\n"
