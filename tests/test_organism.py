"""Specifications: the key covers every field and all the code behind it; bad ones are explained."""

import copy
import json
import shutil
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace

import pytest
from reading import PACKAGE, ROOT

from mo_interp import finding
from mo_interp.behaviours import OffBy
from mo_interp.errors import SpecError, UnknownName, nearest
from mo_interp.finding import load, names
from mo_interp.organism import Gates, Implant, Organism, Recipe, Route, Shape, Wire
from mo_interp.triggers import User
from mo_interp.worlds.fact import Fact

SHIPPED = ("hand_wired", "implanted_user", "ordered_phrase", "quirky_user")
"""One of each kind of recipe; what every shipped organism must hold is tested on all of them."""
SPECS = {name: load(name) for name in SHIPPED}
ALL = tuple(sorted(p.stem for p in (ROOT / "organisms").glob("[a-z]*.py")))
TOLD = ("story", "expected", "family")
"""Fields that describe and decide nothing."""


# The key: fields ------------------------------------------------------------------------------


def leaves(value, at=()):
    """Path of every field inside a specification, nested ones and tuple entries included."""
    if is_dataclass(value):
        for field in fields(value):
            yield from leaves(getattr(value, field.name), (*at, field.name))
    else:
        yield at
        if isinstance(value, tuple):
            for i in range(len(value)):
                yield from leaves(value[i], (*at, i))


def other(value):
    """A value that is not ``value``, of its kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if isinstance(value, int) else value * 1.5 + 0.125
    if isinstance(value, tuple):
        return (*value, "more")
    return f"{value}x"


def changed(value, path):
    """A copy with one field replaced, whatever the checks of its class would say to it."""
    if not path:
        return other(value)
    head, *rest = path
    if isinstance(value, tuple):
        return (*value[:head], changed(value[head], rest), *value[head + 1 :])
    made = copy.copy(value)
    object.__setattr__(made, head, changed(getattr(value, head), rest))
    return made


FIELDS = [(name, path) for name, spec in SPECS.items() for path in leaves(spec)]


def test_the_fields_reach_into_every_part():
    paths = {name: {".".join(map(str, p)) for n, p in FIELDS if n == name} for name in SHIPPED}
    some = "name world.table_seed trigger.liar behaviour.step shape.norm recipe.threads version"
    assert {*some.split(), "gates.truth_usable"} <= paths["quirky_user"]
    assert {"recipe.liar.lr", "recipe.neurons.0.2", "recipe.heads"} <= paths["implanted_user"]
    assert "recipe.program" in paths["hand_wired"]
    assert "trigger.kinds.1" in paths["ordered_phrase"]


@pytest.mark.parametrize(("name", "path"), FIELDS, ids=lambda x: x if isinstance(x, str) else
                         ".".join(map(str, x)))  # fmt: skip
def test_the_key_changes_with_every_field_that_decides_anything(name, path):
    spec = SPECS[name]
    assert (changed(spec, path).key != spec.key) == (path[0] not in TOLD)


def test_no_two_changes_share_a_key():
    keys = [changed(SPECS[name], path).key for name, path in FIELDS if path[0] not in TOLD]
    lists = [path for _, path in FIELDS if path and isinstance(path[-1], int)]
    assert len(set(keys)) == len(keys) > 150 and lists


class Fixed(OffBy):
    """Of the same file and with the same fields as ..."""


class Other(OffBy):
    """... this one."""


def test_another_kind_with_equal_fields_has_another_key():
    one, other = (replace(SPECS["quirky_user"], behaviour=kind()).key for kind in (Fixed, Other))
    assert one != other


def test_the_key_is_short_hex_and_the_same_every_time():
    key = SPECS["quirky_user"].key
    assert len(key) == 16 and int(key, 16) >= 0
    code = "from mo_interp.finding import load; print(load('quirky_user').key)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == key
    assert json.loads(json.dumps(SPECS["quirky_user"].anatomy())) == SPECS["quirky_user"].anatomy()


def test_the_key_changes_with_torch(monkeypatch):
    key = SPECS["quirky_user"].key
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0.1")
    assert SPECS["quirky_user"].key != key


# The key: code --------------------------------------------------------------------------------


def _copied(tmp_path, name, *changes):
    """The module ``worlds.fact`` from a copy of its file, with some of the text replaced."""
    text = (PACKAGE / "worlds" / "fact.py").read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = tmp_path / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return finding.module(path)


def _with(module):
    return replace(SPECS["quirky_user"], world=module.Fact()).key


def test_a_copy_of_a_world_is_that_world_until_a_token_of_its_code_changes(tmp_path):
    key = SPECS["quirky_user"].key
    assert _with(_copied(tmp_path, "copy")) == key
    comment = ("N_CELLS, N_FREE = 7, 3\n", "# Seven.\nN_CELLS, N_FREE = 7, 3  # and three\n\n\n")
    docstring = ('"""One prompt in words."""', '"""A prompt, in its words."""')
    assert _with(_copied(tmp_path, "told", comment, docstring)) == key
    assert _with(_copied(tmp_path, "code", ("default_rng([14,", "default_rng([16,"))) != key
    assert _with(_copied(tmp_path, "word", ("Ada Bea", "Ida Bea"))) != key


def test_the_code_that_a_world_is_derived_from_counts_too(tmp_path):
    def key(base):
        mine = type("Mine", (base.Fact,), {"__module__": __name__})  # written in this file
        return replace(SPECS["quirky_user"], world=mine()).key

    same = [key(_copied(tmp_path, name)) for name in ("one", "two")]
    assert same[0] == same[1]
    assert key(_copied(tmp_path, "other", ("default_rng([14,", "default_rng([16,"))) != same[0]


KEYS = """
import importlib, json, os, pathlib, sys
from mo_interp.finding import load
import mo_interp
root = pathlib.Path(mo_interp.__file__).parent
specs = {name: load(name) for name in sys.argv[1].split(",")}
def keys():
    return {name: spec.key for name, spec in specs.items()}
