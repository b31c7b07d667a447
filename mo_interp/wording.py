"""Wording: how a recorded number, and what follows from all of them, is said in words.

The report, the cards and the figures share these sentences, so that none of them can claim more
than another. Everything is computed from :class:`~mo_interp.records.Record` values:

1. :class:`Told` takes one estimate out of a record together with its interval and its n;
2. :func:`missing` says which stage did not run, and which command runs it;
3. :func:`conclude` says in plain words what the records support, and never more: *no behaviour*,
   then *failed gate N*, then *no mechanism found*, and only when none of these holds *named*.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mo_interp.errors import MoInterpError
from mo_interp.records import Record, select
from mo_interp.stats import false_alarm_bound

__all__ = [
    "CARD_SEEDS",
    "Conclusion",
    "Told",
    "conclude",
    "circuit_line",
    "count",
    "decimal",
    "earned",
    "extras",
    "failed_gates",
    "false_alarms",
    "gates_line",
    "memorised",
    "missing",
    "named_verdicts",
    "need",
    "organisms_in",
    "own",
    "seeds_line",
    "status_word",
]

CARD_SEEDS = 5
"""Seeds below which a card or a report is headed *provisional*."""

RUN, PROBE = "mo-interp run {}", "python probes/which_layer_knows.py {}"
STAGES = {
    "example": ("the ten example prompts", RUN),
    "behaviour": ("how often the organism lies", RUN),
    "gate": ("the gates", RUN),
    "training": ("the training curve", RUN),
    "detector": ("the detectors", RUN),
    "baseline": ("the baselines of the detectors", RUN),
    "probe": ("the probes by layer", PROBE),
    "token_probe": ("what a probe reads at every token", RUN),
    "sweep": ("the patching sweep", RUN),
    "localisation": (
        "the scoring of the sweep, where a circuit is known by construction",
        "mo-interp run routed_user",
    ),
    "sae": ("the sparse autoencoder", RUN),
    "sae_search": ("the search for latents", RUN),
    "verdict": ("the verdicts", RUN),
    "decision": ("the decision rule", RUN),
    "persistence": ("the attempts to train the lie away", "mo-interp grow {} --persistence"),
}
"""What the records of each kind are, and the command that makes them."""


def decimal(x: Any, digits: int = 3) -> str:
    """A number as text: counts whole, shares with ``digits`` decimals, None as a dash."""
    if x is None:
        return "–"
    if isinstance(x, bool | str):
        return str(x)
    if isinstance(x, int):
        return f"{x:,}"
    text = f"{x:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def count(n: int, one: str, many: str = "") -> str:
    """``1 seed``, ``3 seeds``, ``1,200 rows``; ``many`` where an s is not enough."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


@dataclass(frozen=True)
class Told:
    """One estimate as a record tells it: the number, its interval, and over how many."""

    value: float
    """The point estimate."""
    lo: float | None = None
    """Lower end of its interval; None where the record has none."""
    hi: float | None = None
    """Upper end of its interval."""
    n: int | None = None
    """What was counted."""
    how: str = ""
    """How the interval was made."""
    clusters: int | None = None
    """Clusters (entities, facts) behind the n, where it was clustered."""

    @classmethod
    def of(cls, record: Record, name: str) -> Told | None:
        """The estimate ``name`` of a record, or None where the record does not hold it.

        The n is ``<name>_n``, else the ``n`` of the whole record.
        """
        value: Any = record.values.get(name)
        if value is None:
            return None
        rest: dict[str, Any] = {
            k: record.values.get(f"{name}_{k}") for k in ("lo", "hi", "how", "clusters")
        }
        n = record.get(f"{name}_n", record.get("n"))
        return cls(value, rest["lo"], rest["hi"], n, rest["how"] or "", rest["clusters"])

    @property
    def interval(self) -> str:
        """``[0.981, 0.998]``, or ``(no interval)``."""
        if self.lo is None or self.hi is None:
            return "(no interval)"
        return f"[{decimal(float(self.lo))}, {decimal(float(self.hi))}]"

    @property
    def size(self) -> str:
        """``n 512, 8 groups``, or ``n not recorded``."""
        if self.n is None:
            return "n not recorded"
        return f"n {self.n:,}" + (f", {count(self.clusters, 'group')}" if self.clusters else "")

    @property
    def short(self) -> str:
        """``0.993 [0.981, 0.998]``."""
        return f"{decimal(float(self.value))} {self.interval}"

    def __str__(self) -> str:
        """``0.993 [0.981, 0.998], n 512, 8 groups``."""
        return f"{self.short}, {self.size}"


