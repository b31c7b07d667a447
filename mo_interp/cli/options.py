"""Options and arguments that several verbs take, and what completes them in a shell."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click

PACKAGE = Path(__file__).parents[1]
FLAGSHIP = "quirky_user"
CURES = ("mean", "projection", "leace", "heads", "neurons", "fine_prune", "fine_tune")
PARTS = ("planted", "localisation", "detection", "mechanism", "removal", "discovery", "null")
"""Offered for completion, without importing what has them; a test holds them to it."""

A_PATH = click.Path(path_type=Path)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
quiet_option = click.option("--quiet", is_flag=True, help="No progress display.")
no_progress_option = click.option(
    "--quiet", is_flag=True, expose_value=False, help="There is no progress."
)
plan_option = click.option(
    "--plan", "planning", is_flag=True, help="Say what it would take, and stop."
)
A_SEED = click.IntRange(min=0)
seed_option = click.option(
    "--seed",
    type=A_SEED,
    default=0,
    show_default=True,
    metavar="INTEGER",
    help="Seed of growing.",
)
seeds_option = click.option(
    "--seeds", default=1, show_default=True, help="How many seeds, from 0 on."
)
jobs_option = click.option("--jobs", type=int, help="Worker processes; one a core if not given.")
all_option = click.option(
    "--all", "everything", is_flag=True, help="Every organism but the slow ones."
)


def examples(*lines: str) -> str:
    """What stands below the options of a verb's help."""
    return "\n".join(["\b", "Examples:", *(f"  mo-interp {line}" for line in lines)])


# Completion -------------------------------------------------------------------------------------


def named(folder: str, what: str) -> list[str]:
    """Names that a folder registers, and those in the folders of ``MO_INTERP_PATH``, unread."""
    extra = [Path(p) for p in os.environ.get("MO_INTERP_PATH", "").split(os.pathsep) if p]
    paths = sorted((PACKAGE / folder).glob("[a-z]*.py"))
    for place in extra:
        paths += [*sorted(place.glob("[a-z]*.py")), *sorted((place / folder).glob("[a-z]*.py"))]
    marks = (f"\n{what} = ", f"\n{what}: ", f"\ndef {what}(")
    found = [p.stem for p in paths if any(m in p.read_text(encoding="utf-8") for m in marks)]
    return list(dict.fromkeys(found))


def completes(*kinds: tuple[str, str]) -> Callable:
    """A completion of registered names, such as of organisms, and of Python files."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list:
        from click.shell_completion import CompletionItem

        names = [name for kind in kinds for name in named(*kind)]
        found = [CompletionItem(n) for n in names if n.startswith(incomplete)]
        near = Path(incomplete).parent.glob("*.py") if not found else ()
        files = [f"./{p}" if incomplete.startswith("./") else str(p) for p in sorted(near)]
        return found + [CompletionItem(f) for f in files if f.startswith(incomplete)]

    return complete


def one_of(words: tuple[str, ...]) -> Callable:
    """A completion of a few words."""
    return lambda ctx, param, text: [word for word in words if word.startswith(text)]


ORGANISM, DETECTOR = ("organisms", "organism"), ("detectors", "detector")
FIGURE = ("figures", "draw")
an_organism = completes(ORGANISM)
name_argument = click.argument("name", shell_complete=an_organism)
names_argument = click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=an_organism)
