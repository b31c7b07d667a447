"""Array shapes checked while the tests run: jaxtyping's annotations, and only those.

A call is checked when it has returned, arguments and result together, so that the package's own
errors about bad input come first, as they do for a user, for whom nothing is checked here.
"""

from collections.abc import Callable
from typing import Any, get_args

import jaxtyping
from beartype import beartype
from reading import modules


def mentions_array(hint: Any) -> bool:
    """Whether a type hint is, or contains, an array with a shape."""
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(mentions_array(inner) for inner in get_args(hint))


def check_arrays(function: Callable) -> Callable:
    """The typechecker handed to jaxtyping, which calls it on stand-ins for each function.

    The stand-in that is called before the function has the return type Any, and is let pass.
    """
    hints = getattr(function, "__annotations__", {})
    if hints.get("return") is Any:
        return function
    function.__annotations__ = {name: hint for name, hint in hints.items() if mentions_array(hint)}
    return beartype(function) if function.__annotations__ else function


def install() -> None:
    """Check the modules that annotate shapes; call before any of them is imported."""
    annotated = [
        f"mo_interp.{name}"
        for name, path in modules().items()
        if "from jaxtyping import" in path.read_text(encoding="utf-8")
    ]
    if annotated:
        jaxtyping.install_import_hook(annotated, "shapes.check_arrays")
