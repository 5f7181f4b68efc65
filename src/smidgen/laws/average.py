"""Several forms fitted to the same points, averaged: which formula holds is part of the doubt.

Dims: F forms, K draws, R rows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import bad
from smidgen.laws.law import Law
from smidgen.laws.points import Numbers, matrix


@dataclass(frozen=True)
class Average:
    """`weights`: of the laws, sum 1."""

    laws: tuple[Law, ...]
    weights: tuple[float, ...]

    def predict(self, x: Mapping[str, Numbers | float], *, anyway: bool = False) -> np.ndarray:
        """Geometric mean of the laws' predictions `[R]`. Raises TooFar: where a law that counts may not be asked."""
        logs = [
            w * np.log(law.predict(x, anyway=anyway or w < 0.01))
            for law, w in zip(self.laws, self.weights, strict=True)
        ]
        return np.exp(np.sum(logs, 0))

    def interval(
        self, x: Mapping[str, Numbers | float], level: float = 0.9, *, anyway: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the central interval of the mixture of all laws' draws. Raises TooFar: as `predict`."""
        parts = [
            law.log_draws(matrix(law.form.inputs, x), anyway=anyway or w < 0.01)[: max(1, round(w * len(law.draws_KP)))]
            for law, w in zip(self.laws, self.weights, strict=True)
            if w >= 1e-3 and law.draws_KP is not None
        ]
        if not parts:
            raise bad("laws to average", "laws with draws", "none", "Call laplace, bootstrap or posterior on each.")
        log_KR = np.concatenate(parts)
        low, high = np.quantile(log_KR, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return np.exp(low), np.exp(high)


def average(laws: Sequence[Law]) -> Average:
    """Weights by the Bayesian information criterion (Schwarz, 1978): cost + P/2 log R, P free parameters.

    All must be fitted to the same points under the same sd: take the sd of the best fit where it was not known.
    Raises:
        BadInput: no law, or laws of different points.
    """
    if not laws:
        raise bad("laws to average", "at least 1", 0)
    first = laws[0].points
    for law in laws[1:]:
        if len(law.points) != len(first) or not np.array_equal(law.points.y_R, first.y_R):
            raise bad("laws to average", "laws of the same points", "different points")
    sd = min(law.sd for law in laws)
    rows = len(first)
    scores = []
    for law in laws:
        free = sum(p.prior is None for p in law.form.parameters)
        own = law.cost if first.sd_R is not None else law.cost * (law.sd / sd) ** 2
        scores.append(own + 0.5 * free * math.log(rows))
    weights = np.exp(np.min(scores) - np.array(scores))
    return Average(tuple(laws), tuple((weights / weights.sum()).tolist()))
