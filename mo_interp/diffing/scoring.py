"""A ranking of parts by how much they differ, held against the circuit.

As :mod:`mo_interp.patching` scores a sweep: origin against inert parts, mediators left out. Beside
every score stands what random rankings of the same parts reach, and the rank of the AUROC among
them, since with few parts a high AUROC is cheap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mo_interp.circuits import Circuit
from mo_interp.errors import BadLabels, BadSite
from mo_interp.sites import Site
from mo_interp.stats import localisation_scores, random_ranking, rank_p

SCORES = ("precision", "recall", "auroc", "auprc")
"""What a ranking is scored by."""


def score(
    found: Mapping[Site, float], circuit: Circuit, *, draws: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Flat values for a Record: the four scores, random rankings beside, and how many parts.

    ``found`` gives each part (without position) a size; larger is more suspicious. ``p_random``
    counts random rankings with an AUROC at least as high, and this one with them.

    Raises:
        BadLabels: a circuit without origin or without inert parts.
        BadSite: a part of the circuit that was not compared.
    """
    counted = circuit.origin + circuit.inert
    truth = np.array([True] * len(circuit.origin) + [False] * len(circuit.inert))
    if not len(truth) or truth.all() or not truth.any():
        raise BadLabels(
            f"a circuit with {len(circuit.origin)} origin and {len(circuit.inert)} inert parts: "
            "both kinds are needed to score a ranking"
        )
    missing = [str(site.bare) for site in counted if site.bare not in found]
    if missing:
        raise BadSite(f"parts of the circuit that were not compared: {', '.join(missing)}")
    ranking = localisation_scores([found[site.bare] for site in counted], truth)
    values: dict[str, Any] = {name: getattr(ranking, name) for name in SCORES}
    random = random_ranking(truth, draws=draws, seed=seed)
    for name, drawn in random.items():
        lo, hi = np.quantile(drawn, [0.025, 0.975])
        values[f"random_{name}"] = float(drawn.mean())
        values |= {f"random_{name}_lo": float(lo), f"random_{name}_hi": float(hi)}
    values |= {"p_random": rank_p(ranking.auroc, random["auroc"]), "random_n": draws}
    counts = {"origin": len(circuit.origin), "inert": len(circuit.inert), "n": len(counted)}
    return values | counts | {"mediators": len(circuit.mediators)}
