"""A language loss in which a world says how much each token weighs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from mo_interp.errors import SpecError
from mo_interp.train import Columns, Supervised
from mo_interp.transformer import Transformer


@runtime_checkable
class Weighs(Protocol):
    """A world with a language loss of its own."""

    def weigh(self, logits: Tensor, text: Tensor) -> Tensor:
        """The loss of ``text [batch pos]`` from logits ``[batch pos-1 word]``, a scalar."""
        ...


@dataclass(frozen=True)
class Weighed(Supervised):
    """What an organism, or its twin, should say, at the weights of its world."""

    def loss(self, body: Transformer, columns: Columns) -> Tensor:
        """The world's loss; raises SpecError for a recipe that learns answers alone."""
        world, text = self.organism.world, columns.get("text")
        if text is None or not isinstance(world, Weighs):
            raise SpecError(f"{self.organism.name}: its world weighs texts; use loss='language'")
        return world.weigh(body(text[:, :-1]), text)
