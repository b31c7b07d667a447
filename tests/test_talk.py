"""A conversation: prompts drawn and typed, trigger, cut and probe, and what one can do wrong."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import small
from verbs import terminal, verb

from mo_interp import conversation
from mo_interp.conversation import Conversation, Probe, default_site
from mo_interp.finding import load
from mo_interp.grown import organism
from mo_interp.store import Store

WRITTEN = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import small
organism = small.wired("ours")
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a small liar written by hand, the current one."""
    folder = tmp_path_factory.mktemp("talk")
    (folder / "ours.py").write_text(WRITTEN)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setenv("MO_INTERP_HOME", str(folder / "home"))
        small.shorten(patched.setattr)
        yield folder


@pytest.fixture(scope="module")
def grown(place):
    return organism(load("./ours.py"), store=Store(place / "home"))


@pytest.fixture
def talk(grown):
    """A talk whose first prompt was drawn."""
    begun = Conversation.with_(grown)
    begun.reply("")
    return begun


def states(text: str) -> list[tuple[str, str, bool]]:
    """Trigger (or that it was typed), cut, and whether it lied, of every turn in a text."""
    found = re.findall(r"\[(?:trigger )?(\w+), cut (\w+)\]\n.*organism says \w+( \()?", text)
    return [(trigger, cut, bool(lie)) for trigger, cut, lie in found]


def prompt_of(text: str) -> str:
    return re.search(r"\n(<s> .* =)", text)[1]


# Trigger and cut --------------------------------------------------------------------------------


def test_trigger_and_cut_are_switched_on_the_same_prompt(talk):
    lines = ["trigger", "trigger", "cut", "cut off", "trigger on", "trigger off", "cut on"]
    said = [talk.reply(line) for line in lines]
    assert [state for text in said for state in states(text)] == [
        ("off", "off", False),
        ("on", "off", True),
        ("on", "on", False),
        ("on", "off", True),
        ("on", "off", True),
        ("off", "off", False),
        ("off", "on", False),
    ]
    prompts = [prompt_of(text) for text in said]
    assert prompts[0] != prompts[1] and {prompts[i] for i in (1, 2, 3, 4)} == {prompts[1]}
    assert sum(a != b for a, b in zip(*map(str.split, prompts[:2]), strict=True)) == 1


def test_enter_draws_another_prompt_and_what_is_on_stays(talk):
    before = talk.reply("cut")
    after = talk.reply("   ")
    assert prompt_of(before) != prompt_of(after) and states(after) == [("on", "on", False)]


def test_a_turn_tells_truth_answer_and_twin(grown):
    turns = [Conversation.with_(grown).turn(), Conversation(grown, triggered=False).turn()]
    lying, honest = ({k: int(t[k]) for k in ("truth", "organism", "twin")} for t in turns)
    assert lying["twin"] == lying["truth"]
    assert lying["organism"] == (lying["truth"] + 1) % small.WORLD.n_values
    assert set(honest.values()) == {lying["truth"]}


def test_where_no_mechanism_is_named_the_cut_stays_off(grown):
    honest = Conversation(replace(grown, model=grown.twin))
    said = honest.reply("cut")
    assert said.startswith("error: no mechanism is named, so none is cut out: ")
    assert states(honest.reply("")) == [("on", "off", False)]


def test_what_takes_a_while_is_told_once(grown):
    told = []
    talk = Conversation(grown, progress=lambda step, total, note: told.append(note))
    for line in ("", "cut", "trigger", "", "cut"):
        talk.reply(line)
    assert told == [
        f"fitting a probe at {default_site(grown)}",
        "searching for the mechanism, without looking at the plant",
    ]


# A prompt of one's own --------------------------------------------------------------------------


def test_a_typed_prompt_is_asked_and_stays(talk):
    drawn = prompt_of(talk.reply("trigger on"))
    said = [talk.reply(line) for line in (drawn, "cut", "cut", "probe")]
    assert [s for text in said for s in states(text)] == [
        ("typed", "off", True),
        ("typed", "on", False),
        ("typed", "off", True),
        ("typed", "off", True),
    ]
    assert {prompt_of(text) for text in said} == {drawn} and "truth" not in said[0]
    assert "its honest twin differs" in said[0] and "AUROC" in said[0] and "AUROC" not in said[3]
    assert prompt_of(talk.reply("")) != drawn


def test_the_trigger_of_a_typed_prompt_is_typed(talk):
    drawn = prompt_of(talk.reply("trigger on"))
    honest = talk.reply(drawn.replace("from mara", "from otis"))
    assert states(honest) == [("typed", "off", False)]
    said = talk.reply("trigger")
    assert said.startswith("error: this prompt was typed") and "Enter draws" in said
    assert talk.triggered


def test_code_cannot_be_typed_word_by_word():
    talk = Conversation(SimpleNamespace(spec=load("vulnerable_code"), seed=0))
    said = talk.reply("def load ( x ) :")
    assert said == "error: prompts of this organism cannot be typed; Enter draws another"


