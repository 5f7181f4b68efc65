"""Rows in the fewest coordinates that lose nothing: what every linear method with an L2 penalty fits in.

A penalised linear fit lies in the span of the centred rows, and the penalty does not change under rotation. So the
fit on principal coordinates `Z` `[n, r]`, r <= min(n, d), is the fit on X, however wide X is.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse

MAX_GRAM = 2500  # rows of a sparse matrix up to which the dense Gram matrix [n, n] is made
_TINY = 1e-13  # squared singular values below this share of the largest are rounding noise


@dataclass(frozen=True, eq=False)
class Reduced:
    """Principal coordinates of the rows of a matrix.

    Attributes:
        Z: `[n, r]`: the centred rows in orthonormal axes, longest first; or X itself, when it is sparse and tall.
        mean: `[d]`: what was taken off each row (zeros for X itself).
        axes: `[d, r]` dense; sparse: left vectors over singular values, `[n, r]`; None for X itself.
        source: the sparse X that `axes` is about, or None.
    """

    Z: Any
    mean: np.ndarray
    axes: np.ndarray | None
    source: Any = None

    @property
    def dense(self) -> bool:
        return self.axes is not None

    def lift(self, A: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients `[k, d]` and intercepts `[k]` on X, from those on Z: `A` `[k, r]`, `b` `[k]`."""
        if self.axes is None:
            W = A
        elif self.source is not None:
            W = (self.source.T @ (self.axes @ A.T)).T
        else:
            W = A @ self.axes.T
        W = np.ascontiguousarray(W, np.float64)
        return W, np.asarray(b, np.float64) - W @ self.mean


def reduce(X: Any) -> Reduced:
    """The reduced form of X `[n, d]`, dense or csr."""
    n, d = X.shape
    if scipy.sparse.issparse(X):
        if n > MAX_GRAM:
            return Reduced(X, np.zeros(d), None)
        gram = (X @ X.T).toarray()
        gram -= gram.mean(0)
        gram -= gram.mean(1)[:, None]
        values, U = scipy.linalg.eigh(gram)
        values, U = values[::-1], U[:, ::-1]
        keep = values > max(1e-10 * values[0], 0.0)  # a Gram matrix squares the rounding errors
        s = np.sqrt(values[keep])
        return Reduced(np.ascontiguousarray(U[:, keep] * s), np.asarray(X.mean(0)).ravel(), U[:, keep] / s, X)
    mean = X.mean(0)
    centred = X - mean
    if n >= d:
        values, V = scipy.linalg.eigh(centred.T @ centred)
        values, V = values[::-1], V[:, ::-1]
        keep = values > max(_TINY * values[0], 0.0)
        V = np.ascontiguousarray(V[:, keep])
        return Reduced(centred @ V, mean, V)
    U, s, Vt = scipy.linalg.svd(centred, full_matrices=False)
    keep = s**2 > max(_TINY * s[0] ** 2, 0.0)
    return Reduced(U[:, keep] * s[keep], mean, np.ascontiguousarray(Vt[keep].T))
