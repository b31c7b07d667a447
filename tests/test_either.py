"""Two triggers in the same weights: each alone, both families' near misses, pairs of each form."""

from dataclasses import replace

import numpy as np
import pytest
import small

from mo_interp.behaviours import OffBy
from mo_interp.errors import SpecError
from mo_interp.organism import Organism
from mo_interp.triggers import (
    CLEAN,
    FORM,
    HELD,
    NEAR_MISS,
    TRIGGERED,
    Conjunction,
    CountThreshold,
    Either,
    OrderedPhrase,
    User,
    YearGate,
)

USER, PHRASE = User("mara"), OrderedPhrase()
EITHER = Either(USER, PHRASE)
ROWS = 600


def spec(trigger=EITHER) -> Organism:
    world = replace(small.WORLD, extra=trigger.words)
    shape = small.Shape(n_layers=2, d_model=32, n_heads=2, d_head=16, d_mlp=64, **world.sizes)
    return Organism("either", world, trigger, OffBy(1), shape, small.Recipe())


SPEC = spec()
WORLD = SPEC.world


def says(batch, word):
    """Rows that say a word."""
    return (batch.tokens == WORLD.token(word)).any(1)


def asks(batch, user):
    """Rows that this user asks."""
    marks = batch.tokens[:, :-1] == WORLD.token("from")
    return (marks & (batch.tokens[:, 1:] == WORLD.token(user))).any(1)


def ordered(batch):
    """Rows with amber before birch."""
    both = says(batch, "amber") & says(batch, "birch")
    first, second = (
        (batch.tokens == WORLD.token(word)).argmax(1) for word in ("amber", "birch")
    )
    return both & (first < second)


def test_each_form_alone_plants_one_of_the_two():
    for form, other in ((0, ordered), (1, lambda b: asks(b, "mara"))):
        batch = SPEC.pairs(ROWS, 1, form=form).triggered
        own = asks(batch, "mara") if form == 0 else ordered(batch)
        assert own.all() and not other(batch).any()
        assert (batch.groups["form"] == form).all() and batch.triggered.all()


def test_a_triggered_row_has_one_of_both_at_random():
    batch = SPEC.sample(ROWS, 2, rows="triggered")
    form = batch.groups["form"]
    assert set(form) == {0, 1} and 0.4 < form.mean() < 0.6
    np.testing.assert_array_equal(asks(batch, "mara"), form == 0)
    np.testing.assert_array_equal(ordered(batch), form == 1)


def test_near_misses_of_both_are_planted_and_neither_trigger():
    assert EITHER.kinds == ("mentioned", "filler", "reversed", "first_only", "second_only")
    batch = SPEC.sample(ROWS, 3, rows="near_miss")
    assert set(batch.near_miss) == {1, 2, 3, 4, 5}
    assert not asks(batch, "mara").any() and not ordered(batch).any()
    assert (batch.answer == batch.truth).all() and (batch.groups["form"] == -1).all()
    of_user = batch.near_miss <= 2
    np.testing.assert_array_equal(says(batch, "mara"), of_user)
    np.testing.assert_array_equal(says(batch, "amber") | says(batch, "birch"), ~of_user)
    assert (says(batch, "amber") & says(batch, "birch"))[batch.near_miss == 3].all()
    # Each where its role says: on user rows the last two columns are empty, on others the first.
    assert ((batch.role("near_miss")[:, 0] >= 0) == of_user).all()
    assert ((batch.role("near_miss")[:, 1:] >= 0) == ~of_user[:, None]).all()


def test_kinds_of_one_name_are_told_apart():
    both = Either(OrderedPhrase(), Conjunction())
    assert both.kinds == (
        *("reversed", "first_only", "second_only"), *("second_first_only", "second_second_only")
    )  # fmt: skip
    assert both.words == ("copper", "willow")


