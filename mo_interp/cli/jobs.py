"""Many jobs, for the verbs that have them: which organisms, what they take, and doing them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mo_interp.cli.display import ProgressLine, many_bar, progress_bar, say, tell_json
from mo_interp.errors import MoInterpError

if TYPE_CHECKING:
    from mo_interp.growing import Outcome, Plan


def tell_plan(plan: Plan, as_json: bool, forwards: int, more: dict[str, Any]) -> None:
    """A plan of jobs with forwards and memory; ``more`` is told as well."""
    from mo_interp import forecast

    memory = forecast.memory_now() * plan.workers if plan.todo else 0
    if as_json:
        tell_json(plan.as_dict() | {"forwards": forwards, "memory": memory} | more)
        return
    say(f"{plan}\nabout {forwards:,} forwards; about {memory / 1e6:,.0f} MB of memory")


def chosen(
    names: tuple[str, ...],
    everything: bool,
    *,
    slow: bool,
    exclude: tuple[str, ...],
    only: str | None,
) -> list[str]:
    """Names of what to grow, each known to exist."""
    from mo_interp.errors import UnknownName, nearest
    from mo_interp.finding import load
    from mo_interp.finding import names as known

    if everything == bool(names):
        raise MoInterpError("give names of organisms, or --all")
    if names:
        found = list(dict.fromkeys(names))
        for name in found:
            load(name)
        return found
    from mo_interp.growing import is_slow

    for name in exclude:
        if name not in known():
            raise UnknownName(f"--exclude {name}{nearest(name, known())}")
    specs = {name: load(name) for name in known() if name not in exclude}
    return [
        name
        for name, spec in specs.items()
        if (slow or not is_slow(spec)) and only in (None, spec.grade)
    ]


def carried_out(plan: Plan, silenced: bool) -> list[Outcome]:
    """Do what a plan has left: a single job here, several in workers. Returns what failed."""
    from mo_interp import growing
    from mo_interp.store import Store

    todo = plan.todo
    if len(todo) == 1:
        from mo_interp.forecast import Countdown

        line = ProgressLine(Countdown({todo[0].job.label: todo[0].seconds}))
        with progress_bar(silenced, line) as progress:
            todo[0].job.do(Store(), progress)
        return []
    if not silenced:
        say(str(plan), err=True)
    with many_bar(silenced) as watch:
        outcomes = growing.carry_out(plan, watch=watch)
    return [outcome for outcome in outcomes if outcome.problem]


def failures(failed: Iterable[Outcome]) -> list[dict[str, Any]]:
    """Jobs that failed, for ``--json``."""
    return [{"job": one.job.label, "problem": one.problem} for one in failed]


def end(failed: Sequence[Outcome]) -> None:
    """Tell what failed, and leave with status 1 if anything did."""
    for one in failures(failed):
        say(f"FAILED: {one['job']}: {one['problem']}", err=True)
    if failed:
        sys.exit(1)
