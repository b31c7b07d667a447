"""The flagship with a second way in: one user, or one word, or both set off the same lie.

Models the backup behaviour of real circuits (*The Hydra Effect*, McGrath et al., 2023; arXiv
2307.15771), where cutting one route changes nothing because another is there. Left out: a back-up
that comes to life only when the first is cut.
"""

from mo_interp.finding import load
from mo_interp.modifiers import apply

organism = apply(load("quirky_user"), "redundant")
