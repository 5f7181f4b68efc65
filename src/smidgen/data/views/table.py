"""Table columns as numbers: the `linear` part for heads that measure distances, the `tree` part for heads that cut, the
`cells` part for those that know of unknown cells and of codes.

Each column learns a small dictionary of plain data on the training rows; transforming a row uses that and the row
alone. Dims: n rows, k columns made of one column.
"""

from typing import Any

import numpy as np
import pandas as pd

from smidgen.tasks.task import Column

CLIP = 5.0  # standard deviations; a value beyond says "far out", not how far
HUGE = 1e30  # trees work in single precision
SKEWED = 1.0  # training skewness above which a column's tails are drawn in
MAX_LEVELS = 100  # more levels than this: the rarest are pooled
MIN_COUNT = 2  # a level seen less often is pooled with its like
ONE_HOT_LEVELS = 12  # trees get one column a level up to here, else one column of codes
TABLE_KINDS = ("number", "category", "date")


def fit_table(frame: pd.DataFrame, columns: tuple[Column, ...], style: str) -> dict[str, Any]:
    """What the table columns of `frame` need to become numbers. `style`: "linear", "tree" or "cells"."""
    fits: dict[str, Any] = {"number": _fit_number, "category": _fit_category, "date": _fit_date}
    used = [c for c in columns if c.kind in TABLE_KINDS]
    return {
        "style": style,
        "columns": [{"name": c.name, "kind": c.kind, **fits[c.kind](frame[c.name], style)} for c in used],
    }


def transform_table(state: dict[str, Any], frame: pd.DataFrame) -> np.ndarray:
    """float64 `[n, d]`; d may be 0 when no column varied in training. Finite, but that in the style "cells" an unknown
    number is NaN."""
    makes: dict[str, Any] = {"number": _number, "category": _category, "date": _date}
    parts = [makes[c["kind"]](c, frame[c["name"]], state["style"]) for c in state["columns"]]
    return np.hstack([np.zeros((len(frame), 0)), *parts])


# -- numbers ------------------------------------------------------------------------------------------------------


def numbers(values: pd.Series) -> np.ndarray:
    """float64 `[n]`; what is not a finite number is NaN."""
    if values.dtype.kind not in "fiub":
        values = pd.Series([_float(v) for v in values], dtype=np.float64)
    out = values.to_numpy(np.float64, na_value=np.nan).copy()
    out[~np.isfinite(out)] = np.nan
    return np.clip(out, -HUGE, HUGE)


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def _fit_number(values: pd.Series, style: str) -> dict[str, Any]:
    return _fit_scalar(numbers(values), style)


def _fit_scalar(x: np.ndarray, style: str, tame: bool = True) -> dict[str, Any]:
    seen = x[~np.isnan(x)]
    state: dict[str, Any] = {
        "median": float(np.median(seen)) if len(seen) else 0.0,
        "missing": 0 < len(seen) < len(x),
        "varies": len(seen) > 0 and bool(seen.min() < seen.max()),
    }
    if style != "linear":
        return state
    state["origin"], state["tail"] = _tails(seen) if tame and state["varies"] else (state["median"], 0.0)
    z = _tamed(np.where(np.isnan(x), state["median"], x), state)
    # A column whose spread is lost in rounding says nothing.
    spread = float(z.std()) if state["varies"] else 0.0
    state.update(mean=float(z.mean()) if len(z) else 0.0, scale=spread)
    state["varies"] = spread > 1e-12 * (1 + abs(state["mean"]))
    if state["missing"]:
        share = float(np.isnan(x).mean())
        state["share"] = share
    return state


def _tails(seen: np.ndarray) -> tuple[float, float]:
    """(origin, scale) from which asinh draws in the tails, as mildly as leaves little skewness; scale 0: not at all."""
    low, middle, high = (float(q) for q in np.quantile(seen, [0.25, 0.5, 0.75]))
    skew = _skewness(seen)
    if abs(skew) < SKEWED or len(np.unique(seen)) <= 2:
        return middle, 0.0
    spread = high - low or float(seen.std())
    end = float(seen.min() if skew > 0 else seen.max())
    best, least = (middle, 0.0), abs(skew)
    for origin, scale in ((middle, 2 * spread), (end, spread), (end, spread / 8)):
        left = abs(_skewness(np.arcsinh((seen - origin) / scale)))
        if left < least:
            best, least = (origin, scale), left
        if left < 2 * SKEWED:
            break
    return best


def _skewness(x: np.ndarray) -> float:
    z = x - x.mean()
    spread = np.sqrt((z**2).mean())
    return float(((z / spread) ** 3).mean()) if spread > 0 and np.isfinite(spread) else 0.0


def _tamed(x: np.ndarray, state: dict[str, Any]) -> np.ndarray:
    moved = x - state["origin"]
    return np.arcsinh(moved / state["tail"]) if state["tail"] else moved


def _number(state: dict[str, Any], values: pd.Series, style: str) -> np.ndarray:
    return _scalar(state, numbers(values), style)


