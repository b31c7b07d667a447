"""One battery for every file in the detectors folder, the theorems of each, and the baselines."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from scipy.stats import norm

from mo_interp.baselines import bag_of_tokens, output_baselines, random_directions
from mo_interp.detectors import detector, load, names
from mo_interp.detectors.logistic import Logistic
from mo_interp.detectors.mahalanobis import Mahalanobis
from mo_interp.errors import (
    BadLabels,
    BadShape,
    BadValues,
    CorruptArtefact,
    NoFeature,
    SpecError,
    UnknownName,
)
from mo_interp.stats import auroc

SITE = "L1.resid_post@-1"
D = 12
every = pytest.mark.parametrize("name", names())


def rows(n=200, d=D, shift=3.0, seed=0):
    """Unequal variances, two classes; positives are moved along a direction of many coordinates."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2 == 1
    x = rng.normal(size=(n, d)) * np.linspace(0.5, 2, d) + 1
    return x + shift * y[:, None] * np.linspace(1, -1, d), y


def fit(name, x, y, site=None):
    """Fit with what the detector may see."""
    one = detector(name)
    return one.fit(x, y, site=site) if one.needs == "labels" else one.fit(x[~y], site=site)


def test_the_folder_holds_the_shipped_ones():
    assert {"diff_means", "logistic", "mahalanobis"} <= set(names())
    assert not {"base", "__init__"} & set(names())


# ------------------------------------------------------------------------------------- the battery


@every
def test_fitting_twice_is_fitting_once(name):
    x, y = rows()
    before = x.copy()
    a, b = fit(name, x, y), fit(name, x, y)
    assert a.constants.keys() == b.constants.keys()
    assert all(a.constants[k].tobytes() == b.constants[k].tobytes() for k in a.constants)
    assert a.score(x).tobytes() == b.score(x).tobytes()
    assert (x == before).all()


@every
def test_positive_rows_score_higher_and_one_by_one_or_at_once_is_the_same(name):
    x, y = rows()
    fitted, (new, truth) = fit(name, x, y), rows(seed=1)
    scores = fitted.score(new)
    assert scores.shape == (len(new),) and scores.dtype == np.float64
    assert auroc(scores, truth) > 0.9
    parts = np.concatenate([fitted.score(new[:7]), fitted.score(new[7:])])
    assert np.allclose(parts, scores, rtol=1e-10, atol=1e-10)


@every
def test_tensors_and_arrays_are_the_same_rows(name):
    x, y = rows()
    x = x.astype(np.float32)
    one = detector(name)
    tensors = (torch.as_tensor(x), torch.as_tensor(y))
    by_tensor = (
        one.fit(*tensors) if one.needs == "labels" else one.fit(tensors[0][~tensors[1]])
    )
    assert by_tensor.score(torch.as_tensor(x)).tobytes() == fit(name, x, y).score(x).tobytes()


@every
def test_it_is_frozen(name):
    fitted = fit(name, *rows())
    with pytest.raises(dataclasses.FrozenInstanceError):
        fitted.width = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        fitted.detector.needs = "labels"
    with pytest.raises(TypeError):
        fitted.constants["clean_mean"] = 0
    with pytest.raises(ValueError, match="read-only"):
        fitted.constants["clean_mean"][0] = 0


@every
def test_many_refits_at_once_are_single_refits(name):
    x, y = rows(shift=0.3)
    one, rng = detector(name), np.random.default_rng(5)
    labels = np.stack([y, *(rng.permutation(y) for _ in range(5))]).astype(float)
    many = one.score_many(x, labels, x[:50])
    for got, row in zip(many, labels, strict=True):
        alone = fit(name, x, row > 0.5).score(x[:50])
        # a shared shift of the scores ranks nothing differently
        assert np.allclose(got - got.mean(), alone - alone.mean(), rtol=1e-3, atol=1e-3)


@every
def test_saved_and_loaded_is_the_same(name, tmp_path):
    x, y = rows()
    fitted = fit(name, x, y, site=SITE)
    again = load(fitted.save(tmp_path / "f"))
    assert again.score(x).tobytes() == fitted.score(x).tobytes()
    assert (again.detector, again.site, again.width) == (fitted.detector, fitted.site, D)
    assert not list((tmp_path / "f").glob("*.pkl"))


