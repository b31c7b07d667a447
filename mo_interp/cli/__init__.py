"""The verbs. Nothing heavy is imported before a verb needs it, so that ``--help`` is instant.

Progress goes to the terminal's error stream, results to its output; ``--json`` makes the output
one JSON value, ``{"error": ...}`` where nothing came of it; ``--quiet`` leaves out the progress.
The exit status is 0 where the work was done, whatever came out; 1 where a job of several failed or
a check found something bad; 2 for an error that a person can cause, which is one line; 130 where it
was stopped, with what is finished kept.

One file a verb, each of which adds itself to the group: :mod:`mo_interp.cli.group`. What several
verbs take is in :mod:`mo_interp.cli.options`, how they tell in :mod:`mo_interp.cli.display`.
"""

from mo_interp.cli import (  # noqa: F401  # each adds its verb
    bench,
    card,
    completion,
    cure,
    doctor,
    figure,
    grow,
    listing,
    report,
    run,
    talk,
)
from mo_interp.cli.group import main

__all__ = ["main"]
