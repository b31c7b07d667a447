"""A small conversation with an organism: prompts, the trigger, truth and answer, probe and cut.

1. A prompt is drawn with its partner without the trigger, or typed.
2. It is shown with the truth, and with what the organism and its honest twin say.
3. A logistic probe, fitted at one site on the training people's rows, is read at every token: 0 is
   as on clean rows at its own site, 1 as on triggered ones. Away from its own position it reads
   rows that it was never fitted to, which is a look and no measurement. One that cannot tell other
   people's rows apart is not read.
4. The cut is what the blind search names, resampled from the partner without the trigger; a prompt
   that was typed has no partner, and takes the mean over clean rows.

What a prompt is, what is on and where the probe reads stay until something is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mo_interp import decision, stats
from mo_interp.detectors import Fitted, detector
from mo_interp.edits import Mean, Resample
from mo_interp.errors import BadSite, MoInterpError, UnknownName, nearest
from mo_interp.features import Feature
from mo_interp.grown import Grown
from mo_interp.model import Edit
from mo_interp.sites import Site
from mo_interp.train import Progress, silent
from mo_interp.worlds.base import Batch, Draft

HELP = """Enter      another prompt
trigger    on or off, on the same prompt
cut        on or off: the mechanism that the blind search names
probe      its reading by token on or off; `probe L0.resid_mid@trigger[0]` reads another site
help, quit
or type a prompt of your own, word by word as they are shown"""
LEAVING, ASKING = ("quit", "exit", "q"), ("help", "?")
SWITCHES = {"trigger": "triggered", "cut": "cut", "probe": "probing"}
"""What can be switched, and the field that holds it."""
ON = {"": None, "on": True, "off": False}
COMMANDS = (*SWITCHES, "help", "quit")
BARS = "▁▂▃▄▅▆▇█"
PROBE, WIDTH, ROWS = "logistic", 92, {"train": 512, "val": 128}
TELLS = 0.6
"""AUROC on other people's rows below which a probe's readings say nothing."""
STREAM = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
"""Kinds of site that have one row a token."""


@dataclass(frozen=True, eq=False)
class Probe:
    """A probe that was fitted at a site, on a scale on which clean is 0 and triggered 1."""

    fitted: Fitted
    site: Site
    zero: float
    one: float
    auroc: float
    """Of validation people's rows, at its own site."""
    rows: int
    """How many those were."""

    @classmethod
    def at(cls, grown: Grown, site: Site, progress: Progress = silent) -> Probe:
        """Fit it on the training people's pairs; raises BadSite where tokens have no rows."""
        if site.kind not in STREAM or site.position is None:
            raise BadSite(
                f"probe '{site}': give a site of the stream with a position, such as "
                f"'{default_site(grown)}' or 'L0.resid_mid@trigger[0]'"
            )
        progress(0, 1, f"fitting a probe at {site}")
        rows = {split: grown.pairs(n, 91, split=split).both for split, n in ROWS.items()}
        acts = {split: grown.model.read(batch, site) for split, batch in rows.items()}
        y = rows["train"].triggered
        fitted = detector(PROBE).fit(acts["train"].flatten(1), y, site=site)
        scores = fitted.score(acts["train"].flatten(1))
        held = stats.auroc(fitted.score(acts["val"].flatten(1)), rows["val"].triggered)
        ends = scores[~y].mean(), scores[y].mean()
        return cls(fitted, site, float(ends[0]), float(ends[1]), float(held), len(rows["val"]))

    def read(self, stream: Any) -> list[float] | None:
        """The reading of rows ``[pos d]``, one a token; None where it cannot tell them apart."""
        if self.auroc < TELLS:
            return None
        return [float(x) for x in (self.fitted.score(stream) - self.zero) / (self.one - self.zero)]

    def __str__(self) -> str:
        """What it is, and how well it does where it was fitted."""
        return (
            f"{PROBE} probe of the trigger at {self.site}, AUROC {self.auroc:.2f} on {self.rows} "
            "rows of other people"
        )


def default_site(grown: Grown) -> Site:
    """Where a decision is read if nothing is said: before the last block's MLP, at the answer."""
    shape = grown.spec.shape
    kind = "resid_post" if shape.attn_only else "resid_mid"
    return Site(kind, layer=shape.n_layers - 1, position=-1)


