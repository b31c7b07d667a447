"""Sparse autoencoders at a site, by sae-lens. This is the only module that imports it.

1. Activations are scaled to a mean length of ``sqrt(d)``, the SAE is trained on random batches of
   them, and the scale is folded into its weights: it reads raw activations.
2. It is saved (safetensors, JSON, where it comes from, checksums), verified and *reloaded*, and
   only the reloaded one is handed out: batch-top-k comes back as JumpReLU with a learned
   threshold and may be another thing than what was trained.
3. :func:`quality` says how good it is, the loss when it is spliced in included.
4. :func:`search` finds latents on one half of the groups and judges them on the other, beside raw
   neurons, the difference of means and a random dictionary, with equally many candidates each.

Top-k: Gao et al., arXiv 2406.04093. Batch-top-k: Bussmann et al., arXiv 2412.06410. sae-lens is
imported when an SAE is trained or loaded, not before: it brings in wandb (which stays off) and two
temporary folders that go when the process ends.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mo_interp.detectors.base import Array, as_labels, as_rows
from mo_interp.detectors.diff_means import DiffMeans
from mo_interp.edits import Splice
from mo_interp.errors import BadShape, BadValues, CorruptArtefact, NoFeature, UnknownName, nearest
from mo_interp.features import Feature
from mo_interp.model import Model
from mo_interp.records import provenance
from mo_interp.sites import Site
from mo_interp.stats import Estimate, auroc, auroc_estimate, group_split
from mo_interp.store import read_json, verify, write_json, write_manifest
from mo_interp.train import Progress, silent
from mo_interp.worlds.base import Batch

__all__ = ["MOST_ROWS", "SAE", "Found", "loss_at", "quality", "search", "train_sae"]

Architecture = Literal["topk", "batchtopk"]
Through = Callable[[Tensor], Tensor]

MOST_ROWS = 300_000
"""Rows of activations that one SAE may be trained on."""
ARTEFACT, ABOUT = ("sae", "reloaded"), "about.json"
_ROWS_AT_ONCE = 8192
_DEAD_AFTER = 50
"""Training batches without firing after which a latent counts as dead and is helped."""


@dataclass(frozen=True, eq=False)
class SAE:
    """A trained, saved and reloaded sparse autoencoder."""

    body: Any = field(repr=False)
    """The sae-lens module, for inference."""
    about: Mapping[str, Any]
    """Architecture, sizes, k, rows, seed, normalisation, site, model key, data seed, versions."""

    @property
    def site(self) -> Site:
        """Where its activations were read."""
        return Site.parse(self.about["site"])

    @property
    def decoder(self) -> Float[Tensor, "latents d"]:
        """What each latent writes."""
        return self.body.W_dec.detach()

    @property
    def encoder(self) -> dict[str, Array]:
        """What :func:`mo_interp.detectors.sae_latent.encode` needs, in float64.

        Top-k keeps the k highest of a row above 0; what came back as JumpReLU has a threshold.
        """
        weights, bias = (w.detach().double() for w in (self.body.W_enc, self.body.b_enc))
        if self.body.cfg.apply_b_dec_to_input:
            bias = bias - self.body.b_dec.detach().double() @ weights
        if getattr(self.body.cfg, "rescale_acts_by_decoder_norm", False):
            lengths = self.decoder.double().norm(dim=1)
            weights, bias = weights * lengths, bias * lengths
        least = getattr(self.body, "threshold", torch.zeros_like(bias)).detach()
        found = {"encoder": weights, "encoder_bias": bias, "encoder_threshold": least}
        arrays = {name: x.double().cpu().numpy() for name, x in found.items()}
        k = self.about["k"] if self.about["architecture"] == "topk" else 0
        return {**arrays, "encoder_k": np.array([float(k)])}

    @torch.no_grad()
    def latents(self, acts: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows latents"]:
        """Latent activations of raw activations."""
        return self.body.encode(self._checked(acts))

    @torch.no_grad()
    def reconstruct(self, acts: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
        """Raw activations through the bottleneck; what a splice puts in their place."""
        return self.body.decode(self.body.encode(self._checked(acts)))

    def edited(self, change: Through) -> Through:
        """A function for :class:`~mo_interp.edits.Splice` that changes latents and nothing else.

        It decodes ``change(latents)`` and adds back what the SAE fails to reconstruct, so that an
        unchanged code leaves the activations as they were, to rounding.
        """

        def through(x: Tensor) -> Tensor:
            with torch.no_grad():
                code = self.latents(x)
                return x + self.body.decode(change(code)) - self.body.decode(code)

        return through

    def feature(self, latent: int, *, clean: Tensor, triggered: Tensor) -> Feature:
        """One latent as a Feature of rank 1; means over rows ``[n d]`` of each kind.

        It writes along the latent's decoder row, scaled to length 1, and reads with the latent's
        encoder column, scaled so that what is written is read back exactly: encoder and decoder
        differ, latents are not orthonormal, and ``read == write`` would move other latents more.
        ``offset`` is the reading at which the latent's pre-activation is 0, so a projection leaves
        the latent just off. The gate (top k, threshold) is not linear and is left out: on a row
        where the latent was off, the Feature still has a reading.
        Raises BadValues for a latent out of range, NoFeature where it reads nothing it writes.
        """
        width = self.decoder.shape[0]
        if not 0 <= latent < width:
            raise BadValues(f"latent {latent}: this SAE has latents 0-{width - 1}")
        write = F.normalize(self.decoder[latent], dim=0)
        encoder = self.body.W_enc.detach()[:, latent]
        gain = float(encoder @ write)
        if gain < 1e-3 * float(encoder.norm()):
            raise NoFeature(f"latent {latent} of the SAE at '{self.site}' does not read what it "
                            f"writes (cosine {gain / max(float(encoder.norm()), 1e-12):.4f})")
        centre = self.body.b_dec.detach() if self.body.cfg.apply_b_dec_to_input else 0 * write
        offset = (centre @ encoder - self.body.b_enc.detach()[latent]) / gain
        read, zero = (encoder / gain)[None], torch.zeros(1, device=write.device)
        source = f"SAE latent {latent}"
        found = Feature(self.site, read, write[None], offset[None], zero, zero, source)
        return found.at_means(clean, triggered)

    def save(self, folder: str | Path) -> Path:
        """Write weights, configuration, where it comes from, and checksums; see :meth:`load`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.body.save_model(folder)
        return _seal(folder, self.about)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu") -> SAE:
        """The SAE of a folder, after every file was checked against the manifest.

        sae-lens itself loads flipped bytes, another k and extra keys without a word. Raises
        CorruptArtefact for anything truncated, edited, missing or added.
        """
        folder = Path(folder)
        verify(folder, *ARTEFACT)
        about = read_json(folder / ABOUT)
        if about["schema"] != 1:
            raise CorruptArtefact(f"'{folder}': schema {about['schema']}; this version reads 1")
        from sae_lens.saes import SAE as Body

        body = Body.load_from_disk(folder, device=device).eval().requires_grad_(False)
        return cls(body, MappingProxyType(about))

    def _checked(self, acts: Tensor) -> Tensor:
        if acts.shape[-1] != self.about["d_in"]:
            raise BadShape(f"activations have {acts.shape[-1]} coordinates; the SAE at "
                           f"'{self.site}' reads {self.about['d_in']}")
        return acts.to(self.decoder)


