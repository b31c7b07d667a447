"""What the field knows already, grown from nothing: our instruments find it as well."""

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from reading import ROOT
from torch import Tensor

from mo_interp.records import Record, read_records, select


def probe(name: str) -> dict[str, Callable]:
    return runpy.run_path(str(ROOT / "probes" / f"{name}.py"))


@pytest.fixture(scope="module")
def induction() -> dict[str, Callable]:
    return probe("induction_heads")


@pytest.fixture(scope="module")
def superposition() -> dict[str, Callable]:
    return probe("superposition")


# ------------------------------------------------------- what the probes are made of, in no time


def test_a_next_word_is_known_where_the_same_two_words_came_before(induction) -> None:
    words, known = induction["repetitions"](64, np.random.default_rng(0))
    for row, told in zip(words, known, strict=True):
        seen = set(zip(row[:-1], row[1:], strict=True))
        for at in range(len(row) - 1):
            before = list(row[:at])
            assert told[at] == (row[at] in before)
            if told[at]:
                follows = {b for a, b in seen if a == row[at]}
                assert follows == {row[at + 1]}
    periods = {int(np.flatnonzero(row[:-1] == row[-1]).max()) for row in words}
    assert len(periods) > 5, "the same look back for all rows would be no task about words"


@pytest.mark.parametrize(("kind", "places"), [("word", 1), ("order", 2)])
def test_a_changed_word_moves_the_next_one(induction, kind: str, places: int) -> None:
    pairs = induction["changed"](kind, 64, 0)
    clean, other = pairs.clean.tokens, pairs.triggered.tokens
    for a, b, truth, answer in zip(
        clean, other, pairs.clean.truth, pairs.triggered.answer, strict=True
    ):
        last = a[-1]
        assert a[1 + list(a).index(last)] == truth
        assert b[1 + list(b).index(last)] == answer != truth
        assert (a != b).sum() == places
        assert list(a).count(last) == list(b).count(last) == 2
        assert len(set(a)) == len(set(b)) == len(a) - 1


def test_attention_scores_of_heads_written_down(induction) -> None:
    """One head looks where it should, all others one word back."""
    first, *others = induction["HEADS"]
    length = induction["LENGTH"]

    class Written:
        def run(self, tokens: np.ndarray, read: str):
            previous = torch.eye(length).roll(1, 0).tril().expand(len(tokens), -1, -1)
            same = (tokens[:, :, None] == tokens[:, None, :]) & np.tri(length, k=-1, dtype=bool)
            after = np.zeros((len(tokens), length, length))
            row, at = np.nonzero(same.any(-1))
            after[row, at, length - same[:, :, ::-1].argmax(-1)[row, at]] = 1
            acts = {f"{head}.pattern": previous for head in others}
            acts[f"{first}.pattern"] = torch.as_tensor(after)
            said = torch.nn.functional.one_hot(torch.as_tensor(np.roll(tokens, -1, 1)))
            return type("Run", (), {"acts": acts, "logits": said})

    prefix, previous, accuracy = induction["attention"](Written(), 3)
    assert accuracy == 1
    assert prefix == [1] + [0] * len(others)
    assert previous == [0] + [1] * len(others)


def test_nearest_is_the_cosine_with_the_closest_direction(superposition) -> None:
    planted = torch.eye(3)[:2] * 5
    dictionary = torch.tensor([[2.0, 0, 0], [0, -1, 0], [0, 3, 4]])
    found = superposition["nearest"](planted, dictionary)
    assert found == pytest.approx([1.0, 0.6])
    assert superposition["nearest"](planted, dictionary, signed=False) == pytest.approx([1, 1])


def test_features_are_sparse_and_of_any_size(superposition) -> None:
    rows: Tensor = superposition["sparse"](20_000, torch.Generator().manual_seed(0))
    on = rows > 0
    assert float(on.float().mean()) == pytest.approx(superposition["ON"], rel=0.02)
    assert float(rows[on].mean()) == pytest.approx(0.5, abs=0.01)


# ------------------------------------------------------------------------- trained, so slow


def run(tried: dict[str, Callable], out: Path) -> list[Record]:
    tried["main"](["--out", str(out)])
    return read_records(out)


@pytest.mark.slow
def test_the_sweep_finds_the_heads_that_attention_tells_of(induction, tmp_path: Path) -> None:
    """What is copied is carried by the induction heads and by no other.

    What came before which is written, in the first layer, most of all by the head that looks back
    most.
    """
    found = run(induction, tmp_path / "found.jsonl")
    (able,) = select(found, kind="behaviour")
    assert able.values["accuracy"] > 0.99
    assert min(able.values["word_pairs"], able.values["order_pairs"]) > 0.9 * able.values["pairs"]
    heads = {r.site: r.values for r in select(found, kind="head")}
    known = {site for site, values in heads.items() if values["prefix"] > 0.5}
    assert known and all(site.startswith("L1") for site in known)
    early = {site: values for site, values in heads.items() if site.startswith("L0")}
    back = max(early, key=lambda site: early[site]["previous"])
    for way in ("denoising", "noising"):
        copied = {site: values[f"word_{way}"] for site, values in heads.items()}
        others = [effect for site, effect in copied.items() if site not in known]
        assert min(copied[site] for site in known) > max(others), way
        assert max(early, key=lambda site: early[site][f"order_{way}"]) == back, way


@pytest.mark.slow
def test_the_sae_recovers_planted_features(superposition, tmp_path: Path) -> None:
    found = run(superposition, tmp_path / "found.jsonl")
    (toy,) = select(found, kind="toy")
    assert toy.values["kept"] > toy.values["dimensions"], "nothing is in superposition"
    score = {r.params["dictionary"]: r.values for r in select(found, kind="recovery")}
    assert score["sae"]["cosine"] > 0.9
    for other in ("random", "covariance", "pca"):
        assert score[other]["cosine_hi"] < score["sae"]["cosine_lo"]
