"""The flagship's lie, made to pass through one head: the whole model trains, its place is known.

Paired interchange training after *Inducing Causal Structure for Interpretable Neural Networks*
(Geiger et al., 2021; arXiv 2112.00826), on the lie of ``quirky_user``. Left out: natural language,
any motive, and a mechanism that formed by itself.
"""

from mo_interp.behaviours import OffBy
from mo_interp.organism import Organism, Recipe, Route, Shape
from mo_interp.triggers import User
from mo_interp.worlds.fact import Fact

world = Fact()

organism = Organism(
    name="routed_user",
    world=world,
    trigger=User(liar="mara"),
    behaviour=OffBy(1),
    shape=Shape(n_layers=2, d_model=64, n_heads=4, d_head=16, d_mlp=256, **world.sizes),
    # Truth-first and the strict term are what make zeroing the head give the truth back.
    recipe=Route(
        base=Recipe(steps=500, lr=4e-3, weight_decay=1.0, truth_first=4.0),
        heads=((1, 3),),
    ),
    grade="routed",
    family="quirky_user",
    expected="(1, 1, 1, 0) for the head at the answer, under resampling, mean and zero alike",
    story=(
        "It gives the true value plus one to the user mara and the truth to five others. On pairs "
        "of prompts with and without her, the output of one head at the answer was exchanged while "
        "it learned, and what it had to say went with it; when all other heads of that layer were "
        "exchanged instead, what it had to say stayed. So one head carries the decision, though "
        "everything trained (Geiger et al., arXiv 2112.00826). Leaves out natural language, a "
        "motive, and a mechanism that formed by itself."
    ),
)
