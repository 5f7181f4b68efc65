"""Metrics are exactly scikit-learn's, with and without row weights."""

import numpy as np
import pytest
from sklearn import metrics as sk

from smidgen.kit.errors import BadInput
from smidgen.tasks.metrics import EPS, METRICS, resolve, row_losses


def sample(C: int, seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    predicted = rng.dirichlet(np.ones(C), n).round(2)  # rounded: ties in the scores
    predicted /= predicted.sum(1, keepdims=True)
    return np.r_[np.arange(C), rng.integers(0, C, n - C)], predicted, rng.integers(1, 5, n).astype(float)


REFERENCE = {
    "log_loss": lambda t, p, w: sk.log_loss(t, np.clip(p, EPS, 1 - EPS), sample_weight=w, labels=np.arange(p.shape[1])),
    "accuracy": lambda t, p, w: sk.accuracy_score(t, p.argmax(1), sample_weight=w),
    "balanced_accuracy": lambda t, p, w: sk.balanced_accuracy_score(t, p.argmax(1), sample_weight=w),
    "macro_f1": lambda t, p, w: sk.f1_score(t, p.argmax(1), average="macro", sample_weight=w),
    "auc": lambda t, p, w: sk.roc_auc_score(t, p[:, 1] if p.shape[1] == 2 else p, multi_class="ovr", sample_weight=w),
    "brier": lambda t, p, w: sk.brier_score_loss(t, p, sample_weight=w, labels=np.arange(p.shape[1])),
    "rmse": lambda t, p, w: sk.root_mean_squared_error(t, p, sample_weight=w),
    "mse": lambda t, p, w: sk.mean_squared_error(t, p, sample_weight=w),
    "mae": lambda t, p, w: sk.mean_absolute_error(t, p, sample_weight=w),
    "r2": lambda t, p, w: sk.r2_score(t, p, sample_weight=w),
}


@pytest.mark.parametrize("name", sorted(METRICS))
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.filterwarnings("ignore:The y_prob values do not sum to one")
@pytest.mark.filterwarnings("ignore:The y_pred values do not sum to one")
def test_equals_scikit_learn(name, weighted):
    for seed in range(5):
        for C in (2, 3, 7):
            truth, predicted, weights = sample(C, seed)
            if METRICS[name].kind == "regression":
                truth, predicted = truth + predicted[:, 0], truth + predicted[:, 1]
            expected = REFERENCE[name](truth, predicted, weights if weighted else None)
            assert METRICS[name].score(truth, predicted, weights if weighted else None) == pytest.approx(
                expected, rel=1e-9
            )


@pytest.mark.parametrize("name", sorted(METRICS))
def test_whole_weights_are_repeated_rows(name):
    truth, predicted, weights = sample(3, 9)
    weights[::4] = 0  # what a bootstrap draw leaves out
    if METRICS[name].kind == "regression":
        truth, predicted = truth.astype(float), predicted[:, 1]
    rows = np.repeat(np.arange(len(truth)), weights.astype(int))
    assert METRICS[name].score(truth, predicted, weights) == pytest.approx(
        METRICS[name].score(truth[rows], predicted[rows])
    )


def test_a_certain_and_wrong_prediction_costs_a_finite_log_loss():
    assert row_losses("classification", np.array([0]), np.array([[0.0, 1.0]])) == pytest.approx(-np.log(EPS))


def test_auc_of_classes_that_are_absent_leaves_them_out():
    truth, predicted, _ = sample(4, 1)
    seen = truth != 3
    areas = [sk.roc_auc_score(truth[seen] == c, predicted[seen, c]) for c in range(3)]
    assert METRICS["auc"].score(truth[seen], predicted[seen]) == pytest.approx(np.mean(areas))
    assert np.isnan(METRICS["auc"].score(np.zeros(5, int), predicted[:5, :2]))


def test_names_are_resolved_or_answered_with_the_nearest():
    assert resolve(None, "classification").name == "log_loss"
    assert resolve("ROC-AUC", "classification").name == "auc"
    with pytest.raises(BadInput, match="Did you mean accuracy"):
        resolve("acuracy", "classification")
    with pytest.raises(BadInput, match="rmse is for regression"):
        resolve("rmse", "classification")
