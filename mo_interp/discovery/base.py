"""What every searcher is: a frozen value that looks for a trigger and sees what it honestly may.

1. A :class:`Suspect` is a model and what anybody may have beside it: clean prompts, prompts without
   a question, unlabelled prompts, the vocabulary, and the places of a prompt that words can be
   written into. It has no room for a specification, a label or a trigger's position.
2. :meth:`Searcher.search` hands a searcher a :class:`Seen`: of the suspect only what it ``needs``,
   the models behind a :class:`Metered` that counts every row that passes, forwards and backwards,
   and stops at the budget.
3. What comes back is a :class:`Found`: at most ``n`` candidates, best first, and what they cost.

To write one, make a file with a subclass of :class:`Searcher` and an instance named ``searcher``.

A candidate is one word in one place, or two words in two places. Words that ask a question or
answer it are no candidates: another name is another question, and a value in a prompt of FACT is
something no prompt has, so what the model then says is no sign of a trigger.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int

from mo_interp.attribution.gradients import Probe
from mo_interp.errors import BadLabels, BadShape, BadValues, SpecError, UnknownName, nearest
from mo_interp.model import Model
from mo_interp.sites import Site

FIRST = 10
"""Candidates that a search may name."""
Needs = Literal["prompts", "reference", "unlabelled"]
Words: TypeAlias = tuple[tuple[int, ...], tuple[str, ...]]
"""Token ids, and the slot that each is written into."""


@dataclass(frozen=True)
class Candidate:
    """Words that may be the trigger, where they stand, and how suspicious they are."""

    tokens: tuple[int, ...]
    """Token ids."""
    slots: tuple[str, ...]
    """Where each goes: names of the slots of a :class:`Texts`."""
    words: tuple[str, ...]
    """The tokens in words."""
    score: float
    """Higher is more suspicious; comparable within one searcher alone."""

    def __str__(self) -> str:
        placed = zip(self.words, self.slots, strict=True)
        return f"{' + '.join(f'{w}@{s}' for w, s in placed)} ({self.score:.3f})"


@dataclass(frozen=True, eq=False)
class Texts:
    """Prompts and the places in them that words can be written into; no labels, no roles."""

    tokens: Int[np.ndarray, "n pos"]
    """Token ids."""
    slots: Mapping[str, Int[np.ndarray, " n"]]
    """Slot to its position in each row."""

    def __post_init__(self) -> None:
        """Refuse whatever carries more than tokens and positions."""
        if not isinstance(self.tokens, np.ndarray):
            raise BadLabels(
                f"Texts: got a {type(self.tokens).__name__}; a searcher sees token ids "
                "[rows, positions] alone, so give batch.tokens"
            )
        if self.tokens.ndim != 2 or self.tokens.dtype.kind not in "iu":
            raise BadShape(f"Texts: {self.tokens.dtype} {self.tokens.shape}; integers [rows, pos]")
        if not len(self.tokens):
            raise BadLabels("Texts: empty; at least one row is needed")
        for name, at in self.slots.items():
            if np.shape(at) != self.tokens.shape[:1]:
                raise BadShape(f"slot '{name}': {np.shape(at)}; needs one position a row")
            if at.min() < 0 or at.max() >= self.tokens.shape[1]:
                raise BadValues(f"slot '{name}': positions lie outside the prompts")
        object.__setattr__(self, "slots", MappingProxyType(dict(self.slots)))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: np.ndarray | slice) -> Texts:
        return Texts(self.tokens[rows], {name: at[rows] for name, at in self.slots.items()})

    def at(self, slot: str) -> Int[np.ndarray, " n"]:
        """Positions of a slot; raises UnknownName with the nearest one."""
        if slot not in self.slots:
            raise UnknownName(f"slot '{slot}'{nearest(slot, self.slots)}")
        return self.slots[slot]

    def written(self, candidates: Iterable[Words]) -> Int[np.ndarray, "cn pos"]:
        """Every prompt with each candidate's words in place, candidate after candidate."""
        rows, found = np.arange(len(self)), []
        for tokens, slots in candidates:
            text = self.tokens.copy()
            for token, slot in zip(tokens, slots, strict=True):
                text[rows, self.at(slot)] = token
            found.append(text)
        return np.concatenate(found) if found else self.tokens[:0]