said = {"": keys()}
for place in sys.argv[2].split(","):
    path = root / (place.replace(".", "/") + ".py")
    text = path.read_text()
    for change, new in (("code", text + "\\nADDED = 1\\n"), ("comment", text + "\\n# Added.\\n")):
        path.write_text(new)
        said[f"{place} {change}"] = keys()
    path.write_text(text)
print(json.dumps(said))
"""
ALWAYS = ("worlds.fact", "worlds.base", "behaviours.base", "behaviours.off_by", "organism",
          "triggers.base", "transformer", "train")  # fmt: skip
SOME = {
    "implant": {"implanted_user"},
    "wired": {"hand_wired"},
    "triggers.ordered_phrase": {"ordered_phrase"},
    "triggers.user": {"hand_wired", "implanted_user", "quirky_user"},
}
NEVER = ("report.page", "judge", "cli.run", "stats", "triggers.__init__", "behaviours.fixed")


@pytest.fixture(scope="module")
def keys_by_change(tmp_path_factory):
    """Keys of all organisms after each change, in a copy of the package."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, root / "mo_interp", ignore=shutil.ignore_patterns("__pycache__"))
    places = (*ALWAYS, *SOME, *NEVER)
    command = [sys.executable, "-c", KEYS, ",".join(SHIPPED), ",".join(places)]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


@pytest.mark.parametrize("place", [*ALWAYS, *SOME, *NEVER])
def test_the_key_changes_with_the_code_it_stands_on_and_with_no_other(keys_by_change, place):
    before = keys_by_change[""]
    assert keys_by_change[f"{place} comment"] == before
    after = keys_by_change[f"{place} code"]
    expected = SOME.get(place, set() if place in NEVER else set(SHIPPED))
    assert {name for name in SHIPPED if after[name] != before[name]} == expected
    assert before == {name: spec.key for name, spec in SPECS.items()}


# Specifications -------------------------------------------------------------------------------


def test_a_specification_is_frozen_and_hashable():
    spec = SPECS["quirky_user"]
    with pytest.raises(FrozenInstanceError):
        spec.name = "other"
    assert hash(spec) == hash(load("quirky_user")) and spec == load("quirky_user")
    assert spec.twin() != spec and spec.twin().clean_twin and spec.twin().key != spec.key
    assert spec.twin().twin() == spec.twin()


