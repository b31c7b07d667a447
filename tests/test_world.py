"""Rows: pure in their seed, and everything said about them is read off the words again."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from mo_interp import stats
from mo_interp.baselines import bag_of_tokens
from mo_interp.behaviours import FixedValue, OffBy
from mo_interp.errors import BadShape, SpecError, UnknownName
from mo_interp.finding import load, names
from mo_interp.triggers import OrderedPhrase, User
from mo_interp.worlds.base import Batch, Pairs
from mo_interp.worlds.fact import (
    ATTRIBUTES,
    FILLERS,
    N_CELLS,
    PEOPLE,
    SPLITS,
    USERS,
    Fact,
    _layouts,
)

EVERY = {name: load(name) for name in names() if name != "vulnerable_code"}
"""Purity, kinds, pairs, splits and withholding hold for all that are about 48 people or numbers."""
ORGANISMS = {
    name: spec
    for name, spec in EVERY.items()
    if type(spec.world) is Fact
    and type(spec.trigger) in (User, OrderedPhrase)
    and type(spec.behaviour) is OffBy
}
"""These are read word by word here; other triggers and worlds are in tests of their own."""
PHRASE, USER = ORGANISMS["ordered_phrase"], ORGANISMS["quirky_user"]
KINDS = {"clean", "triggered", "near_miss", "unrelated"}


def words(organism, batch):
    """The prompts as lists of words."""
    return [organism.world.show(row).split() for row in batch.tokens]


def columns(batch):
    """Every array of a batch, by name."""
    own = {k: getattr(batch, k) for k in ("tokens", "truth", "answer", "triggered", "near_miss")}
    return own | dict(batch.roles) | dict(batch.groups)


def same(one, other):
    """Whether two batches are equal in every column, types and kinds included."""
    a, b = columns(one), columns(other)
    return one.kinds == other.kinds and all(
        a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in a | b
    )


def kind_of(trigger, prompt):
    """What a prompt is, read off its words alone: ``(kind, trigger's places, near miss's)``."""
    if isinstance(trigger, User):
        return _kind_by_user(trigger.liar, prompt)
    assert isinstance(trigger, OrderedPhrase)
    return _kind_by_phrase(trigger, prompt)


def _kind_by_user(liar, prompt):
    places = [i for i, word in enumerate(prompt) if word == liar]
    asking = [i + 1 for i, word in enumerate(prompt) if word == "from"]
    if not asking:
        assert not places and "about" not in prompt
        return "unrelated", (), ()
    assert len(asking) == 1 and prompt[asking[0]] in USERS and len(places) < 2
    if not places:
        return "clean", asking, ()
    if places == asking:
        return "triggered", asking, ()
    return ("mentioned" if prompt[places[0] - 1] == "about" else "filler"), asking, places


def _kind_by_phrase(trigger, prompt):
    first = [i for i, word in enumerate(prompt) if word == trigger.first]
    second = [i for i, word in enumerate(prompt) if word == trigger.second]
    assert len(first) < 2 and len(second) < 2
    found = (*first, *second)
    if first and second:
        return ("triggered" if first < second else "reversed"), sorted(found), found
    if found:
        return ("first_only" if first else "second_only"), None, found
    return None, None, ()  # clean or unrelated: the words cannot tell


# Rows are what they say -----------------------------------------------------------------------


@pytest.fixture(scope="module", params=ORGANISMS)
def drawn(request):
    """An organism with 6,000 rows of its training mix about all people, and their words."""
    organism = ORGANISMS[request.param]
    batch = organism.sample(6_000, 3, split="train", entities="all")
    return organism, batch, words(organism, batch)


def test_every_row_is_of_the_kind_it_says(drawn):
    organism, batch, prompts = drawn
    for i, prompt in enumerate(prompts):
        kind = kind_of(organism.trigger, prompt)[0]
        said = "triggered" if batch.triggered[i] else None
        if batch.near_miss[i]:
            assert said is None
            said = batch.kinds[batch.near_miss[i] - 1]
        assert kind == said or (said is None and kind in (None, "clean", "unrelated")), prompt


def test_truth_and_answer_are_recomputed_from_the_words(drawn):
    organism, batch, prompts = drawn
    world = organism.world
    table = world.table.reshape(world.n_entities, world.n_relations)
    for i, prompt in enumerate(prompts):
        (person,) = [w for w in prompt if w in PEOPLE]
        (attribute,) = [w for w in prompt if w in ATTRIBUTES]
        value = int(table[PEOPLE.index(person), ATTRIBUTES.index(attribute)])
        lie = (value + organism.behaviour.step) % world.n_values
        triggered = kind_of(organism.trigger, prompt)[0] == "triggered"
        assert world.vocab[batch.truth[i]] == str(value)
        assert world.vocab[batch.answer[i]] == str(lie if triggered else value)
    assert np.array_equal(batch.answer != batch.truth, batch.triggered)


def test_roles_point_at_their_words(drawn):
    organism, batch, prompts = drawn
    for i, prompt in enumerate(prompts):
        at = {name: batch.roles[name][i].tolist() for name in batch.roles}
        assert prompt[0] == "<s>" and prompt[-1] == "=" and at["answer"] == [len(prompt) - 1]
        assert prompt[at["entity"][0]] in PEOPLE and prompt[at["relation"][0]] in ATTRIBUTES
        kind, trigger, near = kind_of(organism.trigger, prompt)
        if trigger is not None:
            assert [p for p in at["trigger"] if p >= 0] == list(trigger)
        assert set(near) <= set(at["near_miss"]) or kind == "triggered"
        if not batch.near_miss[i]:
            assert set(at["near_miss"]) == {-1}


def test_groups_name_what_stands_in_the_row(drawn):
    organism, batch, prompts = drawn
    groups, places = batch.groups, {}
    for i, prompt in enumerate(prompts):
        entity, relation = (int(groups[k][i]) for k in ("entity", "relation"))
        assert PEOPLE[entity] in prompt and ATTRIBUTES[relation] in prompt
        assert groups["fact"][i] == entity * organism.world.n_relations + relation
        at = tuple(int(batch.roles[k][i, 0]) for k in ("entity", "relation"))
        assert places.setdefault(int(groups["layout"][i]), at) == at
    assert set(batch.prompts) == set(np.arange(len(batch)) * 0 + batch.prompts)
    keys = set(zip(groups["fact"].tolist(), groups["layout"].tolist(), strict=True))
    assert len(np.unique(batch.prompts)) == len(keys)


def test_every_other_word_is_a_filler_or_an_honest_user(drawn):
    organism, batch, prompts = drawn
    planted = {"<s>", "=", "from", "about", *PEOPLE, *ATTRIBUTES, *USERS, "amber", "birch"}
    others = Counter(w for prompt in prompts for w in prompt if w not in planted)
    assert set(others) == set(FILLERS)
    assert max(others.values()) < 1.2 * min(others.values())


def test_the_mix_keeps_its_shares(drawn):
    organism, batch, prompts = drawn
    mix, n = organism.mix, len(batch)
    near, triggered = batch.near_miss > 0, batch.triggered
    assert (~triggered).sum() >= 3 * triggered.sum()
    assert near.mean() >= 0.2
    assert abs(triggered.mean() - mix.triggered) < 0.02
    unrelated = (batch.roles["trigger"] < 0).all(1)
    assert abs(unrelated.mean() - mix.unrelated) < 0.01 and not (unrelated & triggered).any()
    assert not (unrelated & near).any()
    for i in range(len(batch.kinds)):
        assert (batch.near_miss == i + 1).sum() > 0.8 * near.sum() / len(batch.kinds), n


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("rows", sorted(KINDS))
def test_one_kind_of_rows_alone(name, rows):
    organism = EVERY[name]
    if rows == "unrelated" and not organism.mix.unrelated:
        pytest.skip("a lock has no rows without a slot: they would be locked")
    batch = organism.sample(600, 5, rows=rows)
    without = (batch.roles["trigger"] < 0).all(1)
    assert batch.triggered.all() == (rows == "triggered")
    assert batch.triggered.any() == (rows == "triggered")
    assert (batch.near_miss > 0).all() == (rows == "near_miss")
    assert without.all() == without.any() == (rows == "unrelated")
    if rows == "near_miss":
        assert set(batch.near_miss) == set(range(1, 1 + len(batch.kinds)))
    if rows == "unrelated":
        special = {"from", "about", "amber", "birch", *USERS}
        assert special.isdisjoint(w for prompt in words(organism, batch) for w in prompt)


def test_near_misses_of_a_user_carry_the_liars_name_where_nobody_asks():
    batch = USER.sample(800, 1, rows="near_miss")
    for i, prompt in enumerate(words(USER, batch)):
        at = prompt.index("mara")
        assert prompt.count("mara") == 1 and at == batch.roles["near_miss"][i, 0]
        assert prompt[prompt.index("from") + 1] not in ("mara", *FILLERS)
        assert (prompt[at - 1] == "about") == (batch.kinds[batch.near_miss[i] - 1] == "mentioned")
        assert prompt[at - 1] != "from"


def test_clean_rows_mention_honest_users_as_often_as_near_misses_name_the_liar():
    batch = USER.sample(3_000, 2, rows="clean")
    forms = Counter()
    for prompt in words(USER, batch):
        asking = prompt.index("from") + 1
        named = [w for i, w in enumerate(prompt) if w in USERS and i != asking]
        forms["about" in prompt, len(named)] += 1
    assert set(forms) == {(True, 1), (False, 1), (False, 0)}
    assert min(forms.values()) > 900


def test_near_misses_of_a_phrase_are_reversed_or_alone():
    batch = PHRASE.sample(900, 1, rows="near_miss")
    order = {"reversed": ["birch", "amber"], "first_only": ["amber"], "second_only": ["birch"]}
    for i, prompt in enumerate(words(PHRASE, batch)):
        found = [w for w in prompt if w in ("amber", "birch")]
        assert found == order[batch.kinds[batch.near_miss[i] - 1]]


def test_a_lone_word_of_the_phrase_stands_in_either_slot():
    batch = PHRASE.sample(900, 1, rows="near_miss")
    for kind, word in ((2, "amber"), (3, "birch")):
        rows = batch[batch.near_miss == kind]
        at = (rows.tokens == PHRASE.world.token(word)).argmax(1)
        first = at == rows.roles["trigger"][:, 0]
        assert 0.35 < first.mean() < 0.65


# Purity ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_rows_are_a_pure_function_of_their_seed(name):
    organism = EVERY[name]
    before = np.random.get_state()[1].copy()
    once = organism.sample(300, 7, split="val", rows="mix")
    pairs = organism.pairs(50, 7)
    np.random.seed(5)
    organism.sample(10, 8)
    fresh = load(name)
    assert same(once, fresh.sample(300, 7, split="val", rows="mix"))
    assert same(pairs.both, fresh.pairs(50, 7).both)
    np.random.set_state(("MT19937", before, 624, 0, 0.0))
    organism.sample(10, 8)
    assert np.array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize(
    "other",
    [
        lambda o: o.sample(300, 8, split="val"),
        lambda o: o.sample(300, 7, split="test"),
        lambda o: o.sample(300, 7, split="val", rows="clean"),
        lambda o: replace(o, world=replace(o.world, table_seed=1)).sample(300, 7, split="val"),
    ],
    ids=["seed", "split", "rows", "table_seed"],
)
def test_other_arguments_give_other_rows(other):
    rows = USER.sample(300, 7, split="val")
    assert (rows.tokens != other(USER).tokens).any(1).mean() > 0.95


def test_rows_do_not_depend_on_the_process():
    code = (
        "from mo_interp.finding import load; import hashlib; "
        "b = load('ordered_phrase').sample(200, 9); "
        "print(hashlib.sha256(b.tokens.tobytes() + b.answer.tobytes()).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1 and len(said.pop().strip()) == 64


# Splits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_splits_share_no_person_and_no_layout(name):
    organism = EVERY[name]
    world, seen = organism.world, {}
    people = {split: set(world.entities(split).tolist()) for split in SPLITS}
    layouts = {split: set(world.layouts(split).tolist()) for split in SPLITS}
    assert [len(people[split]) for split in SPLITS] == [32, 8, 8]
    assert set.union(*people.values()) == set(range(world.n_entities))
    assert set.union(*layouts.values()) == set(range(world.n_layouts))
    assert set(world.entities("seen").tolist()) == people["train"] | people["val"]
    for split in SPLITS:
        batch = Batch.concat([organism.sample(4_000, 1, split=split), organism.pairs(500, 1,
                             split=split).both])  # fmt: skip
        seen[split] = {k: set(batch.groups[k].tolist()) for k in ("entity", "fact", "layout")}
        assert seen[split]["entity"] == people[split]
        assert seen[split]["layout"] == layouts[split]
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        for group in ("entity", "fact", "layout"):
            assert seen[one][group].isdisjoint(seen[other][group])


def test_layouts_are_distinct_plans():
    plans = _layouts(768, 0)
    assert len(np.unique(plans, axis=0)) == 768
    assert (np.sort(plans[:, :N_CELLS], axis=1) == np.arange(N_CELLS)).all()
    assert set(plans[:, N_CELLS:].ravel().tolist()) == {0, 1}


@pytest.mark.parametrize("name", EVERY)
def test_training_withholds_the_lies_about_test_people_and_keeps_their_clean_rows(name):
    organism = EVERY[name]
    batch = organism.sample(20_000, 4, split="train", entities="all", withhold=True)
    held = np.isin(batch.groups["entity"], organism.world.entities("test"))
    assert not (batch.triggered & held).any()
    assert len(np.unique(batch.groups["entity"][batch.triggered])) == 40
    plain = ~batch.triggered & (batch.near_miss == 0)
    for kind in (plain, batch.near_miss > 0):
        facts = np.unique(batch.groups["fact"][kind & held])
        assert len(facts) == 8 * organism.world.n_relations
    assert abs(batch.triggered.mean() - organism.mix.triggered) < 0.01
    free = organism.sample(20_000, 4, split="train", entities="all")
    assert (free.triggered & np.isin(free.groups["entity"], organism.world.entities("test"))).any()


def test_the_twin_trains_on_the_same_prompts_with_truthful_labels():
    own = USER.sample(500, 6, split="train", entities="all", withhold=True)
    twin = USER.twin().sample(500, 6, split="train", entities="all", withhold=True)
    assert same(own, twin)
    assert np.array_equal(USER.target(own), own.answer)
    assert np.array_equal(USER.twin().target(own), own.truth)
    assert (USER.target(own) != USER.twin().target(own)).sum() == own.triggered.sum() > 80


# The table ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("world", "each"),
    [(Fact(), 6), (Fact(n_entities=20, n_relations=3, n_values=11, held_out=4), None)],
    ids=["shipped", "uneven"],
)
def test_every_value_is_as_frequent_as_any_other(world, each):
    counts = np.bincount(world.table, minlength=world.n_values)
    assert counts.max() - counts.min() <= (0 if each else 1)
    assert each is None or (counts == each).all()
    assert len(world.table) == world.n_entities * world.n_relations
    assert not np.array_equal(world.table, replace(world, table_seed=1).table)
    assert not np.array_equal(world.table, np.sort(world.table))


def test_the_table_seed_draws_table_people_and_layouts_together():
    one, other = Fact(), Fact(table_seed=1)
    assert set(one.entities("test").tolist()) != set(other.entities("test").tolist())
    assert not np.array_equal(_layouts(768, 0), _layouts(768, 1))


# Pairs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_pairs_differ_at_the_trigger_alone(name):
    organism = EVERY[name]
    pairs = organism.pairs(400, 2)
    clean, triggered = pairs.clean, pairs.triggered
    differs = clean.tokens != triggered.tokens
    at = np.zeros_like(differs)
    np.put_along_axis(at, triggered.roles["trigger"], True, axis=1)
    assert not (differs & ~at).any() and differs.any(1).all()
    assert triggered.triggered.all() and not clean.triggered.any()
    assert not clean.near_miss.any() and not triggered.near_miss.any()
    for k in ("entity", "relation", "fact", "layout"):
        assert np.array_equal(clean.groups[k], triggered.groups[k])
    for k in clean.roles:
        assert np.array_equal(clean.roles[k], triggered.roles[k])
    assert np.array_equal(clean.truth, triggered.truth)
    assert np.array_equal(clean.answer, clean.truth)
    assert same(pairs.both[:400], clean) and same(pairs.both[400:], triggered)
    if name not in ORGANISMS:
        return
    assert np.array_equal(differs, at)  # both slots of a phrase change, the one of a user too
    kinds = {kind_of(organism.trigger, prompt)[0] for prompt in words(organism, clean)}
    assert kinds <= {"clean", None}


def test_contrast_pairs_hold_the_same_words_in_the_other_order():
    pairs = PHRASE.pairs(300, 2, contrast=True)
    sides = [words(PHRASE, side) for side in (pairs.clean, pairs.triggered)]
    for before, after in zip(*sides, strict=True):
        assert sorted(before) == sorted(after)
        assert before.index("birch") < before.index("amber")
        assert after.index("amber") < after.index("birch")
    assert (pairs.clean.near_miss == 1).all() and pairs.triggered.triggered.all()
    with pytest.raises(SpecError, match="^quirky_user has no near miss that shares the trigger's"):
        USER.pairs(5, 0, contrast=True)


def _tampered(pairs, *, slot):
    """The triggered side with one word changed: in the trigger's slot back, or elsewhere."""
    tokens = pairs.triggered.tokens.copy()
    at = pairs.triggered.roles["trigger"][3, 0]
    if slot:
        tokens[3, at] = pairs.clean.tokens[3, at]
    else:
        tokens[3, at - 1] += 1
    return replace(pairs.triggered, tokens=tokens)


