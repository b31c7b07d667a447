"""``mo-interp list``: organisms at hand, and how each stands; ``grow`` tells that as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mo_interp.cli.display import say, tell_json
from mo_interp.cli.group import main
from mo_interp.cli.options import examples, json_option

if TYPE_CHECKING:
    from mo_interp.organism import Organism
    from mo_interp.records import Record


@main.command("list", epilog=examples("list", "list --json"))
@json_option
@click.option("--quiet", is_flag=True, help="The names alone.")
def list_(as_json: bool, quiet: bool) -> None:
    """Organisms at hand, and whether their grown seeds passed the gates."""
    from mo_interp.finding import load, names
    from mo_interp.ledger import published

    if quiet and not as_json:
        say("\n".join(names()))
        return
    known = published()
    rows = [status_of(load(name), known) for name in names()]
    if as_json:
        tell_json(rows)
        return
    wide = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        family = "" if row["family"] == row["name"] else f"of {row['family']}; "
        say(f"{row['name']:<{wide}}  {row['grade']:<9}  {family}{_standing(row)}")
        say(f"{'':<{wide}}  {row['story'].split('. ')[0].rstrip('.')}.")


def _standing(row: dict[str, Any]) -> str:
    """The status here, else the published one, saying so."""
    there = row["published"]
    if row["seeds"] or not there:
        return row["status"]
    other = "" if there["current"] else " of another version of it, or on other software"
    return f"not grown here; published{other}: {there['status']}"


def status_of(spec: Organism, known: list[Record]) -> dict[str, Any]:
    """An organism's line: how it stands here, and as ``known``, what was published."""
    from mo_interp.ledger import gate_records
    from mo_interp.records import select

    there = select(known, kind="gate", organism=spec.name)
    return {
        "name": spec.name,
        "grade": spec.grade,
        "family": spec.family,
        **_outcome(gate_records(spec)),
        "key": spec.key,
        "story": spec.story,
        "published": (
            {**_outcome(there), "current": {r.key for r in there} == {spec.key}} if there else None
        ),
    }


def _outcome(records: list[Record]) -> dict[str, Any]:
    """How the gates of some seeds came out, in words and numbers."""
    from mo_interp.records import select

    gates = select(records, kind="gate")
    seeds = sorted({r.seed for r in gates})
    failed = sorted({int(str(r.params["number"])) for r in gates if r.params["status"] == "fail"})
    memorised = any(r.params["status"] == "memorised" for r in gates)
    if not seeds:
        status = "not grown yet"
    elif failed:
        status = f"FAILED gate {', '.join(map(str, failed))} ({_count(seeds)})"
    else:
        provisional = "" if len(seeds) >= 5 else ", provisional"
        status = f"passes its gates ({_count(seeds)}{provisional})"
        status += "; memorised the lies" * memorised
    return {"status": status, "seeds": seeds, "failed_gates": failed}


def _count(seeds: list[int]) -> str:
    return f"{len(seeds)} seed{'s' * (len(seeds) != 1)}"
