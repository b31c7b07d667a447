"""``mo-interp run``: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mo_interp.cli.display import ProgressLine, give, progress_bar, say, tell_json
from mo_interp.cli.group import main
from mo_interp.cli.options import (
    A_PATH,
    FLAGSHIP,
    completes,
    examples,
    json_option,
    name_argument,
    plan_option,
    quiet_option,
    seed_option,
)
from mo_interp.errors import UnknownName

if TYPE_CHECKING:
    from mo_interp.organism import Organism
    from mo_interp.telling import Told


@main.command(
    epilog=examples(
        "run quirky_user --plan",
        "run quirky_user",
        "run ./mine.py --detector ./whitened.py --no-static",
    )
)
@name_argument
@seed_option
@click.option("--out", type=A_PATH, help="Folder for results.")
@click.option(
    "--detector",
    "detectors",
    multiple=True,
    type=A_PATH,
    shell_complete=completes(),
    help="A file of your own detector, scored beside the others. May be repeated.",
)
@click.option("--no-static", is_flag=True, help="No SVG, PDF and PNG figures.")
@plan_option
@json_option
@quiet_option
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
    from mo_interp.finding import defines, load
    from mo_interp.records import read_records
    from mo_interp.wording import conclude

    if name.endswith(".py") and defines(name, "detector"):
        detectors = (Path(name), *detectors)
        name = name if defines(name, "organism") else FLAGSHIP
    spec, silent = load(name), quiet or as_json
    for path in detectors:
        _is_detector(path)
    asked = {"seed": seed, "out": out, "detectors": detectors}
    if planning:
        with progress_bar(silent):
            from mo_interp import forecast

            seen = forecast.forecast(spec, **asked, static=not no_static)
        tell_json(seen.as_dict()) if as_json else say(str(seen))
        return
    folder, told = _done(spec, asked, not no_static, silent)
    records = read_records(folder)
    headline = str(conclude(records).headline)
    if as_json:
        found = {"folder": folder, "report": told.report, "notes": told.notes}
        tell_json(found | {"conclusion": headline, "records": len(records)})
        return
    for note in () if quiet else told.notes:
        say(note, err=True)
    say(headline)
    give(str(told.report.resolve()))


def _is_detector(path: Path) -> None:
    """Raise before anything is run where a file holds no detector."""
    from mo_interp.detectors import detector

    if path.suffix != ".py":
        raise UnknownName(f"--detector {path}: a .py file is needed; the shipped ones are scored")
    detector(str(path))


def _done(spec: Organism, asked: dict[str, Any], static: bool, silent: bool) -> tuple[Path, Told]:
    """The run and its report, with the time left where it is known."""
    line = ProgressLine()
    with progress_bar(silent, line) as progress:
        from mo_interp import forecast, growing, pipeline, telling
        from mo_interp.records import read_records

        if not (silent or growing.is_slow(spec)):
            steps = forecast.forecast(spec, **asked, static=static).steps
            line.countdown = forecast.countdown(steps)
        folder = pipeline.run(spec, **asked, progress=progress)
        progress(0, 1, f"stage: {forecast.TELL}")
        return folder, telling.tell(spec, folder, read_records(folder), static=static)
