"""The tuned encoder: its loss, its batches, what it learns, what it saves and what it refuses."""

import json

import numpy as np
import pytest
import torch

from smidgen.kit.errors import BadInput
from smidgen.kit.state import pack, unpack
from smidgen.nets import minilm

if not minilm.available():
    pytest.skip("the MiniLM weights are not installed", allow_module_level=True)

from smidgen.data.views.encoders import encode
from smidgen.learn._tuned_tokens import batches, texts_to_tune, token_rows
from smidgen.learn._tuned_training import Batches, pair_loss
from smidgen.learn.tuned_encoder import TunedEncoder

PAST = ["I went home", "She ate it all", "He saw me there", "We ran away"]
TEXTS = [*PAST, "I go home", "She eats it", "He sees me", "We run"]
NEW = ["They slept", "They sleep late every day, and nobody minds it", "She wrote a letter"]
Y = np.array(["past"] * 4 + ["now"] * 4)
QUICK = {"layers": 2, "updates": 6, "rank": 4}


@pytest.fixture(scope="module")
def X():
    return encode("tokens", TEXTS).astype(np.float64)


@pytest.fixture(scope="module")
def fitted(X):
    torch.set_num_threads(1)
    return TunedEncoder(**QUICK, members=2).fit(X, Y)


def test_the_loss_is_the_mean_over_both_kinds_of_pairs():
    rng = np.random.default_rng(0)
    z, y = rng.standard_normal((7, 5)), np.array([0, 0, 1, 1, 1, 2, 0])
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    own, other = [], []
    for i in range(7):
        for j in range(7):
            if i != j:
                (own if y[i] == y[j] else other).append((z[i] @ z[j] - (y[i] == y[j])) ** 2)
    assert float(pair_loss(torch.from_numpy(z), torch.from_numpy(y))) == pytest.approx(
        (np.mean(own) + np.mean(other)) / 2, rel=1e-6
    )


def test_batches_are_even_over_classes_and_every_class_has_its_turn():
    codes = np.repeat(np.arange(10), [30, 3, 3, 3, 3, 3, 3, 3, 3, 3])
    rows_of = Batches(codes, 16, np.random.default_rng(0))
    seen = np.zeros(10, int)
    for _ in range(5):
        rows = rows_of()
        assert len(set(rows)) == len(rows) <= 16
        counts = np.bincount(codes[rows], minlength=10)
        assert (counts > 0).sum() == 4 and counts.max() <= 4
        seen += counts > 0
    assert (seen == 2).all()
    assert (Batches(codes[:12], 16, np.random.default_rng(0))() == np.arange(12)).all()


def test_texts_of_a_class_come_together(X):
    """Tense is not what the frozen encoder sorts these by; after tuning it is."""

    def gap(z):
        same = Y[:, None] == Y
        return (z @ z.T)[same & ~np.eye(8, dtype=bool)].mean() - (z @ z.T)[~same].mean()

    from smidgen.learn import _tuned_tokens as tokens
    from smidgen.learn import _tuned_training as training
    from smidgen.nets.minilm_torch import load

    longer = TunedEncoder(updates=15).fit(X, Y)
    lower = tokens.read_lower(load(), token_rows(X, 30522), [])
    tuned = training.embed(load(), lower, training.whole(longer.changes_[0])).numpy()
    assert gap(tuned) > gap(encode("minilm", TEXTS)) + 0.3
    assert (longer.predict(X) == Y).all()


def test_saves_itself_small_and_repeats(X, fitted):
    new = encode("tokens", NEW).astype(np.float64)
    out = fitted.predict_proba(new)
    assert out.shape == (3, 2) and np.allclose(out.sum(1), 1)
    arrays: dict[str, np.ndarray] = {}
    state = json.loads(json.dumps(pack(fitted.get_state(), arrays)))
    assert sum(a.nbytes for a in arrays.values()) < 250_000
    assert np.array_equal(out, TunedEncoder.from_state(unpack(state, arrays)).predict_proba(new))
    assert np.array_equal(out, TunedEncoder(**QUICK, members=2).fit(X, Y).predict_proba(new))
    assert not np.array_equal(out, TunedEncoder(**QUICK, members=2, random_state=1).fit(X, Y).predict_proba(new))
    assert np.allclose(fitted.predict_proba(new[:1]), out[:1], atol=1e-5)


def test_another_encoder_and_other_numbers_are_refused(X, fitted):
    other = TunedEncoder.from_state(fitted.get_state())
    other.encoder_hash_ = "0" * 32
    with pytest.raises(BadInput, match=f"{'0' * 32}.*fit again"):
        other.predict(X)
    for value in (0.5, -1, 30522):
        wrong = X.copy()
        wrong[2, 1] = value
        with pytest.raises(BadInput, match="Row 2, column 1"):
            fitted.predict(wrong)
    with pytest.raises(BadInput, match="layers: expected 1 to 6"):
        TunedEncoder(layers=7).fit(X, Y)


def test_rows_end_where_their_text_does():
    rows = token_rows(np.array([[5, 0, 7, 0], [0, 0, 0, 0], [1, 2, 3, 4.0]]), 10)
    assert [r.tolist() for r in rows] == [[5, 0, 7], [0], [1, 2, 3, 4]]
    parts = list(batches([3, 9, 2, 3, 50], tokens=12))
    assert sorted(sum(parts, [])) == [0, 1, 2, 3, 4] and parts[-1] == [4] and len(parts[0]) == 3
    assert [texts_to_tune([n] * 60, 48) for n in (10, 32, 128)] == [48, 32, 8] and texts_to_tune([128], 4) == 4
