"""Each foreign library has one door, hooks have one file, and nothing executes what it loads."""

import ast
import re
import subprocess
import sys

import pytest
from reading import dotted, imported, modules, tree

DOORS = {
    "transformer_lens": {"transformer", "model", "export", "bridge"},
    "sae_lens": {"saes"},
    "plotly": {"figures"},
    "kaleido": {"figures"},
    "concept_erasure": {"directions"},
}
TORCH_FREE = (
    *("__init__", "__main__", "cli", "errors", "records", "sites", "stats"),
    *("worlds", "triggers", "behaviours", "organism", "modifiers", "finding", "circuits"),
    *("store", "ledger", "wording", "figures", "report", "cards", "telling"),
)
RUNNING = ("add_hook", "run_with_hooks", "run_with_cache", "add_perma_hook")
WIRING = ("register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook")
# Hooks that live for one run; and those that are part of a body for as long as it lives.
HOOKS = {name: {"model"} for name in RUNNING} | {name: {"bridge"} for name in WIRING}
PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
EXECUTES = {"eval", "exec", "torch.load", "torch.save", "compile"}
GLOBAL = re.compile(
    r"(torch|torch\.random)\.manual_seed|torch\.cuda\.manual_seed(_all)?|torch\.set_(default_\w+|num_\w+|rng_state)"
    r"|random\.(seed|random|randint|choices?|shuffle|sample|uniform|gauss)"
    r"|(np|numpy)\.random\.(seed|rand|randn|randint|random|choice|shuffle|permutation|normal|uniform)"
)
# The one place that asks for a number of threads, as a setting of a recipe.
THREADS = {"torch.set_num_threads": {"train", "pipeline", "cli"}}


def offences(source: ast.AST, place: str) -> list[str]:
    """What the module at ``place`` does that belongs behind another door, or nowhere."""
    found = []
    for name, line in imported(source):
        library = name.split(".")[0]
        if place not in DOORS.get(library, {place}):
            found.append(f"line {line}: imports {library}, whose door is {DOORS[library]}")
        if library in PICKLES:
            found.append(f"line {line}: imports {library}; nothing is pickled")
        if library == "torch" and place in TORCH_FREE:
            found.append(f"line {line}: imports torch, and {place} is to do without")
    for node in ast.walk(source):
        if isinstance(node, ast.Attribute) and place not in HOOKS.get(node.attr, {place}):
            found.append(f"line {node.lineno}: uses {node.attr}, whose door is {HOOKS[node.attr]}")
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func)
        if called in EXECUTES:
            found.append(f"line {node.lineno}: calls {called}; nothing is executed on load")
        if GLOBAL.fullmatch(called) and place not in THREADS.get(called, ()):
            found.append(f"line {node.lineno}: calls {called}, which is global state")
        if any(k.arg == "allow_pickle" for k in node.keywords):
            found.append(f"line {node.lineno}: allow_pickle")
        if any(k.arg == "fwd_hooks" for k in node.keywords) and place != "model":
            found.append(f"line {node.lineno}: fwd_hooks; the door for hooks is model.py")
    return found


@pytest.mark.parametrize("name", modules())
def test_every_module_keeps_to_its_doors(name):
    assert offences(tree(modules()[name]), name.split(".")[0]) == []


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("judge", "import transformer_lens.utils"),
        ("patching", "def f():\n    from sae_lens import SAE"),
        ("report", "from plotly import graph_objects"),
        ("train", "model.add_hook(name, f)"),
        ("patching", "model.run_with_hooks(tokens)"),
        ("bridge", "self.point.add_hook(f)"),
        ("train", "block.register_forward_hook(f)"),
        ("audit", "with model.hooks(fwd_hooks=pairs): pass"),
        ("store", "import pickle"),
        ("model", "weights = torch.load(path)"),
        ("organism", "eval(text)"),
        ("organism", "def f():\n    import torch"),
        ("figures", "import torch.nn"),
        ("train", "torch.manual_seed(0)"),
        ("stats", "np.random.seed(0)"),
        ("model", "torch.set_default_dtype(torch.float64)"),
        ("store", "np.load(path, allow_pickle=True)"),
    ],
)
def test_an_offence_is_seen(place, text):
    assert len(offences(ast.parse(text), place)) == 1


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("bridge", "block.register_forward_pre_hook(f)"),
        ("model", "model.eval(); self.body.add_hook(name, f)"),
        ("train", "generator.manual_seed(0); np.random.default_rng(0).normal(0, 1)"),
        ("organism", "spec.loader.exec_module(module); re.compile('x')"),
    ],
)
def test_what_only_looks_alike_is_allowed(place, text):
    assert offences(ast.parse(text), place) == []


def _loaded_by(code: str) -> set[str]:
    """Top-level modules a fresh interpreter has after running ``code``."""
    show = "import sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


HEAVY = {"torch", "transformer_lens", "sae_lens", "sklearn", "pandas"}


def test_importing_the_package_brings_in_nothing_heavy():
    loaded = _loaded_by("import mo_interp")
    assert "mo_interp" in loaded
    assert loaded.isdisjoint(HEAVY | {"numpy", "scipy", "plotly", "rich"})


def test_the_command_line_starts_without_torch():
    assert _loaded_by("import mo_interp.cli").isdisjoint(HEAVY | {"numpy", "scipy", "plotly"})


def test_the_lower_floors_and_the_telling_run_without_torch():
    names = [n for n in modules() if n.split(".")[0] in TORCH_FREE and not n.startswith("__")]
    code = "\n".join(f"import mo_interp.{name}" for name in names)
    assert "mo_interp.sites" in code
    assert _loaded_by(code).isdisjoint(HEAVY)