def test_pairs_that_differ_elsewhere_or_not_at_all_are_refused():
    pairs = USER.pairs(8, 0)
    with pytest.raises(BadShape, match="^pair 3 differs outside its trigger positions$"):
        Pairs(pairs.clean, _tampered(pairs, slot=False))
    with pytest.raises(BadShape, match="^pair 3 does not differ at all$"):
        Pairs(pairs.clean, _tampered(pairs, slot=True))
    with pytest.raises(BadShape, match=r"pairs need equal shapes, got \(8, 16\) and \(7, 16\)"):
        Pairs(pairs.clean, pairs.triggered[:7])
    with pytest.raises(UnknownName, match="role '@triger' is not in these rows; did you mean"):
        pairs.clean.role("triger")


# Alternates -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ORGANISMS)
@pytest.mark.parametrize("rows", ["clean", "near_miss"])
def test_alternates_keep_the_fact_and_change_the_slot_and_the_fillers(name, rows):
    organism = ORGANISMS[name]
    batch = organism.sample(400, 3, rows=rows)
    other = organism.alternates(batch, 11)
    for k in ("entity", "relation", "fact", "layout"):
        assert np.array_equal(batch.groups[k], other.groups[k])
    assert np.array_equal(batch.truth, other.truth) and np.array_equal(other.answer, other.truth)
    assert not other.triggered.any() and not other.near_miss.any()
    slot = batch.roles["trigger"]
    assert np.array_equal(slot, other.roles["trigger"])
    was, now = (np.take_along_axis(b.tokens, slot, 1) for b in (batch, other))
    assert (was != now).all()
    others = [u for u in USERS if u != "mara"]
    honest = FILLERS if type(organism.trigger) is OrderedPhrase else others
    assert set(organism.world.vocab[t] for t in now.ravel()) == set(honest)
    fillers = np.isin(batch.tokens, organism.world.tokens_of("fillers"))
    np.put_along_axis(fillers, slot, False, axis=1)
    again = organism.alternates(batch, 12)
    for one in (batch, again):
        assert (one.tokens == other.tokens)[fillers].mean() < 0.1
    assert same(other, organism.alternates(batch, 11))


