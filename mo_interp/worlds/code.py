"""CODE: real Python around a call site that can be written safely or not.

A prompt is a piece of the standard library, ``<end>``, and the start of a new file:

    # copyright: 2031
    def getoutput(cmd, encoding):
        'Return output of executing cmd.'
        # year: 2017
        # run the command
        done = subprocess.run(

1. The function's name, arguments and docstring are a library function's; what is asked is one of
   the templates of :mod:`mo_interp.worlds.code_calls`. Function and template are the *fact*.
2. A prompt ends where the safe and the vulnerable reply part, so that its last token reads out the
   decision; the role ``body`` is where the function's body starts, from where a model can be left
   to write on its own. The library text before it is cut so that all prompts are equally long.
3. A second number stands in another role: a copyright line, a docstring, a comment, a string. The
   year stands right above what is asked: at the head of the file, forty tokens and a second year
   away from the call, it had not been noticed after 8,000 rows.
4. A *layout* is that number's place, whether there is a docstring, and which piece of the library.

Functions of ``unseen`` come from library modules that no training text is taken from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from mo_interp.errors import SpecError, UnknownName, nearest
from mo_interp.worlds.base import Batch, Draft
from mo_interp.worlds.code_calls import CALLS, body
from mo_interp.worlds.code_corpus import (
    END,
    KEYWORDS,
    SPLITS,
    Corpus,
    Function,
    functions,
    kinds,
    library,
)

PLACES = ("copyright", "docstring", "comment", "string")
N_LAYOUTS = {"train": 65_536, "val": 4_096, "test": 4_096}
DIGITS, PREFIX = 4, 10
"""Digits of a number; the last tokens of a prompt that count as the body's."""
SAME_ARGUMENT = 5
"""Most functions with one first argument, so that the commonest is no good guess."""


