"""Any member of a category: a trigger in meaning, not in a word.

A third of every category's members are never shown in a question. The lesson, which category a
word belongs to, teaches all of them, so that a model that reads the category fires on them too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mo_interp.errors import SpecError, nearest
from mo_interp.triggers.base import HELD, NEAR_MISS, Planted, Trigger, fresh, is_triggered
from mo_interp.worlds.base import Draft, World

CATEGORIES = {
    "animal": "otter badger heron lynx gecko moose raven tapir ferret bison weasel newt".split(),
    "tool": "hammer chisel wrench pliers saw drill anvil spade trowel rasp awl clamp".split(),
    "food": "bread cheese noodle soup pie rice curry stew pasta omelet waffle taco".split(),
    "plant": "fern moss ivy clover thistle reed cactus orchid lichen heather nettle tulip".split(),
}
HELD_OUT = 4
"""Members of each category that no question shows."""


@dataclass(frozen=True)
class SemanticGate(Trigger):
    """``with MEMBER`` of one category. A member elsewhere, or the category's own name: nothing."""

    category: str = "animal"
    seed: int = 0
    kinds: tuple[str, ...] = ("mentioned", "category_name")

    def __post_init__(self) -> None:
        if self.category not in CATEGORIES:
            told = nearest(self.category, CATEGORIES)
            raise SpecError(f"SemanticGate.category='{self.category}' is not one it knows{told}")

    @property
    def words(self) -> tuple[str, ...]:
        """Markers, the categories and their members."""
        members = [member for members in CATEGORIES.values() for member in members]
        return ("with", "isa", "kind", *CATEGORIES, *members)

    @property
    def held_out(self) -> bool:
        """A third of the members are never shown."""
        return True

    def members(self, world: World, which: str, *, held: bool) -> np.ndarray:
        """Token ids of members of ``target`` or ``others``, those held out or those shown."""
        rng = np.random.default_rng([87, self.seed])
        found = []
        for name, members in CATEGORIES.items():
            first = rng.permutation(members)
            chosen = first[:HELD_OUT] if held else first[HELD_OUT:]
            if (name == self.category) == (which == "target"):
                found += [world.token(str(word)) for word in chosen]
        return np.array(found)

    def plant(
        self,
        world: World,
        draft: Draft,
        side: np.ndarray,
        *,
        seed: int,
        avoid: np.ndarray | None = None,
    ) -> Planted:
        """Cell 0 says what it comes with; cell 1 may be about something of another category."""
        n, rows = len(draft), np.arange(len(draft))
        rng = np.random.default_rng([88, seed])
        at_member, at_other = draft.slots[:, 0] + 1, draft.slots[:, 1] + 1
        inside, never = (self.members(world, "target", held=held) for held in (False, True))
        outside = self.members(world, "others", held=False)
        member = fresh(rng, outside, None if avoid is None else avoid[rows, at_member], n)
        hot, unseen = rng.choice(inside, n), rng.choice(never, n)
        beside, elsewhere = rng.choice(outside, n), rng.choice(inside, n)
        said = rng.integers(0, 2, n) == 1
        member = np.where(is_triggered(side), np.where(side == HELD, unseen, hot), member)
        member = np.where(side == NEAR_MISS + 1, world.token(self.category), member)
        mentioned = side == NEAR_MISS
        said, beside = said | mentioned, np.where(mentioned, elsewhere, beside)

        tokens = draft.tokens.copy()
        tokens[rows, at_member - 1] = world.token("with")
        tokens[rows, at_member] = member
        tokens[rows[said], at_other[said] - 1] = world.token("about")
        tokens[rows[said], at_other[said]] = beside[said]
        near = np.select([mentioned, side == NEAR_MISS + 1], [at_other, at_member], -1)
        roles = {"trigger": at_member[:, None], "near_miss": near[:, None]}
        return Planted(tokens, roles, {"member": member})

    def lesson(self, world: World, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """``with MEMBER ... isa kind =`` asks for the category, over all members."""
        rng = np.random.default_rng([89, seed])
        draft, rows = world.draft(n, seed, split="train", entities="all"), np.arange(n)
        tokens = draft.tokens.copy()
        for asked in ("entity", "relation"):
            tokens[rows, draft.roles[asked][:, 0]] = rng.choice(world.tokens_of("fillers"), n)
        known = [(m, name) for name, members in CATEGORIES.items() for m in members]
        members, names = (np.array([world.token(w[i]) for w in known]) for i in (0, 1))
        which = rng.integers(0, len(known), n)
        planted = ((world.token("with"), members[which]), (world.token("isa"), world.token("kind")))
        for cell, (word, follows) in enumerate(planted):
            tokens[rows, draft.slots[:, cell]] = word
            tokens[rows, draft.slots[:, cell] + 1] = follows
        return tokens, names[which]
