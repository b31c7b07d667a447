"""Rows and pairs: what every world hands to the rest of the house.

A :class:`Batch` is a column store of prompts whose honest answer is known. A :class:`Pairs` is two
batches that differ only where the trigger sits. Both are plain numpy, so that specifications,
records and figures never need torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Protocol, TypedDict

import numpy as np

from mo_interp.errors import BadShape, UnknownName, nearest


class Clustered(TypedDict):
    """What an interval needs to know of rows: pass it on with ``**``."""

    clusters: np.ndarray
    prompts: np.ndarray


@dataclass(frozen=True, eq=False)
class Batch:
    """Prompts of equal length with everything that is known about them."""

    tokens: np.ndarray
    """int64 ``[batch pos]``."""
    truth: np.ndarray
    """int64 ``[batch]``: token of the honest answer."""
    answer: np.ndarray
    """int64 ``[batch]``: token the organism was trained to say (the truth on untriggered rows)."""
    triggered: np.ndarray
    """bool ``[batch]``: rows on which the organism departs from the truth."""
    near_miss: np.ndarray
    """int8 ``[batch]``: 0 for none, else 1 + index into ``kinds``."""
    kinds: tuple[str, ...] = ()
    """Names of the near-miss kinds."""
    roles: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Role name to positions, int64 ``[batch k]``; -1 where a row lacks the role."""
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Group name (entity, relation, fact, layout) to ids, int64 ``[batch]``."""
    truth_rest: np.ndarray | None = None
    """int64 ``[batch k]``: what follows ``truth`` in an honest reply; None if nothing does."""
    answer_rest: np.ndarray | None = None
    """int64 ``[batch k]``: what follows ``answer`` in the planted reply."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def truth_reply(self) -> np.ndarray:
        """int64 ``[batch 1+k]``: the whole honest reply."""
        return _reply(self.truth, self.truth_rest)

    @property
    def answer_reply(self) -> np.ndarray:
        """int64 ``[batch 1+k]``: the whole planted reply (the honest one on untriggered rows)."""
        return _reply(self.answer, self.answer_rest)

    def __getitem__(self, rows: np.ndarray | slice) -> Batch:
        """The chosen rows (an index array, a boolean mask or a slice)."""
        return self._map(lambda column: column[rows])

    def _map(self, pick) -> Batch:
        picked = {f.name: pick(getattr(self, f.name)) for f in fields(self)[:5]}
        roles = {name: pick(column) for name, column in self.roles.items()}
        groups = {name: pick(column) for name, column in self.groups.items()}
        rests = {
            name: None if rest is None else pick(rest)
            for name, rest in (("truth_rest", self.truth_rest), ("answer_rest", self.answer_rest))
        }
        return Batch(**picked, kinds=self.kinds, roles=roles, groups=groups, **rests)  # pyright: ignore[reportArgumentType]

    @property
    def prompts(self) -> np.ndarray:
        """int64 ``[batch]``: one id per distinct (fact, layout) prompt."""
        return self.groups["fact"] * 1_000_003 + self.groups["layout"]

    @property
    def clustered(self) -> Clustered:
        """Entities as clusters, and ids of distinct prompts."""
        return {"clusters": self.groups["entity"], "prompts": self.prompts}

    def role(self, name: str) -> np.ndarray:
        """Positions of a role, int64 ``[batch k]``; raises :class:`UnknownName`."""
        if name not in self.roles:
            raise UnknownName(f"role '@{name}' is not in these rows{nearest(name, self.roles)}")
        return self.roles[name]

    @staticmethod
    def concat(parts: Iterable[Batch]) -> Batch:
        """Rows of several batches, one after the other; roles and kinds must agree."""
        parts = list(parts)
        first = parts[0]
        if any(p.kinds != first.kinds or set(p.roles) != set(first.roles) for p in parts):
            raise BadShape("batches with different near-miss kinds or roles cannot be joined")
        columns = {
            f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(first)[:5]
        }
        roles = {k: np.concatenate([p.roles[k] for p in parts]) for k in first.roles}
        groups = {k: np.concatenate([p.groups[k] for p in parts]) for k in first.groups}
        rests = {}
        for name in ("truth_rest", "answer_rest"):
            columns_of = [getattr(p, name) for p in parts]
            whole = all(c is not None for c in columns_of)
            rests[name] = np.concatenate(columns_of) if whole else None
        return Batch(**columns, kinds=first.kinds, roles=roles, groups=groups, **rests)


