"""``mo-interp card``: an organism's card, or all of what is published."""

from __future__ import annotations

from pathlib import Path

import click

from mo_interp.cli.display import Progress, give, progress_bar, say, tell_json
from mo_interp.cli.group import main
from mo_interp.cli.options import (
    A_PATH,
    an_organism,
    examples,
    json_option,
    plan_option,
    quiet_option,
)
from mo_interp.errors import MoInterpError


def checkout() -> Path | None:
    """The folder of organisms where this is a checkout."""
    shipped = Path(__file__).resolve().parents[2] / "organisms"
    return shipped if shipped.is_dir() else None


@main.command(epilog=examples("card quirky_user", "card ./mine.py --out mine.md"))
@click.argument("name", required=False, shell_complete=an_organism)
@click.option("--all", "everything", is_flag=True, help="Records, cards and table of the shipped.")
@click.option("--out", type=A_PATH, help="Where the card goes; else printed.")
@plan_option
@json_option
@quiet_option
def card(
    name: str | None,
    everything: bool,
    out: Path | None,
    planning: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """The organism's card, from the seeds grown so far.

    With --all: publish what the store holds of the shipped organisms, as records.jsonl, one card
    each and the table in README.md, in the folder of organisms or --out. What was published before
    of the same specifications stays where the store has nothing newer.
    """
    if everything == bool(name):
        raise MoInterpError("card: give the name of an organism, or --all")
    if planning:
        _tell_cards([name] if name else None, out, as_json)
        return
    with progress_bar(quiet or as_json) as progress:
        written = _published(out, progress) if name is None else None
    if written is not None:
        tell_json([str(p) for p in written]) if as_json else give("\n".join(map(str, written)))
        return
    _one_card(str(name), out, as_json)


def _tell_cards(names: list[str] | None, out: Path | None, as_json: bool) -> None:
    """What cards would be made of; nothing is run through a model."""
    from mo_interp.finding import ORGANISMS, files, load
    from mo_interp.ledger import gate_records

    names = list(files([ORGANISMS], "organism")) if names is None else names
    specs = {name: load(name) for name in names}
    seeds = {name: len({r.seed for r in gate_records(spec)}) for name, spec in specs.items()}
    told = {"forwards": 0, "seeds": seeds, "folder": str(out or checkout() or Path())}
    if as_json:
        tell_json(told)
        return
    say("\n".join(f"{name:<30} {n} seed{'s' * (n != 1)}" for name, n in seeds.items()))
    say(f"{len(seeds)} cards in {told['folder']}: no forwards, seconds, under 5 MB")


def _published(out: Path | None, progress: Progress) -> list[Path]:
    from mo_interp import telling
    from mo_interp.ledger import published
    from mo_interp.store import Store

    folder = out or checkout()
    if folder is None:
        raise MoInterpError("card --all: this is no checkout; give a folder with --out")
    specs = telling.shipped()
    progress(0, 1, f"records and cards of {len(specs)} organisms")
    return telling.publish(specs, telling.gather(specs, Store(), published()), folder)


def _one_card(name: str, out: Path | None, as_json: bool) -> None:
    import tempfile

    from mo_interp import telling
    from mo_interp.finding import load
    from mo_interp.ledger import gate_records

    spec = load(name)
    records = gate_records(spec)
    if not records:
        raise MoInterpError(f"no seed of {spec.name} is grown; try `mo-interp grow {name}`")
    with tempfile.TemporaryDirectory() as folder:
        path = out or Path(folder) / "card.md"
        if out or not as_json:
            telling.card(spec, records, path, circuit=telling.circuit_of(spec))
        if as_json:
            tell_json([r.as_dict() for r in records])
        else:
            give(str(path) if out else path.read_text(encoding="utf-8"))
