"""The command line for a person: what to do next, plans, completion, interruption, statuses."""

import json
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import click
import pytest
import reading
import small
from click.shell_completion import BashComplete
from verbs import terminal, verb

from mo_interp import finding
from mo_interp.cli import display, main, options
from mo_interp.errors import MoInterpError
from mo_interp.records import write_records

LONG = ("run", "grow", "bench", "cure", "card")
WRITTEN = '''
"""A small liar written by hand."""
import sys
sys.path.insert(0, {tests!r})
import small
organism = small.wired("ours")
'''


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder with an organism of one's own, the current one."""
    (tmp_path / "ours.py").write_text(WRITTEN.format(tests=str(Path(__file__).parent)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MO_INTERP_HOME", str(tmp_path / "home"))
    return tmp_path


# What every verb has ----------------------------------------------------------------------------


def taken(name: str) -> set[str]:
    return {o for p in main.commands[name].params for o in p.opts}


@pytest.mark.parametrize("name", sorted(set(main.commands) - {"completion"}))
def test_every_verb_has_json_and_quiet_and_help(name):
    assert {"--json", "--quiet"} <= taken(name)
    assert len(main.commands[name].help or "") > 40


@pytest.mark.parametrize("name", LONG)
def test_every_long_verb_has_a_plan(name):
    assert "--plan" in taken(name)


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_option_of_every_verb_says_what_it_does(name):
    command = main.commands[name]
    text = command.get_help(click.Context(command, info_name=name))
    for option in (p for p in command.params if isinstance(p, click.Option)):
        assert option.help and option.help.endswith(".") and option.opts[-1] in text


@pytest.mark.parametrize("name", sorted(set(main.commands) - {"completion"}))
def test_every_verb_shows_examples_that_parse(name):
    command = main.commands[name]
    text = command.get_help(click.Context(command, info_name=name, max_content_width=80))
    examples = re.findall(r"^    mo-interp (.*)$", text.partition("Examples:")[2], re.MULTILINE)
    assert len(examples) >= 2 and all(words.split()[0] == name for words in examples)
    for words in examples:
        with click.Context(command) as context:
            command.parse_args(context, words.split()[1:])


def failed(*words: object) -> str:
    """What a verb says that fails: one line, and with --json the same as one JSON value."""
    plain, told = verb(*words, status=2), verb(*words, "--json", status=2)
    assert plain.stdout == "" and told.stderr == plain.stderr
    said = json.loads(told.stdout)["error"]
    assert plain.stderr.rstrip().lower().endswith(f"error: {said}".lower())
    return said


@pytest.mark.parametrize("name", sorted(set(main.commands) - {"completion", "list"}))
def test_a_name_that_is_not_there_is_told_in_one_line_and_in_json(place, name):
    assert re.search(r"'(nope|.*absent.py)'", failed(name, "nope"))
    if name not in ("report", "figure"):
        assert "no file './absent.py'" in failed(name, "./absent.py")


@pytest.mark.parametrize("name", sorted(set(main.commands) - {"report", "completion", "list"}))
def test_a_file_of_ones_own_that_is_broken_is_named(place, name):
    (place / "broken.py").write_text("organism = (")
    (place / "raises.py").write_text("raise ValueError('no')")
    write_records(place / "some.jsonl", [])
    more = ["--run", "some.jsonl"] if name == "figure" else []
    assert "broken.py does not run: SyntaxError" in failed(name, "broken.py", *more)
    assert "raises.py does not run: ValueError: no" in failed(name, "raises.py", *more)


@pytest.mark.parametrize("name", sorted(set(main.commands) - {"completion"}))
def test_an_unknown_option_is_told_in_json(place, name):
    assert failed(name, "--nope").startswith("No such option '--nope'")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["run", "quirky_user", "--seed", "-1"], "-1 is not in the range x>=0"),
        (["run", "quirky_user", "--seed", "x"], "'x' is not a valid integer"),
        (["run", "quirky_user", "--detector", "lof"], "--detector lof: a .py file is needed"),
        (["run", "quirky_user", "--detector", "absent.py"], "'absent.py': no such file"),
        (["run", "./ours.py", "--detector", "ours.py"], "defines no"),
        (["grow", "quirky_user", "--jobs", "0"], "--jobs 0: one worker or more"),
        (["grow", "--all", "--exclude", "quirky_usr"], "did you mean 'quirky_user'?"),
        (["grow", "--all", "--only", "nope"], "'nope' is not one of 'measured'"),
        (["bench", "quirky_user", "--part", "detectoin"], "did you mean 'detection'?"),
        (["bench", "quirky_user", "--seeds", "0"], "one seed or more"),
        (["bench", "quirky_user", "--interval", "0"], "needs a number between 0 and 0.5"),
        (["cure", "quirky_user", "--how", "hedas", "--plan"], "did you mean 'heads'?"),
        (["cure", "quirky_user", "--run", "absent", "--plan"], "no records at 'absent'"),
        (["figure", "verdicts"], "no run in ./runs; give one with --run"),
        (["figure", "verdicts", "--run", "text.txt"], "'text.txt' line 1: not a record"),
        (["figure", "verdicts", "--run", "shipped", "--theme", "nope"], "there is: screen, paper"),
        (["figure", "verdicts", "--run", "shipped", "--width", "nope"], "there is: column, page"),
        (["figure", "verdicts", "--run", "shipped", "--seed", "7"], "no records of seed 7"),
        (["figure", "verdicts", "--run", "shipped", "--part", "nope"], "no scores of part 'nope'"),
        (["figure", "verdicts", "--run", "shipped", "--format", "gif"], "'gif' is not one of"),
        (["figure", "verdicts", "--run", "shipped", "--out", "text.txt"], "a folder is needed"),
        (["figure", "verdicts", "--run", "shipped", "--out", "/proc/x"], "'/proc/x': "),
        (["report", "shipped", "--out", "text.txt"], "a folder is needed"),
        (["report", "shipped", "--out", "/proc/x"], "'/proc/x': "),
        (["report", "."], "no run '.'"),
        (["card", "--all", "quirky_user"], "card: give the name of an organism, or --all"),
        (["doctor", "."], "config.json"),
        (["list", "more"], "Got unexpected extra argument (more)"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_before_anything_is_done(place, words, text):
    shipped = str(reading.ROOT / "probes" / "results" / "quirky_user.jsonl")
    (place / "text.txt").write_text("hello")
    there = small.contents(place)
    assert text in failed(*(shipped if word == "shipped" else word for word in words))
    assert small.contents(place) == there


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["report", "shipped", "--out", "told"],
        ["figure", "verdicts", "--run", "shipped", "--out", "told"],
        ["doctor", "lof"],
        ["card", "./ours.py", "--plan"],
        ["cure", "./ours.py", "--plan"],
        ["run", "./ours.py", "--plan"],
    ],
    ids=" ".join,
)
def test_quiet_has_no_word_beside_the_result_and_json_is_one_value(place, words):
    shipped = str(reading.ROOT / "probes" / "results" / "quirky_user.jsonl")
    words = [shipped if word == "shipped" else word for word in words]
    assert verb(*words, "--quiet").stderr == ""
    done = verb(*words, "--json")
    assert json.loads(done.stdout) is not None and done.stderr == ""