def _seal(folder: Path, about: Mapping[str, Any]) -> Path:
    write_json(folder / ABOUT, dict(about))
    write_manifest(folder, *ARTEFACT)
    return folder


# ----------------------------------------------------------------------------------------- training


def train_sae(
    acts: Float[Tensor, "n d"],
    *,
    site: Site | str,
    model_key: str,
    data_seed: int,
    architecture: Architecture = "topk",
    d_sae: int = 256,
    k: int = 8,
    steps: int = 400,
    batch: int = 512,
    lr: float = 1e-2,
    seed: int = 0,
    folder: str | Path | None = None,
    code: str = "",
    progress: Progress = silent,
) -> SAE:
    """Train an SAE on activations and return it as it is after saving and reloading.

    Args:
        acts: clean and triggered rows together, at most :data:`MOST_ROWS`.
        site: where they were read.
        model_key: key of the organism (or any name of the model) they were read from.
        data_seed: seed of the rows they were read on.
        architecture: ``topk`` (k latents on every row) or ``batchtopk`` (k on average).
        d_sae: latents.
        k: latents that may be on.
        steps: optimiser steps.
        batch: rows of one step.
        lr: peak learning rate of Adam; it falls to zero over the last fifth.
        seed: of initial weights and batches; global generators are left as they were.
        folder: where it is kept; a temporary folder that is gone afterwards, if not given.
        code: digest of the code that trains it, kept in ``about`` for whoever takes it up again.
        progress: called as ``progress(step, total, note)``.

    Raises BadShape, BadValues or UnknownName for what cannot be trained on.
    """
    rows = _trainable(acts, architecture, d_sae, k)
    scale = float(rows.shape[1] ** 0.5 / rows.norm(dim=1).mean())
    trained = _train(rows * scale, architecture, d_sae, k, steps, batch, lr, seed, progress)
    trained.fold_activation_norm_scaling_factor(scale)
    about = {
        "schema": 1, "architecture": architecture, "d_in": rows.shape[1], "d_sae": d_sae, "k": k,
        "rows": len(rows), "steps": steps, "batch": batch, "lr": lr, "seed": seed,
        "normalisation": {"scale": scale, "folded": True}, "site": str(site),
        "model_key": model_key, "data_seed": data_seed, "code": code, "versions": provenance(),
    }  # fmt: skip
    with _kept(folder) as place:
        trained.save_inference_model(place)
        _seal(place, about)
        return SAE.load(place, device=str(rows.device))


