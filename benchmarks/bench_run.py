"""How long the main job takes: ``mo-interp run quirky_user`` from an empty store, once.

By the clock, as a person waits for it, with the stages' shares, and beside it what ``--plan`` said
it would take; on a busy machine look at the processor time.

    python benchmarks/bench_run.py
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common

from mo_interp.records import Record, provenance, read_records, select

FLAGSHIP = "quirky_user"


def main() -> list[Record]:
    with tempfile.TemporaryDirectory() as here:
        own = {**os.environ, "MO_INTERP_HOME": str(Path(here) / "store")}
        command = [sys.executable, "-m", "mo_interp", "run", FLAGSHIP, "--quiet", "--out", "run"]
        asked = [*command[:5], "--plan", "--json"]
        plan = json.loads(subprocess.check_output(asked, cwd=here, env=own, text=True))
        before, started = os.times(), time.perf_counter()
        subprocess.run(command, cwd=here, env=own, check=True, stdout=subprocess.DEVNULL)
        clock, after = time.perf_counter() - started, os.times()
        timings = select(read_records(Path(here) / "run"), kind="timing")
    processor = sum(after[2:4]) - sum(before[2:4])
    planned = sum(step["seconds"] for step in plan["steps"])
    values = {"our_seconds": clock, "processor_seconds": processor, "planned_seconds": planned}
    values |= {f"{r.params['stage']}_seconds": r.seconds for r in timings}
    cores = len(os.sched_getaffinity(0))
    params = {"name": "run", "command": f"mo-interp run {FLAGSHIP}", "cores": cores}
    times = f"{clock:.0f} s by the clock, {planned:.0f} s planned, {processor:.0f} s of processor"
    print(f"run      {times}")
    return [Record(kind="benchmark", params=params, values=values, versions=provenance())]


if __name__ == "__main__":
    common.keep(main(), "run")
