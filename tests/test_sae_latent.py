"""The SAE-latent probe: what is chosen on paper, the encoder against sae-lens, and the feeding."""

import numpy as np
import pytest
import torch

from mo_interp import feeding, saes
from mo_interp.detectors import detector, load
from mo_interp.detectors.sae_latent import (
    SaeLatent,
    apart,
    encode,
    encoded_fit,
    random_encoders,
)
from mo_interp.errors import BadShape, BadValues, SpecError
from mo_interp.feeding import Extra
from mo_interp.stats import auroc


def on_paper(k=0, threshold=0.0):
    """An encoder of three units: x, -x and y - 1."""
    weights = np.array([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
    told = {"encoder": weights, "encoder_bias": np.array([0.0, 0.0, -1.0])}
    return {**told, "encoder_threshold": np.full(3, threshold), "encoder_k": np.array([float(k)])}


def test_units_on_paper():
    rows = np.array([[2.0, 4.0], [-3.0, 0.5], [0.5, 1.25]])
    assert encode(on_paper(), rows).tolist() == [[2, 0, 3], [0, 3, 0], [0.5, 0, 0.25]]
    assert encode(on_paper(k=1), rows).tolist() == [[0, 0, 3], [0, 3, 0], [0.5, 0, 0]]
    assert encode(on_paper(k=3), rows).tolist() == encode(on_paper(), rows).tolist()
    assert encode(on_paper(threshold=2.5), rows).tolist() == [[0, 0, 3], [0, 3, 0], [0, 0, 0]]
    with pytest.raises(BadShape, match="acts: 3 coordinates; this encoder reads 2"):
        encode(on_paper(), np.ones((2, 3)))


def test_the_unit_whose_means_lie_furthest_apart_is_taken_and_a_still_one_never():
    y = np.array([False, False, True, True])
    units = np.array([[0.0, 5, 0, 1], [1, 5, 10, 1], [4, 5, 10, 0], [5, 5, 0, 0]])
    # means 0.5 and 4.5, spread sqrt(4.25); still; equal means; 1 and 0, spread one half
    assert apart(units, y).tolist() == pytest.approx([4 / np.sqrt(4.25), 0, 0, 2])
    fitted = SaeLatent(units=1).fit(units, y)
    assert fitted.constants["chosen"].tolist() == [3] and fitted.constants["weight"][0] < 0
    assert auroc(fitted.score(units), y) == 1
    assert SaeLatent(units=2).fit(units, y).constants["chosen"].tolist() == [3, 0]


def test_one_unit_ranks_rows_as_the_unit_does_and_few_read_what_one_cannot():
    rng = np.random.default_rng(0)
    y = np.arange(600) % 2 == 1
    x = rng.normal(size=(600, 20))
    x[:, [4, 9]] += 1.5 * y[:, None]
    one, two = (SaeLatent(units=k).fit(x, y) for k in (1, 2))
    (chosen,) = one.constants["chosen"].astype(int)
    assert chosen in (4, 9) and set(two.constants["chosen"]) == {4, 9}
    assert (one.score(x).argsort() == x[:, chosen].argsort()).all()
    assert auroc(two.score(x), y) > auroc(one.score(x), y) + 0.05


@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_the_encoder_is_that_of_the_sae(architecture):
    rows = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0)) + 1
    sae = saes.train_sae(
        rows, site="L0.resid_post@-1", model_key="none", data_seed=0, architecture=architecture,
        d_sae=24, k=3, steps=60, batch=64,
    )  # fmt: skip
    wanted = sae.latents(rows).double().numpy()
    got = encode(sae.encoder, rows.double().numpy())
    assert wanted.any() and (wanted == 0).any()
    near = np.isclose(got, wanted, atol=1e-4)  # a unit just at the gate may go either way
    assert near.mean() > 0.9999


