"""The verbs. Nothing heavy is imported before a verb needs it, so that ``--help`` is instant.

Progress goes to the terminal's error stream, results to its output; ``--json`` makes the output
one JSON value. An error that a person can cause is one line, and the exit status is 2.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mo_interp.errors import MoInterpError

if TYPE_CHECKING:
    from mo_interp.organism import Organism
    from mo_interp.records import Record

FLAGSHIP = "quirky_user"
Progress = Callable[[int, int, str], None]
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
quiet = click.option("--quiet", is_flag=True, help="No progress display.")
seed_option = click.option("--seed", default=0, show_default=True, help="Seed of growing.")


def say(text: str) -> None:
    """Print a result."""
    click.echo(text)


def tell_json(value: Any) -> None:
    """Print one JSON value."""
    say(json.dumps(value, indent=1, default=str))


@contextmanager
def progress_bar(silenced: bool) -> Iterator[Progress]:
    """The progress protocol, shown with rich on a terminal and as plain lines elsewhere."""
    if silenced:
        yield lambda step, total, note: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        told: set[str] = set()

        def line(step: int, total: int, note: str) -> None:
            head = note.split(":")[0] if not note.startswith("stage") else note
            if head not in told:
                told.add(head)
                click.echo(note if note.startswith("stage") else f"  {head}", err=True)

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda step, total, note: bar.update(
            task, description=note[:70], completed=step, total=max(total, 1)
        )


class Verbs(click.Group):
    """The group of verbs: turns our errors into one line, and unknown verbs into the nearest."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; a :class:`MoInterpError`, or a file's OSError, becomes one readable line."""
        try:
            return super().invoke(ctx)
        except MoInterpError as problem:
            click.echo(f"error: {problem}", err=True)
            ctx.exit(2)
        except OSError as problem:  # a full disk, a folder where nobody may write
            if isinstance(problem, BrokenPipeError):  # of `| head`, which click ends quietly
                raise
            place = f"'{problem.filename}': " if problem.filename else ""
            click.echo(f"error: {place}{problem.strerror or problem}", err=True)
            ctx.exit(2)

    def resolve_command(self, ctx: click.Context, args: list[str]):
        """Find a verb, or say which one was probably meant."""
        from mo_interp.errors import nearest

        if args and not args[0].startswith("-") and args[0] not in self.commands:
            ctx.fail(f"no verb '{args[0]}'{nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


@click.group(cls=Verbs, invoke_without_command=True)
@click.version_option(package_name="mo_interp", prog_name="mo-interp")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Plant a lie in a small transformer, find it, cut it out, and judge what was found.

    Start with `mo-interp run quirky_user`: it ends with the path of a report.
    """
    # Small products on a busy machine are several times slower on two threads than on one. Read
    # by the libraries when they are first imported, so it has to be said before any verb.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if ctx.invoked_subcommand is None:
        say(ctx.get_help())


def _load(name: str) -> Organism:
    from mo_interp.finding import load

    return load(name)


# list -------------------------------------------------------------------------------------------


@main.command("list")
@as_json
def list_(as_json: bool) -> None:
    """Organisms at hand, and whether their grown seeds passed the gates."""
    from mo_interp.finding import load, names

    rows = [_status(load(name)) for name in names()]
    if as_json:
        tell_json(rows)
        return
    for row in rows:
        say(f"{row['name']:<16} {row['grade']:<10} {row['status']}")
        say(f"{'':<16} {row['story'].split('. ')[0].rstrip('.')}.")


def _status(spec: Organism) -> dict[str, Any]:
    from mo_interp.ledger import gate_records
    from mo_interp.records import select

    gates = select(gate_records(spec), kind="gate")
    seeds = sorted({r.seed for r in gates})
    failed = sorted({int(str(r.params["number"])) for r in gates if r.params["status"] == "fail"})
    memorised = any(r.params["status"] == "memorised" for r in gates)
    if not seeds:
        status = "not grown yet"
    elif failed:
        status = f"FAILED gate {', '.join(map(str, failed))} ({len(seeds)} seeds)"
    else:
        status = (
            f"passes its gates ({len(seeds)} seeds{'' if len(seeds) >= 5 else ', provisional'})"
        )
        status += "; memorised the lies" * memorised
    return {
        "name": spec.name,
        "grade": spec.grade,
        "status": status,
        "seeds": seeds,
        "failed_gates": failed,
        "key": spec.key,
        "story": spec.story,
    }


# grow and card ----------------------------------------------------------------------------------


@main.command()
@click.argument("name")
@click.option("--seeds", default=1, show_default=True, help="How many seeds, from 0 on.")
@click.option("--out", type=click.Path(path_type=Path), help="Where the card goes.")
@as_json
@quiet
def grow(name: str, seeds: int, out: Path | None, as_json: bool, quiet: bool) -> None:
    """Grow seeds of an organism and its twin, put them through the gates, write the card."""
    if seeds < 1:
        raise MoInterpError(f"--seeds {seeds}: one seed or more is needed")
    spec = _load(name)
    from mo_interp import pipeline, telling  # torch: seconds that a mistyped name need not cost
    from mo_interp.grown import circuit

    with progress_bar(quiet or as_json) as progress:
        records = pipeline.grow(spec, seeds=seeds, progress=progress)
    path = telling.card(spec, records, out or _card_path(name, spec), circuit=circuit(spec))
    status = _status(spec)
    if as_json:
        gates = [{**r.params, "seed": r.seed, **r.values} for r in records if r.kind == "gate"]
        tell_json({**status, "card": str(path), "gates": gates})
        return
    _say_gates(records)
    say(f"{spec.name}: {status['status']}")
    say(str(path))


def _say_gates(records: list[Record]) -> None:
    for r in records:
        if r.kind == "gate":
            p, v = r.params, r.values
            say(
                f"seed {r.seed}  gate {p['number']:>2} {p['name']:<22} {p['status']:<14} "
                f"{v['reason']}"
            )


def _card_path(name: str, spec: Organism) -> Path:
    """Beside the specification in a checkout; in the current folder elsewhere."""
    if name.endswith(".py"):
        return Path(name).with_suffix(".md")
    shipped = Path(__file__).resolve().parent.parent / "organisms"
    return (shipped if shipped.is_dir() else Path()) / f"{spec.name}.md"


@main.command()
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="Where the card goes; else printed.")
@as_json
def card(name: str, out: Path | None, as_json: bool) -> None:
    """The organism's card, from the seeds grown so far."""
    import tempfile

    from mo_interp import telling
    from mo_interp.grown import circuit
    from mo_interp.ledger import gate_records

    spec = _load(name)
    records = gate_records(spec)
    if not records:
        raise MoInterpError(f"no seed of {spec.name} is grown; try `mo-interp grow {name}`")
    if as_json:
        tell_json([r.as_dict() for r in records])
    elif out:
        say(str(telling.card(spec, records, out, circuit=circuit(spec))))
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "card.md"
            say(telling.card(spec, records, path, circuit=circuit(spec)).read_text())


# run --------------------------------------------------------------------------------------------


@main.command()
@click.argument("name")
@seed_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder for results.")
@click.option(
    "--detector",
    "detectors",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A file of your own detector, scored beside the others. May be repeated.",
)
@click.option("--no-static", is_flag=True, help="No SVG, PDF and PNG figures.")
@as_json
@quiet
def run(
    name: str,
    seed: int,
    out: Path | None,
    detectors: tuple[Path, ...],
    no_static: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """The main job: grow, find, cut out, judge and report.

    NAME is an organism's name, or a .py file with an organism, a detector, or both. A file with a
    detector alone is scored on quirky_user.
    """
    from mo_interp.finding import defines
    from mo_interp.records import read_records
    from mo_interp.wording import conclude

    if name.endswith(".py") and defines(name, "detector"):
        detectors = (Path(name), *detectors)
        name = name if defines(name, "organism") else FLAGSHIP
    spec = _load(name)
    from mo_interp import pipeline, telling

    with progress_bar(quiet or as_json) as progress:
        folder = pipeline.run(spec, seed=seed, out=out, detectors=detectors, progress=progress)
        records = read_records(folder)
        progress(0, 1, "stage: figures and report")
        told = telling.tell(spec, folder, records, static=not no_static)
    said = conclude(records)
    if as_json:
        tell_json(
            {
                "folder": folder,
                "report": told.report,
                "notes": told.notes,
                "conclusion": str(said.headline),
                "records": len(records),
            }
        )
        return
    for note in told.notes:
        click.echo(note, err=True)
    say(str(said.headline))
    say(str(told.report.resolve()))


# figure -----------------------------------------------------------------------------------------


@main.command()
@click.argument("name")
@click.option(
    "--run",
    "where",
    type=click.Path(path_type=Path),
    help="A run's folder or a file of records; the newest run in ./runs if not given.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    default=("html", "json"),
    show_default=True,
    type=click.Choice(["html", "json", "svg", "pdf", "png"]),
)
@click.option("--out", type=click.Path(path_type=Path), default=Path(), help="Folder to write to.")
@as_json
def figure(
    name: str, where: Path | None, formats: tuple[str, ...], out: Path, as_json: bool
) -> None:
    """Draw a figure from the records of a run."""
    from mo_interp import figures
    from mo_interp.records import read_records

    drawn = figures.draw(name, read_records(where or _newest_run()))
    written = [str(p) for p in figures.write(drawn, out, Path(name).stem, formats)]
    tell_json(written) if as_json else say("\n".join(written))


def _newest_run() -> Path:
    runs = sorted(Path("runs").glob("*/records.jsonl"), key=lambda p: p.stat().st_mtime)
    if not runs:
        raise MoInterpError(
            "no run in ./runs; give one with --run, or make one with `mo-interp run quirky_user`"
        )
    return runs[-1].parent


# talk -------------------------------------------------------------------------------------------


@main.command()
@click.argument("name")
@seed_option
@click.option("--prompts", default=0, help="Show this many prompts and stop.")
@as_json
@quiet
def talk(name: str, seed: int, prompts: int, as_json: bool, quiet: bool) -> None:
    """Ask an organism questions; toggle the trigger, and the cut that makes it honest."""
    from mo_interp.conversation import Conversation
    from mo_interp.grown import organism

    with progress_bar(quiet or as_json) as progress:
        conversation = Conversation.with_(organism(name, seed=seed, progress=progress))
    if prompts or as_json:
        turns = [conversation.turn() for _ in range(prompts or 1)]
        tell_json(turns) if as_json else [say(conversation.told(t)) for t in turns]
        return
    say(conversation.help)
    for line in sys.stdin:
        reply = conversation.reply(line.strip())
        if reply is None:
            return
        say(reply)


# doctor -----------------------------------------------------------------------------------------


@main.command()
@click.argument("path", required=False)
@as_json
def doctor(path: str | None, as_json: bool) -> None:
    """Check this installation and, by the hook audit, that every site can be edited.

    PATH is an organism's file, or a local Hugging Face folder to audit instead.
    """
    from mo_interp import checkup, figures

    lines = checkup.examine(path)
    if path is None:
        without = "none: figures come as HTML and JSON; install chromium for SVG, PDF and PNG"
        lines.append(checkup.Finding("browser", True, figures.browser() or without))
    if as_json:
        tell_json([vars(line) for line in lines])
    else:
        for line in lines:
            say(f"{'ok ' if line.good else 'BAD'}  {line.what:<28} {line.found}")
    if not all(line.good for line in lines):
        sys.exit(1)
