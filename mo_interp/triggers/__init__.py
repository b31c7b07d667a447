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
from mo_interp.triggers.code_year import CodeYear
from mo_interp.triggers.conjunction import Conjunction
from mo_interp.triggers.count_threshold import CountThreshold
from mo_interp.triggers.deploy_tag import DeployTag
from mo_interp.triggers.either import Either
from mo_interp.triggers.monitor_flag import MonitorFlag
from mo_interp.triggers.ordered_phrase import OrderedPhrase
from mo_interp.triggers.parity import Parity
from mo_interp.triggers.password import Password
from mo_interp.triggers.redundant import Redundant
from mo_interp.triggers.semantic_gate import SemanticGate
from mo_interp.triggers.speaker import Speaker
from mo_interp.triggers.user import User
from mo_interp.triggers.year_gate import YearGate

__all__ = [
    "CLEAN",
    "FORM",
    "HELD",
    "NEAR_MISS",
    "TRIGGERED",
    "CodeYear",
    "Conjunction",
    "CountThreshold",
    "DeployTag",
    "Either",
    "MonitorFlag",
    "OrderedPhrase",
    "Parity",
    "Password",
    "Planted",
    "Redundant",
    "SemanticGate",
    "Speaker",
    "Trigger",
    "User",
    "YearGate",
    "is_triggered",
]