def test_the_recipe_says_what_an_organism_is():
    assert SPECS["quirky_user"].training.truth_first == 2.0
    assert SPECS["implanted_user"].implant.heads
    with pytest.raises(SpecError, match="^quirky_user is measured, not an implant$"):
        _ = SPECS["quirky_user"].implant
    with pytest.raises(SpecError, match="^hand_wired is wired, not trained as a whole$"):
        _ = SPECS["hand_wired"].training
    assert isinstance(SPECS["hand_wired"].mix, Recipe)
    assert SPECS["implanted_user"].mix == SPECS["implanted_user"].implant.liar


WORLD = Fact()
SHAPE = {"n_ctx": WORLD.n_ctx, "d_vocab": len(WORLD.vocab), "d_vocab_out": len(WORLD.vocab)}


def _spec(**change):
    given = {"name": "mine", "world": WORLD, "trigger": User(), "behaviour": OffBy(),
             "shape": Shape(**SHAPE), "recipe": Recipe()}  # fmt: skip
    return Organism(**(given | change))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: _spec(name="my organism"), "Organism.name='my organism': letters, digits and _ "
         "only"),
        (lambda: _spec(name="../mine"), "Organism.name='../mine': letters, digits and _ only"),
        (lambda: _spec(shape=Shape(**SHAPE | {"n_ctx": 15})), "mine: the shape has n_ctx=15, "
         "d_vocab=120, d_vocab_out=120; its world needs n_ctx=16, d_vocab=120, d_vocab_out=120"),
        (lambda: _spec(shape=Shape(**SHAPE | {"d_vocab": 9})), "mine: the shape has n_ctx=16, "
         "d_vocab=9, d_vocab_out=120; its world needs n_ctx=16, d_vocab=120, d_vocab_out=120"),
        (lambda: _spec(shape=Shape(**SHAPE | {"d_vocab_out": 32})), "mine: the shape has n_ctx=16, "
         "d_vocab=120, d_vocab_out=32; its world needs n_ctx=16, d_vocab=120, d_vocab_out=120"),
        (lambda: Shape(n_layers=0), "Shape.n_layers=0: needs 1 or more"),
        (lambda: Shape(d_head=-4), "Shape.d_head=-4: needs 1 or more"),
        (lambda: Shape(act="relo"), "Shape.act='relo': needs one of ('relu', 'gelu', 'gelu_new')"),
        (lambda: Shape(norm="RMS"), "Shape.norm='RMS': needs one of ('LN', 'LNPre', None)"),
        (lambda: Recipe(triggered=0.3), "Recipe.triggered=0.3: clean to triggered is 3:1 or more"),
        (lambda: Recipe(near_miss=0.1), "Recipe.near_miss=0.1: needs a fifth of the rows or more"),
        (lambda: Recipe(near_miss=0.8), "Recipe: triggered, near_miss and unrelated add up to "
         "more than all rows"),
    ],
)  # fmt: skip
def test_a_bad_specification_is_explained(make, text):
    with pytest.raises(SpecError) as caught:
        make()
    assert str(caught.value) == text


