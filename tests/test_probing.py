"""Probes at all sites at once are the probes one by one, and so are random directions."""

import numpy as np
import pytest

from mo_interp.baselines import random_directions
from mo_interp.detectors.logistic import Logistic
from mo_interp.errors import BadLabels, BadShape, BadValues
from mo_interp.probing import fit_many, random_aurocs
from mo_interp.stats import auroc


def stacked(n=160, sites=5, d=9, seed=0):
    """Sites of unlike scale and mean: one reads much, one separates, one nothing at all."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3 == 1)
    x = rng.normal(size=(n, sites, d)) * np.linspace(0.2, 3, d)
    x += y[:, None, None] * np.linspace(0.1, 1, sites)[:, None]
    x[:, 1] += 40 * y[:, None]  # separable
    x[:, 2] = 100 + 1e-3 * x[:, 2]
    x[:, 3] = rng.normal(size=d)  # every row alike, as at a prompt's first token
    return x, y


@pytest.mark.parametrize("l2", [1e-3, 1.0])
def test_every_site_is_the_probe_that_is_fitted_alone(l2):
    x, y = stacked()
    many = fit_many(x, y, l2=l2, tolerance=1e-9)
    new = stacked(seed=1)[0]
    scores = many.score(new)
    assert scores.shape == (160, 5) and many.slope.max() < 1e-9
    for site in (0, 1, 2, 4):  # at 3 the one alone fits the rounding of its mean
        alone = Logistic(l2=l2).fit(x[:, site], y)
        assert np.allclose(many.directions[site], alone.constants["weight"], rtol=1e-5, atol=1e-7)
        assert np.allclose(scores[:, site], alone.score(new[:, site]), rtol=1e-5, atol=1e-5)


def test_it_ranks_as_a_loop_of_scikit_learn_does():
    from sklearn.linear_model import LogisticRegression

    x, y = stacked(n=400)
    new, truth = stacked(n=400, seed=1)
    many = fit_many(x, y, l2=1e-2).score(new)
    for site in (0, 1, 4):
        rows = x[:, site] - x[:, site].mean(0)
        scale = np.sqrt((rows**2).mean())
        theirs = LogisticRegression(C=1 / (400 * 1e-2)).fit(rows / scale, y)
        scores = theirs.decision_function((new[:, site] - x[:, site].mean(0)) / scale)
        assert abs(auroc(many[:, site], truth) - auroc(scores, truth)) < 0.002


def test_classes_of_equal_means_have_no_direction_and_the_log_odds_of_their_numbers():
    x, y = stacked()
    many = fit_many(x, y)
    assert not many.directions[3].any()
    assert many.bias[3] == pytest.approx(np.log(y.sum() / (~y).sum()))
    pairs = np.concatenate([x[:, :1], x[:, :1]])  # partners that are alike, read before the trigger
    alike = fit_many(pairs, np.repeat([False, True], len(x)))
    assert np.allclose(alike.directions, 0) and np.allclose(alike.bias, 0)


def test_blocks_and_types_change_nothing(monkeypatch):
    import torch

    x, y = stacked()
    whole = fit_many(x, y, tolerance=1e-8)
    monkeypatch.setattr("mo_interp.probing._BLOCK", 1)
    parts = fit_many(torch.as_tensor(x), torch.as_tensor(y), tolerance=1e-8)
    assert np.allclose(parts.directions, whole.directions, rtol=1e-4, atol=1e-7)
    single = fit_many(x.astype(np.float32), y, tolerance=1e-8)
    assert np.allclose(single.score(x), whole.score(x), atol=0.02)


def test_rows_that_cannot_be_fitted():
    x, y = stacked()
    with pytest.raises(BadShape, match=r"shape \[160, 9\]; \[batch, site, coordinates\]"):
        fit_many(x[:, 0], y)
    with pytest.raises(BadLabels, match="both classes are needed"):
        fit_many(x, np.ones(160, bool))
    with pytest.raises(BadValues, match="Logistic.l2=0"):
        fit_many(x, y, l2=0)
    broken = x.copy()
    broken[3, 2, 1] = np.nan
    with pytest.raises(BadValues, match="site 2 holds a NaN"):
        fit_many(broken, y)
    with pytest.raises(BadShape, match=r"acts: \[4, 9\] sites and coordinates; .* \[5, 9\]"):
        fit_many(x, y).score(x[:, :4])
    with pytest.raises(BadValues, match="did not settle"):
        fit_many(x, y, tolerance=0)


def test_random_directions_are_those_of_the_baseline():
    rng = np.random.default_rng(0)
    y = np.arange(300) % 2 == 1
    x = rng.normal(size=(300, 8)) + 0.5 * y[:, None]
    new = rng.normal(size=(300, 8)) + 0.5 * y[:, None]
    slow = random_directions(x, y, test_acts=new, test_y=y, n=200, seed=3).aurocs
    fast = random_aurocs(x, y, test_acts=new, test_y=y, n=200, seed=3)
    assert np.abs(fast - slow).max() < 1e-4
    round_ = np.round(new)  # many rows alike: ties count half
    few = round_[:, :1] > 0
    slow = random_directions(few, y, test_acts=few, test_y=y, n=20, seed=3).aurocs
    fast = random_aurocs(few, y, test_acts=few, test_y=y, n=20, seed=3)
    assert np.allclose(fast, slow)
