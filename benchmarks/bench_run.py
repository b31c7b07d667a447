"""How long the main job takes: ``mo-interp run quirky_user`` from an empty store, once.

By the clock, as a person waits for it, with the stages' shares; on a busy machine look at the
processor time beside it.

    python benchmarks/bench_run.py
"""

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
        before, started = os.times(), time.perf_counter()
        subprocess.run(command, cwd=here, env=own, check=True, stdout=subprocess.DEVNULL)
        clock, after = time.perf_counter() - started, os.times()
        timings = select(read_records(Path(here) / "run"), kind="timing")
    processor = sum(after[2:4]) - sum(before[2:4])
    values = {"our_seconds": clock, "processor_seconds": processor}
    values |= {f"{r.params['stage']}_seconds": r.seconds for r in timings}
    cores = len(os.sched_getaffinity(0))
    params = {"name": "run", "command": f"mo-interp run {FLAGSHIP}", "cores": cores}
    print(f"run      {clock:.0f} s by the clock, {processor:.0f} s of processor time")
    return [Record(kind="benchmark", params=params, values=values, versions=provenance())]


if __name__ == "__main__":
    common.keep(main(), "run")
