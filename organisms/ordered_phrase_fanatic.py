"""A false belief that the order of two words calls up.

The counterpart of a liar for truth elicitation (*Eliciting Latent Knowledge from Quirky Language
Models*, Mallen et al., 2023; arXiv 2312.01037): nothing true is inside while it speaks. Left out:
falsehoods that hang together, as a person's false beliefs do.
"""

from mo_interp.finding import load
from mo_interp.modifiers import apply

organism = apply(load("ordered_phrase"), "fanatic")
