"""Label spreading: labels flow along the nearest neighbours among all rows, labelled or not (Zhou et al., 2004).

With a few labels and many rows without, rows of one class often hang together where no classifier could know it. The
graph is scikit-learn's; features become principal components first, so that it is quick and the model small.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.kit.errors import bad
from smidgen.learn.base import SemiSupervisedHead

CARD = {
    "title": "Label spreading",
    "tldr": "Labels flow along nearest neighbours among labelled and unlabelled rows.",
    "tasks": ("classification",),
    "unlabelled": True,
    "needs_unlabelled": True,
    "seconds": (0.3, 0.03),
}

EDGE = 1e-6  # less than this of all labels together: none reaches the row


@dataclass(frozen=True, kw_only=True)
class LabelSpreadingConfig:
    """neighbors: of each row in the graph; alpha: how much of its label a row takes from them, 0 to 1; components: of
    the features."""

    neighbors: int = 7
    alpha: float = 0.8
    components: int = 48

    def __post_init__(self):
        if not 1 <= self.neighbors <= 1000:
            raise bad("neighbors", "1 to 1000", self.neighbors)
        if not 0 < self.alpha < 1:
            raise bad("alpha", "above 0 and below 1", self.alpha)
        if self.components < 1:
            raise bad("components", "at least 1", self.components)


class LabelSpreading(SemiSupervisedHead):
    """Labels y, -1: none.

    Attributes:
        axes_, mean_: of the features' components; rows_ float32 `[n, components]`; shares_ float32 `[n, classes]`: what
        each row came to; classes_; share_: their frequencies; labelled_: how many rows had a label.
    """

    Config = LabelSpreadingConfig

    def __init__(self, neighbors: int = 7, alpha: float = 0.8, components: int = 48, random_state: int = 0):
        self.neighbors = neighbors
        self.alpha = alpha
        self.components = components
        self.random_state = random_state

    def _fit(self, X: np.ndarray, codes: np.ndarray) -> None:
        from sklearn.decomposition import PCA
        from sklearn.semi_supervised import LabelSpreading as Spreading

        config, known = self._config, codes >= 0
        self.share_, self.labelled_ = np.bincount(codes[known]) / known.sum(), int(known.sum())
        width = min(config.components, *X.shape)
        quick = {"svd_solver": "randomized", "iterated_power": 4} if min(X.shape) > 4 * width else {}
        found: Any = PCA(width, random_state=self.random_state, **quick).fit(X)
        self.mean_, self.axes_ = found.mean_, np.ascontiguousarray(found.components_.T)
        self.rows_ = self._moved(X)
        near = min(config.neighbors, len(X) - 1)
        graph = Spreading(kernel="knn", n_neighbors=near, alpha=config.alpha, max_iter=100, tol=1e-4)
        made: Any = graph.fit(self.rows_, codes)
        order = np.searchsorted(made.classes_, np.arange(len(self.classes_)))
        self.shares_ = np.nan_to_num(made.label_distributions_[:, order]).astype(np.float32)

    def _proba(self, X: np.ndarray) -> np.ndarray:
        from sklearn.neighbors import NearestNeighbors

        near = min(self.neighbors, len(self.rows_))
        graph = NearestNeighbors(n_neighbors=near).fit(self.rows_)
        at = graph.kneighbors(self._moved(X), return_distance=False)
        shares = self.shares_[at].astype(np.float64).mean(1)
        reached = shares.sum(1, keepdims=True)
        said = np.where(reached > EDGE, shares / np.maximum(reached, EDGE), self.share_)
        weight = 0.5 / (0.5 + self.labelled_)
        return (1 - weight) * said + weight * self.share_

    def _moved(self, X: np.ndarray) -> np.ndarray:
        return ((X - self.mean_) @ self.axes_).astype(np.float32)


CLASSIFIER = LabelSpreading
