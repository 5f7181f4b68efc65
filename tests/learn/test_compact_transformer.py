"""The compact transformer as a method, on real digits of 8 x 8."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sklearn.datasets import load_digits

from smidgen.kit.errors import BadInput
from smidgen.kit.state import pack, unpack
from smidgen.learn.compact_transformer import CompactTransformerClassifier

SHORT = {"updates": 2, "batch": 4}


@pytest.fixture(scope="module")
def digits():
    """Rows of 8 x 8 x 3 values of 0 to 255, without colour, and their classes."""
    X, y = load_digits(return_X_y=True)
    return np.repeat(X[:, :, None] * (255 / 16), 3, axis=2).reshape(len(X), -1), np.array(list("abcdefghij"))[y]


def test_it_learns_digits_and_saves_itself(digits):
    X, y = digits
    made = CompactTransformerClassifier(updates=80, batch=24, shift=0.0).fit(X[:500], y[:500])
    said = made.predict_proba(X[500:900])
    assert (made.classes_[said.argmax(1)] == y[500:900]).mean() > 0.8
    arrays: dict[str, np.ndarray] = {}
    again = CompactTransformerClassifier.from_state(unpack(pack(made.get_state(), arrays), arrays))
    assert np.array_equal(again.predict_proba(X[500:900]), said)
    assert again.grey_ and len(again.mean_) == 1


def test_a_seed_decides_whatever_else_draws(digits):
    X, y = digits

    def outcome(seed):
        torch.rand(seed + 1)
        made = CompactTransformerClassifier(updates=3, batch=32, random_state=seed)  # enough to leave out some branch
        return made.fit(X[:40], y[:40]).predict_proba(X[:9])

    before = torch.random.get_rng_state()
    a = outcome(1)
    assert np.array_equal(a, outcome(1)) and not np.array_equal(a, outcome(2))
    torch.random.set_rng_state(before)


def test_colour_is_read_where_there_is_any(digits):
    X, y = digits
    red = X[:40].reshape(40, -1, 3) * [1.0, 0.5, 0.5]
    made = CompactTransformerClassifier(**SHORT).fit(red.reshape(40, -1), y[:40])
    assert made.mean_ == pytest.approx((red.mean((0, 1)) / 255).tolist(), rel=1e-5)
    assert made.spread_ == pytest.approx((red.std((0, 1)) / 255).tolist(), rel=1e-5)
    green = made.predict_proba((X[:40].reshape(40, -1, 3) * [0.5, 1.0, 0.5]).reshape(40, -1))
    assert np.abs(green - made.predict_proba(red.reshape(40, -1))).max() > 1e-4


def test_where_it_looks_can_be_seen_and_kept(digits, tmp_path):
    X, y = digits
    made = CompactTransformerClassifier(**SHORT).fit(X[:40], y[:40])
    looked = made.attention(X[:5])
    assert looked.shape == (5, 2, 2)
    np.testing.assert_allclose(looked.sum((1, 2)), 1, rtol=1e-6)
    made.export_attention(X[:5], tmp_path / "looked.safetensors")
    kept = load_file(tmp_path / "looked.safetensors")
    assert np.array_equal(kept["attention"], looked)
    assert np.array_equal(kept["probabilities"], made.predict_proba(X[:5]))


def test_what_is_no_picture_is_refused(digits):
    X, y = digits
    made, hole = CompactTransformerClassifier(**SHORT), X[:40].copy()
    hole[7, 3] = np.nan
    with pytest.raises(BadInput, match="row 7 .*1 pictures in all"):
        made.fit(hole, y[:40])
    with pytest.raises(BadInput, match="pixels of pictures"):
        made.fit(np.array([["good"], ["bad"]], object), ["a", "b"])
    with pytest.raises(BadInput, match="square pictures"):
        made.fit(X[:40, :100], y[:40])
    with pytest.raises(BadInput, match="batch"):
        CompactTransformerClassifier(batch=0).fit(X[:40], y[:40])
    made.fit(X[:40], y[:40])
    with pytest.raises(BadInput, match="NaN or infinite"):
        made.predict_proba(hole)
