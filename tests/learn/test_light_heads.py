"""What holds for every light head: saving, and the hard cases of little data."""

import importlib

import numpy as np
import pytest
import scipy.sparse

from smidgen.kit.state import pack, unpack

MODULES = ("logistic", "ridge", "lda", "naive_bayes", "knn", "svm", "gaussian_process")
HEADS = [
    pytest.param(getattr(module, role), id=f"{name}-{role.lower()}")
    for name in MODULES
    for module in [importlib.import_module(f"smidgen.learn.{name}")]
    for role in ("CLASSIFIER", "REGRESSOR")
    if hasattr(module, role)
]
CLASSIFIERS = [p for p in HEADS if "classifier" in str(p.id)]
REGRESSORS = [p for p in HEADS if "regressor" in str(p.id)]


def data(n=40, d=6, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = np.arange(n) % classes
    X[:, 0] += 1.5 * y
    return X, y


def saved(head):
    arrays = {}
    tree = pack(head.get_state(), arrays)
    return type(head).from_state(unpack(tree, {k: np.array(v, order="C") for k, v in arrays.items()}))


def test_all_heads_are_here():
    assert len(CLASSIFIERS) == 6
    assert len(REGRESSORS) == 4


@pytest.mark.parametrize("head", CLASSIFIERS)
@pytest.mark.parametrize("labels", [np.array(["no", "perhaps", "yes"]), np.array([2, 5, 11]), np.array(["a", "b"])])
def test_saved_classifier_is_bit_equal(head, labels):
    X, y = data(classes=len(labels))
    model = head().fit(np.asfortranarray(X), labels[y])
    again = saved(model)
    new = np.random.default_rng(1).normal(size=(31, X.shape[1])) * 2
    assert np.array_equal(model.predict_proba(new), again.predict_proba(new))
    assert again.predict(new).tolist() == model.predict(new).tolist()
    assert np.array_equal(head().fit(X, labels[y]).predict_proba(new), head().fit(X, labels[y]).predict_proba(new))


@pytest.mark.parametrize("head", REGRESSORS)
def test_saved_regressor_is_bit_equal(head):
    X, _ = data()
    model = head().fit(X, X[:, 0] ** 2 + X[:, 1])
    new = np.random.default_rng(1).normal(size=(31, X.shape[1]))
    assert np.array_equal(model.predict(new), saved(model).predict(new))


def hard_cases():
    rng = np.random.default_rng(3)
    X, y = data(30, 5)
    lonely = y.copy()
    lonely[lonely == 2] = 1
    lonely[7] = 2
    constant = X.copy()
    constant[:, 2] = 4.0
    yield pytest.param(X, lonely, id="class of one row")
    yield pytest.param(constant, y, id="constant feature")
    yield pytest.param(np.zeros_like(X), y, id="nothing but constants")
    yield pytest.param(rng.normal(size=(12, 60)), np.arange(12) % 3, id="more features than rows")
    yield pytest.param(X[:4], np.arange(4), id="one row a class")
    yield pytest.param(X[:2], np.arange(2), id="two rows")
    yield pytest.param(np.repeat(X[:6], 4, 0), np.repeat(y[:6], 4), id="repeated rows")
    yield pytest.param(X * 1e6, y, id="large numbers")


@pytest.mark.parametrize("head", CLASSIFIERS)
@pytest.mark.parametrize(("X", "y"), list(hard_cases()))
def test_hard_cases_give_probabilities(head, X, y):
    model = head().fit(X, y)
    P = model.predict_proba(np.vstack([X, X[::-1] * 1.5 + 0.1 * np.abs(X).max()]))
    assert P.shape[1] == len(np.unique(y))
    assert np.isfinite(P).all()
    assert np.allclose(P.sum(1), 1)
    assert (P >= 0).all()


@pytest.mark.parametrize("head", REGRESSORS)
@pytest.mark.parametrize(("X", "y"), list(hard_cases()))
def test_hard_cases_give_values(head, X, y):
    assert np.isfinite(head().fit(X, y.astype(float)).predict(X * 1.5)).all()
    assert np.allclose(head().fit(X, np.full(len(X), 3.5)).predict(X), 3.5)


@pytest.mark.parametrize("head", CLASSIFIERS)
def test_noise_is_not_believed(head):
    """Labels that have nothing to do with the features: the loss on new rows stays near that of the class shares."""
    losses = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(40, 15)), rng.permutation(np.arange(40) % 2)
        P = head().fit(X, y).predict_proba(rng.normal(size=(500, 15)))
        losses.append(-np.log(P[np.arange(500), rng.integers(0, 2, 500)]).mean())
    assert np.mean(losses) < np.log(2) + 0.09


@pytest.mark.parametrize("head", [p for p in HEADS if p.values[0].takes_sparse])
@pytest.mark.parametrize("n", [60, 2600])  # through the Gram matrix, and on X itself
def test_sparse_is_as_dense(head, n):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 40)) * (rng.random((n, 40)) < 0.2)
    y = (X[:, 0] + X[:, 1] + 0.3 * rng.normal(size=n) > 0).astype(float)
    a, b = head(strength=2.0).fit(X, y), head(strength=2.0).fit(scipy.sparse.csr_array(X), y)
    assert np.allclose(a.coef_, b.coef_, atol=2e-5)
    assert np.allclose(a.intercept_, b.intercept_, atol=2e-5)
    auto = head().fit(scipy.sparse.csr_array(X), y)
    assert np.ravel(auto.coef_).argmax() in (0, 1)
