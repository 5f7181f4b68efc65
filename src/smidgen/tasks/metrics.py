"""Scores of predictions: each takes row weights, so that a bootstrap is a matter of weights.

Dims: n rows, C classes. `truth` is `[n]` int codes with `predicted` `[n, C]` probabilities, or both are `[n]` floats.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from smidgen.kit.errors import BadInput

EPS = float(np.finfo(np.float32).eps)  # log_loss clips probabilities to [EPS, 1 - EPS]: at most 15.9 nats a row
Function = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One score. `proper`: its best prediction is the true distribution (classification) or mean (regression)."""

    name: str
    kind: str  # "classification" or "regression"
    greater_is_better: bool
    proper: bool
    function: Function = field(repr=False, compare=False)

    def score(self, truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None) -> float:
        """The score in the metric's own sign; `weights` `[n]` >= 0 count rows (None: each once).

        NaN where it is not defined: no weight at all, AUC with one class present.
        """
        predicted = np.asarray(predicted, np.float64)
        truth = np.asarray(truth, np.int64 if self.kind == "classification" else np.float64)
        weights = np.ones(len(truth)) if weights is None else np.asarray(weights, np.float64)
        if len(truth) != len(predicted) or len(truth) != len(weights):
            raise ValueError(
                f"{self.name}: {len(truth)} rows of truth, {len(predicted)} predicted, {len(weights)} weights"
            )
        if not weights.sum() > 0:
            return float("nan")
        return float(self.function(truth, predicted, weights))


def row_losses(kind: str, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The proper loss of each row `[n]`: log loss in nats, or squared error."""
    if kind == "classification":
        return -np.log(np.clip(np.asarray(predicted, np.float64)[np.arange(len(truth)), truth], EPS, 1 - EPS))
    return (np.asarray(truth, np.float64) - np.asarray(predicted, np.float64)) ** 2


def _log_loss(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> float:
    return np.average(row_losses("classification", truth, predicted), weights=weights)


def _accuracy(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> float:
    return np.average(predicted.argmax(1) == truth, weights=weights)


def _counts(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight by class `[C]`: of true rows, of predicted rows, of rows that are both."""
    chosen, C = predicted.argmax(1), predicted.shape[1]
    right = chosen == truth
    return (
        np.bincount(truth, weights, C),
        np.bincount(chosen, weights, C),
        np.bincount(truth[right], weights[right], C),
    )


def _balanced_accuracy(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> float:
    true, _, both = _counts(truth, predicted, weights)
    return (both[true > 0] / true[true > 0]).mean()


def _macro_f1(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> float:
    true, chosen, both = _counts(truth, predicted, weights)
    seen = true + chosen > 0
    return (2 * both[seen] / (true + chosen)[seen]).mean()


def brier_losses(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Of each row `[n]`: squared distance to the true corner; halved for two classes, as scikit-learn does."""
    gap = predicted.copy()
    gap[np.arange(len(truth)), truth] -= 1
    return (gap**2).sum(1) / (2 if predicted.shape[1] == 2 else 1)


def _brier(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> float:
    return np.average(brier_losses(truth, predicted), weights=weights)


def _auc(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> float:
    """Area under the ROC curve; with more than two classes the mean of one against the rest, over classes present."""
    classes = [1] if predicted.shape[1] == 2 else range(predicted.shape[1])
    areas = np.array([_binary_auc(truth == c, predicted[:, c], weights) for c in classes])
    areas = areas[np.isfinite(areas)]
    return areas.mean() if len(areas) else float("nan")


def _binary_auc(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> float:
    """P(a positive scores above a negative), ties count half."""
    _, place = np.unique(score, return_inverse=True)
    up = np.bincount(place, weights * positive)
    down = np.bincount(place, weights * ~positive)
    total = up.sum() * down.sum()
    return float((up * (down.cumsum() - down / 2)).sum() / total) if total > 0 else float("nan")


def _mse(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> float:
    return np.average((truth - predicted) ** 2, weights=weights)


def _rmse(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> float:
    return np.sqrt(_mse(truth, predicted, weights))


def _mae(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> float:
    return np.average(np.abs(truth - predicted), weights=weights)


def _r2(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> float:
    """Share of variance explained; a constant truth gives 1 if met exactly, else 0."""
    error = _mse(truth, predicted, weights)
    spread = np.average((truth - np.average(truth, weights=weights)) ** 2, weights=weights)
    if spread == 0:
        return float(error == 0)
    return 1 - error / spread


def _metrics(*rows: tuple[str, str, bool, bool, Function]) -> dict[str, Metric]:
    return {
        name: Metric(name=name, kind=kind, greater_is_better=up, proper=proper, function=function)
        for name, kind, up, proper, function in rows
    }


METRICS: dict[str, Metric] = _metrics(
    ("log_loss", "classification", False, True, _log_loss),
    ("accuracy", "classification", True, False, _accuracy),
    ("balanced_accuracy", "classification", True, False, _balanced_accuracy),
    ("macro_f1", "classification", True, False, _macro_f1),
    ("auc", "classification", True, False, _auc),
    ("brier", "classification", False, True, _brier),
    ("rmse", "regression", False, True, _rmse),
    ("mse", "regression", False, True, _mse),
    ("mae", "regression", False, False, _mae),
    ("r2", "regression", True, False, _r2),
)
DEFAULT = {"classification": "log_loss", "regression": "rmse"}
_ALSO = {
    "logloss": "log_loss",
    "cross_entropy": "log_loss",
    "acc": "accuracy",
    "f1": "macro_f1",
    "f1_macro": "macro_f1",
    "roc_auc": "auc",
    "brier_score": "brier",
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
}


def resolve(name: str | None, kind: str) -> Metric:
    """The metric of that name (None: the default of the kind); common other spellings are understood.

    Raises:
        BadInput: unknown (with the nearest name), or a metric of the other kind of task.
    """
    if name is None:
        return METRICS[DEFAULT[kind]]
    asked = str(name).strip().lower().replace("-", "_").replace(" ", "_")
    asked = _ALSO.get(asked, asked)
    fitting = [m.name for m in METRICS.values() if m.kind == kind]
    if asked not in METRICS:
        near = difflib.get_close_matches(asked, [*fitting, *METRICS], n=1, cutoff=0.5)
        raise BadInput(
            f"metric: there is no '{name}'. {f'Did you mean {near[0]}? ' if near else ''}"
            f"For {kind} there are {', '.join(fitting)}."
        )
    if METRICS[asked].kind != kind:
        raise BadInput(
            f"metric: {asked} is for {METRICS[asked].kind}, and this task is {kind}. Take one of {', '.join(fitting)}."
        )
    return METRICS[asked]
