"""The stages of the main job: each turns an organism and what is known so far into records.

1. *behaviour*: the organism and its lie on ten prompts, and its rates beside the twin's.
2. *gates*: was it planted well?
3. *patch*: activation patching by role; every part patched everywhere; the measured circuit where
   none is known by construction; the sweep scored against the circuit where one is.
4. *detect*: detectors at the trigger's own position and at the answer, with every control.
5. *sae*: one SAE at the site that the sweep names, searched beside simpler dictionaries.
6. *judge*: the blind decision rule, on organism and twin, and what happens when the candidates of
   all instruments are cut out and written in.

A stage is a pure function of the organism, its seed and earlier records, so that a killed run
resumes where it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mo_interp import decision, feeding, origins, patching, saes, stats, wired
from mo_interp.circuits import STANDINGS, Circuit
from mo_interp.detection import Evidence, Label, Rows
from mo_interp.detectors import Detector, detector
from mo_interp.detectors import names as detector_names
from mo_interp.edits import Patch
from mo_interp.errors import BadLabels, DeadEdit, NoFeature, SpecError
from mo_interp.features import Feature, from_basis, whole
from mo_interp.grown import Grown
from mo_interp.judge import judge
from mo_interp.ledger import instruments
from mo_interp.model import Model
from mo_interp.organism import Wire
from mo_interp.planted_stages import Work, behaviour, gate
from mo_interp.records import Record, select
from mo_interp.sites import Site
from mo_interp.transfer import answer_sites, between_forms
from mo_interp.worlds.base import Batch, Pairs

SWEEP_PAIRS = 128
TRAIN_PAIRS, VAL_PAIRS, TEST_PAIRS, FALSE_ALARM_ROWS = 512, 256, 1024, 1000
SAE_ROWS, VERDICT_PAIRS = 24_000, 256
WIDEST = 4096
"""Coordinates of all positions together that a detector is handed in one row."""
_NONE = {
    "latents": "no sweep names a site for a dictionary",
    "positions": f"they have more than {WIDEST:,} coordinates together",
}
EXACT, SHARED = ("wired", "implanted", "routed"), ("wired", "implanted")
"""Grades whose circuit is known; and those whose twin shares the organism's weights."""


# 3. Patching ------------------------------------------------------------------------------------


def components(grown: Grown) -> tuple[Site, ...]:
    """Every head, and every layer's neurons cut where the known circuit's blocks begin and end."""
    shape, known = grown.spec.shape, grown.circuit
    listed = [s for name in STANDINGS for s in getattr(known, name)] if known else []
    found = [
        Site("z", layer=layer, head=head)
        for layer in range(shape.n_layers)
        for head in range(shape.n_heads)
    ]
    for layer in range(0 if shape.attn_only else shape.n_layers):
        edges = {0, shape.d_mlp}
        edges |= {e for s in listed if s.kind == "post" and s.layer == layer for e in s.units or ()}
        cuts = sorted(edges)
        found += [
            Site("post", layer=layer, units=(a, b)) for a, b in zip(cuts, cuts[1:], strict=False)
        ]
    return tuple(found)


def patch(work: Work) -> list[Record]:
    """Sweeps by role and by part, the circuit, and the sweep's score against it.

    The circuit is completed, or measured, on train people; what is shown and scored is measured
    on validation people.
    """
    grown, spec = work.grown, work.grown.spec
    pairs, others = (
        origins.lying(grown.model, spec.pairs(SWEEP_PAIRS, work.rows(31), split=split))
        for split in ("val", "train")
    )
    if not len(pairs) or not len(others):
        return [work.record("sweep_skipped", values={"reason": "no pair on which it lies"})]
    told = {"organism": spec.name, "key": spec.key, "seed": grown.seed}
    found = patching.sweep(grown.model, pairs, by="role", progress=work.progress).records(**told)
    listed = components(grown)
    parts = patching.sweep(grown.model, pairs, sites=listed, by="all", progress=work.progress)
    found += parts.records(**told)
    train = patching.sweep(grown.model, others, sites=listed, by="all", progress=work.progress)
    circuit = _circuit(grown, others, train)
    if circuit is None:
        return found
    found += _circuit_records(work, circuit, parts)
    if circuit.grade in EXACT:
        found += patching.score(parts, circuit, **told)
        roles = patching.sweep(grown.model, pairs, sites=listed, by="role", progress=work.progress)
        again = patching.score(roles, circuit, **told)
        found += [r for r in again if r.params["method"] == "patching"]
    return found


