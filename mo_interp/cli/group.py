"""The group of verbs: statuses, interruption, unknown verbs, and what to do next."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mo_interp.cli.display import say, tell_json
from mo_interp.cli.options import FLAGSHIP
from mo_interp.errors import MoInterpError

SHORT = ("list", "talk", "doctor", "completion")
"""Verbs that leave nothing to go on with."""


class Verbs(click.Group):
    """The group of verbs: turns our errors into one line, and unknown verbs into the nearest."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words, to tell how an interrupted verb goes on."""
        ctx.meta["words"] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; a :class:`MoInterpError`, or a file's OSError, becomes one readable line."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            words = shlex.join(["mo-interp", *ctx.meta["words"]])
            again = f"stopped; what is finished is kept, and this goes on from there:\n  {words}"
            short = ctx.invoked_subcommand in (None, *SHORT)
            click.echo("" if short else again, err=True)
            _as_json(ctx, "stopped")
            ctx.exit(130)
        except click.UsageError as problem:
            _as_json(ctx, problem.format_message())
            raise
        except MoInterpError as problem:
            _fail(ctx, f"{problem}{_beside(problem, ctx.meta['words'])}")
        except OSError as problem:  # a full disk, a folder where nobody may write
            if isinstance(problem, BrokenPipeError):  # of `| head`, which click ends quietly
                raise
            place = f"'{problem.filename}': " if problem.filename else ""
            told = isinstance(problem, FileExistsError | NotADirectoryError)
            more = "; there is a file, and a folder is needed" if told else ""
            _fail(ctx, f"{place}{problem.strerror or problem}{more}")

    def resolve_command(self, ctx: click.Context, args: list[str]):
        """Find a verb, or say which one was probably meant."""
        from mo_interp.errors import nearest

        if args and not args[0].startswith("-") and args[0] not in self.commands:
            ctx.fail(f"no verb '{args[0]}'{nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


def _fail(ctx: click.Context, message: str) -> None:
    """Tell what was wrong and leave."""
    click.echo(f"error: {message}", err=True)
    _as_json(ctx, message)
    ctx.exit(2)


def _as_json(ctx: click.Context, message: str) -> None:
    """The same as one JSON value, for a program that asked for one."""
    if "--json" in ctx.meta["words"]:
        tell_json({"error": message})


def _beside(problem: MoInterpError, words: Sequence[str]) -> str:
    """The path to give, where a word that is no name is an organism's file in this folder."""
    from mo_interp.finding import defines

    unknown = [word for word in words if f"'{word}'" in str(problem)]
    files = [word for word in unknown if defines(f"{word}.py", "organism")]
    return f"; or, for the file that is here: ./{files[0]}.py" if files else ""


@click.group(cls=Verbs, invoke_without_command=True)
@click.version_option(package_name="mo_interp", prog_name="mo-interp")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Plant a lie in a small transformer, find it, cut it out, and judge what was found.

    Start with `mo-interp run quirky_user`: it ends with the path of a report. Without a verb, it
    says what to do next in this folder.
    """
    # Small products on a busy machine are several times slower on two threads than on one. Read
    # by the libraries when they are first imported, so it has to be said before any verb.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if ctx.invoked_subcommand is None:
        say("\n".join(next_steps()))


def next_steps(runs: Path = Path("runs")) -> list[str]:
    """What to do next: begin, go on with what was interrupted, or look at what is finished."""
    folders = sorted(runs.glob("*/run.json"), key=lambda path: -path.stat().st_mtime)
    if not folders:
        lines = ["Nothing was run in this folder yet. Begin with",
                 f"  mo-interp run {FLAGSHIP} --plan   what it takes",
                 f"  mo-interp run {FLAGSHIP}          to a report",
                 f"  mo-interp talk {FLAGSHIP}         ask it questions"]  # fmt: skip
    else:
        lines = _after(folders[0])
    return [*lines, "  mo-interp list                    organisms at hand",
            "  mo-interp --help                  all verbs"]  # fmt: skip


def _after(claim: Path) -> list[str]:
    """What the newest run in the folder calls for."""
    told = json.loads(claim.read_text(encoding="utf-8"))
    name, seed = str(told["organism"]), int(told["seed"])
    own = Path(f"{name}.py")
    name = f"./{own}" if own.is_file() else name
    which = f"{name} --seed {seed}" if seed else name
    report = claim.parent / "report.html"
    if not report.exists():
        return [f"{claim.parent} was not finished. Go on with", f"  mo-interp run {which}"]
    return [f"The newest run is told in {report.resolve()}",
            "Next, for instance",
            f"  mo-interp talk {which:<28} ask it, toggle the trigger and the cut",
            f"  mo-interp cure {which:<28} take the lie out of the weights",
            f"  mo-interp figure verdicts --run {claim.parent}",
            f"  mo-interp grow {name} --seeds 5   one seed is no result"]  # fmt: skip
