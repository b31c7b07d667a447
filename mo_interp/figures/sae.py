"""Sparse autoencoder latents, beside what the same search finds without an autoencoder."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from mo_interp.figures._house import (
    BLUE,
    ORANGE,
    Mark,
    Row,
    finish,
    grey,
    hows,
    lane_of,
    same_n,
    seeds_told,
    sheet,
)
from mo_interp.figures._table import Line, lines
from mo_interp.records import Record, select
from mo_interp.wording import Told, count, decimal, need

DICTIONARIES = {
    "sae": "SAE latent",
    "neurons": "raw neuron",
    "diff_means": "difference of means",
    "random": "random dictionary",
}
TEST = Mark("judged on test groups", BLUE, "circle")
TRAIN = Mark("chosen on train groups", ORANGE, "diamond-open")
MARKS = {"auroc": TEST, "auroc_train": TRAIN}


def _key(r: Record) -> tuple[str, str]:
    return str(r.get("label")), str(r.get("dictionary"))


def _row(mine: Sequence[Record], lanes: int) -> Row:
    """A search by one label in one dictionary, of one seed or several."""
    name = str(mine[0].get("dictionary"))
    label = dictionary_label(mine[0]) if len(mine) == 1 else DICTIONARIES.get(name, name)
    sizes = sorted({n for r in mine if (n := r.get("candidates")) is not None})
    many = count(sizes[-1], "candidate") if sizes else "candidates not recorded"
    note = grey(f"{many} · {same_n(Told.of(r, 'auroc') for r in mine)}")
    return Row((f"<b>{mine[0].get('label')}</b>: {label}  {note}",), lanes=lanes)


def dictionary_label(record: Record) -> str:
    """``SAE latent 17``, ``random dictionary, unit 3``, ``difference of means``."""
    name = str(record.get("dictionary"))
    latent = record.get("latent")
    told = "" if latent is None or latent < 0 or name == "diff_means" else f" {latent}"
    told = f", unit{told}" if told and name == "random" else told
    return DICTIONARIES.get(name, name) + told


def draw(records: Sequence[Record]) -> go.Figure:
    """AUROC of the best unit of each dictionary, by label, on the groups it was not chosen on."""
    found = need(records, "sae_search")
    labels = list(dict.fromkeys(str(r.get("label")) for r in found))
    keys = sorted(dict.fromkeys(map(_key, found)), key=lambda key: labels.index(key[0]))
    seeds = sorted({r.seed for r in found})
    shown = [m for m in MARKS if any((t := Told.of(r, m)) and t.n is not None for r in found)]
    lanes = len(seeds) * max(len(shown), 1)
    rows = [_row([r for r in found if _key(r) == key], lanes) for key in keys]
    told = [t for r in found if (t := Told.of(r, "auroc"))]
    lows = [t.value if t.lo is None else t.lo for t in told]
    span = (min([0.4, *(low - 0.03 for low in lows)]), 1.02)
    page = sheet(rows, ["AUROC"], span=span, lane=lane_of(len(seeds)))
    page.chance(0.5)
    for i, name in enumerate(shown):
        mine = [
            (keys.index(_key(r)), _what(r), t, i * len(seeds) + seeds.index(r.seed))
            for r in found
            if (t := Told.of(r, name)) and t.n is not None
        ]
        page.dots(mine, MARKS[name])
    return finish(
        page.fig,
        title="SAE latents beside what needs no SAE",
        caption=f"{_quality(records)}Dotted: chance. {seeds_told(seeds).capitalize()}. "
        f"{hows(told)}",
        alt=f"Test AUROC of the best unit of {len(found)} searches over SAE latents, neurons, "
        "difference of means and random directions.",
        height=page.height,
    )


def _what(r: Record) -> str:
    return f"{r.get('label')}, {dictionary_label(r)}, seed {r.seed}"


def _quality(records: Sequence[Record]) -> str:
    """One line on the autoencoder itself, as it reads after reloading."""
    saes = select(records, kind="sae")
    if not saes:
        return ""
    r = saes[0]
    n = decimal(r.get("explained_variance_n", r.values.get("rows")))
    ev, l0, loss = (decimal(r.get(k), 2) for k in ("explained_variance", "l0", "loss_recovered"))
    return (
        f"Reloaded {r.get('architecture')} SAE at {r.site}, {decimal(r.get('d_sae'))} "
        f"latents, {decimal(r.get('dead'))} dead: explained variance {ev}, L0 {l0}, "
        f"loss recovered {loss}, on {n} rows. "
    )


def table(records: Sequence[Record]) -> list[Line]:
    """AUROC of each unit on the groups it was judged and chosen on, among how many."""
    both = {"auroc": TEST.name, "auroc_train": TRAIN.name}
    by = ("site", "label", "dictionary", "latent")
    return lines(need(records, "sae_search"), both, by=by, also=("candidates",))
