"""Paired learning curves against scikit-learn, crossings that are known, the mixture against its formulas."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MinMaxScaler

from smidgen.kit.errors import BadInput
from smidgen.kit.seeds import derive_seed
from smidgen.learn.logistic import LogisticClassifier
from smidgen.learn.naive_bayes import SharedVarianceGaussianNB
from smidgen.papers import p035_naive_bayes as claim
from smidgen.studies.two_regimes import (
    crossing_point,
    few_shot,
    learning_curve_pair,
    make_gaussian_mixture,
    mean_curves,
    mixture_bayes_error,
    samples_to_reach,
)


def table(gaps):
    """A table whose naive Bayes error is 0.5 + gap, logistic regression's 0.5; gaps `[repeats, sizes]`."""
    rows = [(10 * 2**j, r, 0.5 + g, 0.5) for r, row in enumerate(gaps) for j, g in enumerate(row)]
    return pd.DataFrame(rows, columns=["m", "repeat", "err_nb", "err_lr"]).sample(frac=1, random_state=0)


def test_balanced_draws_are_nested_and_filled_up():
    y = np.array(["a"] * 50 + ["b"] * 3 + ["c"] * 50)
    draws = {m: few_shot(y, m, seed=4) for m in (3, 7, 12, 40, 103)}
    counts = {m: [int((y[rows] == c).sum()) for c in "abc"] for m, rows in draws.items()}
    assert counts[3] == [1, 1, 1] and sorted(counts[7]) == [2, 2, 3] and counts[12][1] == 3
    assert counts[40][1] == 3 and abs(counts[40][0] - counts[40][2]) == 1
    assert set(draws[7]) < set(draws[12]) < set(draws[40]) < set(draws[103]) == set(range(103))
    assert set(few_shot(y, 40, seed=5)) != set(draws[40])


def test_draws_at_random_hold_every_class():
    y = np.repeat([0, 1, 2], [400, 500, 100])
    shares = np.mean([np.bincount(y[few_shot(y, 30, balanced=False, seed=s)]) for s in range(400)], axis=0) / 30
    assert abs(shares[2] - 0.1 - 0.9**30 / 30) < 0.01  # one row more where there would be none
    assert abs(shares[0] - 0.4) < 0.01
    rare = np.array([0] * 5000 + [1])  # not to be met by chance
    for s in range(5):
        rows = few_shot(rare, 4, balanced=False, seed=s)
        assert len(set(rows)) == 4 and rare[rows].sum() == 1
    for m in (2, 1001):
        with pytest.raises(BadInput, match=r"3 \(one row a class\) to 1000"):
            few_shot(y, m)
    with pytest.raises(BadInput, match="at least 2 classes"):
        few_shot([1, 1], 2)


def test_curves_are_those_of_scikit_learn():
    X, y = make_gaussian_mixture(3, 6, 400, seed=0)
    X, y, new, truth = X[:200], y[:200], X[200:], y[200:]
    seen = []
    found = learning_curve_pair(X, y, new, truth, [6, 30], 3, seed=1, progress=lambda *at: seen.append(at))
    assert seen == [(i, 6) for i in range(1, 7)] and len(found) == 6
    for row in found.itertuples():
        rows = few_shot(y, row.m, seed=derive_seed(1, "repeat", row.repeat))
        scaler = MinMaxScaler().fit(X[rows])
        old, test = scaler.transform(X[rows]), scaler.transform(new)
        lr = LogisticRegression(C=1, max_iter=1000).fit(old, y[rows])
        assert abs(row.err_lr - (lr.predict(test) != truth).mean()) <= 0.005
        assert row.err_nb == (SharedVarianceGaussianNB().fit(X[rows], y[rows]).predict(new) != truth).mean()
    assert found.groupby("m")["err_lr"].nunique().max() > 1
    with pytest.raises(BadInput, match="X_test"):
        learning_curve_pair(X, y, new[:, :5], truth, [6], 1)
    with pytest.raises(ValueError, match="NaN"):
        learning_curve_pair(np.where(X > 3, np.nan, X), y, new, truth, [150], 1)


def test_bands_are_students():
    curve = mean_curves(table([[0.0, 0.1], [0.2, 0.1]]))
    assert curve["m"].tolist() == [10, 20]
    assert np.allclose(curve["err_nb"], 0.6)
    assert np.allclose(curve["err_nb_high"] - curve["err_nb"], [6.3137515 * 0.1, 0])  # t(1) at 95 %, sd / sqrt(2) = 0.1
    assert np.allclose(curve["err_lr_low"], 0.5)


