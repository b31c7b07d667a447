"""Every benchmark, one after the other; the figures go to ``benchmarks/results.jsonl``.

python benchmarks/run_all.py
"""

import bench_import
import bench_probes
import bench_run
import bench_seeds
import bench_step
import bench_sweeps
import common

BENCHES = {
    "import": bench_import,
    "probes": bench_probes,
    "run": bench_run,
    "seeds": bench_seeds,
    "step": bench_step,
    "sweep": bench_sweeps,
}


def main() -> None:
    for name, bench in BENCHES.items():
        common.keep(bench.main(), name)
    print(f"written to {common.RESULTS}")


if __name__ == "__main__":
    main()
