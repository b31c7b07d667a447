"""What a method takes out of an organism, the edit itself, and controls of the same size.

*projection, mean, leace*
    start from the candidate that the blind decision rule names
    (:mod:`mo_interp.decision`), or from the record of it in a run. A rule that names nothing leaves
    nothing to take out, and that is an error.
*heads*
    every head is exchanged between the partners of validation pairs, alone, and ranked by how
    far that carries the logit difference of answer and truth, both ways added. The smallest prefix
    is taken whose removal restores the truth on :data:`RESTORED` of the pairs at a cost of
    :data:`COST` or less; if none does, the one that restores most net of its cost. At most half.
*neurons*
    the same over prefixes of 1, 2, 4, ... hidden units of all layers, ranked by what the
    trigger moves at the answer times what the unit writes.
*fine_prune, fine_tune*
    take nothing that was found, and need no candidate.

Choices are made on train and validation people and layouts, and certified on others. A choice is
kept as a record, from which the same edit can be made again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from mo_interp import decision, patching
from mo_interp.directions import leace, neurons
from mo_interp.errors import DeadEdit, MoInterpError, NoFeature, UnknownName, nearest
from mo_interp.features import Feature, from_acts, random_like
from mo_interp.grown import Grown
from mo_interp.judge import CONTROLS, ISOTROPIC
from mo_interp.model import Model
from mo_interp.origins import lying
from mo_interp.persistence import Plan
from mo_interp.records import Record, select
from mo_interp.removal import METHODS, SUBSPACES, parts, tuning
from mo_interp.removal.folding import To, fold
from mo_interp.sites import Site
from mo_interp.train import Progress, silent
from mo_interp.worlds.base import Batch, Pairs

PAIRS = 256
RESTORED, COST = 0.99, 0.005
LEAST_CONTROLS = 19


@dataclass(frozen=True)
class Choice:
    """What is taken out."""

    method: str
    sites: tuple[Site, ...] = ()
    """The feature's site, or the parts; empty for training."""
    rank: int = 0
    """Of the subspace, or how many heads or units."""
    reason: str = ""
    """How it was found, with the numbers."""

    def record(self, grown: Grown) -> Record:
        """As a record."""
        return grown.record(
            "removal_choice",
            site=" + ".join(map(str, self.sites)),
            params={"method": self.method},
            values={"rank": self.rank, "reason": self.reason},
        )

    @classmethod
    def of(cls, record: Record) -> Choice:
        """The choice that a record holds."""
        sites = tuple(map(Site.parse, filter(None, record.site.split(" + "))))
        rank, reason = int(str(record.values["rank"])), str(record.values["reason"])
        return cls(str(record.params["method"]), sites, rank, reason)


def check_method(method: str) -> str:
    """The method; raises :class:`UnknownName` with the nearest one."""
    if method not in METHODS:
        raise UnknownName(f"removal '{method}'{nearest(method, METHODS)}")
    return method


def choose(
    grown: Grown,
    method: str,
    *,
    records: Sequence[Record] = (),
    progress: Progress = silent,
) -> tuple[Choice, list[Record]]:
    """What to take out, and the records of how it was found, its own last.

    ``records`` of a run of this organism and seed spare the blind search, whose outcome is in them.

    Raises:
        UnknownName: no such method.
        NoFeature: the blind rule names nothing, or the organism never lies on validation pairs.
    """
    check_method(method)
    if method in SUBSPACES:
        found = _decided(grown, records)
        rank = int(str(found.values["rank"]))
        choice = Choice(method, (Site.parse(found.site),), rank, str(found.values["reason"]))
        return choice, [found, choice.record(grown)]
    if method in ("heads", "neurons"):
        choice = _parts_of(grown, method, progress)
    else:
        choice = Choice(method, reason=METHODS[method])
    return choice, [choice.record(grown)]


def _decided(grown: Grown, records: Sequence[Record]) -> Record:
    """What the blind rule says, from a run or afresh; raises where it names nothing."""
    spec, seed = grown.spec, grown.seed
    there = select(records, kind="decision", model="organism", key=spec.key, seed=seed)
    if records and not there:
        raise MoInterpError(
            f"these records hold no blind decision on {spec.name} seed {seed} (key {spec.key}); "
            "give the folder of a run of it, or none"
        )
    if there:
        found = there[-1]
    else:
        found = decision.decide(grown.model, spec, seed=seed).record(spec, seed, model="organism")
    if not found.values["named"]:
        raise NoFeature(
            f"the blind rule names no mechanism in {spec.name} seed {seed}, so that there is none "
            f"to take out ({found.values['reason']}); heads, neurons, fine_prune and fine_tune do "
            "without"
        )
    return found


