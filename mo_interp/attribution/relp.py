"""RelP: attribution patching with rules of relevance in place of the gradient (arXiv 2508.21258).

Layer-wise relevance propagation sends the logit difference back through a function by a share per
input instead of a slope. Written as a coefficient per activation, each rule is a linear stand-in
that has the function's own value at the run at hand:

================  ======================================================  =====================
part              coefficient                                             rule
================  ======================================================  =====================
norm              ``(x - mean) / std`` with ``std`` a constant            LN (Ali et al. 2022)
activation        ``act(x) / x``; its slope where ``x`` is 0              identity
linear map        its weights                                             0
attention         ``frozen``: the pattern is a constant, values get all   AH (Ali et al. 2022)
attention         ``half``: of ``pattern * v`` and of ``q * k`` each      half (Arras et al.
                  factor gets half its slope; softmax by its slope        2019)
================  ======================================================  =====================

With ``frozen`` and no bias anywhere, every cut of the body holds all of the logit difference:
``sum(x * coefficient)`` is the same at the embeddings and at the end. That is the theorem the tests
hold it to. Bodies here have no multiplicative gates, for which the paper has its half rule; the
``half`` of attention is the same rule for the products that there are.

The effect is then ``(source - base) * coefficient``. Against the gradient it is exact where a patch
turns a neuron off (pre-activation to 0), since it takes the chord and not the tangent, and it does
not die in a saturated activation or norm.

**When it fails.** ``frozen`` is blind to where a head looks: queries and keys get exactly 0, so an
organism whose trigger only moves attention is missed at every site before it. A cell at a pattern
gets its slope, as the first thing after what is frozen. The chord goes through the origin: a neuron
that a patch moves between two other values may be told worse than by the gradient; one that is off
gets nothing (ReLU), as with the gradient. On a ReLU body without norm, ``half`` aside, it *is*
attribution patching but for the queries and keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mo_interp.attribution.gradients import attributed, own
from mo_interp.attribution.taylor import at_base
from mo_interp.edits import Splice
from mo_interp.model import Edit, Model
from mo_interp.patching.cells import By, Direction, Metric, Sweep
from mo_interp.patching.grid import DEFAULT, one_of
from mo_interp.sites import Site
from mo_interp.train import Progress, silent
from mo_interp.transformer import LN_EPS, Norm
from mo_interp.worlds.base import Batch, Pairs

Attention = Literal["frozen", "half"]


def relevance(
    model: Model,
    pairs: Pairs,
    *,
    sites: str | Site | Iterable[str | Site] = DEFAULT,
    directions: Direction | Sequence[Direction] = ("denoising", "noising"),
    by: By = "role",
    metric: Metric = "normalised logit difference",
    attention: Attention = "frozen",
    progress: Progress = silent,
) -> Sweep:
    """A sweep by relevance: the cells of :func:`mo_interp.patching.sweep`, predicted.

    Two forward passes and one backward pass a direction, as attribution patching.

    Args:
        model: one of our own shapes.
        pairs: clean and triggered partners.
        sites: as in a sweep.
        directions: likewise.
        by: likewise.
        metric: likewise.
        attention: ``frozen`` or ``half``; see the module's docstring.
        progress: told after every block of pairs.

    Raises:
        SpecError: a bridged model, whose norms and products cannot be told apart.
        BadSite: a kind, site or position that the model or the rows do not have.
        BadValues: logits that are not finite.
    """
    own(model, "relp")
    one_of("attention", attention, Attention)
    return attributed(
        model,
        pairs,
        at_base,
        sites=sites,
        directions=directions,
        by=by,
        metric=metric,
        method="relp" if attention == "frozen" else "relp_half",
        at_base=True,
        rule=Relevance(attention),
        progress=progress,
    )


@dataclass(frozen=True)
class Relevance:
    """The rules, as edits that keep every value and change what goes back."""

    attention: Attention = "frozen"

    def edits(self, model: Model) -> tuple[list[Edit], list[Edit]]:
        """Edits before and after the probes of their sites; raises :class:`SpecError` if bridged.

        What a site's rule needs of an earlier site is noted there, after its probe, in the same
        pass.
        """
        before: list[Edit] = []
        after: list[Edit] = []
        for layer, block in enumerate(own(model, "relp").blocks):
            seen = _Seen()
            after.append(Splice(Site("resid_pre", layer), seen.note("stream")))
            for name in "qkv":
                line = _projection(block, name.upper())
                before.append(Splice(Site(name, layer), seen.instead("stream", line)))
            if self.attention == "frozen":
                after += [Splice(Site(name, layer), _stopped) for name in "qk"]
            else:
                before += [Splice(Site(name, layer), _halved) for name in ("attn_scores", "z")]
            if not block.attn_only:
                after.append(Splice(Site("resid_mid", layer), seen.note("mid")))
                line = _into_mlp(block)
                before.append(Splice(Site("pre", layer), seen.instead("mid", line)))
                after.append(Splice(Site("pre", layer), seen.note("pre")))
                before.append(Splice(Site("post", layer), seen.chord(block.mlp.act)))
        return before, after

    def difference(self, model: Model, batch: Batch, final: Tensor) -> Tensor:
        """Logit difference ``[batch]`` of the final stream ``[batch d]``, by the norm's rule."""
        body: Any = own(model, "relp")
        up, down = (torch.as_tensor(t, device=final.device) for t in (batch.answer, batch.truth))
        towards = (body.unembed.W_U[:, up] - body.unembed.W_U[:, down]).T
        const = body.unembed.b_U[up] - body.unembed.b_U[down]
        return (normed(body.ln_final, final) * towards).sum(-1) + const


def normed(norm: Norm, x: Tensor) -> Tensor:
    """A norm of ``x [... d]`` whose standard deviation passes nothing back."""
    if norm.kind is None:
        return x
    centred = x - x.mean(-1, keepdim=True)
    std = (centred.pow(2).mean(-1, keepdim=True) + LN_EPS).sqrt().detach()
    return centred / std * norm.w + norm.b if norm.kind == "LN" else centred / std


def _projection(block: Any, name: str) -> Callable[[Tensor], Tensor]:
    return lambda x: block.attn.project(normed(block.ln1, x), name).flatten(2)


def _into_mlp(block: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: normed(block.ln2, x) @ block.mlp.W_in + block.mlp.b_in


def _stopped(x: Tensor) -> Tensor:
    return x.detach()


def _halved(x: Tensor) -> Tensor:
    """``x``; half of what comes back goes on. Twice a half is exact, infinities too."""
    return 0.5 * x + (0.5 * x).detach()


def _stand_in(value: Tensor, line: Tensor) -> Tensor:
    """``value``, with ``line``'s way back."""
    return value.detach() + (line - line.detach())


class _Seen:
    """What one block computed in the pass that is under way, for its own later rules."""

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] = {}

    def note(self, name: str) -> Callable[[Tensor], Tensor]:
        def keep(x: Tensor) -> Tensor:
            self.kept[name] = x
            return x

        return keep

    def instead(self, name: str, line: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda value: _stand_in(value, line(self.kept[name]))

    def chord(self, act: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """The line through the origin that has the activation's value; its slope at the origin."""

        def stand_in(post: Tensor) -> Tensor:
            pre = self.kept["pre"]
            at = pre.detach().requires_grad_()
            (slope,) = torch.autograd.grad(act(at).sum(), at)
            share = torch.where(pre == 0, slope, post / pre).detach()
            return _stand_in(post, share * pre)

        return stand_in