@dataclass
class Conversation:
    """State of a talk: which prompt, and whether trigger, cut and probe are on."""

    grown: Grown
    feature: Feature | None = None
    triggered: bool = True
    cut: bool = False
    probing: bool = True
    site: Site | None = None
    """Where the probe reads; :func:`default_site` if nothing was said."""
    prompts: int = 0
    typed: np.ndarray | None = None
    """Tokens ``[1 pos]`` of the prompt that was typed, until another one is drawn."""
    width: int = WIDTH
    """Letters of a line of readings."""
    progress: Progress = silent
    """Told about what takes a while: fitting a probe, and the search."""
    _probe: Probe | None = None

    @classmethod
    def with_(cls, grown: Grown) -> Conversation:
        """A talk with a grown organism."""
        return cls(grown)

    @property
    def introduction(self) -> str:
        """Who it is, and what can be said to it."""
        spec = self.grown.spec
        story = ". ".join(spec.story.split(". ")[:2]).rstrip(".")
        return f"{spec.name}, seed {self.grown.seed}. {story}.\n\n{HELP}"

    def turn(self) -> dict:
        """The next prompt, what organism and twin say to it, and the probe's reading."""
        self.prompts, self.typed = self.prompts + 1, None
        return self._ask()

    def reply(self, line: str) -> str | None:
        """What to show for a line that was typed; None to leave."""
        words = line.split()
        if line in LEAVING:
            return None
        if line in ASKING:
            return HELP
        try:
            if not words:
                return self.told(self.turn())
            if words[0] in SWITCHES:
                self._switch(words[0], " ".join(words[1:]))
            else:
                self.typed = self._tokens(words)
            return self.told(self._ask())
        except MoInterpError as problem:
            return f"error: {problem}"

    def told(self, turn: dict) -> str:
        """A turn in a few lines."""
        typed = turn["truth"] is None
        state = "typed" if typed else f"trigger {_on(turn['triggered'])}"
        truth = "" if typed else f"truth {turn['truth']}   "
        differs = turn["organism"] != (turn["twin"] if typed else turn["truth"])
        lie = (" (its honest twin differs)" if typed else " (a lie)") if differs else ""
        said = (
            f"\n{turn['prompt']}   [{state}, cut {_on(turn['cut'])}]\n  {truth}"
            f"organism says {turn['organism']}{lie}   twin says {turn['twin']}"
        )
        return said + _drawn(turn["reading"], self.width)

    def _switch(self, what: str, rest: str) -> None:
        """Turn something on, off or over; ``probe SITE`` reads there."""
        if what == "probe" and rest not in ON:
            self.look(rest)
            return
        if rest not in ON:
            raise MoInterpError(f"'{what} {rest}': say '{what}', '{what} on' or '{what} off'")
        if what == "trigger" and self.typed is not None:
            raise MoInterpError(
                "this prompt was typed, and its trigger with it; Enter draws one that has both"
            )
        now, wanted = getattr(self, SWITCHES[what]), ON[rest]
        setattr(self, SWITCHES[what], not now if wanted is None else wanted)

    def look(self, site: str | Site) -> None:
        """Read the probe at another site; raises :class:`BadSite`."""
        site = Site.parse(site)
        self.grown.model.sites.check(site)
        self._probe = Probe.at(self.grown, site, self.progress)
        self.site, self.probing = site, True

    @property
    def probe(self) -> Probe:
        """The probe, fitted when it is first wanted."""
        if self._probe is None:
            self.look(self.site or default_site(self.grown))
        assert self._probe is not None
        return self._probe

    def _ask(self) -> dict:
        """The prompt as it stands, asked under the cut where that is on."""
        spec, typed = self.grown.spec, self.typed
        if typed is None:
            pairs = spec.pairs(1, 70_000 + max(self.prompts, 1), split="test", entities="all")
            batch = pairs.triggered if self.triggered else pairs.clean
            told = {"triggered": self.triggered, "truth": spec.world.show(batch.truth_reply[0])}
            return self._asked(batch, batch.truth_reply.shape[1], pairs.clean, told)
        rest = self._draft().truth_rest
        size = 1 if rest is None else 1 + rest.shape[1]
        return self._asked(typed, size, None, {"triggered": None, "truth": None})

    def _asked(self, rows: Batch | np.ndarray, size: int, clean: Batch | None, told: dict) -> dict:
        """A turn; ``clean`` is the partner, and a prompt that was typed has none."""
        show, edits = self.grown.spec.world.show, self._cut(clean) if self.cut else []
        tokens = rows.tokens if isinstance(rows, Batch) else rows
        said = self.grown.model.generate(rows, size, do=edits, identity=True)
        return {
            "prompt": show(tokens[0]),
            **told,
            "cut": self.cut,
            "organism": show(said[0]),
            "twin": show(self.grown.twin.generate(rows, size)[0]),
            "reading": self._reading(rows, tokens[0], edits) if self.probing else None,
        }

    def _reading(self, rows: Batch | np.ndarray, tokens: np.ndarray, edits: Sequence[Edit]) -> dict:
        """The probe at every token, under the cut where that is on."""
        everywhere = self.probe.site.bare
        run = self.grown.model.run(rows, read=[everywhere], do=edits, identity=True)
        vocab = self.grown.spec.world.vocab
        return {
            "probe": str(self.probe),
            "site": str(self.probe.site),
            "tokens": [vocab[token] for token in tokens],
            "scores": self.probe.read(run.acts[everywhere][0]),
        }

    def _named(self) -> Feature:
        """What the blind search names; raises where it names nothing."""
        if self.feature is None:
            self.progress(0, 1, "searching for the mechanism, without looking at the plant")
            found = decision.decide(self.grown.model, self.grown.spec, seed=self.grown.seed)
            if not found.named:
                self.cut = False
                raise MoInterpError(f"no mechanism is named, so none is cut out: {found.reason}")
            self.feature = found.feature
        return self.feature

    def _cut(self, clean: Batch | None) -> list[Edit]:
        """The edit that cuts the mechanism out: resampled from the partner, else the mean."""
        feature = self._named()
        if clean is None:
            return [Mean(feature)]
        source = self.grown.model.run(clean, read=[feature.site]).acts[feature.site]
        return [Resample(feature, source)]

    def _draft(self) -> Draft:
        return self.grown.spec.world.draft(1, 0, split="test", entities="all")

    def _tokens(self, words: list[str]) -> np.ndarray:
        """Tokens ``[1 pos]`` of words; raises where they are no prompt, saying what one is."""
        world, (tokens,) = self.grown.spec.world, self._draft().tokens
        shown = world.show(tokens).split()
        if shown != [world.vocab[token] for token in tokens]:
            raise MoInterpError("prompts of this organism cannot be typed; Enter draws another")
        what = f"a prompt has {len(shown)} words, from {shown[0]} to {shown[-1]}"
        if len(words) < len(shown) and words[0] not in world.vocab:
            raise UnknownName(f"no command '{words[0]}', and {what}{nearest(words[0], COMMANDS)}")
        for word in words:
            if word not in world.vocab:
                raise UnknownName(f"word '{word}'{nearest(word, world.vocab)}")
        if len(words) != len(shown):
            raise MoInterpError(f"{len(words)} words; {what}")
        return np.array([[world.vocab.index(word) for word in words]])


