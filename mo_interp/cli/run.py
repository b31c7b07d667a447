"""``mo-interp run``: the main job."""

from __future__ import annotations

from pathlib import Path

import click

from mo_interp.cli.display import progress_bar, say, tell_json
from mo_interp.cli.group import main
from mo_interp.cli.options import (
    A_PATH,
    FLAGSHIP,
    completes,
    json_option,
    name_argument,
    plan_option,
    quiet_option,
    seed_option,
)


@main.command()
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
    spec = load(name)
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
