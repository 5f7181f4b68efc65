"""Tables with more columns than the in-context learner reads: which of them it is shown.

Dims: N labelled rows, D columns, C components.
"""

from typing import Any

import numpy as np

from smidgen.learn.reduced import reduce

MOST_ROWS, MOST_COLUMNS, MOST_CLASSES = 2000, 100, 10  # that are read at once
COMPONENTS, TELLING = 24, 16  # principal components, and columns as they are


def learn_wide(x_ND: np.ndarray, categorical_D: np.ndarray, y_N: np.ndarray) -> dict[str, Any] | None:
    """How a wide table is made narrow: numbers that are all known, as embeddings are, give way to their first
    principal components, each in units of its standard deviation; beside them stay those that tell most of the target,
    and all other columns. None: the table is narrow, or has no such numbers.
    """
    plain = np.flatnonzero(~categorical_D & np.isfinite(x_ND).all(0))
    if x_ND.shape[1] <= MOST_COLUMNS or len(plain) <= COMPONENTS + TELLING:
        return None
    own = np.argsort(-relation(x_ND[:, plain], categorical_D[plain], y_N), kind="stable")[:TELLING]
    stay = np.union1d(np.setdiff1d(np.arange(x_ND.shape[1]), plain), plain[own])
    unit_F = x_ND[:, plain].std(0)
    unit_F[unit_F == 0] = 1.0
    found = reduce(x_ND[:, plain] / unit_F)
    assert found.axes is not None
    axes_FC = found.axes[:, :COMPONENTS] / unit_F[:, None]
    return {"stay": stay, "plain": plain, "centre": found.mean * unit_F, "axes": axes_FC}


def narrow(wide: dict[str, Any], x_ND: np.ndarray) -> np.ndarray:
    """Components first, then the columns that stay. What is unknown counts as the mean in components."""
    moved = x_ND[:, wide["plain"]] - wide["centre"]
    return np.column_stack([np.where(np.isnan(moved), 0.0, moved) @ wide["axes"], x_ND[:, wide["stay"]]])


def chosen_columns(
    x_ND: np.ndarray, categorical_D: np.ndarray, y_N: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Places of the columns that a member takes, in random order. Of more than `MOST_COLUMNS` half are those most
    related to the target by themselves, half drawn from the others."""
    D = x_ND.shape[1]
    order = rng.permutation(D)
    if D <= MOST_COLUMNS:
        return order
    best = np.argsort(-relation(x_ND, categorical_D, y_N), kind="stable")[: MOST_COLUMNS // 2]
    others = order[~np.isin(order, best)][: MOST_COLUMNS - len(best)]
    return rng.permutation(np.concatenate([best, others]))


def relation(x_ND: np.ndarray, categorical_D: np.ndarray, y_N: np.ndarray) -> np.ndarray:
    """How much each column says of the target by itself, `[D]`, 0 to 1: of a number, how much of the variance of its
    ranks the target explains; of codes, how much of the target's variance they explain. y: floats are numbers."""
    from scipy.stats import rankdata  # half a second, which tables of usual width do not need

    target_NC = rankdata(y_N)[:, None] if y_N.dtype.kind == "f" else (y_N[:, None] == np.unique(y_N)).astype(float)
    target_NC = target_NC - target_NC.mean(0)
    whole = max(float((target_NC**2).sum()), 1e-12)
    out = np.zeros(x_ND.shape[1])
    for d in np.flatnonzero(categorical_D):
        _, code_N = np.unique(x_ND[:, d], return_inverse=True)  # unknown is a code as well
        sum_LC = np.zeros((code_N.max() + 1, target_NC.shape[1]))
        np.add.at(sum_LC, code_N, target_NC)
        out[d] = (sum_LC**2 / np.bincount(code_N)[:, None]).sum() / whole
    numbers = np.flatnonzero(~categorical_D)
    x = x_ND[:, numbers]
    rank = rankdata(np.where(np.isnan(x), np.nanmedian(x, 0), x), axis=0)
    z = (rank - rank.mean(0)) / np.maximum(rank.std(0), 1e-12)
    if y_N.dtype.kind == "f":
        t_N = target_NC[:, 0] / max(float(target_NC.std()), 1e-12)
        out[numbers] = (z * t_N[:, None]).mean(0) ** 2
    else:
        hot_NC = y_N[:, None] == np.unique(y_N)
        out[numbers] = ((hot_NC.T @ z) ** 2 / hot_NC.sum(0)[:, None]).sum(0) / len(y_N)
    return out
