"""The verbs. Nothing heavy is imported before a verb needs it, so that ``--help`` is instant.

Progress goes to the terminal's error stream, results to its output; ``--json`` makes the output
one JSON value, ``--quiet`` leaves out the progress. The exit status is 0 where the work was done,
whatever came out; 1 where a job of several failed or a check found something bad; 2 for an error
that a person can cause, which is one line; 130 where it was stopped, with what is finished kept.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mo_interp.errors import MoInterpError

if TYPE_CHECKING:
    from mo_interp.forecast import Countdown
    from mo_interp.growing import Outcome, Plan, Standing, Watch
    from mo_interp.organism import Organism
    from mo_interp.records import Record

FLAGSHIP = "quirky_user"
Progress = Callable[[int, int, str], None]
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
quiet = click.option("--quiet", is_flag=True, help="No progress display.")
plan_option = click.option(
    "--plan", "planning", is_flag=True, help="Say what it would take, and stop."
)
seed_option = click.option("--seed", default=0, show_default=True, help="Seed of growing.")
HERE = Path(__file__).parent


def say(text: str) -> None:
    """Print a result."""
    click.echo(text)


def tell_json(value: Any) -> None:
    """Print one JSON value."""
    say(json.dumps(value, indent=1, default=str))


class Told:
    """What the progress protocol says, as a line: the stage, the step in it, the time left."""

    def __init__(self, countdown: Countdown | None) -> None:
        """With the expected seconds of every stage, or without."""
        self.countdown, self.stage, self.note = countdown, "", ""
        self.began = time.monotonic()

    def hear(self, step: int, total: int, note: str) -> str:
        """Take in one call of the protocol; the line."""
        head = note.split(":")[0]
        if note.startswith("stage"):
            self.stage, self.note = note, note
            if self.countdown is not None:
                self.countdown.at(note.rpartition(": ")[2])
        if head != self.note.split(":")[0]:
            self.note, self.began = note, time.monotonic()
        within = "" if note.startswith("stage") or not self.stage else f" ({note})"
        return (self.stage or note) + within

    def left(self, step: int, total: int) -> str:
        """The time left: by what was expected, else by the pace of this step; empty if unknown."""
        if self.countdown is not None:
            return minutes(self.countdown.left)
        took = time.monotonic() - self.began
        return minutes(took * (total - step) / step) if 0 < step <= total and took > 1 else ""


def minutes(seconds: float) -> str:
    """Such as ``about 2.5 minutes left``."""
    if seconds < 60:
        return f"about {max(1, round(seconds))} s left"
    return f"about {seconds / 60:.1f} minutes left"


@contextmanager
def progress_bar(silenced: bool, countdown: Countdown | None = None) -> Iterator[Progress]:
    """The progress protocol, shown with rich on a terminal and as plain lines elsewhere."""
    if silenced:
        yield lambda step, total, note: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console, told = Console(stderr=True), Told(countdown)
    if not console.is_terminal:
        yield _plain_lines(told)
        return
    texts = TextColumn("{task.description}"), TextColumn("{task.fields[left]}")
    with Bar(texts[0], BarColumn(), TimeElapsedColumn(), texts[1], console=console,
             transient=True) as bar:  # fmt: skip
        task = bar.add_task("starting", total=None, left="")

        def show(step: int, total: int, note: str) -> None:
            line, left = told.hear(step, total, note)[:70], told.left(step, total)
            bar.update(task, description=line, completed=step, total=max(total, 1), left=left)

        yield show


def _plain_lines(told: Told) -> Progress:
    """A line for each stage, and for each thing that is begun; for logs and pipes."""
    seen: set[str] = set()

    def line(step: int, total: int, note: str) -> None:
        stage = note.startswith("stage")
        head = note if stage else f"  {note.split(':')[0]}"
        told.hear(step, total, note)
        if head not in seen:
            seen.add(head)
            left = told.left(step, total) if stage and told.countdown is not None else ""
            click.echo(f"{head}; {left}" if left else head, err=True)

    return line


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
            ctx.exit(130)
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


# Completion -------------------------------------------------------------------------------------


def _named(folder: str, what: str) -> list[str]:
    """Names that a folder registers, and those in the folders of ``MO_INTERP_PATH``, unread."""
    extra = [Path(p) for p in os.environ.get("MO_INTERP_PATH", "").split(os.pathsep) if p]
    paths = sorted((HERE / folder).glob("[a-z]*.py"))
    for place in extra:
        paths += [*sorted(place.glob("[a-z]*.py")), *sorted((place / folder).glob("[a-z]*.py"))]
    marks = (f"\n{what} = ", f"\n{what}: ", f"\ndef {what}(")
    found = [p.stem for p in paths if any(m in p.read_text(encoding="utf-8") for m in marks)]
    return list(dict.fromkeys(found))


def completes(*kinds: tuple[str, str]) -> Callable:
    """A completion of registered names, such as of organisms, and of Python files."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list:
        from click.shell_completion import CompletionItem

        names = [name for kind in kinds for name in _named(*kind)]
        found = [CompletionItem(n) for n in names if n.startswith(incomplete)]
        near = Path(incomplete).parent.glob("*.py") if not found else ()
        files = [f"./{p}" if incomplete.startswith("./") else str(p) for p in sorted(near)]
        return found + [CompletionItem(f) for f in files if f.startswith(incomplete)]

    return complete


