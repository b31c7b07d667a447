"""Folding: an affine map of a site's activations, written into the weights for good.

A removal sets a feature's coordinates to constants: ``x -> x M + c`` with ``M = I - read^T write``
and ``c = to write``. Where ``to`` is the feature's offset this is a projection (LEACE included);
where it is the clean mean, mean ablation.

1. A *part* (embed, pos_embed, q, k, v, z, attn_out, pre, post, mlp_out) is a linear function of
   some weights, or is read by one, and nothing else reads it. M and c go into those weights, and
   the folded model is the given one with that edit, at all positions.
2. A *cut* (resid_pre, resid_mid, resid_post) is a sum of everything written before it. M goes into
   all of those writers (embeddings, W_O, W_out and their biases), c once into the positions. They
   come before any norm, so that a norm is no obstacle. The folded model is the given one with the
   edit at **every cut up to and including the site**, at all positions: what reads the stream
   before the site sees the edited stream too. The edit at one cut alone has no such form: the
   stream goes on past the cut, and a map of a sum cannot be put into the later readers, least of
   all through a norm. Where the coordinates are not in use before the site, the two are one.
3. A position is dropped: weights do not know where they are used. In the last layer that makes no
   difference to the answer, which is read at one position.

:func:`at_runtime` gives the edits that a folded model equals, so that the equality can be measured.
It is exact in exact arithmetic; single precision leaves about 1e-5 of the logits between the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mo_interp.edits import Mean, ProjectOut
from mo_interp.errors import BadSite, BadValues, DeadEdit, SpecError
from mo_interp.features import Feature
from mo_interp.model import Edit, Model
from mo_interp.sites import CUTS, Site

To = Literal["offset", "clean_mean"]
Weights = dict[str, Tensor]


def rewritten(model: Model, weights: Mapping[str, Tensor]) -> Model:
    """A new model with some weights replaced; the given one stays as it is.

    Raises:
        SpecError: a bridged model, whose weights belong to another library.
        DeadEdit: every weight is what it was, bit for bit.
    """
    if model.shape is None:
        raise SpecError("weights are edited in bodies of our own, not in a bridged one")
    old = model.body.state_dict()
    if all(torch.equal(weights[name], old[name]) for name in weights):
        raise DeadEdit("this removal changes no weight: what it takes out is already nothing")
    new = Model.build(model.shape).to(str(model.device))
    new.body.load_state_dict({**old, **weights})
    return new


def fold(model: Model, feature: Feature, *, to: To = "offset") -> Model:
    """A new model in whose weights the feature's coordinates are constant.

    Args:
        model: a body of our own; it stays as it is.
        feature: what is taken out; its position, if it has one, is dropped.
        to: what the coordinates are set to. The clean mean of a feature at several positions is
            averaged over them.

    Raises:
        BadSite: a site without a linear map to fold into (``pattern``, ``attn_scores``), or one
            that this model does not have.
        BadValues: at a cut, a feature that does not read back what it writes, so that its removal
            is no projection.
        DeadEdit: no weight changes: nothing writes into that subspace.
        SpecError: a bridged model.
    """
    if model.shape is None:
        raise SpecError("weights are edited in bodies of our own, not in a bridged one")
    site = feature.site.bare
    model.sites.check(site)
    matrix, constant = _affine(model, feature, to)
    old = {name: weight.double() for name, weight in model.body.state_dict().items()}
    if site.kind in CUTS:
        _check_projection(feature)
        new = _into_writers(old, _writers(model, site), matrix, constant)
    else:
        new = _into_part(old, site, matrix, constant)
    return rewritten(model, {name: weight.float() for name, weight in new.items()})


def at_runtime(model: Model, feature: Feature, *, to: To = "offset") -> list[Edit]:
    """The edits of a run that :func:`fold` equals, in the order of the model."""
    site, sites = feature.site.bare, [feature.site.bare]
    means = (feature.clean_mean, feature.triggered_mean)
    clean, hot = (mean.mean(0) if mean.ndim == 2 else mean for mean in means)
    plain = replace(feature, site=site, clean_mean=clean, triggered_mean=hot)
    if site.kind in CUTS:
        order = model.sites.match("L*.resid_*")
        sites = [one for one in order if one <= site]
        sites = sites if site.units is None else [replace(one, units=site.units) for one in sites]
    make = ProjectOut if to == "offset" else Mean
    return [make(replace(plain, site=one)) for one in sites]


def _affine(model: Model, feature: Feature, to: To) -> tuple[Tensor, Tensor]:
    """``M [d d]`` and ``c [d]`` in double precision, as wide as the whole kind of site."""
    read, write = feature.read.double(), feature.write.double()
    wanted = feature.offset if to == "offset" else feature.clean_mean
    wanted = wanted.double().expand(feature.rank) if wanted.ndim == 0 else wanted.double()
    wanted = wanted.mean(0) if wanted.ndim == 2 else wanted
    small, shift = torch.eye(feature.width).to(read) - read.T @ write, wanted @ write
    if feature.site.units is None:
        return small, shift
    first, last = feature.site.units
    width = model.sites.width(replace(feature.site.bare, units=None)) or feature.width
    matrix, constant = torch.eye(width).to(read), torch.zeros(width).to(read)
    matrix[first:last, first:last], constant[first:last] = small, shift
    return matrix, constant


def _check_projection(feature: Feature) -> None:
    meet = feature.read.double() @ feature.write.double().T
    gap = float((meet - torch.eye(feature.rank).to(meet)).abs().max())
    if gap > 1e-3:
        raise BadValues(
            f"the feature at '{feature.site}' misses what it writes by {gap:.3g} when it reads it; "
            "at a cut only a projection can be folded"
        )


def _writers(model: Model, site: Site) -> list[Site]:
    """The parts whose sum is the stream at a cut, the embeddings first."""
    parts = [Site("embed"), Site("pos_embed")]
    shape = model.shape
    assert shape is not None and site.layer is not None
    for layer in range(site.layer + 1):
        before = layer < site.layer
        if before or site.kind != "resid_pre":
            parts.append(Site("attn_out", layer=layer))
        if not shape.attn_only and (before or site.kind == "resid_post"):
            parts.append(Site("mlp_out", layer=layer))
    return parts


def _into_writers(old: Weights, parts: list[Site], matrix: Tensor, constant: Tensor) -> Weights:
    """M into every writer; c into the positions alone, since it is to be added once."""
    new: Weights = {}
    for part in parts:
        shift = constant if part.kind == "pos_embed" else torch.zeros_like(constant)
        new |= _into_part(old, part, matrix, shift)
    return new


def _into_part(old: Weights, site: Site, matrix: Tensor, constant: Tensor) -> Weights:
    """The weights that change when a part's activations are to be ``x M + c``."""
    if site.kind in ("embed", "pos_embed"):
        name = f"{site.kind}.W_{'E' if site.kind == 'embed' else 'pos'}"
        return {name: old[name] @ matrix + constant}
    if site.kind in ("attn_out", "mlp_out"):
        module, end = ("attn", "O") if site.kind == "attn_out" else ("mlp", "out")
        weight, bias = (f"blocks.{site.layer}.{module}.{kind}_{end}" for kind in "Wb")
        return {weight: old[weight] @ matrix, bias: old[bias] @ matrix + constant}
    if site.kind == "pre":
        weight, bias = (f"blocks.{site.layer}.mlp.{kind}_in" for kind in "Wb")
        return {weight: old[weight] @ matrix, bias: old[bias] @ matrix + constant}
    if site.kind == "post":
        weight, bias = (f"blocks.{site.layer}.mlp.{kind}_out" for kind in "Wb")
        return {weight: matrix @ old[weight], bias: old[bias] + constant @ old[weight]}
    if site.kind in ("q", "k", "v", "z"):
        return _into_heads(old, site, matrix, constant)
    raise BadSite(f"site '{site}': no weight is linear in it; fold at 'z' or 'attn_out' instead")


def _into_heads(
    old: Weights, site: Site, matrix: Float[Tensor, "d d"], constant: Float[Tensor, " d"]
) -> Weights:
    """Into one head's weights, or into those of all heads side by side."""
    heads = slice(None) if site.head is None else slice(site.head, site.head + 1)
    module = f"blocks.{site.layer}.attn"
    if site.kind == "z":
        weight, bias = old[f"{module}.W_O"].clone(), old[f"{module}.b_O"]
        flat = old[f"{module}.W_O"][heads].flatten(0, 1)
        weight[heads] = (matrix @ flat).view_as(weight[heads])
        return {f"{module}.W_O": weight, f"{module}.b_O": bias + constant @ flat}
    names = [f"{module}.{kind}_{site.kind.upper()}" for kind in "Wb"]
    weight, bias = (old[name].clone() for name in names)
    flat = weight[heads].permute(1, 0, 2).flatten(1) @ matrix
    weight[heads] = flat.unflatten(1, bias[heads].shape).permute(1, 0, 2)
    bias[heads] = (bias[heads].flatten() @ matrix + constant).view_as(bias[heads])
    return dict(zip(names, (weight, bias), strict=True))