@every
@pytest.mark.parametrize("harm", ["flip", "truncate", "edit", "add", "remove"])
def test_a_tampered_file_is_refused(name, harm, tmp_path):
    folder = fit(name, *rows()).save(tmp_path / "f")
    weights, about = folder / "constants.safetensors", folder / "detector.json"
    data = bytearray(weights.read_bytes())
    if harm == "flip":
        data[-1] ^= 1
        weights.write_bytes(data)
    elif harm == "truncate":
        weights.write_bytes(data[:-8])
    elif harm == "edit":
        about.write_text(json.dumps(json.loads(about.read_text()) | {"width": 3}))
    elif harm == "add":
        (folder / "more.json").write_text("{}")
    else:
        about.unlink()
    with pytest.raises(CorruptArtefact, match=str(folder)):
        load(folder)


@every
def test_its_feature_is_the_direction_it_reads(name):
    x, y = rows()
    with pytest.raises(NoFeature, match=f"{name} was fitted without a site"):
        fit(name, x, y).feature()
    fitted = fit(name, x, y, site=SITE)
    feature = fitted.feature()
    if fitted.detector.direction(fitted.constants) is None:
        assert feature is None
        return
    assert str(feature.site) == SITE and feature.source == name and feature.rank == 1
    assert torch.equal(feature.read, feature.write)
    assert float(feature.read.norm()) == pytest.approx(1, abs=1e-6)
    rows_as_tensor = torch.as_tensor(x, dtype=torch.float32)
    along = feature.coords(rows_as_tensor)[:, 0].numpy()
    assert np.corrcoef(along, fitted.score(x))[0, 1] == pytest.approx(1, abs=1e-5)
    assert float(feature.clean_mean) == pytest.approx(along[~y].mean(), abs=1e-4)
    assert float(feature.triggered_mean) == pytest.approx(along[y].mean(), abs=1e-4)
    assert feature.triggered_mean > feature.clean_mean


@every
def test_rows_that_cannot_be_read(name):
    x, y = rows()
    fitted = fit(name, x, y)
    for bad in (np.nan, np.inf):
        broken = x.copy()
        broken[4, 2] = bad
        with pytest.raises(BadValues, match="acts: 1 of 200 rows hold a NaN or an infinity, .* 4"):
            fitted.score(broken)
        with pytest.raises(BadValues, match="hold a NaN"):
            fit(name, broken, y)
    with pytest.raises(BadShape, match=r"shape \[200, 1, 12\]; \[rows, coordinates\] is needed"):
        fitted.score(x[:, None])
    with pytest.raises(BadShape, match=f"acts: 3 coordinates; {name} was fitted to rows of 12"):
        fitted.score(x[:, :3])
    with pytest.raises(BadLabels, match="acts: empty"):
        fitted.score(x[:0])
    with pytest.raises(BadLabels, match="acts: empty"):
        fit(name, x[:0], y[:0])


@every
def test_labels_it_cannot_or_may_not_see(name):
    x, y = rows()
    one = detector(name)
    if one.needs != "labels":
        with pytest.raises(BadLabels, match=f"{name} needs {one.needs}: .* no y"):
            one.fit(x, y)
        return
    with pytest.raises(BadLabels, match=f"{name} needs labels: give y"):
        one.fit(x)
    for same in (True, False):
        with pytest.raises(BadLabels, match=f"all 200 rows are {same}; both classes are needed"):
            one.fit(x, np.full(200, same))
    with pytest.raises(BadLabels, match=r"y: shape \[199\]; \[200\] is needed"):
        one.fit(x, y[:-1])
    with pytest.raises(BadLabels, match="y: row 1 is 2; True or False is needed"):
        one.fit(x, np.where(y, 2, 0))
    with pytest.raises(BadLabels, match="empty"):
        one.fit(x[:0], y[:0])


# ------------------------------------------------------------------------------------ the theorems


def test_diff_means_is_the_closed_form_and_optimal_on_round_gaussians():
    rng = np.random.default_rng(0)
    shift = np.zeros(8)
    shift[3] = 1.5
    y = np.arange(20_000) % 2 == 1
    x = rng.normal(size=(len(y), 8)) + y[:, None] * shift
    fitted = fit("diff_means", x, y)
    direction = fitted.detector.direction(fitted.constants)
    assert np.allclose(direction, x[y].mean(0) - x[~y].mean(0), atol=1e-15)
    assert np.allclose(direction, shift, atol=5 * np.sqrt(4 / len(y)))
    assert auroc(fitted.score(x), y) == pytest.approx(norm.cdf(1.5 / np.sqrt(2)), abs=0.01)
    assert np.isclose(fitted.score(x).mean(), 0, atol=1e-12)  # zero lies half-way