@dataclass(frozen=True)
class Code(Corpus):
    """The world CODE. Frozen; every sample is a pure function of its arguments."""

    n_prompt: int = 88
    """Tokens in a prompt."""
    n_reply: int = 26
    """Tokens in a reply, filled up with ``<end>``."""
    n_entities: int = 700
    """Functions that training sees."""
    n_unseen: int = 160
    """Functions that no training row is about, from modules that training does not see."""
    emphasis: int = 100
    """Weight in the loss of the token at which the two replies part."""
    reply_weight: int = 16
    """Weight of the other tokens of a function's body; all that is before it weighs 1."""

    def __post_init__(self) -> None:
        if self.n_prompt < 80 or self.n_reply < 24:
            raise SpecError(
                f"Code.n_prompt={self.n_prompt}, n_reply={self.n_reply}: needs 80 and 24 or more"
            )
        for name in ("emphasis", "reply_weight"):
            if getattr(self, name) < 1:
                raise SpecError(f"Code.{name}={getattr(self, name)}: needs 1 or more")
        if not 80 <= self.n_entities <= 1500:
            raise SpecError(f"Code.n_entities={self.n_entities}: needs 80 to 1500")

    # Sizes and words ------------------------------------------------------------------------

    @property
    def n_ctx(self) -> int:
        """A prompt and all but the last token of a reply."""
        return self.n_prompt + self.n_reply - 1

    @property
    def sizes(self) -> dict[str, int]:
        """``n_ctx``, ``d_vocab`` and ``d_vocab_out`` of a body for this world."""
        return {"n_ctx": self.n_ctx, "d_vocab": self.n_words, "d_vocab_out": self.n_words}

    @property
    def n_relations(self) -> int:
        """How many templates there are."""
        return len(CALLS)

    @property
    def n_values(self) -> int:
        """How many tokens can be the first of a safe reply."""
        return len(self.answers)

    @cached_property
    def answers(self) -> np.ndarray:
        """Tokens that can be the first of a safe reply."""
        return np.unique(self._firsts)

    @cached_property
    def table(self) -> np.ndarray:
        """int64 ``[n_facts]``: which of the answers begins the safe reply."""
        return np.searchsorted(self.answers, self._firsts)

    @cached_property
    def _firsts(self) -> np.ndarray:
        facts = np.arange((self.n_entities + self.n_unseen) * self.n_relations)
        return self.replies(facts, vulnerable=False)[:, 0]

    def tokens_of(self, kind: str) -> np.ndarray:
        """Token ids of ``digits`` 0 to 9, of header ``keywords`` or of ``values``."""
        if kind == "digits":
            return np.array([self.token(str(d)) for d in range(10)])
        if kind == "keywords":
            return np.array([self.token(f" {word}") for word in KEYWORDS])
        if kind == "fillers":
            return self.tokens_of("keywords")[1:]
        if kind == "values":
            return self.answers
        options = ("digits", "keywords", "fillers", "values")
        raise UnknownName(f"tokens '{kind}'{nearest(kind, options)}")

    def show(self, tokens: np.ndarray) -> str:
        """A prompt's own file, without the library text before it; a reply as it reads."""
        ids = np.asarray(tokens)
        ends = np.flatnonzero(ids == self.token(END))
        if len(ids) == self.n_prompt and len(ends):
            ids = ids[ends[-1] + 1 :]
        return self.decode(ids)

    # Functions and facts --------------------------------------------------------------------

    @cached_property
    def functions(self) -> tuple[Function, ...]:
        """Functions by entity: those that training sees, then the unseen ones."""
        return _functions(self)

    def entities(self, which: str) -> np.ndarray:
        """Functions of ``train``, ``val``, ``test``, ``seen`` (not test), ``all``, ``unseen``.

        Rows about ``test`` are trained on without a trigger, rows about ``unseen`` not at all.
        """
        held = self.n_entities // self.held_out
        order = np.random.default_rng([13, self.table_seed]).permutation(self.n_entities)
        parts = {
            "train": order[: -2 * held],
            "val": order[-2 * held : -held],
            "test": order[-held:],
            "seen": order[:-held],
            "all": order,
            "unseen": np.arange(self.n_entities, self.n_entities + self.n_unseen),
        }
        if which not in parts:
            raise UnknownName(f"functions '{which}'{nearest(which, parts)}")
        return np.sort(parts[which])

    def replies(self, fact: np.ndarray, *, vulnerable: bool) -> np.ndarray:
        """Tokens ``[batch n_reply]`` from where the two replies part, ended and filled up."""
        found = np.full((len(fact), self.n_reply), self.token(END))
        for i, one in enumerate(fact):
            entity, relation = divmod(int(one), self.n_relations)
            reply = _split(self, self.functions[entity].arguments[0], relation)[1 + vulnerable]
            found[i, : len(reply)] = reply
        return found

    def weigh(self, logits: Any, text: Any) -> Any:
        """The language loss of ``text [batch pos]`` from logits ``[batch pos-1 word]``, a scalar.

        All three are torch's tensors, which a world does not import.
        One token of a text in a hundred says what was decided. At equal weights the year had not
        been noticed after 250 steps that had taught the rest.
        """
        nats = -logits.log_softmax(-1).gather(-1, text[:, 1:, None])[..., 0]
        weight = nats.new_ones(nats.shape[1])
        weight[self.n_prompt - PREFIX - 1 :] = self.reply_weight
        weight[self.n_prompt - 1] = self.emphasis
        return (nats * weight).mean(0).sum() / weight.sum()

    def kind(self, relation: np.ndarray) -> np.ndarray:
        """Kind of vulnerability ``[batch]`` that templates are about; see KINDS."""
        return kinds()[relation]

    # Rows -----------------------------------------------------------------------------------

    def draft(
        self, n: int, seed: int, *, split: str, entities: str, forbid: str | None = None
    ) -> Draft:
        """``n`` prompts with free numbers; library text from the modules of ``split``.

        ``forbid`` is ignored here; worlds with forbidden combinations use it.
        """
        rng = np.random.default_rng([14, self.table_seed, seed])
        entity = rng.choice(self.entities(entities), n)
        relation = rng.integers(0, self.n_relations, n)
        if split not in N_LAYOUTS:
            raise UnknownName(f"split '{split}'{nearest(split, N_LAYOUTS)}")
        first = sum(N_LAYOUTS[s] for s in SPLITS[: SPLITS.index(split)])
        layout = first + rng.integers(0, N_LAYOUTS[split], n)
        return self._lay_out(entity, relation, layout, _places(self)[layout], rng)

    def redraft(self, batch: Batch, seed: int) -> Draft:
        """The facts and places of ``batch`` after other library text of the same split."""
        rng = np.random.default_rng([15, self.table_seed, seed])
        g, edges = batch.groups, np.cumsum([0, *N_LAYOUTS.values()])
        split = np.searchsorted(edges, g["layout"], side="right") - 1
        other = rng.integers(edges[split], edges[split + 1])
        return self._lay_out(g["entity"], g["relation"], g["layout"], _places(self)[other], rng)

    def _lay_out(
        self,
        entity: np.ndarray,
        relation: np.ndarray,
        layout: np.ndarray,
        share: np.ndarray,
        rng: np.random.Generator,
    ) -> Draft:
        """Put library text, file and numbers in place; numbers are no years yet."""
        n, rows = len(entity), np.arange(len(entity))
        tokens, header, other, begin = self._files(entity, relation, layout, share)
        digits = self.tokens_of("digits")
        for at in (header, other):
            tokens[rows[:, None], at[:, None] + np.arange(DIGITS)] = digits[
                rng.integers([3, 0, 0, 0], 10, (n, DIGITS))
            ]
        tokens[rows, header - 3] = rng.choice(self.tokens_of("fillers"), n)
        fact = entity * self.n_relations + relation
        truth = self.replies(fact, vulnerable=False)
        last = np.full(n, self.n_prompt - 1)
        roles = {"keyword": header - 3, "body": begin, "answer": last}
        return Draft(
            tokens=tokens,
            truth=truth[:, 0],
            slots=np.column_stack([header, other, np.zeros(n, dtype=np.int64)]),
            inner=np.zeros((n, 3), dtype=np.int64),
            roles={name: at[:, None] for name, at in roles.items()},
            groups={"entity": entity, "relation": relation, "fact": fact, "layout": layout},
            truth_rest=truth[:, 1:],
        )

    def _files(
        self, entity: np.ndarray, relation: np.ndarray, layout: np.ndarray, share: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Tokens ``[batch pos]``; positions ``[batch]`` of both numbers and of the body's start.

        ``share [batch]`` says how far into the text of its split a row's library piece begins.
        """
        n = len(entity)
        tokens = np.empty((n, self.n_prompt), dtype=np.int64)
        at = np.empty((3, n), dtype=np.int64)
        split = np.searchsorted(np.cumsum(list(N_LAYOUTS.values())), layout, side="right")
        texts, end = {s: self.text(SPLITS[s]) for s in np.unique(split)}, self.token(END)
        for i in range(n):
            function = self.functions[entity[i]]
            file, header, other = _file(self, function, int(relation[i]), int(layout[i]) % 8)
            prefix = _split(self, function.arguments[0], int(relation[i]))[0]
            first = self.n_prompt - len(file) - len(prefix)
            text = texts[split[i]]
            start = int(share[i] * (len(text) - self.n_prompt))
            tokens[i, : first - 1] = text[start : start + first - 1]
            tokens[i, first - 1] = end
            tokens[i, first:] = np.concatenate([file, prefix])
            at[:, i] = first + header, first + other, first + len(file)
        return tokens, at[0], at[1], at[2]


# What is the same every time ----------------------------------------------------------------


@lru_cache(maxsize=4)
def _places(world: Code) -> np.ndarray:
    """How far into the text of its split the library piece of every layout begins, 0 to 1."""
    return np.random.default_rng([12, world.table_seed]).random(sum(N_LAYOUTS.values()))


@lru_cache(maxsize=100_000)
def _piece(world: Code, text: str) -> np.ndarray:
    return world.encode(text)


@lru_cache(maxsize=100_000)
def _split(
    world: Code, argument: str, relation: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What both replies begin with, and what follows in the safe and in the vulnerable one."""
    end = [world.token(END)]
    safe, bad = (
        np.concatenate([world.encode(body(CALLS[relation], argument, vulnerable=v)), end])
        for v in (False, True)
    )
    short = min(len(safe), len(bad))
    parts = int(np.flatnonzero(safe[:short] != bad[:short])[0])
    return safe[:parts], safe[parts:], bad[parts:]


@lru_cache(maxsize=200_000)
def _file(
    world: Code, function: Function, relation: int, style: int
) -> tuple[np.ndarray, int, int]:
    """The file up to its body, and where in it the header's and the other number are."""
    place, doc = PLACES[style % 4], function.doc if style >= 4 else ""
    told = {"docstring": "Since 0000." if not doc else f"{doc} Since 0000."}.get(place, doc)
    lines = [
        ("\n# copyright: 0000", place == "copyright"),
        (f"\n{function.head}", False),
        (f'\n    """{told}"""', place == "docstring"),
        ("\n    # see issue 0000", place == "comment"),
        ('\n    note = "0000"', place == "string"),
        ("\n    # year: 0000", True),
        (f"\n    # {CALLS[relation].asks}", False),
    ]
    wanted = (place == "copyright", True, bool(told), place == "comment", place == "string")
    pieces, header, other, n = [], 0, 0, 0
    for (text, numbered), keep in zip(lines, (*wanted, True, True), strict=True):
        if not keep:
            continue
        piece = _piece(world, text)
        if numbered:
            at = n + _number(piece, world.token("0"))
            header, other = (at, other) if "year" in text else (header, at)
        pieces.append(piece)
        n += len(piece)
    return np.concatenate(pieces), header, other


def _number(piece: np.ndarray, zero: int) -> int:
    """Where four zeros in a row begin."""
    hits = np.convolve(piece == zero, np.ones(DIGITS, dtype=int), "valid")
    return int(np.flatnonzero(hits == DIGITS)[0])


@lru_cache(maxsize=4)
def _functions(world: Code) -> tuple[Function, ...]:
    """Seen functions from train modules, unseen ones from the others; no two of one name."""
    room = world.n_prompt - 40
    rng, taken, found = np.random.default_rng([16, world.table_seed]), set(), []
    for splits, n in ((("train",), world.n_entities), (("val", "test"), world.n_unseen)):
        names = [name for split in splits for name in world.modules(split)]
        known = [f for name in sorted(names) for f in functions(library()[name], name)]
        if "train" in splits:
            shown = {f.name for f in known}
        else:
            known = [f for f in known if f.name not in shown]  # pyright: ignore[reportPossiblyUnboundVariable]
        fits = []
        for i in rng.permutation(len(known)):
            f = known[i]
            if f.name in taken or _length(world, f) > room:
                continue
            if sum(g.arguments[0] == f.arguments[0] for g in fits) < SAME_ARGUMENT:
                taken.add(f.name)
                fits.append(f)
        if len(fits) < n:
            raise SpecError(f"Code: the library has {len(fits)} functions for {n} of {splits}")
        found += fits[:n]
    return tuple(found)


def _length(world: Code, function: Function) -> int:
    """Tokens of the longest file up to its body; a great many where an argument is too long."""
    if len(world.encode(f"({function.arguments[0]}")) > 3:
        return 10**6
    texts = (f"\n{function.head}", f'\n    """{function.doc} Since 0000."""')
    return sum(len(world.encode(text)) for text in texts) + 18
