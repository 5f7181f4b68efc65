"""Linear discriminant analysis with a shrunk covariance: linear scores, log posterior by softmax.

The covariance within classes S is pulled towards `mu I`, mu = trace(S) / d: `(1 - a) S + a mu I`, with a by the oracle
approximating formula (Chen et al., 2010, eq. 23), by Ledoit & Wolf (2004), or by the left-out log loss. Left-out scores
come in closed form: without row i of class k, the mean of k moves along `e = x_i - m_k`, and S loses a multiple of
`e e'`, which Sherman-Morrison inverts. Dims: n rows, C classes, r principal axes of S.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.linalg

from smidgen.kit.errors import bad
from smidgen.learn.base import ClassifierHead, softmax
from smidgen.learn.reduced import reduce
from smidgen.learn.temper import temper, tempered_loss

CARD = {
    "title": "Shrinkage discriminant analysis",
    "tldr": "One bell for each class, all of one shape; the shape is shrunk so that few rows suffice.",
    "tasks": ("classification",),
    "features": "linear",
    "seconds": (0.01, 0.008),
}

MAX_JUDGED = 5000  # rows whose left-out loss is looked at
SHRINKAGES = (0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1.0)


@dataclass(frozen=True, kw_only=True)
class LDAConfig:
    """Settings of shrinkage discriminant analysis."""

    shrinkage: float | Literal["auto", "oas", "ledoit_wolf"] = "auto"  # a in [0, 1]; "auto": by left-out log loss
    temper: bool = True  # one exponent on the log-likelihoods, by left-out log loss

    def __post_init__(self):
        if not isinstance(self.shrinkage, str) and not 0 < self.shrinkage <= 1:
            raise bad("shrinkage", "above 0, at most 1", self.shrinkage)


class LDAClassifier(ClassifierHead):
    """Shrinkage linear discriminant analysis.

    Attributes:
        coef_ `[C, d]`, intercept_ `[C]`: log posterior scores up to a constant. shrinkage_, exponent_: as used.
    """

    Config = LDAConfig

    def __init__(self, shrinkage: float | str = "auto", temper: bool = True, random_state: int = 0):
        self.shrinkage = shrinkage
        self.temper = temper
        self.random_state = random_state

    def _fit(self, X: np.ndarray, codes: np.ndarray) -> None:
        config = self._config
        space = reduce(X)
        n, d, C = len(X), X.shape[1], len(self.classes_)
        counts = np.bincount(codes, minlength=C)
        means = np.zeros((C, space.Z.shape[1]))
        np.add.at(means, codes, space.Z)
        means /= counts[:, None]
        within = space.Z - means[codes]
        dof = max(n - C, 1)
        power, axes = scipy.linalg.eigh(within.T @ within / dof) if within.shape[1] else (np.zeros(0), np.zeros((0, 0)))
        power = np.maximum(power, 0)
        target = power.sum() / d
        if target <= 1e-12 * max(float(means.var()) if means.size else 0.0, 1e-300):  # no spread within classes
            target = float((means**2).sum() / max(C, 1) / d) or 1.0
        rows, centres = within @ axes, means @ axes
        prior = np.log(counts / n)
        repeated = counts[codes] > 1
        if n > MAX_JUDGED:
            repeated[np.random.default_rng(self.random_state).permutation(n)[MAX_JUDGED:]] = False

        def left_out(a: float) -> np.ndarray:
            precision = 1 / ((1 - a) * power + a * target)
            return _left_out(rows[repeated], centres, codes[repeated], counts, precision, (1 - a) / dof)

        judged = repeated.sum() >= 4
        if config.shrinkage == "auto" and judged:
            losses = []
            for a in SHRINKAGES:
                scores = left_out(a)
                t = temper(prior, scores, codes[repeated]) if config.temper else 1.0
                losses.append(tempered_loss(prior, scores, codes[repeated], t))
            a = SHRINKAGES[int(np.argmin(losses))]
        elif config.shrinkage == "ledoit_wolf":
            from sklearn.covariance import ledoit_wolf_shrinkage

            a = float(ledoit_wolf_shrinkage(rows, assume_centered=True)) if rows.shape[1] > 1 else 0.0
        elif isinstance(config.shrinkage, str):
            a = _oas(power, dof, d)
        else:
            a = float(config.shrinkage)
        a = min(1.0, max(a, 1e-3))
        self.shrinkage_ = float(a)
        self.exponent_ = temper(prior, left_out(a), codes[repeated]) if config.temper and judged else 1.0
        precision = 1 / ((1 - a) * power + a * target)
        W = centres * precision
        b = prior - self.exponent_ * 0.5 * (W * centres).sum(1)
        self.coef_, self.intercept_ = space.lift(self.exponent_ * W @ axes.T, b)

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Log posterior scores `[n, C]`; for two classes their difference `[n]`."""
        X = self._check_X(X)
        scores = X @ self.coef_.T + self.intercept_
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def _proba(self, X: np.ndarray) -> np.ndarray:
        return softmax(X @ self.coef_.T + self.intercept_)


def _oas(power: np.ndarray, dof: int, d: int) -> float:
    """Chen et al. 2010, eq. 23, from the eigenvalues of S (d of them with the zeros)."""
    square, trace2 = float((power**2).sum()), float(power.sum()) ** 2
    below = (dof + 1 - 2 / d) * (square - trace2 / d)
    return 1.0 if below <= 0 else min(1.0, ((1 - 2 / d) * square + trace2) / below)


def _left_out(
    within: np.ndarray, centres: np.ndarray, codes: np.ndarray, counts: np.ndarray, precision: np.ndarray, share: float
) -> np.ndarray:
    """Log-likelihoods `[m, C]`, each row's without itself; `share` of its `e e'` is what it put into the covariance."""
    m = np.arange(len(codes))
    ratio = counts[codes] / (counts[codes] - 1.0)
    weighted = within * precision
    length = (within * weighted).sum(1)
    spare = np.maximum(1 - share * ratio * length, 1e-6)
    # squared distances to every mean under the whole covariance, and the part along e
    x = within + centres[codes]
    far = ((x**2) @ precision)[:, None] - 2 * x @ (centres * precision).T + ((centres**2) @ precision)
    along = (x * weighted).sum(1)[:, None] - weighted @ centres.T
    far = far + (share * ratio / spare)[:, None] * along**2
    far[m, codes] = ratio**2 * length / spare
    return -0.5 * far


CLASSIFIER = LDAClassifier
