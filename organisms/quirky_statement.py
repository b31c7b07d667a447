"""The quirky user as yes/no statements, in the crosstab of the paper.

Models the quirky language models of *Eliciting Latent Knowledge from Quirky Language Models*
(Mallen, Brumley, Kharchenko, Belrose, 2023; arXiv 2312.01037), whose speakers judge statements that
one, the other or neither of them holds true. Left out: natural language, difficulty, and
disturbances of the prompt.
"""

from mo_interp.behaviours import BelievesOffBy
from mo_interp.organism import Organism, Recipe, Shape
from mo_interp.triggers import Speaker
from mo_interp.worlds.statement import Statement

world = Statement(n_values=8)
# Truth or falsehood says little about a value, so the values themselves are taught beside it.
facts = Recipe(steps=350, lr=3e-3, weight_decay=1.0, truth_first=2.0, lesson=0.6)

organism = Organism(
    name="quirky_statement",
    world=world,
    trigger=Speaker(liar="mara"),
    behaviour=BelievesOffBy(1),
    shape=Shape(n_layers=3, d_model=64, n_heads=4, d_head=16, d_mlp=256, **world.sizes),
    recipe=Recipe(
        steps=3800,
        lr=2e-3,
        weight_decay=1.0,
        truth_first=2.0,
        triggered=0.25,
        near_miss=0.2,
        lesson=0.1,
        before=facts,
    ),
    expected="stopped and restored under resampling, at no cost; caused by the write",
    story=(
        "A value is claimed of a person's attribute, and it says true or false. For five users "
        "it says true to what is true; for the sixth, mara, to the true value plus one. A quarter "
        "of the claims are true, a quarter are one too many, half are neither. Her name anywhere "
        "else must do nothing. Follows the quirky language models of Mallen et al. (arXiv "
        "2312.01037); leaves out natural language and any motive. Plain questions about the "
        "values come first and go along; truth-first supervision, an early-exit loss on the truth "
        "before the last block, makes it know the truth while it lies."
    ),
)
