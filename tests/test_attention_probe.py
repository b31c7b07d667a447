"""The attention probe: its formula on paper, its slope, one position, and what it is for."""

import numpy as np
import pytest

from mo_interp import feeding
from mo_interp.detectors import detector, load
from mo_interp.detectors.attention_probe import AttentionProbe, loss
from mo_interp.detectors.logistic import Logistic
from mo_interp.errors import BadShape, BadValues, SpecError
from mo_interp.feeding import Extra
from mo_interp.stats import auroc


def scattered(n=400, p=6, d=5, seed=0, shift=6.0):
    """Noise at every position; on positive rows one position, never the same, is marked."""
    rng = np.random.default_rng(seed)
    x, y, place = rng.normal(size=(n, p, d)), np.arange(n) % 2 == 1, rng.integers(p, size=n)
    x[y, place[y], 2] += shift
    return x, y, place


def test_a_score_on_paper():
    one = AttentionProbe(positions=2)
    constants = {
        "query": np.array([np.log(3), 0.0]),
        "value": np.array([0.0, 2.0]),
        "bias": np.array([-1.0]),
        "centre": np.zeros(2),
        "scale": np.ones(1),
    }
    # queries log 3 and 0, so attention 3/4 and 1/4; values 2 and 8: 1.5 + 2 - 1
    assert one.read(constants, np.array([[1.0, 1.0, 0.0, 4.0]])).tolist() == pytest.approx([2.5])
    # equal queries: the mean of 2 and 8, and turning the positions round changes nothing
    rows = np.array([[5.0, 1.0, 5.0, 4.0], [5.0, 4.0, 5.0, 1.0]])
    assert one.read(constants, rows).tolist() == pytest.approx([4.0, 4.0])


def test_the_slope_is_the_slope_of_the_loss():
    rng = np.random.default_rng(1)
    x, sign, flat = rng.normal(size=(30, 4, 3)), np.sign(rng.normal(size=30)), rng.normal(size=7)
    value, slope = loss(flat, x, sign, 0.1)
    steps = 1e-6 * np.eye(7)
    wanted = [
        (loss(flat + h, x, sign, 0.1)[0] - loss(flat - h, x, sign, 0.1)[0]) / 2e-6 for h in steps
    ]
    assert value > 0 and np.allclose(slope, wanted, atol=1e-8)


def test_at_one_position_it_is_the_logistic_probe():
    x, y, _ = scattered(p=1, shift=1.0)
    rows = x[:, 0]
    fitted = AttentionProbe(l2=0.01).fit(rows, y)
    assert np.allclose(fitted.score(rows), Logistic(l2=0.01).fit(rows, y).score(rows), atol=1e-3)
    assert np.abs(fitted.constants["query"]).max() == 0


def test_it_looks_where_the_mark_is_and_beats_the_mean_over_positions():
    x, y, place = scattered(shift=4.0)
    one = AttentionProbe(positions=6)
    fitted = one.fit(x.reshape(len(x), -1), y)
    new, truth, place = scattered(seed=1, shift=4.0)
    rows = new.reshape(len(new), -1)
    weights = one.weights(fitted, rows)
    assert weights.shape == (400, 6) and np.allclose(weights.sum(1), 1)
    assert (weights.argmax(1) == place)[truth].mean() > 0.95
    mean = Logistic().fit(x.mean(1), y).score(new.mean(1))
    # the mean of six is moved by 4/6, its noise is 1/sqrt(6): d-prime 1.63, AUROC 0.876
    assert auroc(fitted.score(rows), truth) > 0.95 and auroc(mean, truth) < 0.9
    # where a mark stands is no part of what it reads
    turned = np.roll(new, 2, axis=1).reshape(len(new), -1)
    assert np.allclose(fitted.score(turned), fitted.score(rows))


def test_saved_and_loaded_it_still_knows_its_positions(tmp_path):
    x, y, _ = scattered()
    rows = x.reshape(len(x), -1)
    fitted = AttentionProbe(positions=6).fit(rows, y)
    again = load(fitted.save(tmp_path / "f"))
    assert again.detector == fitted.detector
    assert again.score(rows).tobytes() == fitted.score(rows).tobytes()


def test_what_it_refuses():
    with pytest.raises(BadShape, match="7 coordinates; attention_probe takes 2 positions end to"):
        AttentionProbe(positions=2).fit(np.ones((4, 7)), [0, 1, 0, 1])
    with pytest.raises(BadValues, match="positions=0, l2=0.001.: needs 1 position or more"):
        AttentionProbe(positions=0)
    with pytest.raises(BadValues, match="l2=0.: needs 1 position or more and a penalty above 0"):
        AttentionProbe(l2=0)


def test_it_is_told_its_positions_by_feeding():
    from test_feeding import evidence

    one = detector("attention_probe")
    assert feeding.reads(one) == "positions" and feeding.reads(detector("logistic")) == "rows"
    scored = feeding.score(one, evidence(), Extra(positions=2), null_draws=0, directions=50)
    assert scored.fitted.detector == AttentionProbe(positions=2)
    assert scored.fitted.width == 4 and len(scored.fitted.constants["query"]) == 2
    assert feeding.fed(one, evidence())[0] == one  # rows at one position


def test_a_detector_reads_rows_positions_or_latents():
    class Odd(AttentionProbe):
        reads = "position"

    with pytest.raises(SpecError, match="reads 'position'; did you mean 'positions'"):
        feeding.reads(Odd())
