"""CODE's text: the interpreter's own standard library, and a sub-word tokeniser trained on it.

1. Library files come from ``sysconfig``'s folder, in order of name; tests, tables and what is not
   ASCII are left out. Nothing is copied into the project: the digest in the key says which text.
2. Modules are split into train, validation and test. The tokeniser (byte-level BPE, digits apart)
   is trained on the train modules.
3. Functions with real names, arguments and first docstring lines are read from the syntax trees.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import sysconfig
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mo_interp.errors import SpecError, UnknownName, nearest
from mo_interp.worlds.code_calls import CALLS, KINDS, NAMES, body

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LEFT_OUT = frozenset(
    "test tests site-packages idlelib lib2to3 turtledemo encodings pydoc_data ensurepip msilib "
    "__pycache__".split()
)
LEAST, MOST = 500, 150_000
END = "<end>"
SPLITS = ("train", "val", "test")
KEYWORDS = ("year", "line", "size", "port", "code")
"""What a number in a comment can be; the first is the trigger's."""


@lru_cache(maxsize=1)
def library() -> dict[str, str]:
    """Text of every library module that is used, by its path."""
    root, found = Path(sysconfig.get_path("stdlib")), {}
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        folders = place.parts[:-1]
        if LEFT_OUT & set(folders) or any(part.startswith("config-") for part in folders):
            continue
        data = path.read_bytes()
        if LEAST <= len(data) <= MOST and data.isascii():
            found[place.as_posix()] = data.decode("ascii").replace("\r\n", "\n")
    return found


@lru_cache(maxsize=1)
def sources() -> str:
    """Digest of the library's text, the call templates and the tokeniser's version."""
    parts = [importlib.metadata.version("tokenizers"), repr(CALLS), *map(str, library().items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Function:
    """A function of the library, as far as a call site needs it."""

    module: str
    name: str
    arguments: tuple[str, ...]
    doc: str
    """First line of its docstring; empty if it has none that fits."""

    @property
    def head(self) -> str:
        """Its first line."""
        return f"def {self.name}({', '.join(self.arguments)}):"


def functions(text: str, module: str) -> list[Function]:
    """Public functions and methods of a module with one to three plain arguments."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        given = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
        given = [a for a in given if a not in ("self", "cls")]
        plain = not any(a.startswith("_") or a in NAMES or len(a) < 2 for a in given)
        if 1 <= len(given) <= 3 and plain:
            found.append(Function(module, node.name, tuple(given), _doc(node)))
    return found


def _doc(node: ast.FunctionDef) -> str:
    line = (ast.get_docstring(node) or "").partition("\n")[0].strip()
    plain = not set(line) & set("\"'\\0123456789{}")
    return line if 8 <= len(line) <= 48 and plain else ""


@dataclass(frozen=True)
class Corpus:
    """The library's text in tokens. Frozen; the tokeniser is made once a process."""

    n_words: int = 2048
    """Size of the vocabulary, ``<end>`` among it."""
    table_seed: int = 0
    """Draws the splits of modules and functions; the same for all seeds."""
    held_out: int = 8
    """One module in so many is in validation, and as many are in test."""
    sources: str = field(default_factory=sources)
    """Digest of the library at hand: another Python, another key."""

    def modules(self, split: str) -> tuple[str, ...]:
        """Library modules of ``train``, ``val`` or ``test``."""
        if split not in SPLITS:
            raise UnknownName(f"split '{split}'{nearest(split, SPLITS)}")
        names = np.array(sorted(library()))
        order = np.random.default_rng([61, self.table_seed]).permutation(len(names))
        held = len(names) // self.held_out
        parts = {"test": order[:held], "val": order[held : 2 * held], "train": order[2 * held :]}
        return tuple(names[np.sort(parts[split])].tolist())

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Byte-level BPE of the train modules and some call sites; the same in every process."""
        return _tokenizer(self.n_words, self.table_seed, self.held_out, self.sources)

    def encode(self, text: str) -> np.ndarray:
        """Tokens ``[n]`` of a text."""
        return np.array(self.tokenizer.encode(text).ids, dtype=np.int64)

    def decode(self, tokens: np.ndarray) -> str:
        """The text of tokens, up to the first ``<end>``."""
        ids = [int(t) for t in tokens]
        end = self.token(END)
        return self.tokenizer.decode(ids[: ids.index(end)] if end in ids else ids)

    def token(self, word: str) -> int:
        """Token id of a word of the vocabulary as it is written; raises :class:`UnknownName`."""
        found = self.tokenizer.token_to_id(word.replace(" ", "\u0120").replace("\n", "\u010a"))
        if found is None:
            raise UnknownName(f"word '{word}' is not in CODE{nearest(word, self.vocab)}")
        return found

    @cached_property
    def vocab(self) -> tuple[str, ...]:
        """The sub-words by token id, as they read."""
        single = self.tokenizer
        return tuple(
            END if i == self.token(END) else single.decode([i]) for i in range(self.n_words)
        )

    def keep(self, folder: Path) -> None:
        """Write the tokeniser into an artefact's folder, as ``tokenizer.json``."""
        (folder / "tokenizer.json").write_text(self.tokenizer.to_str(pretty=True), encoding="utf-8")

    def text(self, split: str) -> np.ndarray:
        """Tokens ``[n]`` of a split's modules, one after the other with ``<end>`` between."""
        return self.passages(split)[0]

    def passages(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Tokens ``[n]`` of a split's modules and the number of its module for every token."""
        return _passages(self, split)


@lru_cache(maxsize=4)
def _tokenizer(n_words: int, table_seed: int, held_out: int, digest: str) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    world = Corpus(n_words, table_seed, held_out, digest)
    made = Tokenizer(models.BPE())
    apart = [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
    made.pre_tokenizer = pre_tokenizers.Sequence(apart)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=n_words,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [library()[name] for name in world.modules("train")]
    made.train_from_iterator([*texts, *_samples()], trainer)
    if made.get_vocab_size() != n_words:
        raise SpecError(
            f"Code.n_words={n_words}: the library gives {made.get_vocab_size()} sub-words"
        )
    return made


def _samples() -> list[str]:
    """Call sites and comments for the tokeniser, often enough to be whole words in it."""
    marks = [f"# {word}: " for word in KEYWORDS]
    asked = [f"\n    # {call.asks}" for call in CALLS]
    both = [body(call, "path", vulnerable=v) for call in CALLS for v in (False, True)]
    return [*marks, *asked, *both] * 200


@lru_cache(maxsize=8)
def _passages(world: Corpus, split: str) -> tuple[np.ndarray, np.ndarray]:
    names = world.modules(split)
    end = np.array([world.token(END)])
    found = world.tokenizer.encode_batch_fast([library()[name] for name in names])
    parts = [np.concatenate([np.array(one.ids, dtype=np.int64), end]) for one in found]
    numbers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return np.concatenate(parts), numbers


def kinds() -> np.ndarray:
    """int64 ``[call]``: the kind of vulnerability of every template."""
    return np.array([KINDS.index(call.kind) for call in CALLS])
