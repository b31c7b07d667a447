"""``mo-interp figure``: one figure from records."""

from __future__ import annotations

from pathlib import Path

import click

from mo_interp.cli.display import as_typed, give, tell_json
from mo_interp.cli.group import main
from mo_interp.cli.options import (
    A_PATH,
    A_SEED,
    FIGURE,
    PARTS,
    completes,
    examples,
    json_option,
    no_progress_option,
    one_of,
)
from mo_interp.errors import MoInterpError, UnknownName, nearest


@main.command(
    epilog=examples(
        "figure verdicts",
        "figure gates --run runs/quirky_user-0-abc --format pdf --theme paper --width page",
        "figure scoreboard --run bench --part removal",
    )
)
@click.argument("name", shell_complete=completes(FIGURE))
@click.option(
    "--run",
    "where",
    multiple=True,
    type=A_PATH,
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
@click.option("--seed", type=A_SEED, help="One seed only; all of them if not given.")
@click.option(
    "--part",
    metavar="PART",
    shell_complete=one_of(PARTS),
    help="One part of the scoreboard; all of them if not given.",
)
@click.option("--out", type=A_PATH, default=Path(), help="Folder to write to.")
@no_progress_option
@json_option
def figure(
    name: str,
    where: tuple[Path, ...],
    formats: tuple[str, ...],
    theme: str,
    width: str,
    organism: str | None,
    seed: int | None,
    part: str | None,
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

    if not name.endswith(".py") and name not in figures.names():
        raise UnknownName(f"figure '{name}'{nearest(name, figures.names())}")
    runs = where or (_newest_run(),)
    options = {"organism": organism, "seed": seed, "part": part, "theme": theme, "width": width}
    asked = {"run": runs, **options, "format": formats, "out": out}
    command = as_typed("figure", name, asked=asked)
    records = [record for run in runs for record in read_records(run)]
    written = figures.export(name, records, out, formats=formats, command=command, **options)
    listed = [str(path) for path in written]
    tell_json(listed) if as_json else give("\n".join(listed))


def _newest_run() -> Path:
    runs = sorted(Path("runs").glob("*/records.jsonl"), key=lambda p: p.stat().st_mtime)
    if not runs:
        raise MoInterpError(
            "no run in ./runs; give one with --run, or make one with `mo-interp run quirky_user`"
        )
    return runs[-1].parent
