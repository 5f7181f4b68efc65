"""The network learns from pictures without labels alone; what it learnt is the same whoever fits on it."""

import numpy as np
import pytest

from smidgen.kit.errors import BadInput

pytest.importorskip("torch")

from smidgen.learn.barlow_pictures import BarlowPicturesClassifier, pretrain  # noqa: E402
from smidgen.learn.logistic import LogisticClassifier  # noqa: E402

SMALL = {"updates": 9, "batch": 32, "width": 8}


def bars(n, seed, colour=False):
    """16 x 16 pictures of a bar that lies or stands, somewhere, on noise; rows of pixels and which it is."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 60, (n, 16, 16, 3 if colour else 1)).repeat(1 if colour else 3, 3)
    y = np.arange(n) % 2
    for picture, lies in zip(x, y, strict=True):
        at = rng.integers(3, 12)
        (picture if lies else picture.transpose(1, 0, 2))[at : at + 2, 2:14] = 255
    return x.reshape(n, -1), np.where(y == 1, "lies", "stands").astype(object)


@pytest.fixture(scope="module")
def pool():
    return bars(96, 0)[0]


@pytest.fixture(scope="module")
def learnt(pool):
    return pretrain(pool, SMALL, 5)


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def test_learning_without_labels_helps_those_with_few(data_folder):
    """Sixty labelled digits, beside a network that has not learnt: in development 0.44 and 0.33."""
    with np.load(data_folder / "mnist10k" / "train.npz") as file:
        x, y = file["images"].reshape(-1, 784, 1).repeat(3, 2).reshape(-1, 2352).astype(float), file["labels"]
    right = []
    for updates in (1, 60):
        settings = {"updates": updates, "batch": 64, "width": 8}
        known = pretrain(x[:640], settings, 1)
        for draw in range(3):
            rows = np.random.default_rng(draw).permutation(np.arange(1000, 3000))[:60]
            head = BarlowPicturesClassifier(**settings).fit(x[rows], y[rows], pretrained=known)
            right.append((head.predict(x[3000:3500]) == y[3000:3500]).mean())
    assert np.mean(right[3:]) > np.mean(right[:3]) + 0.06


def test_the_answer_is_a_light_classifier_on_standardised_features(pool, learnt):
    X, y = bars(8, 1)
    head = BarlowPicturesClassifier(**SMALL).fit(X, y, pretrained=learnt)
    seen = head.features(pool)
    assert np.allclose(seen.mean(0), 0, atol=1e-6) and seen.std(0).max() <= 1
    said = LogisticClassifier().fit(head.features(X), y).predict_proba(seen)
    assert np.allclose(head.predict_proba(pool), (8 * said + 0.5 * 0.5) / 8.5)


def test_labels_do_not_change_what_was_learnt_and_a_fit_of_its_own_learns_the_same(pool, learnt):
    X, y = bars(8, 1)
    both = np.concatenate([X, pool])
    alone = BarlowPicturesClassifier(**SMALL, random_state=5).fit(both, np.concatenate([y, [None] * len(pool)]))
    turned = BarlowPicturesClassifier(**SMALL, random_state=5).fit(both, np.concatenate([y[::-1], [None] * len(pool)]))
    assert same(alone.weights_, learnt["weights"]) and same(turned.weights_, learnt["weights"])
    given = BarlowPicturesClassifier(**SMALL, random_state=7).fit(X, y, pretrained=learnt)
    new = bars(20, 3)[0]
    assert np.array_equal(given.predict_proba(new), alone.predict_proba(new))
    assert not np.array_equal(turned.predict_proba(new), alone.predict_proba(new))
    assert not same(pretrain(pool, SMALL, 6)["weights"], learnt["weights"])
    assert not same(pretrain(pool[1:], SMALL, 5)["weights"], learnt["weights"])


def test_colours_are_read_where_the_pictures_without_labels_have_them():
    X, y = bars(8, 1, colour=True)
    few = {**SMALL, "updates": 2}
    head = BarlowPicturesClassifier(**few).fit(X, y, pretrained=pretrain(bars(9, 0, colour=True)[0], few, 0))
    assert not head.grey_ and head.predict_proba(X).shape == (8, 2)


def test_what_it_cannot_learn_from_is_said(learnt):
    X, y = bars(8, 1)
    for call, match in (
        (lambda: pretrain(X[:1], {}, 0), "at least 2"),
        (lambda: pretrain(np.zeros((4, 3 * 9 * 9)), {}, 0), "even edge"),
        (lambda: pretrain(X, {"updats": 3}, 0), "updates"),
        (lambda: BarlowPicturesClassifier().fit(np.zeros((8, 3 * 8 * 8)), y, pretrained=learnt), "16 pixels a side"),
    ):
        with pytest.raises(BadInput, match=match):
            call()
