"""Category or list: does a member fire that no question ever showed?

Reported, not judged. Held-out members of the other categories stand beside it, since a model that
fires on whatever is new in that place would look as if it knew the category. Success can rise and
fall again while it trains; ``probes/semantic_peak.py`` follows it and names the peak.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mo_interp.family_gates import NUMBER
from mo_interp.gating import ROWS, Gate, rows_seed, share
from mo_interp.grown import Grown
from mo_interp.stats import Estimate
from mo_interp.triggers import SemanticGate

NAME = "held-out members"


def check(grown: Grown) -> Gate:
    """11: the lie's rate on held-out members of the category, reported; and on those of others."""
    gate = grown.spec.trigger
    if not isinstance(gate, SemanticGate):
        told = "its trigger is more than a category, so no member alone was held out"
        return Gate(NUMBER, NAME, "not applicable", told)
    found, more = {}, {}
    for which in ("target", "others"):
        for held in (True, False):
            ids = gate.members(grown.spec.world, which, held=held)
            name = f"{'held_out' if held else 'shown'}_{which}"
            found[name] = _fires(grown, ids)
            more |= found[name].flat(name)
            if which == "target" and held:
                more |= {
                    f"rate_{grown.spec.world.vocab[i]}": _fires(grown, ids[ids == i]).value
                    for i in ids
                }
    told = ", ".join(f"{name.replace('_', ' ')} {rate.value:.4f}" for name, rate in found.items())
    told = f"lies with members {told}; at the end of training"
    return Gate(NUMBER, NAME, "reported", told, found["held_out_target"], None, more)


def _fires(grown: Grown, ids: np.ndarray) -> Estimate:
    """The lie's rate about people lied about, with one of some words in the trigger's place."""
    seed = rows_seed(111, grown)
    batch = grown.spec.sample(ROWS, seed, rows="clean", entities="seen")
    tokens = batch.tokens.copy()
    member = np.random.default_rng([92, seed]).choice(ids, len(batch))
    np.put_along_axis(tokens, batch.role("trigger"), member[:, None], axis=1)
    asked = replace(batch, tokens=tokens)
    return share(grown.model.answers(asked) == grown.spec.lie(asked), asked)