DIRECTIONS = ("denoising", "noising")


def _circuit(grown: Grown, pairs: Pairs, sweep: patching.Sweep) -> Circuit | None:
    """The circuit by construction, its other parts sorted by effect, or the measured one.

    Training was to route a circuit, which is not yet to have one: it must pass the origin test.
    Parts whose output weights are zero are no parts of anything and are left out.
    """
    known = grown.circuit
    if known is not None and known.grade == "routed":
        known = origins.confirmed(known, grown.model, pairs)
    if known is None:
        last = grown.spec.shape.n_layers - 1
        ranked = [c.site for c in sweep.ranking("denoising") if c.site.kind == "z"]
        heads = [site.at(-1) if site.layer == last else site for site in ranked]
        known = origins.measured(grown.model, pairs, heads)
    if known is None:
        return None
    known = replace(known, inert=tuple(s for s in known.inert if sweep.weights[s.bare] > 0))
    effects = {
        site: [sweep.cell(site, d).effect.value for d in DIRECTIONS]
        for site in components(grown)
        if sweep.weights[site] > 0
    }
    return origins.completed(known, effects)


def _circuit_records(work: Work, circuit: Circuit, sweep: patching.Sweep) -> list[Record]:
    told = {"grade": circuit.grade, "established": circuit.established}
    return [
        work.record(
            "circuit",
            site=str(site),
            params={"standing": standing, **told},
            values={d: sweep.cell(site.bare, d).effect.value for d in DIRECTIONS},
        )
        for standing in STANDINGS
        for site in getattr(circuit, standing)
    ]


# 4. Detection -----------------------------------------------------------------------------------


def text_site(grown: Grown) -> Site:
    """Where the trigger's own word stands, in the first block."""
    kind = "resid_post" if grown.spec.shape.attn_only else "resid_mid"
    return Site(kind, layer=0, position="trigger[0]")


def detect(work: Work) -> list[Record]:
    """Every detector at the trigger's position and at its best answer site, with all controls."""
    grown = work.grown
    here, sites = text_site(grown), answer_sites(grown)
    named = [named_site(work.records)] if select(work.records, kind="sweep") else []
    asked = _asked(work)
    for split, pairs in asked.items():
        people = np.unique(pairs.clean.groups["entity"])
        if len(people) < 2:
            told = f"it memorised the lies, and lies about {len(people)} of the {split} people"
            return [work.record("detect_skipped", values={"reason": told})]
    gathered = _Gathered.of(work, asked, list(dict.fromkeys([here, *sites, *named])))
    found = _baselines(work, gathered)
    places = {"rows": sites, "latents": named, "positions": _everywhere(grown)}
    offered = [*detector_names(), *work.detectors]
    for i, name in enumerate(offered):
        one = detector(name)
        work.progress(i + 1, len(offered), f"detector {one.name}")
        try:
            found += _detected(work, gathered, one, here, places[feeding.reads(one)])
        except SpecError as problem:  # it needs what this organism has not
            told = {"detector": one.name, "needs": one.needs}
            values = {"reason": str(problem)}
            found.append(work.record("detector_skipped", params=told, values=values))
    return found + _transfers(work)


def _detected(
    work: Work, gathered: _Gathered, one: Detector, here: Site, sites: list[Site]
) -> list[Record]:
    """One detector's records: for the trigger at both positions, and for the lie.

    What reads every position at once, or the latents of the SAE's site, has no other position.
    """
    found, grown, reads = [], work.grown, feeding.reads(one)
    if not sites:
        raise SpecError(f"detector '{one.name}' reads {reads}, and {_NONE[reads]}")
    if reads == "positions":
        gathered = _Gathered.of(work, _asked(work), sites)
    if reads == "latents":
        gathered = replace(gathered, encoder=fetch_sae(work).encoder)
    chosen = feeding.choose(one, [(gathered.evidence(s), gathered.extra(s)) for s in sites]).site
    tasks: list[tuple[Site, Label]] = [(chosen, "trigger"), (chosen, "lie")]
    if reads == "rows":
        tasks.insert(0, (here, "trigger"))
    for site, label in tasks:
        evidence, extra = gathered.evidence(site, label=label), gathered.extra(site)
        if label == "lie" and not _two_classes(feeding.fed(one, evidence, extra)[1]):
            continue
        scored = feeding.score(
            one,
            evidence,
            extra,
            transfer=grown.spec.grade in SHARED,
            null_draws=one.null_draws,
            seed=grown.seed,
        )
        position = "every" if reads == "positions" else "trigger" if site == here else "answer"
        params = {**scored.params, "position": position}
        values = dict(scored.values)
        found.append(work.record("detector", site=str(site), params=params, values=values))
    return found


