"""Splits that an estimator makes inside its own fit: stratified, the same for the same rows and seed."""

import numpy as np


def inner_folds(codes: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold `[n]` of each row: every class is dealt out in turn, so that folds differ by at most one row a class."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(codes))
    dealt = shuffled[np.argsort(codes[shuffled], kind="stable")]
    fold = np.empty(len(codes), np.int64)
    fold[dealt] = np.arange(len(codes)) % folds
    return fold


def inner_holdout(codes: np.ndarray, share: float, seed: int) -> np.ndarray:
    """A mask `[n]` of about `share` of each class; a class never loses its last row."""
    rng = np.random.default_rng(seed)
    out = np.zeros(len(codes), bool)
    for code in np.unique(codes):
        rows = rng.permutation(np.flatnonzero(codes == code))
        take = min(len(rows) - 1, max(1, round(share * len(rows))))
        out[rows[:take]] = True
    return out


def rank_strata(y: np.ndarray, size: int = 5) -> np.ndarray:
    """For a number as target: rows in groups of `size` neighbours in rank, as codes to stratify by."""
    order = np.argsort(y, kind="stable")
    codes = np.empty(len(y), np.int64)
    codes[order] = np.arange(len(y)) // size
    return codes
