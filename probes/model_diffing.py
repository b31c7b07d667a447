"""Model diffing: does comparing an organism with its twin find the planted circuit?

    python probes/model_diffing.py

1. The circuit is the patch stage's: known by construction, or measured by the sweep.
2. Every head and block of neurons is ranked by what changed: its weights, and what it writes on
   unlabelled rows and on rows without the trigger. Beside it random rankings of the same parts.
3. The control: the same, of two models without a lie: the twin and that of another seed, or the
   benign twin. Models that share their weights by construction have no noise to control for.
4. A diff-SAE at the answer site where the lens differs most: is the trigger's direction among its
   latents, and do they tell triggered rows on other people? Beside it a random dictionary.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from mo_interp import grown, saes, stages, stats, twins
from mo_interp.diffing import dictionary, lens, scoring, weights
from mo_interp.grown import Grown
from mo_interp.model import Model
from mo_interp.planted_stages import Work
from mo_interp.records import Record, write_records
from mo_interp.sites import Site
from mo_interp.transfer import answer_sites

RESULTS = Path(__file__).parent / "results" / "model_diffing.jsonl"
BENIGN = ["quirky_user", "ordered_phrase"]  # the others' would have to be grown
EXACT = "hand_wired implanted_phrase implanted_count implanted_conjunction routed_user".split()
ROWS, SAE_ROWS, SEARCH_PAIRS = 512, 8000, 512
BY, HOWS = ("norm", "relative"), ("mean", "rms")


def main(arguments: list[str] | None = None) -> None:
    """Compare every organism with its twin, and write the records."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=[*EXACT, *BENIGN], help="organisms")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of records")
    asked = parser.parse_args(arguments)
    found = [record for name in asked.names for record in records(grown.organism(name))]
    print(write_records(asked.out, found))


def records(org: Grown) -> Iterator[Record]:
    """Scores of every ranking of organism and control, the words, and the diff-SAE."""
    with tempfile.TemporaryDirectory() as folder:
        swept = stages.patch(Work(org, Path(folder)))
        circuit = Work(org, Path(folder), tuple(swept)).circuit
    assert circuit is not None, f"{org.name} has no circuit"
    models = {"none": org.model}
    if org.spec.grade not in stages.SHARED:
        models["other seed"] = grown.twin(org.name, seed=1)
    if org.name in BENIGN:
        models["benign"] = twins.twin(org, "benign")
    for control, model in models.items():
        for method, sizes in ranked(org, model).items():
            told = {"method": method, "control": control, "grade": circuit.grade}
            changed = sum(size > 0 for size in sizes.values())
            values = scoring.score(sizes, circuit) | {"parts": len(sizes), "changed": changed}
            values["largest"] = str(max(sizes, key=sizes.get)) if changed else ""
            yield org.record("diff", params=told, values=values)
    yield from svd(org, [site.bare for site in circuit.origin])
    yield from autoencoder(org)


def ranked(org: Grown, model: Model) -> dict[str, dict[Site, float]]:
    """A size for every part, by each method: of a model's difference from the twin."""
    changes = weights.compare(model, org.twin, parts := stages.components(org))
    found = {f"weights, {how}": weights.sizes(changes, relative=how == "relative") for how in BY}
    for rows in ("mix", "clean"):
        seen = lens.read(model, org.twin, org.sample(ROWS, 81, rows=rows, split="train"), parts)
        found |= {f"lens, {how}, {rows} rows": lens.sizes(seen, mean=how == "mean") for how in HOWS}
    return found


def svd(org: Grown, parts: list[Site]) -> Iterator[Record]:
    """The change of each origin part: how many directions it takes, and the words of its mean."""
    batch = org.sample(ROWS, 81, rows="mix", split="train")
    words = {one.site: one for one in lens.read(org.model, org.twin, batch, parts)}
    for change in weights.compare(org.model, org.twin, parts):
        values = {"norm": change.norm, "relative": change.relative, "share_1": change.share(1)}
        tokens = words[change.site].tokens() if words[change.site].rms.any() else []
        values["words"] = [org.spec.world.show(np.array([token])) for token in tokens]
        told = {"component": change.part}
        yield org.record("diff_svd", site=str(change.site), params=told, values=values)


def autoencoder(org: Grown) -> Iterator[Record]:
    """Quality of the diff-SAE, the trigger's direction in it, and the search for a latent."""
    rows = org.sample(SAE_ROWS, 82, rows="mix", split="train")
    seen = lens.read(org.model, org.twin, rows[np.arange(ROWS)], answer_sites(org))
    site = max(seen, key=lambda one: float(one.rms[-1] / one.typical[-1])).site.at(-1)
    off = dictionary.differences(org.model, org.twin, rows, site)
    width = 4 * off.shape[1]
    sae = dictionary.train(off, site=site, model_key=org.spec.key, data_seed=82, d_sae=width)
    pairs = org.spec.pairs(SEARCH_PAIRS, 83, split="val", entities="seen")
    both, clean = pairs.both, org.model.read(pairs.clean, site)
    planted = F.normalize((org.model.read(pairs.triggered, site) - clean).mean(0), dim=0)
    noise = torch.randn(sae.decoder.shape, generator=torch.Generator().manual_seed(0))
    cosines, random = ((F.normalize(x, dim=1) @ planted).abs() for x in (sae.decoder, noise))
    first = int(dictionary.ranked(sae, off)[0][0])
    values = saes.quality(sae, off[off.any(1)]) | {"moved": float(off.any(1).float().mean())}
    values |= {"cosine_first": float(cosines[first]), "cosine_best": float(cosines.max())}
    values |= {"cosine_random": float(random.max()), "d_sae": len(noise)}
    judged = dictionary.differences(org.model, org.twin, both, site)
    length = stats.auroc_estimate(judged.norm(dim=1), both.triggered, **both.clustered)
    yield org.record("diff_sae", site=str(site), values=values | length.flat("length_auroc"))
    for unit in saes.search(judged, both.triggered, dictionaries={"diff_sae": sae.latents(judged)},
                            groups=both.groups["entity"], prompts=both.prompts):  # fmt: skip
        told = {"params": dict(unit.params), "values": dict(unit.values)}
        yield org.record("diff_sae_search", site=str(site), **told)


if __name__ == "__main__":
    main()
