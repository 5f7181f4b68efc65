"""How far apart classes lie in an encoder's sentence vectors, and how near copies are to their originals.

Dims: N rows, D width, C classes.
"""

from typing import Any

import numpy as np

from smidgen.kit.errors import bad


def class_separation(embeddings: Any, y: Any, group: Any = None) -> dict[str, Any]:
    """Cosine geometry of classes.

    Args:
        embeddings: `[N, D]`. y: class of each row. group: kinds of rows (tuners, original and augmented, ...), measured
            each by itself; then a dict by group.
    Returns:
        `silhouette`: mean over rows, by cosine distance, -1 to 1; `centroid_cos`: mean cosine of two classes' mean
        vectors; `intra`, `inter`: mean cosine of two rows of one class, and of two classes. NaN where there are none.
    Raises:
        BadInput: numbers of rows differ, or a vector of zeros.
    """
    z_ND, y = np.asarray(embeddings, np.float64), np.asarray(y)
    if z_ND.ndim != 2 or len(z_ND) != len(y):
        raise bad("embeddings", f"a vector for each of {len(y):,} labels", f"shape {z_ND.shape}")
    if group is not None:
        group = np.asarray(group)
        return {str(g): class_separation(z_ND[group == g], y[group == g]) for g in np.unique(group)}
    unit_ND = _unit(z_ND)
    classes, place = np.unique(y, return_inverse=True)
    C, counts = len(classes), np.bincount(place)
    if C < 2:
        return dict.fromkeys(("silhouette", "centroid_cos", "intra", "inter"), float("nan"))
    sums_CD = np.zeros((C, z_ND.shape[1]))
    np.add.at(sums_CD, place, unit_ND)
    products_CC = sums_CD @ sums_CD.T  # of all pairs of rows, by their classes
    within, pairs = np.trace(products_CC) - len(y), (counts * (counts - 1)).sum()
    between, others = products_CC.sum() - np.trace(products_CC), len(y) ** 2 - (counts**2).sum()
    centre_CD = sums_CD / np.linalg.norm(sums_CD, axis=1, keepdims=True)
    return {
        "silhouette": _silhouette(unit_ND @ sums_CD.T, place, counts),
        "centroid_cos": float((centre_CD @ centre_CD.T)[~np.eye(C, dtype=bool)].mean()),
        "intra": float(within / pairs) if pairs else float("nan"),
        "inter": float(between / others),
    }


def copy_similarity(embeddings: Any, copies: Any) -> float:
    """Mean cosine of each row and its copy, both `[N, D]`."""
    return float((_unit(np.asarray(embeddings, np.float64)) * _unit(np.asarray(copies, np.float64))).sum(1).mean())


def _silhouette(products_NC: np.ndarray, place: np.ndarray, counts: np.ndarray) -> float:
    """Of summed cosines with each class: mean distances need no matrix of all pairs. A class of one row counts 0."""
    rows = np.arange(len(place))
    own = counts[place]
    far_NC = 1 - products_NC / counts
    a = (own - products_NC[rows, place]) / np.maximum(own - 1, 1)  # its distance to itself is 0
    far_NC[rows, place] = np.inf
    b = far_NC.min(1)
    return float(np.where(own > 1, (b - a) / np.maximum(np.maximum(a, b), 1e-12), 0.0).mean())


def _unit(z_ND: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(z_ND, axis=1, keepdims=True)
    if not (norms > 0).all():
        raise bad("embeddings", "no vector of zeros", f"{int((norms == 0).sum())} of them")
    return z_ND / norms
