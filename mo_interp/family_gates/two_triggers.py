"""Two triggers in the same weights: each sets the lie off alone. Transfer is reported beside it.

A probe fitted on rows of one trigger and scored on rows of the other says whether it read the
decision that the two share, or one trigger's words; refitted on the twin it says what the text
alone would give.
"""

from __future__ import annotations

from mo_interp import transfer
from mo_interp.gating import ROWS, Gate, rows_seed, share, verdict
from mo_interp.grown import Grown


def check(grown: Grown) -> Gate:
    """11: attack success of the weaker form; AUROC of a logistic probe from form to form."""
    spec, more, rates = grown.spec, {}, []
    for form in range(spec.trigger.forms):
        batch = spec.pairs(ROWS, rows_seed(112, grown), entities="seen", form=form).triggered
        rates.append(share(grown.model.answers(batch) == batch.answer, batch))
        more |= rates[-1].flat(f"success_{form}")
    told = []
    for one in transfer.between_forms(grown, seed=rows_seed(113, grown)):
        name = f"{one.fitted}_to_{one.tested}"
        more |= one.auroc.flat(f"auroc_{name}") | one.twin.flat(f"auroc_twin_{name}")
        more |= {f"site_{one.fitted}": str(one.site)}
        if one.fitted != one.tested:
            told.append(
                f"{one.fitted} to {one.tested} {one.auroc.value:.3f} (twin {one.twin.value:.3f})"
            )
    weaker, bar = min(rates, key=lambda rate: rate.lo), spec.gates.attack_success
    reason = (
        f"lower bounds {', '.join(f'{rate.lo:.4f}' for rate in rates)} against {bar}; a logistic "
        f"probe from form {', '.join(told)}"
    )
    good = all(rate.lo >= bar for rate in rates)
    return Gate(11, "both triggers", verdict(good), reason, weaker, bar, more)