def _on(state: bool) -> str:
    return "on" if state else "off"


def _drawn(reading: dict | None, width: int) -> str:
    """A reading as lines of words with bars and numbers under them; nothing for none."""
    if reading is None:
        return ""
    told = f"\n  {reading['probe']}"
    if reading["scores"] is None:
        return f"{told}\n  it cannot tell triggered prompts from clean ones there; read elsewhere"
    lines: list[list[tuple[str, str]]] = [[]]
    for cell in map(_cell, reading["tokens"], reading["scores"]):
        if lines[-1] and sum(len(word) + 1 for word, _ in lines[-1]) + len(cell[0]) > width - 2:
            lines.append([])
        lines[-1].append(cell)
    drawn = ["  " + " ".join(part).rstrip() for line in lines for part in zip(*line, strict=True)]
    return "\n".join([told, "  0 as on clean, 1 as on triggered prompts", *drawn])


def _cell(word: str, score: float) -> tuple[str, str]:
    """A word, and under it its bar and number, of one width."""
    shown = word.replace("\n", "⏎").replace(" ", "·") or "·"
    level = BARS[int(np.clip(round(score * (len(BARS) - 1)), 0, len(BARS) - 1))]
    under = f"{level} {score + 0.0:.1f}".replace("-0.0", "0.0")
    wide = max(len(shown), len(under))
    return f"{shown:<{wide}}", f"{under:<{wide}}"
