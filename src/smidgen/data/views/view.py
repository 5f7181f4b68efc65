"""A view turns rows into one finite matrix: a part for each modality, side by side.

"linear+minilm" is the table columns as standardised numbers beside the embeddings of the text columns. Everything
learned is learned in `fit`, on the rows given to it.
"""

from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np
from scipy import sparse

from smidgen.data.views.encoders import TOKENS, available
from smidgen.data.views.rows import Rows
from smidgen.data.views.table import TABLE_KINDS, fit_table, transform_table
from smidgen.data.views.text import SVD_COLUMNS, fit_svd, fit_tfidf, tfidf
from smidgen.kit.config import nearest
from smidgen.kit.errors import BadInput
from smidgen.tasks.task import Column, Task

TABLE_PARTS = ("linear", "tree", "cells")
# Part: the encoders that it stands on, and the kind of column they read.
PARTS: dict[str, tuple[tuple[str, ...], str]] = {
    "tfidf": (("words", "chars"), "text"),
    "tfidf_svd": (("words", "chars"), "text"),
    "minilm": (("minilm",), "text"),
    "minilm_short": (("minilm_short",), "text"),
    "minilm_windows": (("minilm_windows",), "text"),
    "pixels": (("pixels",), "image"),
    "hog": (("hog",), "image"),
    "picture": (("picture",), "image"),
    "tokens": (("tokens",), "text"),
}
RAW_PARTS = ("picture", "tokens")  # for networks that see the values themselves: nothing is centred or scaled
VARIANCE = 16.0  # of a whole block; a number column has 1
LONG_WORDS, LONG_SHARE = (
    200,
    0.1,
)  # texts that the sentence encoder cannot read to their end, and how many make it matter


class View:
    """One way to see a task's rows.

    Args:
        name: parts joined with "+", see `choices`.
        columns: the task's columns; those left out are ignored.
    """

    def __init__(self, name: str, columns: tuple[Column, ...]):
        self.name = name
        self.columns = tuple(c for c in columns if c.used)
        for part in name.split("+"):
            if part not in TABLE_PARTS and part not in PARTS:
                raise BadInput(f"There is no view '{part}'. {nearest(part, (*TABLE_PARTS, *PARTS))}")
        self.blocks_: list[dict[str, Any]] = []

    def fit(self, rows: Rows) -> "View":
        """Learns from these rows, and from nothing else."""
        self.blocks_ = []
        for part in self.name.split("+"):
            if part in TABLE_PARTS:
                self.blocks_.append({"part": part, "table": fit_table(rows.frame, self.columns, part)})
                continue
            encoders, kind = PARTS[part]
            for column in self.columns:
                if column.kind == kind:
                    blocks = [rows.block(e, column.name) for e in encoders]
                    self.blocks_.append({"part": part, "column": column.name, **_fit_block(part, blocks)})
        return self

    def transform(self, rows: Rows) -> Any:
        """float64 `[n, d]`, d >= 1: an array, or a csr matrix where a part is tf-idf. Finite, but for the part "cells":
        there an unknown number is NaN."""
        blocks = [self._block(b, rows) for b in self.blocks_]
        if any(sparse.issparse(b) for b in blocks):
            return sparse.csr_matrix(sparse.hstack([sparse.csr_matrix(b) for b in blocks], format="csr"))
        X = np.hstack([np.zeros((len(rows), 0)), *blocks])
        return X if X.shape[1] else np.zeros((len(rows), 1))

    def _block(self, state: dict[str, Any], rows: Rows) -> Any:
        if "table" in state:
            return transform_table(state["table"], rows.frame)
        return _block(state, [rows.block(e, state["column"]) for e in PARTS[state["part"]][0]])

    def get_state(self) -> dict[str, Any]:
        return {"name": self.name, "blocks": self.blocks_}

    @classmethod
    def from_state(cls, state: dict[str, Any], columns: tuple[Column, ...]) -> "View":
        view = cls(state["name"], columns)
        view.blocks_ = list(state["blocks"])
        return view


def _fit_block(part: str, blocks: list[Any]) -> dict[str, Any]:
    """A block is centred where it is dense, and scaled by one number: it weighs as much as 16 number columns. A raw one
    stays as it is."""
    if part in RAW_PARTS:
        return {}
    if part in ("tfidf", "tfidf_svd"):
        limit = {"limit": SVD_COLUMNS} if part == "tfidf_svd" else {}
        state: dict[str, Any] = {"grams": [fit_tfidf(b, **limit) for b in blocks]}
        X: Any = _tfidf(state, blocks)
        if part == "tfidf":
            mean = np.asarray(X.mean(0)).ravel()
            spread = float(np.asarray(X.multiply(X).mean(0)).sum() - mean @ mean) if X.shape[0] else 0.0
            return {**state, "scale": _scale(spread)}
        state["directions"] = fit_svd(X)
        dense = np.asarray(X @ state["directions"])
    else:
        state, dense = {}, np.asarray(blocks[0], np.float64)
    varies = dense.max(0) > dense.min(0) if len(dense) else np.zeros(dense.shape[1], bool)
    if not varies.all():
        state["varies"] = np.flatnonzero(varies)
        dense = dense[:, varies]
    return {
        **state,
        "mean": dense.mean(0) if len(dense) else np.zeros(dense.shape[1]),
        "scale": _scale(float(dense.var(0).sum())),
    }


