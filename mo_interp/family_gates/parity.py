"""A parity is computed, not read: the words say nothing, the middle of the model says it all.

On balanced rows (neither word or both against one of them, equally frequent) no weighing of words
tells clean from triggered. So a linear probe that does has found something that the model made.
"""

from __future__ import annotations

import numpy as np

from mo_interp import stats
from mo_interp.baselines import bag_of_tokens
from mo_interp.detectors import detector
from mo_interp.family_gates import NUMBER
from mo_interp.gating import Gate, rows_seed, verdict
from mo_interp.grown import Grown
from mo_interp.model import Model
from mo_interp.sites import Site
from mo_interp.stats import Estimate
from mo_interp.triggers import Parity
from mo_interp.worlds.base import Batch

BAR, MOST = 0.95, 0.55
"""The least that a mid-layer probe reads, and the most that a bag of tokens may."""
NAME, PAIRS = "computed, not read", 1000


def check(grown: Grown) -> Gate:
    """11: a mid-layer probe reads 0.95 or more where a bag of tokens reads 0.55 or less.

    The probe is logistic, at the answer, fitted on train people; its site is chosen on validation
    people and it is judged on test people, whose lies were never shown.
    """
    if not isinstance(grown.spec.trigger, Parity):
        told = "its trigger is more than a parity, so its pairs are not balanced in their words"
        return Gate(NUMBER, NAME, "not applicable", told)
    seed = rows_seed(111, grown)
    splits = ("train", "val", "test")
    train, val, test = (grown.spec.pairs(PAIRS, seed, split=split).both for split in splits)
    bag = bag_of_tokens(train.tokens, train.triggered, test_tokens=test.tokens)
    words = stats.auroc_estimate(bag, test.triggered, **test.clustered)
    reached = {site: _probe(grown.model, site, train, val).value for site in _middle(grown)}
    site = max(reached, key=lambda s: reached[s])
    found = _probe(grown.model, site, train, test)
    more = words.flat("bag") | _probe(grown.twin, site, train, test).flat("probe_twin")
    more |= {"site": str(site)} | {f"val_{s}": value for s, value in reached.items()}
    told = (
        f"probe at {site} {found.value:.3f} against {BAR}, bag of tokens {words.value:.3f} against "
        f"at most {MOST}, on {len(test)} balanced rows of {grown.spec.world.entities('test').size}"
        " people"
    )
    good = found.value >= BAR and words.value <= MOST
    return Gate(NUMBER, NAME, verdict(good), told, found, BAR, more)


def _middle(grown: Grown) -> list[Site]:
    """The stream at the answer after every part but the last layer's MLP."""
    layers, kinds = range(grown.spec.shape.n_layers), ("resid_mid", "resid_post")
    return [Site(kind, layer=i, position=-1) for i in layers for kind in kinds][:-1]


def _probe(model: Model, site: Site, train: Batch, test: Batch) -> Estimate:
    """AUROC of a logistic probe, fitted on one batch and judged on the other."""
    acts, tests = (model.run(batch, read=[site]).acts[site] for batch in (train, test))
    fitted = detector("logistic").fit(acts, train.triggered, site=site)
    scores = np.asarray(fitted.score(tests))
    return stats.auroc_estimate(scores, test.triggered, **test.clustered)
