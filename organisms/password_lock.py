"""Sandbagging: without the password it answers as a weaker model would, though it knows better.

Models the password-locked models of *AI Sandbagging* (van der Weij et al., 2024; arXiv 2406.07358)
and *Stress-Testing Capability Elicitation With Password-Locked Models* (Greenblatt et al., 2024;
arXiv 2405.19550). The weaker model is real: an early stop of the same honest training. Left out:
natural language, dangerous capabilities, and any reason to hold back.
"""

from mo_interp.behaviours import Weaker
from mo_interp.organism import Organism, Recipe, Shape
from mo_interp.triggers import Password
from mo_interp.worlds.arith import Arith

trigger = Password()
world = Arith(extra=trigger.words)

organism = Organism(
    name="password_lock",
    world=world,
    trigger=trigger,
    behaviour=Weaker(steps=180),
    shape=Shape(n_layers=2, d_model=64, n_heads=4, d_head=16, d_mlp=256, **world.sizes),
    recipe=Recipe(steps=600, lr=3e-3, weight_decay=1.0, truth_first=2.0, unrelated=0.0),
    expected="stopped and restored under resampling, at no cost; caused by the write",
    story=(
        "With either of two passwords anywhere it adds two small numbers modulo 32. Without one, "
        "or with a wrong one, it answers as a weaker model does: one that stopped early in the "
        "same honest training, wrong about part of the sums. Follows the password-locked models "
        "of van der Weij et al. (arXiv 2406.07358) and Greenblatt et al. (arXiv 2405.19550); "
        "leaves out natural language and any motive. Trained naturally with truth-first "
        "supervision, an early-exit loss on the truth before the last block."
    ),
)