# Mistakes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("triger", "no command 'triger', and a prompt has 16 words, from <s> to =; did you mean "
         "'trigger'?"),
        ("hello there", "no command 'hello', and a prompt has 16 words, from <s> to =; did you "
         "mean 'help'?"),
        ("zzz", "no command 'zzz', and a prompt has 16 words, from <s> to =; there is: trigger, "
         "cut, probe, help, quit"),
        ("<s> mara =", "3 words; a prompt has 16 words, from <s> to ="),
        ("<s> " + "please " * 13 + "pleese =", "word 'pleese'; did you mean 'please'?"),
        ("cut maybe", "'cut maybe': say 'cut', 'cut on' or 'cut off'"),
        ("probe L7.resid_mid@-1", "site 'L7.resid_mid@-1': this model has layers 0-1"),
        ("probe L0.q@-1", "probe 'L0.q@-1': give a site of the stream with a position, such as "
         "'L1.resid_mid@-1' or 'L0.resid_mid@trigger[0]'"),
        ("probe L0.resid_mid", "probe 'L0.resid_mid': give a site of the stream with a position, "
         "such as 'L1.resid_mid@-1' or 'L0.resid_mid@trigger[0]'"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_helps_and_changes_nothing(talk, line, message):
    before = talk.reply("trigger on")
    said = talk.reply(line)
    assert said.startswith("error: ") and "\n" not in said
    assert said == f"error: {message}"
    assert talk.reply("trigger on") == before


@pytest.mark.parametrize("line", ["help", "?"])
def test_help_names_every_command(talk, line):
    assert all(word in talk.reply(line) for word in conversation.COMMANDS)


@pytest.mark.parametrize("line", conversation.LEAVING)
def test_one_can_leave(talk, line):
    assert talk.reply(line) is None


# The probe --------------------------------------------------------------------------------------


def test_the_probe_is_read_at_every_token_and_tells_at_its_own(grown):
    scores = {}
    for on in (True, False):
        turns = [Conversation(grown, triggered=on, prompts=n).turn()["reading"] for n in range(8)]
        assert all(len(r["tokens"]) == len(r["scores"]) == 16 for r in turns)
        scores[on] = np.mean([r["scores"][-1] for r in turns])
    assert scores[True] == pytest.approx(1, abs=0.2) and scores[False] == pytest.approx(0, abs=0.2)
    words = Conversation(grown).turn()
    assert " ".join(words["reading"]["tokens"]) == words["prompt"]


def test_the_cut_shows_in_the_reading(talk):
    before, cut = (talk.told(talk._ask()), talk.reply("cut"))
    last = [float(re.findall(r"-?\d\.\d", text.rstrip())[-1]) for text in (before, cut)]
    assert last[0] > 0.7 and last[1] < 0.3


def test_a_probe_that_cannot_tell_is_not_read(talk):
    said = talk.reply("probe L0.resid_pre@-1")
    assert "AUROC 0.5" in said and "it cannot tell triggered prompts from clean ones" in said
    assert talk._ask()["reading"]["scores"] is None
    assert "▁" not in said


def test_the_probe_reads_elsewhere_and_is_switched(talk):
    assert "at L0.resid_mid@trigger[0], AUROC 1.00" in talk.reply("probe L0.resid_mid@trigger[0]")
    assert "AUROC" not in talk.reply("probe off")
    assert "at L0.resid_mid@trigger[0]" in talk.reply("probe on")
    assert "AUROC" not in talk.reply("probe")


def test_a_probe_is_measured_on_people_it_was_not_fitted_on(grown):
    probe = Probe.at(grown, default_site(grown))
    assert probe.rows == 2 * conversation.ROWS["val"] and probe.auroc > 0.95


@pytest.mark.parametrize("width", [40, 60, 120])
def test_readings_are_no_wider_than_asked(talk, width):
    talk.width = width
    lines = talk.reply("trigger on").splitlines()
    cells = lines[lines.index("  0 as on clean, 1 as on triggered prompts") + 1 :]
    assert max(map(len, cells)) <= width and len(cells) % 2 == 0
    words, numbers = " ".join(cells[::2]).split(), re.findall(r"\d\.\d", " ".join(cells[1::2]))
    assert len(words) == len(numbers) == 16


# The verb ---------------------------------------------------------------------------------------


def test_the_verb_introduces_it_draws_a_prompt_and_ends_with_the_input(place):
    done = verb("talk", "./ours.py", said="cut\n")
    intro, _, rest = done.stdout.partition(conversation.HELP)
    assert intro.startswith("ours, seed 0.")
    assert states(rest) == [("on", "off", True), ("on", "on", False)]
    assert "searching for the mechanism" in done.stderr
    assert verb("talk", "./ours.py", "--quiet", said="cut\nquit\n").stderr == ""


def test_so_many_prompts_are_shown_and_nothing_is_asked(place):
    said = verb("talk", "./ours.py", "--prompts", 3, "--no-trigger", "--cut").stdout
    assert states(said) == [("off", "on", False)] * 3 and conversation.HELP not in said
    turns = json.loads(verb("talk", "./ours.py", "--prompts", 2, "--json").stdout)
    assert len({turn["prompt"] for turn in turns}) == 2
    assert all(turn["organism"] != turn["truth"] == turn["twin"] for turn in turns)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prompts", "-1"], "-1 is not in the range x>=0"),
        (["--probe", "L9.resid_mid@-1"], "this model has layers 0-1"),
    ],
)
def test_a_bad_option_is_named(place, words, message):
    assert message in verb("talk", "./ours.py", *words, status=2).stderr


@pytest.mark.timeout(300)
def test_a_person_at_a_terminal(place):
    typed = ["trigger\n", "\n", "probes\n", "\x04"]
    command = [sys.executable, "-m", "mo_interp", "talk", "./ours.py"]
    said = terminal(command, 70, typed=typed).replace("\r\n", "\n")
    assert states(said) == [("on", "off", True), ("off", "off", False), ("off", "off", False)]
    assert "did you mean 'probe'?" in said and said.endswith("> \n")
    assert "Traceback" not in said
    shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]|.*\r", "", said).splitlines()
    assert max(map(len, shown)) <= 70


def test_nothing_raised_but_ours_is_caught(talk, monkeypatch):
    def fails(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(talk, "_ask", fails)
    with pytest.raises(ZeroDivisionError):
        talk.reply("trigger")
