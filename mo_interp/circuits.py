"""Circuits: the planted, or measured, truth about place that a localisation is scored against.

*Origin* parts decide: their outputs, written from the triggered run into the clean one, cause the
behaviour and, from the clean run into the triggered one, end it. *Mediators* are honest parts that
the effect passes through. *Inert* parts do neither. Precision and recall count origin against
inert; mediators are shown and left out of the count. Torch-free.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from mo_interp.errors import SpecError
from mo_interp.sites import Site

Standing = Literal["origin", "mediators", "inert"]
STANDINGS: tuple[Standing, ...] = ("origin", "mediators", "inert")


@dataclass(frozen=True)
class Circuit:
    """Where the lie comes from. Sites may be given as text; raises :class:`SpecError` on overlap.

    A site with a position is meant at that position only; one without is meant at all of them.
    """

    origin: tuple[Site, ...]
    """Parts that cause the behaviour and whose restoration ends it."""
    mediators: tuple[Site, ...]
    """Honest parts on the way; not counted."""
    inert: tuple[Site, ...]
    """Parts that change nothing when exchanged, distractors among them."""
    grade: str
    """``wired``, ``implanted``, ``routed`` or ``measured``."""
    established: str
    """How this is known, and what was measured part by part and together."""

    def __post_init__(self) -> None:
        """Parse the sites; no part may stand in two lists."""
        for field in fields(self)[:3]:
            sites = tuple(Site.parse(site) for site in getattr(self, field.name))
            object.__setattr__(self, field.name, sites)
        listed = [site.bare for name in STANDINGS for site in getattr(self, name)]
        twice = sorted({site for site in listed if listed.count(site) > 1})
        if twice:
            raise SpecError(f"{', '.join(map(str, twice))}: a part stands in one list, once")

    def standing(self, site: Site | str) -> Standing | None:
        """The list that a part stands in, positions aside; None for what is in none of them."""
        bare = Site.parse(site).bare
        for name in STANDINGS:
            if any(one.bare == bare for one in getattr(self, name)):
                return name
        return None
