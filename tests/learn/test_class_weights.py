"""Classes that weigh more than they come: the problem is scikit-learn's, the left-out loss is the true one, and rare
classes are found more often."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from smidgen.data.mix import class_weights
from smidgen.kit.errors import BadInput
from smidgen.learn.logistic import LogisticClassifier, _log_loss, _Problem, _row_weights
from smidgen.studies.named import own_settings
from smidgen.tasks.metrics import METRICS


def unequal(n, d, shares, seed=0):
    random = np.random.default_rng(seed)
    y = np.r_[np.arange(len(shares)), random.choice(len(shares), n - len(shares), p=shares)]
    return random.normal(size=(n, d)) + 0.7 * y[:, None] * (np.arange(d) < 3), y


@pytest.mark.parametrize("shares", [(0.9, 0.1), (0.8, 0.15, 0.05)])
@pytest.mark.parametrize("d", [5, 250], ids=["newton", "lbfgs"])
@pytest.mark.parametrize("tau", [2.0, float("inf")])
def test_the_weighted_problem_is_that_of_scikit_learn(shares, d, tau):
    X, y = unequal(300, d, shares)
    ours = LogisticClassifier(strength=3.0, balance=tau).fit(X, y)
    theirs = LogisticRegression(C=1 / 3, class_weight=class_weights(y, tau), tol=1e-10, max_iter=5000).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=2e-4)
    plain = LogisticClassifier(strength=3.0).fit(X, y)
    assert ours.predict_proba(X)[:, -1].mean() > 1.03 * plain.predict_proba(X)[:, -1].mean()


def test_as_they_come_all_weigh_exactly_one():
    codes = np.repeat([0, 1, 2], [90, 9, 1])
    np.testing.assert_array_equal(_row_weights(codes, 1.0), np.ones(100))  # so that balanced tasks keep their bits
    even = _row_weights(codes, 1e9)
    assert even.mean() == pytest.approx(1) and even[-1] == pytest.approx(100 / 3)


@pytest.mark.parametrize(("shares", "missed"), [((0.85, 0.15), 0.05), ((0.7, 0.2, 0.1), 0.2)])
def test_the_left_out_loss_is_that_of_fits_without_each_row(shares, missed):
    X, y = unequal(80, 10, shares, seed=1)
    Y, w = np.eye(len(shares))[y], _row_weights(y, float("inf"))
    Y = Y[:, 1:] if len(shares) == 2 else Y
    whole = _Problem(X, Y, w)
    losses = []
    for i in range(len(X)):
        rest = np.arange(len(X)) != i
        theta = _Problem(X[rest], Y[rest], w[rest]).solve(1.0, exact=True)
        losses.append(w[i] * _log_loss(whole.scores(theta, X[[i]]), Y[[i]], np.ones(1)))
    theta = whole.solve(1.0, exact=True)
    true, inside = np.mean(losses), whole.value(theta, 0.0) / len(X)
    assert abs(whole.left_out_loss(theta, 1.0) - true) < missed * (true - inside)  # nearly all the optimism is seen


def test_rare_classes_are_found_at_a_price(data_folder):
    frame = pd.read_csv(data_folder / "tab_mammography" / "data.csv.gz")
    X, y = frame.filter(regex="x").to_numpy(), (frame["target"] == frame["target"].value_counts().index[1]).to_numpy()
    X = (X - X.mean(0)) / X.std(0)
    scores = {tau: np.zeros(3) for tau in (1.0, 2.0)}
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(y))
        known, new = order[:400], order[400:]
        for tau, total in scores.items():
            P = LogisticClassifier(balance=tau).fit(X[known], y[known]).predict_proba(X[new])
            names = ("balanced_accuracy", "macro_f1", "log_loss")
            total += [METRICS[name].score(y[new].astype(int), P) / 3 for name in names]
    gain = scores[2.0] - scores[1.0]
    assert gain[0] > 0.05 and gain[1] > 0.02 and gain[2] > 0  # the log loss is the price


def test_the_setting_is_checked():
    assert own_settings(["balance=2"], ["learn/logistic"]) == {"learn/logistic": {"balance": 2.0}}
    for wrong in ("0.5", "nan"):
        with pytest.raises(BadInput, match="balance"):
            own_settings([f"logistic.balance={wrong}"], None)