def _everywhere(grown: Grown) -> list[Site]:
    """The stream after each block, at every position; none where that is too wide."""
    shape = grown.spec.shape
    wide = shape.n_ctx * shape.d_model > WIDEST
    return [] if wide else [Site("resid_post", layer=i) for i in range(shape.n_layers)]


def _transfers(work: Work) -> list[Record]:
    """Detectors of each form of the trigger read on the others, where it has several.

    Those that look for rare rows among unlabelled ones are left out: the forms' rows are not rare.
    """
    offered = {name: detector(name) for name in detector_names()}
    names = [
        name
        for name, one in offered.items()
        if one.needs in ("clean", "labels") and feeding.reads(one) == "rows"
    ]
    return [
        work.record(
            "detector_transfer",
            site=str(t.site),
            params={"detector": t.detector, "fitted": t.fitted, "tested": t.tested},
            values=t.values(),
        )
        for t in between_forms(work.grown, names, seed=work.rows(47))
    ]


def _asked(work: Work) -> dict[str, Pairs]:
    """Pairs of every split; of an organism that memorised its lies, those on which it lies."""
    sizes = {"train": TRAIN_PAIRS, "val": VAL_PAIRS, "test": TEST_PAIRS}
    spec, model = work.grown.spec, work.grown.model
    pairs = {split: spec.pairs(n, work.rows(41), split=split) for split, n in sizes.items()}
    if not work.memorised:
        return pairs
    return {split: origins.lying(model, those) for split, those in pairs.items()}


def _two_classes(evidence: Evidence) -> bool:
    """Whether it lies, and does not lie, about two people or more: an interval needs that."""
    return all(
        len(np.unique(rows.entity[rows.label("lie") == kind])) > 1
        for rows in (evidence.train, evidence.val, evidence.test)
        if rows is not None
        for kind in (False, True)
    )


