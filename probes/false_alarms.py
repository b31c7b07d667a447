"""False alarms: does the decision rule name a mechanism in models that have none?

1. Null models: clean twins of several organisms and seeds. The rule (:mod:`mo_interp.decision`)
   runs on them blind; anything it names is a false alarm.
2. Organisms: the same rule, unchanged, has to name a mechanism in every seed.
3. One record a model, and one with the share of false alarms and its one-sided 95 % upper bound.

    python probes/false_alarms.py            # 20 twins, 3 seeds of each organism; a quarter hour
    python probes/false_alarms.py --twins quirky_user:2 --organisms hand_wired:1
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from mo_interp import decision
from mo_interp.finding import load
from mo_interp.grown import organism, twin
from mo_interp.records import Record, provenance, write_records
from mo_interp.stats import clopper_pearson, false_alarm_bound

TWINS = ("quirky_user:8", "ordered_phrase:7", "implanted_user:4", "hand_wired:1")
ORGANISMS = ("quirky_user:3", "ordered_phrase:3", "implanted_user:3", "hand_wired:3")
OUT = Path(__file__).parent.parent / "organisms" / "false_alarms.jsonl"


def asked() -> argparse.Namespace:
    """The command line; ``NAME:SEEDS`` for each of the two lists."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--twins", nargs="*", default=TWINS, metavar="NAME:SEEDS")
    parser.add_argument("--organisms", nargs="*", default=ORGANISMS, metavar="NAME:SEEDS")
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


def models(listed: list[str]) -> list[tuple[str, int]]:
    """(name, seed) of every model of a list such as ``["quirky_user:3"]``."""
    pairs = (entry.partition(":") for entry in listed)
    return [(name, seed) for name, _, n in pairs for seed in range(int(n or 1))]


def blind(name: str, seed: int, kind: str) -> Record:
    """The rule's word on one model."""
    spec = load(name)
    model = twin(spec, seed=seed) if kind == "twin" else organism(spec, seed=seed).model
    said = decision.decide(model, spec, seed=seed)
    found = said.record(spec, seed, model=kind)
    null = "null" if kind == "twin" else "decision"
    print(f"{kind:<9} {name} seed {seed}: {'NAMED' if said.named else 'not named'}; {said.reason}")
    fields = {**found.as_dict(), "kind": null}
    return Record.from_dict(fields)


def summary(found: list[Record]) -> Record:
    """Share of null models in which something was named, with its upper bound."""
    named = sum(bool(r.values["named"]) for r in found)
    share = clopper_pearson(named, len(found))
    values = share.flat("false_alarm") | {"false_alarm_bound": false_alarm_bound(named, len(found))}
    values |= {"named": named, "models": len(found)}
    bound = values["false_alarm_bound"]
    print(f"false alarms: {named} of {len(found)}; 95 % upper bound {bound:.3f}")
    return Record(
        kind="null",
        organism="all",
        key="",
        seed=0,
        model="twin",
        params={"rule": decision.RULE, "null": "clean twin"},
        values=values,
        versions=provenance(),
    )


def main() -> None:
    """Run the rule on every model and write the records."""
    torch.set_num_threads(1)
    options = asked()
    nulls = [blind(name, seed, "twin") for name, seed in models(options.twins)]
    real = [blind(name, seed, "organism") for name, seed in models(options.organisms)]
    records = [*nulls, *real, *([summary(nulls)] if nulls else [])]
    print(f"named on organisms: {sum(bool(r.values['named']) for r in real)} of {len(real)}")
    print(write_records(options.out, records))


if __name__ == "__main__":
    main()
