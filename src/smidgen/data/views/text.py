"""Texts as counts of words and of pieces of words, and what is learned on them: tf-idf, and its dense shadow.

Counting is stateless: an n-gram's column is its hash, among so many columns that few collide. So a study counts once,
each fold only chooses columns, and a saved model holds no word of anybody's text.
"""

from typing import Any

import numpy as np
from scipy import sparse

COLUMNS = 2**22
LONGEST = 500_000  # letters of a text that are counted: each takes about 200 bytes meanwhile
MAX_COLUMNS = 25_000  # kept of each sort, the most common first
SVD_COLUMNS, SVD_WIDTH = 8_000, 64
RARE_FROM = 300  # texts from which an n-gram seen once is left out
GRAMS: dict[str, dict[str, Any]] = {
    "words": {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
    "chars": {"analyzer": "char_wb", "ngram_range": (3, 5)},
}


def grams(kind: str, texts: list[str]) -> sparse.csr_matrix:
    """Counts `[n, 2**22]`, float64: "words" (one and two in a row) or "chars" (3 to 5 within a word)."""
    from sklearn.feature_extraction.text import HashingVectorizer

    settings: dict[str, Any] = {"norm": None, "alternate_sign": False, **GRAMS[kind]}
    counter: Any = HashingVectorizer(n_features=COLUMNS, **settings)
    counts = sparse.csr_matrix(counter.transform([text[:LONGEST] for text in texts]))
    counts.sort_indices()
    return counts


def fit_tfidf(counts: Any, limit: int = MAX_COLUMNS) -> dict[str, Any]:
    """Columns to keep and their idf, from the counts of the training texts."""
    df = np.bincount(counts.indices, minlength=COLUMNS)
    n = counts.shape[0]
    kept = np.flatnonzero(df >= (2 if n >= RARE_FROM else 1))
    if len(kept) > limit:
        kept = np.sort(kept[np.argsort(-df[kept], kind="stable")[:limit]])
    return {"columns": kept.astype(np.int64), "idf": np.log((1 + n) / (1 + df[kept])) + 1}


def tfidf(state: dict[str, Any], counts: Any) -> sparse.csr_matrix:
    """Rows of unit length (or zero), `[n, kept]`: (1 + log count) * idf."""
    at = np.full(COLUMNS, -1, np.int32)
    at[state["columns"]] = np.arange(len(state["columns"]))
    column = at[counts.indices]
    known = column >= 0
    row = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))[known]
    value = (1 + np.log(counts.data[known])) * state["idf"][column[known]]
    norm = np.sqrt(np.bincount(row, value**2, minlength=counts.shape[0]))
    ends = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=counts.shape[0]))])
    return sparse.csr_matrix((value / norm[row], column[known], ends), shape=(counts.shape[0], len(state["columns"])))


def fit_svd(X: Any) -> np.ndarray:
    """The leading directions `[columns, k]` of tf-idf rows, k at most 64; as many as the texts have, at most."""
    from sklearn.utils import extmath

    svd: Any = extmath.randomized_svd

    k = min(SVD_WIDTH, *X.shape)
    if k == 0 or not X.nnz:
        return np.zeros((X.shape[1], 1))
    _, values, directions = svd(X, k, n_iter=7, random_state=0)
    return directions[values > 1e-9 * values[0]].T.copy()