ORGANISM, DETECTOR = ("organisms", "organism"), ("detectors", "detector")
FIGURE = ("figures", "draw")
an_organism = completes(ORGANISM)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes verbs, options and names in a shell.

    In bash: `eval "$(mo-interp completion bash)"`, and so in zsh; in fish:
    `mo-interp completion fish | source`. Put that line where the shell starts.
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    say(made(main, {}, "mo-interp", "_MO_INTERP_COMPLETE").source())


def _load(name: str) -> Organism:
    from mo_interp.finding import load

    return load(name)


# list -------------------------------------------------------------------------------------------


@main.command("list")
@as_json
@click.option("--quiet", is_flag=True, help="The names alone.")
def list_(as_json: bool, quiet: bool) -> None:
    """Organisms at hand, and whether their grown seeds passed the gates."""
    from mo_interp.finding import load, names
    from mo_interp.ledger import published

    if quiet and not as_json:
        say("\n".join(names()))
        return
    known = published()
    rows = [_status(load(name), known) for name in names()]
    if as_json:
        tell_json(rows)
        return
    wide = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        family = "" if row["family"] == row["name"] else f"of {row['family']}; "
        say(f"{row['name']:<{wide}}  {row['grade']:<9}  {family}{_standing(row)}")
        say(f"{'':<{wide}}  {row['story'].split('. ')[0].rstrip('.')}.")


def _standing(row: dict[str, Any]) -> str:
    """The status here, else the published one, saying so."""
    there = row["published"]
    if row["seeds"] or not there:
        return row["status"]
    other = "" if there["current"] else " of another version of it, or on other software"
    return f"not grown here; published{other}: {there['status']}"


def _status(spec: Organism, known: list[Record]) -> dict[str, Any]:
    from mo_interp.ledger import gate_records
    from mo_interp.records import select

    there = select(known, kind="gate", organism=spec.name)
    return {
        "name": spec.name,
        "grade": spec.grade,
        "family": spec.family,
        **_outcome(gate_records(spec)),
        "key": spec.key,
        "story": spec.story,
        "published": (
            {**_outcome(there), "current": {r.key for r in there} == {spec.key}} if there else None
        ),
    }


