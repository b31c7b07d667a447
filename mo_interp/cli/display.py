"""How verbs tell: results to the output, progress to the error stream.

On a terminal sentences are broken between words where the line ends, and elsewhere not at all.
:class:`ProgressLine` puts the progress protocol of the library into words. On a terminal rich shows
it, in a pipe or a log it is plain lines, and with ``--quiet`` nothing.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import ProgressColumn

    from mo_interp.forecast import Countdown
    from mo_interp.growing import Standing, Watch

Progress = Callable[[int, int, str], None]
COMMAND, INDENT = "mo-interp ", "  "
WIDE, BAR, LEFT, ROOM = 80, 40, 19, 3
"""Columns: of a terminal that has bars, of a bar at most, of the time left, and what stays free."""


def say(text: str, *, err: bool = False) -> None:
    """Print words for a person, no line wider than the terminal."""
    stream = sys.stderr if err else sys.stdout
    width = shutil.get_terminal_size().columns if stream.isatty() else 0
    click.echo("\n".join(fitted(line, width) for line in text.split("\n")), err=err)


def fitted(line: str, width: int) -> str:
    """A line broken between words, what follows indented; a command or a path stays whole."""
    if not 0 < width < len(line) or line.lstrip().startswith(COMMAND):
        return line
    inner = line[: len(line) - len(line.lstrip())] + INDENT
    broken = textwrap.wrap(
        line,
        width,
        subsequent_indent=inner,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )
    return "\n".join(broken)


def give(text: str) -> None:
    """Print what is not to be touched, such as a file's text."""
    click.echo(text)


def tell_json(value: Any) -> None:
    """Print one JSON value."""
    give(json.dumps(value, indent=1, default=str))


def as_typed(*words: str, asked: dict[str, Any]) -> str:
    """The command line that asks for this: a verb and names, then options that were given."""
    said = ["mo-interp", *words]
    for option, given in asked.items():
        for value in given if isinstance(given, tuple) else (given,):
            if value is not None and value is not False:
                said += [f"--{option}"] if value is True else [f"--{option}", str(value)]
    return shlex.join(said)


class ProgressLine:
    """What the progress protocol says, as a line: the stage, the step in it, the time left."""

    def __init__(self, countdown: Countdown | None = None) -> None:
        """With the expected seconds of every stage, or without."""
        self.countdown, self.stage, self.note = countdown, "", ""
        self.began = time.monotonic()

    def hear(self, step: int, total: int, note: str) -> str:
        """Take in one call of the protocol; the line."""
        head = note.split(":")[0]
        if note.startswith("stage"):
            self.stage, self.note = note.removeprefix("stage: "), note
            if self.countdown is not None:
                self.countdown.at(note.rpartition(": ")[2])
        if head != self.note.split(":")[0]:
            self.note, self.began = note, time.monotonic()
        within = "" if note.startswith("stage") or not self.stage else f" ({note})"
        return (self.stage or note) + within

    def left(self, step: int, total: int) -> str:
        """The time left: by what was expected, else by the pace of this step; empty if unknown."""
        if self.countdown is not None:
            return minutes(self.countdown.left, late=self.countdown.late)
        took = time.monotonic() - self.began
        return minutes(took * (total - step) / step) if 0 < step <= total and took > 1 else ""


def minutes(seconds: float, *, late: bool = False) -> str:
    """Such as ``about 2.5 min left``; ``late`` where something takes longer than expected."""
    if late and seconds < 1:
        return "taking longer"
    about = "over" if late else "about"
    if seconds < 60:
        return f"{about} {max(1, round(seconds))} s left"
    return f"{about} {seconds / 60:.1f} min left"


@contextmanager
def progress_bar(silenced: bool, line: ProgressLine | None = None) -> Iterator[Progress]:
    """The progress protocol, shown with rich on a terminal and as plain lines elsewhere."""
    if silenced:
        yield lambda step, total, note: None
        return
    from rich.console import Console

    console, told = Console(stderr=True), line or ProgressLine()
    if not console.is_terminal:
        yield _plain_lines(told)
        return
    with _bars(console) as bars:
        task = bars.add_task("starting", total=None, left=str)

        def show(step: int, total: int, note: str) -> None:
            words = told.hear(step, total, note)
            bars.update(task, description=words, completed=step, total=max(total, 1))
            bars.update(task, left=lambda: told.left(step, total))

        yield show


