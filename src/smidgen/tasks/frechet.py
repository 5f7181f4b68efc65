"""How far made samples are from real ones: the Frechet distance of their features, each taken as normal (Dowson and
Landau, 1982; Heusel et al., 2017, arXiv 1706.08500, for images).

    |mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))

With the features of the Inception network this is the FID; with those of a small classifier of one's own it compares
models of one data set, and with nothing else. It is too large for few samples, by about the width of the features
over their number: compare only values of equal numbers of samples.

Dims: N samples, D width of the features.
"""

import numpy as np

from smidgen.kit.errors import bad


def frechet_distance(a_ND: np.ndarray, b_ND: np.ndarray) -> float:
    """Squared Frechet distance of two sets of features, which may differ in number; 0 when alike.

    The root is found from triangular factors of the centred features, without squaring them: exact to rounding, and
    defined with fewer samples than columns too.

    Raises:
        BadInput: not two tables of equal width, fewer than 2 rows, or numbers that are not finite.
    """
    a_ND, b_ND = np.asarray(a_ND, np.float64), np.asarray(b_ND, np.float64)
    for name, x_ND in (("first features", a_ND), ("second features", b_ND)):
        if x_ND.ndim != 2 or len(x_ND) < 2:
            raise bad(name, "a table of at least 2 rows", str(x_ND.shape))
        if not np.isfinite(x_ND).all():
            raise bad(name, "finite numbers", f"{int((~np.isfinite(x_ND)).sum())} that are not")
    if a_ND.shape[1] != b_ND.shape[1]:
        raise bad("width of the second features", str(a_ND.shape[1]), b_ND.shape[1])
    mean = a_ND.mean(0) - b_ND.mean(0)
    A, B = _factor(a_ND), _factor(b_ND)  # C = A^T A
    # C_a C_b has the eigenvalues of (A B^T)(A B^T)^T: the trace of its root is the sum of singular values
    shared = np.linalg.svd(A @ B.T, compute_uv=False).sum()
    return max(0.0, float(mean @ mean + (A**2).sum() + (B**2).sum() - 2 * shared))


def _factor(x_ND: np.ndarray) -> np.ndarray:
    """Triangular R with R^T R the covariance `[D, D]`."""
    return np.asarray(np.linalg.qr((x_ND - x_ND.mean(0)) / np.sqrt(len(x_ND) - 1), mode="r"))