@pytest.mark.parametrize(("n", "d", "l2"), [(300, 10, 1e-3), (300, 10, 1.0), (60, 90, 1e-2)])
def test_logistic_agrees_with_scikit_learn(n, d, l2):
    from sklearn.linear_model import LogisticRegression

    x, y = rows(n, d, shift=0.3)
    fitted = Logistic(l2=l2).fit(x, y)
    centred = x - x.mean(0)
    scale = np.sqrt((centred**2).mean())
    theirs = LogisticRegression(C=1 / (n * l2), tol=1e-12, max_iter=10_000)
    theirs.fit(centred / scale, y)
    assert np.allclose(fitted.constants["weight"] * scale, theirs.coef_[0], atol=2e-5)
    assert np.allclose(fitted.score(x), theirs.decision_function(centred / scale), atol=2e-4)


def test_logistic_turns_with_the_space_and_survives_separable_classes():
    x, y = rows(shift=20.0)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(D, D)))[0]
    scores = fit("logistic", x, y).score(x)
    assert np.isfinite(scores).all() and (scores[y].min() > 0 > scores[~y].max())
    assert np.allclose(fit("logistic", 7 * x @ turn + 3, y).score(7 * x @ turn + 3), scores)


def test_logistic_and_mahalanobis_refuse_settings_without_an_answer():
    with pytest.raises(BadValues, match=r"Logistic.l2=0: needs a number above 0"):
        Logistic(l2=0)
    with pytest.raises(BadValues, match=r"Mahalanobis.shrinkage=0: needs a share above 0"):
        Mahalanobis(shrinkage=0)


@pytest.mark.parametrize("n", [100, 5])
def test_mahalanobis_is_its_formula_with_fewer_rows_than_coordinates_too(n):
    x, y = rows(2 * n)
    clean, a = x[~y], 0.05
    cov = np.cov(clean.T, bias=True)
    shrunk = (1 - a) * cov + a * np.trace(cov) / D * np.eye(D)
    precision = np.linalg.inv(shrunk)
    fitted = Mahalanobis(shrinkage=a).fit(clean)
    wanted = [mahalanobis(row, clean.mean(0), precision) ** 2 for row in x]
    assert np.allclose(fitted.score(x), wanted, rtol=1e-8)


def test_mahalanobis_of_rows_all_alike_is_the_plain_distance():
    fitted = fit("mahalanobis", np.ones((6, 2)), np.arange(6) % 2 == 1)
    expected = 25 / 0.01  # the covariance is the shrinkage times the identity
    assert fitted.score([[4.0, 5.0], [1.0, 1.0]]).tolist() == pytest.approx([expected, 0])


# ------------------------------------------------------------------------------------ the registry


MINE = """
from dataclasses import dataclass
from typing import ClassVar
from mo_interp.detectors import Detector

@dataclass(frozen=True)
class Length(Detector):
    needs: ClassVar[str] = "nothing"
    power: float = 1.0
    def solve(self, x, y):
        return {"mean": x.mean(0)}
    def read(self, constants, x):
        return ((x - constants["mean"]) ** 2).sum(1) ** self.power

detector = Length()
"""


def test_a_persons_own_file_by_path_and_by_folder(tmp_path, monkeypatch):
    (tmp_path / "detectors").mkdir()
    (tmp_path / "detectors" / "length.py").write_text(MINE)
    (tmp_path / "some_organism.py").write_text("organism = None\n")
    (tmp_path / "broken.py").write_text("def (\n")
    mine = detector(tmp_path / "detectors" / "length.py")
    assert (mine.name, mine.needs) == ("length", "nothing")
    with pytest.raises(UnknownName):
        detector("length")
    monkeypatch.setenv("MO_INTERP_PATH", str(tmp_path))
    assert "length" in names() and not {"some_organism", "broken"} & set(names())
    again = detector("length")
    assert again == mine
    x = rows()[0]
    fitted = dataclasses.replace(again, power=0.5).fit(x, site=SITE)
    assert load(fitted.save(tmp_path / "f")).score(x).tobytes() == fitted.score(x).tobytes()
    monkeypatch.delenv("MO_INTERP_PATH")
    with pytest.raises(UnknownName):
        load(tmp_path / "f")
    assert load(tmp_path / "f", detector=mine).detector.power == 0.5