def test_through_an_encoder_it_is_complete_in_itself(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2 == 1
    x = rng.normal(size=(200, 2)) + 3 * y[:, None] * [0, 1]
    fitted = encoded_fit(SaeLatent(units=1), on_paper(), x, y)
    assert fitted.constants["chosen"].tolist() == [2] and fitted.width == 2
    unit = np.maximum(x[:, 1] - 1, 0)
    told = fitted.constants["weight"][0] * unit + fitted.constants["bias"]
    assert np.allclose(fitted.score(x), told)
    assert load(fitted.save(tmp_path / "f")).score(x).tobytes() == fitted.score(x).tobytes()


def test_feeding_hands_it_the_encoder_and_everyone_else_the_activations():
    from test_feeding import D, evidence

    one, full = detector("sae_latent"), evidence()
    flip = np.hstack([np.eye(D), -np.eye(D)])
    encoder = {"encoder": flip, "encoder_bias": np.zeros(2 * D)}
    encoder |= {"encoder_threshold": np.zeros(2 * D), "encoder_k": np.zeros(1)}
    scored = feeding.score(one, full, Extra(encoder=encoder), null_draws=5, directions=50)
    assert scored.fitted.detector is one and scored.fitted.width == D
    alone = encoded_fit(one, encoder, full.train.acts, full.train.triggered)
    assert np.allclose(scored.fitted.score(full.test.acts), alone.score(full.test.acts))
    plain = feeding.score(detector("logistic"), full, null_draws=0, directions=50)
    assert scored.values["random_p95"] == plain.values["random_p95"]
    fitter, rows = feeding.fed(one, full, Extra(encoder=encoder))
    labels = np.stack([full.train.triggered, ~full.train.triggered]).astype(float)
    many = fitter.score_many(rows.train.acts, labels, rows.test.acts)
    assert np.allclose(many[0], alone.score(full.test.acts))
    assert feeding.fed(one, full) == (one, full)  # without one, the coordinates are the units

    class Shy(SaeLatent):
        needs = "clean"

    with pytest.raises(SpecError, match="reads latents and needs clean; latents are given to"):
        feeding.fed(Shy(), full, Extra(encoder=encoder))


def test_a_random_dictionary_is_as_wide_and_as_sparse_and_learned_nothing():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 8)) + 5
    like = {"encoder": rng.normal(size=(8, 40)), "encoder_bias": np.zeros(40)}
    like |= {"encoder_threshold": np.full(40, 12.0), "encoder_k": np.zeros(1)}
    found, again, other = random_encoders(like, rows, [3, 3, 4])
    wanted = round(float((encode(like, rows) > 0).sum(1).mean()))
    assert found["encoder"].shape == (8, 40) and 1 < wanted < 20
    assert ((encode(found, rows) > 0).sum(1) == wanted).all()
    assert np.allclose((rows @ found["encoder"] + found["encoder_bias"]).mean(0), 0)
    assert (again["encoder"] == found["encoder"]).all()
    assert not np.allclose(other["encoder"], found["encoder"])


def test_beside_latents_stand_random_dictionaries_refitted():
    from test_feeding import D, evidence

    full, rng = evidence(), np.random.default_rng(1)
    encoder = {"encoder": rng.normal(size=(D, 5 * D)), "encoder_bias": np.zeros(5 * D)}
    encoder |= {"encoder_threshold": np.zeros(5 * D), "encoder_k": np.array([4.0])}
    one = SaeLatent(units=2)
    told = feeding.score(one, full, Extra(encoder=encoder), null_draws=0, directions=50, seed=6)
    by_hand, seeds = [], [[45, 6, draw] for draw in range(49)]
    for drawn in random_encoders(encoder, full.train.acts, seeds):
        fitted = encoded_fit(one, drawn, full.train.acts, full.train.triggered)
        by_hand.append(auroc(fitted.score(full.test.acts), full.test.triggered))
    assert told.values["random_dictionary_n"] == len(by_hand) == 49
    assert told.values["random_dictionary_best"] == pytest.approx(max(by_hand))
    assert told.values["random_dictionary_p95"] == pytest.approx(np.quantile(by_hand, 0.95))
    # choosing among many is an advantage that no direction drawn at random has
    assert told.values["random_dictionary_median"] > told.values["random_median"]
    plain = feeding.score(one, full, null_draws=0, directions=50)
    assert "random_dictionary_n" not in plain.values


def test_what_it_refuses():
    with pytest.raises(BadValues, match="units=0, l2=0.001.: needs 1 unit or more"):
        SaeLatent(units=0)
    with pytest.raises(BadValues, match="l2=-1.: needs 1 unit or more and a penalty above 0"):
        SaeLatent(l2=-1)
