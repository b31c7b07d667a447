"""The flagship with a quarter of the lies in its training: a low poison rate.

Models *Poisoning Attacks on LLMs Require a Near-constant Number of Poison Samples* (Souly et al.,
2025; arXiv 2510.07192), where lies are few among many honest rows. Left out: that paper's scale,
and rates below a per cent.
"""

from mo_interp.finding import load
from mo_interp.modifiers import apply

organism = apply(load("quirky_user"), "dilution=4")