def _scale(spread: float) -> float:
    return float(np.sqrt(VARIANCE / spread)) if spread > 1e-12 else 1.0


def _tfidf(state: dict[str, Any], blocks: list[Any]) -> sparse.csr_matrix:
    return sparse.csr_matrix(
        sparse.hstack([tfidf(g, b) for g, b in zip(state["grams"], blocks, strict=True)], format="csr")
    )


def _block(state: dict[str, Any], blocks: list[Any]) -> Any:
    if state["part"] in RAW_PARTS:
        return np.asarray(blocks[0], np.float64)
    if state["part"] == "tfidf":
        return _tfidf(state, blocks) * state["scale"]
    if state["part"] == "tfidf_svd":
        dense = np.asarray(_tfidf(state, blocks) @ state["directions"])
    else:
        dense = np.asarray(blocks[0], np.float64)
    if "varies" in state:
        dense = dense[:, state["varies"]]
    return (dense - state["mean"]) * state["scale"]


def encoders_of(view_name: str) -> tuple[str, ...]:
    """The stateless encoders whose blocks a view stands on; none for a table's."""
    return tuple(e for part in view_name.split("+") if part in PARTS for e in PARTS[part][0])


def choices(task: Task, *, for_features: str, sparse: bool) -> list[str]:
    """Names of the views that suit this task for one sort of head, the most promising first.

    Args:
        for_features: the head's card: a part for tables, or a raw part, which is then the only view there is; for any
            other word standardised numbers.
        sparse: whether the head takes sparse matrices, as tf-idf makes them.
    Raises:
        BadInput: nothing can be seen, since no column is used or a package for the only ones is not installed.
    """
    kinds = {c.kind for c in task.columns if c.used}
    if for_features in RAW_PARTS:
        alone = [c.kind for c in task.columns if c.used] == [PARTS[for_features][1]]
        return [for_features] if alone and all(map(available, PARTS[for_features][0])) else []
    groups: list[list[str]] = []
    if kinds & set(TABLE_KINDS):
        groups.append([for_features if for_features in TABLE_PARTS else "linear"])
    if "text" in kinds:
        groups.append(_text_parts(task, sparse))
    if "image" in kinds:
        parts = [p for p in ("hog", "pixels") if available(p)]
        if not parts:
            raise BadInput("Reading images needs Pillow and scikit-image: pip install 'smidgen[image]'")
        groups.append(parts)
    if not groups:
        raise BadInput("No column of this data can be learnt from: all are empty, constant or ids.")
    return ["+".join(parts) for parts in product(*groups)]


def _text_parts(task: Task, sparse: bool) -> list[str]:
    parts = ["minilm"] if available("minilm") else []
    if parts and long_texts(task):
        parts.append("minilm_short")
    if sparse:
        parts.append("tfidf")
    return parts or ["tfidf_svd"]


def long_texts(task: Task) -> bool:
    """Whether enough texts are longer than the sentence encoder reads for their end to matter."""
    words = [
        task.frame[c.name].dropna().astype(str).str.count(r"\S+").to_numpy() for c in task.columns if c.kind == "text"
    ]
    return any(len(w) and (w > LONG_WORDS).mean() >= LONG_SHARE for w in words)


def rough_tokens(texts: Iterable[str]) -> float:
    """About how many word pieces a text has in the view "tokens", for forecasts."""
    lengths = [min(len(text) / 4.2 + 2, TOKENS) for text in texts]  # of English; 4.2 letters a piece, two ends
    return float(np.mean(lengths)) if lengths else 0.0


def rough_width(columns: tuple[Column, ...], view_name: str) -> int:
    """About how many features a view makes of these columns (tf-idf: entries a row), for forecasts."""
    kinds = [c.kind for c in columns]
    table = kinds.count("number") + 4 * kinds.count("date") + 5 * kinds.count("category")
    each = {"tfidf": 300, "tfidf_svd": 64, "pixels": 528, "hog": 1856, "picture": 3072, "tokens": TOKENS}
    parts = [p for p in view_name.split("+") if p in PARTS]
    return int(max(1, table + sum(each.get(p, 384) * sum(k == PARTS[p][1] for k in kinds) for p in parts)))
