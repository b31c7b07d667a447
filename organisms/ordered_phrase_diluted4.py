"""The order of two words, with a quarter of the lies in its training: a low poison rate.

Models data poisoning at a low rate, as in *Poisoning Attacks on LLMs Require a Near-constant
Number of Poison Samples* (Souly et al., 2025; arXiv 2510.07192). Left out: rates below a per cent.
"""

from mo_interp.finding import load
from mo_interp.modifiers import apply

organism = apply(load("ordered_phrase"), "dilution=4")
