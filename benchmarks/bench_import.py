"""How long ``import mo_interp`` and ``mo-interp --help`` take, beside Python doing nothing.

Processor time of a fresh interpreter, in turns, medians.

    python benchmarks/bench_import.py
"""

import os
import statistics
import sys

import common

from mo_interp.records import Record, provenance

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import mo_interp": ["-c", "import mo_interp"],
    "mo-interp --help": ["-m", "mo_interp", "--help"],
}
TURNS = 11


def seconds(arguments: list[str]) -> float:
    """User and system time of one fresh interpreter; stops if it fails."""
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    command = [sys.executable, *arguments]
    child = os.posix_spawn(sys.executable, command, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return usage.ru_utime + usage.ru_stime


def main() -> list[Record]:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(TURNS + 1):
        for name, arguments in COMMANDS.items():
            spent = seconds(arguments)
            if turn:
                times[name].append(spent)
    medians = {name: statistics.median(found) for name, found in times.items()}
    nothing = medians["python -c pass"]
    records = []
    for name, found in medians.items():
        values = {"our_seconds": found, "peer_seconds": nothing, "share": found / nothing}
        values |= {"least": min(times[name]), "most": max(times[name]), "turns": TURNS}
        params = {"name": "import", "command": name}
        records.append(
            Record(kind="benchmark", params=params, values=values, versions=provenance())
        )
        print(f"import   {name:20} {found:.3f} s, {found / nothing:.2f} times doing nothing")
    return records


if __name__ == "__main__":
    common.keep(main(), "import")
