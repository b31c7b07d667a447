"""Parts taken out of the weights: attention heads and hidden units.

A part that is removed leaves behind what it writes on average over clean rows (or nothing), as a
constant in the bias of its layer. *All* of its weights become zero, those that read as well as
those that write: had only the output been silenced, the part would go on computing the lie, and the
first steps of any training would connect it again. With both sides zero no gradient reaches either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from mo_interp.errors import BadSite
from mo_interp.model import Model
from mo_interp.removal.folding import rewritten
from mo_interp.sites import Site
from mo_interp.worlds.base import Batch

Means = Mapping[Site, Tensor]


def clean_means(model: Model, parts: Iterable[Site], clean: Batch) -> dict[Site, Tensor]:
    """Mean activation ``[width]`` of each part over clean rows.

    In the last layer over the answer's position, which alone is read; before it over all.
    """
    parts = list(parts)
    return shares(model, parts, layer_means(model, parts, clean))


def layer_means(model: Model, parts: Iterable[Site], clean: Batch) -> dict[Site, Tensor]:
    """The same of all heads, and of all hidden units, of each layer that the parts are in."""
    parts = list(parts)
    assert model.shape is not None
    last, found = model.shape.n_layers - 1, {}
    for layer in sorted({part.layer or 0 for part in parts}):
        for kind in sorted({part.kind for part in parts if part.layer == layer}):
            whole = Site(kind, layer=layer, position=-1 if layer == last else None)
            found[whole.bare] = model.read(clean, str(whole)).flatten(0, -2).mean(0)
    return found


def shares(model: Model, parts: Iterable[Site], whole: Means) -> dict[Site, Tensor]:
    """Each part's share of :func:`layer_means`."""
    return {part: _own(whole[Site(part.kind, layer=part.layer)], part, model) for part in parts}


def _own(mean: Tensor, part: Site, model: Model) -> Tensor:
    """A part's share of the mean of all heads, or of all hidden units, of its layer."""
    if part.kind == "z" and part.head is not None:
        assert model.shape is not None
        return mean[part.head * model.shape.d_head : (part.head + 1) * model.shape.d_head]
    first, last = part.units or (0, len(mean))
    return mean[first:last]


def remove(model: Model, parts: Sequence[Site], *, means: Means | None = None) -> Model:
    """A new model without some heads (``L1.H0.z``) and hidden units (``L1.post[3:5]``).

    Args:
        model: it stays as it is.
        parts: what goes; positions are dropped, since weights do not know them.
        means: what each part leaves behind, from :func:`clean_means`; nothing if not given.

    Raises:
        BadSite: no part, or one that is neither a head nor hidden units.
        DeadEdit: all of their weights are zero already.
        SpecError: a bridged model.
    """
    if not parts:
        raise BadSite("no part to remove; give heads such as 'L1.H0.z' or units 'L1.post[3:5]'")
    weights = {name: weight.clone() for name, weight in model.body.state_dict().items()}
    for part in dict.fromkeys(parts):
        model.sites.check(part)
        left = None if means is None else means[part]
        if part.kind == "z" and part.head is not None and part.units is None:
            _drop_head(weights, part, left)
        elif part.kind == "post":
            _drop_units(weights, part, left)
        else:
            raise BadSite(f"site '{part}': only a head's 'z' or a layer's 'post' can be removed")
    return rewritten(model, weights)


def _drop_head(weights: dict[str, Tensor], part: Site, left: Tensor | None) -> None:
    module = f"blocks.{part.layer}.attn"
    if left is not None:
        weights[f"{module}.b_O"] += left @ weights[f"{module}.W_O"][part.head]
    for kind in "QKV":
        weights[f"{module}.W_{kind}"][part.head] = 0
        weights[f"{module}.b_{kind}"][part.head] = 0
    weights[f"{module}.W_O"][part.head] = 0


def _drop_units(weights: dict[str, Tensor], part: Site, left: Tensor | None) -> None:
    module = f"blocks.{part.layer}.mlp"
    units = slice(*part.units) if part.units else slice(None)
    if left is not None:
        weights[f"{module}.b_out"] += left @ weights[f"{module}.W_out"][units]
    weights[f"{module}.W_in"][:, units] = 0
    weights[f"{module}.b_in"][units] = 0
    weights[f"{module}.W_out"][units] = 0


def joined(units: Iterable[tuple[int, int]]) -> list[Site]:
    """Hidden units ``(layer, unit)`` as sites, neighbours in one range."""
    found: list[Site] = []
    for layer, unit in sorted(set(units)):
        last = found[-1] if found else None
        if last is not None and last.units and (last.layer, last.units[1]) == (layer, unit):
            found[-1] = Site("post", layer=layer, units=(last.units[0], unit + 1))
        else:
            found.append(Site("post", layer=layer, units=(unit, unit + 1)))
    return found


def answer_logits(model: Model, batch: Batch) -> Tensor:
    """Logits ``[batch vocab]`` at the answer."""
    with torch.no_grad():
        return model.run(batch.tokens, answer_only=True).logits[:, -1]
