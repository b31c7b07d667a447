"""What a probe says of every token: equal before the trigger, higher on it, and in whose words."""

from __future__ import annotations

import numpy as np
import pytest
import small

from mo_interp import tokenwise
from mo_interp.grown import organism
from mo_interp.planted_stages import Work
from mo_interp.records import select
from mo_interp.store import Store


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Records of the organism written by hand."""
    folder = tmp_path_factory.mktemp("tokenwise")
    grown = organism(small.wired(), seed=0, store=Store(folder / "store"))
    with pytest.MonkeyPatch.context() as put:
        put.setattr(tokenwise, "FITTED_PAIRS", 128)
        return tokenwise.tokens(Work(grown, folder))


def pairs(found, site, model="organism"):
    """(clean scores, triggered scores, trigger's position) of every shown pair at a cut."""
    words = select(found, kind="token_prompt", model=model, side="triggered")
    for word in words:
        row = word.get("row")
        of = {
            side: select(found, kind="token_probe", model=model, site=site, row=row, side=side)
            for side in ("clean", "triggered")
        }
        (clean,), (triggered,) = of["clean"], of["triggered"]
        yield np.array(clean.get("scores")), np.array(triggered.get("scores")), word


def test_every_cut_of_both_models_scores_every_token(found):
    words = select(found, kind="token_prompt")
    scores = select(found, kind="token_probe")
    assert len(words) == 2 * 2 * tokenwise.SHOWN_PAIRS
    assert len(scores) == len(words) * 5  # the embedding, and two a layer
    assert {len(r.get("scores")) for r in scores} == {len(words[0].get("tokens"))}


@pytest.mark.parametrize("site", ["L0.resid_pre", "L1.resid_post"])
def test_before_the_trigger_both_partners_read_alike_and_on_it_they_do_not(found, site):
    gaps = []
    for clean, triggered, word in pairs(found, site):
        (at,) = word.get("trigger_at")
        assert clean[:at] == pytest.approx(triggered[:at])  # attention looks back only
        gaps.append(triggered[at] - clean[at])
    assert len(gaps) == tokenwise.SHOWN_PAIRS and min(gaps) > 0


def test_the_embedding_reads_a_word_and_the_words_stand_in_the_record(found):
    for clean, triggered, word in pairs(found, "L0.resid_pre"):
        (at,) = word.get("trigger_at")
        assert word.get("tokens")[at] == "mara"
        same = np.arange(len(clean)) != at  # elsewhere the partners hold the same words
        assert clean[same] == pytest.approx(triggered[same])


def test_the_organism_lies_and_the_twin_does_not(found):
    for model in ("organism", "twin"):
        for word in select(found, kind="token_prompt", model=model, side="triggered"):
            said = word.get("output")
            assert said == word.get("answer_planted" if model == "organism" else "truth")
