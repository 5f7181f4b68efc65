"""Logistic regression against scikit-learn and against leave-one-out done by hand."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from smidgen.learn import logistic
from smidgen.learn.logistic import LogisticClassifier


def data(n, d, classes, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) + 0.3
    scores = X @ rng.normal(size=(d, classes)) / np.sqrt(d) * 2 + rng.gumbel(size=(n, classes))
    y = scores.argmax(1)
    y[:classes] = np.arange(classes)
    return X, y


@pytest.mark.parametrize(("n", "d", "classes"), [(60, 5, 2), (60, 5, 3), (30, 80, 2), (30, 80, 4), (150, 40, 7)])
@pytest.mark.parametrize("strength", [0.3, 10.0])
def test_equals_scikit_learn(n, d, classes, strength):
    X, y = data(n, d, classes)
    ours = LogisticClassifier(strength=strength).fit(X, y)
    theirs = LogisticRegression(C=1 / strength, tol=1e-10, max_iter=20000).fit(X, y)
    assert np.allclose(ours.coef_, theirs.coef_, atol=1e-5)
    assert np.allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)


def test_float32_path_is_close(monkeypatch):
    X, y = data(300, 40, 8)
    exact = LogisticClassifier(strength=1.0).fit(X, y).predict_proba(X)
    monkeypatch.setattr(logistic, "FLOAT32_SIZE", 0)
    assert np.abs(LogisticClassifier(strength=1.0).fit(X, y).predict_proba(X) - exact).max() < 2e-3


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("whole", [True, False])
def test_left_out_loss_is_that_of_refits(classes, whole, monkeypatch):
    if not whole:
        monkeypatch.setattr(logistic, "NEWTON_SIZE", 0)
    X, y = data(50, 6, classes)
    by_hand = []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        P = LogisticClassifier(strength=2.0).fit(X[rest], y[rest]).predict_proba(X[i : i + 1])
        by_hand.append(-np.log(P[0, y[i]]))
    Y = np.eye(classes)[y][:, 1:] if classes == 2 else np.eye(classes)[y]
    problem = logistic._Problem(X - X.mean(0), Y)
    quick = problem.left_out_loss(problem.solve(2.0, exact=True), 2.0)
    seen = -np.log(LogisticClassifier(strength=2.0).fit(X, y).predict_proba(X)[np.arange(len(y)), y]).mean()
    assert abs(quick - np.mean(by_hand)) < (0.05 if whole else 0.2) * (np.mean(by_hand) - seen)


def test_strength_follows_the_noise():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 20))
    clear = LogisticClassifier().fit(X, X[:, 0] + X[:, 1] > 0)
    noise = LogisticClassifier().fit(X, rng.random(120) > 0.5)
    assert clear.strength_ < 1 < 50 < noise.strength_


def test_large_problem_is_judged_on_a_held_out_part(monkeypatch):
    X, y = data(400, 30, 3)
    usual = LogisticClassifier().fit(X, y)
    monkeypatch.setattr(logistic, "ALO_FLOPS", -1.0)
    held = LogisticClassifier().fit(X, y)
    assert len(held.path_["losses"]) <= 6 < len(usual.path_["losses"]) + 1
    assert abs(np.log(held.strength_ / usual.strength_)) < 2.5
    assert np.array_equal(held.coef_, LogisticClassifier().fit(X, y).coef_)


def test_wrong_strength_is_refused():
    with pytest.raises(ValueError, match="strength"):
        LogisticClassifier(strength=-1.0).fit([[0.0], [1.0]], [0, 1])
