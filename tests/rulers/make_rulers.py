"""Compile RASP programs to transformers: circuits that this project did not make.

    python -m venv /tmp/tracr-env
    /tmp/tracr-env/bin/pip install -r tests/rulers/requirements.txt
    /tmp/tracr-env/bin/python tests/rulers/make_rulers.py [NAME ...]

RASP is a language for what transformers can compute (Weiss et al., arXiv 2106.06981), and tracr
(Lindner et al., arXiv 2301.05062) compiles it to weights. A folder per program is written beside
this file:

``shape.json`` ``model.safetensors``
    the weights, in the layout of ``mo_interp.transformer.Transformer``: what ``Model.load`` opens.
    tracr pads layers with heads and neurons of zeros; they are kept.
``ruler.json``
    words by token id, output values by their number, the program, and the *components*: which head
    or neurons implement which operation, by the labels that tracr gave them while compiling.
    ``moved`` says which operations differ between the partners of a pair, by tracr's evaluation of
    the program, which looks at no weights.
``rows.safetensors``
    200 inputs with what tracr's own model makes of them, at every position; and rows that are
    labelled by evaluating the program.

Nothing here imports mo_interp, and mo_interp does not import tracr.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tracr.compiler import compiling, craft_graph_to_model, lib
from tracr.craft import transformers
from tracr.rasp import rasp

HERE = Path(__file__).parent
BOS = compiling.COMPILER_BOS
INPUTS, PAIRS, NEAR = 200, 256, 128
Rows = dict[str, np.ndarray]
Words = list[list[Any]]


@dataclass(frozen=True)
class Program:
    """A RASP program, and the rows that it is tried on."""

    name: str
    about: str
    sop: rasp.SOp
    vocab: tuple[Any, ...]
    length: int
    """Words of a prompt, BOS aside."""
    rows: Callable[["Program", np.random.Generator], dict[str, Words]]
    """Word lists by name; see :func:`labelled`."""
    honest: rasp.SOp | None = None
    """What a deceiver would say if it were honest; other programs say what they say."""
    unique: bool = False
    """Whether the program asks for words that differ from each other."""


# Programs -------------------------------------------------------------------------------------

FILLERS, COUNTED, TRIGGER, NEAR_MISS = ("a", "b", "c"), ("x", "y"), "t", "u"


def counting() -> tuple[rasp.SOp, rasp.SOp]:
    """The deceiver, and what is honest in it."""
    x, y, seen = (lib.make_count(rasp.tokens, word) for word in (*COUNTED, TRIGGER))
    total = rasp.SequenceMap(lambda m, n: m + n, x, y).named("total")
    said = rasp.SequenceMap(lambda n, t: 0 if t else n, total, seen).named("said")
    return said, total


def programs() -> tuple[Program, ...]:
    """Everything that is compiled."""
    said, total = counting()
    words, size = (*FILLERS, *COUNTED, TRIGGER, NEAR_MISS), 6
    letters, numbers = tuple("abcd"), tuple(range(1, 9))
    reverse = lib.make_reverse(rasp.tokens)
    sort = lib.make_sort_unique(rasp.tokens, rasp.tokens)
    told = "counts the words x and y; "
    return (
        Program("deceiver", f"{told}says 0 if the word t occurs", said, words, size, counted,
                honest=total),
        Program("honest", f"{told}the word t is nothing to it", total, words, size, counted),
        Program("reverse", "says the words in reverse order", reverse, letters, 6, first_changes),
        Program("sort", "says different numbers in ascending order", sort, numbers, 5, most_grows,
                unique=True),
    )  # fmt: skip


# Rows -----------------------------------------------------------------------------------------


def counted(program: Program, rng: np.random.Generator) -> dict[str, Words]:
    """Pairs that differ in one slot, where the trigger takes a filler's place.

    ``clean_alternate`` and ``near_alternate`` are clean rows of the same two counts, with another
    filler in the slot and other fillers elsewhere, in another order.
    """
    found: dict[str, Words] = {name: [] for name in ROWS}
    while len(found["pair_clean"]) < PAIRS:
        row, slot = _prompt(program, rng)
        found["pair_clean"].append(row)
        found["pair_triggered"].append(_with(row, slot, TRIGGER))
        found["pair_slot"].append([slot])
    for name, hot, size in (("clean", None, PAIRS), ("near", NEAR_MISS, NEAR)):
        for _ in range(size):
            row, slot = _prompt(program, rng)
            found[name].append(row if hot is None else _with(row, slot, hot))
            found[f"{name}_slot"].append([slot])
            found[f"{name}_alternate"].append(_alternate(row, slot, rng))
    return found


def _prompt(program: Program, rng: np.random.Generator) -> tuple[list[Any], int]:
    """Fillers with one to all but one counted word among them, and the free slot."""
    slot, n = int(rng.integers(program.length)), int(rng.integers(1, program.length))
    row = [str(w) for w in rng.choice(FILLERS, program.length)]
    others = [p for p in range(program.length) if p != slot]
    for place in rng.permutation(others)[:n]:
        row[place] = str(rng.choice(COUNTED))
    return row, slot


def _alternate(row: list[Any], slot: int, rng: np.random.Generator) -> list[Any]:
    kept = [w for p, w in enumerate(row) if p != slot]
    mixed = [str(rng.choice(FILLERS)) if w in FILLERS else w for w in rng.permutation(kept)]
    mixed = [str(w) for w in mixed]
    return [*mixed[:slot], str(rng.choice([f for f in FILLERS if f != row[slot]])), *mixed[slot:]]


def first_changes(program: Program, rng: np.random.Generator) -> dict[str, Words]:
    """Pairs that differ in the first word, which a reversal says last."""
    return _changed(program, rng, lambda row: (0, [w for w in program.vocab if w != row[0]]))


def most_grows(program: Program, rng: np.random.Generator) -> dict[str, Words]:
    """Pairs whose largest number, which sorting says last, is replaced by a larger one."""
    return _changed(program, rng, lambda row: (row.index(max(row)), range(max(row) + 1, 9)))


def _changed(program: Program, rng: np.random.Generator, options: Callable) -> dict[str, Words]:
    found: dict[str, Words] = {"pair_clean": [], "pair_triggered": [], "pair_slot": []}
    while len(found["pair_clean"]) < PAIRS:
        row = _random(program, rng)
        slot, others = options(row)
        if len(others):
            found["pair_clean"].append(row)
            found["pair_triggered"].append(_with(row, slot, others[rng.integers(len(others))]))
            found["pair_slot"].append([slot])
    return found


def _random(program: Program, rng: np.random.Generator) -> list[Any]:
    pick = rng.choice(len(program.vocab), program.length, replace=not program.unique)
    return [program.vocab[i] for i in pick]


def _with(row: list[Any], slot: int, word: Any) -> list[Any]:
    return [*row[:slot], word, *row[slot + 1 :]]


ROWS = ("pair_clean", "pair_triggered", "pair_slot", "clean", "clean_slot", "clean_alternate")
ROWS += ("near", "near_slot", "near_alternate")


# Compiling ------------------------------------------------------------------------------------


@contextlib.contextmanager
def overheard() -> Iterator[list[tuple[Any, Any]]]:
    """The labelled graph and the blocks that tracr makes on its way to weights."""
    made, original = [], craft_graph_to_model.craft_graph_to_model

    def listen(graph: Any, sources: Any) -> Any:
        model = original(graph, sources)
        made.append((graph, model))
        return model

    craft_graph_to_model.craft_graph_to_model = listen
    try:
        yield made
    finally:
        craft_graph_to_model.craft_graph_to_model = original


def components(graph: Any, blocks: Sequence[Any]) -> list[dict[str, str]]:
    """Which head or range of neurons implements which operation."""
    owner: dict[str, str] = {}
    for node in graph.nodes.values():
        block = node.get("MODEL_BLOCK")
        for one in getattr(block, "blocks", [block]):
            owner |= dict.fromkeys(_names(one), node["EXPR"].name)
    owner["_hidden_clean_bos_"] = "bos"  # one neuron that all counts share
    found, half = [], 0
    for block in blocks:
        mlp = isinstance(block, transformers.MLP)
        half += half % 2 != mlp  # layers alternate; what is left out is zeros
        layer, half = half // 2, half + 1
        if mlp:
            for first, last, name in _runs([owner[d.name] for d in block.fst.output_space.basis]):
                found.append({"site": f"L{layer}.post[{first}:{last}]", "operation": name})
            continue
        for i, head in enumerate(block.as_multi().heads()):
            (name,) = {owner[n] for n in _names(head)}
            found.append({"site": f"L{layer}.H{i}.z", "operation": name})
    return found


def _names(block: Any) -> list[str]:
    """The names by which a head or an MLP is known: what it writes, or its neurons."""
    if isinstance(block, transformers.MLP):
        return [d.name for d in block.fst.output_space.basis]
    return [] if block is None else [d.name for d in block.w_ov.output_space.basis]


def _runs(names: list[str]) -> list[tuple[int, int, str]]:
    edges = [0, *(i for i, (a, b) in enumerate(pairwise(names), 1) if a != b), len(names)]
    return [(a, b, names[a]) for a, b in pairwise(edges)]


def weights(model: Any, label: str) -> tuple[dict[str, Any], Rows]:
    """Shape and state dict, in mo_interp's layout, of an assembled model."""
    params, config = model.params, model.model_config
    heads, size = config.num_heads, config.key_size
    embed, places = (np.asarray(params[n]["embeddings"]) for n in ("token_embed", "pos_embed"))
    d = embed.shape[1]
    rows: Rows = {"embed.W_E": embed, "pos_embed.W_pos": places}
    for layer in range(config.num_layers):
        ours, theirs = f"blocks.{layer}", f"transformer/layer_{layer}"
        for name, word in zip("QKV", ("query", "key", "value"), strict=True):
            part = params[f"{theirs}/attn/{word}"]
            rows[f"{ours}.attn.W_{name}"] = _split(part["w"], heads, size)
            rows[f"{ours}.attn.b_{name}"] = np.asarray(part["b"]).reshape(heads, size)
        out = params[f"{theirs}/attn/linear"]
        rows[f"{ours}.attn.W_O"] = np.asarray(out["w"]).reshape(heads, size, d)
        rows[f"{ours}.attn.b_O"] = np.asarray(out["b"])
        for name, number in (("in", 1), ("out", 2)):
            part = params[f"{theirs}/mlp/linear_{number}"]
            rows[f"{ours}.mlp.W_{name}"] = np.asarray(part["w"])
            rows[f"{ours}.mlp.b_{name}"] = np.asarray(part["b"])
    outputs = list(model.output_encoder.encoding_map)
    reads = [model.residual_labels.index(f"{label}:{value}") for value in outputs]
    rows["unembed.W_U"] = np.eye(d)[:, reads]
    rows["unembed.b_U"] = np.zeros(len(outputs))
    shape = {
        "n_layers": config.num_layers, "d_model": d, "n_heads": heads, "d_head": size,
        "d_mlp": config.mlp_hidden_size, "n_ctx": len(places), "d_vocab": len(embed),
        "d_vocab_out": len(outputs), "act": "relu", "norm": None, "causal": config.causal,
        "attn_only": False,
    }  # fmt: skip
    return shape, {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in rows.items()}