def test_a_program_is_told_that_a_verb_was_stopped(place, monkeypatch):
    from mo_interp import pipeline

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run", stopped)
    said = verb("run", "./ours.py", "--json", status=130)
    assert json.loads(said.stdout) == {"error": "stopped"}


def test_jobs_that_failed_are_named_in_json_and_the_status_is_1(place, monkeypatch):
    from mo_interp import growing
    from mo_interp.growing import Outcome

    def none(plan, **_):
        return [Outcome(entry.job, 1.0, "its process died (SIGKILL)") for entry in plan.todo]

    monkeypatch.setattr(growing, "measured_rate", lambda: 1e-11)
    monkeypatch.setattr(growing, "carry_out", none)
    said = verb("grow", "./ours.py", "--seeds", 2, "--json", status=1)
    died = [{"job": f"ours seed {s}", "problem": "its process died (SIGKILL)"} for s in (0, 1)]
    told = json.loads(said.stdout)
    assert told["failed"] == died and told["card"] is None
    assert "FAILED: ours seed 1: its process died" in said.stderr


def test_quiet_list_is_the_names_alone(place):
    names = verb("list", "--quiet").stdout.split()
    assert "quirky_user" in names and all(re.fullmatch(r"\w+", name) for name in names)


# What to do next --------------------------------------------------------------------------------