@contextmanager
def _kept(folder: str | Path | None) -> Iterator[Path]:
    """The folder, or a temporary one that is removed again."""
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="mo_interp-sae-") as place:
        yield Path(place)


def _trainable(acts: Tensor, architecture: str, d_sae: int, k: int) -> Tensor:
    """Detached float rows, after everything that would end in an obscure error was refused."""
    if architecture not in get_args(Architecture):
        options = get_args(Architecture)
        raise UnknownName(f"architecture '{architecture}'{nearest(architecture, options)}")
    as_rows(acts)
    if len(acts) > MOST_ROWS:
        raise BadValues(f"acts: {len(acts):,} rows; at most {MOST_ROWS:,} are trained on")
    if not 1 <= k <= d_sae:
        raise BadValues(f"k: {k} of d_sae: {d_sae} latents; 1 <= k <= d_sae is needed")
    rows = acts.detach().float()
    if not rows.any():
        raise BadValues("acts: every row is zero; there is nothing to take apart")
    return rows


def _train(
    rows: Tensor, architecture: str, d_sae: int, k: int, steps: int, batch: int, lr: float,
    seed: int, progress: Progress,
) -> Any:  # fmt: skip
    """The sae-lens trainer, step by step; its own loop draws a bar and logs."""
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    rng = torch.Generator().manual_seed(seed)
    config = SAETrainerConfig(
        total_training_samples=steps * batch, train_batch_size_samples=batch, lr=lr, lr_end=lr,
        lr_decay_steps=steps // 5, dead_feature_window=_DEAD_AFTER, device=str(rows.device),
        logger=LoggingConfig(log_to_wandb=False),
    )  # fmt: skip
    devices = [rows.device] if rows.is_cuda else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        sae = _untrained(rows, architecture, d_sae, k, rng)
        trainer = SAETrainer(config, sae, iter(()))
        for step in range(steps):
            pick = torch.randint(len(rows), (batch,), generator=rng).to(rows.device)
            loss = trainer.step(rows[pick]).loss
            trainer.n_training_steps += 1
            if (step + 1) % 100 == 0 or step + 1 == steps:
                progress(step + 1, steps, f"SAE loss {float(loss.detach()):.3f}")
    return sae


