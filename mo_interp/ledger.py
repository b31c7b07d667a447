"""The ledger: where the gates' outcomes of grown seeds are kept, beside the weights. Torch-free.

Files carry the specification's key, so that an outcome of other code is never taken for this one.
"""

from __future__ import annotations

from pathlib import Path

from mo_interp.organism import Organism
from mo_interp.records import Record, read_records
from mo_interp.store import Store


def gate_file(store: Store, spec: Organism, seed: int, stage: str) -> Path:
    """File of one seed's records of a stage."""
    return store.root / "gates" / f"{spec.name}-{seed}-{spec.key}-{stage}.jsonl"


def gate_records(spec: Organism, store: Store | None = None) -> list[Record]:
    """Gates and examples of every seed that was grown from exactly this specification."""
    folder = (store or Store()).root / "gates"
    files = sorted(folder.glob(f"{spec.name}-*-{spec.key}-*.jsonl"))
    return [record for path in files for record in read_records(path)]
