"""Outside rulers: what our instruments make of circuits that somebody else compiled.

    python probes/outside_rulers.py

For every program of ``mo_interp.rulers`` with a circuit: the scores of the exhaustive sweep, of a
random ranking and of one by weights. For the deceiver: the verdict on the head that looks for the
trigger, on the neurons that count it, and on the first direction of pair differences at the
attention's output; and what zeroing each head does to the lie, against resampling it.
"""

import argparse
from pathlib import Path

from mo_interp import patching
from mo_interp.edits import Patch, Zero
from mo_interp.features import Feature, from_pairs, whole
from mo_interp.judge import judge
from mo_interp.records import Record, provenance, write_records
from mo_interp.rulers import Ruler, names, ruler
from mo_interp.sites import Site

RESULTS = Path(__file__).parent / "results" / "outside_rulers.jsonl"
PAIRS = 256
LOOKS = "count_t"
"""The operation that looks for the trigger."""


def main(arguments: list[str] | None = None) -> None:
    """Sweep and judge, and write the records."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of records")
    asked = parser.parse_args(arguments)
    found = [r for name in names() for r in localised(ruler(name))]
    print(write_records(asked.out, found + judged(ruler("deceiver"))))


def localised(one: Ruler) -> list[Record]:
    """Scores of the sweep and its baselines against the compiled components."""
    if not one.circuit.origin:
        return []
    pairs, sites = one.pairs(PAIRS, 0), patching.parts(one.circuit)
    swept = patching.sweep(one.model, pairs, sites=sites, by="all")
    return patching.score(swept, one.circuit, organism=one.name, key=one.key)


def mechanisms(one: Ruler) -> dict[str, Feature]:
    """What is taken for the mechanism, by name."""
    pairs, found = one.pairs(PAIRS, 0), {}
    for part in one.components:
        if part.operation == LOOKS:
            site = part.site.at(-1)
            clean, triggered = (one.model.read(b, site) for b in (pairs.clean, pairs.triggered))
            name = "its head" if site.head is not None else "its neurons"
            found[name] = whole(site, clean=clean, triggered=triggered)
    found["a direction"] = from_pairs(one.model, pairs, "L0.attn_out@-1", rank=1)
    return found


def judged(one: Ruler) -> list[Record]:
    """The verdicts, and every head zeroed or resampled on the triggered rows."""
    found = []
    for name, feature in mechanisms(one).items():
        found += judge(one, feature, name=name).records()  # pyright: ignore[reportArgumentType]
    pairs = one.pairs(PAIRS, 0)
    for part in one.components:
        if part.site.head is not None:
            values = {"rows": len(pairs), **ended(one, part.site)}
            told = {"organism": one.name, "key": one.key, "versions": provenance()}
            told |= {"site": str(part.site), "params": {"operation": part.operation}}
            found.append(Record(kind="head", values=values, **told))
    return found


def ended(one: Ruler, site: Site) -> dict[str, float]:
    """Share of triggered rows that give the truth with one part zeroed, and resampled."""
    pairs = one.pairs(PAIRS, 0)
    edits = {"zero": Zero(site), "resample": Patch(site, one.model.read(pairs.clean, site))}
    run = one.model.run
    return {
        name: float((run(pairs.triggered, do=[edit], identity=True).output
                     == pairs.triggered.truth).mean())
        for name, edit in edits.items()
    }  # fmt: skip


if __name__ == "__main__":
    main()
