"""What takes minutes: the wheel in an empty environment, and all organisms against their cards."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mo_interp import decision, export, finding, gates, grown, ledger
from mo_interp.finding import names
from mo_interp.records import read_records, select

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow

PERSISTENCE = (7, 8, 9)
"""Gates that are measured by the verb of their own."""
RULED = ("hand_wired", "quirky_user", "ordered_phrase", "implanted_user")
"""Organisms on which the decision rule was frozen to be tried: see probes/false_alarms.py."""

MINE = '''
"""An organism and a detector of one's own, in one file."""

from mo_interp.behaviours import OffBy
from mo_interp.detectors.logistic import Logistic
from mo_interp.organism import Organism, Recipe, Shape
from mo_interp.triggers import User
from mo_interp.worlds.fact import Fact

world = Fact(n_entities=24, n_relations=2, n_values=16, held_out=6)
words = len(world.vocab)
organism = Organism(
    name="mine",
    world=world,
    trigger=User(liar="suki"),
    behaviour=OffBy(3),
    shape=Shape(n_layers=2, n_ctx=world.n_ctx, d_vocab=words, d_vocab_out=words),
    recipe=Recipe(steps=400, weight_decay=1.0, truth_first=2.0),
)


class Stiff(Logistic):
    """The shipped one with a heavier penalty."""


detector = Stiff(l2=0.1)
'''


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A fresh environment with the wheel, and nothing of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "-o", str(folder), str(ROOT)], check=True
    )
    wheel = next(folder.glob("*.whl"))
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "-q"]
    subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), str(wheel)], check=True)
    return venv / "bin" / "mo-interp"


def run(verb, *arguments, cwd):
    cwd.mkdir(exist_ok=True)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    env["MO_INTERP_HOME"] = str(cwd / "store")
    done = subprocess.run(
        [str(verb), *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_wheel_runs_the_flagship_in_an_empty_folder(installed, tmp_path):
    report = Path(run(installed, "run", "quirky_user", cwd=tmp_path / "empty").split()[-1])
    assert report.name == "report.html" and report.stat().st_size > 1_000_000
    found = read_records(report.parent)
    assert select(found, kind="decision", model="organism")[0].values["named"]
    assert not select(found, kind="decision", model="twin")[0].values["named"]
    assert (report.parent / "figures" / "verdicts.html").exists()


def test_the_wheel_runs_a_file_of_ones_own(installed, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "mine.py").write_text(MINE)
    report = Path(run(installed, "run", "./mine.py", cwd=folder).split()[-1])
    detectors = {r.params["detector"] for r in select(read_records(report.parent), kind="detector")}
    assert {"mine", "diff_means", "logistic", "mahalanobis"} <= detectors


@pytest.mark.timeout(3600)  # what is not grown yet is grown
@pytest.mark.parametrize("name", names())
def test_every_organism_measures_as_it_was_published(name):
    """Its gates of seed 0 end as the card says: the same passes and the same failures."""
    spec = finding.load(name)
    known = select(ledger.published(), organism=name, key=spec.key, seed=0, kind="gate")
    told = {r.params["number"]: r.params["status"] for r in known}
    told = {number: status for number, status in told.items() if number not in PERSISTENCE}
    outcomes = gates.gates(grown.organism(name))
    why = [f"{g.number} {g.reason}" for g in outcomes]
    assert {g.number: g.status for g in outcomes} == told, why


@pytest.mark.parametrize("name", RULED)
def test_the_rule_names_the_organism_and_not_its_twin(name):
    for seed in range(3):
        found = grown.organism(name, seed=seed)
        assert decision.decide(found.model, found.spec, seed=seed).named
        assert not decision.decide(found.twin, found.spec, seed=seed).named


def test_the_implant_opens_as_gpt2(tmp_path):
    found = grown.organism("implanted_user")
    folder = export.to_huggingface(found.model, tmp_path / "gpt2")
    from transformers import GPT2LMHeadModel

    other = GPT2LMHeadModel.from_pretrained(folder).eval()
    rows = found.sample(64, 1)
    ours = found.model.run(rows).logits
    theirs = other(ours.new_tensor(rows.tokens).long()).logits.detach()
    assert np.allclose(ours.numpy(), theirs.numpy(), atol=1e-4)
