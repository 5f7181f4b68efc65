"""What a fit is forecast to cost: each part of a card's cost counts for what its words say."""

import numpy as np
import pandas as pd
import pytest

from smidgen.kit.methods import MethodCard
from smidgen.studies import candidates
from smidgen.studies.candidates import WORKER_BYTES, Candidate, forecast, once_seconds
from smidgen.tasks.read import read

ROWS, CLASSES, WIDTH = 60, 3, 2


@pytest.fixture
def task(monkeypatch):
    monkeypatch.setattr(candidates, "rough_width", lambda columns, view: WIDTH)
    x = np.random.default_rng(0).normal(size=(ROWS + 40, 2))
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1]})
    return read(frame[:ROWS].assign(y=["u", "v", "w"] * 20), "y", unlabelled=frame[ROWS:])


def card(**options) -> MethodCard:
    return MethodCard(title="T", tldr="t", **options)


def test_seconds(task):
    parts = (1.0, 2e6, 3e6, 4e3)
    whole = [1.0, 2.0 * ROWS * WIDTH * CLASSES, 3.0 * ROWS**2 * CLASSES, 4.0 * ROWS]
    for k in range(1, 5):  # those that do not matter are left off
        assert forecast(card(seconds=parts[:k]), task, "linear")[0] == pytest.approx(sum(whole[:k]))
    for batch, read_at_once in ((20, 20), (1000, ROWS)):  # few rows do not fill a batch
        grown = forecast(card(seconds=(*parts, 5e3), batch=batch), task, "linear")[0]
        assert grown == pytest.approx(sum(whole) + 5.0 * read_at_once)
    less = [1.0, whole[1] * 2 / 3, whole[2] * 4 / 9, whole[3] * 2 / 3]
    for batch in (20, ROWS - 1):  # two thirds of the rows still fill the smaller one
        of_fewer = forecast(card(seconds=(*parts, 5e3), batch=batch), task, "linear")[2]
        assert of_fewer == pytest.approx(sum(less) + 5.0 * min(batch, 40))
    words = read(pd.DataFrame({"t": [f"{i:03} ends a text" for i in range(60)], "y": ["u", "v"] * 30}), "y")
    each = 15 / 4.2 + 2  # pieces of 15 letters
    for batch, most, seconds, kept in (
        (20, 10**6, 20 * each, 20 * each),
        (60, 10**6, 60 * each, 40 * each),
        (60, 50, 50, 50),
    ):
        found = forecast(card(seconds=(0, 0, 0, 0, 1e3), batch=batch, batch_tokens=most), words, "tokens")
        assert (found[0], found[2]) == pytest.approx((seconds, kept))
    assert forecast(card(seconds=parts[:2]), task, "linear+tfidf")[0] == pytest.approx(1.0 + 6 * whole[1])
    assert forecast(card(seconds=parts[:2], unlabelled=True), task, "linear")[0] == pytest.approx(
        1.0 + whole[1] * (ROWS + 40) / ROWS
    )


def test_memory(task):
    plain = WORKER_BYTES + 8 * 6 * ROWS * WIDTH + 8 * 8 * ROWS * CLASSES
    assert forecast(card(), task, "linear")[1] == plain
    assert forecast(card(unlabelled=True), task, "linear")[1] == plain + 8 * 6 * 40 * WIDTH
    grown = forecast(card(bytes_per_pair=2.0, bytes_per_row=3.0), task, "linear")[1]
    assert grown == plain + 2 * ROWS**2 + 3 * ROWS * WIDTH


def test_what_is_learnt_once(task, monkeypatch):
    learns = card(pretraining=(5.0, 2.0))
    assert once_seconds(learns, task) == pytest.approx(5.0 + 2.0 * 0.04)
    assert once_seconds(card(pretraining=(5.0,)), task) == 5.0 and once_seconds(card(), task) == 0.0
    monkeypatch.setattr(candidates, "MOST_POOL", 10)
    assert once_seconds(learns, task) == pytest.approx(5.0 + 2.0 * 0.01)
    assert Candidate("learn/a", "x").once == Candidate("learn/a", "x").seconds == 0.0