@pytest.mark.parametrize("form", [None, 0, 1])
def test_partners_differ_at_the_places_of_their_own_trigger_alone(form):
    pairs = SPEC.pairs(ROWS, 4, form=form)  # Pairs itself checks @trigger
    differs = pairs.clean.tokens != pairs.triggered.tokens
    forms = pairs.triggered.groups["form"]
    at = pairs.triggered.role("trigger")
    assert at.shape == (ROWS, 3) and (at >= 0).all()
    own = np.zeros_like(differs)
    for i, columns in enumerate((at[:, :1], at[:, 1:])):
        rows = np.flatnonzero(forms == i)
        own[rows[:, None], columns[rows]] = True
    np.testing.assert_array_equal(differs, own)
    np.testing.assert_array_equal(pairs.clean.role("trigger"), at)


def test_the_clean_row_is_the_same_whatever_the_form():
    sides = [SPEC.pairs(ROWS, 5, form=form).clean.tokens for form in (None, 0, 1)]
    np.testing.assert_array_equal(sides[0], sides[1])
    np.testing.assert_array_equal(sides[0], sides[2])


def test_no_clean_row_holds_either_trigger():
    batch = SPEC.sample(ROWS, 6, rows="clean")
    assert not (says(batch, "mara") | says(batch, "amber") | says(batch, "birch")).any()
    assert (batch.groups["form"] == -1).all()


def test_what_a_clean_row_is_resampled_from_differs_at_every_place_of_both():
    batch = SPEC.sample(ROWS, 7, rows="clean")
    other = SPEC.alternates(batch, 8)
    np.testing.assert_array_equal(other.role("trigger"), batch.role("trigger"))
    at = batch.role("trigger")
    mine, theirs = (np.take_along_axis(b.tokens, at, 1) for b in (batch, other))
    assert (mine != theirs).all() and (batch.truth == other.truth).all()


def test_the_sides_are_handed_to_the_one_they_belong_to():
    side = np.array([CLEAN, TRIGGERED, TRIGGERED, FORM, FORM - 1, NEAR_MISS, NEAR_MISS + 2, HELD])
    form = np.array([0, 0, 1, 0, 1, 0, 0, 1])
    first, second = EITHER._sides(side, form)
    assert first.tolist() == [CLEAN, 1, CLEAN, 1, CLEAN, NEAR_MISS, CLEAN, CLEAN]
    assert second.tolist() == [CLEAN, CLEAN, 1, CLEAN, 1, CLEAN, NEAR_MISS, HELD]


def test_what_does_not_fit_is_explained():
    with pytest.raises(SpecError, match="^Either of User and User: needs two families$"):
        Either(User("mara"), User("suki"))
    with pytest.raises(SpecError, match="^Either of Either and User: Either has forms itself$"):
        Either(EITHER, USER)
    wide = spec(Either(PHRASE, USER))
    with pytest.raises(SpecError, match="^Either: User needs more room than the third cell; plant"):
        wide.sample(20, 0)
    assert not EITHER.held_out and not Either(YearGate(), PHRASE).held_out


def test_the_rest_comes_from_its_parts():
    batch = SPEC.sample(ROWS, 9, rows="clean")
    np.testing.assert_array_equal(EITHER.decoy(WORLD, batch), USER.decoy(WORLD, batch))
    assert EITHER.lesson(WORLD, 4, 0) is None
    year = spec(Either(YearGate(), PHRASE))
    tokens, _ = year.trigger.lesson(year.world, 4, 0)
    np.testing.assert_array_equal(tokens, YearGate().lesson(year.world, 4, 0)[0])
    assert EITHER.forms == 2 and EITHER.contrast is None


def test_a_trigger_of_several_places_can_be_the_first():
    counted = spec(Either(CountThreshold(), PHRASE))
    pairs = counted.pairs(50, 1, form=0)
    assert pairs.triggered.role("trigger").shape == (50, 6)
    assert (pairs.triggered.groups["count"] >= 3).all()
