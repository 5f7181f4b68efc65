"""Paired statistics of a grid of arms: gains over a baseline arm, and how they differ between tuners.

Seeds pair: the same training rows, the same test. Training rows of two seeds overlap where they are drawn from one
pool, so the variance of a mean over S seeds is (1/S + o / (1 - o)) times that of a seed, o their overlap (after Nadeau
and Bengio, 2003). Where all rows of the pool are drawn, o = 1, nothing can be said of other rows: p is 1.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from smidgen.kit.errors import bad

PLACE = ["task", "model", "tuner", "n_train", "budget"]
Overlap = Mapping[tuple[str, int], float]


def paired(gains: np.ndarray, overlap: float, level: float = 0.95) -> dict[str, float]:
    """Mean, both ends of its Student interval and two-sided p of 0, of one gain a seed; without two seeds only the
    mean. NaN gains, of trials that failed, are left out."""
    gains = gains[np.isfinite(gains)]
    S = len(gains)
    mean = float(gains.mean()) if S else math.nan
    if S < 2:
        return {"gain": mean, "low": math.nan, "high": math.nan, "p": math.nan, "seeds": S}
    if overlap >= 1:
        return {"gain": mean, "low": -math.inf, "high": math.inf, "p": 1.0, "seeds": S}
    se = math.sqrt((1 / S + overlap / (1 - overlap)) * float(gains.var(ddof=1)))
    half = float(t.ppf(0.5 + level / 2, S - 1)) * se
    p = float(2 * t.sf(abs(mean) / se, S - 1)) if se else float(mean == 0)
    return {"gain": mean, "low": mean - half, "high": mean + half, "p": p, "seeds": S}


def holm(p: np.ndarray) -> np.ndarray:
    """P-values corrected for their number (Holm, 1979); NaN stays."""
    out, known = np.full(len(p), math.nan), np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    raised = p[order] * np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(raised), 1.0) if len(order) else raised
    return out


def cell_table(table: pd.DataFrame, overlap: Overlap, baseline: str, level: float) -> pd.DataFrame:
    """A row a cell: mean "score", "std" over seeds, mean "updates" and "epochs", and of arms other than the baseline
    "gain", "low", "high", "p", "p_holm".

    Raises:
        BadInput: no such baseline arm.
    """
    _check(table, "arm", baseline)
    rows = []
    for key, place in _groups(table, PLACE):
        base = place.loc[place["arm"] == baseline].set_index("seed")["score"]
        for (arm,), cell in _groups(place, ["arm"]):
            own = cell.set_index("seed")["score"]
            row = {**dict(zip(PLACE, key, strict=True)), "arm": arm, "score": own.mean(), "std": own.std()}
            row |= {k: cell[k].mean() for k in ("updates", "epochs")} | {"skipped": cell["skipped"].iloc[0]}
            gains = np.array([]) if arm == baseline else (own - base).to_numpy(float)
            rows.append(row | paired(gains, overlap[str(row["task"]), int(row["n_train"])], level))
    out = pd.DataFrame(rows)
    out["p_holm"] = holm(out["p"].to_numpy(float))
    return out.drop(columns="seeds")


def interaction(
    table: pd.DataFrame, overlap: Overlap, arm: str, first: str, second: str, baseline: str, level: float
) -> pd.DataFrame:
    """A row a task, model, size and budget: the arm's gain over the baseline under the first tuner less that under the
    second, as `paired` has it."""
    for name in (arm, baseline):
        _check(table, "arm", name)
    for name in (first, second):
        _check(table, "tuner", name)
    rows, place = [], [p for p in PLACE if p != "tuner"]
    for key, part in _groups(table, place):
        wide = part.pivot(index="seed", columns=["tuner", "arm"], values="score")
        gain = {t: wide[t, arm] - wide[t, baseline] for t in (first, second)}
        of = dict(zip(place, key, strict=True))
        found = paired(
            (gain[first] - gain[second]).to_numpy(float), overlap[str(of["task"]), int(of["n_train"])], level
        )
        rows.append({**of, "arm": arm, "first": first, "second": second, **found})
    return pd.DataFrame(rows)


def _groups(table: pd.DataFrame, by: list[str]) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """In the order of the table."""
    groups: Any = table.groupby(by, sort=False)
    yield from groups


def _check(table: pd.DataFrame, column: str, name: str) -> None:
    if name not in set(table[column]):
        raise bad(column, " or ".join(dict.fromkeys(map(str, table[column]))), name)
