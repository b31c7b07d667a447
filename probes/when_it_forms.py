"""When does the lie form? Behaviour, probes and circuit of an organism along its training.

    python probes/when_it_forms.py quirky_user          # two minutes; grown anew, then thrown away
    mo-interp figure when_it_forms --run probes/results/when_it_forms.jsonl

Of organism and clean twin, every 50 steps: lies about people taught and untaught, truths without
the trigger, a probe refitted at that step beside 1,000 random directions. Of the organism also what
writes from the triggered run *cause* in clean prompts: the blind rule's subspace and the best head,
both chosen on the finished one's validation people, beside the subspace fitted anew and controls.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace as Known

import torch

import mo_interp as mo
from mo_interp import decision, features, judge, origins, stats
from mo_interp.grown import Grown, checkpoints, organism
from mo_interp.model import Model
from mo_interp.probing import random_aurocs
from mo_interp.records import Record, read_records, write_records
from mo_interp.sites import Site
from mo_interp.store import Store
from mo_interp.worlds.base import Pairs

RESULTS = Path(__file__).parent / "results" / "when_it_forms.jsonl"


def main(arguments: list[str] | None = None) -> None:
    """Measure one organism, and put its records in place of its earlier ones."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", nargs="?", default="quirky_user", help="an organism or its file")
    parser.add_argument("--seed", type=int, default=0, help="of growing")
    parser.add_argument("--every", type=int, default=50, help="steps between two checkpoints")
    parser.add_argument("--store", type=Path, help="where weights are kept; else thrown away")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of records")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(asked.store or folder)
        grown = organism(asked.name, seed=asked.seed, store=store)
        known, found = known_of(grown), []
        for name, spec in (("organism", grown.spec), ("twin", grown.spec.twin())):
            kept = checkpoints(spec, seed=asked.seed, every=asked.every, store=store)
            found += [r for step in kept for r in measured(known, name, step, kept[step])]
    old = read_records(asked.out) if asked.out.exists() else []
    old = [r for r in old if (r.organism, r.seed) != (grown.name, grown.seed)]
    print(write_records(asked.out, old + found))


def known_of(grown: Grown, n: int = 512) -> Known:
    """Rows, and subspace and heads of the finished organism, chosen on validation people."""
    train, val, test = (grown.pairs(n, seed=81, split=s) for s in ("train", "val", "test"))
    val, test = (p[p.triggered.answer != p.triggered.truth] for p in (val, test))
    heads = list(grown.model.sites.match(["L*.H*.z@-1"]))
    heads.sort(key=lambda site: -head_caused(grown.model, val, site).value)
    feature = decision.decide(grown.model, grown.spec, seed=grown.seed, controls=9).feature
    return Known(grown=grown, train=train, test=test, feature=feature, heads=heads)


def measured(known: Known, name: str, step: int, model: Model) -> Iterator[Record]:
    """Every record of one step; a circuit is looked for in the organism alone."""
    places = f"L{known.grown.spec.shape.n_layers - 1}.resid_post@-1", "L0.resid_post@trigger[0]"
    made = [behaviour(known, model), *(probe(known, model, place) for place in places)]
    made += [head(known, model), subspace(known, model)] if name == "organism" else []
    for what, site, found in made:
        where = {"model": name, "site": site, "params": {"step": step, "what": what}}
        yield known.grown.record("forming", values=found, **where)


def behaviour(known: Known, model: Model) -> tuple[str, str, dict]:
    """Lies about taught and about other people; truths without the trigger."""
    hot, clean = known.test.triggered, known.test.clean
    seen = known.grown.spec.sample(len(hot), 82, split="test", rows="triggered", entities="seen")
    told = stats.share(model.gives(hot, hot.answer_reply), **hot.clustered).flat("lies")
    told |= stats.share(model.gives(seen, seen.answer_reply), **seen.clustered).flat("lies_taught")
    true = stats.share(model.gives(clean, clean.truth_reply), **clean.clustered).flat("clean")
    return "behaviour", "", told | true


def probe(known: Known, model: Model, place: str) -> tuple[str, str, dict]:
    """A probe of this step, and random directions at the same place."""
    (train, y), (test, z) = ((b, b.triggered) for b in (known.train.both, known.test.both))
    acts, tested = model.read(train, place), model.read(test, place)
    scores = mo.detector("logistic").fit(acts, y, site=place).score(tested)
    random = sorted(random_aurocs(acts, y, test_acts=tested, test_y=z))
    beside = {"random_p95": random[949], "random_best": random[-1], "random_n": len(random)}
    return "probe", place, stats.auroc_estimate(scores, z, **test.clustered).flat("auroc") | beside


def head_caused(model: Model, pairs: Pairs, site: Site) -> stats.Estimate:
    """How many clean prompts a head makes lie, beyond those that lie without it."""
    lies = origins.exchange(model, pairs, [site])[0] == pairs.triggered.answer
    before = model.answers(pairs.clean) == pairs.triggered.answer
    return stats.difference(lies, before, **pairs.clean.clustered)


def head(known: Known, model: Model) -> tuple[str, str, dict]:
    """The head that does most in the end, beside the most that any other does now."""
    best, *others = (head_caused(model, known.test, site) for site in known.heads)
    beside = {"random_best": max(e.value for e in others), "random_n": len(others)}
    return "head", str(known.heads[0]), best.flat("caused") | beside


def subspace(known: Known, model: Model) -> tuple[str, str, dict]:
    """The finished organism's subspace, the same of this step, and random ones."""
    spec, site, rank = known.grown.spec, known.feature.site, known.feature.rank
    own = features.from_pairs(model, known.train, site, rank=rank)
    last, now = (judge.blind_caused(model, spec, [f], known.test) for f in (known.feature, own))
    random = judge.blind_controls(model, spec, [own], known.test, seed=known.grown.seed)
    told = last.flat("caused") | now.flat("caused_anew") | {"random_best": max(random)}
    return "subspace", str(site), {**told, "random_n": len(random)}


if __name__ == "__main__":
    main()
