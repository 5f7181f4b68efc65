"""A model in which all four regimes can be measured exactly: a linear teacher on a pool of random features, a student
that sees some of them (Bahri et al., 2021, arXiv 2102.06701).

Dims: N rows, D training rows, S features of the pool, P of the student, L ridges.
"""

from collections.abc import Sequence

import numpy as np

from smidgen.kit.errors import bad

RIDGE = 1e-9  # of the mean eigenvalue


class RandomFeatures:
    """Rectified random projections of real inputs, a teacher that is linear in all of them, students with a few.

    Args:
        X: inputs `[N, D]`, the last `held` rows of which losses are measured on. pool: S.
    Raises:
        BadInput: rows that do not leave any to train on.
    """

    def __init__(self, X: np.ndarray, pool: int, seed: int, held: int = 1000) -> None:
        if not 0 < held < len(X):
            raise bad("rows held out", f"1 to {len(X) - 1}", held)
        rng = np.random.default_rng(seed)
        X = np.asarray(X, float)
        weights = rng.normal(size=(X.shape[1], pool)) / np.sqrt(X.shape[1])
        bias = rng.normal(size=pool) * 0.1
        features = np.maximum(X @ weights + bias, 0.0)
        features = (features - features.mean(0)) / np.sqrt(pool)
        order = rng.permutation(len(X))
        self.train_NS, self.test_NS = features[order[:-held]], features[order[-held:]]
        teacher = rng.normal(size=pool)
        self.y_N, self.test_y = self.train_NS @ teacher, self.test_NS @ teacher
        self.pool, self.seed = pool, seed
        scale = float(np.mean(self.test_y**2))
        self.y_N, self.test_y = self.y_N / np.sqrt(scale), self.test_y / np.sqrt(scale)

    def loss(self, rows: int, width: int, ridge: float = RIDGE, draws: int = 1) -> float:
        """Mean squared error on held rows, in units of the target's variance; mean over draws of rows and features.

        Draw i of fewer rows or features is the beginning of draw i of more: curves along either are paired.
        """
        return float(self.losses(rows, width, [ridge], draws)[0])

    def losses(self, rows: int, width: int, ridges: Sequence[float], draws: int = 1) -> np.ndarray:
        """For several ridges `[L]`, in units of the mean eigenvalue, from one decomposition a draw.

        Raises:
            BadInput: more rows or features than there are.
        """
        for name, value, most in (("rows", rows, len(self.train_NS)), ("width", width, self.pool)):
            if not 1 <= value <= most:
                raise bad(name, f"1 to {most}", value)
        out = np.zeros(len(ridges))
        for draw in range(draws):
            rng = np.random.default_rng([self.seed, 1, draw])
            chosen, seen = rng.permutation(len(self.train_NS))[:rows], rng.permutation(self.pool)[:width]
            A, y = self.train_NS[np.ix_(chosen, seen)], self.y_N[chosen]
            U, s, Vt = np.linalg.svd(A, full_matrices=False)
            unit, test = float(np.mean(s**2)), self.test_NS[:, seen] @ Vt.T
            for i, ridge in enumerate(ridges):
                weights = s / (s**2 + ridge * unit) * (U.T @ y)
                out[i] += float(np.mean((test @ weights - self.test_y) ** 2)) / draws
        return out

    def kernel(self, rows: int) -> np.ndarray:
        """Of all features, on the first rows `[D, D]`."""
        return self.train_NS[:rows] @ self.train_NS[:rows].T
