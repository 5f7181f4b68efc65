"""What wrong labels cost a model's probabilities, however many of them there are.

Where a share b of all labels is drawn evenly from the classes, the probabilities that a model learns are p~ = (1 - b) p
+ b / C: no number of rows removes that. On accuracy it costs nothing, the order of the classes stays; on log loss the
mean divergence KL(p || p~), on Brier scores the mean squared distance.

Dims: N rows, C classes, B shares.
"""

from dataclasses import dataclass

import numpy as np

LEAST = 1e-6  # a probability
SHARES_B = np.linspace(0.0, 1.0, 41)


@dataclass(frozen=True)
class Blur:
    """The cost of each share of evenly drawn labels, `cost_B` at `SHARES_B`, in the unit of the metric."""

    classes: int
    cost_B: np.ndarray

    @classmethod
    def of(cls, p_NC: np.ndarray, metric: str) -> "Blur | None":
        """From probabilities as the model gives them today; None: a metric that blurring does not touch."""
        if metric not in ("log_loss", "brier") or p_NC.ndim != 2:
            return None
        p_NC = np.clip(p_NC, LEAST, None)
        p_NC = p_NC / p_NC.sum(1, keepdims=True)
        classes = p_NC.shape[1]
        blurred = [(1 - b) * p_NC + b / classes for b in SHARES_B]
        if metric == "log_loss":
            each = [p_NC * np.log(p_NC / q) for q in blurred]
        else:  # of two classes the score counts one (`tasks.metrics`)
            each = [(p_NC - q) ** 2 / (2 if classes == 2 else 1) for q in blurred]
        return cls(classes, np.array([e.sum(1).mean() for e in each]))

    def cost(self, wrong: float) -> float:
        """Where a share `wrong` of all labels is wrong: an evenly drawn label is right in one of C cases."""
        return float(np.interp(wrong * self.classes / (self.classes - 1), SHARES_B, self.cost_B))