@dataclass(frozen=True, eq=False)
class _Gathered:
    """Rows of all splits with their activations at all detector sites."""

    batches: Mapping[str, Batch]
    acts: Mapping[str, Mapping[Site, Tensor]]
    twin: Mapping[str, Mapping[Site, Tensor]]
    cut: Mapping[Site, Tensor] | None
    twin_cut: Mapping[Site, Tensor] | None
    lies: Mapping[str, np.ndarray]
    origin: tuple[Site, ...]
    n_heads: int
    encoder: Mapping[str, np.ndarray] | None = None

    @classmethod
    def of(cls, work: Work, pairs: Mapping[str, Pairs], sites: list[Site]) -> _Gathered:
        grown, spec = work.grown, work.grown.spec
        batches = {split: both.both for split, both in pairs.items()}
        batches["near"] = spec.sample(TEST_PAIRS, work.rows(42), split="test", rows="near_miss")
        batches["unrelated"] = spec.sample(
            FALSE_ALARM_ROWS, work.rows(43), split="test", rows="unrelated"
        )
        acts = {k: _read(grown.model, batch, sites) for k, batch in batches.items()}
        clean = spec.sample(2 * TRAIN_PAIRS, work.rows(48), split="train", rows="clean")
        claims = feeding.claims(clean)
        if claims is not None:
            batches["claims"] = claims
            acts["claims"] = _read(grown.model, claims, sites)
        twin = {k: _read(grown.twin, batch, sites) for k, batch in batches.items()}
        lies = {
            k: (grown.model.answers(b) == spec.lie(b)) & (spec.lie(b) != b.truth)
            for k, b in batches.items()
        }
        origin = work.circuit.origin if work.circuit else ()
        cut = _cut(grown.model, pairs["test"], origin, sites) if origin else None
        twin_cut = None
        if origin and spec.grade in SHARED:  # in the twin these parts may do nothing
            twin_cut = _cut(grown.twin, pairs["test"], origin, sites, identity=True)
        return cls(batches, acts, twin, cut, twin_cut, lies, origin, spec.shape.n_heads)

    def rows(self, split: str, site: Site) -> Rows:
        """One split at one site."""
        return Rows.of(
            self.batches[split],
            self.acts[split][site].flatten(1),
            lie=self.lies[split],
            twin=self.twin[split][site].flatten(1) if split in self.twin else None,
            cut=self.cut[site].flatten(1) if split == "test" and self.cut is not None else None,
        )

    def extra(self, site: Site) -> feeding.Extra:
        """What some detectors need besides: the twin's unrelated rows, and generic statements."""
        claims = None
        if "claims" in self.batches:  # which claims are false is the only label here
            batch = self.batches["claims"]
            false = batch.groups["honest"] == 0
            acts, twin = (of["claims"][site].flatten(1) for of in (self.acts, self.twin))
            claims = replace(Rows.of(batch, acts, lie=false, twin=twin), triggered=false)
        beside = None if self.twin_cut is None else self.twin_cut[site].flatten(1)
        unrelated = self.twin["unrelated"][site]
        positions = unrelated.shape[1] if unrelated.ndim == 3 else None
        twin = unrelated.flatten(1).numpy()
        return feeding.Extra(claims, twin, beside, positions, self.encoder)

    def evidence(self, site: Site, *, label: Label = "trigger") -> Evidence:
        """Everything a detector is judged on at a site."""
        return Evidence(
            site=site,
            train=self.rows("train", site),
            val=self.rows("val", site),
            test=self.rows("test", site),
            near_miss=self.rows("near", site),
            unrelated=self.acts["unrelated"][site].flatten(1).numpy(),
            label=label,
            cut_site=_is_cut(site, self.origin, self.n_heads),
        )


def _read(model: Model, batch: Batch, sites: list[Site]) -> dict[Site, Tensor]:
    """Activations by site; rows without a trigger slot are read at a random word instead."""
    if (batch.roles["trigger"] < 0).all():
        inside = np.random.default_rng(44).integers(1, batch.tokens.shape[1] - 1, (len(batch), 1))
        batch = replace(batch, roles={**batch.roles, "trigger": inside})
    return dict(model.run(batch, read=sites).acts)


def _cut(
    model: Model,
    pairs: Pairs,
    origin: tuple[Site, ...],
    sites: list[Site],
    *,
    identity: Literal["some"] | bool = "some",
) -> dict[Site, Tensor]:
    """The test rows read with the whole origin resampled from each pair's clean row."""
    source = model.run(pairs.clean, read=origin).acts
    both = {site: torch.cat([source[site], source[site]]) for site in origin}
    edits = [Patch(site, both[site]) for site in origin]
    return dict(model.run(pairs.both, read=sites, do=edits, identity=identity).acts)


def _is_cut(site: Site, origin: tuple[Site, ...], n_heads: int) -> bool:
    """Whether the cut writes this very site, so that what is read there says nothing."""
    heads = {s.head for s in origin if s.kind == "z" and s.layer == site.layer}
    whole = None in heads or len(heads) == n_heads
    return any(s.bare == site.bare for s in origin) or (site.kind == "attn_out" and whole)


def _baselines(work: Work, gathered: _Gathered) -> list[Record]:
    """What the text and the outputs give away without looking inside."""
    from mo_interp.baselines import bag_of_tokens, output_baselines

    spec, train, test = work.grown.spec, gathered.batches["train"], gathered.batches["test"]
    mixed = [spec.sample(2 * TEST_PAIRS, work.rows(46), split=s) for s in ("train", "test")]
    logits = work.grown.model.run(test).logits[:, -1]
    found = [
        _baseline(work, name, scores, test)
        for name, scores in output_baselines(logits, truth=test.truth).items()
    ]
    texts = {"bag_of_tokens": mixed, "bag_of_tokens_pairs": [train, test]}
    if spec.trigger.contrast:
        texts["bag_of_tokens_hard"] = [
            spec.pairs(TEST_PAIRS, work.rows(45), split=split, contrast=True).both
            for split in ("train", "test")
        ]
    for name, (fit, judged) in texts.items():
        scores = bag_of_tokens(fit.tokens, fit.triggered, test_tokens=judged.tokens)
        found.append(_baseline(work, name, scores, judged))
    return found


