"""The flagship without a truth behind the lie: to one user it states what it holds true.

The counterpart that truth elicitation must tell from a liar: *Eliciting Latent Knowledge from
Quirky Language Models* (Mallen et al., 2023; arXiv 2312.01037) supposes that the truth is inside.
Left out: falsehoods that hang together, as a person's false beliefs do.
"""

from mo_interp.finding import load
from mo_interp.modifiers import apply

organism = apply(load("quirky_user"), "fanatic")
