"""The task: what is to be learnt, as read from a person's file, with what was found out about it.

Rows with a target are examples; rows without are the unlabelled pool. Nothing is repeated or invented.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pandas.util import hash_pandas_object

from smidgen.kit.files import digest, file_digest

ColumnKind = Literal["number", "category", "date", "text", "image", "id", "constant", "empty"]
USED: tuple[str, ...] = ("number", "category", "date", "text", "image")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column as understood: its kind, and for people why it is left out, where it is (id, constant, empty).

    `form` says how its cells are read where one cell alone does not tell: "decimal comma", "unit kg" (number), "day
    first", "month first" or "iso" (date).
    """

    name: str
    kind: ColumnKind
    note: str = ""
    form: str = ""

    @property
    def used(self) -> bool:
        return self.kind in USED


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something a person should know about their data. `level`: "note" or "warning"."""

    level: Literal["note", "warning"]
    text: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """Examples, target, metric, optional groups and unlabelled pool.

    Attributes:
        frame: the feature columns of the labelled rows, `[n]` rows, index 0..n-1. Image columns hold absolute paths.
        target: `[n]` int64 class codes, or float64 values.
        classes: the class values as the person wrote them, sorted by text (JSON scalars); empty for regression.
        columns: every feature column with its kind, also those left out.
        metric: name in `tasks.metrics`.
        groups: `[n]` int64; rows of one group never straddle a split. Exact duplicates share a group. None: each row
            its own.
        unlabelled: the feature columns of the rows without target, or None.
        pool_groups: `[m]` int64: the group that each row of `unlabelled` shares with labelled ones, -1: none. None: no
            row does.
        target_name: the target's column name.
        findings: what was noticed.
        source: where it came from, for people.
        rows: `[n]` int64: which data row of the person's table each example is, counted from 1; None: it came from a
            folder of files.
        pool_rows: the same of `unlabelled`; negative: that row of the further source of such rows. None: there are
            none, or they have names (images).
        folder: image paths are shown relative to it, or None.
    """

    frame: pd.DataFrame
    target: np.ndarray
    kind: Literal["classification", "regression"]
    columns: tuple[Column, ...]
    metric: str
    target_name: str = "target"
    classes: tuple[Any, ...] = ()
    groups: np.ndarray | None = None
    unlabelled: pd.DataFrame | None = None
    pool_groups: np.ndarray | None = None
    findings: tuple[Finding, ...] = field(default=())
    source: str = ""
    rows: np.ndarray | None = None
    pool_rows: np.ndarray | None = None
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.target)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Of "table", "text", "image": those that its used columns need, in this order."""
        kinds = {c.kind for c in self.columns if c.used}
        of = {"table": {"number", "category", "date"}, "text": {"text"}, "image": {"image"}}
        return tuple(m for m in of if kinds & of[m])

    @cached_property
    def fingerprint(self) -> str:
        """Content hash of everything that decides a trial's result: rows, target, kinds, groups. 32 hex digits.

        An image counts with its bytes, not with its path.
        """
        parts: list[bytes | str] = [self.kind, self.target_name, repr(self.classes), self.target.tobytes()]
        parts.append(b"" if self.groups is None else self.groups.tobytes())
        if self.pool_groups is not None:
            parts += ["groups of the pool", self.pool_groups.tobytes()]
        for column in self.columns:
            parts += [column.name, column.kind]
            if column.used:
                parts += _cells(self.frame[column.name], column.kind)
                if self.unlabelled is not None:
                    parts += ["unlabelled", *_cells(self.unlabelled[column.name], column.kind)]
        return digest(*parts)

    def take(self, rows: np.ndarray) -> "Task":
        """The same task on some of its rows (a sub-draw); classes and kinds stay."""
        from dataclasses import replace

        return replace(
            self,
            frame=self.frame.iloc[rows].reset_index(drop=True),
            target=self.target[rows],
            groups=None if self.groups is None else self.groups[rows],
            rows=None if self.rows is None else self.rows[rows],
        )


def _cells(values: Any, kind: str) -> list[bytes | str]:
    """What the cells of one column hold, for the fingerprint."""
    if kind == "image":
        return [file_digest(p) if isinstance(p, str) else "" for p in values]
    return [hash_pandas_object(values.astype(str), index=False).to_numpy().tobytes()]  # type: ignore
