"""A person's table as the in-context learner reads it: float64 columns, NaN where unknown, codes where without order.

Dims: N rows, F columns of the person's table, D columns that say something.
"""

from typing import Any

import numpy as np
import pandas as pd

from smidgen.kit.errors import BadInput

PRESENT = 1e-12  # relative to its size, what a column must vary by


def columns_of(X: Any) -> pd.DataFrame | None:
    """The table as a DataFrame if it is one, of any library that narwhals knows; None: something else."""
    if isinstance(X, pd.DataFrame):
        return X
    if hasattr(X, "__dataframe__"):
        import narwhals

        return narwhals.from_native(X, eager_only=True).to_pandas()
    return None


def learn_levels(frame: pd.DataFrame, y_rows: str = "row") -> dict[str, list[str]]:
    """The levels of each column of text or categories, by the column's place.

    Raises:
        BadInput: a column holds numbers and texts.
    """
    levels = {}
    for place, name in enumerate(frame.columns):
        column = frame.iloc[:, place]
        if _is_number(column):
            continue
        known = list(column.dropna())
        numeric = np.array([isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in known], bool)
        if not isinstance(column.dtype, pd.CategoricalDtype) and len(known) and numeric.all():
            continue
        if not isinstance(column.dtype, pd.CategoricalDtype) and numeric.any():
            at = int(np.flatnonzero(column.notna().to_numpy())[int(np.argmin(numeric))])
            raise BadInput(
                f"Column '{name}' holds numbers, but {column.iloc[at]!r} in {y_rows} {at}: replace it by a number or "
                "by nothing, or make the whole column text."
            )
        levels[str(place)] = sorted({str(v) for v in known})
    return levels


def coded(frame: pd.DataFrame, levels: dict[str, list[str]]) -> pd.DataFrame:
    """The table with a number in each cell: codes in columns with levels; a level that is not known is NaN.

    Raises:
        BadInput: text in a column of numbers.
    """
    out = {}
    for place, name in enumerate(frame.columns):
        column = frame.iloc[:, place]
        known = levels.get(str(place))
        if known is not None:
            code = {level: float(i) for i, level in enumerate(known)}
            values = [np.nan if missing else code.get(str(v), np.nan) for v, missing in _cells(column)]
        elif _is_number(column):
            values = column.to_numpy(np.float64, na_value=np.nan)
        else:
            values = [np.nan if missing else _number(v, name, row) for row, (v, missing) in enumerate(_cells(column))]
        out[place] = np.asarray(values, np.float64)
    made = pd.DataFrame(out, index=frame.index)
    made.columns = frame.columns
    return made


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column.dtype)


def _cells(column: pd.Series) -> list[tuple[Any, bool]]:
    return list(zip(column.astype(object), column.isna(), strict=True))


def _number(value: Any, name: Any, row: int) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise BadInput(
            f"Column '{name}' was of numbers, but row {row} has {value!r}: replace it by a number or by nothing."
        ) from None


def telling(x_NF: np.ndarray) -> np.ndarray:
    """Which columns vary or are partly unknown, places `[D]`; the others (all unknown, constant) say nothing."""
    unknown = np.isnan(x_NF)
    low = np.where(unknown, np.inf, x_NF).min(0, initial=np.inf)
    high = np.where(unknown, -np.inf, x_NF).max(0, initial=-np.inf)
    some = ~unknown.all(0)
    low, high = np.where(some, low, 0.0), np.where(some, high, 0.0)
    varies = high - low > PRESENT * np.maximum(np.abs(low), np.abs(high))
    return np.flatnonzero(some & (varies | unknown.any(0)))


def one_hot_runs(x_NF: np.ndarray) -> list[tuple[int, int]]:
    """Runs of neighbouring columns, (first, behind the last), that are one column of codes spread out.

    Each has three columns or more, all of zeros and ones, and a single one in each row.
    """
    runs, first = [], 0
    binary = ((x_NF == 0) | (x_NF == 1)).all(0)
    while first < x_NF.shape[1]:
        total, end = np.zeros(len(x_NF)), first
        while end < x_NF.shape[1] and binary[end] and (total + x_NF[:, end]).max(initial=0) <= 1:
            total = total + x_NF[:, end]
            end += 1
            if (total == 1).all():
                break
        if end - first >= 3 and (total == 1).all() and len(total):
            runs.append((first, end))
            first = end
        else:
            first += 1
    return runs


def fused(x_NF: np.ndarray, runs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """The table with each run as one column of codes (NaN where a row has no single one), behind the others; and
    which columns of the result those are, bool."""
    spread = np.zeros(x_NF.shape[1], bool)
    codes = []
    for first, end in runs:
        spread[first:end] = True
        part = x_NF[:, first:end]
        codes.append(np.where((part == 1).sum(1) == 1, (part == 1).argmax(1), np.nan))
    kept = x_NF[:, ~spread]
    out = np.column_stack([kept, *codes]) if codes else kept
    return out, np.arange(out.shape[1]) >= kept.shape[1]
