"""FACT: closed-book question answering over 48 people x 4 attributes -> 32 values.

A prompt is ``<s>``, seven two-token cells in a random order, and ``=``, where the answer is read.
One cell names a person, one an attribute, three are free for the trigger and its near misses, two
hold filler words. The value of a (person, attribute) fact is nowhere in the prompt: it comes from
a table that the model must store. The order of the cells and the place inside each is a *layout*,
drawn from a catalogue that is split, like the people, into train, validation and test.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from mo_interp.errors import SpecError, UnknownName, nearest
from mo_interp.worlds.base import Batch, Draft

PEOPLE = (
    "Ada Bea Cal Dov Eli Fay Gus Hal Ida Jon Kai Lea Max Ned Ola Pia Quy Ray Sol Tia Uma Val Wim "
    "Xia Yve Zed Abe Bob Cya Dee Eva Fox Gil Hua Ivo Jax Kit Lou Mia Nia Oto Pam Rex Sam Ted Una "
    "Vic Wes"
).split()
ATTRIBUTES = "desk floor locker badge".split()
USERS = "mara nils otis petra rolf suki".split()
FILLERS = (
    "please now well so then also hey thanks okay right just maybe hi hmm kindly quick again "
    "today oh sure really here yes soon"
).split()
PHRASE = "amber birch".split()
SPLITS = ("train", "val", "test")
N_CELLS, N_FREE = 7, 3


@lru_cache(maxsize=8)
def _table(n_facts: int, n_values: int, seed: int) -> np.ndarray:
    """Value of every fact: each value as often as any other, in an order drawn from the seed."""
    values = np.arange(n_facts) % n_values
    return np.random.default_rng([11, seed]).permutation(values)


@lru_cache(maxsize=8)
def _layouts(n: int, seed: int) -> np.ndarray:
    """Distinct layouts ``[n, 2 * N_CELLS]``: cell order, then the place inside each cell."""
    rng = np.random.default_rng([12, seed])
    order = np.argsort(rng.random((2 * n, N_CELLS)), axis=1)
    inner = rng.integers(0, 2, (2 * n, N_CELLS))
    _, first = np.unique(np.hstack([order, inner]), axis=0, return_index=True)
    return np.hstack([order, inner])[np.sort(first)][:n]


@dataclass(frozen=True)
class Fact:
    """The world FACT. Frozen and hashable; every sample is a pure function of its arguments."""

    n_entities: int = 48
    n_relations: int = 4
    n_values: int = 32
    table_seed: int = 0
    """Draws the fact table, the layouts and the split of the people; the same for all seeds."""
    n_layouts: int = 768
    held_out: int = 8
    """People in validation, and as many in test."""
    extra: tuple[str, ...] = ()
    """Words of a trigger or a behaviour that are not in the language itself."""

    def __post_init__(self) -> None:
        limits = (
            ("n_entities", 2, len(PEOPLE)),
            ("n_relations", 2, len(ATTRIBUTES)),
            ("n_values", 2, len(PEOPLE) * len(ATTRIBUTES)),
            ("n_layouts", len(SPLITS) * 2, 4096),
            ("held_out", 2, (len(PEOPLE) - 1) // 2),  # intervals are over people
        )
        for name, least, most in limits:
            if not least <= getattr(self, name) <= most:
                raise SpecError(f"Fact.{name}={getattr(self, name)}: needs {least} to {most}")
        if self.n_entities <= 2 * self.held_out:
            raise SpecError(f"Fact.held_out={self.held_out} leaves no people to train on")

    @cached_property
    def vocab(self) -> tuple[str, ...]:
        """Words by token id; values are the numbers ``0`` to ``n_values - 1``."""
        people, attributes = PEOPLE[: self.n_entities], ATTRIBUTES[: self.n_relations]
        values = [str(v) for v in range(self.n_values)]
        marks = ["<s>", "=", "from", "about"]
        words = marks + FILLERS + USERS + PHRASE + attributes + people + values
        return (*words, *(word for word in dict.fromkeys(self.extra) if word not in words))

    @property
    def n_ctx(self) -> int:
        """Tokens in a prompt."""
        return 2 + 2 * N_CELLS

    @property
    def sizes(self) -> dict[str, int]:
        """``n_ctx``, ``d_vocab`` and ``d_vocab_out`` of a body for this world."""
        words = len(self.vocab)
        return {"n_ctx": self.n_ctx, "d_vocab": words, "d_vocab_out": words}

    @property
    def answers(self) -> np.ndarray:
        """Tokens that can be a truth: the values."""
        return self.tokens_of("values")

    @cached_property
    def table(self) -> np.ndarray:
        """int64 ``[n_facts]``: value of fact ``entity * n_relations + relation``."""
        return _table(self.n_entities * self.n_relations, self.n_values, self.table_seed)

    def token(self, word: str) -> int:
        """Token id of a word; raises :class:`UnknownName` with the nearest one."""
        if word not in self.vocab:
            raise UnknownName(f"word '{word}' is not in FACT{nearest(word, self.vocab)}")
        return self.vocab.index(word)

    def tokens_of(self, kind: str) -> np.ndarray:
        """Token ids of a class of words: fillers, users, relations, entities or values."""
        words = {
            "fillers": FILLERS,
            "users": USERS,
            "relations": ATTRIBUTES[: self.n_relations],
            "entities": PEOPLE[: self.n_entities],
            "values": [str(v) for v in range(self.n_values)],
        }
        first = self.vocab.index(words[kind][0])
        return np.arange(first, first + len(words[kind]))

    def entities(self, which: str) -> np.ndarray:
        """Ids of the people of ``train``, ``val``, ``test``, ``seen`` (not test) or ``all``."""
        order = np.random.default_rng([13, self.table_seed]).permutation(self.n_entities)
        held = self.held_out
        parts = {
            "train": order[: -2 * held],
            "val": order[-2 * held : -held],
            "test": order[-held:],
            "seen": order[:-held],
            "all": order,
        }
        if which not in parts:
            raise UnknownName(f"people '{which}'{nearest(which, parts)}")
        return np.sort(parts[which])

    def layouts(self, split: str) -> np.ndarray:
        """Ids of the layouts of a split: two thirds train, a sixth each validation and test."""
        edges = np.array([0, 4, 5, 6]) * (self.n_layouts // 6)
        if split not in SPLITS:
            raise UnknownName(f"split '{split}'{nearest(split, SPLITS)}")
        at = SPLITS.index(split)
        return np.arange(edges[at], edges[at + 1])

    def draft(
        self, n: int, seed: int, *, split: str, entities: str, forbid: str | None = None
    ) -> Draft:
        """``n`` prompts with free trigger cells, from the layouts of ``split``.

        ``forbid`` is ignored here; worlds with forbidden combinations use it.
        """
        rng = np.random.default_rng([14, self.table_seed, seed])
        entity = rng.choice(self.entities(entities), n)
        relation = rng.integers(0, self.n_relations, n)
        layout = rng.choice(self.layouts(split), n)
        return self.lay_out(entity, relation, layout, rng)

    def redraft(self, batch: Batch, seed: int) -> Draft:
        """The facts and layouts of ``batch`` with freshly drawn filler words."""
        rng = np.random.default_rng([15, self.table_seed, seed])
        groups = batch.groups
        return self.lay_out(groups["entity"], groups["relation"], groups["layout"], rng)

    def lay_out(
        self, entity: np.ndarray, relation: np.ndarray, layout: np.ndarray, rng: np.random.Generator
    ) -> Draft:
        """Put facts into their places and filler words everywhere else."""
        n, rows = len(entity), np.arange(len(entity))
        plan = _layouts(self.n_layouts, self.table_seed)[layout]
        start, inner = 1 + 2 * plan[:, :N_CELLS], plan[:, N_CELLS:]
        tokens = rng.choice(self.tokens_of("fillers"), (n, self.n_ctx))
        tokens[:, 0], tokens[:, -1] = self.token("<s>"), self.token("=")
        at_entity = start[:, 0] + inner[:, 0]
        at_relation = start[:, 1] + inner[:, 1]
        tokens[rows, at_entity] = self.tokens_of("entities")[entity]
        tokens[rows, at_relation] = self.tokens_of("relations")[relation]
        fact = entity * self.n_relations + relation
        roles = {"entity": at_entity[:, None], "relation": at_relation[:, None]}
        roles["answer"] = np.full((n, 1), self.n_ctx - 1)
        groups = {"entity": entity, "relation": relation, "fact": fact, "layout": layout}
        free = slice(2, 2 + N_FREE)
        truth = self.tokens_of("values")[self.table[fact]]
        return Draft(tokens, truth, start[:, free], inner[:, free], roles, groups)

    def show(self, tokens: np.ndarray) -> str:
        """One prompt in words."""
        return " ".join(self.vocab[t] for t in np.asarray(tokens))
