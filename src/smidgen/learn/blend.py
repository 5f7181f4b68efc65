"""Members' predictions put together: tempered, weighted, summed."""

import numpy as np

FLOOR = float(np.finfo(np.float32).eps)


def tempered(p: np.ndarray, log_t: float) -> np.ndarray:
    """Probabilities p^(1/T), normalised over the last axis; log_t = 0 leaves values as they are."""
    if log_t == 0:
        return p
    powered = np.maximum(p, FLOOR) ** np.exp(-log_t)
    return powered / powered.sum(-1, keepdims=True)


def blend(predictions: list[np.ndarray], weights: list[float], log_t: list[float]) -> np.ndarray:
    """Weighted sum of the members' tempered predictions, each `[n, C]` probabilities or `[n]` values; weights sum
    to 1.
    """
    out = weights[0] * tempered(predictions[0], log_t[0])
    for p, w, t in zip(predictions[1:], weights[1:], log_t[1:], strict=True):
        out += w * tempered(p, t)
    return out
