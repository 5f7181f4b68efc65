"""What holds for every head made of trees: saving, tampering, and the hard cases."""

import contextlib
import copy
import importlib

import numpy as np
import pytest

from smidgen.kit import methods
from smidgen.kit.errors import BadInput
from smidgen.kit.extras import installed
from smidgen.kit.state import pack, unpack

SMALL = {
    "forest": {"trees": 15},
    "extra_trees": {"trees": 15},
    "boosting": {"steps": 40},
    "lightgbm": {"steps": 12},
    "catboost": {"steps": 60},
}


def heads(kind):
    out = []
    for name, small in SMALL.items():
        package = methods.card(f"learn/{name}").package
        absent = package is not None and not installed(package)
        module = importlib.import_module(f"smidgen.learn.{name}")
        out.append(
            pytest.param(
                getattr(module, kind),
                small,
                id=f"{name}-{kind.lower()}",
                marks=pytest.mark.skipif(absent, reason=f"{package} is not installed"),
            )
        )
    return out


CLASSIFIERS, REGRESSORS = heads("CLASSIFIER"), heads("REGRESSOR")


def data(n=60, d=6, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = np.arange(n) % classes
    X[:, 0] += 1.5 * y
    return X, y


def saved(head):
    arrays = {}
    tree = pack(head.get_state(), arrays)
    return type(head).from_state(unpack(tree, {k: np.array(v, order="C") for k, v in arrays.items()}))


@pytest.mark.parametrize(("head", "small"), CLASSIFIERS)
@pytest.mark.parametrize("labels", [["no", "perhaps", "yes"], [2, 5, 11], ["a", "b"]])
def test_saved_classifier_is_bit_equal(head, small, labels):
    X, y = data(classes=len(labels))
    model = head(**small).fit(np.asfortranarray(X), np.array(labels)[y])
    again = saved(model)
    new = np.random.default_rng(1).normal(size=(31, X.shape[1])) * 2
    assert np.array_equal(model.predict_proba(new), again.predict_proba(new))
    assert np.array_equal(model.predict_proba(new)[7:8], again.predict_proba(new[7:8]))
    assert again.predict(new).tolist() == model.predict(new).tolist()


@pytest.mark.parametrize(("head", "small"), REGRESSORS)
def test_saved_regressor_is_bit_equal(head, small):
    X, y = data()
    model = head(**small).fit(X, y * 3.5 - 100)
    new = np.random.default_rng(1).normal(size=(31, X.shape[1])) * 2
    assert np.array_equal(model.predict(new), saved(model).predict(new))
    assert np.ptp(model.predict(new)) > 1


@pytest.mark.parametrize(("head", "small"), CLASSIFIERS + REGRESSORS)
def test_same_seed_same_model_and_other_seed_another(head, small):
    X, y = data()
    new = X + np.random.default_rng(1).normal(size=X.shape)
    said = [
        (m.predict_proba if hasattr(m, "predict_proba") else m.predict)(new)
        for m in (head(**small, random_state=s).fit(X, y) for s in (3, 3, 4))
    ]
    assert np.array_equal(said[0], said[1])
    assert not np.array_equal(said[0], said[2])


@pytest.mark.parametrize(("head", "small"), CLASSIFIERS)
def test_probabilities_are_never_certain(head, small):
    X, y = data(n=40, classes=2)
    X[:, 0] = 10 * y  # every leaf is pure
    p = head(**small).fit(X, y).predict_proba(X)
    assert p.min() > 0
    assert p.max() < 1
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    assert (p.argmax(1) == y).mean() > 0.9


@pytest.mark.parametrize(("head", "small"), CLASSIFIERS)
def test_hard_cases(head, small):
    X, y = data(n=21)
    y = np.where(np.arange(21) == 4, 3, y)  # a class with one example
    X[:, 2] = 1.0  # a constant feature
    p = head(**small).fit(X, y).predict_proba(X)
    assert p.shape == (21, 4)
    assert (p > 0).all()
    nothing = head(**small).fit(np.ones((21, 3)), y).predict_proba(np.zeros((2, 3)))
    np.testing.assert_allclose(nothing, np.tile(np.bincount(y) / 21, (2, 1)), atol=0.05)
    few = head(**small).fit(X[:3], y[:3]).predict_proba(X)  # three rows, three classes
    assert np.isfinite(few).all()
    assert (few > 0).all()


@pytest.mark.parametrize(("head", "small"), REGRESSORS)
def test_hard_cases_of_values(head, small):
    X, y = data(n=21)
    assert head(**small).fit(np.ones((21, 3)), y).predict(np.zeros((2, 3))) == pytest.approx([y.mean()] * 2, abs=0.3)
    assert head(**small).fit(X, np.full(21, 7.0)).predict(X) == pytest.approx([7.0] * 21)
    assert np.isfinite(head(**small).fit(X[:2], [1.0, 2.0]).predict(X)).all()


def _tampered(state):
    """States that differ in one place, each of which must be refused."""
    vectors = [k for k in ("prior_", "baseline_", "bias_") if k in state["learned"]]
    for name, spoil in {
        "loop": lambda s: s["trees_"]["left"].__setitem__(0, 0),
        "beyond": lambda s: s["trees_"]["left"].__setitem__(slice(None), 2**31 - 1),
        "feature": lambda s: s["trees_"]["feature"].__setitem__(0, 10**6),
        "value": lambda s: s["trees_"]["value"].__setitem__(0, np.nan),
        "no trees": lambda s: s.pop("trees_"),
        "features": lambda s: s.update(n_features_in_=1),
        "features as text": lambda s: s.update(n_features_in_="6"),
        **{f"short {k}": lambda s, k=k: s.update({k: s[k][:-1]}) for k in vectors},
        **{f"infinite {k}": lambda s, k=k: s.update({k: s[k] + np.inf}) for k in vectors},
        **({"classes": lambda s: s.update(classes_=s["classes_"][:1])} if "classes_" in state["learned"] else {}),
    }.items():
        made = copy.deepcopy(state)
        spoil(made["learned"])
        yield name, made


@pytest.mark.parametrize(("head", "small"), CLASSIFIERS + REGRESSORS)
def test_tampered_states_are_refused(head, small):
    X, y = data()
    state = head(**small).fit(X, y).get_state()
    head.from_state(copy.deepcopy(state))
    loaded = []
    for name, made in _tampered(state):
        with contextlib.suppress(BadInput):
            loaded.append((name, head.from_state(made)))
    assert not loaded


@pytest.mark.parametrize(("head", "small"), CLASSIFIERS)
def test_wrong_settings_are_refused(head, small):
    X, y = data()
    for wrong in [{next(iter(small)): 0}, {"max_features": 0.0}, {"max_features": "all"}]:
        with pytest.raises(BadInput, match=next(iter(wrong))):
            head(**{**small, **wrong}).fit(X, y)