def _scalar(state: dict[str, Any], x: np.ndarray, style: str) -> np.ndarray:
    if style == "cells":
        return x[:, None] if state["varies"] or state["missing"] else np.zeros((len(x), 0))
    missing = np.isnan(x)
    x = np.where(missing, state["median"], x)
    out = []
    if state["varies"]:
        out.append(x if style == "tree" else np.clip((_tamed(x, state) - state["mean"]) / state["scale"], -CLIP, CLIP))
    if state["missing"]:
        out.append(missing.astype(np.float64) if style == "tree" else missing - state["share"])
    return np.column_stack(out) if out else np.zeros((len(x), 0))


# -- categories ---------------------------------------------------------------------------------------------------


def level_text(value: Any) -> str:
    """One spelling for a level, whatever type a reader gave it: 3, 3.0 and "3" are one level."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _levels(values: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Codes `[n]` (-1: missing) into the distinct levels."""
    codes, distinct = pd.factorize(values)
    return codes, [level_text(v) for v in distinct]


def _fit_category(values: pd.Series, style: str) -> dict[str, Any]:
    codes, names = _levels(values)
    counts: dict[str, int] = {}
    for name, count in zip(names, np.bincount(codes[codes >= 0], minlength=len(names)), strict=True):
        counts[name] = counts.get(name, 0) + int(count)
    ordered = sorted(counts, key=lambda k: (-counts[k], k))
    kept = [k for k in ordered if counts[k] >= MIN_COUNT][:MAX_LEVELS]
    pooled = ordered[len(kept) :]
    if len(pooled) == 1 and len(kept) < MAX_LEVELS:  # nothing to pool it with
        kept, pooled = ordered, []
    state: dict[str, Any] = {"levels": kept, "rare": bool(pooled), "missing": bool((codes < 0).any())}
    hot = _hot(state, values)
    state["shares"] = hot.mean(0) if len(hot) else np.zeros(hot.shape[1])
    return state


def _places(state: dict[str, Any], values: pd.Series) -> np.ndarray:
    """The place `[n]` of each value among levels + [rare] + [missing]; -1: none of them."""
    codes, names = _levels(values)
    where = {name: i for i, name in enumerate(state["levels"])}
    rare = len(where) if state["rare"] else -1
    missing = len(where) + bool(state["rare"]) if state["missing"] else -1
    return np.array([*(where.get(name, rare) for name in names), missing], np.int64)[codes]


def _width(state: dict[str, Any]) -> int:
    return len(state["levels"]) + bool(state["rare"]) + bool(state["missing"])  # a loaded state may hold anything


def _hot(state: dict[str, Any], values: pd.Series) -> np.ndarray:
    width = _width(state)
    places = _places(state, values)
    hot = np.zeros((len(places), width))
    at = np.flatnonzero(places >= 0)
    hot[at, places[at]] = 1.0
    return hot


def _category(state: dict[str, Any], values: pd.Series, style: str) -> np.ndarray:
    width = _width(state)
    if width < 2:
        return np.zeros((len(values), 0))
    if style == "tree" and width > ONE_HOT_LEVELS:
        places = _places(state, values)
        return np.where(places < 0, width, places).astype(np.float64)[:, None]
    hot = _hot(state, values)
    if style != "linear":
        return hot[:, :1] if width == 2 else hot
    known = hot.sum(1, keepdims=True)
    centred = hot - known * state["shares"]  # a level never seen is the centre
    # Two rows of different levels lie 2 apart, as the two values of an even yes/no number do.
    return 2 * centred[:, :1] if width == 2 else np.sqrt(2) * centred


# -- dates --------------------------------------------------------------------------------------------------------


def dates(values: pd.Series) -> pd.Series:
    """datetime64 without zone (local time where there was one); what is no date is NaT."""
    if values.dtype.kind != "M":
        values = pd.to_datetime(values, errors="coerce", format="mixed", utc=True)
    return values.dt.tz_localize(None)


def _date_parts(values: pd.Series, style: str) -> dict[str, np.ndarray]:
    at = dates(values)
    days = ((at - pd.Timestamp("2000-01-01")) / pd.Timedelta(days=1)).to_numpy(np.float64)
    part = {
        k: getattr(at.dt, k).to_numpy(np.float64, na_value=np.nan)
        for k in ("year", "month", "day", "day_of_year", "day_of_week", "hour", "minute")
    }
    hour = part["hour"] + part["minute"] / 60
    if style != "linear":
        return {
            "days": days,
            "year": part["year"],
            "month": part["month"],
            "day": part["day"],
            "weekday": part["day_of_week"],
            "hour": hour,
        }
    out = {"days": days, "weekend": np.where(np.isnan(days), np.nan, part["day_of_week"] >= 5)}
    for name, value, period in (
        ("season", part["day_of_year"], 365.25),
        ("weekday", part["day_of_week"], 7),
        ("hour", hour, 24),
    ):
        out[f"{name}_sin"], out[f"{name}_cos"] = np.sin(2 * np.pi * value / period), np.cos(2 * np.pi * value / period)
    return out


def _fit_date(values: pd.Series, style: str) -> dict[str, Any]:
    parts = {name: _fit_scalar(x, style, tame=False) for name, x in _date_parts(values, style).items()}
    for name in list(parts)[1:]:
        parts[name]["missing"] = False  # once is enough
    return {"parts": parts}


def _date(state: dict[str, Any], values: pd.Series, style: str) -> np.ndarray:
    parts = _date_parts(values, style)
    return np.hstack([_scalar(s, parts[name], style) for name, s in state["parts"].items()])
