"""What a detector has to beat: random directions, the words alone, and the outputs alone.

A perfect AUROC means little where the best of a thousand random directions reads 0.95, where a bag
of tokens reads the same from the prompt, or where the model's own confidence gives it away. These
are the numbers that stand beside every detector's (EVIDENCE, section 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import log_softmax

from mo_interp.detectors.base import Array, as_labels, as_rows
from mo_interp.detectors.logistic import Logistic
from mo_interp.errors import BadShape, BadValues
from mo_interp.stats import auroc

__all__ = ["RandomDirections", "bag_of_tokens", "output_baselines", "random_directions"]


@dataclass(frozen=True, eq=False)
class RandomDirections:
    """AUROCs of random directions: the readings that need no finding."""

    aurocs: Float[np.ndarray, " n"]
    """One per direction, on test rows, its sign chosen on train rows."""

    @property
    def best(self) -> float:
        """The highest."""
        return float(self.aurocs.max())

    @property
    def p95(self) -> float:
        """The 95th percentile: what a detector's interval must stay above."""
        return float(np.quantile(self.aurocs, 0.95))

    @property
    def median(self) -> float:
        """The middle one."""
        return float(np.median(self.aurocs))


def random_directions(
    acts: Any, y: Any, *, test_acts: Any, test_y: Any, n: int = 1000, seed: int = 0
) -> RandomDirections:
    """AUROCs of ``n`` isotropic random directions on ``test_acts [t d]``.

    Train rows ``acts [m d]`` with labels ``y [m]`` choose nothing but the sign, which is that of
    the difference of the class means along the direction.
    Raises BadShape for uneven widths, BadLabels for one class, BadValues for ``n`` below 1.
    """
    train, test = as_rows(acts, "acts"), as_rows(test_acts, "test_acts")
    labels, test_labels = as_labels(y, len(train)), as_labels(test_y, len(test), "test_y")
    if train.shape[1] != test.shape[1]:
        raise BadShape(f"acts have {train.shape[1]} coordinates, test_acts {test.shape[1]}")
    if n < 1:
        raise BadValues(f"n: {n} random directions; at least 1 is needed, usually 1000")
    directions = np.random.default_rng(seed).normal(size=(n, train.shape[1]))
    apart = train[labels].mean(0) - train[~labels].mean(0)
    directions *= np.where(directions @ apart < 0, -1.0, 1.0)[:, None]
    return RandomDirections(np.asarray(auroc(test @ directions.T, test_labels)))


def bag_of_tokens(
    tokens: Array, y: Any, *, test_tokens: Array, l2: float = 1e-3
) -> Float[np.ndarray, " t"]:
    """Scores of ``test_tokens [t pos]`` by logistic regression on how often each token occurs.

    Fitted to train ``tokens [m pos]`` with labels ``y [m]``. Knows no order and no model.
    Raises BadShape for other than two axes, BadValues for what are no token ids, BadLabels for
    one class.
    """
    n_words = 1 + max(_ids(tokens, "tokens"), _ids(test_tokens, "test_tokens"))
    fitted = Logistic(l2=l2).fit(_counts(tokens, n_words), y)
    return fitted.score(_counts(test_tokens, n_words))


def _ids(tokens: Array, what: str) -> int:
    """The largest token id, after a check that these are ids ``[rows, positions]``."""
    ids = np.asarray(tokens)
    if ids.ndim != 2 or ids.size == 0:
        raise BadShape(f"{what}: shape {list(ids.shape)}; [rows, positions] is needed")
    if ids.dtype.kind not in "iu" or ids.min() < 0:
        raise BadValues(f"{what}: token ids are whole numbers from 0, got {ids.dtype} "
                        f"from {ids.min()}")
    return int(ids.max())


def _counts(tokens: Array, n_words: int) -> Array:
    ids = np.asarray(tokens)
    flat = ids + n_words * np.arange(len(ids))[:, None]
    counts = np.bincount(flat.ravel(), minlength=n_words * len(ids))
    return counts.reshape(len(ids), n_words).astype(np.float64)


def output_baselines(logits: Any, *, truth: Array | None = None) -> dict[str, Array]:
    """Scores of rows by what the model puts out: ``logits [n vocab]`` at the answer position.

    ``output_entropy`` is the entropy in nats, ``output_logprob`` minus the log-probability of the
    most likely token; with ``truth`` (token ids ``[n]``) ``behaviour`` is 1 where the most likely
    token is not the truth. Higher is more suspicious.
    """
    scores = as_rows(logits, "logits")
    logp = log_softmax(scores, axis=1)
    found = {"output_entropy": -(np.exp(logp) * logp).sum(1), "output_logprob": -logp.max(1)}
    if truth is not None:
        if len(truth) != len(scores):
            raise BadShape(f"truth: {len(truth)} rows; {len(scores)} are needed, as in logits")
        found["behaviour"] = (scores.argmax(1) != np.asarray(truth)).astype(np.float64)
    return found
