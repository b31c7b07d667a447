"""How verbs tell: results to the output, progress to the error stream.

:class:`ProgressLine` puts the progress protocol of the library into words. On a terminal rich shows
it, in a pipe or a log it is plain lines, and with ``--quiet`` nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mo_interp.forecast import Countdown
    from mo_interp.growing import Standing, Watch

Progress = Callable[[int, int, str], None]


def say(text: str) -> None:
    """Print a result."""
    click.echo(text)


def tell_json(value: Any) -> None:
    """Print one JSON value."""
    say(json.dumps(value, indent=1, default=str))


class ProgressLine:
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

    console, told = Console(stderr=True), ProgressLine(countdown)
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


def _plain_lines(told: ProgressLine) -> Progress:
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
