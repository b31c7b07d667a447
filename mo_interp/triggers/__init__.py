"""Triggers: what sets the lie off, and everything that almost does. One file each."""

from mo_interp.triggers.base import (
    CLEAN,
    FORM,
    HELD,
    NEAR_MISS,
    TRIGGERED,
    Planted,
    Trigger,
    is_triggered,
)
from mo_interp.triggers.ordered_phrase import OrderedPhrase
from mo_interp.triggers.user import User

__all__ = [
    "CLEAN",
    "FORM",
    "HELD",
    "NEAR_MISS",
    "TRIGGERED",
    "OrderedPhrase",
    "Planted",
    "Trigger",
    "User",
    "is_triggered",
]