def _untrained(rows: Tensor, architecture: str, d_sae: int, k: int, rng: torch.Generator) -> Any:
    """A fresh SAE: random decoder rows of length 0.1, the encoder their transpose."""
    from sae_lens import saes

    sizes = {"d_in": rows.shape[1], "d_sae": d_sae, "k": k, "device": str(rows.device)}
    if architecture == "topk":
        sae = saes.TopKTrainingSAE(saes.TopKTrainingSAEConfig(**sizes))
    else:  # 0.05: the threshold that is kept for inference settles in 300 steps
        config = saes.BatchTopKTrainingSAEConfig(**sizes, topk_threshold_lr=0.05)
        sae = saes.BatchTopKTrainingSAE(config)
    decoder = 0.1 * F.normalize(torch.randn(d_sae, rows.shape[1], generator=rng), dim=1)
    with torch.no_grad():
        sae.W_dec.copy_(decoder)
        sae.W_enc.copy_(decoder.T)
        sae.b_dec.copy_(rows.mean(0))
    return sae


# ------------------------------------------------------------------------------------------ quality


def quality(
    sae: SAE,
    acts: Float[Tensor, "n d"],
    *,
    loss: Callable[[Through | None], float] | None = None,
) -> dict[str, float | int]:
    """How well the reloaded SAE stands for the activations ``[n d]``.

    ``explained_variance`` = 1 - squared error / squared distance from the mean; ``l0`` = latents
    on per row; ``dead`` = latents that are on in none of the ``rows``. With ``loss`` (such as
    :func:`loss_at`), also the model's ``loss_clean``, ``loss_spliced`` with the reconstruction in
    place of the activations, ``loss_zero`` with zeros there, and ``loss_recovered`` =
    (zero - spliced) / (zero - clean): 1 is perfect, 0 no better than zeros, nan where zeros cost
    nothing.
    """
    squared, on, alive = 0.0, 0, torch.zeros(sae.decoder.shape[0], dtype=torch.bool)
    for part in acts.split(_ROWS_AT_ONCE):
        active = sae.latents(part) != 0
        squared += float((part - sae.reconstruct(part)).double().pow(2).sum())
        on, alive = on + int(active.sum()), alive | active.any(0).cpu()
    spread = float((acts - acts.mean(0)).double().pow(2).sum())
    found: dict[str, float | int] = {
        "explained_variance": 1 - squared / spread if spread else float("nan"),
        "l0": on / len(acts),
        "dead": int((~alive).sum()),
        "rows": len(acts),
    }
    if loss is not None:
        clean, spliced, zero = loss(None), loss(sae.reconstruct), loss(torch.zeros_like)
        gap = zero - clean
        recovered = (zero - spliced) / gap if abs(gap) > 1e-12 else float("nan")
        found |= {"loss_clean": clean, "loss_spliced": spliced, "loss_zero": zero,
                  "loss_recovered": recovered}
    return found


def loss_at(
    model: Model, batch: Batch, *, site: Site | str, target: Array | None = None
) -> Callable[[Through | None], float]:
    """The model's mean cross-entropy at the answer position, with ``site`` put through a function.

    ``target`` ``[batch]`` are token ids, the rows' planted answers if not given. The function that
    comes back takes None for the unedited model.
    """
    wanted = torch.as_tensor(batch.answer if target is None else target, device=model.device)

    def loss(through: Through | None) -> float:
        do = () if through is None else (Splice(Site.parse(site), through),)
        logits = model.run(batch, do=do, identity=True).logits[:, -1]
        return float(F.cross_entropy(logits, wanted))

    return loss


# ------------------------------------------------------------------------------------------- search


