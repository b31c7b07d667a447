"""``mo-interp cure``: the lie out of the weights, and a certificate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mo_interp.cli.display import ProgressLine, give, progress_bar, say, tell_json
from mo_interp.cli.group import main
from mo_interp.cli.options import (
    A_PATH,
    CURES,
    examples,
    json_option,
    name_argument,
    one_of,
    plan_option,
    quiet_option,
    seed_option,
)

if TYPE_CHECKING:
    from mo_interp.organism import Organism
    from mo_interp.removal.certificate import Certificate


@main.command(
    epilog=examples(
        "cure quirky_user --how heads --plan",
        "cure quirky_user --how heads",
    )
)
@name_argument
@seed_option
@click.option(
    "--how",
    default="mean",
    show_default=True,
    metavar="METHOD",
    shell_complete=one_of(CURES),
    help="mean, projection, leace, heads, neurons, fine_prune or fine_tune.",
)
@click.option("--out", type=A_PATH, help="Folder for model and certificate.")
@click.option(
    "--run",
    "where",
    type=A_PATH,
    help="Take the blind decision from this run's records; it is made anew if not given.",
)
@plan_option
@json_option
@quiet_option
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
    from mo_interp.finding import load
    from mo_interp.records import read_records

    spec, silent = load(name), quiet or as_json
    asked = {"seed": seed, "how": how, "out": out, "run": where}
    if where is not None:
        read_records(where)  # now, not after minutes
    if planning:
        with progress_bar(silent):
            from mo_interp import forecast
            from mo_interp.removal import cure as cures

            cost = cures.plan_of(spec, **asked)
            needs = forecast.cure_load(spec, cost)
        tell_json(vars(cost) | needs.as_dict()) if as_json else say(f"{cost}\n{needs}")
        return
    folder, certificate = _done(spec, asked, silent)
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
    give(str((folder / "certificate.md").resolve()))


def _done(spec: Organism, asked: dict[str, Any], silent: bool) -> tuple[Path, Certificate]:
    """The cure, with the time left."""
    line = ProgressLine()
    with progress_bar(silent, line) as progress:
        from mo_interp import forecast
        from mo_interp.removal import cure as cures

        if not silent:
            line.countdown = forecast.cure_countdown(cures.plan_of(spec, **asked))
        return cures.cure(spec, **asked, progress=progress)
