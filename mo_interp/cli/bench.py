"""``mo-interp bench``: every method on organisms and seeds, and the scoreboard."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mo_interp.cli.display import say, tell_json
from mo_interp.cli.group import main
from mo_interp.cli.jobs import carried_out, chosen, tell_plan
from mo_interp.cli.options import (
    A_PATH,
    PARTS,
    all_option,
    jobs_option,
    json_option,
    names_argument,
    one_of,
    plan_option,
    quiet_option,
    seeds_option,
)


@main.command()
@names_argument
@all_option
@seeds_option
@click.option(
    "--part",
    "parts",
    multiple=True,
    metavar="PART",
    shell_complete=one_of(PARTS),
    help="Only this part; repeatable.",
)
@click.option(
    "--interval",
    default=0.05,
    show_default=True,
    help="Half-width of the intervals that are wanted; rows and seeds for it are told.",
)
@jobs_option
@plan_option
@click.option("--out", type=A_PATH, default=Path("bench"), help="Folder of the results.")
@json_option
@quiet_option
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
    asked = chosen(names, everything, slow=False, exclude=(), only=None)
    from mo_interp import bench as board

    wanted = parts or tuple(board.PARTS)
    plan = board.plan(asked, seeds=seeds, parts=wanted, out=out, workers=jobs)
    rows = board.rows_needed(interval)
    if planning:
        from mo_interp import forecast

        counted = forecast.bench_rows([entry.job for entry in plan.todo])
        tell_plan(plan, as_json, counted, {"half_width": interval, "rows_needed": rows})
        if not as_json:
            say(f"rows for a share within ±{interval:g}: {rows} distinct ones, at worst")
        return
    failed = carried_out(plan, quiet or as_json)
    from mo_interp.telling import tell_bench

    found = board.gather(out, board.jobs(asked, seeds=seeds, parts=wanted, out=out))
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
