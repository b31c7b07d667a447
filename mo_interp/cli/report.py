"""``mo-interp report``: a run's page anew, or several side by side."""

from __future__ import annotations

from pathlib import Path

import click

from mo_interp.cli.display import give, tell_json
from mo_interp.cli.group import main
from mo_interp.cli.options import A_PATH, examples, json_option, no_progress_option


@main.command(
    epilog=examples(
        "report quirky_user",
        "report quirky_user ordered_phrase --out side_by_side",
    )
)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("--out", type=A_PATH, help="Folder for the page.")
@no_progress_option
@json_option
def report(runs: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Write a run's report anew, or compare several organisms or runs on one page.

    RUN is a run's folder, a file of records, or an organism's name (its newest run in ./runs).
    Several are put side by side in comparison.html, from their records alone.
    """
    from mo_interp import telling

    written = str(telling.retell(runs, out).resolve())
    tell_json({"report": written}) if as_json else give(written)
