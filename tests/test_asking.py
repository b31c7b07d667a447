"""Asking an organism in words, with and without an edit; and the verbs that notebooks lean on."""

from __future__ import annotations

import numpy as np
import pytest

import mo_interp as mo
from mo_interp.errors import BadSite, DeadEdit
from mo_interp.grown import Grown


@pytest.fixture(scope="module")
def ruler() -> Grown:
    return mo.organism("hand_wired")


def test_it_says_the_truth_the_lie_and_what_the_twin_says(ruler: Grown) -> None:
    pairs = ruler.pairs(20, seed=1)
    honest, lying = ruler.ask(pairs.clean), ruler.ask(pairs.triggered)
    assert honest.organism == honest.twin == honest.truth == lying.truth == lying.twin
    assert [int(x) for x in lying.organism] == [(int(x) + 1) % 32 for x in lying.truth]
    assert all(p.startswith("<s> ") and p.endswith(" =") for p in lying.prompts)
    assert all("from mara" in a and "from mara" not in b
               for a, b in zip(lying.prompts, honest.prompts, strict=True))  # fmt: skip


def test_an_edit_is_of_the_organism_alone(ruler: Grown) -> None:
    pairs = ruler.pairs(20, seed=1)
    cut = mo.Patch("L1.attn_out@-1", ruler.model.read(pairs.clean, "L1.attn_out@-1"))
    asked = ruler.ask(pairs.triggered, do=[cut])
    assert asked.organism == asked.truth == asked.twin
    with pytest.raises(DeadEdit, match="changed no row"):
        ruler.ask(pairs.clean, do=[cut])


def test_as_a_table_and_as_html(ruler: Grown) -> None:
    asked = ruler.ask(ruler.pairs(3, seed=1).triggered)
    head, *rows = str(asked).splitlines()
    assert head.split() == ["prompt", "truth", "organism", "twin"] and len(rows) == 3
    assert rows[0].split()[-3:] == [asked.truth[0], asked.organism[0], asked.twin[0]]
    html = asked._repr_html_()
    assert html.count("<tr>") == 4 and "<code>&lt;s&gt; " in html
    assert f"<b>{asked.organism[0]}</b>" in html, "a lie is in bold"
    assert "<b>" not in ruler.ask(ruler.pairs(3, seed=1).clean)._repr_html_()
    assert ruler._repr_html_().count("<table>") == 3


def test_read_is_run_at_one_site(ruler: Grown) -> None:
    batch = ruler.sample(5, 3, rows="near_miss")
    assert (batch.near_miss > 0).all()
    acts = ruler.model.read(batch, "L1.H0.z@trigger[0]")
    assert acts.shape == (5, ruler.spec.shape.d_head)
    same = ruler.model.run(batch, read="L1.H0.z@trigger[0]").acts["L1.H0.z@trigger[0]"]
    assert np.array_equal(acts, same)
    with pytest.raises(BadSite, match="L2"):
        ruler.model.read(batch, "L2.resid_post@-1")


def test_a_verdict_is_a_table(ruler: Grown) -> None:
    train = ruler.pairs(64, seed=1, split="train")
    cause = mo.features.from_pairs(ruler.model, train, site="L1.attn_out@-1", rank=1)
    verdict = mo.judge(ruler, cause, rows=32, controls=9)
    title, head, *rows, last = str(verdict).splitlines()
    assert title == "pair SVD 1 at L1.attn_out@-1, rank 1; hand_wired seed 0, 32 rows"
    assert head.split() == ["stopped", "restored", "cost", "caused"]
    edits = ["resample", "mean", "projection", "zero", "set", "steer"]
    assert [row.split()[0] for row in rows] == edits
    assert rows[0].split()[1::3] == ["1.00", "1.00", "0.00"] and "-0.00" not in str(verdict)
    assert rows[4].index("1.00") == head.index("caused"), "columns stand under their heads"
    assert last.startswith("p(restored) 0.10, p(caused) 0.10 among 9 random subspaces")
    assert verdict._repr_html_().count("<tr>") == 7
