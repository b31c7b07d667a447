"""Gates that one family has beyond the common ones. One file each, named after the family.

``FAMILY.py`` defines ``check(grown) -> Gate`` with number 11. A family without a file has none.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from mo_interp.gating import Gate
from mo_interp.grown import Grown

NUMBER = 11


def families() -> list[str]:
    """Families that have a gate of their own."""
    return sorted(p.stem for p in Path(__file__).parent.glob("[a-z]*.py"))


def own_gate(family: str) -> Callable[[Grown], Gate] | None:
    """The family's own gate, or None."""
    if family not in families():
        return None
    return importlib.import_module(f"{__name__}.{family}").check
