"""Transfer between two triggers in the same weights: does a detector of one read the other?

1. For each form of the trigger, a detector is fitted on train pairs of that form alone, at the
   answer site that validation people choose.
2. It is scored on test pairs of every form: other people, other layouts. The clean rows are the
   same whatever the form.
3. The same detector is refitted, at the same site, on the clean twin, where there is no decision:
   what transfers there too is text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mo_interp import stats
from mo_interp.detection import Evidence, Rows, best_site
from mo_interp.detectors import Detector, Fitted, detector
from mo_interp.grown import Grown
from mo_interp.sites import Site
from mo_interp.stats import Estimate
from mo_interp.worlds.base import Batch, Clustered

PAIRS = {"train": 512, "val": 256, "test": 512}
NEEDS = ("nothing", "clean", "labels")


@dataclass(frozen=True)
class Transfer:
    """A detector fitted on one form of a trigger, scored on another or the same one."""

    detector: str
    site: Site
    fitted: int
    """The form it was fitted on."""
    tested: int
    """The form it is scored on."""
    auroc: Estimate
    """Triggered against clean rows of test people."""
    twin: Estimate
    """The same, fitted and scored on the clean twin."""

    def values(self) -> dict:
        """Both numbers with their intervals, flat."""
        return self.auroc.flat("auroc") | self.twin.flat("auroc_twin")


def answer_sites(grown: Grown) -> list[Site]:
    """Sites at the answer position that a detector may choose from."""
    return [
        Site(kind, layer=layer, position=-1)
        for layer in range(grown.spec.shape.n_layers)
        for kind in ("attn_out", "resid_mid", "resid_post")
        if not (grown.spec.shape.attn_only and kind == "resid_mid")
    ]


def between_forms(
    grown: Grown, names: Sequence[str] = ("logistic",), *, seed: int = 0
) -> list[Transfer]:
    """Every detector fitted on each form and scored on each; nothing for a trigger of one form.

    Detectors that need more than rows and labels are left out.
    """
    sites, forms = answer_sites(grown), []
    if grown.spec.trigger.forms > 1:
        forms = [_Form.of(grown, i, sites, seed) for i in range(grown.spec.trigger.forms)]
    found = []
    for one in map(detector, names):
        if one.needs not in NEEDS:
            continue
        for i, form in enumerate(forms):
            site = best_site(one, [form.evidence(site) for site in sites]).site
            fitted = _fitted(one, form.rows("train", site))
            for j, other in enumerate(forms):
                shares = _scored(fitted, other.rows("test", site))
                found.append(Transfer(one.name, site, i, j, *shares))
    return found


@dataclass(frozen=True, eq=False)
class _Form:
    """Pairs of one form of the trigger with their activations, in organism and twin."""

    batches: Mapping[str, Batch]
    acts: Mapping[str, Mapping[Site, Tensor]]
    twin: Mapping[str, Mapping[Site, Tensor]]

    @classmethod
    def of(cls, grown: Grown, form: int, sites: list[Site], seed: int) -> _Form:
        draw = grown.spec.pairs
        batches = {k: draw(n, seed, split=k, form=form).both for k, n in PAIRS.items()}
        acts, twin = (
            {k: model.run(batch, read=sites).acts for k, batch in batches.items()}
            for model in (grown.model, grown.twin)
        )
        return cls(batches, acts, twin)

    def rows(self, split: str, site: Site) -> Rows:
        acts, twin = (of[split][site] for of in (self.acts, self.twin))
        return Rows.of(self.batches[split], acts, twin=twin)

    def evidence(self, site: Site) -> Evidence:
        train, test, val = (self.rows(split, site) for split in ("train", "test", "val"))
        return Evidence(site, train, test, val)


def _fitted(one: Detector, rows: Rows) -> tuple[Fitted, Fitted]:
    """The detector fitted to what it may see, on the organism and on its twin."""
    seen = ~rows.triggered if one.needs == "clean" else np.ones(len(rows.triggered), dtype=bool)
    labels = (rows.triggered,) if one.needs == "labels" else ()
    assert rows.twin is not None
    return one.fit(rows.acts[seen], *labels), one.fit(rows.twin[seen], *labels)


def _scored(fitted: tuple[Fitted, Fitted], rows: Rows) -> list[Estimate]:
    by: Clustered = {"clusters": rows.entity, "prompts": rows.prompt}
    assert rows.twin is not None
    return [
        stats.auroc_estimate(one.score(acts), rows.triggered, **by)
        for one, acts in zip(fitted, (rows.acts, rows.twin), strict=True)
    ]