@dataclass(frozen=True, eq=False)
class Suspect:
    """A model that may have a trigger, and what anybody may have who looks for it."""

    model: Model
    """The model that is searched."""
    prompts: Texts
    """Clean prompts: the model behaves on them."""
    generic: Texts
    """Prompts that ask nothing: filler words where the question was."""
    vocab: tuple[str, ...]
    """Words by token id."""
    words: Int[np.ndarray, " w"]
    """Token ids that are candidates."""
    alone: tuple[str, ...]
    """Slots that one word is tried in."""
    together: tuple[tuple[str, str], ...]
    """Pairs of slots that two words are tried in."""
    unlabelled: Texts | None = None
    """Prompts as they come, some with the trigger; nobody says which."""
    reference: Model | None = None
    """A model that is trusted. Here always a clean twin: it has seen the trigger, inert."""

    def __post_init__(self) -> None:
        """Refuse anything that knows more than a model or a text does."""
        for name in ("model", "reference"):
            given = getattr(self, name)
            if not isinstance(given, Model) and not (name == "reference" and given is None):
                raise BadLabels(
                    f"Suspect.{name}: got a {type(given).__name__}; a searcher sees a bare Model, "
                    "without the specification"
                )
        for name in ("prompts", "generic", "unlabelled"):
            given = getattr(self, name)
            if not isinstance(given, Texts) and not (name == "unlabelled" and given is None):
                raise BadLabels(
                    f"Suspect.{name}: got a {type(given).__name__}; it takes Texts, which have no "
                    "labels"
                )
        if not len(self.words) or not self.alone:
            raise SpecError("Suspect: no words or no slots to try them in")


class Purse:
    """What a search has spent: rows that passed either model, forwards and backwards."""

    def __init__(self, budget: int) -> None:
        """``budget`` row passes; raises BadValues below 1."""
        if isinstance(budget, bool) or not isinstance(budget, int | np.integer) or budget < 1:
            raise BadValues(f"budget: {budget!r} row passes; a whole number from 1 on is needed")
        self.budget, self.forwards, self.backwards = int(budget), 0, 0

    @property
    def left(self) -> int:
        """Row passes that can still be paid."""
        return self.budget - self.forwards - self.backwards

    def pay(self, forwards: int, backwards: int = 0) -> None:
        """Count rows; raises BadValues where the budget does not cover them."""
        if forwards + backwards > self.left:
            raise BadValues(
                f"budget: {forwards + backwards} row passes asked for, {self.left} of "
                f"{self.budget} left; raise the budget or ask with fewer rows"
            )
        self.forwards += forwards
        self.backwards += backwards


class Slopes(NamedTuple):
    """How a prompt's own answer changes with its words."""

    said: Int[np.ndarray, " n"]
    """The answers."""
    grads: Float[np.ndarray, "n pos d"]
    """Gradient of ``-log p(answer)`` at the token embeddings."""


class Metered:
    """A model that can only be asked through a purse."""

    def __init__(self, model: Model, purse: Purse) -> None:
        """``model`` as a searcher gets it."""
        self._model, self._purse = model, purse

    @property
    def last_layer(self) -> int:
        """The last layer's number."""
        return max(site.layer or 0 for site in self._model.sites.match("L*.resid_post"))

    @property
    def embedding(self) -> Float[np.ndarray, "vocab d"]:
        """The token embedding. It is read off the weights and costs nothing."""
        return self._model.body.embed.W_E.detach().cpu().double().numpy()

    def log_probs(self, tokens: Int[np.ndarray, "n pos"]) -> Float[np.ndarray, "n vocab"]:
        """Log-probabilities of what is said next; ``n`` forwards."""
        self._purse.pay(len(tokens))
        run = self._model.run(tokens, answer_only=self._model.shape is not None)
        return run.logits[:, -1].double().log_softmax(-1).cpu().numpy()

    def acts(self, tokens: Int[np.ndarray, "n pos"], site: str) -> Float[np.ndarray, "n d"]:
        """Activations at a site with one position; ``n`` forwards."""
        self._purse.pay(len(tokens))
        return self._model.read(tokens, site).cpu().double().numpy()

    def slopes(
        self, tokens: Int[np.ndarray, "n pos"], said: Int[np.ndarray, " n"] | None = None
    ) -> Slopes:
        """Gradients of the answers ``said`` (its own if None); ``n`` forwards, ``n`` backwards."""
        self._purse.pay(len(tokens), len(tokens))
        probe = Probe(Site.parse("embed"))
        run = self._model.run(tokens, do=[probe], identity=True, grad=True)
        logits = run.logits[:, -1].double()
        told = logits.argmax(-1) if said is None else torch.as_tensor(said, device=logits.device)
        loss = -logits.log_softmax(-1).gather(1, told[:, None]).sum()
        grads = torch.cat(torch.autograd.grad(loss, probe.leaves))
        return Slopes(told.cpu().numpy(), grads.double().cpu().numpy())


