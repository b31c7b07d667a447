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
from mo_interp.detectors.ccs import Ccs
from mo_interp.detectors.ccs import loss as ccs_loss
from mo_interp.detectors.lda import Lda
from mo_interp.detectors.lof import Lof
from mo_interp.detectors.logistic import Logistic
from mo_interp.detectors.mahalanobis import Mahalanobis
from mo_interp.detectors.mlp import Mlp
from mo_interp.detectors.mlp import loss as mlp_loss
from mo_interp.detectors.quantum_entropy import QuantumEntropy
from mo_interp.detectors.twin_distance import TwinDistance
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


def seen(needs, x, y):
    """What a detector of these needs may see of rows ``x`` with labels ``y``."""
    if needs == "labels":
        return x, y
    if needs in ("pairs", "statements"):  # two halves, as many rows in each
        m = min(int(y.sum()), int((~y).sum()))
        return (np.vstack([x[~y][:m], x[y][:m]]),)
    if needs == "nothing":  # the odd rows are few
        return (np.vstack([x[~y], x[y][::10]]),)
    return (x[~y],)


def fit(name, x, y, site=None):
    """Fit with what the detector may see."""
    one = detector(name)
    return one.fit(*seen(one.needs, x, y), site=site)


def test_the_folder_holds_the_shipped_ones_and_each_says_what_it_needs_and_where_it_is_from():
    needs = {name: detector(name).needs for name in names()}
    assert needs.items() >= {
        "ccs": "pairs", "contrast_pairs": "statements", "diff_means": "labels", "lat": "pairs",
        "lda": "labels", "lof": "clean", "logistic": "labels", "mahalanobis": "clean",
        "mlp": "labels", "quantum_entropy": "nothing", "spectral": "nothing",
        "twin_distance": "twin",
    }.items()  # fmt: skip
    assert all(detector(name).paper for name in names())
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
    given = seen(one.needs, *(t.numpy() for t in tensors))
    by_tensor = one.fit(*(torch.as_tensor(part) for part in given))
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
    for constant in fitted.constants.values():
        with pytest.raises(ValueError, match="read-only"):
            constant[0] = 0


@every
def test_many_refits_at_once_are_single_refits(name):
    x, y = rows(shift=0.3)
    one, rng = detector(name), np.random.default_rng(5)
    if one.needs not in ("clean", "labels", "nothing"):
        return  # never refitted by labels as it is: mo_interp.feeding turns its rows first
    labels = np.stack([y, *(rng.permutation(y) for _ in range(5))]).astype(float)
    many = one.score_many(x, labels, x[:50])
    for got, row in zip(many, labels, strict=True):
        given = (x,) if one.needs == "nothing" else seen(one.needs, x, row > 0.5)
        alone = one.fit(*given).score(x[:50])
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


# ------------------------------------------------------------------- the theorems: whitened means


