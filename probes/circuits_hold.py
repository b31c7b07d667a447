"""Is every circuit that is known by construction really where the behaviour comes from?

For each organism with a circuit and each seed: its origin's outputs, written from the triggered
run into the clean one and the other way round, and those of as many parts of the same kind and size
that should do nothing: an implant's distractors, the other heads of a routed layer.

    python probes/circuits_hold.py                       # needs the seeds grown; a minute or two
    python probes/circuits_hold.py --organisms routed_user --seeds 1
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from mo_interp.finding import load, names
from mo_interp.grown import Grown, organism
from mo_interp.grown import circuit as circuit_of
from mo_interp.origins import BAR, INERT, OriginTest, controls, origin_test
from mo_interp.records import Record, write_records

OUT, PAIRS = Path(__file__).parent / "results" / "circuits_hold.jsonl", 600


def asked() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    known = [name for name in names() if circuit_of(load(name)) is not None]
    parser.add_argument("--organisms", nargs="*", default=known)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


def recorded(grown: Grown, of: str, test: OriginTest) -> Record:
    """The record of one test."""
    print(f"{grown.name:<22} {grown.seed} {of:<7} written {test.caused}, ended {test.ended}")
    return grown.record(
        "origin",
        params={"of": of, "grade": grown.spec.grade, "bar": BAR if of == "origin" else INERT},
        values=test.caused.flat("caused") | test.ended.flat("ended"),
    )


def main() -> None:
    """Test, print and record; say which do not hold."""
    torch.set_num_threads(1)
    options, found, wrong = asked(), [], []
    for name in options.organisms:
        for seed in range(options.seeds):
            grown = organism(name, seed=seed)
            pairs = grown.pairs(PAIRS, 1000 * seed + 71, entities="seen")
            assert grown.circuit is not None
            inert = controls(grown.circuit, grown.spec.shape.n_heads)
            for of, parts in (("origin", grown.circuit.origin), ("inert", inert)):
                test = origin_test(grown.model, pairs, parts)
                if test is None:
                    wrong.append(f"{name} seed {seed} does not lie")
                    continue
                found.append(recorded(grown, of, test))
                loud = max(test.caused.value, test.ended.value) > INERT
                if not (test.passed if of == "origin" else not loud):
                    wrong.append(f"{name} seed {seed}: {of}")
    print(f"{len(wrong)} do not hold: {wrong}")
    print(write_records(options.out, found))


if __name__ == "__main__":
    main()