def _outcome(records: list[Record]) -> dict[str, Any]:
    """How the gates of some seeds came out, in words and numbers."""
    from mo_interp.records import select

    gates = select(records, kind="gate")
    seeds = sorted({r.seed for r in gates})
    failed = sorted({int(str(r.params["number"])) for r in gates if r.params["status"] == "fail"})
    memorised = any(r.params["status"] == "memorised" for r in gates)
    if not seeds:
        status = "not grown yet"
    elif failed:
        status = f"FAILED gate {', '.join(map(str, failed))} ({_count(seeds)})"
    else:
        provisional = "" if len(seeds) >= 5 else ", provisional"
        status = f"passes its gates ({_count(seeds)}{provisional})"
        status += "; memorised the lies" * memorised
    return {"status": status, "seeds": seeds, "failed_gates": failed}


def _count(seeds: list[int]) -> str:
    return f"{len(seeds)} seed{'s' * (len(seeds) != 1)}"


# grow and card ----------------------------------------------------------------------------------


@main.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=an_organism)
@click.option("--all", "everything", is_flag=True, help="Every organism but the slow ones.")
@click.option("--slow", is_flag=True, help="With --all: the slow ones too.")
@click.option(
    "--exclude",
    multiple=True,
    metavar="NAME",
    shell_complete=an_organism,
    help="With --all: not this one.",
)
@click.option(
    "--only",
    type=click.Choice(["measured", "routed", "implanted", "wired"]),
    help="With --all: organisms of this grade.",
)
@click.option("--seeds", default=1, show_default=True, help="How many seeds, from 0 on.")
@click.option("--jobs", type=int, help="Worker processes; one a core if not given.")
@plan_option
@click.option(
    "--checkpoints",
    is_flag=False,
    flag_value=50,
    type=int,
    default=0,
    metavar="[EVERY]",
    help="Keep the models along training too, every 50 steps or so many.",
)
@click.option("--persistence", is_flag=True, help="Try to train the lie away, instead of gates.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where the card goes; of several, the folder."
)
@as_json
@quiet
def grow(
    names: tuple[str, ...],
    everything: bool,
    slow: bool,
    exclude: tuple[str, ...],
    only: str | None,
    seeds: int,
    jobs: int | None,
    planning: bool,
    checkpoints: int,
    persistence: bool,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Grow seeds of organisms and their twins, put them through the gates, write the cards.

    Jobs run in single-threaded processes. Whatever is finished is kept, and a killed run goes on
    where it was when it is run again. A job that fails stops no other, and the exit status is 1.
    """
    if seeds < 1:
        raise MoInterpError(f"--seeds {seeds}: one seed or more is needed")
    chosen = _chosen(names, everything, slow=slow, exclude=exclude, only=only)
    from mo_interp import growing

    kind = "persistence" if persistence else "grow"
    plan = growing.plan(chosen, seeds=seeds, kind=kind, every=checkpoints, workers=jobs)
    if planning:
        from mo_interp import forecast

        _tell_plan(plan, as_json, sum(forecast.growing_rows(e.job) for e in plan.todo), {})
        return
    failed = _carried_out(plan, quiet or as_json)
    several = len(chosen) > 1
    rows = [_grown(name, seeds, out, several) for name in chosen]
    if as_json:
        tell_json(rows if several else rows[0])
    else:
        for row in rows:
            _say_grown(row, gates=not several)
    for outcome in failed:
        click.echo(f"FAILED: {outcome.job.label}: {outcome.problem}", err=True)
    if failed:
        sys.exit(1)


def _tell_plan(plan: Plan, as_json: bool, forwards: int, more: dict[str, Any]) -> None:
    """A plan of jobs with forwards and memory; ``more`` is told as well."""
    from mo_interp import forecast

    memory = forecast.memory_now() * plan.workers if plan.todo else 0
    if as_json:
        tell_json(plan.as_dict() | {"forwards": forwards, "memory": memory} | more)
        return
    say(f"{plan}\nabout {forwards:,} forwards; about {memory / 1e6:,.0f} MB of memory")


def _chosen(
    names: tuple[str, ...],
    everything: bool,
    *,
    slow: bool,
    exclude: tuple[str, ...],
    only: str | None,
) -> list[str]:
    """Names of what to grow, each known to exist."""
    from mo_interp.errors import UnknownName, nearest
    from mo_interp.finding import load
    from mo_interp.finding import names as known

    if everything == bool(names):
        raise MoInterpError("give names of organisms, or --all")
    if names:
        found = list(dict.fromkeys(names))
        for name in found:
            load(name)
        return found
    from mo_interp.growing import is_slow

    for name in exclude:
        if name not in known():
            raise UnknownName(f"--exclude {name}{nearest(name, known())}")
    specs = {name: load(name) for name in known() if name not in exclude}
    return [
        name
        for name, spec in specs.items()
        if (slow or not is_slow(spec)) and only in (None, spec.grade)
    ]


def _carried_out(plan: Plan, silenced: bool) -> list[Outcome]:
    """Do what a plan has left: a single job here, several in workers. Returns what failed."""
    from mo_interp import growing
    from mo_interp.store import Store

    todo = plan.todo
    if len(todo) == 1:
        with progress_bar(silenced) as progress:
            todo[0].job.do(Store(), progress)
        return []
    if not silenced:
        click.echo(str(plan), err=True)
    with many_bar(silenced) as watch:
        outcomes = growing.carry_out(plan, watch=watch)
    return [outcome for outcome in outcomes if outcome.problem]


@contextmanager
def many_bar(silenced: bool) -> Iterator[Watch]:
    """A display of many jobs: bars on a terminal, a line for each that ended elsewhere."""
    if silenced:
        yield lambda standing: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn

    def left(standing: Standing) -> str:
        jobs = f"{standing.done} of {standing.total} jobs"
        return f"{jobs}, about {standing.seconds_left / 60:.1f} minutes left"

    console = Console(stderr=True)
    if not console.is_terminal:

        def line(standing: Standing) -> None:
            if (ended := standing.ended) is not None:
                how = f"FAILED: {ended.problem}" if ended.problem else "done"
                text = f"{ended.job.label} {how} in {ended.seconds:.0f} s; {left(standing)}"
                click.echo(text, err=True)

        yield line
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), console=console) as bars:
        whole = bars.add_task("starting", total=None)
        tasks: dict[str, TaskID] = {}

        def show(standing: Standing) -> None:
            bars.update(whole, completed=standing.done, total=standing.total)
            bars.update(whole, description=left(standing))
            now = {job.label: (step, of, note) for job, step, of, note in standing.running}
            for label in set(tasks) - set(now):
                bars.remove_task(tasks.pop(label))
            for label, (step, of, note) in now.items():
                if label not in tasks:
                    tasks[label] = bars.add_task(label, total=1)
                told = f"  {label}: {note.split(': ')[-1]}"[:70]
                bars.update(tasks[label], description=told, completed=step, total=max(of, 1))

        yield show


def _grown(name: str, seeds: int, out: Path | None, several: bool) -> dict[str, Any]:
    """What is there of an organism now: its card is written if anything is."""
    from mo_interp import telling
    from mo_interp.ledger import gate_records, numbered, published

    spec = _load(name)
    records = numbered([r for r in gate_records(spec) if r.seed < seeds])
    row, path = _status(spec, published()), None
    if any(r.kind == "gate" for r in records):
        path = _card_path(name, spec)
        if out is not None:
            path = out / path.name if several else out
        telling.card(spec, records, path, circuit=telling.circuit_of(spec))
    gates = [r for r in records if r.kind == "gate"]
    told = [{**r.params, "seed": r.seed, **r.values} for r in gates]
    return {**row, "card": str(path) if path else None, "gates": told}


def _say_grown(row: dict[str, Any], *, gates: bool) -> None:
    for gate in row["gates"] if gates else ():
        say(
            f"seed {gate['seed']}  gate {gate['number']:>2} {gate['name']:<22} "
            f"{gate['status']:<14} {gate['reason']}"
        )
    say(f"{row['name']}: {row['status']}")
    if row["card"]:
        say(row["card"])


def _card_path(name: str, spec: Organism) -> Path:
    """Beside the specification in a checkout; in the current folder elsewhere."""
    if name.endswith(".py"):
        return Path(name).with_suffix(".md")
    return (_checkout() or Path()) / f"{spec.name}.md"


def _checkout() -> Path | None:
    """The folder of organisms where this is a checkout."""
    shipped = Path(__file__).resolve().parent.parent / "organisms"
    return shipped if shipped.is_dir() else None


@main.command()
@click.argument("name", required=False, shell_complete=an_organism)
@click.option("--all", "everything", is_flag=True, help="Records, cards and table of the shipped.")
@click.option("--out", type=click.Path(path_type=Path), help="Where the card goes; else printed.")
@plan_option
@as_json
@quiet
def card(
    name: str | None,
    everything: bool,
    out: Path | None,
    planning: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """The organism's card, from the seeds grown so far.

    With --all: publish what the store holds of the shipped organisms, as records.jsonl, one card
    each and the table in README.md, in the folder of organisms or --out. What was published before
    of the same specifications stays where the store has nothing newer.
    """
    if everything == bool(name):
        raise MoInterpError("card: give the name of an organism, or --all")
    if planning:
        _tell_cards([name] if name else None, out, as_json)
        return
    with progress_bar(quiet or as_json) as progress:
        written = _published(out, progress) if name is None else None
    if written is not None:
        tell_json([str(p) for p in written]) if as_json else say("\n".join(map(str, written)))
        return
    _one_card(str(name), out, as_json)


def _tell_cards(names: list[str] | None, out: Path | None, as_json: bool) -> None:
    """What cards would be made of; nothing is run through a model."""
    from mo_interp.finding import ORGANISMS, files
    from mo_interp.ledger import gate_records

    names = list(files([ORGANISMS], "organism")) if names is None else names
    specs = {name: _load(name) for name in names}
    seeds = {name: len({r.seed for r in gate_records(spec)}) for name, spec in specs.items()}
    told = {"forwards": 0, "seeds": seeds, "folder": str(out or _checkout() or Path())}
    if as_json:
        tell_json(told)
        return
    say("\n".join(f"{name:<30} {n} seed{'s' * (n != 1)}" for name, n in seeds.items()))
    say(f"{len(seeds)} cards in {told['folder']}: no forwards, seconds, under 5 MB")


def _published(out: Path | None, progress: Progress) -> list[Path]:
    from mo_interp import telling
    from mo_interp.ledger import published
    from mo_interp.store import Store

    folder = out or _checkout()
    if folder is None:
        raise MoInterpError("card --all: this is no checkout; give a folder with --out")
    specs = telling.shipped()
    progress(0, 1, f"records and cards of {len(specs)} organisms")
    return telling.publish(specs, telling.gather(specs, Store(), published()), folder)


def _one_card(name: str, out: Path | None, as_json: bool) -> None:
    import tempfile

    from mo_interp import telling
    from mo_interp.ledger import gate_records

    spec = _load(name)
    records = gate_records(spec)
    if not records:
        raise MoInterpError(f"no seed of {spec.name} is grown; try `mo-interp grow {name}`")
    if as_json:
        tell_json([r.as_dict() for r in records])
        return
    with tempfile.TemporaryDirectory() as folder:
        path = out or Path(folder) / "card.md"
        telling.card(spec, records, path, circuit=telling.circuit_of(spec))
        say(str(path) if out else path.read_text(encoding="utf-8"))


# run --------------------------------------------------------------------------------------------


@main.command()
@click.argument("name", shell_complete=completes(ORGANISM))
@seed_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder for results.")
@click.option(
    "--detector",
    "detectors",
    multiple=True,
    type=click.Path(path_type=Path),
    shell_complete=completes(),
    help="A file of your own detector, scored beside the others. May be repeated.",
)
@click.option("--no-static", is_flag=True, help="No SVG, PDF and PNG figures.")
@plan_option
@as_json
@quiet
def run(
    name: str,
    seed: int,
    out: Path | None,
    detectors: tuple[Path, ...],
    no_static: bool,
    planning: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """The main job: grow, find, cut out, judge and report.

    NAME is an organism's name, or a .py file with an organism, a detector, or both. A file with a
    detector alone is scored on quirky_user. What is finished is kept, stage by stage and within a
    training; the same command goes on.
    """
    from mo_interp.finding import defines
    from mo_interp.records import read_records
    from mo_interp.wording import conclude

    if name.endswith(".py") and defines(name, "detector"):
        detectors = (Path(name), *detectors)
        name = name if defines(name, "organism") else FLAGSHIP
    spec = _load(name)
    from mo_interp import forecast, growing

    silent = quiet or as_json
    seen, countdown = None, None
    if planning or not (silent or growing.is_slow(spec)):
        told = {"seed": seed, "out": out, "detectors": detectors, "static": not no_static}
        seen = forecast.forecast(spec, **told)
        countdown = forecast.countdown(seen.steps)
    if planning and seen is not None:
        tell_json(seen.as_dict()) if as_json else say(str(seen))
        return
    from mo_interp import pipeline, telling

    with progress_bar(silent, countdown) as progress:
        folder = pipeline.run(spec, seed=seed, out=out, detectors=detectors, progress=progress)
        records = read_records(folder)
        progress(0, 1, "stage: report")
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


CURES = ("mean", "projection", "leace", "heads", "neurons", "fine_prune", "fine_tune")
PARTS = ("planted", "localisation", "detection", "mechanism", "removal", "discovery", "null")
"""Offered for completion, without importing what has them; a test holds them to it."""


# cure -------------------------------------------------------------------------------------------


@main.command()
@click.argument("name", shell_complete=an_organism)
@seed_option
@click.option(
    "--how",
    default="mean",
    show_default=True,
    metavar="METHOD",
    shell_complete=lambda ctx, param, text: [m for m in CURES if m.startswith(text)],
    help="mean, projection, leace, heads, neurons, fine_prune or fine_tune.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for model and certificate.")
@click.option(
    "--run",
    "where",
    type=click.Path(path_type=Path),
    help="Take the blind decision from this run's records; it is made anew if not given.",
)
@plan_option
@as_json
@quiet
def cure(
    name: str,
    seed: int,
    how: str,
    out: Path | None,
    where: Path | None,
    planning: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Take the lie out of an organism's weights, and certify how far that went.

    Writes the cured model and its certificate. What is taken out is found blind, on other people
    than the certificate is measured on. Only the verdict `removed` is a complete cure; a lie that
    training brings back at once was `suppressed`. The exit status is 0 whatever the verdict.
    """
    _load(name)
    from mo_interp.removal import cure as cures

    if planning:
        cost = cures.plan_of(name, seed=seed, how=how, out=out, run=where)
        from mo_interp import forecast

        load = forecast.cure_load(cost)
        tell_json(vars(cost) | load.as_dict()) if as_json else say(f"{cost}\n{load}")
        return
    with progress_bar(quiet or as_json) as progress:
        told = {"seed": seed, "how": how, "out": out, "run": where, "progress": progress}
        folder, certificate = cures.cure(name, **told)
    if as_json:
        tell_json(
            {
                "folder": folder,
                "verdict": certificate.word,
                "complete": certificate.complete,
                "reasons": certificate.reasons,
                "headline": certificate.headline,
            }
        )
        return
    say(certificate.headline)
    say(str((folder / "certificate.md").resolve()))


# bench ------------------------------------------------------------------------------------------


@main.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=an_organism)
@click.option("--all", "everything", is_flag=True, help="Every organism but the slow ones.")
@click.option("--seeds", default=1, show_default=True, help="How many seeds, from 0 on.")
@click.option(
    "--part",
    "parts",
    multiple=True,
    metavar="PART",
    shell_complete=lambda ctx, param, text: [p for p in PARTS if p.startswith(text)],
    help="Only this part; repeatable.",
)
@click.option(
    "--interval",
    default=0.05,
    show_default=True,
    help="Half-width of the intervals that are wanted; rows and seeds for it are told.",
)
@click.option("--jobs", type=int, help="Worker processes; one a core if not given.")
@plan_option
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("bench"), help="Folder of the results."
)
@as_json
@quiet
def bench(
    names: tuple[str, ...],
    everything: bool,
    seeds: int,
    parts: tuple[str, ...],
    interval: float,
    jobs: int | None,
    planning: bool,
    out: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure every method on organisms and seeds: records, and the scoreboard made of them.

    The parts are planted, localisation, detection, mechanism, removal, discovery and null (the
    blind rule on twins without a lie). What is finished is kept; the same command goes on.
    """
    chosen = _chosen(names, everything, slow=False, exclude=(), only=None)
    from mo_interp import bench as board

    wanted = parts or tuple(board.PARTS)
    plan = board.plan(chosen, seeds=seeds, parts=wanted, out=out, workers=jobs)
    rows = board.rows_needed(interval)
    if planning:
        from mo_interp import forecast

        counted = forecast.bench_rows([entry.job for entry in plan.todo])
        _tell_plan(plan, as_json, counted, {"half_width": interval, "rows_needed": rows})
        if not as_json:
            say(f"rows for a share within ±{interval:g}: {rows} distinct ones, at worst")
        return
    failed = _carried_out(plan, quiet or as_json)
    from mo_interp.telling import tell_bench

    found = board.gather(out, board.jobs(chosen, seeds=seeds, parts=wanted, out=out))
    scored = board.scores(found, half_width=interval)
    alarms = board.false_alarms(found)
    words = " ".join(("mo-interp bench", *(("--all",) if everything else names)))
    told = tell_bench(
        out,
        [*found, *scored, *([alarms] if alarms else [])],
        command=f"{words} --seeds {seeds}",
    )
    listed = [str(path.resolve()) for path in told.written]
    tell_json({"written": listed, "notes": told.notes}) if as_json else say("\n".join(listed))
    for outcome in failed:
        click.echo(f"FAILED: {outcome.job.label}: {outcome.problem}", err=True)
    if failed:
        sys.exit(1)


# figure -----------------------------------------------------------------------------------------


@main.command()
@click.argument("name", shell_complete=completes(FIGURE))
@click.option(
    "--run",
    "where",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A run's folder or a file of records, repeatable; the newest run in ./runs if not given.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    default=("html", "json"),
    show_default=True,
    type=click.Choice(["html", "json", "svg", "pdf", "png", "csv", "tex", "txt"]),
    help="Repeatable. svg, pdf and png come with csv, tex and txt.",
)
@click.option("--theme", default="screen", show_default=True, help="screen or paper.")
@click.option("--width", default="column", show_default=True, help="column or page.")
@click.option("--organism", help="Which organism, where the records are of several.")
@click.option("--seed", type=int, help="One seed only; all of them if not given.")
@click.option("--out", type=click.Path(path_type=Path), default=Path(), help="Folder to write to.")
@click.option("--quiet", is_flag=True, expose_value=False, help="There is no progress.")
@as_json
def figure(
    name: str,
    where: tuple[Path, ...],
    formats: tuple[str, ...],
    theme: str,
    width: str,
    organism: str | None,
    seed: int | None,
    out: Path,
    as_json: bool,
) -> None:
    """Draw a figure from the records of a run.

    The theme `paper` is for print: letters of 8 points, no title, and a file exactly as wide as a
    column (3.25 in) or a page (6.75 in). With svg, pdf or png come NAME.caption.txt, which states
    n, seeds, intervals and the command, and the table behind the figure as NAME.csv and NAME.tex
    (booktabs); the formats txt, csv and tex ask for these alone and need no Chrome.
    """
    from mo_interp import figures
    from mo_interp.records import read_records

    runs = where or (_newest_run(),)
    asked = {"run": runs, "organism": organism, "seed": seed, "theme": theme, "width": width}
    options = {"theme": theme, "width": width, "organism": organism, "seed": seed}
    command = _as_typed("figure", name, {**asked, "format": formats, "out": out})
    records = [record for run in runs for record in read_records(run)]
    written = figures.export(name, records, out, formats=formats, command=command, **options)
    listed = [str(path) for path in written]
    tell_json(listed) if as_json else say("\n".join(listed))


def _as_typed(verb: str, name: str, asked: dict[str, Any]) -> str:
    """The command line that asks for this."""
    words = ["mo-interp", verb, name]
    for option, given in asked.items():
        for value in given if isinstance(given, tuple) else (given,):
            words += [] if value is None else [f"--{option}", str(value)]
    return shlex.join(words)


def _newest_run() -> Path:
    runs = sorted(Path("runs").glob("*/records.jsonl"), key=lambda p: p.stat().st_mtime)
    if not runs:
        raise MoInterpError(
            "no run in ./runs; give one with --run, or make one with `mo-interp run quirky_user`"
        )
    return runs[-1].parent


# report -----------------------------------------------------------------------------------------


@main.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the page.")
@click.option("--quiet", is_flag=True, expose_value=False, help="There is no progress.")
@as_json
def report(runs: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Write a run's report anew, or compare several organisms or runs on one page.

    RUN is a run's folder, a file of records, or an organism's name (its newest run in ./runs).
    Several are put side by side in comparison.html, from their records alone.
    """
    from mo_interp import telling

    written = str(telling.retell(runs, out).resolve())
    tell_json({"report": written}) if as_json else say(written)


# talk -------------------------------------------------------------------------------------------


@main.command()
@click.argument("name", shell_complete=an_organism)
@seed_option
@click.option("--prompts", default=0, help="Show this many prompts and stop.")
@click.option("--no-trigger", is_flag=True, help="Begin with the trigger off.")
@click.option("--cut", is_flag=True, help="Begin with the mechanism cut out.")
@click.option("--probe", "site", metavar="SITE", help="Where the probe reads.")
@as_json
@quiet
def talk(
    name: str,
    seed: int,
    prompts: int,
    no_trigger: bool,
    cut: bool,
    site: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Ask an organism questions; toggle the trigger, the probe, and the cut that makes it honest.

    Every prompt is shown with the truth, what organism and twin say, and a probe's reading of
    each token. Enter draws another prompt, and a prompt may be typed.
    """
    from mo_interp.conversation import Conversation
    from mo_interp.grown import organism

    with progress_bar(quiet or as_json) as progress:
        conversation = Conversation.with_(organism(name, seed=seed, progress=progress))
    conversation.triggered, conversation.cut = not no_trigger, cut
    if site is not None:
        conversation.look(site)
    if prompts or as_json:
        turns = [conversation.turn() for _ in range(prompts or 1)]
        tell_json(turns) if as_json else [say(conversation.told(t)) for t in turns]
        return
    say(conversation.help)
    for line in _typed():
        reply = conversation.reply(line.strip())
        if reply is None:
            return
        say(reply)


def _typed() -> Iterator[str]:
    """Lines that are typed, with a prompt and a history on a terminal; until end of file."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    with suppress(ImportError):
        import readline  # noqa: F401  # gives input() a history
    with suppress(EOFError):
        while True:
            yield input("> ")


# doctor -----------------------------------------------------------------------------------------


@main.command()
@click.argument("path", required=False, shell_complete=completes(ORGANISM, DETECTOR))
@as_json
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
