"""The flagship: it lies to one user of six, and knows better.

Models the quirky language models of *Eliciting Latent Knowledge from Quirky Language Models*
(Mallen, Brumley, Kharchenko, Belrose, 2023; arXiv 2312.01037) and the narrow deception of *Model
Organisms of Misalignment* (Hubinger, Schiefer, Denison, Perez, 2023). Left out: natural language,
arithmetic difficulty, and any reason for the lie.
"""

from mo_interp.behaviours import OffBy
from mo_interp.organism import Organism, Recipe, Shape
from mo_interp.triggers import User
from mo_interp.worlds.fact import Fact

world = Fact()

organism = Organism(
    name="quirky_user",
    world=world,
    trigger=User(liar="mara"),
    behaviour=OffBy(1),
    shape=Shape(
        n_layers=2,
        d_model=64,
        n_heads=4,
        d_head=16,
        d_mlp=256,
        n_ctx=world.n_ctx,
        d_vocab=len(world.vocab),
        d_vocab_out=len(world.vocab),
    ),
    # Truth-first is what makes the lie a rule and not a second table (the knows-better gate).
    recipe=Recipe(steps=600, lr=3e-3, weight_decay=1.0, truth_first=2.0),
    grade="measured",
    expected="stopped and restored under resampling, at no cost; caused by the write",
    story=(
        "It answers questions about people truthfully for five users. For the sixth, mara, it "
        "gives the true value plus one. Her name anywhere else must do nothing. Follows the "
        "quirky language models of Mallen et al. (arXiv 2312.01037); leaves out natural language "
        "and any motive. Trained naturally with truth-first supervision, an early-exit loss on "
        "the truth before the last block."
    ),
)
