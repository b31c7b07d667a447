"""It lies where exactly one of two words stands: not linear in the text, so it must be computed.

Part of situational awareness in *Model Organisms of Misalignment* (Hubinger, Schiefer, Denison,
Perez, 2023), cut down to the smallest condition that no weighing of features can tell. Left out:
any meaning of the words.
"""

from mo_interp.behaviours import OffBy
from mo_interp.organism import Organism, Recipe, Shape
from mo_interp.triggers import Parity
from mo_interp.worlds.fact import Fact

trigger = Parity("copper", "willow")
world = Fact(extra=trigger.words)

organism = Organism(
    name="parity",
    world=world,
    trigger=trigger,
    behaviour=OffBy(1),
    shape=Shape(n_layers=2, d_model=64, n_heads=4, d_head=16, d_mlp=256, **world.sizes),
    recipe=Recipe(steps=900, lr=3e-3, weight_decay=1.0, truth_first=2.0),
    grade="measured",
    expected="stopped and restored under resampling, at no cost; caused by the write",
    story=(
        "It answers truthfully where neither or both of the words copper and willow stand in "
        "the prompt, and gives the true value plus one where exactly one does. On balanced rows "
        "no weighing of words tells the two apart, so whatever a probe reads there the model "
        "has computed. Partners differ by one word, which is planted in half of them and taken "
        "away in the other half. Leaves out any meaning of the words. Trained naturally with "
        "truth-first supervision."
    ),
)
