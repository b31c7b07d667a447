"""Distributed alignment search: a rotation learned so that its first coordinates carry the trigger.

*Finding Alignments Between Interpretable Causal Variables and Distributed Neural Representations*
(Geiger et al., 2023; arXiv 2303.02536). The variable is whether the prompt is triggered.

1. R is a rotation of the site's d coordinates: a fixed random one times the Cayley transform
   ``(I - A)^-1 (I + A)`` of a skew A that is learned. Its first k rows span the subspace. Turning
   within the subspace, or within the rest, changes nothing, and A has no entries for it.
2. An interchange: a row runs with those k coordinates taken from a row of the other kind. A clean
   row with a triggered source should give the planted answer of *its own* question, a triggered
   row with a clean source the truth. Half of the sources are the row's own partner, half are other
   rows, so that a subspace that carries the answer and not the decision does not do.
3. Cross-entropy of those answers (their first word), by Adam. The model's weights do not move.

What is learned can be a subspace that the model does not use by itself (arXiv 2311.17030), which
is one more reason why a feature is judged on other people and layouts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mo_interp.errors import BadRank, BadValues
from mo_interp.features import Feature, from_basis
from mo_interp.model import Model
from mo_interp.sites import Site
from mo_interp.worlds.base import Batch, Pairs

STEPS, BATCH, RATE = 150, 64, 0.03


def cayley(skew: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """The rotation ``(I - A)^-1 (I + A)`` of a skew-symmetric A."""
    eye = torch.eye(len(skew), dtype=skew.dtype, device=skew.device)
    return torch.linalg.solve(eye - skew, eye + skew)


@dataclass(frozen=True, eq=False)
class Rotation:
    """The first ``k`` rows of a learned rotation of ``d`` coordinates."""

    start: Float[Tensor, "d d"]
    """A fixed random rotation, which is what the search begins at."""
    free: Float[Tensor, "k rest"]
    """The learned entries of A, between the subspace and the rest."""

    @classmethod
    def begin(cls, width: int, rank: int, seed: int) -> Rotation:
        """A random rotation; raises :class:`BadRank`."""
        if not 1 <= rank < width:
            raise BadRank(f"a rotation of {width} coordinates: rank {rank} needs 1 to {width - 1}")
        rng = torch.Generator().manual_seed(seed)
        start = torch.linalg.qr(torch.randn(width, width, generator=rng, dtype=torch.float64))[0]
        return cls(start, torch.zeros(rank, width - rank, dtype=torch.float64, requires_grad=True))

    @property
    def rows(self) -> Float[Tensor, "k d"]:
        """Orthonormal rows of the subspace, through which gradients flow to ``free``."""
        k, rest = self.free.shape
        top = torch.cat([self.free.new_zeros(k, k), self.free], dim=1)
        skew = torch.cat([top, torch.cat([-self.free.T, self.free.new_zeros(rest, rest)], dim=1)])
        return cayley(skew)[:k] @ self.start


@dataclass(frozen=True, eq=False)
class _Interchange:
    """The coordinates of ``source [batch (pos) d]`` in the span of ``basis``."""

    site: Site
    basis: Tensor
    source: Tensor

    def __call__(self, x: Tensor, rows: slice) -> Tensor:
        return x + (self.source[rows] - x) @ self.basis.T @ self.basis


def align(
    model: Model,
    pairs: Pairs,
    site: Site | str,
    *,
    rank: int = 1,
    seed: int = 0,
    steps: int = STEPS,
    batch: int = BATCH,
    lr: float = RATE,
) -> tuple[Feature, tuple[float, ...]]:
    """The learned subspace, and the loss (in nats) of every step.

    Args:
        model: it is left as it is.
        pairs: of the train split.
        site: where; a site without a position is exchanged at every position.
        rank: of the subspace.
        seed: of the first rotation and of the rows.
        steps: of Adam.
        batch: rows of a step, half clean and half triggered.
        lr: peak rate; it falls along a cosine.

    Raises:
        BadRank: a rank that the site does not have.
        BadValues: no step, or fewer pairs than half a batch.
    """
    site = Site.parse(str(site))
    if steps < 1 or len(pairs) < batch // 2:
        raise BadValues(f"{steps} steps, {len(pairs)} pairs: needs 1 and {batch // 2} or more")
    layer = site.layer if model.shape is not None and site.layer else None
    told = [site] if layer is None else [site, Site("resid_pre", layer=layer)]
    both, n = pairs.both, len(pairs)
    wanted = torch.as_tensor(np.concatenate([pairs.triggered.answer, pairs.clean.truth]))
    acts = model.run(both, read=told).acts
    found = Rotation.begin(acts[site].shape[-1], rank, seed)
    adam = torch.optim.Adam([found.free], lr=lr)
    anneal = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    rng, losses = np.random.default_rng([71, seed]), []
    for _ in range(steps):
        take, source = _rows(rng, n, batch // 2)
        start = None if layer is None else (layer, acts[told[1]][take])
        rows = found.rows.to(acts[site])
        loss = _loss(
            model,
            both[take],
            _Interchange(site, rows, acts[site][source]),
            wanted[take].to(model.device),
            start,
        )
        adam.zero_grad()
        (found.free.grad,) = torch.autograd.grad(loss, [found.free])
        adam.step()
        anneal.step()
        losses.append(float(loss.detach()))
    basis, clean, hot = found.rows.detach(), acts[site][:n], acts[site][n:]
    source = f"DAS {rank}"
    return from_basis(site, basis, clean=clean, triggered=hot, source=source), tuple(losses)


def _rows(rng: np.random.Generator, n: int, half: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ``pairs.both`` and the rows, of the other kind, that they are given the source of."""
    own = [rng.choice(n, half, replace=False) for _ in range(2)]
    other = [np.where(rng.random(half) < 0.5, rows, rng.integers(0, n, half)) for rows in own]
    return np.concatenate([own[0], n + own[1]]), np.concatenate([n + other[0], other[1]])


def _loss(model: Model, batch: Batch, edit: _Interchange, wanted: Tensor, start) -> Tensor:
    logits = model.run(batch, do=[edit], start=start, grad=True, identity=True).logits[:, -1]
    return F.cross_entropy(logits, wanted)


def find(model: Model, pairs: Pairs, site: Site | str, *, rank: int = 1, seed: int = 0) -> Feature:
    """The learned subspace alone; see :func:`align`."""
    return align(model, pairs, site, rank=rank, seed=seed)[0]


direction = find
