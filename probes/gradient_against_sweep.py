"""Do gradients say what patching says? Each method against the exact one, organism by organism.

1. Pairs of test people on which the organism lies. Patching, exactly: every site by role, the parts
   of the circuit (or all heads and MLPs) at all positions, and every edge by path patching.
2. The methods that stand for them: attribution patching, integrated gradients along the input and
   along the site, relevance propagation, direct logit attribution; EAP and EAP-IG for edges.
3. One record a method, direction and set of cells: rank correlation, worst cell, cells missed and
   invented, cost. Where the circuit is known by construction, each method is scored against it too.

    python probes/gradient_against_sweep.py                 # 4 organisms, seed 0, 64 pairs
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from mo_interp import attribution, origins, patching
from mo_interp.grown import Grown, organism
from mo_interp.patching import Sweep
from mo_interp.records import Record, read_records, write_records
from mo_interp.sites import Site
from mo_interp.worlds.base import Pairs

ORGANISMS = ("hand_wired", "implanted_user", "routed_user", "quirky_user")
NUMBERS = ("spearman", "worst", "worst_told", "worst_true")
OUT = Path(__file__).parent / "results" / "gradient_against_sweep.jsonl"


def asked(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("organisms", nargs="*", default=ORGANISMS)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=4, help="points of an integration")
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args(arguments)


def parts(grown: Grown) -> tuple[Site, ...]:
    """What is scored: the circuit's parts with weights, or else every head and MLP."""
    known = grown.circuit
    if known is not None and known.inert:
        return tuple(site.bare for site in patching.parts(known))
    return grown.model.sites.match(["L*.H*.z", "L*.mlp_out"])


def nodes(grown: Grown, pairs: Pairs, steps: int) -> Iterator[tuple[str, Sweep, Sweep]]:
    """(cells, what a method says, what patching says) for sites by role, then for parts."""
    model, own = grown.model, parts(grown)
    verbs: dict[str, Callable[..., Sweep]] = {
        "slope": attribution.attribute,
        "input": lambda *a, **k: attribution.attribute(*a, steps=steps, path="input", **k),
        "site": lambda *a, **k: attribution.attribute(*a, steps=steps, path="site", **k),
        "relp": attribution.relevance,
        "relp_half": lambda *a, **k: attribution.relevance(*a, attention="half", **k),
    }
    for cells, given in (("role", {"by": "role"}), ("parts", {"by": "all", "sites": own})):
        exact = patching.sweep(model, pairs, **given)
        for name, verb in verbs.items():
            if (cells, name) != ("role", "site"):  # dearer than the sweep itself
                yield cells, verb(model, pairs, **given), exact
    yield "parts", attribution.direct(model, pairs, sites=own), exact


def measured(grown: Grown, pairs: Pairs, steps: int) -> list[Record]:
    """Everything about one organism."""
    told = {"organism": grown.spec.name, "key": grown.spec.key, "seed": grown.seed}
    found: list[Record] = []
    swept: dict[str, Sweep] = {}
    for cells, said, exact in nodes(grown, pairs, steps):
        found += attribution.agreement(said, exact, cells=cells, **told)
        if cells == "parts":
            swept |= {said.method: said, "patching": exact}
    exact = attribution.path_patch(grown.model, pairs)
    for n in (0, steps):
        said = attribution.eap(grown.model, pairs, steps=n)
        found += attribution.agreement(said, exact, cells="edges", **told)
    known = grown.circuit
    if known is not None and known.inert:
        live = tuple(s for s in known.inert if swept["patching"].weights[s.bare] > 0)
        circuit = replace(known, inert=live)
        scored = [r for one in swept.values() for r in patching.score(one, circuit, **told)]
        found += {(r.params["method"], r.params["direction"]): r for r in scored}.values()
    return found


def line(record: Record) -> str:
    """One agreement in words."""
    v, p = record.values, record.params
    cost = f"{v['forwards']}+{v['backwards']} passes for {v['reference_forwards']}"
    shown = {k: "-" if v.get(k) is None else f"{v[k]:.3f}" for k in NUMBERS}
    return (
        f"{record.organism} {p['cells']} {p['direction']} {p['method']}: rank {shown['spearman']}, "
        f"worst {shown['worst']} at {record.site} ({shown['worst_told']}, is {shown['worst_true']})"
        f", missed {v.get('missed')} of {v.get('large')}, invented {v.get('invented')}; {cost}"
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure each organism and put its records in place of earlier ones."""
    torch.set_num_threads(1)
    options = asked(arguments)
    for name in options.organisms:
        grown = organism(name, seed=options.seed)
        pairs = origins.lying(grown.model, grown.pairs(options.pairs, 71))
        found = measured(grown, pairs, options.steps)
        print(*(line(r) for r in found if r.kind == "localisation_agreement"), sep="\n", flush=True)
        kept = read_records(options.out) if options.out.is_file() else []
        others = [r for r in kept if (r.organism, r.seed) != (name, options.seed)]
        write_records(options.out, [*others, *found])


if __name__ == "__main__":
    main()