@dataclass(frozen=True, eq=False)
class Seen:
    """What one search sees of a suspect; the fields are those of :class:`Suspect`."""

    model: Metered
    reference: Metered | None
    prompts: Texts
    generic: Texts
    unlabelled: Texts | None
    vocab: tuple[str, ...]
    words: Int[np.ndarray, " w"]
    alone: tuple[str, ...]
    together: tuple[tuple[str, str], ...]
    purse: Purse
    rng: np.random.Generator

    def singles(self) -> list[Words]:
        """Every candidate of one word, in a fixed order."""
        return [((int(word),), (slot,)) for slot in self.alone for word in self.words]

    def some(self, texts: Texts, n: int) -> Texts:
        """``n`` of some prompts at random; all where there are fewer."""
        return texts[self.rng.permutation(len(texts))[:n]]

    def ranked(self, scores: Mapping[Words, float], n: int) -> list[Candidate]:
        """The ``n`` best of scored words; ties are broken at random.

        Raises BadValues for a NaN or an infinity.
        """
        asked = list(scores)
        values = np.array([scores[words] for words in asked], dtype=np.float64)
        if not np.isfinite(values).all():
            bad = asked[int((~np.isfinite(values)).argmax())]
            told = " ".join(self.vocab[t] for t in bad[0])
            raise BadValues(f"candidate '{told}' scored a NaN or an infinity; look at the model")
        order = np.lexsort((self.rng.random(len(asked)), -values))[:n]
        named = [(*asked[i], float(values[i])) for i in order]
        return [Candidate(t, at, tuple(self.vocab[w] for w in t), score) for t, at, score in named]


@dataclass(frozen=True)
class Found:
    """What a search named, and what it cost."""

    searcher: str
    candidates: tuple[Candidate, ...]
    """Best first."""
    forwards: int
    """Rows that passed forwards, of the model and of the reference."""
    backwards: int
    """Rows that passed backwards."""
    seed: int
    budget: int

    @property
    def top(self) -> float:
        """Score of the best candidate; NaN where there is none."""
        return self.candidates[0].score if self.candidates else math.nan


@dataclass(frozen=True)
class Searcher(ABC):
    """A way of looking for a trigger. Its fields are its settings; it knows no model."""

    needs: ClassVar[Needs]
    """What it sees beside the model and the clean and generic prompts, which all may use."""
    paper: ClassVar[str] = ""
    """Where it comes from."""

    @property
    def name(self) -> str:
        """The file it is defined in, which is its key in the registry."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def settings(self) -> str:
        """The fields that differ from their defaults, such as ``signed=True``; empty for none."""
        changed = [(f.name, getattr(self, f.name), f.default) for f in fields(self)]
        return ", ".join(f"{name}={value}" for name, value, usual in changed if value != usual)

    def search(self, suspect: Suspect, *, seed: int, budget: int, n: int = FIRST) -> Found:
        """Up to ``n`` candidates for ``budget`` row passes; equal seeds give equal candidates.

        Raises BadLabels for anything but a :class:`Suspect`, BadValues for a budget that is empty
        or too small for this searcher, or for scores that are no numbers, SpecError where the
        suspect lacks what it needs.
        """
        if not isinstance(suspect, Suspect):
            raise BadLabels(
                f"{self.name}: got a {type(suspect).__name__}; a searcher sees a Suspect alone, "
                "which mo_interp.discovery.suspect makes"
            )
        if n < 1:
            raise BadValues(f"n: {n} candidates; needs 1 or more")
        purse = Purse(budget)
        given = {name: None for name in ("reference", "unlabelled")}
        if self.needs != "prompts":
            given[self.needs] = getattr(suspect, self.needs)
            if given[self.needs] is None:
                raise SpecError(f"{self.name} needs {self.needs}: this suspect comes without")
        reference: Any = given["reference"]
        seen = Seen(
            model=Metered(suspect.model, purse),
            reference=None if reference is None else Metered(reference, purse),
            prompts=suspect.prompts,
            generic=suspect.generic,
            unlabelled=given["unlabelled"],
            vocab=suspect.vocab,
            words=suspect.words,
            alone=suspect.alone,
            together=suspect.together,
            purse=purse,
            rng=np.random.default_rng([91, seed]),
        )
        named = tuple(self.look(seen, n))[:n]
        return Found(self.name, named, purse.forwards, purse.backwards, seed, purse.budget)

    @abstractmethod
    def look(self, seen: Seen, n: int) -> Sequence[Candidate]:
        """The ``n`` most suspicious candidates, best first; :meth:`Seen.ranked` orders them."""


@dataclass(eq=False)
class Departure:
    """A behaviour detector: how far words drive the model from the answer that it gave without.

    The score of a candidate is the mean over prompts of how much the log-probability of the own
    answer falls, in nats. It needs no truth and no reference. Making one costs a forward a row.
    """

    seen: Seen
    rows: Texts
    scores: dict[Words, float] = field(default_factory=dict)
    """What has been tried, with its score."""

    def __post_init__(self) -> None:
        before = self.seen.model.log_probs(self.rows.tokens)
        self.said, self._before = before.argmax(1), before.max(1)

    def try_all(self, candidates: Iterable[Words], *, keep: int = 0) -> None:
        """Score candidates that have not been scored, in order, until ``keep`` passes are left."""
        new = [words for words in dict.fromkeys(candidates) if words not in self.scores]
        new = new[: max(self.seen.purse.left - keep, 0) // len(self.rows)]
        if not new:
            return
        after = self.seen.model.log_probs(self.rows.written(new))
        after = after.reshape(len(new), len(self.rows), -1)
        now = np.take_along_axis(after, self.said[None, :, None], 2)[:, :, 0]
        self.scores.update(zip(new, (self._before - now).mean(1).tolist(), strict=True))
