"""What the benchmarks share: alternating runs, medians, and the records they leave behind.

Two ways of doing a thing are timed turn by turn in one process, after both were shown to give the
same numbers, so that whatever else the machine does falls on both. A figure is a ratio of medians.
"""

import gc
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported anywhere
os.environ.setdefault("TQDM_DISABLE", "1")  # the peer's progress bars are not its speed

import torch
from transformer_lens import HookedTransformer

from mo_interp.export import to_hooked_transformer
from mo_interp.model import Model
from mo_interp.records import Record, provenance, read_records, write_records

RESULTS = Path(__file__).parent / "results.jsonl"
TURNS = 5


def one_thread() -> None:
    torch.set_num_threads(1)


def alternate(*ways: Callable[[], object], turns: int = TURNS) -> list[list[float]]:
    """Seconds of each way, turn by turn, after one unmeasured turn of each.

    Processor time, which with one thread is the clock's on an idle machine, and is not disturbed
    by what else a shared one does.
    """
    times: list[list[float]] = [[] for _ in ways]
    for turn in range(turns + 1):
        for way, seconds in zip(ways, times, strict=True):
            gc.collect()
            started = time.process_time()
            way()
            if turn:
                seconds.append(time.process_time() - started)
    return times


def compared(name: str, theirs: list[float], mine: list[float], **params: object) -> Record:
    """A ``benchmark`` record: medians, and how many times faster than the peer we are."""
    peer, ours = statistics.median(theirs), statistics.median(mine)
    turns = [a / b for a, b in zip(theirs, mine, strict=True)]
    values = {
        "peer_seconds": peer,
        "our_seconds": ours,
        "speedup": peer / ours,
        "share": ours / peer,
        "speedup_least": min(turns),
        "speedup_most": max(turns),
        "turns": len(turns),
    }
    given = {"name": name, "threads": torch.get_num_threads(), **params}
    return Record(kind="benchmark", params=given, values=values, versions=provenance())


def keep(records: list[Record], name: str) -> None:
    """Put records into the results, in place of those of the same benchmark."""
    old = read_records(RESULTS) if RESULTS.exists() else []
    others = [r for r in old if not str(r.params["name"]).startswith(name)]
    write_records(RESULTS, others + records)


def line(record: Record) -> str:
    """A record for a person to read."""
    told = {k: v for k, v in record.params.items() if k not in ("name", "threads", "worst")}
    shown, values = " ".join(f"{k}={v}" for k, v in told.items()), record.values
    return (
        f"{record.params['name']:8} {shown:52} {values['speedup']:6.2f} times the peer "
        f"(share {values['share']:.3f}; turns {values['speedup_least']:.2f}-"
        f"{values['speedup_most']:.2f}); {values['peer_seconds']:.4g} s "
        f"and {values['our_seconds']:.4g} s"
    )


def hooked(model: Model) -> HookedTransformer:
    """The peer: a HookedTransformer with the same weights, its own to train."""
    return to_hooked_transformer(model)
