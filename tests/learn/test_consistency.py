import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.kit.notes import listening
from smidgen.kit.state import pack, unpack

torch = pytest.importorskip("torch")

from smidgen.learn.consistency import ConsistencyClassifier  # noqa: E402
from smidgen.learn.picture_rows import edge_of, without_colour  # noqa: E402
from smidgen.train import device  # noqa: E402


def bars(n, seed, colour=False):
    """16 x 16 pictures of a bar that lies or stands, somewhere, on noise; rows of pixels and which it is."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 60, (n, 16, 16, 1 if not colour else 3)).repeat(1 if colour else 3, 3)
    y = np.arange(n) % 2
    for picture, lies in zip(x, y, strict=True):
        at = rng.integers(3, 12)
        (picture if lies else picture.transpose(1, 0, 2))[at : at + 2, 2:14] = 255
    return x.reshape(n, -1), np.where(y == 1, "lies", "stands").astype(object)


@pytest.fixture(scope="module")
def fitted():
    X, y = bars(70, 0)
    y[6:] = None
    return ConsistencyClassifier(updates=60, batch=8, width=8, threshold=0.6, random_state=1).fit(X, y), X, y


def test_six_labels_and_a_pool_tell_new_pictures(fitted):
    head, _, _ = fitted
    X, y = bars(40, 9)
    assert head.grey_ and head.labelled_ == 6 and head.kept_ > 0.1
    P = head.predict_proba(X)
    assert np.allclose(P.sum(1), 1)
    assert (head.predict(X) == y).mean() >= 0.9


def test_equal_seeds_equal_bits_and_the_pool_counts(fitted):
    head, X, y = fitted
    new = bars(20, 3)[0]
    again = ConsistencyClassifier(**head.get_params()).fit(X, y)
    assert np.array_equal(again.predict_proba(new), head.predict_proba(new))
    alone = ConsistencyClassifier(**head.get_params()).fit(X[:6], y[:6])
    assert not np.array_equal(alone.predict_proba(new), head.predict_proba(new))
    arrays = {}
    tree = pack(head.get_state(), arrays)
    saved = ConsistencyClassifier.from_state(unpack(tree, arrays))
    assert np.array_equal(saved.predict_proba(new), head.predict_proba(new))


def test_colours_are_three_channels():
    X, _ = bars(6, 0, colour=True)
    assert not without_colour(X)
    assert without_colour(bars(6, 0)[0])


@pytest.mark.parametrize("columns", [3 * 16 * 16 - 1, 3 * 4 * 4, 10 * 3])
def test_rows_that_are_no_pictures_are_refused(columns):
    with pytest.raises(BadInput, match="square pictures"):
        edge_of(columns)


def test_a_gpu_without_memory_falls_back_and_says_so(monkeypatch):
    monkeypatch.setattr(device, "best_device", lambda: "cuda")

    def job(where):
        if where == "cuda":
            raise torch.OutOfMemoryError("out of memory")
        return where

    with pytest.warns(UserWarning, match="Training: the GPU has too little memory"):
        assert device.on_best_device(job, "Training") == "cpu"
    with listening() as notes:  # as in a trial, where warnings would be lost
        assert device.on_best_device(job, "Training") == device.on_best_device(job, "Training") == "cpu"
    assert notes == ["Training: the GPU has too little memory, so it is done on the processor."]
    with pytest.raises(ZeroDivisionError):  # other errors are not memory's
        device.on_best_device(lambda where: 1 / 0, "Training")
