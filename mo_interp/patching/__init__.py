"""Activation patching: put one run's activations into its partner's, and see what the answer does.

For each pair of prompts there are two runs, clean and triggered, and one number at the read-out,
the *logit difference* ``ld = logit(planted answer) - logit(truth)``. A cell patches one site at one
position, and its **effect** says how far that carries ``ld`` from the run that is patched to the
one that is patched in (the two directions answer different questions, arXiv 2404.15255):

=========  ==================  ==============================================  ================
direction  patched into        effect                                          1 means
=========  ==================  ==============================================  ================
denoising  clean -> triggered  (ld_trig - ld_patched) / (ld_trig - ld_clean)   the lie is gone
noising    triggered -> clean  (ld_patched - ld_clean) / (ld_trig - ld_clean)  the lie is there
=========  ==================  ==============================================  ================

Each is a mean over pairs divided by a mean over pairs, with an interval by entity. Denoising finds
what is enough to end the lie, noising what is enough to cause it. A cell whose source equals what
it replaces, or that cannot reach the read-out, is exactly 0 and says *unchanged*. Logit differences
rather than probabilities because those saturate (arXiv 2309.16042).

:func:`plan` says what a sweep will cost, :func:`sweep` runs it (:mod:`.suffix` says what makes it
fast; ``exhaustive=True`` is the slow way, equal to 1e-5), :func:`score` holds it against a
:class:`~mo_interp.circuits.Circuit`.
"""

from mo_interp.patching.cells import By, Cell, Direction, Metric, Plan, Sweep
from mo_interp.patching.scoring import parts, score
from mo_interp.patching.sweeping import plan, sweep

patch = sweep

__all__ = [
    "By",
    "Cell",
    "Direction",
    "Metric",
    "Plan",
    "Sweep",
    "parts",
    "patch",
    "plan",
    "score",
    "sweep",
]