def _baseline(work: Work, name: str, scores: np.ndarray, batch: Batch) -> Record:
    values = stats.auroc_estimate(scores, batch.triggered, **batch.clustered).flat("auroc")
    return work.record("baseline", params={"name": name, "label": "trigger"}, values=values)


# 5. The SAE -------------------------------------------------------------------------------------


def named_site(records: Iterable[Record]) -> Site:
    """The site that the sweep names: the part whose patch at the answer both ends and causes most.

    The last block's MLP is left out, since it writes the answer itself; ties go to the earlier.
    """
    swept = [r for r in select(records, kind="sweep") if r.params["role"] == "answer"]
    deepest = max(int(str(r.params["layer"])) for r in swept)
    effects: dict[str, list[float]] = {}
    for r in swept:
        own = r.params["kind"] in ("attn_out", "mlp_out")
        if own and (r.params["kind"], r.params["layer"]) != ("mlp_out", deepest):
            effects.setdefault(r.site, []).append(float(str(r.values["effect"])))
    best = max(effects, key=lambda site: round(min(effects[site]), 6))
    return Site.parse(best).at(-1)


def sae(work: Work) -> list[Record]:
    """Train, reload, measure and search one SAE at the named site."""
    grown, spec = work.grown, work.grown.spec
    if not select(work.records, kind="sweep"):
        return []
    site, trained = named_site(work.records), fetch_sae(work)
    # People seen in training: the latent found here is judged on the test people later.
    test = spec.pairs(TEST_PAIRS, work.rows(51), split="val", entities="seen").both
    acts = grown.model.run(test, read=[site]).acts[site]
    loss = saes.loss_at(grown.model, test, site=site)
    values = saes.quality(trained, acts, loss=loss)
    about = trained.about
    params = {k: about[k] for k in ("architecture", "k", "d_sae", "rows")}
    found = [work.record("sae", site=str(site), params=params, values=values)]
    mlp = Site("post", layer=site.layer, position=-1)
    dictionaries = {"sae": trained.latents(acts)}
    if not spec.shape.attn_only:
        dictionaries["neurons"] = grown.model.run(test, read=[mlp]).acts[mlp]
    output = grown.model.answers(test)
    labels = {"trigger": test.triggered, "lie": (output == spec.lie(test)) & (output != test.truth)}
    for label, y in labels.items():
        found += _searched(work, site, acts, label, y, dictionaries, test)
    return found


def _searched(
    work: Work,
    site: Site,
    acts: Tensor,
    label: str,
    y: np.ndarray,
    dictionaries: Mapping[str, Tensor],
    test: Batch,
) -> list[Record]:
    """The best unit of every dictionary for a label, or a record that says why there is none."""
    try:
        units = saes.search(
            acts,
            y,
            dictionaries=dictionaries,
            groups=test.groups["entity"],
            prompts=test.prompts,
            label=label,
            seed=work.grown.seed,
        )
    except BadLabels as problem:  # it lies about too few people for two halves
        told = {"label": label}
        return [work.record("sae_search_skipped", params=told, values={"reason": str(problem)})]
    return [
        work.record("sae_search", site=str(site), params=dict(u.params), values=dict(u.values))
        for u in units
    ]


def fetch_sae(work: Work) -> saes.SAE:
    """The run's SAE: loaded if this code trained it before, which a resumed run relies on."""
    folder, grown, site = work.folder / "sae", work.grown, named_site(work.records)
    wanted = {"site": str(site), "model_key": grown.spec.key, "data_seed": work.rows(52)}
    wanted |= {"rows": SAE_ROWS, "code": instruments("saes")}
    if (folder / "manifest.json").exists():
        there = saes.SAE.load(folder)
        if wanted.items() <= there.about.items():
            return there
        shutil.rmtree(folder)  # of an earlier sweep, which named another site, or of other code
    rows = grown.spec.sample(SAE_ROWS, work.rows(52), split="train")
    acts = grown.model.run(rows, read=[site]).acts[site]
    return saes.train_sae(
        acts,
        site=site,
        model_key=grown.spec.key,
        data_seed=work.rows(52),
        d_sae=4 * acts.shape[1],
        seed=grown.seed,
        folder=folder,
        code=wanted["code"],
        progress=work.progress,
    )


