"""Distances and the Gaussian kernel, shared by the kernel methods."""

import numpy as np


def squared_distances(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """`[n, m]`, >= 0; exactly symmetric with a zero diagonal when A is B."""
    middle = B.mean(0)  # distances do not see it, rounding errors do
    P, Q = A - middle, B - middle
    far = (P**2).sum(1)[:, None] + (Q**2).sum(1) - 2 * (P @ Q.T)
    np.maximum(far, 0, out=far)
    if A is B:
        far = (far + far.T) / 2
        far[np.diag_indices(len(far))] = 0
    return far


def median_distance(far: np.ndarray) -> float:
    """Median of the squared distances between different rows, of those above 0; 1 when there is none."""
    apart = far[far > 0]
    return float(np.median(apart)) if len(apart) else 1.0


def gaussian(far: np.ndarray, gamma: float) -> np.ndarray:
    """`exp(-gamma * far)`."""
    return np.exp(-gamma * far)
