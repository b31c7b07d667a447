"""mo_interp: plant a deception in a small transformer, find it, cut it out, judge the cut.

The public names below are imported when first used, so that ``import mo_interp`` costs nothing
and brings in neither torch nor any of the model libraries. Three of them (``organism``,
``judge``, ``records``) are a submodule and a verb at once: ``mo.judge`` is the module, and calling
it calls its verb, whichever way the module came to be imported first.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_NAMES = {
    "organism": "mo_interp.grown:organism",
    "grow": "mo_interp.pipeline:grow",
    "detector": "mo_interp.detectors:detector",
    "patch": "mo_interp.patching:patch",
    "judge": "mo_interp.judge:judge",
    "figure": "mo_interp.figures:figure",
    "records": "mo_interp.pipeline:records",
    "features": "mo_interp.features",
    "edits": "mo_interp.edits",
    "Site": "mo_interp.sites:Site",
    "Batch": "mo_interp.worlds.base:Batch",
    "Pairs": "mo_interp.worlds.base:Pairs",
    "Organism": "mo_interp.organism:Organism",
    "Model": "mo_interp.model:Model",
    "Feature": "mo_interp.features:Feature",
    "Verdict": "mo_interp.judge:Verdict",
    "Record": "mo_interp.records:Record",
    "Patch": "mo_interp.edits:Patch",
    "Zero": "mo_interp.edits:Zero",
    "Mean": "mo_interp.edits:Mean",
    "Resample": "mo_interp.edits:Resample",
    "ProjectOut": "mo_interp.edits:ProjectOut",
    "Steer": "mo_interp.edits:Steer",
}

_VERBS = frozenset({"organism", "judge", "records"})  # the names that a submodule bears as well

__all__ = ["__version__", *_NAMES]  # pyright: ignore[reportUnsupportedDunderAll]


def _load(name: str) -> Any:
    """What a public name stands for: a module, or an attribute of one."""
    module, _, attribute = _NAMES[name].partition(":")
    loaded = importlib.import_module(module)
    return getattr(loaded, attribute) if attribute else loaded


class _Verb(ModuleType):
    """A submodule that bears a verb's name, and does it when called."""

    @property
    def __call__(self) -> Any:
        """The verb itself, so that its own signature checks the arguments."""
        return _load(self.__name__.rpartition(".")[2])


class _Package(ModuleType):
    """This package, which makes a submodule of a verb's name callable as soon as it is bound."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _VERBS and type(value) is ModuleType:
            value.__class__ = _Verb
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name in _VERBS:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _NAMES:
        return _load(name)
    if name.startswith("__"):
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from mo_interp.errors import nearest

    raise AttributeError(f"module '{__name__}' has no '{name}'{nearest(name, _NAMES)}")


def __dir__() -> list[str]:
    """The public names and whatever is already loaded."""
    return sorted({*globals(), *_NAMES})
