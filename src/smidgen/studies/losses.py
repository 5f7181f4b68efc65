"""Scores as losses that fall towards 0, as learning curves have them, and back."""

import math
from dataclasses import dataclass

from smidgen.tasks.metrics import METRICS, Metric

_KNOWN = ("accuracy", "log_loss", "rmse", "mse", "r2")  # their learning curves were measured on other tasks
_FAMILY = {"log_loss": "log_loss", "brier": "log_loss", "rmse": "rmse", "mae": "rmse", "mse": "rmse", "r2": "rmse"}


@dataclass(frozen=True)
class Scale:
    """Of one metric. `family`: of its learning curves (`laws.curve`)."""

    metric: Metric

    @classmethod
    def of(cls, name: str) -> "Scale":
        return cls(METRICS[name])

    @property
    def family(self) -> str:
        return _FAMILY.get(self.metric.name, "error")

    @property
    def is_known(self) -> bool:
        """Whether the family was measured with this very metric; others borrow its curve."""
        return self.metric.name in _KNOWN

    def loss(self, score: float) -> float:
        """0 is best. r2 and mse become root mean squares, so that all regression is of one kind."""
        if self.metric.name == "mse":
            return math.sqrt(max(score, 0.0))
        if self.metric.name == "r2":
            return math.sqrt(max(1 - score, 0.0))
        return 1 - score if self.metric.greater_is_better else score

    def score(self, loss: float) -> float:
        if self.metric.name == "mse":
            return loss**2
        if self.metric.name == "r2":
            return 1 - loss**2
        return max(1 - loss, 0.0) if self.metric.greater_is_better else loss
