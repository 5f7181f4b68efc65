"""Rows of a table as standardised numbers, and made numbers as rows again.

Numbers are standardised on the rows learnt from, words become one column a level, and columns that are always the same
are set aside. Back again a category is its largest column, and columns of whole numbers are rounded.

Dims: N rows, C columns of the table, D columns of the code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.kit.errors import BadInput, bad


@dataclass(frozen=True)
class Column:
    """One column: a number with its mean and spread, or a category with its levels.

    Attributes:
        levels: in order; None for a number. spread: 0 for a column that is always `mean`.
        dtype: what a made column becomes; whole numbers are rounded.
    """

    name: Any
    dtype: Any
    mean: float = 0.0
    spread: float = 0.0
    levels: tuple[Any, ...] | None = None

    @property
    def width(self) -> int:
        """Columns of the code."""
        if self.levels is None:
            return int(self.spread > 0)
        return len(self.levels) if len(self.levels) > 1 else 0


@dataclass(frozen=True)
class TableCode:
    """What `learn_code` learnt. `frame`: whether rows are a DataFrame; else they are a matrix."""

    columns: tuple[Column, ...]
    frame: bool

    @property
    def width(self) -> int:
        """Columns of the code, D."""
        return sum(column.width for column in self.columns)

    def encode(self, X: Any) -> np.ndarray:
        """`[N, D]`, float64.

        Raises:
            BadInput: other columns than learnt from, missing or infinite cells, words among numbers, a new level.
        """
        cells, names = _columns_of(X)
        known = [column.name for column in self.columns]
        if names != known:
            raise bad("columns", ", ".join(map(str, known)), ", ".join(map(str, names)), "As they were in fit.")
        parts = [np.zeros((len(X), 0))]
        for column, values in zip(self.columns, cells, strict=True):
            if column.levels is None:
                x_N = _numbers(values, column.name)
                parts.append((x_N[:, None] - column.mean) / column.spread if column.width else parts[0])
                continue
            at = {level: i for i, level in enumerate(column.levels)}
            words = _words(values, column.name)
            new = next((i for i, word in enumerate(words) if word not in at), None)
            if new is not None:
                raise bad(f"column {column.name}, row {new + 1}", f"one of {', '.join(map(str, at))}", words[new])
            if column.width:
                parts.append(np.eye(column.width)[[at[word] for word in words]])
        return np.hstack(parts)

    def decode(self, code_ND: np.ndarray) -> Any:
        """Rows with the columns that were learnt: a DataFrame with the same types, or a float32 matrix, of whole
        numbers where the rows were."""
        made, place = {}, 0
        for column in self.columns:
            part = code_ND[:, place : place + column.width]
            place += column.width
            if column.levels is not None:
                chosen = part.argmax(1) if column.width else np.zeros(len(code_ND), int)
                made[column.name] = [column.levels[i] for i in chosen]
                continue
            x_N = column.mean + column.spread * part[:, 0] if column.width else np.full(len(code_ND), column.mean)
            if column.dtype.kind in "iu":
                bounds = np.iinfo(column.dtype.type)
                x_N = np.clip(np.rint(x_N), bounds.min, bounds.max)
            made[column.name] = x_N
        if not self.frame:
            kind = self.columns[0].dtype if self.columns[0].dtype.kind in "iu" else np.float32
            return np.stack(list(made.values()), 1).astype(kind)
        import pandas as pd

        return pd.DataFrame({c.name: pd.Series(made[c.name]).astype(c.dtype) for c in self.columns})


def learn_code(X: Any, categories: Sequence[Any] = ()) -> TableCode:
    """The code of rows: a matrix of numbers, or a DataFrame, whose columns that hold no numbers are categories.

    Args:
        categories: names (a matrix: numbers) of columns of numbers that are categories too.

    Raises:
        BadInput: no rows or columns, missing or infinite cells, words in a matrix, names of no column, or no column
            that varies.
    """
    cells, names = _columns_of(X)
    absent = [name for name in categories if name not in names]
    if absent:
        raise bad("categories", f"columns of X: {', '.join(map(str, names))}", str(absent[0]))
    frame = _is_frame(X)
    columns = []
    for name, values in zip(names, cells, strict=True):
        dtype = values.dtype
        if name in categories or (frame and not _holds_numbers(dtype)):
            columns.append(Column(name, dtype, levels=tuple(sorted(set(_words(values, name)), key=_order))))
            continue
        x_N = _numbers(values, name)
        spread = float(x_N.std())
        mean = float(x_N[0]) if (x_N == x_N[0]).all() else float(x_N.mean())
        columns.append(Column(name, dtype, mean, spread if spread > 1e-12 * (1 + abs(mean)) else 0.0))
    code = TableCode(tuple(columns), frame)
    if not code.width:
        raise bad("X", "a column that varies", f"{len(columns)} that are always the same")
    return code


def _is_frame(X: Any) -> bool:
    return hasattr(X, "iloc") and hasattr(X, "columns")


def _columns_of(X: Any) -> tuple[list[Any], list[Any]]:
    """Columns (series, or arrays `[N]`) and their names."""
    shape = np.shape(X)
    if len(shape) != 2 or not shape[0] or not shape[1]:
        raise bad("X", "a table with rows and columns", f"shape {shape}")
    if _is_frame(X):
        names = list(X.columns)
        if len(set(names)) < len(names):
            raise bad("columns", "names that differ", ", ".join(map(str, names)))
        return [X.iloc[:, i] for i in range(shape[1])], names
    return list(np.asarray(X).T), list(range(shape[1]))


def _holds_numbers(dtype: Any) -> bool:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return is_numeric_dtype(dtype) and not is_bool_dtype(dtype)


def _numbers(values: Any, name: Any) -> np.ndarray:
    """float64 `[N]`, finite."""
    try:
        x_N = np.asarray(values, np.float64) if _plain(values) else values.to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise bad(
            f"column {name}", "numbers", f"a column of {values.dtype}", "Give a DataFrame: its words become categories."
        ) from None
    wrong = np.flatnonzero(~np.isfinite(x_N))
    if len(wrong):
        raise BadInput(
            f"column {name}, row {wrong[0] + 1}: the cell is missing or infinite; fill it in, or drop the row, first."
        )
    return x_N


def _words(values: Any, name: Any) -> list[Any]:
    """Cells of a category as plain values."""
    words = values.tolist()
    missing = next((i for i, word in enumerate(words) if is_missing(word)), None)
    if missing is not None:
        raise BadInput(f"column {name}, row {missing + 1}: the cell is missing; give it a level of its own first.")
    return words


def is_missing(word: Any) -> bool:
    """None, NaN, or missing in the sense of pandas."""
    return word is None or type(word).__name__ in ("NAType", "NaTType") or (isinstance(word, float) and word != word)


def _plain(values: Any) -> bool:
    return isinstance(values, np.ndarray) or isinstance(values.dtype, np.dtype)


def _order(level: Any) -> tuple[str, Any]:
    """Levels of mixed types sort too."""
    return (type(level).__name__, level)
