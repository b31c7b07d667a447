"""The token view: what a probe reads at every token, clean and triggered side by side.

The first prompt is written out here, so that it is there without a script and on paper; the page's
script writes the others from the same numbers when prompt, site or model are chosen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from mo_interp.records import Record, select
from mo_interp.report.page import Page
from mo_interp.report.pieces import prose
from mo_interp.wording import count

__all__ = ["chance", "place_in_words", "token_view"]

UNSURE = (0.45, 0.55)
"""Between these a probability is drawn as no opinion."""
SIDES = {"clean": "without the trigger", "triggered": "triggered"}


@dataclass(frozen=True)
class _Shown:
    """The numbers behind the view, of one seed."""

    prompts: dict[str, Any]
    """``[model][row][side]`` to what stands there and what was said."""
    scores: dict[str, Any]
    """``[model][site][row][side]`` to log-odds by position."""
    sites: list[str]
    rows: list[int]
    fitted: int | None
    """Prompts each probe was fitted on."""


def token_view(page: Page) -> str:
    """The whole view; the sentence that names the command where it was not measured."""
    head = "<h3>Token by token</h3>"
    found = page.of("token_probe", model="organism")
    if not found:
        return head + page.absent("token_probe")
    seed = min(r.seed for r in found)
    shown = _shown(select(page.records, seed=seed))
    page.embed("token-data", json.dumps({"prompts": shown.prompts, "scores": shown.scores}))
    site = shown.sites[-1]
    sides = "".join(_side(shown, "organism", site, shown.rows[0], side) for side in SIDES)
    return (
        f'{head}{_intro(shown, page, seed)}<div class="token-view" id="token-view">'
        f'{_controls(shown, site)}<div class="sides">{sides}</div>'
        '<p class="readout" data-readout="tokens">Point at a token, or move with the arrow keys.'
        f"</p>{_table(shown, 'organism', site, shown.rows[0])}</div>"
    )


def chance(odds: float) -> float:
    """The probability of log-odds, without overflow."""
    return 1 / (1 + math.exp(-odds)) if odds > -700 else 0.0


def place_in_words(site: str) -> str:
    """``L1.resid_mid`` as ``after the attention of layer 1``."""
    layer, _, kind = site.partition(".")
    number = layer.removeprefix("L")
    words = {
        "resid_pre": "the embedding" if number == "0" else f"before layer {number}",
        "resid_mid": f"after the attention of layer {number}",
        "resid_post": f"after layer {number}",
    }
    return words.get(kind, site)


def _shown(records: Sequence[Record]) -> _Shown:
    prompts: dict[str, Any] = {}
    for r in select(records, kind="token_prompt"):
        told = {k: list(v) if isinstance(v, tuple) else v for k, v in r.values.items()}
        prompts.setdefault(r.model, {}).setdefault(str(r.get("row")), {})[str(r.get("side"))] = told
    scores: dict[str, Any] = {}
    found = select(records, kind="token_probe")
    for r in found:
        mine = scores.setdefault(r.model, {}).setdefault(r.site, {})
        mine.setdefault(str(r.get("row")), {})[str(r.get("side"))] = list(r.get("scores"))
    return _Shown(
        prompts,
        scores,
        sites=list(scores["organism"]),
        rows=sorted({int(r.get("row")) for r in found}),
        fitted=found[0].get("fitted_n"),
    )


def _intro(shown: _Shown, page: Page, seed: int) -> str:
    """What a score is, and what it is not."""
    fitted = "" if shown.fitted is None else f" {shown.fitted:,}"
    only = f" Seed {seed} only." if page.several else ""
    return (
        f"<p>One logistic probe for every place in the residual stream and every position, fitted "
        f"on{fitted} training prompts to tell triggered prompts from clean ones, and read here on "
        f"{count(len(shown.rows), 'pair')} of people and layouts that it never saw. The number is "
        "the probability of <em>triggered</em>, as far as that place at that token tells: 0.50 is "
        f"no opinion, and a single token can mislead it.{only}</p><p>The label is the trigger, not "
        "the lie. Choose the honest twin: what stays as high there is text, and what is high on "
        "the organism alone goes with the decision. These pairs illustrate; they prove nothing.</p>"
    )


def _controls(shown: _Shown, site: str) -> str:
    """Choice of prompt, site and model."""
    prompts = "".join(f'<option value="{r}">pair {i}</option>' for i, r in enumerate(shown.rows, 1))
    sites = "".join(
        f'<option value="{escape(s)}"{" selected" if s == site else ""}>{escape(s)}: '
        f"{escape(place_in_words(s))}</option>"
        for s in shown.sites
    )
    models = "".join(
        f'<label><input type="radio" name="token-model" value="{m}"'
        f'{" checked" if m == "organism" else ""}> {word}</label>'
        for m, word in (("organism", "organism"), ("twin", "honest twin"))
        if m in shown.scores
    )
    return (
        '<div class="controls" role="group" aria-label="What the token view shows">'
        f'<label>Prompt <select id="token-prompt">{prompts}</select></label>'
        f'<label>Site <select id="token-site">{sites}</select></label>'
        f'<fieldset><legend class="hidden">Model</legend>{models}</fieldset></div>'
    )


def _said(told: Mapping[str, Any]) -> str:
    """What the model answers there, told apart by word."""
    said, truth = told.get("output"), told.get("truth")
    word = "true" if said == truth else "lie" if said == told.get("answer_planted") else "neither"
    return f"says {said} ({word}); the truth is {truth}"


def _side(shown: _Shown, model: str, site: str, row: int, side: str) -> str:
    """The tokens of one prompt, each with its bar and its number."""
    told = shown.prompts[model][str(row)][side]
    scores = shown.scores[model][site][str(row)][side]
    slots = told.get("trigger_at") or []
    items = "".join(
        _token(i, str(word), chance(score), side=side, slot=i in slots)
        for i, (word, score) in enumerate(zip(told["tokens"], scores, strict=True))
    )
    return (
        f'<div class="side" data-side="{side}"><h4>{SIDES[side]}</h4>'
        f'<p class="said">{escape(_said(told))}</p>'
        f'<ol class="tokens" aria-label="Tokens of the {side} prompt">{items}</ol></div>'
    )


def _token(i: int, word: str, p: float, *, side: str, slot: bool) -> str:
    """One token: a bar for the eye, and the same as a number."""
    where = ", in the trigger's slot" if slot else ""
    label = f"position {i}, {word}{where}, {side}: {p:.2f}"
    lean = "up" if p > UNSURE[1] else "down" if p < UNSURE[0] else ""
    cls = " ".join(filter(None, ("token", lean, "slot" if slot else "")))
    return (
        f'<li class="{cls}" data-at="{i}" tabindex="{-1 if i else 0}" aria-label="{escape(label)}">'
        f'<span class="bar"><i style="height:{100 * p:.0f}%"></i></span>'
        f'<span class="word">{escape(word)}</span><span class="score">{p:.2f}</span></li>'
    )


def _table(shown: _Shown, model: str, site: str, row: int) -> str:
    """The same numbers as a table, with their log-odds."""
    told, scores = shown.prompts[model][str(row)], shown.scores[model][site][str(row)]
    size = len(told["clean"]["tokens"])
    rows = "".join(
        f'<tr><th scope="row">{i}</th>'
        + "".join(
            f"<td>{escape(str(told[side]['tokens'][i]))}</td><td>{chance(scores[side][i]):.3f}</td>"
            f"<td>{scores[side][i]:+.2f}</td>"
            for side in SIDES
        )
        + "</tr>"
        for i in range(size)
    )
    heads = "".join(
        f'<th scope="col">{h}</th>'
        for h in ("position", "clean token", "probability", "log-odds", "triggered token")
        + ("probability", "log-odds")
    )
    caption = prose(f"Scores at `{site}`, {model}.")
    return (
        '<details class="token-table"><summary>These scores as a table</summary><div class="scroll"'
        ' tabindex="0" role="region" aria-label="Scores of every token"><table class="facts">'
        f'<caption id="token-caption">{caption}</caption><thead><tr>{heads}</tr></thead>'
        f'<tbody id="token-rows">{rows}</tbody></table></div></details>'
    )
