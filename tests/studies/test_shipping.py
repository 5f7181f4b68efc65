"""A task as data for other machines: what trials see is the same bit by bit, and damage is one sentence."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from smidgen.data.views.cache import fill
from smidgen.data.views.rows import Rows
from smidgen.kit.errors import BadInput
from smidgen.kit.files import digest
from smidgen.studies import offers, shipping
from smidgen.studies.shipping import fetch, pack_data, put, unpack_data
from smidgen.studies.store import RunStore
from smidgen.studies.trial import Trial, run_trial
from smidgen.tasks.read import read


@pytest.fixture(scope="module")
def sent():
    """All kinds of cells, missing ones too; groups; a pool with a group of its own; encoded texts."""
    rng, n = np.random.default_rng(0), 60
    words = ["good", "bad", "Ünicode", "\U0001f600", "so"]
    frame = pd.DataFrame(
        {
            "size": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)),
            "colour": [None if v == 0 else f"c{v}" for v in rng.integers(0, 4, n)],
            "day": pd.Series(pd.date_range("2020-01-01", periods=n)).where(rng.random(n) > 0.1),
            "said": [" ".join(rng.choice(words, 6)) + f" {i}" for i in range(n)],
            "key": np.arange(n),
            "who": rng.integers(0, 20, n),
            "target": rng.choice(["yes", "no"], n),
        }
    )
    more = frame.drop(columns="target").head(20).assign(size=np.arange(20.0), who=np.arange(10, 30))
    task = read(frame, "target", group="who", unlabelled=more)
    assert task.unlabelled is not None and task.pool_groups is not None
    rows, pool = Rows(task.frame), Rows(task.unlabelled, groups=task.pool_groups)
    for each in (rows, pool):
        fill(each, ("words", "chars"), None, columns=task.columns)
    learnt = {"learn/x": {"layers": [np.asfortranarray(rng.normal(size=(4, 3))), {"rate": float("nan"), "n": 3}]}}
    rows.blocks["minilm:said"] = np.asfortranarray(rng.normal(size=(n, 5)).astype(np.float32))
    return task, replace(rows, pool=pool, learnt=learnt)


def equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    if sparse.issparse(a):
        return type(a) is type(b) and all(equal(getattr(a, n), getattr(b, n)) for n in ("data", "indices", "indptr"))
    if isinstance(a, np.ndarray):
        same = a.dtype == b.dtype and a.shape == b.shape and a.flags.f_contiguous == b.flags.f_contiguous
        return same and a.tobytes() == b.tobytes()
    return a == b or (a != a and b != b)


def test_what_trials_see_comes_back_bit_by_bit(sent):
    task, rows = sent
    task2, rows2 = unpack_data(pack_data(task, rows))
    assert task2.fingerprint == task.fingerprint and task2.classes == task.classes
    assert equal(task2.target, task.target) and equal(task2.groups, task.groups)
    for mine, other in ((rows, rows2), (rows.pool, rows2.pool)):
        for column in task.columns:
            if column.used:
                a, b = mine.frame[column.name], other.frame[column.name]
                assert a.dtype == b.dtype and equal(a.isna().tolist(), b.isna().tolist())
                assert a.dropna().tolist() == b.dropna().tolist()
        assert equal(mine.blocks, other.blocks) and equal(mine.groups, other.groups)
    assert equal(rows2.learnt, rows.learnt)
    assert "key" not in rows2.frame, "columns that are not used stay where they are"
    assert pack_data(task2, rows2) == pack_data(task, rows)


@pytest.mark.parametrize("view", ["linear+tfidf_svd", "tree+tfidf_svd"])
def test_a_trial_of_it_is_the_same_trial(sent, view):
    task, rows = sent
    trial = Trial(task=task.fingerprint, method="learn/logistic", version=1, view=view, draw="cv:k=3:r=0", seed=4)
    here, there = run_trial(task, rows, trial), run_trial(*unpack_data(pack_data(task, rows)), trial)
    assert here.error is None and here.predictions.tobytes() == there.predictions.tobytes()


def test_images_go_as_arrays_and_without_their_paths(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "secret-place" / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "secret-place" / name / f"{i}.png")
    task = read(str(tmp_path / "secret-place"))
    rows = Rows(task.frame)
    fill(rows, ("pixels",), None, columns=task.columns)
    body = pack_data(task, rows)
    assert b"secret-place" not in body and b".png" not in body
    task2, rows2 = unpack_data(body)
    assert len(rows2.take(np.arange(4))) == 4
    trial = Trial(task=task.fingerprint, method="learn/logistic", version=1, view="pixels", draw="cv:k=3:r=0", seed=0)
    assert run_trial(task, rows, trial).predictions.tobytes() == run_trial(task2, rows2, trial).predictions.tobytes()


def test_damage_is_one_sentence(sent):
    body = pack_data(*sent)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        hurt = bytearray(body)
        for _ in range(rng.integers(1, 4)):
            hurt[rng.integers(0, len(hurt))] = rng.integers(256)
        try:
            unpack_data(bytes(hurt[: rng.integers(8, len(hurt))] if rng.random() < 0.5 else hurt))
        except BadInput as error:
            refused += "\n" not in str(error)
    assert refused > 120  # a changed number is still a number; the digest tells, below


def test_the_store_holds_it_in_parts_as_long_as_a_run_needs_it(sent, place, monkeypatch):
    monkeypatch.setattr(shipping, "PART_BYTES", 1000)
    body = pack_data(*sent)
    mark = digest(body)
    with RunStore(place) as store, RunStore(place) as other, RunStore(place) as third:
        for each in (store, other):
            offers.announce(each, "s", mark, None, "1")
        put(store, body, mark)
        put(other, body, mark)  # known by its content: nothing is written twice
        assert fetch(third, mark) == body
        offers.retire(store)
        assert fetch(third, mark) == body
        offers.retire(other)
        with pytest.raises(BadInput, match="not whole"):
            fetch(third, mark)


def test_a_changed_part_is_refused(sent, place):
    body = pack_data(*sent)
    mark = digest(body)
    with RunStore(place) as store:
        put(store, body[:-1] + b"?", mark)
        with pytest.raises(BadInput, match="damaged"):
            fetch(store, mark)


def test_too_much_is_not_sent(sent, monkeypatch):
    monkeypatch.setattr(shipping, "MAX_BYTES", 1000)
    with pytest.raises(BadInput, match="can be given to other machines"):
        pack_data(*sent)
