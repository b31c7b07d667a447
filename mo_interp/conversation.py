"""A small conversation with an organism: prompts, the trigger, truth and answer, probe and cut.

1. A prompt is drawn with its partner without the trigger, or typed.
2. It is shown with the truth, and with what the organism and its honest twin say.
3. A logistic probe, fitted at one site on the training people's rows, is read at every token: 0 is
   as on clean rows at its own site, 1 as on triggered ones. Away from its own position it reads
   rows that it was never fitted to, which is a look and no measurement.
4. The cut is what the blind search names, resampled from the partner without the trigger; a prompt
   that was typed has no partner, and takes the mean over clean rows.
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
from mo_interp.worlds.base import Batch

HELP = """Enter      another prompt
trigger    on or off, on the same prompt
cut        on or off: the mechanism that the blind search names
probe      its reading by token on or off; `probe L0.resid_mid@trigger[0]` reads another site
help, quit
or type a prompt of your own, word by word as they are shown"""
BARS = "▁▂▃▄▅▆▇█"
PROBE, WIDTH, ROWS = "logistic", 92, {"train": 512, "val": 128}
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
    def at(cls, grown: Grown, site: Site) -> Probe:
        """Fit it on the training people's pairs; raises BadSite where tokens have no rows."""
        if site.kind not in STREAM or site.position is None:
            raise BadSite(
                f"probe '{site}': give a site of the stream with a position, such as "
                f"'{default_site(grown)}' or 'L0.resid_mid@trigger[0]'"
            )
        rows = {split: grown.pairs(n, 91, split=split).both for split, n in ROWS.items()}
        acts = {split: grown.model.read(batch, site) for split, batch in rows.items()}
        y = rows["train"].triggered
        fitted = detector(PROBE).fit(acts["train"].flatten(1), y, site=site)
        scores = fitted.score(acts["train"].flatten(1))
        held = stats.auroc(fitted.score(acts["val"].flatten(1)), rows["val"].triggered)
        ends = scores[~y].mean(), scores[y].mean()
        return cls(fitted, site, float(ends[0]), float(ends[1]), float(held), len(rows["val"]))

    def read(self, stream: Any) -> list[float]:
        """The reading of rows ``[pos d]``, one a token."""
        scale = (self.one - self.zero) or 1.0
        return [float(x) for x in (self.fitted.score(stream) - self.zero) / scale]

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
    help: str = HELP
    _probe: Probe | None = None

    @classmethod
    def with_(cls, grown: Grown) -> Conversation:
        """A talk with a grown organism."""
        return cls(grown)

    def turn(self) -> dict:
        """The next prompt, what organism and twin say to it, and the probe's reading."""
        self.prompts += 1
        return self._ask()

    def reply(self, line: str) -> str | None:
        """What to show for a line that was typed; None to leave."""
        word, _, rest = line.partition(" ")
        if line in ("quit", "exit", "q"):
            return None
        if line in ("help", "?"):
            return self.help
        try:
            if line in ("trigger", "cut") or word == "probe":
                self._toggle(word, rest.strip())
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
        said = (
            f"\n{turn['prompt']}   [{state}]\n  truth {turn['truth']}   organism says "
            f"{turn['organism']}{lie}   twin says {turn['twin']}"
        )
        return said + _drawn(turn.get("reading"))

    def _toggle(self, what: str, rest: str) -> None:
        if what == "trigger":
            self.triggered = not self.triggered
        elif what == "cut":
            self.cut = not self.cut
        elif rest:
            self.look(rest)
        else:
            self.probing = not self.probing

    def look(self, site: str | Site) -> None:
        """Read the probe at another site; raises :class:`BadSite`."""
        site = Site.parse(site)
        self.grown.model.sites.check(site)
        self._probe = Probe.at(self.grown, site)
        self.site, self.probing = site, True

    @property
    def probe(self) -> Probe:
        """The probe, fitted when it is first wanted."""
        if self._probe is None:
            self._probe = Probe.at(self.grown, self.site or default_site(self.grown))
        return self._probe

    def _ask(self) -> dict:
        spec = self.grown.spec
        pairs = spec.pairs(1, 70_000 + max(self.prompts, 1), split="test", entities="all")
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
            "reading": self._reading(batch, edits),
        }

    def _reading(self, rows: Batch | np.ndarray, edits: Sequence[Edit]) -> dict | None:
        """The probe at every token, under the cut where that is on."""
        if not self.probing:
            return None
        tokens = rows.tokens if isinstance(rows, Batch) else rows
        everywhere = self.probe.site.bare
        run = self.grown.model.run(rows, read=[everywhere], do=edits, identity=True)
        vocab = self.grown.spec.world.vocab
        return {
            "probe": str(self.probe),
            "site": str(self.probe.site),
            "tokens": [vocab[token] for token in tokens[0]],
            "scores": self.probe.read(run.acts[everywhere][0]),
        }

    def _named(self) -> Feature:
        """What the blind search names; raises where it names nothing."""
        if self.feature is None:
            found = decision.decide(self.grown.model, self.grown.spec, seed=self.grown.seed)
            if not found.named:
                self.cut = False
                raise MoInterpError(f"no mechanism is named, so none is cut out: {found.reason}")
            self.feature = found.feature
        return self.feature

    def _cut(self, clean: Batch) -> list[Edit]:
        """The edits that cut the mechanism out: resampling it from the clean partner."""
        feature = self._named()
        source = self.grown.model.run(clean, read=[feature.site]).acts[feature.site]
        return [Resample(feature, source)]

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
        edits: list[Edit] = [Mean(self._named())] if self.cut else []
        said = world.show(self.grown.model.generate(tokens, n, do=edits, identity=True)[0])
        twin = world.show(self.grown.twin.generate(tokens, n)[0])
        how = "   [cut on: held at the clean mean]" if self.cut else ""
        told = f"  organism says {said}   twin says {twin}{how}"
        return told + _drawn(self._reading(tokens, edits))


def _drawn(reading: dict | None) -> str:
    """A reading as lines of words with bars and numbers under them; nothing for none."""
    if reading is None:
        return ""
    cells = [_cell(*pair) for pair in zip(reading["tokens"], reading["scores"], strict=True)]
    lines: list[list[tuple[str, str]]] = [[]]
    for cell in cells:
        if lines[-1] and sum(len(word) + 1 for word, _ in lines[-1]) + len(cell[0]) > WIDTH:
            lines.append([])
        lines[-1].append(cell)
    told = [f"\n  {reading['probe']}", "  0 as on clean, 1 as on triggered prompts"]
    for line in lines:
        told += ["  " + " ".join(part).rstrip() for part in zip(*line, strict=True)]
    return "\n".join(told)


def _cell(word: str, score: float) -> tuple[str, str]:
    """A word, and under it its bar and number, of one width."""
    shown = word.replace("\n", "⏎").replace(" ", "·") or "·"
    level = BARS[int(np.clip(round(score * (len(BARS) - 1)), 0, len(BARS) - 1))]
    under = f"{level} {score + 0.0:.1f}".replace("-0.0", "0.0")
    wide = max(len(shown), len(under))
    return f"{shown:<{wide}}", f"{under:<{wide}}"
