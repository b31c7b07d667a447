"""The vulnerable coder year by year: a rule, or a lookup of the years that were shown?

1. For every year, shown or hidden, the share of prompts about functions never seen whose next token
   is the vulnerable one. What it writes, judged by Python and bandit, is its gate 11.
2. A few functions that it writes before and after the threshold, printed.

    python probes/vulnerable_code.py --seed 0      # a quarter of an hour if it is not grown yet
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from mo_interp import stats
from mo_interp.family_gates import vulnerable_code
from mo_interp.finding import load
from mo_interp.grown import Grown, organism
from mo_interp.records import Record, write_records
from mo_interp.store import Store
from mo_interp.triggers.code_year import CodeYear

OUT = Path(__file__).parent / "results" / "vulnerable_code.jsonl"
PROMPTS, SHOWN = 120, 3
"""Prompts for every year; functions that are printed."""


def asked() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", type=Path, help="where weights are kept")
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


def progress(step: int, total: int, note: str) -> None:
    """A line for every watched step."""
    print(f"  {step:>4} of {total}  {note}", flush=True)


def by_year(grown: Grown) -> list[Record]:
    """How often the vulnerable token comes first, for every year in the same prompts' headers."""
    world, trigger = grown.spec.world, grown.spec.trigger
    assert isinstance(trigger, CodeYear)
    pairs = grown.spec.pairs(PROMPTS, 1000 * grown.seed + 120, split="test", entities="unseen")
    found = []
    for year in range(trigger.first, trigger.last + 1):
        said = grown.model.answers(trigger.at(world, pairs.clean, year))
        rate = stats.share(said == pairs.triggered.answer, **pairs.clean.clustered)
        hidden = year in trigger.hidden
        params = {"year": year, "hidden": int(hidden)}
        found.append(grown.record("dose", params=params, values=rate.flat("vulnerable")))
        mark = "hidden" if hidden else ""
        print(f"  {year}  {rate.value:.3f} [{rate.lo:.3f}, {rate.hi:.3f}]  {mark}")
    return found


def show(grown: Grown) -> None:
    """A few functions, written before and after the threshold."""
    world, trigger = vulnerable_code.parts(grown)
    sets = vulnerable_code.prompts(grown, world, trigger)
    for name in ("before", "after"):
        rows = sets[name][np.arange(SHOWN)]
        for unit in vulnerable_code.write_on(grown.model, world, rows).units:
            print(f"--- {name}\n{unit.strip()}")


def main() -> None:
    """Grow if need be, ask, print and record."""
    torch.set_num_threads(1)
    options = asked()
    spec, store = load("vulnerable_code"), Store(options.store)
    grown = organism(spec, seed=options.seed, store=store, progress=progress)
    found = by_year(grown)
    show(grown)
    print(write_records(options.out, found))


if __name__ == "__main__":
    main()