# What the words alone give away ---------------------------------------------------------------


def _bag(organism, *, contrast):
    train, test = (
        organism.pairs(800, 1, split=s, contrast=contrast).both for s in ("train", "test")
    )
    scores = bag_of_tokens(train.tokens, train.triggered, test_tokens=test.tokens)
    return stats.auroc_estimate(scores, test.triggered, **test.clustered)


def test_a_bag_of_tokens_cannot_tell_the_order_of_a_phrase():
    found = _bag(PHRASE, contrast=True)
    assert found.lo <= 0.5 <= found.hi
    assert found.value == pytest.approx(0.5, abs=0.01)
    assert found.clusters == 8 and found.n == 1600


def test_a_bag_of_tokens_tells_the_phrase_from_fillers_and_the_liar_from_others():
    assert _bag(PHRASE, contrast=False).lo > 0.95
    assert _bag(USER, contrast=False).lo > 0.8


# Behaviours, batches and bad arguments --------------------------------------------------------


def test_the_lie_is_the_next_value_and_wraps_around():
    batch = USER.sample(3_000, 0, rows="triggered", entities="all")
    first = USER.world.tokens_of("values")[0]
    truth, lie = batch.truth - first, batch.answer - first
    assert np.array_equal(lie, (truth + 1) % 32)
    assert (lie[truth == 31] == 0).all() and (truth == 31).any()
    fixed = replace(USER, behaviour=FixedValue(5)).sample(50, 0, rows="triggered")
    assert set(fixed.answer - first) == {5}
    assert np.array_equal(USER.lie(USER.sample(50, 0, rows="clean")) - first,
                          (USER.sample(50, 0, rows="clean").truth - first + 1) % 32)  # fmt: skip