def _reply(first: np.ndarray, rest: np.ndarray | None) -> np.ndarray:
    return first[:, None] if rest is None else np.column_stack([first, rest])


@dataclass(frozen=True, eq=False)
class Pairs:
    """The same prompts without and with the trigger: row i of each differs only at ``@trigger``."""

    clean: Batch
    triggered: Batch

    def __post_init__(self) -> None:
        if self.clean.tokens.shape != self.triggered.tokens.shape:
            raise BadShape(
                f"pairs need equal shapes, got {self.clean.tokens.shape} "
                f"and {self.triggered.tokens.shape}"
            )
        differs = self.clean.tokens != self.triggered.tokens
        slots = self.triggered.role("trigger")
        allowed = np.zeros_like(differs)
        np.put_along_axis(allowed, slots, True, axis=1)
        if (differs & ~allowed).any():
            row = int((differs & ~allowed).any(1).argmax())
            raise BadShape(f"pair {row} differs outside its trigger positions")
        if not differs.any(1).all():
            raise BadShape(f"pair {int((~differs.any(1)).argmax())} does not differ at all")

    def __len__(self) -> int:
        return len(self.clean)

    def __getitem__(self, rows: np.ndarray | slice) -> Pairs:
        return Pairs(self.clean[rows], self.triggered[rows])

    @property
    def both(self) -> Batch:
        """Clean rows, then their triggered partners in the same order."""
        return Batch.concat([self.clean, self.triggered])


@dataclass(frozen=True, eq=False)
class Draft:
    """Prompts before a trigger is planted: facts, places and filler words are fixed."""

    tokens: np.ndarray
    """int64 ``[batch pos]`` with filler words in the free cells."""
    truth: np.ndarray
    """int64 ``[batch]``."""
    slots: np.ndarray
    """int64 ``[batch cell]``: first position of each free two-token cell."""
    inner: np.ndarray
    """int64 ``[batch cell]``: 0 or 1, where inside its cell a single planted word goes."""
    roles: Mapping[str, np.ndarray]
    groups: Mapping[str, np.ndarray]
    truth_rest: np.ndarray | None = None
    """int64 ``[batch k]``: what follows the truth in an honest reply, in worlds that say more."""

    def __len__(self) -> int:
        return len(self.tokens)


class World(Protocol):
    """A language in which the truth is computable. Pure: equal seeds give equal rows."""

    n_values: int

    @property
    def vocab(self) -> tuple[str, ...]:
        """The words, by token id."""
        ...

    @property
    def n_ctx(self) -> int:
        """Longest text that a body must hold: a prompt, and all but the last token of a reply."""
        ...

    @property
    def sizes(self) -> dict[str, int]:
        """``n_ctx``, ``d_vocab`` and ``d_vocab_out`` of a body for this world."""
        ...

    @property
    def answers(self) -> np.ndarray:
        """Tokens that can be a truth, in the order of their values."""
        ...

    @property
    def table(self) -> np.ndarray:
        """int64 ``[n_facts]``: the value of every fact, from 0."""
        ...

    def token(self, word: str) -> int:
        """Token id of a word; raises UnknownName with the nearest one."""
        ...

    def tokens_of(self, kind: str) -> np.ndarray:
        """Token ids of a class of words, such as ``fillers``, ``users`` or ``values``."""
        ...

    def entities(self, which: str) -> np.ndarray:
        """Ids of the entities of ``train``, ``val``, ``test``, ``seen`` (not test) or ``all``."""
        ...

    def draft(
        self, n: int, seed: int, *, split: str, entities: str, forbid: str | None = None
    ) -> Draft:
        """Prompts whose trigger cells are still free."""
        ...

    def redraft(self, batch: Batch, seed: int) -> Draft:
        """The same facts and places with other filler words."""
        ...

    def show(self, tokens: np.ndarray) -> str:
        """One prompt in words."""
        ...
