"""The scoreboard: organisms x seeds x parts of the evidence, planned, resumable, records only.

=============  ==================================================================================
localisation   the sweep and the circuit; where that is known by construction, cheap methods too
detection      every detector with every control, and its sentence
mechanism      the SAE and its search, and a verdict for every instrument's candidate
removal        a certificate for each of :data:`CURES`
discovery      searches for the trigger by those who do not know it
null           the blind decision rule on the twins, where naming anything is a false alarm
=============  ==================================================================================

1. :func:`plan` lists the jobs, one a seed, and what is left of them; :func:`rows_needed` and
   :func:`seeds_needed` say how many rows and seeds an interval of a stated width takes.
2. :func:`mo_interp.growing.carry_out` runs them in processes of their own.
3. Each job writes ``OUT/NAME-seed-key8/PART.jsonl``, sealed with the digest of the code that
   measured it and of what it was made after; what is there is read and not measured again.
4. :func:`gather` reads every part back, and :func:`scores` makes means over seeds of them: one
   record an organism, method and measure, and never one number for all of it.
"""

from mo_interp.bench.needed import rows_needed, seeds_needed, shares_needed
from mo_interp.bench.parts import CURES, PARTS, Part
from mo_interp.bench.running import OUT, Bench, gather, jobs, plan
from mo_interp.bench.scores import false_alarms, scores

__all__ = [
    "CURES",
    "OUT",
    "PARTS",
    "Bench",
    "Part",
    "false_alarms",
    "gather",
    "jobs",
    "plan",
    "rows_needed",
    "scores",
    "seeds_needed",
    "shares_needed",
]
