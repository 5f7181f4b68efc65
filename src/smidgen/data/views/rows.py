"""Rows: a frame together with the expensive, stateless arrays made from it (embeddings, image descriptors).

Such an array is the same whatever the labels are, so it is computed once for a study, cached on disk by content,
and sliced for every fold; nothing about the labels can leak through it.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse


@dataclass
class Rows:
    """Rows to be viewed.

    Attributes:
        frame: feature columns, index 0..n-1.
        blocks: arrays `[n, d]` by key, e.g. "minilm:review" (csr matrices for counts of n-grams); filled on demand
            by `block`, or all at once and from the disk by `cache.fill`.
        pool: the task's rows without labels, for methods that learn from them; the same for every fold, but for those
            of groups that it judges.
        groups: of a pool, the group of labelled rows that each row shares, -1: none. None: no row does.
        learnt: by method, what it learnt from the pool before any fit, which is the same for all fits.
    """

    frame: pd.DataFrame
    blocks: dict[str, Any] = field(default_factory=dict)
    pool: "Rows | None" = None
    groups: np.ndarray | None = None
    learnt: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frame)

    def block(self, encoder: str, column: str) -> Any:
        """The array of one stateless encoder ("minilm", "pixels", "hog", ...) on one column, computed when absent."""
        key = f"{encoder}:{column}"
        if key not in self.blocks:
            from smidgen.data.views.encoders import encode

            self.blocks[key] = encode(encoder, self.frame[column].tolist())
        return self.blocks[key]

    def take(self, rows: np.ndarray) -> "Rows":
        blocks = {k: v[rows] for k, v in self.blocks.items()}
        groups = None if self.groups is None else self.groups[rows]
        return replace(self, frame=self.frame.iloc[rows].reset_index(drop=True), blocks=blocks, groups=groups)

    def joined(self, other: "Rows") -> "Rows":
        """Both, one behind the other, with the blocks that both have; of no pool, and of no group."""
        blocks = {k: _stacked(v, other.blocks[k]) for k, v in self.blocks.items() if k in other.blocks}
        return Rows(pd.concat([self.frame, other.frame], ignore_index=True), blocks)

    def apart_from(self, groups: np.ndarray) -> "Rows":
        """These rows with a pool that has none of these groups."""
        if self.pool is None or self.pool.groups is None:
            return self
        keep = ~np.isin(self.pool.groups, groups)
        return self if keep.all() else replace(self, pool=self.pool.take(np.flatnonzero(keep)))


def _stacked(a: Any, b: Any) -> Any:
    return sparse.vstack([a, b], format="csr") if sparse.issparse(a) else np.concatenate([a, b])
