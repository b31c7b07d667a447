"""Features planted in a toy model of superposition, and whether our SAE gets them back.

    python probes/superposition.py

1. *Toy Models of Superposition* (Elhage et al., arXiv 2209.10652): sparse features ``x`` are
   squeezed into fewer dimensions and read out again, ``relu(W'W x + b)``. Trained on sparse
   features it keeps many more than it has dimensions, as directions that are not orthogonal: the
   columns of W, which are thereby known. Only those that are kept (length above a half) count.
2. Our SAE is trained on ``W x`` alone.
3. For every kept feature, the cosine of the nearest dictionary direction; the mean over features
   is the score. Beside it a random dictionary as wide, directions drawn from the activations' own
   covariance, rows of the data themselves, and PCA; PCA has no signs, so it gets the better one.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mo_interp import saes, stats
from mo_interp.records import Record, provenance, write_records

RESULTS = Path(__file__).parent / "results" / "superposition.jsonl"
FEATURES, DIMENSIONS, ON = 128, 40, 0.025
KEPT = 0.5


def main(arguments: list[str] | None = None) -> None:
    """Train the toy model and the SAE, compare dictionaries, and write the records."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of everything")
    parser.add_argument("--steps", type=int, default=2000, help="of the toy model's training")
    parser.add_argument("--sae-steps", type=int, default=1000, help="of the SAE's")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of records")
    asked = parser.parse_args(arguments)
    print(write_records(asked.out, records(asked.seed, asked.steps, asked.sae_steps)))


def sparse(n: int, rng: torch.Generator) -> Tensor:
    """Features ``[n FEATURES]``: each on in a share ON of rows, then uniform in 0 to 1."""
    size = torch.rand(n, FEATURES, generator=rng)
    return size * (torch.rand(n, FEATURES, generator=rng) < ON)


def toy(seed: int, steps: int, batch: int = 1024) -> Tensor:
    """The trained ``W [DIMENSIONS FEATURES]``; all features are equally important."""
    rng = torch.Generator().manual_seed(seed)
    W = torch.randn(DIMENSIONS, FEATURES, generator=rng).mul_(DIMENSIONS**-0.5).requires_grad_()
    b = torch.zeros(FEATURES, requires_grad=True)
    found = torch.optim.Adam([W, b], lr=1e-2)
    course = torch.optim.lr_scheduler.CosineAnnealingLR(found, steps)
    for _ in range(steps):
        x = sparse(batch, rng)
        loss = (x - F.relu(x @ W.T @ W + b)).square().sum(1).mean()
        found.zero_grad()
        loss.backward()
        found.step()
        course.step()
    return W.detach()


def nearest(planted: Tensor, dictionary: Tensor, *, signed: bool = True) -> np.ndarray:
    """Largest cosine ``[features]`` of each planted direction with a dictionary's rows."""
    cosines = F.normalize(planted, dim=1) @ F.normalize(dictionary, dim=1).T
    return (cosines if signed else cosines.abs()).max(1).values.double().numpy()


def records(seed: int, steps: int, sae_steps: int, rows: int = 200_000) -> list[Record]:
    """What the toy model keeps, how good the SAE is, and a score for every dictionary."""
    W = toy(seed, steps)
    kept = W.norm(dim=0) > KEPT
    planted, rng = W.T[kept], torch.Generator().manual_seed(seed + 1)
    acts = sparse(rows, rng) @ W.T
    acts = acts[acts.any(1)]  # rows without a feature say nothing
    sae = saes.train_sae(
        acts, site="L0.resid_post", model_key="toy", data_seed=seed + 1, d_sae=2 * FEATURES, k=5,
        steps=sae_steps, batch=1024, lr=3e-3, seed=seed,
    )  # fmt: skip
    fresh = sparse(20_000, rng) @ W.T
    alive = (sae.latents(fresh) != 0).any(0)
    width, centred = int(alive.sum()), acts - acts.mean(0)
    noise = torch.randn(width, DIMENSIONS, generator=rng)
    axes = torch.linalg.svd(centred, full_matrices=False)[2]
    spread = torch.linalg.cholesky(centred.T @ centred / len(acts))
    dictionaries = {
        "sae": nearest(planted, sae.decoder[alive]),
        "random": nearest(planted, noise),
        "covariance": nearest(planted, noise @ spread.T),
        "data": nearest(planted, acts[torch.randperm(len(acts), generator=rng)[:width]]),
        "pca": nearest(planted, axes, signed=False),
    }
    told = {"organism": "superposition", "seed": seed, "versions": provenance()}
    overlap = F.normalize(planted, dim=1) @ F.normalize(planted, dim=1).T - torch.eye(len(planted))
    values = {"features": FEATURES, "dimensions": DIMENSIONS, "kept": len(planted),
              "overlap": float(overlap.abs().max(1).values.mean()), "latents": width}  # fmt: skip
    found = [Record(kind="toy", values=values, **told)]
    found += [Record(kind="sae", values=saes.quality(sae, fresh), **told)]
    for name, cosines in dictionaries.items():
        score = stats.mean_estimate(cosines).flat("cosine")
        score |= {"above_0.9": float((cosines > 0.9).mean())}
        found.append(Record(kind="recovery", params={"dictionary": name}, values=score, **told))
    return found


if __name__ == "__main__":
    main()