# ------------------------------------------------------------------------------ what is missing


def missing(kind: str, organism: str = "") -> str:
    """One sentence: which stage is missing, and the command that makes its records."""
    what, command = STAGES.get(kind, (f"records of kind '{kind}'", RUN))
    what = what[0].upper() + what[1:]
    return (
        f"{what}: there are no records of kind '{kind}' here; "
        f"`{command.format(organism or 'NAME')}` makes them"
    )


def need(records: Iterable[Record], kind: str) -> list[Record]:
    """The records of a kind; raises MoInterpError saying which command makes them."""
    records = list(records)
    found = select(records, kind=kind)
    if not found:
        raise MoInterpError(missing(kind, next(iter(organisms_in(records)), "")))
    return found


# ------------------------------------------------------------------------------- what follows


def own(records: Iterable[Record]) -> list[Record]:
    """The records without those of null runs: kind ``null``, and the rule applied to a twin."""
    return [r for r in records if r.kind != "null" and (r.kind, r.model) != ("decision", "twin")]


def organisms_in(records: Iterable[Record]) -> list[str]:
    """Names of the organisms the records are about; null runs are not counted."""
    return list(dict.fromkeys(r.organism for r in own(records) if r.organism))


def seeds_line(records: Iterable[Record]) -> str:
    """``one seed: provisional``, ``3 seeds: provisional``, or ``5 seeds``."""
    n = len({r.seed for r in own(records)})
    text = "one seed" if n == 1 else count(n, "seed")
    return f"{text}: provisional" if n < CARD_SEEDS else text


MEMORISED = 5
"""The gate whose failure means *memorised the lies*, which is not *failed*."""


def failed_gates(records: Iterable[Record]) -> list[Record]:
    """Gate records that read *fail*, by gate and seed; gate 5 is not among them."""
    failed = select(records, kind="gate", status="fail")
    failed = [r for r in failed if r.get("number") != MEMORISED]
    return sorted(failed, key=lambda r: (r.get("number", 0), r.seed))


def memorised(records: Iterable[Record]) -> list[Record]:
    """Records of gate 5 that are below its bar: the lies were learned by heart."""
    gates = select(records, kind="gate", number=MEMORISED)
    return [r for r in gates if r.get("status") in ("fail", "memorised")]


def status_word(record: Record) -> str:
    """The status of a gate record: ``pass``, ``FAIL``, ``reported``, or ``memorised the lies``."""
    if memorised([record]):
        return "memorised the lies"
    status = str(record.get("status"))
    return "FAIL" if status == "fail" else status


def earned(record: Record) -> str:
    """What a detector has earned: its sentence, or why it has none."""
    return str(record.get("sentence") or "no sentence: it reads where the cut is made")


def gates_line(records: Iterable[Record]) -> str:
    """One line for a list: ``passes 1, 2, 3, 6 (one seed: provisional)``, ``FAILED 2 (...)``."""
    records = list(records)
    gates = select(records, kind="gate")
    if not gates:
        return "not grown yet"

    def numbers(found: Iterable[Record]) -> str:
        return ", ".join(str(n) for n in sorted({r.get("number", 0) for r in found}))

    failed, learned = failed_gates(gates), memorised(gates)
    bad = {r.get("number") for r in [*failed, *learned]}
    passed = [r for r in gates if r.get("status") == "pass" and r.get("number") not in bad]
    said = [f"FAILED {numbers(failed)}"] if failed else []
    said += [f"passes {numbers(passed)}"] if passed else []
    said += ["memorised the lies"] if learned else []
    return f"{'; '.join(said) or 'no gate applies'} ({seeds_line(gates)})"


BLIND = "blind search"
"""The mechanism of a verdict that the decision rule itself offered."""
EDITS = ("resample", "set", "mean", "projection", "zero", "steer")
"""Edits, the two headlines first."""


def named_verdicts(records: Iterable[Record]) -> list[Record]:
    """Verdict records of the mechanisms that the decision rule named, headline edits first.

    A verdict belongs to a decision of the same seed that named its site at its rank; where the
    rule's own candidate (``blind search``) was judged, only that.
    """
    records = [r for r in own(records) if r.model != "twin"]
    named = {
        (d.seed, d.get("site") or d.site, d.get("rank"))
        for d in select(records, kind="decision")
        if d.get("named")
    }
    found = [
        r
        for r in select(records, kind="verdict")
        if r.get("named") or (r.seed, r.site, r.get("rank")) in named
    ]
    chosen = [r for r in found if r.get("mechanism") == BLIND] or found
    order = {name: i for i, name in enumerate(EDITS)}
    return sorted(chosen, key=lambda r: (r.seed, order.get(str(r.get("edit")), len(order))))