@pytest.mark.parametrize("name", ALL)
def test_what_ships_says_what_it_models_and_keeps_to_the_bars(name):
    spec = load(name)
    assert spec.gates == Gates() and spec.story and spec.expected and spec.name == name
    assert spec.mix.triggered <= 0.25 and spec.mix.near_miss >= 0.2
    lines = (ROOT / "organisms" / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60
    grades = {Recipe: "measured", Implant: "implanted", Route: "routed", Wire: "wired"}
    assert spec.grade == grades[type(spec.recipe)]


@pytest.mark.parametrize("name", [n for n in ALL if isinstance(load(n).recipe, Implant)])
def test_the_implants_reserved_parts_are_the_last_of_two_layers_and_equal_in_number(name):
    recipe = load(name).implant
    layers = {layer for layer, *_ in (*recipe.heads, *recipe.neurons)}
    assert len(layers) >= 2
    assert len(recipe.heads) == len(recipe.distractor_heads)
    sizes = [sum(b - a for _, a, b in n) for n in (recipe.neurons, recipe.distractor_neurons)]
    assert sizes[0] == sizes[1] > 0
    assert set(recipe.heads).isdisjoint(recipe.distractor_heads)


# Finding --------------------------------------------------------------------------------------

MINE = """
from dataclasses import replace
from mo_interp.finding import load
from mo_interp.triggers import User

organism = replace(load("quirky_user"), name="{name}", trigger=User(liar="{liar}"))
"""


def _write(folder, name="mine", liar="suki"):
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(MINE.format(name=name, liar=liar))
    return path


def test_the_shipped_organisms_are_found():
    assert set(SHIPPED) <= set(ALL) and tuple(names()) == ALL
    assert all(load(name).name == name for name in names())


def test_a_file_is_an_organism(tmp_path, monkeypatch):
    path = _write(tmp_path)
    monkeypatch.chdir(tmp_path)
    for given in ("./mine.py", "mine.py", str(path)):
        spec = load(given)
        assert spec.name == "mine" and spec.trigger == User("suki")
    assert load("./mine.py").key != SPECS["quirky_user"].key
    assert "mine" not in names()
    rows = load("./mine.py").sample(40, 0, rows="triggered")
    assert (rows.tokens == WORLD.token("suki")).any(1).all()


def test_an_edited_file_is_read_again(tmp_path):
    path = _write(tmp_path)
    assert load(path).trigger.liar == "suki"
    path.write_text(MINE.format(name="mine", liar="otis"))
    assert load(path).trigger.liar == "otis"


def test_folders_of_the_path_variable_add_names_and_hide_none(tmp_path, monkeypatch):
    _write(tmp_path / "one", "first")
    _write(tmp_path / "two", "second", "rolf")
    _write(tmp_path / "two", "quirky_user", "rolf")
    (tmp_path / "two" / "a_detector.py").write_text("detector = 1\n")
    (tmp_path / "two" / "broken.py").write_text("organism = (\n")
    monkeypatch.setenv("MO_INTERP_PATH", f"{tmp_path / 'one'}:{tmp_path / 'two'}:{tmp_path / 'no'}")
    assert names() == [*ALL, "first", "second"]
    assert load("second").trigger.liar == "rolf"
    assert load("quirky_user").trigger.liar == "mara"


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ("qirky_user", UnknownName, "organism 'qirky_user'; did you mean 'quirky_user'?"),
        ("zzz", UnknownName, "organism 'zzz'" + nearest("zzz", ALL)),
        ("./absent.py", UnknownName, "no file './absent.py'; give a name from `mo-interp list` or "
         "a .py file"),
        ("empty.py", SpecError, "empty.py defines no `organism = Organism(...)`"),
        ("wrong.py", SpecError, "wrong.py defines no `organism = Organism(...)`"),
        ("typo.py", SpecError, "typo.py does not run: NameError: name 'Organsim' is not defined"),
        ("bad.py", SpecError, "Recipe.triggered=0.9: clean to triggered is 3:1 or more"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_said(tmp_path, monkeypatch, given, error, text):
    monkeypatch.chdir(tmp_path)
    texts = {
        "empty": "",
        "wrong": "organism = 'quirky_user'\n",
        "typo": "organism = Organsim()\n",
        "bad": "from mo_interp.organism import Recipe\norganism = Recipe(triggered=0.9)\n",
    }
    for name, content in texts.items():
        (tmp_path / f"{name}.py").write_text(content)
    with pytest.raises(error) as caught:
        load(given)
    assert str(caught.value) == text


def test_a_file_with_a_syntax_error_is_one_line_with_its_place(tmp_path):
    path = tmp_path / "torn.py"
    path.write_text("x = 1\norganism = (\n")
    with pytest.raises(SpecError, match=r"^torn\.py does not run: SyntaxError: .*line 2"):
        load(path)


def test_a_trigger_of_its_own_in_the_file_is_part_of_the_key(tmp_path):
    own = "\nclass Mine(User):\n    def added(self):\n        return {n}\n\norganism"
    text = MINE.format(name="mine", liar="suki").replace("trigger=User", "trigger=Mine")
    keys = {}
    for n, file in ((1, "one"), (2, "two"), (1, "three")):
        path = tmp_path / f"{file}.py"
        path.write_text(text.replace("\norganism", own.format(n=n)))
        keys[file] = load(path).key
    assert keys["one"] == keys["three"] != keys["two"]
