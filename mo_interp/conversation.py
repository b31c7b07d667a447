"""A small conversation with an organism: prompts, the trigger, truth and answer, and the cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp import decision
from mo_interp.edits import Resample
from mo_interp.errors import MoInterpError, UnknownName, nearest
from mo_interp.features import Feature
from mo_interp.grown import Grown
from mo_interp.model import Edit
from mo_interp.worlds.base import Batch

HELP = (
    "Enter: another prompt.  trigger: on or off.  cut: on or off (the mechanism that the blind "
    "search names, resampled from the prompt without the trigger).  Or type a prompt of your own.  "
    "quit: leave."
)


@dataclass
class Conversation:
    """State of a talk: which prompt, trigger on or off, cut on or off."""

    grown: Grown
    feature: Feature | None = None
    triggered: bool = True
    cut: bool = False
    prompts: int = 0
    help: str = HELP

    @classmethod
    def with_(cls, grown: Grown) -> Conversation:
        """A talk with a grown organism."""
        return cls(grown)

    def turn(self) -> dict:
        """The next prompt and what organism and twin say to it."""
        self.prompts += 1
        return self._ask()

    def reply(self, line: str) -> str | None:
        """What to show for a line that was typed; None to leave."""
        if line in ("quit", "exit", "q"):
            return None
        try:
            if line in ("trigger", "cut"):
                self._toggle(line)
                return self.told(self._ask())
            return self._own(line) if line else self.told(self.turn())
        except MoInterpError as problem:
            return f"error: {problem}"

    def told(self, turn: dict) -> str:
        """A turn in a few lines."""
        state = (
            f"trigger {'on' if turn['triggered'] else 'off'}, cut {'on' if turn['cut'] else 'off'}"
        )
        lie = " (a lie)" if turn["organism"] != turn["truth"] else ""
        return (
            f"\n{turn['prompt']}   [{state}]\n  truth {turn['truth']}   organism says "
            f"{turn['organism']}{lie}   twin says {turn['twin']}"
        )

    def _toggle(self, what: str) -> None:
        if what == "trigger":
            self.triggered = not self.triggered
        else:
            self.cut = not self.cut

    def _ask(self) -> dict:
        spec = self.grown.spec
        pairs = spec.pairs(1, 70_000 + self.prompts, split="test", entities="all")
        batch = pairs.triggered if self.triggered else pairs.clean
        size, show = batch.truth_reply.shape[1], spec.world.show
        edits = self._cut(pairs.clean) if self.cut else []
        said = self.grown.model.generate(batch, size, do=edits, identity=True)
        return {
            "prompt": spec.world.show(batch.tokens[0]),
            "triggered": self.triggered,
            "cut": self.cut,
            "truth": show(batch.truth_reply[0]),
            "organism": show(said[0]),
            "twin": show(self.grown.twin.generate(batch, size)[0]),
        }

    def _cut(self, clean: Batch) -> list[Edit]:
        """The edits that cut the mechanism out: resampling it from the clean partner."""
        model = self.grown.model
        if self.feature is None:
            found = decision.decide(model, self.grown.spec, seed=self.grown.seed)
            if not found.named:
                self.cut = False
                raise MoInterpError(f"no mechanism is named, so none is cut out: {found.reason}")
            self.feature = found.feature
        source = model.run(clean, read=[self.feature.site]).acts[self.feature.site]
        return [Resample(self.feature, source)]

    def _own(self, line: str) -> str:
        world = self.grown.spec.world
        prompt = world.draft(1, 0, split="test", entities="all")
        size, last = prompt.tokens.shape[1], world.vocab[prompt.tokens[0, -1]]
        words = line.split()
        for word in words:
            if word not in world.vocab:
                raise UnknownName(f"word '{word}'{nearest(word, world.vocab)}")
        if len(words) != size:
            raise MoInterpError(f"{len(words)} words; a prompt has {size}, from <s> to {last}")
        tokens = np.array([[world.vocab.index(word) for word in words]])
        n = 1 if prompt.truth_rest is None else 1 + prompt.truth_rest.shape[1]
        models = (self.grown.model, self.grown.twin)
        said = [world.show(model.generate(tokens, n)[0]) for model in models]
        return f"  organism says {said[0]}   twin says {said[1]}"
