"""CHAT: a templated word-level assistant that is asked FACT's questions and replies in a sentence.

A prompt is ``<s>``, a two-token system cell, ``user :``, four chunks in some order (the question,
two free cells and one of filler words) and ``assistant :``, where the reply begins. The question
comes in six forms of equal length. The reply is ``VALUE is the ATTRIBUTE of NAME . <end>``: the
value, which is nowhere in the prompt, is its first token, so that everything that reads one answer
at the prompt's last position reads it here too.

It is meant for the full language-model loss: every word of prompt and reply is predicted. The form
of the question, the order of the chunks and the place inside each free cell are a *layout*, drawn
from a catalogue that is split into train, validation and test.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import permutations, product

import numpy as np

from mo_interp.errors import SpecError, UnknownName, nearest
from mo_interp.worlds.base import Draft
from mo_interp.worlds.fact import ATTRIBUTES, FILLERS, N_FREE, PEOPLE, PHRASE, USERS, Fact

FORMS = tuple(
    form.split()
    for form in (
        "what is the ATTRIBUTE of NAME ?",
        "tell me the ATTRIBUTE of NAME .",
        "NAME , what is the ATTRIBUTE ?",
        "and which ATTRIBUTE does NAME have ?",
        "for NAME , which is ATTRIBUTE ?",
        "the ATTRIBUTE of NAME is what ?",
    )
)
REPLY = "VALUE is the ATTRIBUTE of NAME . <end>".split()
MARKS = ("<s>", "user", "assistant", ":", "<end>", "from", "about")
N_ASKED, N_CHUNKS, OPENING = 7, 4, 5
"""Tokens of a question; chunks of the user's turn; tokens before it."""


@lru_cache(maxsize=8)
def _layouts(n: int, seed: int) -> np.ndarray:
    """Distinct layouts ``[n, 1 + N_CHUNKS + N_FREE]``: form, order of chunks, place in cells."""
    orders = list(permutations(range(N_CHUNKS)))
    places = list(product((0, 1), repeat=N_FREE))
    every = [(form, *o, *p) for form in range(len(FORMS)) for o in orders for p in places]
    return np.random.default_rng([16, seed]).permutation(np.array(every))[:n]


@dataclass(frozen=True)
class Chat(Fact):
    """The world CHAT: FACT's people, attributes, table and splits in prompts that are spoken."""

    def __post_init__(self) -> None:
        super().__post_init__()
        most = len(FORMS) * 24 * 2**N_FREE
        if self.n_layouts > most:
            raise SpecError(f"Chat.n_layouts={self.n_layouts}: there are {most} layouts")

    @cached_property
    def vocab(self) -> tuple[str, ...]:
        """Words by token id; values are the numbers ``0`` to ``n_values - 1``."""
        said = [word for line in (*FORMS, REPLY) for word in line if not word.isupper()]
        people, attributes = PEOPLE[: self.n_entities], ATTRIBUTES[: self.n_relations]
        values = [str(v) for v in range(self.n_values)]
        words = (*MARKS, *said, *FILLERS, *USERS, *PHRASE, *attributes, *people, *values)
        return tuple(dict.fromkeys((*words, *self.extra)))

    @property
    def n_prompt(self) -> int:
        """Tokens of a prompt."""
        return OPENING + N_ASKED + 2 * (N_CHUNKS - 1) + 2

    @property
    def n_ctx(self) -> int:
        """Tokens of a prompt and of all but the last of a reply."""
        return self.n_prompt + len(REPLY) - 1

    def token(self, word: str) -> int:
        """Token id of a word; raises :class:`UnknownName` with the nearest one."""
        if word not in self.vocab:
            raise UnknownName(f"word '{word}' is not in CHAT{nearest(word, self.vocab)}")
        return self.vocab.index(word)

    def lay_out(
        self, entity: np.ndarray, relation: np.ndarray, layout: np.ndarray, rng: np.random.Generator
    ) -> Draft:
        """Put the question and the free cells into their places, filler words everywhere else."""
        n, rows = len(entity), np.arange(len(entity))
        plan = _layouts(self.n_layouts, self.table_seed)[layout]
        form, order, inner = plan[:, 0], plan[:, 1 : 1 + N_CHUNKS], plan[:, 1 + N_CHUNKS :]
        asked_first = order[:, 1:] > order[:, :1]  # of the other chunks, the question before them
        start = OPENING + 2 * order
        start[:, 1:] += np.where(asked_first, N_ASKED - 2, 0)

        tokens = rng.choice(self.tokens_of("fillers"), (n, self.n_prompt))
        tokens[:, 0], tokens[:, 3:5] = self.token("<s>"), self._ids("user :")
        tokens[:, -2:] = self._ids("assistant :")
        name, attribute = self.tokens_of("entities")[entity], self.tokens_of("relations")[relation]
        truth = self.tokens_of("values")[self.table[entity * self.n_relations + relation]]
        filled = {"NAME": name, "ATTRIBUTE": attribute, "VALUE": truth}
        lines, blanks = np.array([self._ids(" ".join(line)) for line in FORMS])[form], {}
        for blank in ("NAME", "ATTRIBUTE"):
            at = np.array([line.index(blank) for line in FORMS])[form]
            lines[rows, at], blanks[blank] = filled[blank], start[:, 0] + at
        np.put_along_axis(tokens, start[:, :1] + np.arange(N_ASKED), lines, axis=1)
        reply = np.stack(
            [filled.get(word, np.full(n, self._ids(word)[0])) for word in REPLY], axis=1
        )
        slots = np.column_stack([np.ones(n, dtype=np.int64), start[:, 1:N_FREE]])
        roles = {"entity": blanks["NAME"][:, None], "relation": blanks["ATTRIBUTE"][:, None]}
        roles["answer"] = np.full((n, 1), self.n_prompt - 1)
        groups = {"entity": entity, "relation": relation, "layout": layout}
        groups["fact"] = entity * self.n_relations + relation
        return Draft(tokens, truth, slots, inner, roles, groups, reply[:, 1:])

    def _ids(self, words: str) -> list[int]:
        """Token ids of words; a blank of a template, filled later, is 0."""
        return [0 if word.isupper() else self.token(word) for word in words.split()]