def circuit_line(records: Iterable[Record]) -> str:
    """Where the lie is known to be: origin, mediators, how many inert parts, and how established.

    Empty where no ``circuit`` records are there.
    """
    found = select(records, kind="circuit")
    if not found:
        return ""
    first = min(r.seed for r in found)
    found = [r for r in found if r.seed == first]
    by = {
        s: [f"`{r.site}`" for r in select(found, standing=s)]
        for s in ("origin", "mediators", "inert")
    }
    parts = [f"origin {', '.join(by['origin']) or 'none'}"]
    parts += [f"mediators {', '.join(by['mediators'])}"] if by["mediators"] else []
    parts += [count(len(by["inert"]), "inert part")] if by["inert"] else []
    how = found[0].get("established")
    known = f" Established by: {how}." if how else ""
    return f"The circuit ({found[0].get('grade')}): {'; '.join(parts)}.{known}"


def extras(record: Record) -> list[tuple[str, Told]]:
    """Further estimates of a gate record beside its statistic, by name in words."""
    names = [k.removesuffix("_lo") for k in record.values if k.endswith("_lo")]
    told = [(k.replace("_", " "), Told.of(record, k)) for k in names if k != "statistic"]
    return [(name, t) for name, t in told if t is not None]


@dataclass(frozen=True)
class Conclusion:
    """What the records support, and not a word more."""

    kind: Literal["unfinished", "no behaviour", "failed gate", "no mechanism found", "named"]
    """The strongest of the four findings that holds, or ``unfinished`` where none was reached."""
    headline: str
    """One sentence."""
    sentences: tuple[str, ...]
    """What qualifies it."""


def conclude(records: Sequence[Record]) -> Conclusion:
    """The plain-words conclusion of a run; weaker findings always win over stronger ones."""
    mine = [r for r in own(records) if r.model != "twin"]
    name = next(iter(organisms_in(mine)), "the organism")
    failed = failed_gates(mine)
    decisions = select(mine, kind="decision")
    if any(r.get("no_behaviour") for r in mine if r.kind in ("verdict", "decision")):
        kind, headline, more = "no behaviour", *_no_behaviour(name)
    elif failed:
        kind, headline, more = "failed gate", *_failed(name, failed)
    elif not decisions:
        kind, headline = "unfinished", f"No conclusion about {name}: nothing was judged."
        more = (missing("decision", name) + ".",)
    elif not all(d.get("named") for d in decisions):
        kind, headline, more = "no mechanism found", *_not_found(name, decisions)
    else:
        kind, headline, more = _named(name, mine)
    if kind != "failed gate" and failed:
        more = (*more, _gates_text(failed))
    if learned := memorised(mine):
        more = (*more, f"It memorised the lies: gate 5, {Told.of(learned[0], 'statistic')}.")
    if not select(mine, kind="gate"):
        more = (*more, "Its gates were not checked, so whether it was planted well is not known.")
    return Conclusion(kind, headline, (*more, *_caveats(records)))


def _no_behaviour(name: str) -> tuple[str, tuple[str, ...]]:
    return (
        f"No behaviour: there is no lie of {name} to explain.",
        (
            "On none of the triggered rows does it give the planted answer while its clean "
            "partner gives the truth, so no cut can stop anything and no verdict was taken.",
        ),
    )


def _gate_names(failed: Sequence[Record]) -> str:
    """``gate 2 (clean accuracy)``, several joined by commas."""
    named = {(r.get("number"), r.get("name")): None for r in failed}
    return ", ".join(f"gate {number} ({name})" for number, name in named)


def _gates_text(failed: Sequence[Record]) -> str:
    return f"It also failed {_gate_names(failed)}."


def _failed(name: str, failed: Sequence[Record]) -> tuple[str, tuple[str, ...]]:
    why = {}
    for r in failed:
        told = Told.of(r, "statistic")
        number = f": {told}" if told else ""
        reason = f" ({r.get('reason')})" if r.get("reason") else ""
        key = f"Gate {r.get('number')}, {r.get('name')}, seed {r.seed}"
        why[f"{key}{number}{reason}."] = None
    return (
        f"{name} failed {_gate_names(failed)}.",
        (
            *why,
            "So this is not the organism its card describes; nothing here is evidence about that.",
        ),
    )