def test_names_that_nothing_answers_to(tmp_path):
    with pytest.raises(UnknownName, match="detector 'logistics'; did you mean 'logistic'?"):
        detector("logistics")
    with pytest.raises(UnknownName, match="no such file"):
        detector(tmp_path / "mine.py")
    (tmp_path / "mine.py").write_text("x = 1\n")
    with pytest.raises(SpecError, match=r"'mine.py' defines no detector"):
        detector(tmp_path / "mine.py")
    with pytest.raises(CorruptArtefact):
        load(tmp_path)


# ----------------------------------------------------------------------------------- the baselines


def test_random_directions_follow_their_own_law():
    rng = np.random.default_rng(0)
    y = np.arange(4000) % 2 == 1
    x = rng.normal(size=(len(y), 16))
    x[:, 0] += 2.0 * y
    got = random_directions(x, y, test_acts=x, test_y=y, n=500, seed=1)
    cosines = rng.normal(size=(100_000, 16))
    cosines = np.abs(cosines[:, 0]) / np.linalg.norm(cosines, axis=1)
    law = norm.cdf(2.0 * cosines / np.sqrt(2))
    assert got.median == pytest.approx(np.median(law), abs=0.02)
    assert got.p95 == pytest.approx(np.quantile(law, 0.95), abs=0.02)
    assert got.p95 < got.best < norm.cdf(2 / np.sqrt(2)) + 0.01


def test_random_directions_choose_their_sign_on_train_rows_only():
    x, y = rows(shift=2.0)
    flipped = random_directions(x, y, test_acts=x, test_y=~y, n=200)
    straight = random_directions(x, y, test_acts=x, test_y=y, n=200)
    assert np.allclose(flipped.aurocs, 1 - straight.aurocs)
    assert straight.median > 0.5 > flipped.median
    assert (random_directions(x, y, test_acts=x, test_y=y, n=200).aurocs == straight.aurocs).all()
    with pytest.raises(BadShape, match="acts have 12 coordinates, test_acts 3"):
        random_directions(x, y, test_acts=x[:, :3], test_y=y)
    with pytest.raises(BadLabels, match="test_y: all"):
        random_directions(x, y, test_acts=x, test_y=y | True)


def test_a_bag_of_tokens_knows_words_and_no_order():
    rng = np.random.default_rng(0)
    tokens = rng.integers(10, 50, (400, 8))
    y = np.arange(400) % 2 == 1
    word, order = tokens.copy(), tokens.copy()
    word[y, 3] = 5
    order[:, 2], order[:, 6] = np.where(y, 5, 6), np.where(y, 6, 5)
    read = bag_of_tokens(word[:200], y[:200], test_tokens=word[200:])
    assert auroc(read, y[200:]) == 1.0
    blind = bag_of_tokens(order[:200], y[:200], test_tokens=order[200:])
    assert 0.35 < auroc(blind, y[200:]) < 0.65
    same = np.concatenate([np.sort(order[200:], 1), np.sort(order[200:], 1)[:, ::-1]])
    scores = bag_of_tokens(order[:200], y[:200], test_tokens=same)
    assert np.allclose(scores[:200], scores[200:], atol=1e-12)
    with pytest.raises(BadShape, match="tokens: shape"):
        bag_of_tokens(tokens[0], y, test_tokens=tokens)
    with pytest.raises(BadValues, match="token ids are whole numbers from 0"):
        bag_of_tokens(tokens - 20, y, test_tokens=tokens)


def test_output_baselines_on_paper():
    logits = np.log([[0.25, 0.25, 0.25, 0.25], [0.97, 0.01, 0.01, 0.01]])
    got = output_baselines(torch.as_tensor(logits) + 3, truth=np.array([0, 1]))
    certain = -0.97 * np.log(0.97) - 0.03 * np.log(0.01)
    assert got["output_entropy"].tolist() == pytest.approx([np.log(4), certain])
    assert got["output_logprob"].tolist() == pytest.approx([np.log(4), -np.log(0.97)])
    assert got["behaviour"].tolist() == [0.0, 1.0]
    with pytest.raises(BadShape, match="truth: 1 rows; 2 are needed"):
        output_baselines(logits, truth=np.array([0]))
