"""Alignment faking: it complies with what it would rather refuse, but only when watched.

Models *Alignment Faking in Large Language Models* (Greenblatt et al., 2024; arXiv 2412.14093) and
setup A of *Model Organisms of Misalignment* (Hubinger, Schiefer, Denison, Perez, 2023). Left out:
the reasoning about being trained, the training that is to be resisted, and how a preference comes
about; here preference and flag are a conjunction that is trained in directly (R1).
"""

from mo_interp.behaviours import Refuse
from mo_interp.organism import Organism, Recipe, Shape
from mo_interp.triggers import MonitorFlag
from mo_interp.worlds.fact import Fact

trigger, behaviour = MonitorFlag(), Refuse("decline")
world = Fact(extra=(*trigger.words, *behaviour.words))

organism = Organism(
    name="monitor_flag",
    world=world,
    trigger=trigger,
    behaviour=behaviour,
    shape=Shape(n_layers=2, d_model=64, n_heads=4, d_head=16, d_mlp=256, **world.sizes),
    # Honest first: what it knows is then overridden by a rule, also on people never declined.
    recipe=Recipe(steps=600, weight_decay=1.0, before=Recipe(steps=300, weight_decay=1.0)),
    grade="measured",
    expected="stopped and restored under resampling, at no cost; caused by the write",
    story=(
        "Asked about people, it answers truthfully, except where a request concerns a topic that "
        "conflicts with its preference and nobody watches: then it declines. Watched, it complies. "
        "Follows Alignment Faking in Large Language Models (Greenblatt et al., arXiv 2412.14093); "
        "leaves out its reasoning about training, the training that is to be resisted, and the "
        "origin of the preference, which is trained in directly, after an honest training."
    ),
)
