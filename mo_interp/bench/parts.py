"""The parts of the evidence: each turns a seed, and the parts before it, into records."""

from __future__ import annotations

import hashlib
import inspect
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from mo_interp import attribution, decision, detectors, discovery, origins, patching, stages, twins
from mo_interp.errors import MoInterpError, SpecError, UnknownName, nearest
from mo_interp.grown import Grown
from mo_interp.ledger import address, instruments
from mo_interp.planted_stages import Work, behaviour, gate
from mo_interp.records import Record
from mo_interp.store import Store

CURES = ("mean", "heads")
"""Methods of :mod:`mo_interp.removal` that are certified."""
PAIRS = 128
"""For the cheap methods of localisation."""
BUDGET, SEARCHES = 256, 16
"""Row passes of one search for the trigger, and searches of each model."""
NULLS = ("clean", "decoy", "benign")
"""Twins that hold no lie."""


@dataclass(frozen=True)
class Part:
    """A part of the evidence, what it follows, and the modules that its numbers come from."""

    measure: Callable[[Work], list[Record]]
    after: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()

    @property
    def code(self) -> str:
        """Digest of the code that measures it: this function's, and that of its modules."""
        own = inspect.getsource(self.measure)
        return hashlib.sha256(f"{own}{instruments(*self.roots)}".encode()).hexdigest()[:16]


# The parts --------------------------------------------------------------------------------------


def _planted(work: Work) -> list[Record]:
    """What the lie is, and whether it was planted well: the others ask whether it memorised."""
    found = behaviour(work)
    return found + gate(replace(work, records=(*work.records, *found)))


def _localisation(work: Work) -> list[Record]:
    """The sweep with its circuit; and, where that is known by construction, what stands for it."""
    found, grown = stages.patch(work), work.grown
    known = grown.circuit
    if known is None or known.grade not in stages.EXACT or not known.inert:
        return found
    pairs = origins.lying(grown.model, grown.spec.pairs(PAIRS, work.rows(71), split="val"))
    if not len(pairs):
        return found
    own = tuple(site.bare for site in patching.parts(known))
    norms = patching.sweep(grown.model, pairs, sites=own, by="all").weights
    circuit = replace(known, inert=tuple(s for s in known.inert if norms[s.bare] > 0))
    if not circuit.inert:
        return found
    told = {"organism": grown.name, "key": grown.spec.key, "seed": grown.seed}
    said = [
        attribution.attribute(grown.model, pairs, sites=own, by="all"),
        attribution.attribute(grown.model, pairs, sites=own, by="all", steps=8, path="input"),
        attribution.relevance(grown.model, pairs, sites=own, by="all"),
        attribution.direct(grown.model, pairs, sites=own),
    ]
    for one in said:  # chance and weights stand beside the sweep already
        scored = patching.score(one, circuit, **told)
        found += [r for r in scored if r.params["method"] == one.method]
    return found


def _mechanism(work: Work) -> list[Record]:
    """The SAE, then verdicts; the SAE itself is made anew where it is wanted again."""
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
                work.grown.spec, seed=work.grown.seed, how=how, out=work.folder / "cures" / how
            )
        except MoInterpError as problem:
            values = {"reason": str(problem)}
            found.append(work.record("certificate_skipped", params={"method": how}, values=values))
            continue
        found += told.records
        values = {"word": told.word, "complete": told.complete, "reasons": told.reasons}
        found.append(work.record("certificate", params={"method": how}, values=values))
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
    grown, store = work.grown, Store()
    found = []
    for version in NULLS:
        if twins.versions(grown.spec)[version] or not _there(grown, version, store):
            continue
        model = twins.twin(grown, version, store=store, progress=work.progress)
        said = decision.decide(model, grown.spec, seed=grown.seed)
        told = said.record(grown.spec, grown.seed, model="twin")
        found.append(replace(told, kind="null", params={**told.params, "twin": version}))
    return found


def _there(grown: Grown, version: str, store: Store) -> bool:
    """Whether a twin was grown before: only the clean one is grown for this."""
    made = twins.spec_of(grown.spec, version)  # pyright: ignore[reportArgumentType]
    return version == "clean" or store.folder(*address(made, grown.seed)).exists()


_DETECTORS = ("stages", *(f"detectors.{name}" for name in detectors.names()))
_SEARCHERS = ("discovery.scoring", *(f"discovery.{name}" for name in discovery.names()))
"""Detectors and searchers are found by name, and so no import tells of them."""

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
