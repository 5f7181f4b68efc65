"""The switching probe picks what cross-validation says; the diagnostics see what naive Bayes assumes."""

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.utils.estimator_checks import check_estimator

from smidgen.kit.errors import BadInput
from smidgen.learn.inner import inner_folds
from smidgen.learn.naive_bayes import SharedVarianceGaussianNB
from smidgen.learn.probes import SGDProbe, SwitchingProbe, feature_correlation, gaussian_divergence


def data(n=90, d=4, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return rng.normal(size=(n, d)) + 1.5 * np.eye(3, d)[y], np.array(["a", "b", "c"])[y]


def test_losses_are_those_of_cross_validation():
    X, y = data()
    probes = (DummyClassifier(), LogisticRegression(C=0.5))
    model = SwitchingProbe(probes).fit(X, y)
    split = PredefinedSplit(inner_folds(np.unique(y, return_inverse=True)[1], 5, 0))
    for probe, loss in zip(probes, model.losses_, strict=True):
        P = cross_val_predict(probe, X, y, cv=split, method="predict_proba")
        assert np.isclose(loss, -np.log(P[np.arange(90), np.unique(y, return_inverse=True)[1]]).mean())
    assert model.best_ == 1
    assert np.array_equal(model.predict_proba(X), probes[1].fit(X, y).predict_proba(X))


def test_two_regimes():
    """Strongly correlated features and many labels: logistic regression; few labels, independent ones: naive Bayes."""
    rng = np.random.default_rng(0)
    y = np.arange(600) % 2
    shared = rng.normal(size=(600, 1))
    X = shared + 0.3 * rng.normal(size=(600, 20))
    X[:, 0] += 0.6 * y
    assert SwitchingProbe().fit(X, y).best_ == 1
    few = np.arange(16) % 2
    means = np.where(few[:, None] > 0, 0.6, -0.6)
    picks = [SwitchingProbe().fit(means + np.random.default_rng(s).normal(size=(16, 8)), few).best_ for s in range(12)]
    assert picks.count(0) >= 6


@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_checks():
    results = check_estimator(SwitchingProbe(cv=2), on_fail=None)
    assert not [(r["check_name"], repr(r["exception"])) for r in results if r["status"] == "failed"]
    assert sum(r["status"] == "passed" for r in results) >= 50


def test_rare_classes_and_wrong_folds():
    X, y = data(12)
    y[3:] = "a"
    y[:2] = ["b", "c"]
    P = SwitchingProbe((SharedVarianceGaussianNB(),)).fit(X, y).predict_proba(X)
    assert P.shape == (12, 3)
    assert np.allclose(P.sum(1), 1)
    with pytest.raises(BadInput, match="cv"):
        SwitchingProbe(cv=1).fit(X, y)


def test_correlation_is_within_classes():
    rng = np.random.default_rng(0)
    y = np.arange(4000) % 2
    free = rng.normal(size=(4000, 3)) + 5 * y[:, None]  # the classes alone correlate these
    assert feature_correlation(free, y) < 0.03
    tied = np.hstack([free[:, :1], 2 * free[:, :1] - 1])
    assert np.isclose(feature_correlation(tied, y), 1)
    assert np.isclose(feature_correlation(np.hstack([tied, np.ones((4000, 1))]), y), 1)
    assert np.isnan(feature_correlation(free[:, :1], y))


def test_divergence_sees_other_shapes():
    rng = np.random.default_rng(0)
    y = np.arange(2000) % 2
    bell = gaussian_divergence(rng.normal(size=(2000, 5)) * 3 + 4 * y[:, None], y)
    assert 0 <= bell < 0.012  # chance alone gives 9 / 2000
    assert gaussian_divergence(rng.exponential(size=(2000, 5)), y) > 0.1
    assert np.isnan(gaussian_divergence(rng.normal(size=(10, 2)), y[:10]))
    # two points at equal odds lie in the bins of -1 and 1: KL = log(bins / 2)
    points = np.tile([[-1.0], [-1.0], [1.0], [1.0]], (50, 1))
    assert np.isclose(gaussian_divergence(points, np.tile([0, 1], 100)), np.log(5))


@pytest.mark.parametrize("classes", [2, 3])
def test_sgd_comes_to_the_maximum_of_the_likelihood(classes):
    X, y = data(300)
    X, y = X[np.arange(300) % 3 < classes], y[np.arange(300) % 3 < classes]
    new = np.random.default_rng(1).normal(size=(50, 4))
    best = LogisticRegression(C=np.inf, tol=1e-10).fit(X, y).predict_proba(new)
    assert np.allclose(SGDProbe(rate=0.1, batch=16).fit(X, y).predict_proba(new), best, atol=0.02)
    start = SGDProbe(rate=0.1, epochs=1, batch=16).fit(X, y).predict_proba(new)
    assert not np.allclose(start, best, atol=0.02)
    with pytest.raises(BadInput, match="momentum"):
        SGDProbe(momentum=1.0).fit(X, y)


def test_steps_are_those_of_momentum_sgd():
    """Two steps of full batches, by hand; after a drop, a step is a tenth."""
    X, y = data(30)
    start, one, two, dropped, pushed = (
        SGDProbe(rate=r, momentum=p, epochs=e, drops=d, batch=30).fit(X, y).coef_
        for r, p, e, d in ((1e-9, 0, 1, ()), (1, 0, 1, ()), (1, 0, 2, ()), (1, 0, 2, (1,)), (1, 0.9, 2, ()))
    )
    assert np.allclose(dropped - one, 0.1 * (two - one))
    assert np.allclose(pushed - two, 0.9 * (one - start))
    assert min(np.abs(two - one).max(), np.abs(one - start).max()) > 0.01