def _bars(console: Console) -> Bars:
    """Lines of words, a bar, the time taken and the time left; gone when they end."""
    from rich.constrain import Constrain
    from rich.progress import Progress as Bars

    class Narrower(Bars):
        """Bars that leave room at the right, for the ``^C`` that a terminal writes itself."""

        def get_renderable(self) -> Constrain:
            return Constrain(super().get_renderable(), console.width - ROOM)

    return Narrower(*_columns(console.width), console=console, transient=True, expand=True)


def _columns(width: int) -> list[ProgressColumn]:
    """The words take what is left; on a narrow terminal there are words and the time left."""
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn
    from rich.table import Column
    from rich.text import Text

    class Left(ProgressColumn):
        """The time left, asked for whenever it is shown."""

        def render(self, task: Task) -> Text:
            return Text(task.fields["left"]())

    rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    right = Column(no_wrap=True, min_width=LEFT, justify="right")
    words = TextColumn("{task.description}", markup=False, table_column=rest)
    if width < WIDE:
        return [words, Left(right)]
    return [words, BarColumn(min(BAR, 10 + width - WIDE)), TimeElapsedColumn(), Left(right)]


def _plain_lines(told: ProgressLine) -> Progress:
    """A line for each stage, and for each thing that is begun; for logs and pipes."""
    seen: set[str] = set()

    def line(step: int, total: int, note: str) -> None:
        stage = note.startswith("stage")
        head = note.removeprefix("stage: ") if stage else f"  {note.split(':')[0]}"
        told.hear(step, total, note)
        if head not in seen:
            seen.add(head)
            left = told.left(step, total) if stage and told.countdown is not None else ""
            click.echo(f"{head}; {left}" if left else head, err=True)

    return line


@contextmanager
def many_bar(silenced: bool) -> Iterator[Watch]:
    """A display of many jobs: bars on a terminal, a line for each that ended elsewhere."""
    if silenced:
        yield lambda standing: None
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _ended_lines
        return
    with _bars(console) as bars:
        yield _many(bars)


def _ended_lines(standing: Standing) -> None:
    """A line for each job that ended."""
    if (ended := standing.ended) is not None:
        how = f"FAILED: {ended.problem}" if ended.problem else "done"
        text = f"{ended.job.label} {how} in {ended.seconds:.0f} s; {_jobs(standing)}"
        left = f", {minutes(standing.seconds_left)}" if standing.done < standing.total else ""
        click.echo(text + left, err=True)


def _jobs(standing: Standing) -> str:
    return f"{standing.done} of {standing.total} jobs"


def _many(bars: Bars) -> Watch:
    """A bar for all jobs and one for each that runs."""
    whole = bars.add_task("starting", total=None, left=str)
    tasks: dict[str, Any] = {}

    def show(standing: Standing) -> None:
        left = minutes(standing.seconds_left) if standing.done < standing.total else ""
        bars.update(whole, completed=standing.done, total=standing.total)
        bars.update(whole, description=_jobs(standing), left=lambda: left)
        now = {job.label: (step, of, note) for job, step, of, note in standing.running}
        for label in set(tasks) - set(now):
            bars.remove_task(tasks.pop(label))
        for label, (step, of, note) in now.items():
            if label not in tasks:
                tasks[label] = bars.add_task(label, total=1, left=str)
            told = f"  {label}: {doing(note)}"
            bars.update(tasks[label], description=told, completed=step, total=max(of, 1))

    return show


def doing(note: str) -> str:
    """What a job is at, without its own name and seed: ``growing tiny/clean (loss 0.680)``."""
    if note.startswith("stage"):
        return note
    head, _, more = note.partition(": ")
    head = head.partition(", seed ")[0]
    return f"{head} ({more})" if more else head