def claim(place: Path, name: str, seed: int = 0) -> Path:
    folder = place / "runs" / f"{name}-{seed}-abc"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"organism": name, "seed": seed}))
    return folder


def shown(text: str) -> list[list[str]]:
    """The commands that a text shows, each without what is said beside it."""
    lines = [line.split("  ")[0] for line in re.findall(r"^  (mo-interp .*)$", text, re.MULTILINE)]
    return [line.split()[1:] for line in lines]


def test_in_an_empty_folder_one_is_told_to_begin(place):
    said = verb().stdout
    assert said.startswith("Nothing was run") and ["run", "quirky_user"] in shown(said)


def test_an_interrupted_run_is_gone_on_with(place):
    claim(place, "ours", 3)
    said = verb().stdout
    assert "was not finished" in said and ["run", "./ours.py", "--seed", "3"] in shown(said)


def test_a_finished_run_is_pointed_at(place):
    folder = claim(place, "quirky_user")
    (folder / "report.html").write_text("")
    said = verb().stdout
    assert str(folder / "report.html") in said
    assert {"talk", "cure", "figure", "grow"} <= {words[0] for words in shown(said)}


def test_every_command_that_is_told_parses(place):
    texts = [verb().stdout]
    claim(place, "quirky_user", 1).joinpath("report.html").write_text("")
    texts.append(verb().stdout)
    for words in (w for text in texts for w in shown(text) if w != ["--help"]):
        command = main.commands[words[0]]
        with click.Context(command) as context:
            command.parse_args(context, words[1:])


# Completion -------------------------------------------------------------------------------------


def completed(*words: str) -> list[str]:
    given, text = list(words[:-1]), words[-1]
    found = BashComplete(main, {}, "mo-interp", "_MO_INTERP_COMPLETE").get_completions(given, text)
    return [item.value for item in found]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("ru",), "run"),
        (("run", "quirky_u"), "quirky_user"),
        (("talk", "quirky_u"), "quirky_user"),
        (("grow", "--exclude", "impl"), "implanted_user"),
        (("figure", "verd"), "verdicts"),
        (("doctor", "logi"), "logistic"),
        (("doctor", "quirky_u"), "quirky_user"),
        (("cure", "quirky_user", "--how", "lea"), "leace"),
        (("bench", "--part", "disc"), "discovery"),
        (("run", "./ou"), "./ours.py"),
        (("run", "quirky_user", "--detector", "ou"), "ours.py"),
        (("run", "--no-s"), "--no-static"),
    ],
)
def test_names_complete(place, words, wanted):
    assert wanted in completed(*words)
    assert all(found.startswith(words[-1]) for found in completed(*words))


def test_names_of_ones_own_complete(place, monkeypatch):
    monkeypatch.setenv("MO_INTERP_PATH", str(place))
    assert completed("run", "ou") == ["ours"]


def test_what_is_offered_is_what_there_is():
    from mo_interp import detectors, figures
    from mo_interp.bench import PARTS
    from mo_interp.removal import METHODS

    assert list(METHODS) == list(options.CURES) and list(PARTS) == list(options.PARTS)
    assert set(options.named(*options.ORGANISM)) == set(finding.names())
    assert set(options.named(*options.DETECTOR)) == set(detectors.names())
    assert set(options.named(*options.FIGURE)) == set(figures.names())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_printed(shell):
    said = verb("completion", shell).stdout
    assert "_MO_INTERP_COMPLETE" in said and f"{shell}_complete" in said and "mo-interp" in said


def test_an_unknown_shell_is_named():
    assert "'csh' is not one of 'bash', 'zsh', 'fish'" in verb("completion", "csh", status=2).stderr


# Interrupted ------------------------------------------------------------------------------------


