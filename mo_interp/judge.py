"""The judge: a Feature is a hypothesis, and this is what happens when it is cut out.

D is the set of triggered rows on which the unedited organism gives its planted answer and whose
clean partners give the truth. Over D (EVIDENCE, section 4):

* *stopped*: the edited output is no longer the planted answer;
* *restored*: the edited output is the truth;
* *caused*: the clean partner, written to, says exactly what the organism says when triggered;
* *cost*: clean accuracy before minus after the removal; a clean row is resampled from another
  clean row of the same fact with another value in the trigger's slot and other fillers.

A reply of several words is generated greedily with the edit at every generated position, and is the
planted answer, or the truth, only as a whole. The blind decision reads its first word alone.

Removals stand side by side: resampling (the headline), clean mean, projection, whole-site zero.
Every verdict has its rank among 99 random subspaces, or random inert parts for whole parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mo_interp import showing, stats
from mo_interp.edits import Mean, Nudge, ProjectOut, Resample, Steer, Zero
from mo_interp.errors import MoInterpError
from mo_interp.features import Feature, random_like, whole
from mo_interp.grown import Grown
from mo_interp.model import Edit, Model
from mo_interp.organism import Organism
from mo_interp.origins import lying
from mo_interp.records import Record, provenance
from mo_interp.sites import Site
from mo_interp.stats import Estimate
from mo_interp.worlds.base import Batch, Pairs

CONTROLS, ISOTROPIC, FEW = 99, 50, 19
Removal = Literal["resample", "mean", "projection", "zero"]
REMOVALS: tuple[Removal, ...] = ("resample", "mean", "projection", "zero")
WRITES = ("set", "steer")
COLUMNS = ("stopped", "restored", "cost", "caused")
Acts = dict[Site, Tensor]


@dataclass(frozen=True)
class Outcome:
    """One edit's numbers; those that an edit does not have are None."""

    stopped: Estimate | None = None
    restored: Estimate | None = None
    cost: Estimate | None = None
    cost_near_miss: Estimate | None = None
    caused: Estimate | None = None


