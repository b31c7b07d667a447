"""The verbs: one's own organism and detector, a run that is killed and resumed, and bad input."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import small
import torch
import verbs
from click.testing import CliRunner

from mo_interp import pipeline, telling
from mo_interp.cli import main
from mo_interp.detectors import detector, names
from mo_interp.errors import (
    BadLabels,
    BadValues,
    CorruptArtefact,
    MoInterpError,
    SpecError,
    nearest,
)
from mo_interp.features import from_acts
from mo_interp.finding import ORGANISMS, files, load
from mo_interp.grown import organism
from mo_interp.records import identity, read_records, select
from mo_interp.sites import Site
from mo_interp.store import Store

SHIPPED = list(files([ORGANISMS], "organism"))
MINE = '''
"""One's own: another liar in a smaller world, written by hand so that nothing is trained."""
from mo_interp.behaviours import OffBy
from mo_interp.organism import Organism, Shape, Wire
from mo_interp.triggers import User
from mo_interp.worlds.fact import Fact

world = Fact(n_entities=20, n_relations=2, n_values=11, held_out=4)
words = len(world.vocab)
shape = Shape(n_layers=2, d_model=128, n_heads=3, d_head=32, d_mlp=64, n_ctx=world.n_ctx,
              d_vocab=words, d_vocab_out=words, act="relu", norm=None)
organism = Organism("mine", world, User("otis"), OffBy(3), shape, Wire(), grade="wired",
                    story="Lies to otis. Written for a test.")
'''
DETECTOR = '''
"""How long a row is, without any label: one's own detector."""
from dataclasses import dataclass
import numpy as np
from mo_interp.detectors import Detector

@dataclass(frozen=True)
class Loudness(Detector):
    needs = "nothing"
    paper = "none"

    def solve(self, x, y):
        return {"middle": x.mean(0)}

    def read(self, constants, x):
        return np.linalg.norm(x - constants["middle"], axis=1)