def test_a_stopped_verb_says_how_to_go_on(place, monkeypatch):
    from mo_interp import pipeline

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run", stopped)
    said = verb("run", "./ours.py", "--quiet", "--out", "a b", status=130).stderr
    assert said == (
        "stopped; what is finished is kept, and this goes on from there:\n"
        "  mo-interp run ./ours.py --quiet --out 'a b'\n"
    )


def _hears_ctrl_c() -> None:
    """As on a terminal; what a shell starts in the background is deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run in processes of its own that is stopped by Ctrl-C once its gates are there, and again.

    What it said, its plan, the folder, and the bytes of the stage that was there.
    """
    place = tmp_path_factory.mktemp("stopped")
    (place / "ours.py").write_text(WRITTEN.format(tests=str(Path(__file__).parent)))
    command = [sys.executable, "-m", "mo_interp", "run", "./ours.py", "--no-static", "--out", "r"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MO_INTERP_HOME", str(place / "home"))
        told = subprocess.run([*command, "--plan", "--json"], cwd=place, capture_output=True)
        began = subprocess.Popen(
            command, cwd=place, stderr=subprocess.PIPE, text=True, preexec_fn=_hears_ctrl_c
        )
        while not (place / "r" / "stages" / "2-gates.seal.json").exists():
            assert began.poll() is None
            time.sleep(0.1)
        began.send_signal(signal.SIGINT)
        said = began.communicate(timeout=120)[1]
        assert began.returncode == 130
        kept = (place / "r" / "stages" / "2-gates.jsonl").read_bytes()
        subprocess.run(command, cwd=place, check=True, timeout=2000)
    return said, json.loads(told.stdout), place, kept


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_run_that_is_stopped_keeps_its_stages_and_resumes(stopped):
    said, _, place, kept = stopped
    assert "this goes on from there:\n  mo-interp run ./ours.py --no-static --out r\n" in said
    assert "Traceback" not in said
    assert (place / "r" / "stages" / "2-gates.jsonl").read_bytes() == kept
    assert (place / "r" / "report.html").exists()


def near(planned: float, found: float, factor: float) -> bool:
    return 1 / factor < planned / found < factor


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_plans_steps_and_megabytes_are_those_of_the_run(stopped):
    """Its seconds are a benchmark's: ``python benchmarks/bench_run.py``."""
    from mo_interp import figures, forecast, telling
    from mo_interp.finding import load
    from mo_interp.records import read_records

    _, plan, place, _ = stopped
    took = forecast.earlier("ours", place)
    assert {step["name"] for step in plan["steps"]} >= set(took)
    assert set(took) >= set(forecast.FITS) - {forecast.TELL}
    size = sum(p.stat().st_size for p in (place / "r").rglob("*") if p.is_file())
    assert near(plan["disk"], size, 1.5)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert near(plan["memory"], used.ru_maxrss * 1024, 1.5)
    given = load(str(place / "ours.py")), place / "again", read_records(place / "r")
    if figures.browser():
        telling.tell(*given, static=True)
        drawn = [p for kind in ("svg", "pdf", "png") for p in (place / "again").rglob(f"*.{kind}")]
        assert near(forecast.WRITTEN["static"], sum(p.stat().st_size for p in drawn), 2)


# Plans ------------------------------------------------------------------------------------------


def count(spec, folder: Path):
    """A short run of an organism: its plan before and after, and forwards counted at the door."""
    from mo_interp import forecast, patching, pipeline, stages
    from mo_interp.grown import organism
    from mo_interp.model import Model
    from mo_interp.store import Store

    real, sweep, took, stage = Model._forward, patching.sweep, Counter(), [""]

    def forward(self, ids, rows, start, options):
        found = real(self, ids, rows, start, options)
        took[stage[0]] += len(found)
        return found

    def swept(*given, **named):
        before = took[stage[0]]
        found = sweep(*given, **named)
        took[stage[0]] = before + found.forwards
        return found

    def heard(step, total, note):
        if note.startswith("stage"):
            stage[0] = note.rpartition(": ")[2]

    store = Store(folder / "home")
    with pytest.MonkeyPatch.context() as patched:
        small.shorten(patched.setattr)
        organism(spec, store=store)
        told = {"out": folder / "run", "store": store}
        before = forecast.forecast(spec, **told)
        patched.setattr(Model, "_forward", forward)
        patched.setattr(patching, "sweep", swept)
        reading = ["logistic", "sae_latent", "attention_probe"]  # rows, latents and positions
        patched.setattr(stages, "detector_names", lambda: reading)
        pipeline.run(spec, **told, progress=heard)
        patched.undo()
        small.shorten(patched.setattr)
        return before, took, forecast.forecast(spec, **told)


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """A short run of a small organism written by hand, and its folder."""
    folder = tmp_path_factory.mktemp("counted")
    return *count(small.wired("ours"), folder), folder


def close(before, took: Counter) -> None:
    """Exact where it is said to be, and within a fifth elsewhere."""
    from mo_interp.pipeline import STAGES

    planned = {step.name: step for step in before.steps}
    assert set(STAGES) < set(planned) and planned["grow"].done
    exact = {name for name in STAGES if planned[name].exact}
    assert {n: planned[n].forwards for n in exact} == {n: took[n] for n in exact}
    for name in STAGES:
        assert abs(planned[name].forwards - took[name]) <= 0.2 * took[name], name


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_is_planned_of_a_trained_one_is_what_is_counted(tmp_path):
    before, took, _ = count(finding.load("quirky_user"), tmp_path)
    close(before, took)


def test_what_is_planned_is_what_is_counted(counted):
    before, took, *_ = counted
    close(before, took)
    assert {"behaviour", "patch", "tokens"} <= {step.name for step in before.steps if step.exact}


def test_what_is_not_grown_is_planned_as_growing(tmp_path):
    from mo_interp import forecast
    from mo_interp.store import Store

    with pytest.MonkeyPatch.context() as patched:
        small.shorten(patched.setattr)
        plan = forecast.forecast(small.wired("ours"), store=Store(tmp_path), out=tmp_path / "r")
    assert not plan.steps[0].done and plan.steps[0].name == forecast.GROW
    assert plan.disk > forecast.WRITTEN[forecast.TELL] + forecast.WRITTEN["static"]


def test_a_finished_run_has_nothing_left_but_its_report(counted):
    before, _, after, _ = counted
    assert after.forwards == 0 and all(s.done for s in after.steps if s.name != "report")
    assert before.seconds > after.seconds > 0
    assert before.memory > 1e8 and before.disk > 1e6 and before.free > 0


def test_seconds_come_from_an_earlier_run(counted):
    from mo_interp import forecast

    before, _, after, folder = counted
    assert "a guess" in before.how and "as the newest run of it" in after.how
    told = forecast.earlier("ours", folder)
    assert set(told) >= {"behaviour", "patch", "judge"} and all(s > 0 for s in told.values())
    assert forecast.earlier("another", folder) == {}


def test_the_plan_of_a_run_is_shown_and_runs_nothing(place, monkeypatch):
    small.shorten(monkeypatch.setattr)
    said = verb("run", "./ours.py", "--plan").stdout
    assert all(word in said for word in ("forwards", "minutes", "memory", "MB on disk", "~"))
    told = json.loads(verb("run", "./ours.py", "--plan", "--json").stdout)
    assert told["forwards"] == sum(step["forwards"] for step in told["steps"]) > 1000
    assert not (place / "runs").exists() and not (place / "home").exists()


@pytest.mark.parametrize(
    "words", [("grow", "./ours.py"), ("cure", "./ours.py"), ("bench", "./ours.py")]
)
def test_every_other_plan_tells_the_same_four(place, words, monkeypatch):
    from mo_interp import growing

    monkeypatch.setattr(growing, "measured_rate", lambda: 1e-11)
    said = verb(*words, "--plan").stdout
    assert all(word in said for word in ("forwards", "minutes", "of memory", " MB ", "GB free"))
    told = json.loads(verb(*words, "--plan", "--json").stdout)
    assert told["forwards"] > 0 and told["memory"] > 1e8 and told["free"] > 0


def test_the_plan_of_cards_writes_none(place):
    said = verb("card", "./ours.py", "--plan", "--out", "c.md").stdout
    assert "./ours.py" in said and "0 seeds" in said and "no forwards" in said
    assert not (place / "c.md").exists()


# The time left ----------------------------------------------------------------------------------


def test_a_countdown_learns_its_pace():
    from mo_interp.forecast import Countdown

    now = [0.0]
    count = Countdown({"a": 10, "b": 20, "c": 5}, clock=lambda: now[0])
    assert count.left == 35
    now[0] = 4.0
    assert count.left == 31
    assert not count.late
    now[0] = 20.0  # twice what was expected, so the rest is expected to take twice as long
    assert count.left == 50 and count.late
    count.at("b")
    assert count.left == 50 and not count.late
    count.at("nothing of ours")
    now[0] = 40.0
    assert count.left == 30
    count.at("c")
    now[0] = 1000.0
    assert count.left == 0 and count.late


def test_what_was_there_already_tells_no_pace():
    from mo_interp.forecast import Countdown

    now = [0.0]
    count = Countdown({"a": 10, "b": 20}, clock=lambda: now[0])
    now[0] = 0.1
    count.at("b")
    assert count.left == 20


def test_the_countdown_of_a_cure_is_midway_and_knows_its_stages():
    from mo_interp.forecast import EDITING, cure_countdown
    from mo_interp.removal import cure

    for how in ("mean", "fine_tune"):
        cost = cure.plan_of(small.wired("ours"), how=how)
        expected = cure_countdown(cost).expected
        assert sum(expected.values()) == pytest.approx(30 * sum(cost.minutes))
        assert {*cure.STAGES, EDITING} == set(expected)
        assert (expected[EDITING] > 0) == (how == "fine_tune")


def test_progress_tells_stage_step_and_time_left():
    from mo_interp.forecast import Countdown

    told = display.ProgressLine(Countdown({"detect": 90, "judge": 60}, clock=lambda: 0.0))
    assert told.hear(0, 1, "stage 4 of 6: detect") == "stage 4 of 6: detect"
    assert told.hear(3, 16, "detector lof") == "stage 4 of 6: detect (detector lof)"
    assert told.left(3, 16) == "about 2.5 min left"
    assert display.ProgressLine().left(0, 10) == ""
    assert told.hear(0, 1, "stage: report") == "report"
    assert display.minutes(0.2) == "about 1 s left"
    assert display.minutes(90, late=True) == "over 1.5 min left"
    assert display.minutes(0, late=True) == "taking longer"


# What a terminal shows --------------------------------------------------------------------------

SHOWS = """
import time
from mo_interp.cli.display import ProgressLine, progress_bar, say
from mo_interp.forecast import Countdown
with progress_bar(False, ProgressLine(Countdown({"detect": 90, "judge": 60}))) as progress:
    progress(0, 1, "stage 1 of 2: detect")
    progress(3, 16, "detector attention_probe at L0.resid_mid@trigger[0]")
    time.sleep(0.4)
say("a conclusion of many words " * 6 + "\\n  mo-interp run " + 60 * "x")
"""


@pytest.mark.parametrize("columns", [60, 100, 160])
def test_a_terminal_shows_step_and_time_left_and_keeps_the_result_alone(columns):
    raw = terminal([sys.executable, "-c", SHOWS], columns)
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-JL-Z]", "", raw)
    drawn = [line for line in re.split(r"[\r\n]|\x1b\[2K", text) if line]
    stays = text.rpartition("\x1b[2K")[2].split("\r\n")
    bars = [line for line in drawn if "stage 1 of 2: detect" in line]
    assert any("(detector" in line and "about 2.5 min left" in line for line in bars)
    assert ("━" in "".join(bars)) == (columns >= display.WIDE)
    assert columns < 160 or any("L0.resid_mid@trigger[0])" in line for line in bars)
    assert max(map(len, bars)) <= columns - display.ROOM
    *words, command, end = stays
    assert end == "" and command == "  mo-interp run " + 60 * "x"
    assert max(map(len, words)) <= columns and " ".join(words).split() == (
        "a conclusion of many words ".split() * 6
    )