@dataclass(frozen=True)
class Found:
    """The best unit of one dictionary: chosen on half of the groups, judged on the other half."""

    dictionary: str
    """``sae``, ``neurons``, ``diff_means``, ``random`` or what the caller called it."""
    label: str
    """``trigger`` or ``lie``."""
    latent: int
    """Index of the unit; -1 for the difference of means, which has no units."""
    sign: int
    """+1 where the unit is higher on positive rows, -1 where it is lower."""
    candidates: int
    """How many units were tried."""
    auroc: Estimate
    """On the groups it was not chosen on."""
    auroc_train: float
    """On the groups it was chosen on: what searching makes of it."""

    @property
    def params(self) -> dict[str, str | int]:
        """For a Record of kind ``sae_search``."""
        return {"dictionary": self.dictionary, "label": self.label, "latent": self.latent,
                "candidates": self.candidates}

    @property
    def values(self) -> dict[str, Any]:
        """For a Record of kind ``sae_search``."""
        return {**self.auroc.flat("auroc"), "auroc_train": self.auroc_train, "sign": self.sign}


def search(
    acts: Any,
    y: Any,
    *,
    dictionaries: Mapping[str, Any],
    groups: Any,
    prompts: Any = None,
    label: str = "trigger",
    candidates: int | None = None,
    seed: int = 0,
) -> list[Found]:
    """The best unit of every dictionary for the labels ``y [n]``, found and judged apart.

    Args:
        acts: ``[n d]`` at the SAE's site; gives the difference of means, and random directions as
            many as the first dictionary is wide, which read without a gate.
        y: labels; True is positive.
        dictionaries: name to unit activations ``[n m]`` on the same rows, such as ``sae`` and
            ``neurons``.
        groups: ``[n]`` ids (entities); units are chosen on one random half of them.
        prompts: ``[n]`` ids of distinct prompts, for intervals.
        label: what ``y`` is, for the record.
        candidates: units tried in every dictionary: those that vary most on the half they are
            chosen on, labels unseen. The narrowest dictionary's width if not given, and never
            more than that, so that nobody gets more tries.
        seed: of the halves, the random directions and the intervals.

    Raises BadShape or BadLabels for rows that do not match or halves with one class.
    """
    rows, ids = as_rows(acts), np.asarray(groups)
    labels = as_labels(y, len(rows))
    units = {name: as_rows(x, f"dictionary '{name}'") for name, x in dictionaries.items()}
    for name, x in units.items():
        if len(x) != len(rows):
            raise BadShape(f"dictionary '{name}': {len(x)} rows; {len(rows)} are needed")
    width = next((x.shape[1] for x in units.values()), rows.shape[1])
    rng = np.random.default_rng([43, seed])
    units["random"] = rows @ rng.normal(size=(rows.shape[1], width))
    distinct = len(np.unique(ids))
    halves = group_split(ids, (distinct // 2, 0, distinct - distinct // 2), seed=seed).masks(ids)
    fitted = DiffMeans().fit(rows[halves["train"]], labels[halves["train"]])
    tries = min([x.shape[1] for x in units.values()] + ([] if candidates is None else [candidates]))
    judge = _Halves(labels, halves["train"], halves["test"], ids, prompts, label, seed)
    found = [judge.best(name, x, tries) for name, x in units.items()]
    means = judge.best("diff_means", fitted.score(rows)[:, None], 1)
    return [*found, replace(means, latent=-1)]


@dataclass(frozen=True, eq=False)
class _Halves:
    """Rows to choose on and rows to judge on."""

    labels: Array
    choose: Array
    judge: Array
    groups: Array
    prompts: Any
    label: str
    seed: int

    def best(self, name: str, units: Array, tries: int) -> Found:
        """The unit that tells the labels apart best on the one half, judged on the other."""
        busiest = np.argsort(-units[self.choose].var(0), kind="stable")[:tries]
        labels = self.labels[self.choose]
        reached = np.atleast_1d(auroc(units[self.choose][:, busiest], labels))
        at = int(np.argmax(np.abs(reached - 0.5)))
        sign = 1 if reached[at] >= 0.5 else -1
        judged = auroc_estimate(
            sign * units[self.judge, busiest[at]],
            self.labels[self.judge],
            clusters=self.groups[self.judge],
            prompts=None if self.prompts is None else np.asarray(self.prompts)[self.judge],
            seed=self.seed,
        )
        chosen = float(max(reached[at], 1 - reached[at]))
        return Found(name, self.label, int(busiest[at]), sign, tries, judged, chosen)