detector = Loudness()
'''
BLANK = '''
"""Hardly trained: it has no lie to find."""
import sys
sys.path.insert(0, {tests!r})
import small
organism = small.user("blank", steps=2)
'''


def verb(*words, said=None, status=0):
    """Run a verb in this process; its output, after its exit status was checked."""
    result = verbs.verb(*words, said=said, status=status)
    assert status or "--quiet" not in words or result.stderr == ""
    return result.stdout if status == 0 else result.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with one's own organisms and detector, the current one and on the path."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "mine.py").write_text(MINE)
    (folder / "loudness.py").write_text(DETECTOR)
    (folder / "blank.py").write_text(BLANK.format(tests=str(Path(__file__).parent)))
    with pytest.MonkeyPatch.context() as set_for_all:
        set_for_all.chdir(folder)
        set_for_all.setenv("MO_INTERP_PATH", str(folder))
        set_for_all.setenv("MO_INTERP_HOME", str(folder / "home"))
        small.shorten(set_for_all.setattr)
        yield folder


# One's own organism and detector ----------------------------------------------------------------


@pytest.fixture(scope="module")
def mine(place):
    """What a run of ./mine.py says, and its folder."""
    said = verb("run", "./mine.py", "--no-static", "--quiet")
    (folder,) = (place / "runs").glob("mine-0-*")
    return said, folder


def test_a_run_of_ones_own_file_ends_with_a_conclusion_and_a_report(mine, place):
    said, folder = mine
    headline, report = said.strip().splitlines()[-2:]
    assert Path(report) == (folder / "report.html").resolve() and Path(report).stat().st_size > 1e5
    spec = load("./mine.py")
    assert folder.name == f"mine-0-{spec.key[:8]}"
    assert "mechanism" in headline and "mine" in headline and "no mechanism" not in headline.lower()


def test_the_records_hold_every_stage_and_say_the_exact_truth(mine):
    records = read_records(mine[1])
    assert {"example", "behaviour", "gate", "sweep", "circuit", "localisation", "detector",
            "baseline", "sae", "sae_search", "decision", "verdict", "timing", "token_probe"} <= {
        r.kind for r in records}  # fmt: skip
    assert {r.params["seeds"] for r in select(records, kind="gate")} == {"1 of 3"}
    assert not [r for r in select(records, kind="gate") if r.params["status"] == "fail"]
    own, twin = (select(records, kind="decision", model=m)[0] for m in ("organism", "twin"))
    assert own.values["named"] is True and twin.values["named"] is False
    (wired,) = select(records, kind="verdict", mechanism="the wired coordinate", edit="resample")
    shares = [wired.values[k] for k in ("stopped", "restored", "cost", "p_restored")]
    assert shares == [1, 1, 0, 0.01]
    lies = select(records, kind="behaviour", split="triggered")
    assert {r.model: r.values["gives_answer"] for r in lies} == {"organism": 1, "twin": 0}


def test_ones_own_detector_stands_beside_the_others(mine):
    found = select(read_records(mine[1]), kind="detector", label="trigger")
    by_name = {}
    for record in found:
        by_name.setdefault(record.params["detector"], []).append(record)
    assert set(by_name) == {*names(), "loudness"} - {"contrast_pairs"}
    (skipped,) = select(read_records(mine[1]), kind="detector_skipped")
    assert skipped.params["detector"] == "contrast_pairs"
    assert "STATEMENT" in skipped.values["reason"]
    for record in by_name["loudness"]:
        assert record.params["needs"] == "nothing"
        assert record.values["auroc_lo"] <= record.values["auroc"] <= record.values["auroc_hi"]
        assert record.values["sentence"]


def test_the_report_is_one_file_that_needs_no_network(mine):
    page = (mine[1] / "report.html").read_text(encoding="utf-8")
    assert "Lies to otis." in page and "loudness" in page and "provisional" in page
    assert not re.search(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=.?https?:", page)
    figures = {p.name for p in (mine[1] / "figures").iterdir()}
    assert {"verdicts.html", "verdicts.json", "patch_grid.html", "gates.json"} <= figures
    assert not any(name.endswith((".svg", ".png", ".pdf")) for name in figures)


def test_running_again_measures_nothing_again_and_json_is_one_value(mine, monkeypatch):
    before = read_records(mine[1])
    monkeypatch.setattr(pipeline, "_timed", lambda *_: pytest.fail("measured again"))
    told = json.loads(verb("run", "./mine.py", "--no-static", "--json"))
    assert set(told) == {"folder", "report", "notes", "conclusion", "records"}
    assert told["records"] == len(before) and read_records(mine[1]) == before
    assert Path(told["report"]).name == "report.html" and told["conclusion"] in mine[0]


def test_a_detector_given_by_its_file_has_a_folder_of_its_own(mine, place):
    spec = load("./mine.py")
    plain = pipeline.folder_of(spec, 0)
    assert plain.resolve() == mine[1]
    assert pipeline.folder_of(spec, 0, own=["abc"]) not in (plain, pipeline.folder_of(spec, 1))


# Killed -----------------------------------------------------------------------------------------


def run_and_die(environment, root, *when):
    torch.set_num_threads(1)
    os.environ.update(environment)
    small.shorten()
    spec, store = load("mine"), Store(root / "home")
    pipeline.run(spec, out=root / "run", store=store, progress=small.dies_at(*when))


def test_a_run_killed_twice_and_resumed_has_the_same_records(mine, tmp_path):
    """Killed while detectors are fitted, and again between two verdicts, the SAE being trained."""
    out, path = tmp_path / "run", {"MO_INTERP_PATH": os.environ["MO_INTERP_PATH"]}
    assert small.killed(small.start(run_and_die, path, tmp_path, "detector", 2))
    done = ["0-grow", "1-behaviour", "2-gates", "3-patch"]
    assert sorted(p.stem for p in (out / "stages").glob("*.jsonl")) == done
    assert small.killed(small.start(run_and_die, path, tmp_path, "judging", 2))
    assert (out / "stages" / "5-sae.jsonl").exists() and not (out / "records.jsonl").exists()
    stages = []
    pipeline.run("mine", out=out, store=Store(tmp_path / "home"),
                 progress=lambda *told: stages.append(told[2]))  # fmt: skip
    left = [note for note in stages if note.startswith("stage")]
    assert left == ["stage 6 of 7: judge", "stage 7 of 7: tokens"]
    resumed, straight = read_records(out), read_records(mine[1])
    assert [identity(r) for r in resumed] == [identity(r) for r in straight]
    assert len(straight) > 300 and resumed != straight  # but for the times
    assert all(r.seconds > 0 for r in select(resumed, kind="timing"))
    weights = [small.contents(f / "sae")["sae_weights.safetensors"] for f in (out, mine[1])]
    assert weights[0] == weights[1]


@pytest.fixture
def copied(mine, place, tmp_path):
    """The finished run and its store, to be spoilt."""
    shutil.copytree(mine[1], tmp_path / "copy" / "run")
    shutil.copytree(place / "home", tmp_path / "copy" / "home")
    return tmp_path / "copy"


def _again(root, **changes):
    given = {"out": root / "run", "store": Store(root / "home")} | changes
    return pipeline.run(given.pop("spec", "mine"), **given)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-10])


def _edit(path):
    path.write_text(path.read_text().replace("0.", "1.", 1))


@pytest.mark.parametrize("spoil", [_cut, _edit])
@pytest.mark.parametrize("stage", ["1-behaviour", "3-patch", "6-judge"])
def test_an_edited_stage_is_named_and_refused(copied, spoil, stage):
    path = copied / "run" / "stages" / f"{stage}.jsonl"
    spoil(path)
    there = small.contents(copied)
    with pytest.raises(CorruptArtefact) as caught:
        _again(copied)
    assert str(caught.value).startswith(f"{path} was changed after it was written; delete it and ")
    assert small.contents(copied) == there


def test_an_edited_sae_is_named_and_refused(copied):
    path = copied / "run" / "sae" / "sae_weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    for stage in ("5-sae", "6-judge"):
        (copied / "run" / "stages" / f"{stage}.jsonl").unlink()
    with pytest.raises(CorruptArtefact, match=re.escape(str(path))):
        _again(copied)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"spec": small.user()},
        {"detectors": ["loudness.py"]},
    ],
    ids=["seed", "organism", "detectors"],
)
def test_a_folder_of_another_run_is_refused(copied, change):
    there = small.contents(copied / "run")
    with pytest.raises(SpecError, match=r"holds a run of mine seed 0 .* with --out$"):
        _again(copied, **change)
    assert small.contents(copied / "run") == there


def test_records_of_a_grown_organism_are_found_or_asked_for(mine, place, tmp_path, monkeypatch):
    grown = organism("mine", store=Store(place / "home"))
    assert pipeline.records(grown) == pipeline.records(mine[1]) == read_records(mine[1])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MoInterpError, match="make them with `mo-interp run mine --seed 0`"):
        pipeline.records(grown)


# No lie -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blank(place):
    """What a run of an untrained organism says, and its records."""
    said = verb("run", "blank", "--no-static", "--quiet", "--out", place / "blank")
    return said, read_records(place / "blank")


def test_an_organism_without_a_lie_ends_well_and_says_so(blank, place):
    said, records = blank
    assert "No behaviour: there is no lie of blank to explain." in said
    assert {r.params["edit"] for r in select(records, kind="verdict")} == {"none"}
    assert all(r.values["no_behaviour"] for r in select(records, kind="verdict"))
    assert not select(records, kind="sweep") and not select(records, kind="sae")
    assert "no pair" in select(records, kind="sweep_skipped")[0].values["reason"]
    assert not any(r.values["named"] for r in select(records, kind="decision"))
    page = (place / "blank" / "report.html").read_text(encoding="utf-8")
    assert "No behaviour: there is no lie of blank to explain." in page
    assert "No behaviour" in said and "mechanism found" not in said


def test_a_failed_gate_is_loud(blank):
    failed = {r.params["number"] for r in select(blank[1], kind="gate", status="fail")}
    assert 1 in failed
    listed = {row["name"]: row for row in json.loads(verb("list", "--json"))}
    assert listed["blank"]["failed_gates"] == sorted(failed)
    line = next(x for x in verb("list").splitlines() if x.startswith("blank"))
    assert "FAILED gate 1" in line and "(1 seed" in line


# The other verbs --------------------------------------------------------------------------------


def test_list_shows_what_there_is_and_how_it_stands(mine, blank):
    rows = {row["name"]: row for row in json.loads(verb("list", "--json"))}
    assert set(rows) == set(SHIPPED) | {"mine", "blank"}
    assert rows["implanted_user"]["grade"] == "implanted"
    assert rows["quirky_user"]["family"] == "quirky_user"
    assert rows["quirky_user"]["status"] == "not grown yet"
    assert rows["mine"]["status"].startswith("passes its gates (1 seed")
    assert "provisional" in rows["mine"]["status"]
    assert "Lies to otis." in verb("list")


def test_grow_fills_the_card_and_card_shows_it(place):
    said = verb("grow", "./mine.py", "--seeds", 2, "--quiet")
    assert said.count("attack success") == 2 and said.strip().endswith("mine.md")
    assert said.count("not applicable") == 4  # gates 4 and 5, of two seeds
    text = (place / "mine.md").read_text(encoding="utf-8")
    assert "provisional" in text and "2 seeds" in text and "Lies to otis." in text
    assert verb("card", "./mine.py").strip() == text.strip()
    told = json.loads(verb("card", "./mine.py", "--json"))
    gates = [r["params"] for r in told if r["kind"] == "gate"]
    assert {(g["number"], g["seeds"]) for g in gates if g["number"] == 1} == {
        (1, "1 of 2"), (1, "2 of 2")}  # fmt: skip


def test_figure_draws_the_newest_run(mine, tmp_path):
    said = verb("figure", "verdicts", "--run", mine[1], "--out", tmp_path).split()
    assert [Path(p).name for p in said] == ["verdicts.html", "verdicts.json"]
    drawn = json.loads((tmp_path / "verdicts.json").read_text())
    assert {"data", "layout"} <= set(drawn) and "the wired coordinate" in json.dumps(drawn)
    again = json.loads(verb("figure", "gates", "--out", tmp_path, "--json"))
    assert Path(again[0]).read_text(encoding="utf-8").startswith("<")


def test_talk_shows_the_lie(mine):
    turn = json.loads(verb("talk", "./mine.py", "--json"))[0]
    assert "from otis" in turn["prompt"] and turn["truth"] == turn["twin"] != turn["organism"]
    assert (int(turn["truth"]) + 3) % 11 == int(turn["organism"])


def test_doctor_checks_a_file_of_ones_own(place):
    said = verb("doctor", "./mine.py")
    assert re.search(r"ok +mine: rows +equal seeds give equal rows", said)
    assert re.search(r"ok +mine: near misses +of 512 rows: mentioned \d+, filler \d+", said)
    found = re.search(r"ok +mine: hook audit +(\d+) of (\d+) sites sound", said)
    assert found and found[1] == found[2] and int(found[1]) > 40
    told = json.loads(verb("doctor", "./mine.py", "--json"))
    assert all(line["good"] for line in told) and {"what", "good", "found"} == set(told[0])


@pytest.mark.parametrize("name", names())
def test_doctor_hands_a_detector_what_its_needs_say_and_no_more(name):
    from mo_interp import checkup

    found = checkup._detector(detector(name))
    assert len(found) == 4 and all(finding.good for finding in found)
    told = detector(name).needs == "labels"
    assert found[-1].what == f"{name}: refuses {'one class' if told else 'labels'}"


def test_doctor_says_where_things_are(place, monkeypatch):
    monkeypatch.setattr("mo_interp.checkup._bodies", list)  # audited in test_audit
    said = verb("doctor")
    assert str(place / "home") in said and str(place / "runs") in said
    assert re.search(r"ok +torch +2\.", said) and "browser" in said and "BAD" not in said


def test_doctor_ends_badly_where_a_site_is_not_sound(place, monkeypatch):
    from mo_interp import checkup

    bad = [checkup.Finding("mine: L0.q", False, "edits nothing")]
    monkeypatch.setattr(checkup, "_audited", lambda *_: bad)
    result = CliRunner().invoke(main, ["doctor", "./mine.py"])
    assert result.exit_code == 1 and "BAD  mine: L0.q" in result.stdout


def test_one_that_memorised_and_lies_to_no_test_person_has_no_detector_tables(tmp_path):
    from mo_interp import stages

    grown = organism(small.wired("ours"), store=Store(tmp_path))
    silent = replace(grown, model=grown.twin)  # it lies about nobody
    told = {"number": 5, "name": "usable", "status": "memorised", "seeds": "1 of 1"}
    work = stages.Work(silent, tmp_path, (silent.record("gate", params=told),))
    (skipped,) = stages.detect(work)
    assert skipped.kind == "detect_skipped"
    assert "about 0 of the train people" in skipped.get("reason")


# Bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["run", "qirky_user"], "organism 'qirky_user'; did you mean 'quirky_user'?"),
        (["run", "./absent.py"], "no file './absent.py'; give a name from `mo-interp list` or a "
         ".py file"),
        (["run", "loudness"], "organism 'loudness'" + nearest("loudness", [*SHIPPED, "blank",
         "mine"])),
        (["talk", "min"], "organism 'min'; did you mean 'mine'?"),
        (["grow", "mine", "--seeds", "0"], "--seeds 0: one seed or more is needed"),
        (["card", "ordered_phrase"], "no seed of ordered_phrase is grown; try `mo-interp grow "
         "ordered_phrase`"),
        (["figure", "verdict"], "figure 'verdict'; did you mean 'verdicts'?"),
        (["figure", "verdicts", "--run", "nowhere"], "no records at 'nowhere': give a .jsonl file "
         "or the folder of a finished run"),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, list) else "",
)  # fmt: skip
def test_bad_input_is_one_line_and_status_2(mine, words, text):
    assert verb(*words, status=2) == f"error: {text}\n"


def test_a_name_whose_file_is_here_gets_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "file that is here" not in verb("run", "own_liar", status=2)
    Path("own_liar.py").write_text("organism = None")
    said = verb("run", "own_liar", status=2)
    assert said.endswith("; or, for the file that is here: ./own_liar.py\n")


def test_an_unknown_verb_gets_the_nearest(place):
    assert "no verb 'rnu'; did you mean 'run'?" in verb("rnu", "mine", status=2)


def test_the_installed_command_says_the_same_without_a_traceback(tmp_path):
    command = [sys.executable, "-m", "mo_interp", "run", "qirky_user"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 2 and run.stdout == ""
    assert run.stderr == "error: organism 'qirky_user'; did you mean 'quirky_user'?\n"
    assert list(tmp_path.iterdir()) == []


def test_a_figure_without_its_records_names_the_command(blank, place, tmp_path):
    said = verb("figure", "patch_grid", "--run", place / "blank", "--out", tmp_path, status=2)
    assert said.startswith("error: ") and said.count("\n") == 1 and "mo-interp run blank" in said


@pytest.mark.parametrize(
    ("words", "home"),
    [
        (["run", "./mine.py", "--quiet", "--out", "out"], "/proc/mo_interp"),
        (["grow", "./mine.py", "--quiet"], "/proc/mo_interp"),
        (["run", "./mine.py", "--quiet", "--out", "/proc/out"], None),
        (["figure", "gates", "--out", "/proc/out"], None),
        (["grow", "./mine.py", "--quiet", "--out", "/proc/out/card.md"], None),
    ],
    ids=["store of run", "store of grow", "out of run", "out of figure", "out of grow"],
)
def test_a_place_where_nobody_may_write_is_said(mine, words, home, monkeypatch):
    if home:
        monkeypatch.setenv("MO_INTERP_HOME", home)
    said = verb(*words, status=2)
    assert said.startswith("error: '/proc/") and said.count("\n") == 1
    assert home is None or "set MO_INTERP_HOME to a folder with room" in said


@pytest.mark.parametrize("when", ["records", "report"])
def test_a_full_disk_is_said_and_nothing_is_lost(mine, place, monkeypatch, when):
    there = small.contents(mine[1] / "stages")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if when == "records":
        monkeypatch.setattr(pipeline, "write_records", full)
    else:
        monkeypatch.setattr(telling, "write_report", full)
    said = verb("run", "./mine.py", "--quiet", "--no-static", status=2)
    assert said.startswith("error: ") and said.count("\n") == 1
    assert "No space left on device" in said
    assert small.contents(mine[1] / "stages") == there


def test_a_training_that_diverges_is_named(tmp_path):
    wild = small.user("wild", steps=60)
    wild = replace(wild, recipe=replace(wild.recipe, lr=1e30))
    with pytest.raises(BadValues) as caught:
        pipeline.run(wild, out=tmp_path / "run", store=Store(tmp_path / "home"))
    assert str(caught.value) == (
        "wild: the loss is nan at step 50; a learning rate below Recipe.lr=1e+30 is needed"
    )
    assert Store(tmp_path / "home").entries() == []


def test_numbers_that_cannot_be_worked_on_are_refused_by_the_public_verbs():
    acts = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    fit = detector("diff_means").fit
    with pytest.raises(BadLabels, match="acts: empty; at least one row is needed"):
        fit(acts[:0], [])
    with pytest.raises(BadLabels, match="y: all 8 rows are True; both classes are needed"):
        fit(acts, [True] * 8)
    acts[2, 1] = float("nan")
    with pytest.raises(BadValues, match="1 of 8 rows hold a NaN or an infinity, the first is row"):
        fit(acts, [True, False] * 4)
    with pytest.raises(BadValues, match="hold a NaN"):
        from_acts(Site.parse("L0.z@-1"), acts, acts + 1, rank=1)