def test_lines_break_between_words_and_a_path_stays_whole():
    path = "/a/long/" + 40 * "x"
    assert display.fitted(path, 30) == path
    assert display.fitted("  one two three", 10) == "  one two\n    three"
    assert display.fitted("one two three", 0) == "one two three"


def test_without_a_terminal_progress_is_plain_lines(capsys):
    from mo_interp.forecast import Countdown

    line = display.ProgressLine(Countdown({"detect": 90, "report": 6}, clock=lambda: 0.0))
    with display.progress_bar(False, line) as progress:
        progress(0, 1, "stage 1 of 2: detect")
        for step in range(3):
            progress(step, 3, f"SAE loss: {step}")
        progress(0, 1, "stage: report")
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "stage 1 of 2: detect; about 1.6 min left",
        "  SAE loss",
        "report; about 6 s left",
    ]
    with display.progress_bar(True) as progress:
        progress(0, 1, "stage 1 of 2: detect")
    assert capsys.readouterr() == ("", "")


def test_many_jobs_are_told_by_name_and_what_they_are_at():
    note = "growing tiny/clean, seed 0: loss 0.680"
    assert display.doing(note) == "growing tiny/clean (loss 0.680)"
    assert display.doing("stage 4 of 7: detect") == "stage 4 of 7: detect"
    assert display.doing("gates") == "gates"