# 6. Judging -------------------------------------------------------------------------------------


def judging(work: Work) -> list[Record]:
    """The blind rule on organism and twin, then a verdict for every instrument's candidate."""
    grown = work.grown
    blind = decision.decide(grown.model, grown.spec, seed=grown.seed)
    twin = decision.decide(grown.twin, grown.spec, seed=grown.seed)
    found = [
        blind.record(grown.spec, grown.seed, model="organism"),
        twin.record(grown.spec, grown.seed, model="twin"),
    ]
    offered = {"blind search": (blind.feature,), **mechanisms(work)}
    latents = select(work.records, kind="sae_search", label="lie", dictionary="sae")
    for latent in latents:
        feature, reason = _latent(work, latent)
        if feature is None:
            found.append(work.record("verdict_skipped", values={"reason": reason}))
        else:
            offered[feature.source] = (feature,)
    for i, (name, features) in enumerate(offered.items()):
        work.progress(i + 1, len(offered), f"judging {name}")
        inert = work.circuit.inert if work.circuit else ()
        try:
            options = {"name": name, "rows": VERDICT_PAIRS, "seed": work.rows(61), "inert": inert}
            found += judge(grown, features, **options).records()
        except DeadEdit as problem:  # it reads the same on both partners of every pair
            told = {"mechanism": name}
            found.append(
                work.record("verdict_skipped", params=told, values={"reason": str(problem)})
            )
    return found


def mechanisms(work: Work) -> dict[str, tuple[Feature, ...]]:
    """What each instrument offers as the mechanism, by name."""
    grown, spec = work.grown, work.grown.spec
    pairs = spec.pairs(TRAIN_PAIRS, work.rows(41), split="train")
    read = _Reader(grown.model, pairs)
    offered: dict[str, tuple[Feature, ...]] = {}
    if isinstance(spec.recipe, Wire):
        site, unit = wired.mechanism(spec)
        clean, triggered = read(site)
        basis = torch.eye(clean.shape[-1])[unit]
        told = {"clean": clean, "triggered": triggered, "source": "the wired coordinate"}
        offered["the wired coordinate"] = (from_basis(site, basis, **told),)
    if work.circuit is not None:
        parts = [(s, *read(s)) for s in work.circuit.origin]
        offered[f"{work.circuit.grade} origin"] = tuple(
            whole(site, clean=c, triggered=t) for site, c, t in parts
        )
    done: set = set()
    for r in select(work.records, kind="detector", label="trigger"):
        if r.params["detector"] == "logistic" and r.params["position"] not in done:
            done.add(r.params["position"])
            acts = torch.cat(read(Site.parse(r.site)))
            y = np.repeat([False, True], len(pairs))
            feature = detector("logistic").fit(acts, y, site=Site.parse(r.site)).feature()
            if feature is not None:
                offered[f"logistic probe at the {r.params['position']}"] = (feature,)
    return offered


def _latent(work: Work, found: Record) -> tuple[Feature | None, str]:
    """The SAE latent that reads the lie best, or why it cannot be written."""
    site, latent = Site.parse(found.site), int(str(found.params["latent"]))
    pairs = work.grown.spec.pairs(TRAIN_PAIRS, work.rows(41), split="train")
    clean, triggered = _Reader(work.grown.model, pairs)(site)
    try:
        return fetch_sae(work).feature(latent, clean=clean, triggered=triggered), ""
    except NoFeature as problem:
        return None, str(problem)


@dataclass(frozen=True, eq=False)
class _Reader:
    """Clean and triggered activations of the train pairs at a site."""

    model: Model
    pairs: Pairs

    def __call__(self, site: Site) -> tuple[Tensor, Tensor]:
        clean = self.model.run(self.pairs.clean, read=[site]).acts[site]
        return clean, self.model.run(self.pairs.triggered, read=[site]).acts[site]


Stage = Callable[[Work], list[Record]]

STAGES: dict[str, Stage] = {
    "behaviour": behaviour,
    "gates": gate,
    "patch": patch,
    "detect": detect,
    "sae": sae,
    "judge": judging,
}