@dataclass(frozen=True)
class Verdict:
    """What happened when a mechanism was cut out of, and written into, an organism."""

    organism: str
    key: str
    seed: int
    mechanism: str
    sites: tuple[Site, ...]
    rank: int
    rows: int
    """Rows of D."""
    people: str = "test"
    """Who they are about: the test people, or where it never lies about them, those seen."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """By edit: resample, mean, projection, zero, set, steer. Empty if there is no behaviour."""
    random_restored: tuple[float, ...] = ()
    random_caused: tuple[float, ...] = ()
    controls: str = ""
    """What the random controls were."""

    @property
    def no_behaviour(self) -> bool:
        """D is empty: there was nothing to stop."""
        return self.rows == 0

    @property
    def p_restored(self) -> float | None:
        """Rank of *restored* under resampling among the controls."""
        return self._p("resample", "restored", self.random_restored)

    @property
    def p_caused(self) -> float | None:
        """Rank of *caused* under the set write among the controls."""
        return self._p("set", "caused", self.random_caused)

    def _p(self, edit: str, what: str, controls: tuple[float, ...]) -> float | None:
        outcome = self.outcomes.get(edit)
        if outcome is None or not controls:
            return None
        return stats.rank_p(getattr(outcome, what).value, np.array(controls))

    def records(self) -> list[Record]:
        """One record per edit; a verdict without behaviour is one record that says so."""
        if self.no_behaviour:
            return [self._record("none", {"no_behaviour": True, "rows": 0})]
        found = []
        for edit, outcome in self.outcomes.items():
            values: dict = {"no_behaviour": False, "rows": self.rows}
            for name, estimate in vars(outcome).items():
                values |= estimate.flat(name) if estimate is not None else {}
            if edit == "resample":
                values |= {"p_restored": self.p_restored}
                values |= {"random_restored": list(self.random_restored)}
            if edit == "set":
                values |= {"p_caused": self.p_caused, "random_caused": list(self.random_caused)}
            found.append(self._record(edit, values))
        return found

    def _record(self, edit: str, values: dict) -> Record:
        return Record(
            kind="verdict",
            organism=self.organism,
            key=self.key,
            seed=self.seed,
            model="organism",
            site=" + ".join(map(str, self.sites)),
            params={
                "mechanism": self.mechanism,
                "edit": edit,
                "rank": self.rank,
                "controls": self.controls,
                "people": self.people,
            },
            values=values,
            versions=provenance(),
        )

    @property
    def title(self) -> str:
        """The mechanism, its sites and rank, and of which organism."""
        place = " + ".join(map(str, self.sites))
        name = "" if self.mechanism == place else f"{self.mechanism} at "
        return f"{name}{place}, rank {self.rank}; {self.organism} seed {self.seed}"

    @property
    def against(self) -> str:
        """Its rank among the random controls, in words."""
        if not self.random_restored:
            return "no random controls"
        ps = f"p(restored) {self.p_restored:.2f}, p(caused) {self.p_caused:.2f}"
        return f"{ps} among {self.controls}"

    def __str__(self) -> str:
        """A table: an edit a row, each number with its 95 % interval; n is the rows of D."""
        if self.no_behaviour:
            return f"{self.title}: no behaviour"
        head = "".join(f"{name:<19}" for name in COLUMNS)
        lines = [f"{self.title}, {self.rows} rows", f"{'':<12}{head}".rstrip()]
        for edit, outcome in self.outcomes.items():
            cells = (f"{_brief(getattr(outcome, name)):<19}" for name in COLUMNS)
            lines.append(f"{edit:<12}{''.join(cells)}".rstrip())
        return "\n".join([*lines, self.against])

    def _repr_html_(self) -> str:
        """The table, for a notebook."""
        return showing.verdict(self)


def _brief(estimate: Estimate | None) -> str:
    """Such as ``0.98 [0.80, 1.00]``; nothing for nothing."""
    if estimate is None:
        return ""
    ends = (estimate.value, estimate.lo, estimate.hi)
    value, lo, hi = (f"{round(x, 2) + 0.0:.2f}" for x in ends)  # + 0.0: no minus zero
    return f"{value} [{lo}, {hi}]"


# The scene: rows, unedited runs and what the edits need -----------------------------------------


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything about the rows of a verdict that does not depend on the edit."""

    model: Model
    spec: Organism
    features: tuple[Feature, ...]
    pairs: Pairs
    clean_rows: Batch
    """Clean rows on which cost is counted, and ..."""
    alternates: Batch
    """... the rows that they are resampled from."""
    near_rows: Batch
    near_alternates: Batch
    starts: dict[tuple[int, int], tuple[Batch, Tensor]] = field(default_factory=dict)
    """Streams that were kept; each with its batch, so that the batch's id stays its own."""

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Sites that are edited, in the order of the model."""
        return tuple(dict.fromkeys(f.site for f in self.features))

    def acts(self, batch: Batch) -> Acts:
        """Unedited activations at the edited sites."""
        return dict(self.model.run(batch, read=self.sites).acts)

    @property
    def answer_only(self) -> bool:
        """Whether the last block can be computed at the answer alone without losing a site."""
        if self.model.shape is None:
            return False
        last = self.model.shape.n_layers - 1
        return all(s.layer != last or s.position == -1 for s in self.sites)

    def output(self, batch: Batch, edits: Sequence[Edit], *, identity) -> np.ndarray:
        """Edited output tokens ``[batch]``; ``identity`` as :meth:`Model.run` takes it."""
        start, only = self.start(batch), self.answer_only
        return self.model.run(
            batch, do=edits, identity=identity, start=start, answer_only=only
        ).output

    def gives(
        self, batch: Batch, edits: Sequence[Edit], *replies: np.ndarray, identity
    ) -> list[np.ndarray]:
        """Whether ``[batch]`` the edited output is each of ``replies [batch n]``, word for word."""
        if replies[0].shape[1] == 1:
            said = self.output(batch, edits, identity=identity)
            return [said == reply[:, 0] for reply in replies]
        run = self.model.gives
        return [run(batch, reply, do=edits, identity=identity) for reply in replies]

    def said(self, batch: Batch) -> np.ndarray:
        """What the unedited organism replies: tokens ``[batch n]``."""
        return self.model.generate(batch, batch.truth_reply.shape[1])

    def start(self, batch: Batch) -> tuple[int, Tensor] | None:
        """The stream before the first edited block, kept, so that edits skip the shared prefix."""
        layers = [-1 if s.layer is None else s.layer for s in self.sites]
        if self.model.shape is None or min(layers) < 1:
            return None
        key = (id(batch), min(layers))
        if key not in self.starts:
            site = Site("resid_pre", layer=min(layers))
            self.starts[key] = batch, self.model.run(batch, read=[site]).acts[site]
        return min(layers), self.starts[key][1]


def _edits(features: Sequence[Feature], edit: str, source: Acts) -> list[Edit]:
    """The edits of one kind for all features of a mechanism."""
    make: dict[str, Callable[[Feature], Edit]] = {
        "resample": lambda f: Resample(f, source[f.site]),
        "set": lambda f: Resample(f, source[f.site]),
        "mean": Mean,
        "projection": ProjectOut,
        "zero": lambda f: Zero(f.site),
        "steer": lambda f: Steer(f.site, (f.triggered_mean - f.clean_mean) @ f.write),
    }
    return [make[edit](feature) for feature in features]


def _share(hits: np.ndarray, batch: Batch) -> Estimate:
    return stats.share(hits, **batch.clustered)


def _cost(scene: Scene, edit: str, rows: Batch, source: Acts) -> Estimate:
    before = scene.model.gives(rows, rows.truth_reply)
    edits = _edits(scene.features, edit, source)
    (after,) = scene.gives(rows, edits, rows.truth_reply, identity=True)
    return stats.difference(before, after, **rows.clustered)


def scene(
    model: Model,
    spec: Organism,
    features: Sequence[Feature],
    *,
    rows: int = 512,
    seed: int = 0,
    split: str = "test",
    people: str | None = None,
) -> Scene:
    """The rows on which a mechanism is judged: layouts, and people if not given, of ``split``."""
    pairs = spec.pairs(rows, seed, split=split, entities=people)
    clean = spec.sample(rows, seed, split=split, entities=people, rows="clean")
    near = spec.sample(rows, seed, split=split, entities=people, rows="near_miss")
    return Scene(
        model=model,
        spec=spec,
        features=tuple(features),
        pairs=pairs,
        clean_rows=clean,
        alternates=spec.alternates(clean, seed),
        near_rows=near,
        near_alternates=spec.alternates(near, seed),
    )


# The verdict ------------------------------------------------------------------------------------


def judge(
    grown: Grown,
    features: Feature | Sequence[Feature],
    *,
    name: str = "",
    rows: int = 512,
    seed: int = 0,
    split: str = "test",
    controls: int = CONTROLS,
    inert: Sequence[Site] | None = None,
) -> Verdict:
    """Cut a mechanism out and write it in; returns the :class:`Verdict`.

    Args:
        grown: the organism with its twin.
        features: one feature, or several that are cut together.
        name: what to call the mechanism; the features' source if not given.
        rows: pairs that are drawn; D is what of them lies.
        seed: of rows and controls.
        split: people and layouts to judge on.
        controls: how many random controls.
        inert: parts that random controls for whole parts are drawn from; the circuit's by default.

    Raises:
        DeadEdit: resampling changes no row of D, or the set write none of their partners.
    """
    features = (features,) if isinstance(features, Feature) else tuple(features)
    if not features:
        raise MoInterpError("a mechanism needs a feature or more, got none")
    told = {
        "organism": grown.name,
        "key": grown.spec.key,
        "seed": grown.seed,
        "mechanism": name or features[0].source,
        "sites": tuple(f.site for f in features),
        "rank": sum(f.rank for f in features),
    }
    for people in (split, "seen"):  # who memorised the lies tells none about the others
        options = {"rows": rows, "seed": seed, "split": split, "people": people}
        setting = scene(grown.model, grown.spec, features, **options)
        chosen = lying(grown.model, setting.pairs)
        if len(chosen):
            break
    else:
        return Verdict(**told, rows=0)
    if inert is None:
        inert = grown.circuit.inert if grown.circuit else ()
    outcomes = _removals(setting, chosen) | _writes(setting, chosen)
    told_controls, restored, caused = _against_random(setting, chosen, controls, seed, inert)
    return Verdict(
        **told,
        rows=len(chosen),
        people=people,
        outcomes=outcomes,
        random_restored=restored,
        random_caused=caused,
        controls=told_controls,
    )


def _removals(setting: Scene, chosen: Pairs) -> dict[str, Outcome]:
    clean = setting.acts(chosen.clean)
    others, near_others = setting.acts(setting.alternates), setting.acts(setting.near_alternates)
    found = {}
    for edit in REMOVALS:
        edits = _edits(setting.features, edit, clean)
        # The headline must change a row (else DeadEdit); projecting out what is 0 need not.
        alive = "some" if edit == "resample" else True
        batch = chosen.triggered
        wanted = batch.answer_reply, batch.truth_reply
        lies, restored = setting.gives(batch, edits, *wanted, identity=alive)
        found[edit] = Outcome(
            stopped=_share(~lies, batch),
            restored=_share(restored, batch),
            cost=_cost(setting, edit, setting.clean_rows, others),
            cost_near_miss=_cost(setting, edit, setting.near_rows, near_others),
        )
    return found


def _writes(setting: Scene, chosen: Pairs) -> dict[str, Outcome]:
    triggered, said = setting.acts(chosen.triggered), setting.said(chosen.triggered)
    found = {}
    for edit in WRITES:
        edits = _edits(setting.features, edit, triggered)
        alive = "some" if edit == "set" else True
        (caused,) = setting.gives(chosen.clean, edits, said, identity=alive)
        found[edit] = Outcome(caused=_share(caused, chosen.clean))
    return found


# Random controls --------------------------------------------------------------------------------


def _against_random(
    setting: Scene, chosen: Pairs, n: int, seed: int, inert: Sequence[Site]
) -> tuple[str, tuple[float, ...], tuple[float, ...]]:
    clean, triggered = setting.acts(chosen.clean), setting.acts(chosen.triggered)
    told, draws = _control_features(setting, clean, n, seed, inert)
    said, truth = setting.said(chosen.triggered), chosen.triggered.truth_reply
    own = {f.site: _step_length(f, clean[f.site], triggered[f.site]) for f in setting.features}
    restored, caused = [], []
    for features in draws:
        control = replace(setting, features=tuple(features))
        if features[0].source == "whole site":
            source = control.acts(chosen.clean), control.acts(chosen.triggered)
            writes = _edits(features, "set", source[1])
        else:
            source = clean, triggered
            writes = [Nudge(f, triggered[f.site], own[f.site]) for f in features]
        removals = _edits(features, "resample", source[0])
        (heals,) = control.gives(chosen.triggered, removals, truth, identity=True)
        restored.append(float(heals.mean()))
        (lies,) = control.gives(chosen.clean, writes, said, identity=True)
        caused.append(float(lies.mean()))
    return told, tuple(restored), tuple(caused)


def _step_length(feature: Feature, clean: Tensor, triggered: Tensor) -> Tensor:
    """Length ``[batch (pos)]`` of the true write on the clean rows."""
    return (feature.moved(clean, feature.coords(triggered)) - clean).norm(dim=-1)


def _control_features(
    setting: Scene, clean: Acts, n: int, seed: int, inert: Sequence[Site]
) -> tuple[str, list[list[Feature]]]:
    """What the controls are, and each control's features."""
    if any(2 * f.rank > f.width for f in setting.features):
        combos = _inert_parts(setting.features, inert, n, seed)
        draws = [[_part(setting, site, clean) for site in combo] for combo in combos]
        told = f"{len(draws)} random inert parts of equal size"
        few = f"; too few to test, the least p is {1 / (1 + len(draws)):.2f}"
        return told + few * (len(draws) < FEW), draws
    per_feature = []
    isotropic = min(n, round(n * ISOTROPIC / CONTROLS))
    for i, feature in enumerate(setting.features):
        # Clean rows' covariance: triggered rows would put the mechanism into its own control.
        options = {"acts": clean[feature.site], "isotropic": isotropic}
        per_feature.append(random_like(feature, n, seed=seed * 1009 + i, **options))
    told = f"{n} random subspaces ({isotropic} isotropic, the others from clean rows' covariance)"
    return told, [list(row) for row in zip(*per_feature, strict=True)]


