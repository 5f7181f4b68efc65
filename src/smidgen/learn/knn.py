"""Nearest neighbours: k and the pull to the average are chosen by exact leave-one-out, all k from one sorted table.

Neighbour j at distance d_j weighs `1 - d_j^2 / d_(k+1)^2` (Epanechnikov's kernel over the first neighbour left out;
Hechenbichler & Schliep, 2004), so nothing jumps when k or a distance moves a little. The weighted votes are added to
`pull` votes for the class frequencies (for a number: for the mean), so that no probability is 0.
"""

from dataclasses import dataclass

import numpy as np

from smidgen.kit.errors import bad
from smidgen.learn.base import ClassifierHead, RegressorHead

CARD = {
    "title": "Nearest neighbours",
    "tldr": "As the most similar rows were, so will this one be; how many count is chosen by leave-one-out.",
    "tasks": ("classification", "regression"),
    "features": "linear",
    "max_rows": 8000,
    "bytes_per_pair": 24.0,
    "seconds": (0.005, 0.002, 0.002),
    "bytes_per_row": 8.0,
}

KS = (1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 28, 37, 50, 65)
PULLS = (0.25, 0.5, 1.0, 2.0, 4.0)
MAX_JUDGED = 2000  # rows whose left-out loss is looked at
_CHUNK = 500


@dataclass(frozen=True, kw_only=True)
class KNNConfig:
    """Settings of nearest neighbours. None: chosen by leave-one-out."""

    k: int | None = None  # neighbours, >= 1
    pull: float | None = None  # votes for the average, > 0

    def __post_init__(self):
        if self.k is not None and self.k < 1:
            raise bad("k", ">= 1", self.k)
        if self.pull is not None and not self.pull > 0:
            raise bad("pull", "> 0", self.pull)