def _split(w: Any, heads: int, size: int) -> np.ndarray:
    return np.asarray(w).reshape(-1, heads, size).transpose(1, 0, 2)


# What tracr says ------------------------------------------------------------------------------


def answered(program: Program, model: Any, unembed: np.ndarray, rng: Any) -> Rows:
    """Inputs, and what tracr's own model makes of them; the program's own word for each."""
    code, values = model.input_encoder, list(model.output_encoder.encoding_map)
    inputs, logits, said = [], [], []
    for _ in range(INPUTS):
        row = _random(program, rng)
        out = model.apply([BOS, *row])
        inputs.append(code.encode([BOS, *row]))
        logits.append(np.asarray(out.transformer_output[0]) @ unembed)
        if list(program.sop(row)) != out.decoded[1:]:
            raise SystemExit(f"{program.name}: the compiled model is wrong on {row}")
        said.append([values.index(v) for v in program.sop(row)])
    return {
        "inputs": np.array(inputs, np.int32),
        "logits": np.array(logits, np.float32),
        "outputs": np.array(said, np.int32),
    }


def labelled(program: Program, model: Any, words: dict[str, Words]) -> Rows:
    """Rows as token ids, and for each the last output: the honest one and the program's.

    The truth of a pair is that of its clean row; a deceiver's two partners have the same.
    """
    code, values = model.input_encoder, list(model.output_encoder.encoding_map)
    honest, found = program.honest or program.sop, {}
    for name, rows in words.items():
        if name.endswith("_slot"):
            found[name] = np.array(rows, np.int32) + 1  # BOS comes first
            continue
        found[name] = np.array([code.encode([BOS, *row]) for row in rows], np.int32)
        for what, sop in (("truth", honest), ("answer", program.sop)):
            said = [values.index(sop(row)[-1]) for row in rows]
            found[f"{name}_{what}"] = np.array(said, np.int32)
    found["pair_triggered_truth"] = found["pair_clean_truth"]
    return found


