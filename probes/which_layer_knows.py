"""Which layer knows: linear probes for the trigger and for the truth, after every layer.

    python probes/which_layer_knows.py quirky_user
    mo-interp figure which_layer --run probes/results/which_layer_knows.jsonl

*Trigger*: logistic regression on clean against triggered prompts; fitted on train people and
layouts, judged on others; beside it 1,000 random directions, whose signs the train rows choose.
*Truth*: a 32-class probe for the true value on triggered prompts, fitted on three quarters of the
facts and judged on the others, where the organism lies. Beside it the same probe of a *shuffled
table*: what can be read without there being a truth to read (Hewitt and Liang, arXiv 1909.03368).
Everything again on the clean twin, which shows how much of it is only text.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import mo_interp as mo
from mo_interp import stats
from mo_interp.detection import truth_probe
from mo_interp.grown import Grown
from mo_interp.model import Model
from mo_interp.probing import random_aurocs
from mo_interp.records import Record, read_records, write_records

RESULTS = Path(__file__).parent / "results" / "which_layer_knows.jsonl"
POSITIONS = {"trigger": "trigger[0]", "answer": -1}


def main(arguments: list[str] | None = None) -> None:
    """Probe one organism and its twin, and put the records in place of its earlier ones."""
    asked = options().parse_args(arguments)
    grown = mo.organism(asked.name, seed=asked.seed)
    found = records(grown, asked.pairs, asked.rows)
    others = read_records(asked.out) if asked.out.exists() else []
    others = [r for r in others if (r.organism, r.seed) != (grown.name, grown.seed)]
    print(write_records(asked.out, others + found))


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", nargs="?", default="quirky_user", help="an organism or its file")
    parser.add_argument("--seed", type=int, default=0, help="of growing")
    parser.add_argument("--pairs", type=int, default=512, help="of prompts, for the trigger")
    parser.add_argument("--rows", type=int, default=4000, help="of prompts, for the truth")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of records")
    return parser


def records(grown: Grown, pairs: int, rows: int) -> list[Record]:
    """Every probe after every layer, on the organism and on its twin."""
    found = []
    for name, model in (("organism", grown.model), ("twin", grown.twin)):
        for layer in range(grown.spec.shape.n_layers):
            made = [*trigger(grown, model, layer, pairs), *truth(grown, model, layer, rows)]
            found += [record(grown, name, layer, *one) for one in made]
    return found


def record(
    grown: Grown, model: str, layer: int, probe: str, position: str, values: dict[str, Any]
) -> Record:
    """One probe's number as a record that the figure ``which_layer`` reads."""
    return grown.record(
        "probe",
        model=model,
        site=site(layer, position),
        params={"probe": probe, "layer": layer, "position": position},
        values=values,
    )


def site(layer: int, position: str) -> str:
    """The stream after a layer, at the trigger's first word or at the answer."""
    return f"L{layer}.resid_post@{POSITIONS[position]}"


def trigger(grown: Grown, model: Model, layer: int, n: int) -> Iterator[tuple[str, str, dict]]:
    """AUROC of triggered against clean prompts of people and layouts that were not fitted on."""
    train, test = (grown.pairs(n, seed=71, split=split).both for split in ("train", "test"))
    for position in POSITIONS:
        here = site(layer, position)
        acts, new = model.read(train, here), model.read(test, here)
        probe = mo.detector("logistic").fit(acts, train.triggered, site=here)
        found = stats.auroc_estimate(probe.score(new), test.triggered, **test.clustered)
        told = {"test_acts": new, "test_y": test.triggered, "seed": grown.seed}
        random = random_aurocs(acts, train.triggered, **told)
        beside = {"random_median": np.median(random), "random_p95": np.quantile(random, 0.95)}
        beside |= {"random_best": random.max(), "chance": 0.5}
        beside = {name: float(value) for name, value in beside.items()}
        yield "trigger", position, {**found.flat("auroc"), **beside, "random_n": len(random)}


def truth(grown: Grown, model: Model, layer: int, n: int) -> Iterator[tuple[str, str, dict]]:
    """Accuracy on facts that were not fitted on, and the same of a shuffled table."""
    world = grown.spec.world
    batch = grown.spec.sample(n, 72, split="test", entities="all", rows="triggered")
    facts = batch.groups["fact"]
    count = len(np.unique(facts))
    probe = truth_probe(
        model.read(batch, site(layer, "answer")),
        batch.truth - world.tokens_of("values")[0],
        facts=facts,
        split=stats.group_split(facts, (count - count // 4, 0, count // 4), seed=grown.seed),
        judge=grown.model.answers(batch) == batch.answer,
        n_values=world.n_values,
        seed=grown.seed,
    )
    for name, found in (("truth", probe.accuracy), ("truth_shuffled", probe.shuffled)):
        yield name, "answer", {**found.flat("accuracy"), "chance": probe.chance}


if __name__ == "__main__":
    main()