# Texts and statuses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["cure", "quirky_usr"], "organism 'quirky_usr'; did you mean 'quirky_user'?"),
        (["bench"], "give names of organisms, or --all"),
        (["grow", "quirky_user", "--all"], "give names of organisms, or --all"),
        (["card"], "card: give the name of an organism, or --all"),
        (["run", "quirky_user+posthok", "--plan"], "modifier 'posthok'"),
        (["doctor", "logistik"], "organism 'logistik'"),
    ],
)
def test_an_error_is_one_line_and_status_2(place, words, text):
    said = verb(*words, status=2).stderr
    assert said.startswith(f"error: {text}") and said.count("\n") == 1


def test_our_errors_are_told_whatever_raises_them(place, monkeypatch):
    def fails(*_, **__):
        raise MoInterpError("it is so")

    monkeypatch.setattr(finding, "load", fails)
    assert verb("run", "quirky_user", status=2).stderr == "error: it is so\n"


# The doctor -------------------------------------------------------------------------------------


def test_the_doctor_tells_versions_extras_threads_room_and_chrome(place, monkeypatch):
    monkeypatch.setattr("mo_interp.checkup._bodies", list)
    told = {line["what"]: line for line in json.loads(verb("doctor", "--json").stdout)}
    assert {"python", "torch", "threads", "store", "runs", "browser"} <= set(told)
    assert told["store: checksums"]["found"].startswith("0 of 0")
    assert {"extra: export", "extra: docs", "extra: code", "extra: notebooks"} <= set(told)
    assert "cores" in told["threads"]["found"] and "GiB free" in told["store"]["found"]
    assert verb("doctor", "--quiet").stdout == ""


def test_the_doctor_finds_a_damaged_artefact(place, monkeypatch):
    from mo_interp.store import Store

    monkeypatch.setattr("mo_interp.checkup._bodies", list)
    folder = Store().get_or_build("thing", "key", lambda f: (f / "x").write_text("sound"))
    (folder / "x").write_text("other")
    said = verb("doctor", "--quiet", status=1).stdout
    assert "BAD  artefact: thing" in said and "expected sha256" in said and "0 of 1" in said


def test_the_doctor_finds_a_store_that_cannot_be_written(place, monkeypatch):
    from mo_interp import checkup

    monkeypatch.setattr("os.access", lambda *_: False)
    assert not checkup._room("store", place / "home", 0).good


def test_the_doctor_finds_a_full_disk(place, monkeypatch):
    from mo_interp import checkup

    monkeypatch.setattr(checkup, "ROOM", 1e9)
    found = checkup._room("store", place / "home", 0)
    assert not found.good and "less than" in found.found


def test_the_doctor_takes_the_name_of_a_detector(place):
    said = verb("doctor", "lof").stdout
    assert said.count("ok ") == 4 and "lof: refuses labels" in said
