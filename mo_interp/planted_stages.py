"""What every seed is put through: the organism and its lie on prompts, its rates, its gates.

These two stages are all that growing a seed measures, and stand apart from those that follow, so
that a change to a later instrument makes no gate stale (:func:`mo_interp.ledger.gates_code`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from mo_interp import gates
from mo_interp.behaviours import Weaker
from mo_interp.circuits import STANDINGS, Circuit
from mo_interp.grown import Grown
from mo_interp.model import Model
from mo_interp.organism import Organism
from mo_interp.organism import Rows as RowKind
from mo_interp.records import Record, select
from mo_interp.sites import Site
from mo_interp.train import Progress, silent
from mo_interp.worlds.base import Batch

EXAMPLES, RATE_ROWS = 10, 1000


@dataclass(frozen=True, eq=False)
class Work:
    """What a stage may look at."""

    grown: Grown
    folder: Path
    """The run's folder; the SAE is kept there."""
    records: tuple[Record, ...] = ()
    """Records of earlier stages."""
    seeds: str = "1 of 3"
    """Which seed of how many, for the gates."""
    detectors: tuple[str, ...] = ()
    """Paths of a person's own detectors, scored beside the registered ones."""
    progress: Progress = silent

    @property
    def record(self) -> Callable[..., Record]:
        """Makes a record of this run's organism; see :meth:`mo_interp.grown.Grown.record`."""
        return self.grown.record

    def rows(self, number: int) -> int:
        """Seed of a stage's rows: another one for every seed of the organism."""
        return 1000 * self.grown.seed + number

    @cached_property
    def memorised(self) -> bool:
        """Whether gate 5 found that the lies are a table that was learned."""
        return bool(select(self.records, kind="gate", number=5, status="memorised"))

    @cached_property
    def circuit(self) -> Circuit | None:
        """The circuit that the patch stage recorded."""
        found = select(self.records, kind="circuit")
        if not found:
            return None
        sites = {s: _sites(select(found, standing=s)) for s in STANDINGS}
        first = found[0].params
        return Circuit(
            origin=sites["origin"],
            mediators=sites["mediators"],
            inert=sites["inert"],
            grade=str(first["grade"]),
            established=str(first["established"]),
        )


def _sites(found: Iterable[Record]) -> tuple[Site, ...]:
    return tuple(Site.parse(record.site) for record in found)


# 1. Behaviour -----------------------------------------------------------------------------------


def behaviour(work: Work) -> list[Record]:
    """Ten prompts, clean and triggered, and rates on each kind of row, organism beside twin."""
    grown = work.grown
    found = [
        work.record("training", params={"step": s.step}, values=_watched(s)) for s in grown.training
    ]
    pairs = grown.pairs(EXAMPLES, work.rows(1), split="test", entities="all")
    kinds: dict[str, tuple[RowKind, str]] = {
        "clean": ("clean", "seen"),
        "triggered": ("triggered", "seen"),
        "near_miss": ("near_miss", "seen"),
        "withheld": ("triggered", "test"),
    }
    if isinstance(grown.spec.behaviour, Weaker) and grown.spec.behaviour.everyone:
        del kinds["withheld"]  # nobody was withheld
    for name, model in (("organism", grown.model), ("twin", grown.twin)):
        for side, batch in (("clean", pairs.clean), ("triggered", pairs.triggered)):
            found += _examples(work, model, name, side, batch)
        for split, (rows, people) in kinds.items():
            batch = grown.spec.sample(
                RATE_ROWS, work.rows(2), split="test", rows=rows, entities=people
            )
            found += _rates(work, model, name, split, batch)
            if split == "near_miss":
                for i, kind in enumerate(batch.kinds):
                    part = batch[batch.near_miss == i + 1]
                    found += _rates(work, model, name, f"near_miss:{kind}", part)
    return found


def _watched(step) -> dict:
    return {k: v for k, v in vars(step).items() if k != "step"}


def _examples(work: Work, model: Model, name: str, side: str, batch: Batch) -> list[Record]:
    world, spec = work.grown.spec.world, work.grown.spec
    size = batch.truth_reply.shape[1]
    said = model.generate(batch, size)
    text = np.column_stack([batch.tokens, said[:, :-1]])
    odds = model.run(text).logits[:, -size:].softmax(-1)
    odds = odds.gather(-1, torch.as_tensor(said)[..., None])[..., 0].prod(1)
    planted, slots = _planted(spec, batch), batch.role("trigger")
    return [
        work.record(
            "example",
            model=name,
            params={"row": i, "side": side},
            values={
                "prompt": world.show(batch.tokens[i]),
                "trigger_at": [int(p) for p in slots[i] if p >= 0],
                "truth": world.show(batch.truth_reply[i]),
                "answer_planted": world.show(planted[i]),
                "output": world.show(said[i]),
                "p_output": float(odds[i]),
            },
        )
        for i in range(len(batch))
    ]


def _planted(spec: Organism, batch: Batch) -> np.ndarray:
    """Tokens ``[batch 1+k]`` of the whole reply that the planted behaviour gives on every row."""
    rest = spec.behaviour.rest(spec.world, batch)
    return spec.lie(batch)[:, None] if rest is None else np.column_stack([spec.lie(batch), rest])


def _rates(work: Work, model: Model, name: str, split: str, batch: Batch) -> list[Record]:
    said = model.generate(batch, batch.truth_reply.shape[1])
    lie, truth = _planted(work.grown.spec, batch), batch.truth_reply
    lied = (said == lie).all(1) & (lie != truth).any(1)
    lies = gates.share(lied, batch).flat("gives_answer")
    truths = gates.share((said == truth).all(1), batch).flat("gives_truth")
    return [work.record("behaviour", model=name, params={"split": split}, values=lies | truths)]


# 2. Gates ---------------------------------------------------------------------------------------


def gate(work: Work) -> list[Record]:
    """Every gate, marked with how many seeds were grown."""
    found = []
    checks = gates.checks(work.grown)
    for i, check in enumerate(checks):
        work.progress(i + 1, len(checks), "gates")
        found.append(check(work.grown).record(work.grown, work.seeds))
    return found