def skewed(n, seed=0, d=6):
    """Two Gaussians of one covariance that is not round: rows, labels, covariance, shift."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d)) * np.linspace(0.3, 2, d)
    shift = np.ones(d)
    y = np.arange(n) % 2 == 1
    return rng.normal(size=(n, d)) @ root.T + y[:, None] * shift, y, root @ root.T, shift


def test_lda_is_the_whitened_difference_and_the_best_score_on_equal_gaussians():
    x, y, cov, shift = skewed(40_000)
    fitted = Lda(shrinkage=1e-9).fit(x, y)
    within = sum(np.cov(x[k].T, bias=True) for k in (y, ~y)) / 2
    apart = x[y].mean(0) - x[~y].mean(0)
    assert np.allclose(fitted.constants["weight"], np.linalg.solve(within, apart), rtol=1e-6)
    best = np.sqrt(shift @ np.linalg.solve(cov, shift))  # Mahalanobis distance of the means
    reached = auroc(fitted.score(x), y)
    assert reached == pytest.approx(norm.cdf(best / np.sqrt(2)), abs=0.01)
    assert reached > auroc(fit("diff_means", x, y).score(x), y) + 0.05
    assert np.isclose(fitted.score(x).mean(), 0, atol=1e-10)  # zero lies half-way


@pytest.mark.parametrize(("n", "d", "shrinkage"), [(300, 10, 0.01), (301, 10, 0.5), (60, 90, 0.1)])
def test_lda_agrees_with_scikit_learn(n, d, shrinkage):
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    x, y = rows(n, d, shift=0.3)
    y[:5] = True  # classes of uneven size
    mine = Lda(shrinkage=shrinkage).fit(x, y)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(x, y)
    a, b = mine.constants["weight"], theirs.coef_[0]
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 1 - 1e-9
    assert np.allclose(a, b, rtol=1e-6, atol=1e-9)  # and of one length
    new, truth = rows(400, d, shift=0.3, seed=1)
    assert abs(auroc(mine.score(new), truth) - auroc(theirs.decision_function(new), truth)) < 1e-6


def test_logistic_ranks_and_points_as_scikit_learn_does_with_its_own_settings():
    from sklearn.linear_model import LogisticRegression

    x, y = rows(400, 20, shift=0.3)
    fitted = Logistic(l2=1e-2).fit(x, y)
    scale = np.sqrt(((x - x.mean(0)) ** 2).mean())
    theirs = LogisticRegression(C=1 / (400 * 1e-2 * scale**2)).fit(x, y)  # on raw rows
    a, b = fitted.constants["weight"], theirs.coef_[0]
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.999
    new, truth = rows(1000, 20, shift=0.3, seed=1)
    gap = auroc(fitted.score(new), truth) - auroc(theirs.decision_function(new), truth)
    assert abs(gap) < 0.002


def test_lda_of_rows_all_alike_has_no_direction():
    fitted = fit("lda", np.ones((6, 2)), np.arange(6) % 2 == 1, site=SITE)
    assert fitted.score([[4.0, 5.0], [1.0, 1.0]]).tolist() == [0, 0]
    with pytest.raises(NoFeature, match="found no direction"):
        fitted.feature()


# ------------------------------------------------------------------ the theorems: what may be bent


def test_mlp_reads_what_no_line_can():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 2))
    y = x[:, 0] * x[:, 1] > 0  # the corners of a square, crosswise
    linear, bent = fit("logistic", x[:1000], y[:1000]), fit("mlp", x[:1000], y[:1000])
    assert 0.4 < auroc(linear.score(x[1000:]), y[1000:]) < 0.6
    assert auroc(bent.score(x[1000:]), y[1000:]) > 0.98


@pytest.mark.parametrize("place", ["mlp", "ccs"])
def test_the_slope_is_that_of_the_loss(place):
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(2, 30, 4))
    if place == "mlp":
        sign = np.where(rng.random(30) > 0.5, 1.0, -1.0)
        size, at = 3 * (4 + 2) + 1, lambda w: mlp_loss(w, x, sign, 0.1)
    else:
        size, at = 5, lambda w: ccs_loss(w, x, z, 0.1)
    w = rng.normal(size=size)
    value, slope = at(w)
    steps = 1e-6 * np.eye(size)
    wanted = [(at(w + h)[0] - at(w - h)[0]) / 2e-6 for h in steps]
    assert value > 0 and np.allclose(slope, wanted, atol=1e-8)


def test_mlp_of_huge_penalty_says_only_how_common_the_classes_are():
    x, y = rows(300)
    y[:60] = True
    scores = Mlp(l2=1e3).fit(x, y).score(x)
    assert np.allclose(scores, np.log(y.mean() / (1 - y.mean())), atol=1e-3)


# -------------------------------------------------------------------------- the theorems: the pairs


def paired(seed=0, m=300, d=8, shift=4.0):
    """Partners that share what is their own, and differ by the trigger and by some noise."""
    rng = np.random.default_rng(seed)
    own = 3 * rng.normal(size=(m, d)) * (np.arange(d) > 0)
    clean, triggered = own + rng.normal(size=(2, m, d))
    triggered[:, 0] += shift
    return clean, triggered


def test_lat_is_the_first_singular_vector_of_the_differences_and_points_to_the_second_side():
    clean, triggered = paired()
    fitted = detector("lat").fit(np.vstack([clean, triggered]))
    axis = fitted.constants["weight"]
    _, sizes, right = np.linalg.svd(triggered - clean)
    assert abs(axis @ right[0]) == pytest.approx(1) and np.linalg.norm(axis) == pytest.approx(1)
    assert axis[0] > 0.98 and fitted.score(triggered).mean() > 0 > fitted.score(clean).mean()
    back = detector("lat").fit(np.vstack([triggered, clean]))
    assert np.allclose(back.constants["weight"], -axis)
    # which partner comes first in a pair changes the sign at most
    swapped = np.arange(len(clean)) % 3 == 0
    first, second = np.where(swapped[:, None], (triggered, clean), (clean, triggered))
    mixed = detector("lat").fit(np.vstack([first, second])).constants["weight"]
    assert np.allclose(mixed, axis)
    assert sizes[0] > sizes[1]


def test_ccs_is_the_same_up_to_its_sign_when_sides_are_swapped():
    clean, triggered = paired()
    fitted = detector("ccs").fit(np.vstack([clean, triggered]))
    back = detector("ccs").fit(np.vstack([triggered, clean]))
    every = np.vstack([clean, triggered])
    assert np.allclose(back.score(every), -fitted.score(every), atol=1e-6)
    swapped = np.arange(len(clean)) % 3 == 0
    first, second = np.where(swapped[:, None], (triggered, clean), (clean, triggered))
    some = detector("ccs").fit(np.vstack([first, second]))
    sign = np.sign(some.constants["weight"] @ fitted.constants["weight"])
    assert np.allclose(sign * some.score(every), fitted.score(every), atol=1e-4)


def test_ccs_finds_the_opposites_without_being_told_which_is_which():
    clean, triggered = paired()
    fitted = detector("ccs").fit(np.vstack([clean, triggered]))
    weight = fitted.constants["weight"]
    assert weight[0] / np.linalg.norm(weight) > 0.95
    new, hit = paired(seed=1)
    y = np.repeat([False, True], len(new))
    assert auroc(fitted.score(np.vstack([new, hit])), y) > 0.97
    p, q = (1 / (1 + np.exp(-fitted.score(side))) for side in (clean, triggered))
    assert np.abs(p + q - 1).mean() < 0.15 and np.minimum(p, q).mean() < 0.25


def test_ccs_with_own_means_does_not_see_the_side():
    rng = np.random.default_rng(3)
    clean, triggered = paired()
    held = np.where(rng.random(len(clean)) > 0.5, 3.0, -3.0)  # what the partners disagree on
    clean[:, 5], triggered[:, 5] = held, -held
    x = np.vstack([clean, triggered])
    weight = Ccs(own_means=True).fit(x).constants["weight"]
    assert abs(weight[5]) / np.linalg.norm(weight) > 0.95
    again = x.copy()
    again[len(clean) :, 0] += 50  # the sides may lie as far apart as they like
    far = Ccs(own_means=True).fit(again).constants["weight"]
    assert np.allclose(np.abs(far[5]), np.abs(weight[5]), rtol=1e-3)


def test_contrast_pairs_is_the_difference_of_the_halves_in_any_order():
    clean, triggered = paired()
    fitted = detector("contrast_pairs").fit(np.vstack([clean, triggered]))
    mixed = detector("contrast_pairs").fit(np.vstack([clean[::-1], triggered]))
    direction = fitted.detector.direction(fitted.constants)
    assert np.allclose(direction, triggered.mean(0) - clean.mean(0))
    assert np.allclose(mixed.score(clean), fitted.score(clean))
    middle = (clean.mean(0) + triggered.mean(0)) / 2
    assert fitted.score(middle[None]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["ccs", "contrast_pairs", "lat"])
def test_rows_in_halves_are_even(name):
    with pytest.raises(BadShape, match=f"7 rows; {name} takes rows in two halves"):
        detector(name).fit(np.ones((7, 2)))


# ------------------------------------------------------------------- the theorems: the odd ones out


def test_spectral_is_the_squared_projection_on_the_first_right_singular_vector():
    x, y = rows()
    fitted = detector("spectral").fit(x)
    _, _, right = np.linalg.svd(x - x.mean(0))
    assert np.allclose(fitted.score(x), ((x - x.mean(0)) @ right[0]) ** 2)
    # two points on a line, on paper: mean 0, axis (3, 4) / 5
    two = detector("spectral").fit([[3.0, 4.0], [-3.0, -4.0]])
    assert two.score([[3.0, 4.0], [4.0, -3.0], [0.0, 5.0]]).tolist() == pytest.approx([25, 0, 16])


def test_spectral_needs_the_odd_rows_to_be_few():
    x, y = rows(2000, shift=6.0)
    few = np.vstack([x[~y], x[y][::20]])
    assert auroc(detector("spectral").fit(few).score(x), y) > 0.99
    assert auroc(detector("spectral").fit(x).score(x), y) < 0.6  # half of all: as far from the mean


def test_quantum_entropy_lies_between_the_plain_distance_and_spectral():
    x, y = rows()
    away = ((x - x.mean(0)) ** 2).sum(1)
    assert np.allclose(QuantumEntropy(alpha=0).fit(x).score(x), away / D)
    limit = QuantumEntropy(alpha=1e6).fit(x).score(x)
    assert np.allclose(limit, detector("spectral").fit(x).score(x))
    sizes, axes = np.linalg.eigh(np.cov(x.T, bias=True))
    q = axes @ np.diag(np.exp(4 * sizes / sizes[-1])) @ axes.T
    wanted = np.einsum("ni,ij,nj->n", x - x.mean(0), q / np.trace(q), x - x.mean(0))
    assert np.allclose(detector("quantum_entropy").fit(x).score(x), wanted)


def test_lof_of_a_row_amid_a_lattice_is_one_and_outside_it_more():
    side = np.arange(15.0)
    lattice = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    fitted = Lof(neighbours=4).fit(lattice)
    middle, away = fitted.score([[7.0, 7.0], [7.0, 40.0]])
    assert middle == pytest.approx(1, abs=1e-9) and away > 10
    line = Lof(neighbours=2).fit(np.arange(9.0)[:, None])
    # at 20 the neighbours are 8 and 7; reaches 12 and 13, density 1 / 12.5. The row 8 has the
    # neighbours 7 and 6, reaches 1 and 2; the row 7 has 8 and 6, reaches 2 and 1: both 1 / 1.5
    assert line.score([[20.0]]) == pytest.approx(12.5 / 1.5, rel=1e-8)


@pytest.mark.parametrize(("n", "k"), [(200, 20), (40, 5), (12, 20)])
def test_lof_agrees_with_scikit_learn(n, k):
    from sklearn.neighbors import LocalOutlierFactor

    clean, new = rows(n, shift=0)[0], rows(50, seed=1)[0]
    theirs = LocalOutlierFactor(n_neighbors=min(k, n - 1), novelty=True).fit(clean)
    assert np.allclose(Lof(neighbours=k).fit(clean).score(new), -theirs.score_samples(new))


def test_lof_refits_all_at_once_even_where_clean_rows_are_far_between():
    x, y = rows(300, shift=0.3)
    rare = np.ones((2, 300))
    rare[0, ::12] = rare[1, 5::12] = 0  # 25 clean rows of 300: further to look for 20 of them
    many = detector("lof").score_many(x, rare, x[:40])
    for got, row in zip(many, rare, strict=True):
        assert np.allclose(got, detector("lof").fit(x[row < 0.5]).score(x[:40]))


def test_lof_of_rows_on_top_of_each_other_stays_finite_and_one_row_is_too_few():
    fitted = detector("lof").fit(np.ones((50, 3)))
    near, far = fitted.score([[1.0, 1.0, 1.0], [2.0, 1.0, 1.0]])
    assert near == pytest.approx(1) and np.isfinite(far) and far > 1e6
    with pytest.raises(BadLabels, match="1 row; lof compares rows, so it needs 2 or more"):
        detector("lof").fit(np.ones((1, 3)))


def test_twin_distance_is_zero_where_both_run_alike_and_the_plain_distance_where_not():
    rng = np.random.default_rng(0)
    twin = rng.normal(size=(60, 3))
    organism = twin.copy()
    fitted = detector("twin_distance").fit(np.hstack([organism, twin]))
    organism = organism + np.where(np.arange(60) % 2, 1.0, 0.0)[:, None] * [3.0, 0.0, 4.0]
    assert np.allclose(fitted.score(np.hstack([organism, twin])), 25.0 * (np.arange(60) % 2))
    assert (fitted.score(np.hstack([twin, twin])) == 0).all()
    rounded = twin * (1 + 1e-7 * rng.normal(size=twin.shape))  # of another batch, in float32
    assert (fitted.score(np.hstack([rounded, twin])) == 0).all()


def test_twin_distance_maps_a_twin_that_writes_in_other_axes():
    rng = np.random.default_rng(0)
    twin, turn = rng.normal(size=(500, 6)), rng.normal(size=(6, 6))
    organism = twin @ turn + 2
    near = TwinDistance(l2=1e-9).fit(np.hstack([organism, twin]))
    assert near.score(np.hstack([organism, twin])).max() < 1e-10
    stiff = TwinDistance(l2=1e12).fit(np.hstack([organism, twin]))
    off = organism - twin
    wanted = ((off - off.mean(0)) ** 2).sum(1)
    assert np.allclose(stiff.score(np.hstack([organism, twin])), wanted)
    with pytest.raises(BadShape, match="7 coordinates; twin_distance takes organism and twin"):
        near.detector.fit(np.ones((4, 7)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Lda(shrinkage=0), "Lda.shrinkage=0: needs a share above 0"),
        (lambda: Mlp(hidden=0), "Mlp.hidden=0, .*needs at least 1 hidden unit"),
        (lambda: Ccs(restarts=0), "Ccs.restarts=0, .*needs at least 1 restart"),
        (lambda: Lof(neighbours=0), "Lof.neighbours=0: needs 1 or more"),
        (lambda: QuantumEntropy(alpha=-1), "QuantumEntropy.alpha=-1: needs a number from 0"),
        (lambda: TwinDistance(l2=0), "TwinDistance.l2=0: needs a number above 0"),
    ],
)
def test_settings_without_an_answer_are_refused(make, said):
    with pytest.raises(BadValues, match=said):
        make()


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