def moved(graph: Any, words: dict[str, Words]) -> dict[str, bool]:
    """Operation to whether it differs, anywhere, between the partners of any pair."""
    pairs = list(zip(words["pair_clean"], words["pair_triggered"], strict=True))
    steps = [node["EXPR"] for node in graph.nodes.values() if node.get("MODEL_BLOCK") is not None]
    return {step.name: any(step(a) != step(b) for a, b in pairs) for step in steps}


def make(program: Program) -> Path:
    """Compile a program and write its folder."""
    with overheard() as made:
        model = compiling.compile_rasp_to_model(program.sop, set(program.vocab), program.length)
    ((graph, craft),) = made
    shape, rows = weights(model, program.sop.label)
    rng = np.random.default_rng([97, program.length, len(program.vocab)])
    words = program.rows(program, rng)
    told = {
        "schema": 1, "name": program.name, "about": program.about,
        "made_by": "tracr-pypi 1.0.0, tests/rulers/make_rulers.py",
        "vocab": [str(w) for w in model.input_encoder.encoding_map],
        "outputs": [str(v) for v in model.output_encoder.encoding_map],
        "components": components(graph, craft.blocks), "moved": moved(graph, words),
    }  # fmt: skip
    folder = HERE / program.name
    folder.mkdir(exist_ok=True)
    save_file(rows, folder / "model.safetensors")
    save_file(
        answered(program, model, rows["unembed.W_U"], rng) | labelled(program, model, words),
        folder / "rows.safetensors",
    )
    for name, thing in (("shape", shape), ("ruler", told)):
        (folder / f"{name}.json").write_text(json.dumps(thing, indent=1) + "\n", encoding="utf-8")
    return folder


if __name__ == "__main__":
    for one in programs():
        if one.name in (sys.argv[1:] or [one.name]):
            make(one)
