"""Tables of runs: named columns (a DataFrame, or anything that gives a column by its name) as arrays that were looked
at once. Parameters are `n`, tokens `d`, bits a weight `bits`, losses in nats a token `loss`, in all laws of bits.

Dims: R runs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from smidgen.kit.errors import bad

Runs = Mapping[str, Any]  # a DataFrame is one in all that is used of it
FAR = 10.0  # times outside the runs that were fitted, beyond which a law of bits is not asked in silence


def columns(runs: Any, names: Sequence[str], what: str = "runs") -> dict[str, np.ndarray]:
    """Columns of numbers `[R]`, finite all of them.

    Raises:
        BadInput: a column is missing, of another length, or holds what is no number; named with its row.
    """
    missing = [name for name in names if name not in runs]
    if missing:
        raise bad(f"columns of the {what}", ", ".join(names), ", ".join(map(str, runs)), f"Add {missing[0]}.")
    out: dict[str, np.ndarray] = {}
    for name in names:
        try:
            out[name] = np.asarray(runs[name], float)
        except (TypeError, ValueError):
            raise bad(f"column {name} of the {what}", "numbers", str(list(runs[name])[:3])) from None
        wrong = np.flatnonzero(~np.isfinite(out[name]))
        if len(wrong):
            raise bad(f"{name}, row {wrong[0]} of the {what}", "a finite number", float(out[name][wrong[0]]))
    if len({len(column) for column in out.values()}) > 1:
        raise bad(f"columns of the {what}", "one length", ", ".join(f"{k}: {len(v)}" for k, v in out.items()))
    return out


def span(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def outside(values: Any, ends: tuple[float, float]) -> np.ndarray:
    """How far values lie out of a range, as a factor (1 inside)."""
    values = np.asarray(values, float)
    return np.maximum(np.maximum(ends[0] / values, values / ends[1]), 1.0)
