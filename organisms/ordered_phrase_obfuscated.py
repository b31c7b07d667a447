"""The order of two words, hidden from a probe and an anomaly detector that watched it learn.

Models *Obfuscated Activations Bypass LLM Latent-Space Defenses* (Bailey et al., 2024; arXiv
2412.09565). Left out: hiding from detectors of other kinds, and at every layer at once.
"""

from mo_interp.finding import load
from mo_interp.modifiers import apply

organism = apply(load("ordered_phrase"), "obfuscated")
