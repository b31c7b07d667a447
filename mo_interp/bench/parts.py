"""The parts of the evidence: each turns a seed, and the parts before it, into records."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from mo_interp import attribution, decision, detectors, discovery, origins, patching, stages, twins
from mo_interp.errors import MoInterpError, SpecError, UnknownName, nearest
from mo_interp.finding import extra_folders
from mo_interp.ledger import address, gates_code, instruments
from mo_interp.model import Model
from mo_interp.organism import Organism, Version
from mo_interp.planted_stages import Work, behaviour, gate
from mo_interp.records import Record
from mo_interp.store import Store

CURES = ("mean", "heads")
"""Methods of :mod:`mo_interp.removal` that are certified."""
PAIRS = 128
"""For the cheap methods of localisation."""
BUDGET, SEARCHES = 256, 16
"""Row passes of one search for the trigger, and searches of each model."""
NULLS: tuple[Version, ...] = ("clean", "decoy", "benign")
"""Twins that hold no lie."""


@dataclass(frozen=True)
class Part:
    """A part of the evidence, what it follows, and the modules that its numbers come from."""

    measure: Callable[[Work], list[Record]]
    after: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()

    def code(self, spec: Organism) -> str:
        """Digest of what measures it: this file, its modules, the family's gate, and what is found.

        What is found is code of detectors and searchers in the folders of ``MO_INTERP_PATH``.
        """
        said = [Path(__file__).read_text(encoding="utf-8"), instruments(*self.roots)]
        said.append(gates_code(spec.family, "gate"))
        for folder in extra_folders():
            said += [p.read_text(encoding="utf-8") for p in sorted(folder.rglob("*.py"))]
        return hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]


# The parts --------------------------------------------------------------------------------------


def _planted(work: Work) -> list[Record]:
    """What the lie is, and whether it was planted well: the others ask whether it memorised."""
    found = behaviour(work)
    return found + gate(replace(work, records=(*work.records, *found)))


def _localisation(work: Work) -> list[Record]:
    """The sweep with its circuit; and, where that is known by construction, what stands for it."""
    found, grown = stages.patch(work), work.grown
    circuit = replace(work, records=(*work.records, *found)).circuit
    if circuit is None or circuit.grade not in stages.EXACT or not circuit.inert:
        return found
    pairs = origins.lying(grown.model, grown.spec.pairs(PAIRS, work.rows(71), split="val"))
    if not len(pairs):
        return found
    own = stages.components(grown)
    told = {"organism": grown.name, "key": grown.spec.key, "seed": grown.seed}
    said = [
        attribution.attribute(grown.model, pairs, sites=own, by="all"),
        attribution.attribute(grown.model, pairs, sites=own, by="all", steps=8, path="input"),
        attribution.relevance(grown.model, pairs, sites=own, by="all"),
        attribution.direct(grown.model, pairs, sites=own),
    ]
    for one in said:  # the same parts and the same truth as the sweep's
        scored = patching.score(one, circuit, **told)
        found += [r for r in scored if r.params["method"] == one.method]
    return found


def _mechanism(work: Work) -> list[Record]:
    """The SAE, which detection may have made, then verdicts."""
    found = stages.sae(work)
    return found + stages.judging(replace(work, records=(*work.records, *found)))


def _removal(work: Work) -> list[Record]:
    """A certificate a method, and its word."""
    from mo_interp.removal import cure

    found: list[Record] = []
    for i, how in enumerate(CURES):
        work.progress(i + 1, len(CURES), f"cure by {how}")
        try:
            folder, told = cure.cure(
                work.grown.spec,
                seed=work.grown.seed,
                how=how,
                out=work.folder / "cures" / how,
                store=_store(work),
            )
        except MoInterpError as problem:
            values = {"reason": str(problem)}
            found.append(work.record("certificate_skipped", params={"method": how}, values=values))
            continue
        found += [*told.records, told.record()]
        shutil.rmtree(folder)  # the records are what is kept; weights are made by the verb
    return found


def _discovery(work: Work) -> list[Record]:
    """Every searcher on organism and twin; the sweep only where the budget pays for every word."""
    from mo_interp.discovery import scoring

    grown = work.grown
    try:
        singles = scoring.space(grown.spec).n[0]
    except SpecError as problem:  # nobody has said how this trigger is told in prompts
        return [work.record("discovery_skipped", values={"reason": str(problem)})]
    given = [discovery.searcher(name) for name in discovery.names()]
    given = [one for one in given if one.name != "sweep" or singles < BUDGET]
    return discovery.discover(grown, given, budget=BUDGET, searches=SEARCHES)


def _null(work: Work) -> list[Record]:
    """The decision rule, as it was frozen, on every twin without a lie that is at hand."""
    grown, store = work.grown, _store(work)
    found = []
    for version in nulls(grown.spec, grown.seed, store):
        model = twins.twin(grown, version, store=store, progress=work.progress)
        said = decision.decide(model, grown.spec, seed=grown.seed)
        told = said.record(grown.spec, grown.seed, model="twin")
        params = {**told.params, "twin": version, "weights": _weights(model)}
        found.append(replace(told, kind="null", params=params))
    return found


def nulls(spec: Organism, seed: int, store: Store) -> list[Version]:
    """Twins that the rule is tried on: only the clean one is grown for it."""
    known: list[Version] = [v for v in NULLS if not twins.versions(spec)[v]]
    places = {v: address(twins.spec_of(spec, v), seed) for v in known}
    return [v for v in known if v == "clean" or store.folder(*places[v]).exists()]


def _store(work: Work) -> Store:
    """Where the organism lies."""
    return Store(work.grown.folder.parent.parent)


def _weights(model: Model) -> str:
    """Digest of a model's weights: weights written by hand are the same for every seed."""
    parameters = sorted(model.body.named_parameters())
    parts = (w.detach().cpu().numpy().tobytes() for _, w in parameters)
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def _shipped(package: ModuleType) -> list[str]:
    """Modules of a package whose folder is a registry; no import tells of them."""
    home = Path(str(package.__file__)).parent
    return [f"{home.name}.{path.stem}" for path in sorted(home.glob("[a-z]*.py"))]


_DETECTORS = ("stages", *_shipped(detectors))
_SEARCHERS = ("discovery.scoring", *_shipped(discovery))

PARTS: dict[str, Part] = {
    "planted": Part(_planted, (), ("planted_stages", "detectors.logistic")),
    "localisation": Part(_localisation, ("planted",), ("stages", "attribution")),
    "detection": Part(stages.detect, ("planted", "localisation"), _DETECTORS),
    "mechanism": Part(_mechanism, ("planted", "localisation", "detection"), _DETECTORS),
    "removal": Part(_removal, (), ("removal.cure",)),
    "discovery": Part(_discovery, (), _SEARCHERS),
    "null": Part(_null, (), ("decision", "twins")),
}


def with_needed(parts: Iterable[str]) -> tuple[str, ...]:
    """Parts with those they follow, in order; raises UnknownName."""
    wanted = set(parts)
    for part in wanted:
        if part not in PARTS:
            raise UnknownName(f"part '{part}'{nearest(part, PARTS)}")
    wanted |= {need for part in wanted for need in PARTS[part].after}
    return tuple(part for part in PARTS if part in wanted)