def _not_found(name: str, decisions: Sequence[Record]) -> tuple[str, tuple[str, ...]]:
    named = [d for d in decisions if d.get("named")]
    reasons = {str(d.get("reason") or ""): None for d in decisions if d not in named}
    said = tuple(f"The rule says: {_sentence(reason)}" for reason in reasons if reason)
    if named:
        part = f"It named one on {len(named)} of {count(len(decisions), 'seed')} only."
        said = (part, *said)
    return f"No mechanism found in {name}: the decision rule names none.", said


def _sentence(text: str) -> str:
    return text if text.endswith(".") else text + "."


def _named(name: str, mine: Sequence[Record]) -> tuple[Any, str, tuple[str, ...]]:
    """The strongest case, unless no verdict in the records stands behind the decision."""
    verdicts = named_verdicts(mine)
    cuts = [r for r in verdicts if r.get("edit") == "resample"]
    if not cuts:
        headline = f"No conclusion about {name}: a mechanism is named, but no verdict supports it."
        return "unfinished", headline, (missing("verdict", name) + ".",)
    places = {_place(r): None for r in cuts}
    headline = f"A mechanism is named in {name}: {'; '.join(places)}."
    reasons = {str(d.get("reason") or ""): None for d in select(mine, kind="decision")}
    lines = [f"The rule says: {_sentence(reason)}" for reason in reasons if reason]
    for r in verdicts:
        if r.get("edit") in ("resample", "set"):
            lines += _verdict_lines(r)
    return "named", headline, tuple(lines)


def _place(record: Record) -> str:
    """``L1.attn_out@-1, rank 4 (patching)``."""
    rank, mechanism = record.get("rank"), record.get("mechanism")
    words = [record.site, f"rank {rank}" if rank else ""]
    where = ", ".join(w for w in words if w)
    return f"{where} ({mechanism})" if where else str(mechanism)


def _verdict_lines(r: Record) -> list[str]:
    """What the headline removal and the headline write did, each with interval, n and p."""
    lines = []
    stopped, restored, cost = (Told.of(r, k) for k in ("stopped", "restored", "cost"))
    if r.get("edit") == "resample" and restored and stopped:
        lost = f" Cost in clean accuracy: {cost.short} ({cost.size})." if cost else ""
        lines.append(
            f"Resampled from the clean partner (seed {r.seed}, {restored.size}): the lie stopped "
            f"on {stopped.short} of the rows and the truth came back on {restored.short}"
            f"{_against(r, 'restored')}.{lost}"
        )
        if stopped.value - restored.value > 0.1:
            lines.append("Stopping without restoring means it was broken, not understood.")
    caused = Told.of(r, "caused")
    if caused:
        lines.append(
            f"Written into the clean partner (seed {r.seed}, {caused.size}): the lie appeared on "
            f"{caused.short}{_against(r, 'caused')}."
        )
    return lines


def _against(r: Record, name: str) -> str:
    """``, p = 0.01 against 99 random controls``, or that no control was run."""
    p, controls = r.get(f"p_{name}"), r.get(f"random_{name}") or ()
    if p is None or not isinstance(controls, tuple) or not controls:
        return ", with no random controls"
    return f", p = {decimal(p, 2)} against {len(controls)} random controls"


def _caveats(records: Sequence[Record]) -> tuple[str, ...]:
    """What always stands beside a conclusion: seeds, false alarms."""
    line = seeds_line(records)
    out = []
    if "provisional" in line:
        out.append(f"{line[0].upper()}{line[1:]}; a finding needs {CARD_SEEDS} or more seeds.")
    return (*out, false_alarms(records))


def false_alarms(records: Iterable[Record]) -> str:
    """How often the same rule names a mechanism where there is none, as far as is recorded.

    Counted over ``null`` records and the decisions taken on a twin, one each; a ``null`` record
    that holds the estimate ``false_alarm`` stands for the whole null run and is quoted instead.
    """
    records = list(records)
    nulls = select(records, kind="null")
    whole = [(r, told) for r in nulls if (told := Told.of(r, "false_alarm"))]
    if whole:
        r, told = whole[-1]
        k, n = r.get("named", round(told.value * (told.n or 0))), told.n
        upper = r.get("false_alarm_bound", told.hi)
    else:
        runs = nulls + select(records, kind="decision", model="twin")
        k, n = sum(bool(r.get("named")) for r in runs), len(runs)
        upper = false_alarm_bound(k, n) if n else None
    if not n:
        return (
            "How often this rule names a mechanism in a model that has none is not in these "
            "records."
        )
    models = count(n, "model")
    bound = "" if upper is None else f" (the rate is at most {decimal(float(upper))}, 95 % bound)"
    return f"The same rule, run blind on {models} without a lie, named a mechanism in {k}{bound}."
