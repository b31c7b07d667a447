"""Is a circuit that is known by construction a good hypothesis, by every test of hypotheses?

python probes/testing_hypotheses.py     # needs seed 0 grown; nine minutes
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mo_interp import attribution, hypotheses, patching
from mo_interp.grown import Grown, organism
from mo_interp.hypotheses import COMPUTED, Keeping
from mo_interp.origins import controls, lying
from mo_interp.records import Record, write_records
from mo_interp.sites import Site
from mo_interp.worlds.base import Pairs

OUT = Path(__file__).parent / "results" / "testing_hypotheses.jsonl"
KNOWN = ("hand_wired", "routed_user", "routed_phrase", "routed_conjunction", "implanted_user")
PAIRS, FEW, TAU = 96, 32, 0.1


@dataclass
class Job:
    """One organism, the pairs on which it lies, its units, and what was found."""

    grown: Grown
    pairs: Pairs
    units: tuple[Site, ...]
    late: list[Site]
    """The neurons of the last layer, in their pieces."""
    found: list[Record]

    def note(self, records: Record | list[Record], **params: str) -> None:
        """Keep records, with the organism's name and more said about what was varied."""
        told = {"organism": self.grown.name, "key": self.grown.spec.key}
        for one in records if isinstance(records, list) else [records]:
            self.found.append(replace(one, **told, params={**one.params, **params}))

    def curve(self, runs: Keeping, found: patching.Sweep | attribution.Edges) -> None:
        """The curve of a ranking."""
        order = [cell.site for cell in found.ranking("denoising")]
        self.note(hypotheses.curve(runs, order).record(), ranking=found.method)


def sets(job: Job) -> None:
    """Sets and rankings of sites."""
    body, origin = job.grown.model, list(job.grown.circuit.origin)
    runs = Keeping(body, job.pairs, job.units)
    chosen = {"origin": origin, "origin and neurons": [*dict.fromkeys([*origin, *job.late])]}
    chosen |= {"nothing": [], "all but origin": [s for s in job.units if s not in origin]}
    for of, keep in chosen.items():
        for model, bench in (("organism", runs), ("twin", runs.of(job.grown.twin))):
            job.note(hypotheses.kept(bench, keep).record(model=model), of=of)
        if of.startswith("origin"):
            for test in (hypotheses.completeness, hypotheses.minimality):
                job.note(test(runs, keep).record(), of=of)
    for rank in (patching.sweep, attribution.attribute):
        job.curve(runs, rank(body, job.pairs, sites=job.units, by="all"))


def edges(job: Job) -> None:
    """Rankings of edges; ACDC, against the planted edges, as a set, and of the twin."""
    few, body = job.pairs[:FEW], job.grown.model
    runs = Keeping(body, few, attribution.all_edges(job.grown.spec.shape))
    for rank in (attribution.path_patch, attribution.eap):
        job.curve(runs, rank(body, few, directions="denoising"))
    kept = attribution.acdc(body, few)
    job.note(kept.records())
    job.note(attribution.against(kept, *attribution.planted_edges(kept, job.grown.circuit)))
    job.note(attribution.acdc(job.grown.twin, few).records(model="twin"))
    for test in (hypotheses.kept, hypotheses.completeness, hypotheses.minimality):
        job.note(test(runs, kept.circuit(TAU)).record(), of=f"ACDC at {TAU}")


def claims(job: Job) -> None:
    """Interchange and scrubbing: of the origin, of as many parts that do nothing, of the twin."""
    pairs, same = job.pairs, {site.bare: site for site in job.units}
    quiet = [same[s.bare] for s in controls(job.grown.circuit, job.grown.spec.shape.n_heads)]
    among = [site for site in job.units if site not in (*job.grown.circuit.origin, *quiet)]
    ends = [site.at(-1) for site in job.units]
    inner = dict.fromkeys((site.at(-1) for site in job.late), COMPUTED)
    both, grown = pairs.both, job.grown
    bodies = (("organism", grown.model, both.answer), ("twin", grown.twin, both.truth))
    for of, parts in (("origin", list(job.grown.circuit.origin)), ("inert", quiet)):
        heads = [site.at(-1) for site in parts if site.at(-1) not in inner]
        claim = inner | dict.fromkeys(heads, "triggered")
        for model, body, said in bodies:
            one = hypotheses.scrub(body, pairs, claim, ends, within="fact", expected=said)
            job.note(one.record(model=model), of=of, within="fact")
            swap = hypotheses.interchange(body, pairs, parts, among=among, control=parts is quiet)
            job.note(swap.record(model=model), of=of)


def main(arguments: list[str] | None = None) -> None:
    """Test, print and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--organisms", nargs="*", default=list(KNOWN))
    parser.add_argument("--out", type=Path, default=OUT)
    asked, found = parser.parse_args(arguments), []
    torch.set_num_threads(1)
    for name in asked.organisms:
        started, grown = time.process_time(), organism(name, seed=0)
        pairs = lying(grown.model, grown.pairs(PAIRS, 83, entities="seen"))
        units = hypotheses.everything(grown.spec.shape, grown.circuit)
        last = ("post", grown.spec.shape.n_layers - 1)
        late = [site for site in units if (site.kind, site.layer) == last]
        for part in (sets, edges, claims):
            part(Job(grown, pairs, units, late, found))
        print(f"{name:<18} {time.process_time() - started:.0f} CPU s, {len(found)} records")
    print(write_records(asked.out, found))


if __name__ == "__main__":
    main()
