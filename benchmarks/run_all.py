"""Every benchmark, one after the other; the figures go to ``benchmarks/results.jsonl``.

python benchmarks/run_all.py
"""

import bench_import
import bench_step
import bench_sweeps
import common


def main() -> None:
    for name, bench in (("import", bench_import), ("step", bench_step), ("sweep", bench_sweeps)):
        common.keep(bench.main(), name)
    print(f"written to {common.RESULTS}")


if __name__ == "__main__":
    main()