def feature_of(grown: Grown, choice: Choice) -> Feature:
    """The subspace of a choice, from the train pairs that the decision rule took it from."""
    (site,) = choice.sites
    pairs = grown.spec.pairs(decision.TRAIN_PAIRS, grown.seed + 1, split="train")
    clean, hot = (grown.model.read(side, str(site)) for side in (pairs.clean, pairs.triggered))
    if choice.method == "leace":
        return leace.erasure(site, clean, hot)
    return from_acts(site, clean, hot, rank=choice.rank)


def clean_rows(grown: Grown) -> Batch:
    """Clean rows of the train split, for the means that parts leave behind."""
    return grown.spec.sample(512, grown.seed + 1, split="train", rows="clean", entities="all")


def apply(
    grown: Grown, choice: Choice, *, steps: int = Plan.steps, progress: Progress = silent
) -> tuple[Model, dict]:
    """The cured model, and what there is to say of how it was made.

    Raises :class:`DeadEdit` where nothing changes.
    """
    if choice.method in SUBSPACES:
        feature = feature_of(grown, choice)
        return fold(grown.model, feature, to=target(choice.method)), {"source": feature.source}
    if choice.method in ("heads", "neurons"):
        means = parts.clean_means(grown.model, choice.sites, clean_rows(grown))
        return parts.remove(grown.model, choice.sites, means=means), {}
    seed = 1000 * grown.seed + 131
    if choice.method == "fine_tune":
        made = tuning.fine_tune(grown, steps=steps, seed=seed, progress=progress)
        return made, {"steps": steps}
    made, told = tuning.fine_prune(grown, steps=steps, seed=seed, progress=progress)
    more = {"steps": steps, "units": told.count, "clean_pruned": told.accuracy}
    return made, {**more, "clean_before": told.before, "pruned": " + ".join(map(str, told.units))}


def target(method: str) -> To:
    """What a method of :data:`SUBSPACES` sets the coordinates to."""
    return "clean_mean" if method == "mean" else "offset"


# Parts ------------------------------------------------------------------------------------------