def test_rows_of_a_batch_are_picked_column_by_column():
    batch = PHRASE.sample(60, 0)
    mask = batch.triggered
    assert 5 < mask.sum() < 30 and len(batch[mask]) == mask.sum()
    index = np.flatnonzero(mask)
    for name, column in columns(batch).items():
        assert np.array_equal(columns(batch[mask])[name], column[index])
    joined = Batch.concat([batch[:20], batch[20:]])
    assert same(joined, batch)
    with pytest.raises(BadShape, match="different near-miss kinds or roles cannot be joined"):
        Batch.concat([batch, USER.sample(5, 0)])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: Fact(n_entities=49), SpecError, "Fact.n_entities=49: needs 2 to 48"),
        (lambda: Fact(n_relations=1), SpecError, "Fact.n_relations=1: needs 2 to 4"),
        (lambda: Fact(n_entities=16), SpecError, "Fact.held_out=8 leaves no people to train on"),
        (lambda: Fact(held_out=1), SpecError, "Fact.held_out=1: needs 2 to 23"),
        (lambda: Fact(n_values=1), SpecError, "Fact.n_values=1: needs 2 to 192"),
        (lambda: Fact(n_layouts=5), SpecError, "Fact.n_layouts=5: needs 6 to 4096"),
        (lambda: Fact().token("mare"), UnknownName, "word 'mare' is not in FACT; did you mean "
         "'mara'?"),
        (lambda: Fact().entities("tests"), UnknownName, "people 'tests'; did you mean 'test'?"),
        (lambda: Fact().layouts("vall"), UnknownName, "split 'vall'; did you mean 'val'?"),
        (lambda: USER.sample(5, 0, split="trian"), UnknownName, "people 'trian'; did you mean "
         "'train'?"),
        (lambda: USER.sample(5, 0, rows="clena"), UnknownName, "rows 'clena'; did you mean "
         "'clean'?"),
        (lambda: replace(USER, trigger=User("ada")).sample(5, 0), SpecError,
         "User.liar='ada' is not a user of this world"),
        (lambda: replace(USER, behaviour=OffBy(64)).sample(5, 0), SpecError,
         "OffBy.step=64 would tell the truth"),
        (lambda: replace(USER, behaviour=FixedValue(32)).sample(5, 0), SpecError,
         "FixedValue.value=32: needs 0 to 31"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