class _Neighbours:
    """The part that classifier and regressor share: rows, and votes `[n, V]` of each."""

    def _choose(self, X: np.ndarray, votes: np.ndarray, config: KNNConfig, seed: int) -> None:
        n = len(X)
        self.rows_, self.votes_ = np.array(X, order="C"), votes
        top = max(n - 2, 1)  # left out, n - 1 are there, and one of them bounds the kernel
        ks = [config.k] if config.k else [k for k in KS if k <= top] or [1]
        pulls = [config.pull] if config.pull else list(PULLS)
        self.k_, self.pull_ = int(ks[0]), float(pulls[-1])
        if len(ks) * len(pulls) == 1 or n < 3:
            return
        judged = np.sort(np.random.default_rng(seed).permutation(n)[:MAX_JUDGED])
        sums = np.zeros((len(ks), len(pulls)))
        for part in np.array_split(judged, max(1, len(judged) // _CHUNK)):
            near, far = nearest(X[part], X, max(ks) + 1, leave=part)
            average = self._left_out_average(part)
            for i, (total, weight) in enumerate(_kernel_sums(votes[near], far, ks)):
                for j, pull in enumerate(pulls):
                    guess = (total + pull * average) / (weight + pull)[:, None]
                    sums[i, j] += self._losses(guess, votes[part]).sum()
        i, j = np.unravel_index(int(np.argmin(sums)), sums.shape)
        self.k_, self.pull_ = int(ks[i]), float(pulls[j])
        self.loss_ = float(sums[i, j] / len(judged))

    def _guess(self, X: np.ndarray) -> np.ndarray:
        out = np.empty((len(X), self.votes_.shape[1]))
        for start in range(0, len(X), _CHUNK):
            near, far = nearest(X[start : start + _CHUNK], self.rows_, self.k_ + 1)
            [(total, weight)] = _kernel_sums(self.votes_[near], far, [self.k_])
            out[start : start + _CHUNK] = (total + self.pull_ * self._average()) / (weight + self.pull_)[:, None]
        return out

    def _average(self) -> np.ndarray:
        raise NotImplementedError

    def _left_out_average(self, part: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _losses(self, guess: np.ndarray, truth: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class KNNClassifier(_Neighbours, ClassifierHead):
    """Attributes: k_, pull_: as chosen; rows_ `[n, d]`, votes_ `[n, C]`: the training rows."""

    Config = KNNConfig

    def __init__(self, k: int | None = None, pull: float | None = None, random_state: int = 0):
        self.k = k
        self.pull = pull
        self.random_state = random_state

    def _fit(self, X: np.ndarray, codes: np.ndarray) -> None:
        self._choose(X, np.eye(len(self.classes_))[codes], self._config, self.random_state)

    def _proba(self, X: np.ndarray) -> np.ndarray:
        P = self._guess(X)
        return P / P.sum(1, keepdims=True)

    def _average(self) -> np.ndarray:
        return (self.votes_.sum(0) + 1) / (len(self.votes_) + self.votes_.shape[1])

    def _left_out_average(self, part: np.ndarray) -> np.ndarray:
        return (self.votes_.sum(0) - self.votes_[part] + 1) / (len(self.votes_) - 1 + self.votes_.shape[1])

    def _losses(self, guess: np.ndarray, truth: np.ndarray) -> np.ndarray:
        return -np.log((guess * truth).sum(1) / guess.sum(1))


class KNNRegressor(_Neighbours, RegressorHead):
    """Attributes: k_, pull_: as chosen; rows_ `[n, d]`, votes_ `[n, 1]`: the training rows and values."""

    Config = KNNConfig

    def __init__(self, k: int | None = None, pull: float | None = None, random_state: int = 0):
        self.k = k
        self.pull = pull
        self.random_state = random_state

    def _fit(self, X: np.ndarray, y: np.ndarray) -> None:
        self._choose(X, y[:, None].copy(), self._config, self.random_state)

    def _value(self, X: np.ndarray) -> np.ndarray:
        return self._guess(X)[:, 0]

    def _average(self) -> np.ndarray:
        return self.votes_.mean(0)

    def _left_out_average(self, part: np.ndarray) -> np.ndarray:
        return (self.votes_.sum(0) - self.votes_[part]) / (len(self.votes_) - 1)

    def _losses(self, guess: np.ndarray, truth: np.ndarray) -> np.ndarray:
        return ((guess - truth) ** 2).sum(1)


def nearest(Q: np.ndarray, X: np.ndarray, count: int, leave: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The `count` rows of X nearest to each row of Q: (numbers, squared distances), nearest first.

    Args:
        leave: `[len(Q)]`: a row of X that each query must not find (itself), or None.
    """
    far = (Q**2).sum(1)[:, None] - 2 * (Q @ X.T) + (X**2).sum(1)
    np.maximum(far, 0, out=far)
    usable = len(X)
    if leave is not None:
        far[np.arange(len(Q)), leave] = np.inf
        usable -= 1
    count = min(count, usable)
    near = np.tile(np.arange(len(X)), (len(Q), 1))
    if count < len(X):
        near = np.argpartition(far, count - 1, axis=1)[:, :count]
    order = np.argsort(np.take_along_axis(far, near, 1), axis=1, kind="stable")
    near = np.take_along_axis(near, order, 1)
    return near, np.take_along_axis(far, near, 1)


def _kernel_sums(votes: np.ndarray, far: np.ndarray, ks: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each k: (weighted sum of votes `[q, V]`, sum of weights `[q]`); votes `[q, m, V]`, far `[q, m]` sorted."""
    out = []
    for k in ks:
        m = min(k, far.shape[1])
        # where no further row bounds the kernel, the last one does, at half its weight
        bound = far[:, m] if far.shape[1] > m else 2 * far[:, -1]
        weight = np.where(bound[:, None] > 0, 1 - far[:, :m] / np.where(bound > 0, bound, 1.0)[:, None], 1.0)
        out.append((np.einsum("qm,qmv->qv", weight, votes[:, :m]), weight.sum(1)))
    return out


CLASSIFIER = KNNClassifier
REGRESSOR = KNNRegressor
