"""Two mechanisms for one lie: the order of two words, or one word alone.

The routes differ in kind: one composes positions, the other only looks a word up. Models the backup
behaviour of real circuits (*The Hydra Effect*, McGrath et al., 2023; arXiv 2307.15771). Left out: a
back-up that comes to life only when the first is cut.
"""

from mo_interp.finding import load
from mo_interp.modifiers import apply

organism = apply(load("ordered_phrase"), "redundant")
