"""Cells into values: numbers and dates as people write them, and plain text; each the same at fit and at prediction.

What one cell alone does not tell (3/4/2024) is settled by the column as a whole and kept in `Column.form`.
"""

import re
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from smidgen.tasks.number_cells import NO_NUMBER, number_of

_ISO = re.compile(
    r"^\d{4}-\d{1,2}(-\d{1,2}([T "
    r"]+\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?)?)?$|^\d{4}/\d{1,2}/\d{1,2}( "
    r"+\d{1,2}:\d{2}(:\d{2})?)?$"
)
_DAY = re.compile(
    r"^(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{2})(?:[ "
    r"T,]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?\s*([AaPp][Mm])?)?$"
)
_NAMED = re.compile(
    r"^(?:[A-Za-z]{3,9},? )?(?:(\d{1,2})[ .-]+([A-Za-z]{3,9})|([A-Za-z]{3,9}) (\d{1,2})),?[ "
    r"-]+(\d{4})$"
)
_MONTHS = {
    m: i for i, m in enumerate(("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)
}
MONTH_NAMES = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "sept",
)


def is_text(values: pd.Series) -> bool:
    """Whether cells are held as Python objects or strings rather than as numbers, bools or times."""
    return not (
        pd.api.types.is_numeric_dtype(values)
        or pd.api.types.is_datetime64_any_dtype(values)
        or pd.api.types.is_timedelta64_dtype(values)
    )


def whole(text: str) -> str:
    """Text without lone halves of surrogate pairs, which some formats can spell and nothing can store."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def settled(values: pd.Series) -> pd.Series:
    """A column of Python objects that are all numbers or all times, as such; everything else as it is."""
    if values.dtype.kind == "c":
        return values.map(str).astype(object)
    if values.dtype != object:
        return values
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind in ("integer", "floating", "mixed-integer-float", "decimal"):
        return pd.Series([_float(v) for v in values.tolist()], index=values.index, name=values.name, dtype=np.float64)
    if kind in ("datetime", "datetime64", "date"):
        return pd.to_datetime(values, errors="coerce", utc=True)
    if kind in ("timedelta", "timedelta64"):
        return pd.to_timedelta(values, errors="coerce")
    return values


def _float(value: object) -> float:
    if value is None or value is pd.NA or value is pd.NaT:
        return float("nan")
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return float("inf")


def text_of(value: object) -> str | None:
    """One cell as stripped text, None when blank; 1 and 1.0 are both "1": gaps in a column turn one into the other."""
    if isinstance(value, str):
        return whole(value).strip() or None
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        number = float(value)
        if np.isnan(number):
            return None
        return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
    return str(value).strip() or None


def texts(values: pd.Series) -> pd.Series:
    """A column as objects: stripped text or None."""
    codes, distinct = factorized(values)
    made = np.empty(len(distinct) + 1, object)  # the last one stands for code -1
    made[: len(distinct)] = [text_of(v) for v in distinct]
    return pd.Series(made[codes], index=values.index, name=values.name, dtype=object)


def factorized(values: pd.Series) -> tuple[np.ndarray, list]:
    """Codes (-1: missing) and distinct values; 1, 1.0 and True of a mixed column stay apart."""
    if values.dtype == object:
        table: dict[tuple[type, object], int] = {}
        out: list[object] = []
        codes = np.empty(len(values), np.int64)
        for i, value in enumerate(values.tolist()):
            if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):
                codes[i] = -1
                continue
            try:
                found = table.get((type(value), value))
            except TypeError:  # a list or an object: no two are alike
                found = None
                out.append(value)
                codes[i] = len(out) - 1
                continue
            if found is None:
                found = table[type(value), value] = len(out)
                out.append(value)
            codes[i] = found
        return codes, out
    codes, distinct = pd.factorize(values)
    return codes, list(distinct)


def numbers(values: pd.Series, form: str = "") -> tuple[np.ndarray, list[int]]:
    """A column as float64 `[n]`, missing as NaN, and the rows whose cell says something that is no number."""
    if pd.api.types.is_timedelta64_dtype(values):
        return values.dt.total_seconds().to_numpy(np.float64), []
    if pd.api.types.is_datetime64_any_dtype(values):
        return np.full(len(values), np.nan), np.flatnonzero(values.notna()).tolist()
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "fiub":
        return values.to_numpy(np.float64, copy=True), []
    if not is_text(values):
        x: Any = pd.to_numeric(values, errors="coerce")
        return x.astype("Float64").to_numpy(np.float64, na_value=np.nan), []
    codes, distinct = factorized(values)
    plain = [text_of(v) for v in distinct]
    if form == "" and len(distinct) > 10_000:  # mostly plain numbers: parse those at once
        parsed: Any = pd.to_numeric(pd.Series(plain, dtype=object), errors="coerce")
        quick = parsed.to_numpy(np.float64)
    else:
        quick = np.full(len(distinct), np.nan)
    made = np.array(
        [
            q if q == q else float("nan") if t is None else number_of(t, form if isinstance(v, str) else "")
            for v, t, q in zip(distinct, plain, quick.tolist(), strict=True)
        ]
        + [np.nan]
    )
    wrong = np.array(
        [np.isnan(m) and t is not None and t.lower() not in NO_NUMBER for m, t in zip(made, plain, strict=False)]
        + [False]
    )
    return made[codes], np.flatnonzero(wrong[codes]).tolist()


def date_form(distinct: list[str]) -> tuple[str, bool] | None:
    """How these cells are dates, and whether day and month had to be guessed; None: they are no dates."""
    if not distinct:
        return None
    kinds = [
        ("iso", None)
        if _ISO.match(t)
        else ("day", m)
        if (m := _DAY.match(t))
        else ("named", None)
        if _NAMED.match(t)
        else ("", None)
        for t in distinct
    ]
    if sum(k != "" for k, _ in kinds) < 0.95 * len(kinds):
        return None
    days = [m for _, m in kinds if m]
    if not days:
        return "iso", False
    first, second = any(int(m[1]) > 12 for m in days), any(int(m[3]) > 12 for m in days)
    if first and second:
        return None
    if first or second:
        return ("day first" if first else "month first"), False
    return ("day first" if any(m[2] == "." for m in days) else "month first"), not all(m[2] == "." for m in days)


def dates(values: pd.Series, form: str = "iso") -> tuple[pd.Series, list[int]]:
    """A column as datetime64[us] without time zone (UTC where one was given), and the rows whose cell is no date."""
    if pd.api.types.is_datetime64_any_dtype(values):
        made = (
            values.dt.tz_convert("UTC").dt.tz_localize(None) if getattr(values.dt, "tz", None) is not None else values
        )
        return made.astype("datetime64[us]"), []
    if not is_text(values):
        made = pd.Series(pd.NaT, index=values.index, name=values.name, dtype="datetime64[us]")
        return made, np.flatnonzero(values.notna()).tolist()
    codes, distinct = factorized(values)
    plain = [text_of(v) for v in distinct]
    iso = [None if t is None else _iso(t, form) for t in plain]
    parsed = pd.to_datetime(
        pd.Series([*iso, None], dtype=object), format="ISO8601", errors="coerce", utc=True
    ).dt.tz_localize(None)
    stamps = parsed.astype("datetime64[us]").to_numpy()
    wrong = np.array(
        [np.isnat(s) and t is not None and t.lower() not in NO_NUMBER for s, t in zip(stamps, plain, strict=False)]
        + [False]
    )
    return pd.Series(stamps[codes], index=values.index, name=values.name), np.flatnonzero(wrong[codes]).tolist()


def _iso(text: str, form: str) -> str | None:
    if _ISO.match(text):
        parts = re.split(r"[T ]+", text.replace("/", "-"), maxsplit=1)
        day = [int(p) for p in parts[0].split("-")] + [1]
        clock = re.sub(r"\s", "", parts[1]) if len(parts) > 1 else ""
        return _stamp(day[0], day[1], day[2], ("0" + clock if re.match(r"^\d:", clock) else clock))
    if found := _DAY.match(text):
        day, month, year = int(found[1]), int(found[3]), int(found[4])
        if form == "month first":
            day, month = month, day
        if len(found[4]) == 2:
            year += 2000 if year < 70 else 1900
        hour = int(found[5] or 0)
        if found[8]:
            hour = hour % 12 + (12 if found[8].lower() == "pm" else 0)
        return _stamp(year, month, day, f"{hour:02d}:{found[6] or '00'}:{found[7] or '00'}")
    if found := _NAMED.match(text):
        name = (found[2] or found[3]).lower()
        if len(name) == 3 or name in MONTH_NAMES:
            return _stamp(int(found[5]), _MONTHS.get(name[:3], 0), int(found[1] or found[4]), "")
    return None


def _stamp(year: int, month: int, day: int, clock: str) -> str | None:
    try:
        return date(year, month, day).isoformat() + (f"T{clock}" if clock else "")
    except ValueError:
        return None
