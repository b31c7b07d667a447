"""Keep what a run found: the records that ``LOG.md`` and the README lean on, small enough for git.

    mo-interp run quirky_user --out runs/kept
    python probes/keep.py runs/kept

Writes ``probes/results/NAME.jsonl``: behaviour, gates, circuit, baselines, detectors, SAE, the
blind rule's word and the verdicts, without prompts, training curve, sweep cells and times.
"""

import argparse
from pathlib import Path

from mo_interp.records import read_records, write_records

RESULTS = Path(__file__).parent / "results"
KINDS = "behaviour gate circuit baseline detector sae sae_search decision verdict".split()


def main(arguments: list[str] | None = None) -> None:
    """Keep one run's records, in place of an earlier run's of the same organism."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="a run's folder, or its records")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder to keep them in")
    asked = parser.parse_args(arguments)
    found = [r for r in read_records(asked.run) if r.kind in KINDS]
    print(write_records(asked.out / f"{found[0].organism}.jsonl", found))


if __name__ == "__main__":
    main()
