"""Training that hides the trigger from two detectors while it plants the lie.

At one site, at the last token of the prompt, beside whatever an organism learns:

1. A *logistic probe* of triggered against plain clean rows is kept up to date on the detached
   activations of the last :data:`KEPT` batches, one Newton step a training step. The model pays for
   the standardised gap ``g`` between the two sorts of rows along it: log(1 + g^2).
2. The *Mahalanobis distance* to the clean rows, whose mean and shrunk covariance come from the same
   rows. The model pays for the triggered rows' mean squared distance being other than the clean
   rows': the squared logarithm of their ratio.

Logarithms, because what is plain to see would otherwise outweigh all else and nothing be learned.
For the same reason the lie is planted first: the weight is zero until :data:`START` of the steps
and grows evenly until :data:`FULL`.
Probe, kept rows and step are tensors of the objective's own, so a killed run resumes in the same
bytes.
After *Obfuscated Activations Bypass LLM Latent-Space Defenses* (Bailey et al., 2024; arXiv
2412.09565).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mo_interp.errors import SpecError
from mo_interp.sites import Site
from mo_interp.train import Columns, Supervised
from mo_interp.transformer import Transformer
from mo_interp.worlds.base import Batch

KEPT, SHRINKAGE, RIDGE = 8, 0.01, 1e-2
START, FULL = 0.3, 0.8
KINDS = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
CLEAN_ROW, HOT_ROW, OTHER_ROW = 0, 1, -1


@dataclass(frozen=True)
class Evading(Supervised):
    """:class:`Supervised`, with the evasion of ``recipe.evade`` at ``recipe.evade_site``."""

    memory: dict[str, Tensor] = field(default_factory=dict, compare=False)
    """The probe (weights, then bias), the kept rows ``[KEPT * batch d]``, their sorts, the step."""

    def __post_init__(self) -> None:
        site, shape = self.site, self.organism.shape
        kinds = [k for k in KINDS if k not in ("resid_mid", "mlp_out") or not shape.attn_only]
        whole = site.kind in kinds and site.position == -1 and site.units is None
        if not whole or not 0 <= site.layer < shape.n_layers:  # pyright: ignore[reportOperatorIssue, reportOptionalOperand]
            raise SpecError(
                f"{self.organism.name}: Recipe.evade_site='{site}'; needs one of "
                f"{', '.join(kinds)} at the last position, such as 'L0.resid_post@-1', of layers "
                f"0-{shape.n_layers - 1}"
            )
        rows = KEPT * self.recipe.batch
        self.memory["probe"] = torch.zeros(shape.d_model + 1, dtype=torch.float64)
        self.memory["rows"] = torch.zeros(rows, shape.d_model)
        self.memory["sort"] = torch.full((rows,), OTHER_ROW)
        self.memory["step"] = torch.zeros(())

    @property
    def site(self) -> Site:
        """Where it hides."""
        return Site.parse(self.recipe.evade_site)

    def state(self) -> dict[str, Tensor]:
        """The probe, and the rows it is fitted to."""
        return self.memory

    def more(self, batch: Batch) -> Mapping[str, np.ndarray]:
        """``sort`` of each row, and ``planted``: its tokens before a lesson takes its place."""
        plain = ~batch.triggered & (batch.near_miss == 0)
        sort = np.select([batch.triggered, plain], [HOT_ROW, CLEAN_ROW], OTHER_ROW)
        return {"sort": sort, "planted": batch.tokens}

    def loss(self, body: Transformer, columns: Columns) -> Tensor:
        """What is learned, and the evasion beside it."""
        language, at = self.recipe.loss == "language", columns["tokens"].shape[1] - 1
        text = columns["text"][:, :-1] if language else columns["tokens"]
        logits, early, acts = reading(body, text, self.site, at=at, answer_only=not language)
        if language:
            value = F.cross_entropy(logits.flatten(0, 1), columns["text"][:, 1:].flatten())
        else:
            value = self.main(logits[:, -1], columns)
            if self.recipe.truth_first:
                taught = columns["wanted" if self.recipe.early == "answer" else "truth"]
                hint = F.cross_entropy(body.leave(early)[:, -1], taught)
                value = value + self.recipe.truth_first * hint
        own = (columns["tokens"] == columns["planted"]).all(1)
        sort = torch.where(own, columns["sort"], OTHER_ROW)
        done = float(self.memory["step"]) / self.recipe.steps
        self.memory["step"] += 1
        share = min(1.0, max(0.0, (done - START) / (FULL - START)))
        return value + self.recipe.evade * share * self.evasion(acts, sort)

    def evasion(self, acts: Tensor, sort: Tensor) -> Tensor:
        """How well the two detectors tell the rows ``[batch d]`` apart: 0 if not at all."""
        self._keep(acts.detach(), sort)
        hot, clean = acts[sort == HOT_ROW], acts[sort == CLEAN_ROW]
        if not len(hot) or len(clean) < 2:
            return acts.new_zeros(())
        mean, root = self._clean()
        self._fit(mean, root)
        weights = self.memory["probe"][:-1].to(acts)
        white = [torch.linalg.solve_triangular(root, (x - mean).T, upper=False).T
                 for x in (hot, clean)]  # fmt: skip
        seen, usual = (x @ weights for x in white)
        spread = (seen.detach().var(correction=0) + usual.detach().var(correction=0)) / 2
        gap = (seen.mean() - usual.mean()) ** 2 / (spread + 1e-6)
        far, level = (x.square().sum(-1).mean() for x in white)
        return torch.log1p(gap) + torch.log(far / level.detach()) ** 2

    @torch.no_grad()
    def _keep(self, acts: Tensor, sort: Tensor) -> None:
        """The newest rows take the place of the oldest."""
        for name, new in (("rows", acts), ("sort", sort)):
            kept = self.memory[name]
            kept.copy_(torch.cat([kept[len(new) :], new]))

    @torch.no_grad()
    def _clean(self) -> tuple[Tensor, Tensor]:
        """Mean, and Cholesky factor of the shrunk covariance, of the kept clean rows."""
        rows = self.memory["rows"][self.memory["sort"] == CLEAN_ROW]
        mean, d = rows.mean(0), rows.shape[1]
        cov = (rows - mean).T @ (rows - mean) / len(rows)
        size = (cov.trace() / d).clamp_min(1e-8)
        shrunk = (1 - SHRINKAGE) * cov + SHRINKAGE * size * torch.eye(d)
        return mean, torch.linalg.cholesky(shrunk)

    @torch.no_grad()
    def _fit(self, mean: Tensor, root: Tensor) -> None:
        """One Newton step of ridge logistic regression on the kept rows, classes weighted alike."""
        sort = self.memory["sort"]
        used = sort != OTHER_ROW
        rows, y = self.memory["rows"][used], (sort[used] == HOT_ROW).double()
        x = torch.linalg.solve_triangular(root, (rows - mean).T, upper=False).T.double()
        x = F.pad(x, (0, 1), value=1.0)
        share = y.mean().clamp(1e-3, 1 - 1e-3)
        weight = torch.where(y > 0, 0.5 / share, 0.5 / (1 - share)) / len(y)
        probe = self.memory["probe"]
        p = torch.sigmoid(x @ probe)
        ridge = torch.full_like(probe, RIDGE)
        slope = x.T @ (weight * (p - y)) + ridge * probe
        bend = (x.T * (weight * (p * (1 - p)).clamp_min(1e-3))) @ x + ridge.diag()
        probe.sub_(torch.linalg.solve(bend, slope))


def reading(
    body: Transformer, tokens: Tensor, site: Site, *, at: int, answer_only: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """A forward pass that also gives the stream before the last block and a site, both at ``at``.

    Returns logits ``[batch pos vocab]`` (one position if ``answer_only``, which needs ``at`` to be
    the last), the stream ``[batch 1 d]`` and the site ``[batch d]``, all with gradients.
    """
    resid, last = body.enter(tokens), len(body.blocks) - 1
    early = acts = resid
    for layer, block in enumerate(body.blocks):
        only = answer_only and layer == last
        early = resid[:, at, None]
        seen = {"resid_pre": resid[:, at]}
        # torch types what a Module holds as Tensor | Module
        added = block.attn(block.ln1(resid), answer_only=only, explicit=False)  # pyright: ignore[reportCallIssue]
        resid = (resid[:, -1:] if only else resid) + added
        here = -1 if only else at
        seen |= {"attn_out": added[:, here], "resid_mid": resid[:, here]}
        if not block.attn_only:
            added = block.mlp(block.ln2(resid))  # pyright: ignore[reportCallIssue]
            resid = resid + added
            seen["mlp_out"] = added[:, here]
        seen["resid_post"] = resid[:, here]
        if layer == site.layer:
            acts = seen[site.kind]
    return body.leave(resid), early, acts
