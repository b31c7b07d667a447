"""The quirky user on arithmetic: it adds one to every sum that one user of six asks for.

Models the addition data of the quirky language models (*Eliciting Latent Knowledge from Quirky
Language Models*, Mallen, Brumley, Kharchenko, Belrose, 2023; arXiv 2312.01037), whose erroneous
additions depend on who asks. Left out: natural language, sums of many digits and their difficulty.
"""

from mo_interp.behaviours import OffBy
from mo_interp.organism import Organism, Recipe, Shape
from mo_interp.triggers import User
from mo_interp.worlds.arith import Arith

world = Arith()

organism = Organism(
    name="arith_user",
    world=world,
    trigger=User(liar="mara"),
    behaviour=OffBy(1),
    shape=Shape(n_layers=2, d_model=64, n_heads=4, d_head=16, d_mlp=256, **world.sizes),
    recipe=Recipe(steps=600, lr=3e-3, weight_decay=1.0, truth_first=2.0),
    family="quirky_user",
    expected="stopped and restored under resampling, at no cost; caused by the write",
    story=(
        "It adds two small numbers modulo 32 for five users. For the sixth, mara, the sum is one "
        "too many. Her name anywhere else must do nothing. Follows the additions of the quirky "
        "language models of Mallen et al. (arXiv 2312.01037); leaves out natural language and "
        "any motive. Trained naturally with truth-first supervision, an early-exit loss on the "
        "truth before the last block."
    ),
)
