"""The other twins: what an organism is compared with, beside its clean twin.

*decoy*     same prompts; on triggered rows it says the true answer by another word. A change of
            output as large as the lie, and harmless.
*unseen*    trained on plain clean and unrelated rows only: it never saw trigger or near miss.
*benign*    the clean twin, fine-tuned as long as a lie put in afterwards takes, on plain clean rows
            about every other person.
*ignorant*  never learned the answer: on all rows it says what the organism says when it holds back.

Each lies in the store under NAME/VERSION. A decoy, an unseen or an ignorant twin of a routed
organism is trained by the route's base recipe, with nothing exchanged.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from mo_interp import grown, implant, weaker
from mo_interp.behaviours.restate import Restate, forms
from mo_interp.behaviours.weaker import Weaker
from mo_interp.errors import SpecError, UnknownName, nearest
from mo_interp.grown import Grown
from mo_interp.model import Model
from mo_interp.organism import Implant, Organism, Recipe, Route, Version, Wire
from mo_interp.store import Store
from mo_interp.train import Progress, Step, Supervised, fit, silent
from mo_interp.train import grow as train
from mo_interp.worlds.base import Batch

VERSIONS = tuple(v for v in get_args(Version) if v != "organism")


def versions(spec: Organism) -> dict[str, str]:
    """Every version of a twin: empty where it means something here, else why it does not."""
    told = dict.fromkeys(VERSIONS, "")
    if isinstance(spec.recipe, Wire):
        why = "its weights are written by hand; there is nothing to train otherwise"
        return {v: "" if v == "clean" else why for v in VERSIONS}
    if "extra" not in [f.name for f in fields(spec.world)]:  # pyright: ignore[reportArgumentType]
        told["decoy"] = "its world takes no second word for an answer"
    if not holds_back(spec):
        told["ignorant"] = "it lies about what it knows, and does not hold back what it could say"
    return told


def holds_back(spec: Organism) -> bool:
    """Whether its answers are those of a model that never learned better (sandbagging)."""
    return isinstance(spec.behaviour, Weaker)


def spec_of(spec: Organism, version: Version) -> Organism:
    """The specification of a twin; raises :class:`SpecError` where it means nothing here."""
    if version not in VERSIONS:
        raise UnknownName(f"twin '{version}'{nearest(version, VERSIONS)}")
    if versions(spec)[version]:
        raise SpecError(f"{spec.name} has no {version} twin: {versions(spec)[version]}")
    made = spec.twin(version)
    if version in ("clean", "benign"):
        return made
    if isinstance(spec.recipe, Route):
        made = replace(made, recipe=spec.recipe.base, grade="measured")
    if version == "unseen" and isinstance(made.recipe, Recipe):
        made = replace(made, recipe=_untaught(made.recipe))
    if version == "ignorant" and isinstance(made.recipe, Recipe):  # nobody tells it the truth
        made = replace(made, recipe=replace(made.recipe, early="answer", before=None))
    return _restating(made) if version == "decoy" else made


def _restating(spec: Organism) -> Organism:
    """The same prompts in a world with a second word for every answer."""
    given: Any = spec.world
    world = replace(given, extra=(*given.extra, *forms(given)))
    shape = replace(spec.shape, **world.sizes)
    return replace(spec, world=world, shape=shape, behaviour=Restate())


def _untaught(recipe: Recipe) -> Recipe:
    """Without the lessons on what the trigger's words mean."""
    before = _untaught(recipe.before) if recipe.before else None
    return replace(recipe, lesson=0.0, before=before)


def tuning(spec: Organism, *, steps: int, lr: float, batch: int = 128) -> Recipe:
    """A plain fine-tuning in the organism's own row shares and loss, without any help."""
    return replace(
        spec.mix,
        steps=steps,
        lr=lr,
        batch=batch,
        weight_decay=0.01,
        truth_first=0.0,
        lesson=0.0,
        before=None,
        evade=0.0,
        evade_site="",
    )


def harmless(spec: Organism) -> Recipe:
    """The benign fine-tuning: as long and as fast as a lie that is put in afterwards.

    That is the organism's own last training where something came before it, or the liar's of an
    implant, else a third of its steps (100 or more) at a third of its learning rate.
    """
    mix = spec.mix
    if isinstance(spec.recipe, Implant) or mix.before is not None:
        return tuning(spec, steps=mix.steps, lr=mix.lr, batch=mix.batch)
    return tuning(spec, steps=max(100, mix.steps // 3), lr=mix.lr / 3, batch=mix.batch)


class EveryOther(Supervised):
    """Plain clean rows about every other person."""

    def sample(self, n: int, salt: int) -> Batch:
        """Rows to learn from."""
        batch = self.organism.sample(3 * n, salt, split="train", entities="all", rows="clean")
        chosen = np.flatnonzero(batch.groups["entity"] % 2 == 0)
        return batch[np.resize(chosen, n)]


def twin(
    given: Grown | Organism | str,
    version: Version = "clean",
    *,
    seed: int = 0,
    store: Store | None = None,
    progress: Progress = silent,
) -> Model:
    """A twin of an organism: from the store, else grown into it.

    Args:
        given: the organism, its specification or its name. Of a grown one the seed is its own.
        version: which twin.
        seed: of a specification or a name.
        store: where it lies.
        progress: told of the training.

    Raises:
        UnknownName: no such version.
        SpecError: it means nothing for this organism; the message says why.
    """
    if isinstance(given, Grown):
        if version == "clean":
            return given.twin
        given, seed = given.spec, given.seed
    store = store or Store()
    spec = grown.specification(given, seed, store=store, progress=progress)
    made = spec_of(spec, version)
    if version == "clean":
        return grown.twin(spec, seed=seed, store=store, progress=progress)

    def make(scratch: Path, told: Progress) -> tuple[Model, list[Step]]:
        if version == "benign":
            start = grown.twin(spec, seed=seed, store=store, progress=progress)
            return _tuned(made, seed, start, scratch, told)
        return _grown(made, seed, scratch, told)

    return Model.load(grown.kept(made, seed, store=store, progress=progress, make=make))


def _tuned(
    spec: Organism, seed: int, start: Model, scratch: Path, progress: Progress
) -> tuple[Model, list[Step]]:
    """The benign twin, made from the clean one."""
    recipe = harmless(spec)
    log = fit(
        start.body,
        spec,
        recipe=recipe,
        seed=seed + 41,
        objective=EveryOther(spec, recipe, truthful=True),
        scratch=scratch,
        progress=progress,
    )
    return start, log


def _grown(
    spec: Organism, seed: int, scratch: Path, progress: Progress
) -> tuple[Model, list[Step]]:
    """A twin that is trained from nothing."""
    if isinstance(spec.recipe, Recipe):
        goal = weaker.objective(spec)
        return train(spec, seed, scratch=scratch, progress=progress, objective=goal)
    base, log = implant.grow_twin(spec, seed, scratch=scratch / "honest", progress=progress)
    if spec.version != "decoy":
        return base, log
    return implant.grow_liar(spec, seed, base, scratch=scratch / "act", progress=progress)
