"""``mo-interp grow``: seeds of organisms, their gates and their cards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mo_interp.cli.card import checkout
from mo_interp.cli.display import give, progress_bar, say, tell_json
from mo_interp.cli.group import main
from mo_interp.cli.jobs import carried_out, chosen, end, failures, tell_plan
from mo_interp.cli.listing import status_of
from mo_interp.cli.options import (
    A_PATH,
    all_option,
    an_organism,
    examples,
    jobs_option,
    json_option,
    names_argument,
    plan_option,
    quiet_option,
    seeds_option,
)
from mo_interp.errors import MoInterpError

if TYPE_CHECKING:
    from mo_interp.organism import Organism


@main.command(
    epilog=examples(
        "grow quirky_user --seeds 5",
        "grow quirky_user+posthoc",
        "grow --all --seeds 5 --plan",
    )
)
@names_argument
@all_option
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
@seeds_option
@jobs_option
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
@click.option("--out", type=A_PATH, help="Where the card goes; of several, the folder.")
@json_option
@quiet_option
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
    found = chosen(names, everything, slow=slow, exclude=exclude, only=only)
    kind, silent = "persistence" if persistence else "grow", quiet or as_json
    with progress_bar(silent):
        from mo_interp import forecast, growing

        plan = growing.plan(found, seeds=seeds, kind=kind, every=checkpoints, workers=jobs)
    if planning:
        tell_plan(plan, as_json, sum(forecast.growing_rows(e.job) for e in plan.todo), {})
        return
    failed = carried_out(plan, silent)
    several = len(found) > 1
    rows = [_grown(name, seeds, out, several) for name in found]
    if as_json:
        for row in rows:
            row["failed"] = failures(o for o in failed if o.job.spec.name == row["name"])
        tell_json(rows if several else rows[0])
    else:
        for row in rows:
            _say_grown(row, gates=not several)
    end(failed)


def _grown(name: str, seeds: int, out: Path | None, several: bool) -> dict[str, Any]:
    """What is there of an organism now: its card is written if anything is."""
    from mo_interp import telling
    from mo_interp.finding import load
    from mo_interp.ledger import gate_records, numbered, published

    spec = load(name)
    records = numbered([r for r in gate_records(spec) if r.seed < seeds])
    row, path = status_of(spec, published()), None
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
        give(row["card"])


def _card_path(name: str, spec: Organism) -> Path:
    """Beside the specification in a checkout; in the current folder elsewhere."""
    if name.endswith(".py"):
        return Path(name).with_suffix(".md")
    return (checkout() or Path()) / f"{spec.name}.md"
