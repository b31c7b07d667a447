"""``mo-interp doctor``: what is installed, and which sites are sound."""

from __future__ import annotations

import sys

import click

from mo_interp.cli.display import say, tell_json
from mo_interp.cli.group import main
from mo_interp.cli.options import DETECTOR, ORGANISM, completes, examples, json_option


@main.command(epilog=examples("doctor", "doctor ./mine.py"))
@click.argument("path", required=False, shell_complete=completes(ORGANISM, DETECTOR))
@json_option
@click.option("--quiet", is_flag=True, help="Say only what is bad.")
def doctor(path: str | None, as_json: bool, quiet: bool) -> None:
    """Check this installation and, by the hook audit, that every site can be edited.

    PATH is the name or file of an organism or a detector, or a local Hugging Face folder, to be
    checked instead. The exit status is 1 where something is bad.
    """
    from mo_interp import checkup, figures

    lines = checkup.examine(path)
    if path is None:
        lines.append(checkup.chrome(figures.browser()))
    if as_json:
        tell_json([vars(line) for line in lines])
    else:
        for line in lines:
            if not (quiet and line.good):
                say(f"{'ok ' if line.good else 'BAD'}  {line.what:<28} {line.found}")
    if not all(line.good for line in lines):
        sys.exit(1)
