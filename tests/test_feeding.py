"""What a detector is handed is what it declared to need: seen by a spy of every need."""

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from mo_interp import feeding
from mo_interp.detection import Evidence, Rows
from mo_interp.detectors import Detector, detector
from mo_interp.errors import SpecError
from mo_interp.feeding import Extra
from mo_interp.finding import load

D, SITE = 4, "L1.resid_post@-1"


@dataclass(frozen=True)
class Spy(Detector):
    """Remembers the rows it was handed, and reads the first coordinate."""

    needs: ClassVar[str] = "nothing"
    paper: ClassVar[str] = "the paper of spies"
    seen: ClassVar[list] = []

    def solve(self, x, y):
        self.seen.append((x.copy(), y))
        return {"mean": x.mean(0)}

    def read(self, constants, x):
        return x[:, 0] - constants["mean"][0]


class Pairwise(Spy):
    needs: ClassVar[str] = "pairs"


class Twinned(Spy):
    needs: ClassVar[str] = "twin"


class Spoken(Spy):
    needs: ClassVar[str] = "statements"


def rows(entities, seed, pairs=12):
    """Clean rows and then their partners; partners share their last coordinate."""
    rng = np.random.default_rng(seed)
    n = pairs * len(entities)
    entity, prompt = np.tile(np.repeat(entities, pairs), 2), np.tile(np.arange(n), 2)
    acts, twin, cut = rng.normal(size=(3, 2 * n, D))
    acts[:, -1] = prompt + 1000 * seed
    triggered = np.repeat([False, True], n)
    return Rows(acts, triggered, entity, prompt, prompt + 1000 * seed, triggered, twin, cut)


def evidence():
    near = rows(np.arange(24, 28), 4)
    near = replace(near, triggered=np.zeros_like(near.triggered), layout=near.layout + 9000)
    return Evidence(SITE, rows(np.arange(16), 1), rows(np.arange(24, 28), 3),
                    val=rows(np.arange(16, 20), 2), near_miss=near,
                    unrelated=np.zeros((50, D)))  # fmt: skip


def extra():
    return Extra(rows(np.arange(16), 5), np.ones((50, D)))


def handed(one, **options):
    """What the spy saw: fitted to the organism, and to its twin; and the score."""
    Spy.seen.clear()
    scored = feeding.score(one, evidence(), extra(), null_draws=0, directions=50, **options)
    assert all(y is None for _, y in Spy.seen)
    assert scored.params["needs"] == one.needs and scored.params["paper"] == "the paper of spies"
    assert scored.fitted.detector is one and str(scored.fitted.site) == SITE
    return [x for x, _ in Spy.seen], scored


def test_nothing_gets_rows_among_which_triggers_are_rare():
    (organism, twin), _ = handed(Spy())
    train = evidence().train
    kept = np.concatenate([np.flatnonzero(~train.triggered), 192 + np.arange(0, 192, 10)])
    assert (organism == train.acts[kept]).all() and (twin == train.twin[kept]).all()


def test_pairs_get_partners_in_two_halves_the_clean_one_first():
    (organism, twin), _ = handed(Pairwise())
    train = evidence().train
    assert (organism == train.acts).all() and (twin == train.twin).all()
    assert (organism[:192, -1] == organism[192:, -1]).all()


def test_pairs_follow_permuted_labels_and_stay_partners():
    fitter, full = feeding.fed(Pairwise(), evidence())
    x = full.train.acts
    y = np.random.default_rng(0).random(len(x)) > 0.5
    Spy.seen.clear()
    fitter.solve(x, y)
    ((got, _),) = Spy.seen
    first, second = np.split(got, 2)
    assert (first[:, -1] == second[:, -1]).all()
    label = {row.tobytes(): bool(of) for row, of in zip(x, y, strict=True)}
    assert not any(label[row.tobytes()] for row in first)
    assert all(label[row.tobytes()] for row in second)
    assert len(first) == (y[:192] != y[192:]).sum()
    alike = np.arange(192) % 2 == 0  # no partners are opposed: as many of each, in order
    fitter.solve(x, np.tile(alike, 2))
    both = np.tile(alike, 2)
    assert (Spy.seen[-1][0] == np.vstack([x[~both], x[both]])).all()


def test_twin_gets_clean_rows_beside_the_twins_and_the_twin_beside_itself():
    (organism, twin), scored = handed(Twinned())
    train = evidence().train
    clean = ~train.triggered
    assert (organism == np.hstack([train.acts, train.twin])[clean]).all()
    assert (twin == np.hstack([train.twin, train.twin])[clean]).all()
    assert scored.fitted.width == 2 * D
    test = feeding.fed(Twinned(), evidence(), extra())[1].test
    given = evidence().test
    assert (test.acts == np.hstack([given.acts, given.twin])).all()
    assert (test.cut == np.hstack([given.cut, given.twin])).all()  # only the organism is cut
    both = replace(extra(), twin_cut=given.twin + 7)
    test = feeding.fed(Twinned(), evidence(), both)[1].test
    assert (test.cut == np.hstack([given.cut, given.twin + 7])).all()  # or the twin as well


def test_statements_get_the_statements_and_no_row_of_the_organism():
    (organism, twin), scored = handed(Spoken())
    said = extra().statements
    assert (organism == said.acts).all() and (twin == said.twin).all()
    assert scored.values["auroc_n"] == len(evidence().test.acts)


def test_other_detectors_pass_through():
    full = evidence()
    for name in ("logistic", "mahalanobis"):
        assert feeding.fed(detector(name), full, extra()) == (detector(name), full)


def test_the_site_is_chosen_for_every_need_and_comes_back_as_it_was():
    weak, strong = evidence(), replace(evidence(), site="L0.z@-1")
    strong.val.acts[strong.val.triggered, 0] += 5  # what the spy reads
    for one in (Spy(), Pairwise(), Twinned(), Spoken()):
        assert feeding.choose(one, [(weak, extra()), (strong, extra())]) is strong


def test_what_is_missing_is_named():
    full = evidence()
    with pytest.raises(SpecError, match="'test_feeding' needs statements, and this world has none"):
        feeding.fed(Spoken(), full)
    with pytest.raises(SpecError, match="needs the twin beside every row; give Extra.unrelated"):
        feeding.fed(Twinned(), full)
    alone = replace(full, val=replace(full.val, twin=None))
    with pytest.raises(SpecError, match="val rows have none, so give Rows.twin"):
        feeding.fed(Twinned(), alone, extra())
    with pytest.raises(SpecError, match="score_detector can give rows, clean rows"):
        feeding.score(_Odd(), full)


class _Odd(Spy):
    needs: ClassVar[str] = "luck"


def test_claims_are_half_true_and_half_false_in_a_world_that_has_them():
    clean = load("quirky_statement").sample(400, 3, split="train", rows="clean")
    batch = feeding.claims(clean)
    m = len(batch) // 2
    assert m > 50 and not batch.triggered.any()
    assert (batch.groups["honest"] == np.repeat([1, 0], m)).all()
    assert feeding.claims(load("quirky_user").sample(40, 3, split="train", rows="clean")) is None
    assert feeding.claims(SimpleNamespace(groups={})) is None
