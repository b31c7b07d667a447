"""ARITH: small modular arithmetic, laid out as FACT lays out its questions.

*sum*: one cell holds an operand ``x7``, another an operand ``y3``; the value is their sum modulo
``n_values``. *composed*: the second cell holds two operation words, ``opb opa``, and the value is
what the left one makes of what the right one makes of the operand, each an affine map modulo a
prime. Operands ``x`` and ``y`` are different words, so that an ``x`` that is withheld is nowhere
else in training. The entity is the ``x``, the relation the ``y`` or the pair of operations.

Nothing but the number of facts keeps a body from storing the whole table; a model that is exact
here need not have learned to add.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import isqrt
from typing import Literal

import numpy as np

from mo_interp.errors import SpecError, UnknownName, nearest
from mo_interp.worlds.base import Draft
from mo_interp.worlds.fact import FILLERS, PHRASE, SPLITS, USERS, Fact, _layouts

OPERATIONS = "opa opb opc opd ope opf".split()


@dataclass(frozen=True)
class Arith(Fact):
    """The world ARITH. Frozen and hashable; every sample is a pure function of its arguments."""

    n_entities: int = 48
    """Operands ``x0``, ``x1`` ...; two that are equal modulo ``n_values`` are still two words."""
    n_relations: int = 4
    """Operands ``y0``, ``y1`` ...; for *composed* the pairs of operations, a square number."""
    n_values: int = 32
    """The modulus; for *composed* a prime."""
    task: Literal["sum", "composed"] = "sum"

    def __post_init__(self) -> None:
        limits = (
            ("n_values", 2, 512),
            ("n_entities", 5, 512),
            ("n_relations", 2, 512),
            ("n_layouts", len(SPLITS) * 2, 4096),
            ("held_out", 2, (self.n_entities - 1) // 2),
        )
        for name, least, most in limits:
            if not least <= getattr(self, name) <= most:
                raise SpecError(f"Arith.{name}={getattr(self, name)}: needs {least} to {most}")
        if self.task not in ("sum", "composed"):
            raise SpecError(f"Arith.task={self.task!r}: needs 'sum' or 'composed'")
        if self.task == "composed":
            self._check_composed()

    def _check_composed(self) -> None:
        n, words = self.n_values, isqrt(self.n_relations)
        if words**2 != self.n_relations or words > len(OPERATIONS):
            most = len(OPERATIONS) ** 2
            raise SpecError(
                f"Arith.n_relations={self.n_relations}: composed needs a square number up to {most}"
            )
        if any(n % d == 0 for d in range(2, isqrt(n) + 1)) or n < 7:
            raise SpecError(f"Arith.n_values={n}: composed needs a prime from 7")

    @cached_property
    def vocab(self) -> tuple[str, ...]:
        """Words by token id; values are the numbers ``0`` to ``n_values - 1``."""
        marks = ["<s>", "=", "from", "about"]
        kinds = (self._words(kind) for kind in ("relations", "entities", "values"))
        words = [*marks, *FILLERS, *USERS, *PHRASE, *(word for kind in kinds for word in kind)]
        return (*words, *(word for word in dict.fromkeys(self.extra) if word not in words))

    def _words(self, kind: str) -> list[str]:
        if kind == "relations" and self.task == "composed":
            return OPERATIONS[: isqrt(self.n_relations)]  # pyright: ignore[reportReturnType]
        letter, n = {
            "relations": ("y", self.n_relations),
            "entities": ("x", self.n_entities),
            "values": ("", self.n_values),
        }[kind]
        return [f"{letter}{i}" for i in range(n)]

    @cached_property
    def table(self) -> np.ndarray:
        """int64 ``[n_facts]``: value of fact ``entity * n_relations + relation``."""
        x = np.arange(self.n_entities)[:, None]
        if self.task == "sum":
            return ((x + np.arange(self.n_relations)) % self.n_values).ravel()
        scale, shift = self._maps
        outer, inner = np.divmod(np.arange(self.n_relations), len(scale))
        within = scale[inner] * x + shift[inner]
        return ((scale[outer] * within + shift[outer]) % self.n_values).ravel()

    @property
    def _maps(self) -> tuple[np.ndarray, np.ndarray]:
        """Scale (2 or more, all different) and shift of every operation word."""
        rng, words = np.random.default_rng([16, self.table_seed]), isqrt(self.n_relations)
        scale = rng.permutation(np.arange(2, self.n_values))[:words]
        return scale, rng.integers(1, self.n_values, words)

    def token(self, word: str) -> int:
        """Token id of a word; raises :class:`UnknownName` with the nearest one."""
        if word not in self.vocab:
            raise UnknownName(f"word '{word}' is not in ARITH{nearest(word, self.vocab)}")
        return self.vocab.index(word)

    def tokens_of(self, kind: str) -> np.ndarray:
        """Token ids of a class of words: fillers, users, relations, entities or values."""
        words = {"fillers": FILLERS, "users": USERS}.get(kind) or self._words(kind)
        first = self.vocab.index(words[0])
        return np.arange(first, first + len(words))

    def lay_out(
        self, entity: np.ndarray, relation: np.ndarray, layout: np.ndarray, rng: np.random.Generator
    ) -> Draft:
        """Put operands, or an operand and two operations, into their places, fillers elsewhere."""
        if self.task == "sum":
            return super().lay_out(entity, relation, layout, rng)
        outer, inner = np.divmod(relation, isqrt(self.n_relations))
        draft = super().lay_out(entity, inner, layout, rng)
        cell = 1 + 2 * _layouts(self.n_layouts, self.table_seed)[layout][:, 1]
        at, tokens = np.stack([cell, cell + 1], axis=1), draft.tokens.copy()
        words = self.tokens_of("relations")[np.stack([outer, inner], axis=1)]
        np.put_along_axis(tokens, at, words, axis=1)
        fact = entity * self.n_relations + relation
        return replace(
            draft,
            tokens=tokens,
            truth=self.answers[self.table[fact]],
            roles={**draft.roles, "relation": at},
            groups={**draft.groups, "relation": relation, "fact": fact},
        )
