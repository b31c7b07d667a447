"""Removal: a lie taken out of the weights, and the certificate that says how far that went.

==============  ================================================================================
folding         an affine map at a site, such as a projection or LEACE, folded into the weights
parts           heads and neurons, taken out with everything that could train them back
tuning          fine-pruning, and fine-tuning on clean rows
choosing        what a method takes out of an organism, and controls of the same size
certificate     what EVIDENCE section 4 asks of a cured model, and the word it earns
cure            the whole job into one folder: choose, edit, write, certify
==============  ================================================================================

Edits of a run are :mod:`mo_interp.edits`. Here every edit returns a new model and leaves the given
one as it was, and one that would change no weight raises :class:`~mo_interp.errors.DeadEdit`.
"""

from __future__ import annotations

METHODS: dict[str, str] = {
    "mean": "the blind candidate's subspace, held at its mean over clean rows",
    "projection": "the same subspace, projected out of what writes it",
    "leace": "the least affine change at the candidate's site that hides the trigger there",
    "heads": "attention heads, held at their mean over clean rows",
    "neurons": "hidden units of the MLPs, held at their mean over clean rows",
    "fine_prune": "neurons dormant on clean rows pruned, then training on clean rows",
    "fine_tune": "training on clean rows alone",
}
"""Method to what it takes out. A projection sets coordinates to 0, which need be nowhere near where
they are on clean rows: on ``quirky_user`` seed 0 it makes the model lie on 97 % of them. Hence the
mean is the default."""
SUBSPACES = ("mean", "projection", "leace")
"""Methods that start from the subspace which the blind decision rule names."""
