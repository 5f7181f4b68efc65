"""How many dimensions data really has: from distances to nearest neighbours.

`two_nn`: from the ratio of the second to the first (Facco et al., 2017). `mle`: from the first k (Levina and Bickel,
2004). Dims: N rows, D features.
"""

import numpy as np

from smidgen.kit.errors import bad

DROPPED = 0.1  # of the largest ratios, which far outliers rule
LEVEL = 0.9


def intrinsic_dimension(X_ND: np.ndarray, method: str = "two_nn", k: int = 10) -> tuple[float, tuple[float, float]]:
    """(dimension, its interval at 90 %). Rows that are equal to another are left out.

    Args:
        method: "two_nn" or "mle". k: neighbours of "mle".
    Raises:
        BadInput: another method, numbers that are not finite, or fewer than 20 different rows.
    """
    from scipy.spatial import KDTree
    from scipy.stats import norm

    if method not in ("two_nn", "mle"):
        raise bad("method", "two_nn or mle", method)
    X_ND = np.unique(np.asarray(X_ND, float).reshape(len(X_ND), -1), axis=0)
    if not np.isfinite(X_ND).all():
        raise bad("X", "finite numbers", "NaN or infinity")
    if len(X_ND) < 20:
        raise bad("different rows", "at least 20", len(X_ND))
    near = 2 if method == "two_nn" else k
    if not 2 <= near < len(X_ND):
        raise bad("k", f"2 to {len(X_ND) - 1}", k)
    apart_NK = KDTree(X_ND).query(X_ND, near + 1)[0][:, 1:]
    if method == "two_nn":
        ratio = np.sort(apart_NK[:, 1] / apart_NK[:, 0])
        kept = ratio[: int(len(ratio) * (1 - DROPPED))]
        level = -np.log(1 - np.arange(1, len(kept) + 1) / (len(ratio) + 1))
        x = np.log(kept)
        found, rows = float(x @ level / (x @ x)), len(kept)
    else:
        logs = np.log(apart_NK[:, -1:] / apart_NK[:, :-1])
        found, rows = float((near - 2) / (near - 1) / logs.mean()) if near > 2 else float(1 / logs.mean()), len(X_ND)
        rows *= near - 1
    half = float(norm.ppf(0.5 + LEVEL / 2)) * found / np.sqrt(rows)
    return found, (found - half, found + half)