def test_crossing_needs_a_lower_mean_that_is_sure():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(10, 4)) * [0.01, 0.2, 0.01, 0.01]
    gaps = noise - noise.mean(0) + [-0.05, 0.02, 0.05, 0.1]  # at the second size only the mean is lower
    assert crossing_point(table(gaps)) == (40, (40.0, 40.0))
    assert crossing_point(table(gaps[:, :2])) is None
    found = crossing_point(table(noise - noise.mean(0) + [-0.05, -0.05, 0.008, 0.1]))
    assert found is not None and found[1] == (40.0, 80.0)
    with pytest.raises(BadInput, match="at least 2 repeats"):
        crossing_point(table(gaps).iloc[1:])


def test_crossing_that_does_not_last():
    gaps = np.array([0.05, -0.05, -0.05, 0.05]) + np.random.default_rng(0).normal(scale=0.01, size=(8, 4))
    assert crossing_point(table(gaps), lasting=False) == (10, (10.0, 10.0))
    assert crossing_point(table(gaps)) == (80, (80.0, 80.0))
    assert crossing_point(table(gaps[:, :3])) is None


def test_no_crossing_is_seen_where_there_is_none():
    rng = np.random.default_rng(0)
    null = [table(rng.normal(scale=0.02, size=(5, 6))) for _ in range(300)]
    seen = np.mean([crossing_point(t, lasting=False, resamples=1) is not None for t in null])
    assert 0.02 < seen < 0.08  # at most 0.05, but for chance


def test_claim_reports_crossings_by_set():
    runs = [
        {f"{name} {p} {s}": 0.3 + (p == "nb") * (s - 7 + i) / 1000 for name in claim.SETS for p in ("nb", "lr")
         for s in claim.SHOTS}
        for i in range(3)
    ]  # fmt: skip
    assert claim.crossings(runs) == dict.fromkeys(claim.SETS, (20, (10.0, 20.0)))


@pytest.mark.parametrize("mode", ["easy", "hard"])
def test_mixture_is_as_described(mode):
    X, y = make_gaussian_mixture(4, 6, 60_000, mode, seed=0)
    assert np.bincount(y).tolist() == [15_000] * 4
    assert np.allclose([X[y == k].mean() for k in range(4)], [-1, 1, 2, 4], atol=0.05)
    covariance = np.cov((X - np.array([-1.0, 1, 2, 4])[y][:, None]).T)
    diagonal = np.diag([6.0] * 3 + [1.0] * 3)
    if mode == "easy":
        assert np.allclose(covariance, diagonal, atol=0.12)
    else:
        A = np.random.default_rng(derive_seed(0, "hard", 6)).uniform(-1, 1, (6, 6))
        wished = A.T @ A
        wished[np.diag_indices(6)] = np.diag(diagonal)
        U, s, V = np.linalg.svd(wished)  # as numpy.random.multivariate_normal
        assert np.allclose(covariance, (V.T * s) @ V, atol=0.12)
    other, _ = make_gaussian_mixture(4, 6, 60_000, mode, seed=1)
    assert not np.allclose(X[:5], other[:5])
    best = LinearDiscriminantAnalysis().fit(X, y)  # with so many rows, the Bayes rule
    assert abs((best.predict(X) != y).mean() - mixture_bayes_error(4, 6, mode)) < 0.006


class BayesRule(BaseEstimator):
    """Knows the means of two classes in independent features."""

    def fit(self, X, y):
        self.weights_ = 1 / np.where(np.arange(X.shape[1]) < X.shape[1] // 2, X.shape[1], 1)
        return self

    def predict(self, X):
        return (X @ self.weights_ > 0).astype(int)


def test_labels_needed():
    assert samples_to_reach(BayesRule(), 2, 30) == 4
    assert samples_to_reach(DummyClassifier(), 2, 30, limit=40, test=500) is None
    walked = []
    probe = LogisticClassifier(strength=1.0)
    m = samples_to_reach(probe, 2, 30, test=2000, seed=3, progress=lambda *at: walked.append(at))
    sizes, errors = zip(*walked, strict=True)
    goal = mixture_bayes_error(2, 30) + 0.01
    assert list(sizes) == list(range(4, m + 1, 4))  # ceil(log 30) = 4
    assert min(errors[:-1]) >= goal > errors[-1]
    assert 2 * samples_to_reach(SharedVarianceGaussianNB(), 2, 30, test=2000, seed=3) < m
    for wrong in ({"K": 1, "n": 5}, {"K": 2, "n": 1}, {"K": 2, "n": 5, "mode": "odd"}):
        with pytest.raises(BadInput, match="expected"):
            make_gaussian_mixture(m=10, **wrong)
