"""Testing a hypothesis about a circuit, for any set of sites or of edges.

======================  ==========================================================================
verb                    asks of a set of units
======================  ==========================================================================
:func:`faithfulness`    do they carry the behaviour, with all else as in the partner run?
:func:`kept`            the same, with random sets of equal size beside
:func:`curve`           how much do the first k of a ranking carry, for every k?
:func:`completeness`    does the set break as the whole model does, when parts of it are taken?
:func:`minimality`      is each member needed, next to some of the others?
:func:`interchange`     does the answer follow the planted variable when they alone are swapped?
:func:`scrub`           is the behaviour kept when all that is *not* claimed is replaced at random?
======================  ==========================================================================

A ranking says which parts matter most; none of these. A set can be faithful and not complete (a
second route is left out), complete and not minimal (it holds everything), and all three and wrong
about what its parts carry, which is what the last two ask. Each result has an interval by entity,
random sets of equal size beside it, and can be asked of the twin (``of``, or ``model="twin"``).

Runs, units and the rule for what does nothing are those of
:mod:`mo_interp.attribution.subgraphs`.
"""

from mo_interp.attribution.subgraphs import Graph, Unit, everything, graph
from mo_interp.hypotheses.curves import (
    Completeness,
    Curve,
    Keeping,
    Kept,
    Member,
    Minimality,
    completeness,
    curve,
    faithfulness,
    kept,
    minimality,
    ordered,
)
from mo_interp.hypotheses.interchange import Interchange, interchange
from mo_interp.hypotheses.scrubbing import COMPUTED, Scrubbed, scrub

__all__ = [
    "COMPUTED",
    "Completeness",
    "Curve",
    "Graph",
    "Interchange",
    "Keeping",
    "Kept",
    "Member",
    "Minimality",
    "Scrubbed",
    "Unit",
    "completeness",
    "curve",
    "everything",
    "faithfulness",
    "graph",
    "interchange",
    "kept",
    "minimality",
    "ordered",
    "scrub",
]
