"""A probe's opinion of every token: where in a prompt the trigger can be read, and how surely.

1. At every cut of the residual stream (the embedding, after each attention, after each layer) and
   at every position, one logistic probe (:func:`mo_interp.probing.fit_many`) is fitted to tell
   triggered from clean prompts, on people and layouts of the train split.
2. The same is fitted on the clean twin, which has seen the trigger and does not lie.
3. A few pairs of the test split are scored, token by token: the log-odds that the prompt is
   triggered, as far as this cut at this position tells.

The label is *trigger*: a high score says that the trigger can be read there, not that there is a
decision to lie. What is as high on the twin is text. Records of kind ``token_prompt`` hold the
words and what was said, those of kind ``token_probe`` the scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from mo_interp.errors import BadValues
from mo_interp.model import Model
from mo_interp.planted_stages import Work
from mo_interp.probing import fit_many
from mo_interp.records import Record
from mo_interp.sites import Site
from mo_interp.worlds.base import Batch

__all__ = ["FITTED_PAIRS", "SHOWN_PAIRS", "streams", "tokens"]

FITTED_PAIRS, SHOWN_PAIRS = 512, 8


def streams(n_layers: int, *, attn_only: bool = False) -> tuple[Site, ...]:
    """The cuts of the residual stream in the order in which they are computed."""
    found = [Site("resid_pre", layer=0)]
    for layer in range(n_layers):
        if not attn_only:
            found.append(Site("resid_mid", layer=layer))
        found.append(Site("resid_post", layer=layer))
    return tuple(found)


def tokens(work: Work) -> list[Record]:
    """Scores of every token of eight pairs at every cut, for the organism and for its twin."""
    grown, spec = work.grown, work.grown.spec
    train = spec.pairs(FITTED_PAIRS, work.rows(81), split="train").both
    shown = spec.pairs(SHOWN_PAIRS, work.rows(82), split="test")
    sites = streams(spec.shape.n_layers, attn_only=spec.shape.attn_only)
    found: list[Record] = []
    for name, model in (("organism", grown.model), ("twin", grown.twin)):
        batches = {"train": train, "clean": shown.clean, "triggered": shown.triggered}
        for side in ("clean", "triggered"):
            found += _prompts(work, model, name, side, batches[side])
        acts = {side: model.run(batch, read=sites).acts for side, batch in batches.items()}
        for i, site in enumerate(sites):
            work.progress(i + 1, len(sites), f"token by token, {name}")
            told = {side: read[site] for side, read in acts.items()}
            found += _scores(work, name, site, told, train.triggered)
    return found


def _prompts(work: Work, model: Model, name: str, side: str, batch: Batch) -> list[Record]:
    """The words of every prompt, where its trigger stands, and what the model says."""
    show, lie = work.grown.spec.world.show, work.grown.spec.lie(batch)
    said, slots = model.answers(batch), batch.role("trigger")
    return [
        work.record(
            "token_prompt",
            model=name,
            params={"row": i, "side": side},
            values={
                "tokens": _words(show, batch.tokens[i]),
                "trigger_at": [int(p) for p in slots[i] if p >= 0],
                "truth": show(batch.truth[i : i + 1]),
                "answer_planted": show(lie[i : i + 1]),
                "output": show(said[i : i + 1]),
            },
        )
        for i in range(len(batch))
    ]


def _words(show, row: np.ndarray) -> list[str]:
    return [show(row[j : j + 1]) for j in range(len(row))]


def _scores(
    work: Work, name: str, site: Site, acts: Mapping[str, Tensor], triggered: np.ndarray
) -> Sequence[Record]:
    """Log-odds by position at one cut, fitted on ``acts["train"]``; one record a prompt."""
    try:
        probes = fit_many(acts["train"], triggered)
    except BadValues as problem:
        reason = {"reason": str(problem)}
        return [work.record("token_probe_skipped", model=name, site=str(site), values=reason)]
    found = []
    for side in ("clean", "triggered"):
        for i, row in enumerate(probes.score(acts[side])):
            params = {"row": i, "side": side, "detector": "logistic", "label": "trigger"}
            values = {"scores": [round(float(x), 4) for x in row], "fitted_n": len(triggered)}
            found.append(
                work.record(
                    "token_probe", model=name, site=str(site), params=params, values=values
                )
            )
    return found
