"""TabPFN: no weights, wrong weights, no package, and the reading of rows through a stand-in for the package."""

import sys
import types

import numpy as np
import pytest

from smidgen.kit import methods
from smidgen.kit.errors import BadInput, MissingExtra
from smidgen.kit.state import pack, unpack
from smidgen.learn import tabpfn as ours

X = np.arange(24.0).reshape(12, 2)
y = np.array(["a", "b", "c"])[np.arange(12) % 3]


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch):
    monkeypatch.delenv(ours.WEIGHTS, raising=False)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def package(monkeypatch):
    """The public interface of `tabpfn` that we use, as 1-nearest-neighbour: it shows what is handed over, and when."""

    class Nearest:
        asked: list = []

        def __init__(self, *, model_path, n_estimators, device, random_state, n_preprocessing_jobs):
            self.asked.append((model_path, n_estimators, device, random_state))

        def fit(self, X, y):
            self.X, self.y = X, y
            return self

        def predict(self, X):
            return self.y[((X[:, None] - self.X) ** 2).sum(2).argmin(1)]

        def predict_proba(self, X):
            return np.eye(self.y.max() + 1, dtype=np.float32)[self.predict(X)]

    made = types.ModuleType("tabpfn")
    made.TabPFNClassifier = made.TabPFNRegressor = Nearest  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tabpfn", made)
    monkeypatch.setattr("smidgen.kit.extras.installed", lambda *modules: True)
    return Nearest


def test_card_is_honest():
    card = methods.card("learn/tabpfn")
    assert (card.extra, card.package) == ("tabfm", "tabpfn")
    assert "never downloaded" in card.tldr


def test_without_weights_it_says_so(tmp_path):
    with pytest.raises(BadInput, match=f"downloads none.*{ours.WEIGHTS}"):
        ours.TabPFNClassifier().fit(X, y)
    with pytest.raises(BadInput, match="which is none"):
        ours.TabPFNClassifier(weights=str(tmp_path / "no.safetensors")).fit(X, y)
    with pytest.raises(BadInput, match="can carry code"):
        ours.TabPFNClassifier(weights=str(tmp_path / "w.ckpt")).fit(X, y)


def test_absence_names_the_extra(weights, monkeypatch):
    monkeypatch.setattr("smidgen.kit.extras.installed", lambda *modules: False)
    with pytest.raises(MissingExtra, match=r"pip install 'smidgen\[tabfm\]'"):
        ours.TabPFNRegressor(weights=str(weights)).fit(X, X[:, 0])


def test_saved_model_finds_its_weights_by_hash_only(weights, package, monkeypatch):
    model = ours.TabPFNClassifier(weights=str(weights), random_state=3).fit(X, y)
    p = model.predict_proba(X)
    assert package.asked[-1] == (str(weights), 4, "cpu", 3)
    assert p.min() > 0
    assert model.predict(X).tolist() == y.tolist()

    arrays = {}
    packed = pack(model.get_state(), arrays)
    assert str(weights) not in str(packed)
    packed["params"]["weights"] = "/elsewhere/evil.safetensors"  # a path in a folder is not believed
    again = ours.TabPFNClassifier.from_state(unpack(packed, arrays))
    with pytest.raises(BadInput, match=ours.WEIGHTS):
        again.predict_proba(X)
    monkeypatch.setenv(ours.WEIGHTS, str(weights))
    assert np.array_equal(again.predict_proba(X), p)
    weights.write_bytes(b"others")
    with pytest.raises(BadInput, match="is not the weights file"):
        again.predict_proba(X)


def test_values(weights, package):
    model = ours.TabPFNRegressor(weights=str(weights)).fit(X, X[:, 0])
    assert model.predict(X + 0.1).tolist() == X[:, 0].tolist()
    state = model.get_state()
    del state["learned"]["weights_hash_"]
    with pytest.raises(BadInput, match="which weights"):
        ours.TabPFNRegressor.from_state(state)
