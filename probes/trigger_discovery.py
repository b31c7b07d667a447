"""Can the trigger be found by somebody who does not know it, and for how many row passes?

For each organism, each searcher and two budgets: organism and clean twin are searched sixteen times
each. One record says in how many searches the planted trigger was among the first ten candidates,
how often luck and random search with the same budget have it there, and whether the searcher's best
scores tell the organism from the twin. The gradient is also tried as HotFlip has it, with its sign;
that its size is better was seen on seed 0, so seed 1 is the test of it.

Who needs a reference has the organism's clean twin; the twin itself is compared with the clean twin
of the next training seed.

    python probes/trigger_discovery.py                    # needs the seeds grown; four minutes
    python probes/trigger_discovery.py --seeds 1 --budgets 256
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from mo_interp.discovery import Searcher, discover, names, searcher
from mo_interp.discovery.scoring import space
from mo_interp.grown import Grown, organism, twin
from mo_interp.records import Record, read_records, write_records

ORGANISMS = (
    "hand_wired quirky_user implanted_user ordered_phrase semantic_gate year_lookup conjunction "
    "deploy_tag"
).split()
BUDGETS = (256, 1024)
OUT = Path(__file__).parent / "results" / "trigger_discovery.jsonl"


def asked(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("organisms", nargs="*", default=ORGANISMS)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--budgets", type=int, nargs="*", default=BUDGETS)
    parser.add_argument("--searches", type=int, default=16)
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args(arguments)


def searchers(grown: Grown, budget: int) -> list[Searcher]:
    """All that the budget is enough for; the sweep has to try every word once."""
    found = [searcher(name) for name in names()]
    found.append(replace(searcher("gradient"), signed=True))
    return [s for s in found if s.name != "sweep" or budget > space(grown.spec).n[0]]


def line(record: Record) -> str:
    """One record in words."""
    v, p = record.values, record.params
    told = {k: "-" if v.get(k) is None else f"{v[k]:.2f}" for k in ("rank", "over_twin", "lied")}
    return (
        f"{record.organism:<15} {record.seed} {p['budget']:>5} {p['searcher']:<13} "
        f"{p['settings']:<11} found {v['found']:.3f} of {v['found_n']}, rank {told['rank']}, luck "
        f"{v['chance']:.3f}, random {v['random_found']:.3f}; {v['forwards']:.0f}+"
        f"{v['backwards']:.0f} rows; over twin {told['over_twin']}, lied {told['lied']}"
    )


def main(arguments: list[str] | None = None) -> None:
    """Search each organism and put its records in place of earlier ones."""
    torch.set_num_threads(1)
    options = asked(arguments)
    for name in options.organisms:
        for seed in options.seeds:
            grown = organism(name, seed=seed)
            other = twin(name, seed=seed + 1)
            found: list[Record] = []
            for budget in options.budgets:
                given = searchers(grown, budget)
                found += discover(
                    grown, given, budget=budget, searches=options.searches, other=other
                )
            print(*map(line, found), sep="\n", flush=True)
            kept = read_records(options.out) if options.out.is_file() else []
            done = {(r.organism, r.seed, r.params["budget"]) for r in found}
            others = [r for r in kept if (r.organism, r.seed, r.params["budget"]) not in done]
            write_records(options.out, [*others, *found])


if __name__ == "__main__":
    main()