def _parts_of(grown: Grown, method: str, progress: Progress) -> Choice:
    pairs = _lying(grown)
    ranked = _heads(grown.model, pairs) if method == "heads" else _units(grown.model, pairs)
    if method == "heads":
        sizes = list(range(1, max(2, len(ranked) // 2 + 1)))
    else:
        sizes = [2**i for i in range(len(ranked).bit_length()) if 2**i <= len(ranked)]
    clean = grown.spec.sample(PAIRS, grown.seed + 2, split="val", rows="clean", entities="all")
    before = float(grown.model.gives(clean, clean.truth_reply).mean())
    means = parts.clean_means(grown.model, ranked, clean_rows(grown))
    tried: list[tuple[float, float, int]] = []
    for i, size in enumerate(sizes):
        progress(i, len(sizes), f"removal: {size} {method}")
        try:
            made = parts.remove(grown.model, ranked[:size], means=means)
        except DeadEdit:
            continue
        restored = float(made.gives(pairs.triggered, pairs.triggered.truth_reply).mean())
        cost = before - float(made.gives(clean, clean.truth_reply).mean())
        tried.append((restored, cost, size))
        if restored >= RESTORED and cost <= COST:
            break
    if not tried:
        raise NoFeature(f"{grown.name}: the trigger moves no {method} that write anything")
    enough = [t for t in tried if t[0] >= RESTORED and t[1] <= COST]
    restored, cost, size = (enough or [max(tried, key=lambda t: (t[0] - t[1], -t[2]))])[0]
    told = f"restores {restored:.3f} of {len(pairs)} validation pairs at a cost of {cost:.4f}"
    how = "the smallest prefix that suffices" if enough else "no prefix suffices; the best of them"
    sites = ranked[:size] if method == "heads" else _together(ranked[:size])
    return Choice(method, tuple(sites), size, f"{size} of {len(ranked)} {method}, {how}: {told}")


def _lying(grown: Grown) -> Pairs:
    """Validation pairs on which it lies, about all people but the test people.

    Those of the validation split alone are few, and have too few different answers between them to
    meet every part that writes one.
    """
    pairs = grown.spec.pairs(PAIRS, grown.seed + 2, split="val", entities="seen")
    found = lying(grown.model, pairs)
    if len(found):
        return found
    raise NoFeature(f"{grown.name} never lies on validation pairs; there is nothing to remove")


def _heads(model: Model, pairs: Pairs) -> list[Site]:
    """Every head, those first whose exchange carries most of the lie, both ways added."""
    swept = patching.sweep(model, pairs, sites="z", by="all", metric="logit difference")
    effects: dict[Site, float] = {}
    for cell in swept.cells:
        effects[cell.site] = effects.get(cell.site, 0.0) + cell.effect.value
    return sorted(effects, key=lambda site: (-effects[site], site))


def _units(model: Model, pairs: Pairs) -> list[Site]:
    """Hidden units that the trigger moves at the answer, those first that weigh most."""
    shape = model.shape
    assert shape is not None
    if shape.attn_only:
        raise NoFeature("this body has no MLP, so no neurons to remove")
    found: list[tuple[float, int, int]] = []
    for layer in range(shape.n_layers):
        site = Site("post", layer=layer, position=-1)
        acts = [model.read(side, str(site)) for side in (pairs.clean, pairs.triggered)]
        weigh = neurons.weights(model, site, *acts).tolist()
        found += [(-w, layer, unit) for unit, w in enumerate(weigh) if w > 0]
    return [Site("post", layer=la, units=(u, u + 1)) for _, la, u in sorted(found)]


def _together(units: Sequence[Site]) -> list[Site]:
    """Single units as ranges."""
    return parts.joined((s.layer or 0, u) for s in units for u in range(*(s.units or (0, 0))))


# Controls ---------------------------------------------------------------------------------------


def controls(grown: Grown, choice: Choice, n: int = CONTROLS) -> tuple[str, Iterator[Model]]:
    """What the random controls are, and models with the same edit of as much that was not chosen.

    Training has none: it chooses nothing. A control that changes nothing is the organism itself.
    """
    if choice.method in SUBSPACES:
        feature = feature_of(grown, choice)
        isotropic = round(n * ISOTROPIC / CONTROLS)
        rows = clean_rows(grown)
        acts = grown.model.read(rows, str(feature.site))
        told = f"{n} random subspaces of equal rank ({isotropic} isotropic, the others from clean "
        draws = random_like(feature, n, acts=acts, seed=grown.seed, isotropic=isotropic)
        return told + "rows' covariance)", (_folded(grown, d, choice.method) for d in draws)
    if choice.method == "heads":
        return _other_heads(grown, choice, n)
    if choice.method == "neurons":
        return _other_units(grown, choice, n)
    return "none: training takes out nothing that was chosen", iter(())


def _folded(grown: Grown, feature: Feature, method: str) -> Model:
    try:
        return fold(grown.model, feature, to=target(method))
    except DeadEdit:
        return grown.model


def _removed(grown: Grown, sets: Sequence[Sequence[Site]]) -> Iterator[Model]:
    """The model without each set of parts; what they leave behind is measured once for all."""
    every = [site for sites in sets for site in sites]
    whole = parts.layer_means(grown.model, every, clean_rows(grown))
    for sites in sets:
        try:
            means = parts.shares(grown.model, sites, whole)
            yield parts.remove(grown.model, sites, means=means)
        except DeadEdit:
            yield grown.model


def _other_heads(grown: Grown, choice: Choice, n: int) -> tuple[str, Iterator[Model]]:
    """Sets of as many heads, none of which was chosen."""
    shape, size = grown.spec.shape, len(choice.sites)
    whole = [
        Site("z", layer=i, head=h) for i in range(shape.n_layers) for h in range(shape.n_heads)
    ]
    others = [site for site in whole if site not in choice.sites]
    if comb(len(others), size) <= n:
        sets = list(combinations(others, size))
    else:
        rng, drawn = np.random.default_rng([72, grown.seed]), {}
        while len(drawn) < n:
            drawn[tuple(sorted(rng.choice(len(others), size, replace=False).tolist()))] = None
        sets = [tuple(others[i] for i in picked) for picked in drawn]
    few = "; too few to test" if len(sets) < LEAST_CONTROLS else ""
    told = f"{len(sets)} sets of as many other heads{few}"
    return told, _removed(grown, sets)


def _other_units(grown: Grown, choice: Choice, n: int) -> tuple[str, Iterator[Model]]:
    """As many random units of the same layers, none of which was chosen."""
    chosen = [(s.layer or 0, u) for s in choice.sites for u in range(*(s.units or (0, 0)))]
    counts = {layer: sum(la == layer for la, _ in chosen) for layer, _ in chosen}
    rng = np.random.default_rng([73, grown.seed])
    pools = {
        layer: [u for u in range(grown.spec.shape.d_mlp) if (layer, u) not in set(chosen)]
        for layer in counts
    }
    if any(len(pools[layer]) < count for layer, count in counts.items()):
        return "none: more than half of a layer's units were chosen", iter(())
    sets = [
        parts.joined(
            (layer, int(u))
            for layer, count in counts.items()
            for u in rng.choice(pools[layer], count, replace=False)
        )
        for _ in range(n)
    ]
    return f"{n} sets of as many other units", _removed(grown, sets)
