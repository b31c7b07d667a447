"""Step 5: what a sparse autoencoder sees, beside what needs none."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import Any

from mo_interp.report.page import Page
from mo_interp.report.pieces import est, n_cell, row, table
from mo_interp.wording import Told, decimal


def dictionaries(page: Page) -> list[str]:
    """The autoencoder's quality, and its best latents beside simpler units."""
    intro = (
        "<p>One autoencoder at the site the sweep named. Its latents were chosen on one half of "
        "the groups and judged on the other. Beside them stands the same search, with as many "
        "candidates, without an autoencoder.</p>"
    )
    quality = _sae_table(page) if page.of("sae") else page.absent("sae")
    found = page.of("sae_search")
    search = _search_table(page) if found else page.absent("sae_search")
    return [intro, quality, search, page.figure("sae") if found else ""]


def _sae_table(page: Page) -> str:
    names = {
        "explained_variance": "explained variance",
        "l0": "L0",
        "dead": "dead latents",
        "loss_recovered": "loss recovered",
    }
    rows = []
    for r in page.of("sae"):
        told = {k: Told.of(r, k) for k in names if k != "dead"}
        first = next((t for t in told.values() if t and t.n is not None), None)
        n: Any = first.n if first else r.values.get("rows")
        told = {k: t and replace(t, n=n if t.n is None else t.n) for k, t in told.items()}
        what = f"{r.get('architecture')}, k {r.get('k')}"
        dead = f"{decimal(r.get('dead'))} of {decimal(r.get('d_sae'))}"
        rows.append(
            row(
                escape(what),
                [
                    f"<code>{escape(r.site)}</code>",
                    est(told["explained_variance"], n),
                    est(told["l0"], n),
                    dead,
                    est(told["loss_recovered"], n),
                    decimal(n),
                    decimal(r.params.get("rows")),
                ],
            )
        )
    return table(
        "The autoencoder as it reads after being saved and loaded again. n: rows it was measured "
        "on; what has no interval is exact on those rows.",
        ["autoencoder", "site", *names.values(), "n", "trained on rows"],
        rows,
    )


def _search_table(page: Page) -> str:
    from mo_interp.figures.sae import dictionary_label

    found = page.of("sae_search")
    chosen = any(r.get("auroc_train_n") is not None for r in found)
    rows = []
    for r in found:
        told, train = Told.of(r, "auroc"), Told.of(r, "auroc_train")
        n = told.n if told else None
        cells = [est(told, n), *([est(train, n)] if chosen else [])]
        name = f"{escape(str(r.get('label')))}: {escape(dictionary_label(r))}"
        rows.append(row(name, [*cells, decimal(r.get("candidates")), n_cell(told)]))
    train = ["AUROC, groups it was chosen on"] if chosen else []
    return table(
        "The best single unit of each dictionary for each label, chosen on one half of the groups "
        "and judged on the other.",
        ["label and unit", "AUROC, test groups", *train, "candidates", "n"],
        rows,
    )
