"""Localisation without a run a cell: gradients, relevance, edges, direct shares; exact paths.

=====================  ===============================================  ===========================
verb                   answers                                          costs a direction
=====================  ===============================================  ===========================
:func:`attribute`      what patching a site would do, to first order    2 forwards, 1 backward
                       or integrated over ``steps`` points              and ``steps`` of each
:func:`relevance`      the same by rules of relevance (RelP)            2 forwards, 1 backward
:func:`eap`            what patching an edge would do; with ``steps``   2 forwards, 1 backward
                       EAP-IG                                           and ``steps`` of each
:func:`path_patch`     what patching an edge does, exactly              1 forward an edge
:func:`acdc`           which edges are missed when taken one by one     1 forward an edge and tau
:func:`direct`         how each part's own share of the logits differs  2 forwards
:func:`decompose`      a logit difference as a sum over parts, exactly  1 forward
:func:`logit_lens`     what each layer's stream would say               1 forward
=====================  ===============================================  ===========================

Sites, cells, effects, units and intervals are those of :mod:`mo_interp.patching`, so
:func:`~mo_interp.patching.score` scores them against a circuit (with a random ranking and the norm
of the weights beside), and :func:`agreement` holds them against the sweep itself. Each file says
when its method is known to fail; ``probes/gradient_against_sweep.py`` measures it.
"""

from mo_interp.attribution.acdc import acdc, against, planted_edges
from mo_interp.attribution.agreeing import agreement
from mo_interp.attribution.direct import Direct, Lens, decompose, direct, logit_lens
from mo_interp.attribution.edges import Edge, EdgeCell, Edges, all_edges, eap
from mo_interp.attribution.paths import path_patch
from mo_interp.attribution.relp import relevance
from mo_interp.attribution.taylor import attribute

__all__ = [
    "Direct",
    "Edge",
    "EdgeCell",
    "Edges",
    "Lens",
    "acdc",
    "against",
    "agreement",
    "attribute",
    "decompose",
    "direct",
    "eap",
    "all_edges",
    "logit_lens",
    "path_patch",
    "planted_edges",
    "relevance",
]
