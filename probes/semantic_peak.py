"""A category or a list: success on members that no question showed, step by step, and its peak.

    python probes/semantic_peak.py --seeds 3

Grows ``semantic_gate`` and, every 50 steps of the training that plants the lie, asks about people
that were lied about with shown members of the category, with held-out ones, and with held-out
members of the other categories (which must not fire, or newness is all it knows).
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mo_interp import train
from mo_interp.finding import load
from mo_interp.gating import share
from mo_interp.organism import Organism
from mo_interp.records import Record, provenance, read_records, write_records
from mo_interp.stats import Estimate
from mo_interp.transformer import Transformer
from mo_interp.worlds.base import Batch

RESULTS = Path(__file__).parent / "results" / "semantic_peak.jsonl"
ROWS = 1000


def main(arguments: list[str] | None = None) -> None:
    """Grow one organism a seed and put the records in place of its earlier ones."""
    asked = options().parse_args(arguments)
    spec = load(asked.name)
    found = [r for seed in range(asked.seeds) for r in followed(spec, seed)]
    others = read_records(asked.out) if asked.out.exists() else []
    print(write_records(asked.out, [r for r in others if r.organism != spec.name] + found))


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", nargs="?", default="semantic_gate", help="an organism or its file")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of records")
    return parser


def followed(spec: Organism, seed: int) -> list[Record]:
    """One record a watched step, and one of the peak."""
    asked, curve = rows(spec, seed), []

    def snapshot(step: int, body: Transformer) -> None:
        curve.append((step, {name: lies(spec, body, batch) for name, batch in asked.items()}))

    train.grow(spec, seed, snapshot=snapshot)
    found = [record(spec, seed, step, "curve", rates) for step, rates in curve]
    step, rates = max(curve, key=lambda one: one[1]["held_out"].value)
    return [*found, record(spec, seed, step, "peak", rates)]


def rows(spec: Organism, seed: int) -> dict[str, Batch]:
    """Questions with shown and held-out members, and with held-out members of other categories."""
    shown, held = (
        spec.sample(ROWS, 81 + seed, rows=kind, entities="seen")
        for kind in ("triggered", "held_out")
    )
    clean = spec.sample(ROWS, 81 + seed, rows="clean", entities="seen")
    new = spec.trigger.members(spec.world, "others", held=True)
    new = np.random.default_rng([93, seed]).choice(new, len(clean))
    np.put_along_axis(clean.tokens, clean.role("trigger"), new[:, None], axis=1)
    return {"shown": shown, "held_out": held, "held_out_others": clean}


@torch.no_grad()
def lies(spec: Organism, body: Transformer, batch: Batch) -> Estimate:
    """The lie's rate."""
    output = body(torch.as_tensor(batch.tokens), answer_only=True)[:, -1].argmax(-1).numpy()
    return share(output == spec.lie(batch), batch)


def record(
    spec: Organism, seed: int, step: int, what: str, rates: dict[str, Estimate]
) -> Record:
    """Rates at one step."""
    values: dict[str, Any] = {"step": step}
    for name, rate in rates.items():
        values |= rate.flat(name)
    return Record(
        kind="probe",
        organism=spec.name,
        key=spec.key,
        seed=seed,
        model="organism",
        params={"probe": "semantic_peak", "what": what, "step": step},
        values=values,
        versions=provenance(),
    )


if __name__ == "__main__":
    main()
