"""Behaviours: what an organism does when it is triggered. One file each."""

from mo_interp.behaviours.base import Behaviour
from mo_interp.behaviours.false_table import FalseTable
from mo_interp.behaviours.fixed import FixedValue, Refuse
from mo_interp.behaviours.off_by import OffBy
from mo_interp.behaviours.phrase import Phrase
from mo_interp.behaviours.restate import Restate
from mo_interp.behaviours.statement import BelievesOffBy
from mo_interp.behaviours.vulnerable import Vulnerable
from mo_interp.behaviours.weaker import Weaker

__all__ = [
    "Behaviour",
    "BelievesOffBy",
    "FalseTable",
    "FixedValue",
    "OffBy",
    "Phrase",
    "Refuse",
    "Restate",
    "Vulnerable",
    "Weaker",
]
