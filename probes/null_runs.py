"""A hundred and more models without a lie: how often does the blind rule name a mechanism?

1. Clean twins of every organism but the slow ones, five seeds each, and the benign and decoy twins
   that were grown before; ``--decoys 2`` grows those of a dozen organisms, two seeds each. Twins
   with the same weights count once.
2. The decision rule (:mod:`mo_interp.decision`) as it was frozen. Naming anything is a false alarm.
3. One record a model, and one with the share and its one-sided 95 % upper bound, which reports and
   scoreboards print beside every table.

    python probes/null_runs.py --decoys 2      # needs the seeds grown; an hour, and it resumes
    python probes/null_runs.py hand_wired --seeds 1 --out /tmp/nulls.jsonl
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from mo_interp import bench, twins
from mo_interp.finding import load, names
from mo_interp.growing import carry_out, is_slow
from mo_interp.grown import organism
from mo_interp.records import select, write_records

ROOT = Path(__file__).parent.parent
OUT, WORK = ROOT / "organisms" / "null_runs.jsonl", Path("bench")
DECOYS = (
    *("quirky_user", "ordered_phrase", "conjunction", "count_threshold", "year_lookup"),
    *("semantic_gate", "implanted_user", "routed_user", "quirky_statement", "deploy_tag"),
    *("arith_user", "year_ordinal", "monitor_flag"),
)
"""Organisms of every world and grade that is trained."""


def asked(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    quick = [name for name in names() if not is_slow(load(name))]
    parser.add_argument("organisms", nargs="*", default=quick)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--decoys", type=int, default=0, help="seeds whose decoy twins are grown")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--work", type=Path, default=WORK, help="where what is finished is kept")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run what is left, count, and write."""
    torch.set_num_threads(1)
    options = asked(arguments)
    for name in (name for name in options.organisms if name in DECOYS):
        for seed in range(options.decoys):
            twins.twin(organism(name, seed=seed), "decoy")
    told = {"seeds": options.seeds, "parts": ["null"], "out": options.work}
    plan = bench.plan(options.organisms, **told)
    print(plan)
    for outcome in carry_out(plan):
        print(f"{outcome.job.label}: {outcome.problem or 'done'}", flush=True)
    found = bench.gather(options.work, bench.jobs(options.organisms, **told))
    summary = bench.false_alarms(found)
    assert summary is not None, "no model without a lie was run"
    print({k: summary.values[k] for k in ("models", "named", "false_alarm_bound", "which")})
    print(write_records(options.out, [*select(found, kind="null"), summary]))


if __name__ == "__main__":
    main()
