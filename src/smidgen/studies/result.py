"""What a trial gave."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `smidgen studies ls` needs no array
    import numpy as np


@dataclass
class Result:
    """What a trial gave.

    Attributes:
        predictions: float64 `[n, classes]` or `[n]`, for every row of the task; NaN where a row was trained on.
            None: failed.
        seconds, cpu_seconds: all fits and predictions of the trial.
        peak_bytes: the worker's peak resident memory; model_bytes: arrays of one fitted member.
        error: why it failed. notes: what a person should know of how it was done, see `kit.notes`.
    """

    predictions: "np.ndarray | None" = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    model_bytes: int = 0
    error: str | None = None
    notes: tuple[str, ...] = ()
