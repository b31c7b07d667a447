"""``mo-interp bench``: every method on organisms and seeds, and the scoreboard."""

from __future__ import annotations

from pathlib import Path

import click

from mo_interp.cli.display import as_typed, give, progress_bar, say, tell_json
from mo_interp.cli.group import main
from mo_interp.cli.jobs import carried_out, chosen, end, failures, tell_plan
from mo_interp.cli.options import (
    A_PATH,
    PARTS,
    all_option,
    examples,
    jobs_option,
    json_option,
    names_argument,
    one_of,
    plan_option,
    quiet_option,
    seeds_option,
)


@main.command(
    epilog=examples(
        "bench quirky_user --part detection --seeds 5 --plan",
        "bench quirky_user ordered_phrase --part detection",
    )
)
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
    wanted, silent = parts or PARTS, quiet or as_json
    with progress_bar(silent):
        from mo_interp import bench as board
        from mo_interp import forecast

        rows = board.rows_needed(interval)
        plan = board.plan(asked, seeds=seeds, parts=wanted, out=out, workers=jobs)
        counted = forecast.bench_rows([e.job for e in plan.todo]) if planning else 0
    if planning:
        tell_plan(plan, as_json, counted, {"half_width": interval, "rows_needed": rows})
        if not as_json:
            say(f"rows for a share within ±{interval:g}: {rows} distinct ones, at worst")
        return
    failed = carried_out(plan, silent)
    from mo_interp.telling import tell_bench

    found = board.gather(out, board.jobs(asked, seeds=seeds, parts=wanted, out=out))
    scored = [*board.scores(found, half_width=interval)]
    scored += [alarms] if (alarms := board.false_alarms(found)) else []
    options = {"all": everything, "seeds": seeds, "part": parts, "interval": interval, "out": out}
    told = tell_bench(out, [*found, *scored], command=as_typed("bench", *names, asked=options))
    listed = [str(path.resolve()) for path in told.written]
    if as_json:
        tell_json({"written": listed, "notes": told.notes, "failed": failures(failed)})
    else:
        give("\n".join(listed))
    for note in () if silent else told.notes:
        say(note, err=True)
    end(failed)