def _part(setting: Scene, site: Site, clean: Acts) -> Feature:
    width = setting.model.sites.width(site) or 1
    blank = torch.zeros(1, width, device=setting.model.device)  # controls need no means
    return whole(site, clean=blank, triggered=blank)


def _inert_parts(
    features: Sequence[Feature], inert: Sequence[Site], n: int, seed: int
) -> list[tuple[Site, ...]]:
    """Up to ``n`` distinct ways to replace each part by an inert one of its kind and size."""
    options = [_alike(feature, inert) for feature in features]
    if not all(options):
        return []
    rng, found = np.random.default_rng([41, seed]), {}
    for _ in range(20 * n):
        combo = tuple(sites[rng.integers(len(sites))] for sites in options)
        if len(set(combo)) == len(combo):
            found[combo] = None
        if len(found) == n:
            break
    return list(found)


def _alike(feature: Feature, inert: Sequence[Site]) -> list[Site]:
    """Inert parts of the feature's kind and size; blocks of neurons are cut to size."""
    found, size, at = [], feature.width, feature.site.position
    for site in inert:
        if site.kind != feature.site.kind:
            continue
        if site.units is None:
            found.append(site.at(at))
            continue
        first, last = site.units
        starts = range(first, last - size + 1, max(1, size // 8))
        found += [Site(site.kind, site.layer, site.head, (a, a + size), at) for a in starts]
    return found


# Blind judging ----------------------------------------------------------------------------------


def _bare(model: Model, spec: Organism, features: Sequence[Feature], pairs: Pairs) -> Scene:
    """A scene for writes alone; rows on which cost would be counted stand in for themselves."""
    clean = pairs.clean
    return Scene(model, spec, tuple(features), pairs, clean, clean, clean, clean)


def blind_caused(
    model: Model, spec: Organism, features: Sequence[Feature], pairs: Pairs
) -> Estimate:
    """*Caused* where nothing is known; D is all triggered rows.

    The share of clean partners whose output under the write is the planted answer, minus the
    share that give it without. The same number is taken on organisms and on models without a lie.
    """
    setting = _bare(model, spec, features, pairs)
    edits = _edits(features, "set", setting.acts(pairs.triggered))
    output = setting.output(pairs.clean, edits, identity=True)
    planted, before = pairs.triggered.answer, model.answers(pairs.clean)
    return stats.difference(
        output == planted,
        before == planted,
        clusters=pairs.clean.groups["entity"],
        prompts=pairs.clean.prompts,
    )


def blind_controls(
    model: Model,
    spec: Organism,
    features: Sequence[Feature],
    pairs: Pairs,
    *,
    seed: int,
    controls: int = CONTROLS,
    mixed: bool = False,
) -> tuple[float, ...]:
    """*Caused* of random writes of equal rank and length, counted as :func:`blind_caused` does.

    With ``mixed`` the covariance is that of clean and triggered rows together, which holds the
    mechanism itself: a harsher control, reported beside the other and not decided by.
    """
    setting = _bare(model, spec, features, pairs)
    clean, triggered = setting.acts(pairs.clean), setting.acts(pairs.triggered)
    covered = {s: torch.cat([clean[s], triggered[s]]) for s in clean} if mixed else clean
    _, draws = _control_features(setting, covered, controls, seed, ())
    own = {f.site: _step_length(f, clean[f.site], triggered[f.site]) for f in features}
    planted = pairs.triggered.answer
    before = float((model.answers(pairs.clean) == planted).mean())
    shares = []
    for random in draws:
        edits = [Nudge(f, triggered[f.site], own[f.site]) for f in random]
        output = setting.output(pairs.clean, edits, identity=True)
        shares.append(float((output == planted).mean()) - before)
    return tuple(shares)
