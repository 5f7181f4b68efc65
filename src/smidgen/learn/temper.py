"""One exponent on scores that say too much: `softmax(fixed + t * scores)`, t by left-out log loss.

Without a prior the loss is convex in t, so its slope has one root, found by bisection.
"""

import numpy as np

from smidgen.learn.base import softmax


def temper(
    fixed: np.ndarray,
    scores: np.ndarray,
    codes: np.ndarray,
    low: float = 1e-4,
    high: float = 2.0,
    spread: float = np.inf,
) -> float:
    """The exponent in [low, high] that minimises the log loss of `softmax(fixed + t * scores)` for `codes`.

    Args:
        fixed: `[C]`, e.g. the log class frequencies. scores: `[m, C]`, left-out. codes: `[m]` true classes.
        spread: of log t around 0 before the data speaks (a normal prior); infinite: none.
    """
    own = scores[np.arange(len(codes)), codes]

    def slope(log_t: float) -> float:  # of the summed loss and the prior, by log t
        t = float(np.exp(log_t))
        return t * float(((softmax(fixed + t * scores) * scores).sum(1) - own).sum()) + log_t / spread**2

    a, b = float(np.log(low)), float(np.log(high))
    if slope(a) >= 0:
        return low
    if slope(b) <= 0:
        return high
    for _ in range(40):
        middle = (a + b) / 2
        a, b = (a, middle) if slope(middle) > 0 else (middle, b)
    return float(np.exp((a + b) / 2))


def tempered_loss(fixed: np.ndarray, scores: np.ndarray, codes: np.ndarray, t: float) -> float:
    """Mean log loss at exponent t."""
    P = softmax(fixed + t * scores)
    return float(-np.log(np.maximum(P[np.arange(len(codes)), codes], 1e-12)).mean())
