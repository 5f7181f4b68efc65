"""Which rows a draw gives to a fit, and what a trial accepts of a method."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from smidgen.data.views.rows import Rows
from smidgen.kit.seeds import derive_seed
from smidgen.learn.member import Member
from smidgen.studies import trial as trial_module
from smidgen.studies.trial import Trial, draw_in_words, drawn, fit_member, labels_of, parts, run_trial, state_bytes
from smidgen.tasks.read import read
from smidgen.tasks.splits import fold_of, sub_draw


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=40), "b": rng.normal(size=40), "y": np.arange(40) % 2})
    return read(frame, "y", kind="classification")


def trial_of(task, draw, method="learn/lda"):
    return Trial(task=task.fingerprint, method=method, version=1, view="linear", draw=draw, seed=3)


def test_parts_of_one_repeat_are_scored_on_the_same_folds(task):
    own = derive_seed(3, "cv", 1)
    folds = fold_of(task, 5, own)
    for f, (train, test) in enumerate(parts(task, "cv:k=5:r=1", 3)):
        assert (
            train.tolist() == np.flatnonzero(folds != f).tolist()
            and test.tolist() == np.flatnonzero(folds == f).tolist()
        )
    for draw, count in (("n=12", 12), ("n=12:m=6:e=20", 18), ("n=12:u=7", 19), ("n=12:p=5", 17)):
        for f, (train, test) in enumerate(parts(task, f"part:k=5:r=1:{draw}", 3)):
            whole = np.flatnonzero(folds != f)
            assert train.tolist() == whole[sub_draw(task.take(whole), count, own)].tolist()
            assert test.tolist() == np.flatnonzero(folds == f).tolist() and len(train) == count
    ((train, test),) = parts(task, "sub:n=15:r=2", 3)
    assert train.tolist() == sorted(sub_draw(task, 15, derive_seed(3, "sub", 2)))
    assert sorted([*train, *test]) == list(range(40)) and len(train) == 15


def test_labels_are_wrong_as_often_as_asked_and_only_the_further_ones(task):
    train = np.arange(40)
    assert (labels_of(task, "cv:k=5:r=0", train, 0) == task.target).all()
    assert (labels_of(task, "part:k=5:r=0:n=10:u=30", train, 0) == task.target).all()
    half = labels_of(task, "part:k=5:r=0:n=10:m=30:e=100", train, 0)
    assert (half[:10] == task.target[:10]).all() and (half[10:] == 1 - task.target[10:]).all()
    draw = "part:k=5:r=0:n=10:m=30:e=40"
    rng = np.random.default_rng(derive_seed(0, "wrong labels", draw))
    wrong = rng.random(40) < 0.4
    got = labels_of(task, draw, train, 0) != task.target
    assert got.tolist() == [bool(w) and i >= 10 for i, w in enumerate(wrong)] and 0 < got.sum() < 30


def test_draws_in_words_and_in_numbers(task):
    for draw, words, given in (
        ("cv:k=8:r=0", "all labels of 7 folds in 8", (35, 0)),
        ("part:k=5:r=0:n=12", "12 labels", (12, 0)),
        ("part:k=5:r=0:n=12:m=6:e=0.4", "12 labels, 6 more of which 0.4 % are wrong", (12, 6)),
        ("part:k=5:r=0:n=12:u=7", "12 labels, 7 rows without labels", (12, 7)),
        ("part:k=5:r=0:n=12:p=7", "12 labels, 7 rows without labels", (12, 7)),
        ("sub:n=15:r=0", "15 labels", (15, 0)),
    ):
        assert draw_in_words(draw) == words and drawn(task, draw, 3) == given


def test_a_trial_is_its_fits_one_part_after_the_other(task):
    rows, trial = Rows(task.frame), trial_of(task, "cv:k=4:r=0")
    found = run_trial(task, rows, trial)
    expected = np.full((40, 2), np.nan)
    for i, (train, test) in enumerate(parts(task, trial.draw, 3)):
        member = Member("learn/lda", "linear", "classification", 2, {})
        member.fit(
            rows.take(train), task.target[train], task.columns, derive_seed(3, "learn/lda", "linear", trial.draw, i)
        )
        expected[test] = member.predict(rows.take(test))
        size = state_bytes(member.get_state()) if not i else size  # noqa: F821
    assert found.predictions.tolist() == expected.tolist() and found.error is None and found.model_bytes == size
    assert found.seconds > 0 and found.cpu_seconds > 0 and found.peak_bytes > 1_000_000
    whole = Member("learn/lda", "linear", "classification", 2, {})
    whole.fit(rows, task.target, task.columns, derive_seed(3, "learn/lda", "linear", "all"))
    state = fit_member(task, rows, "learn/lda", "linear", {}, 3)
    assert (Member.from_state(state, task.columns).predict(rows) == whole.predict(rows)).all() and "notes" not in state


@pytest.mark.parametrize(
    ("p", "error"),
    [
        ([0.0, 1.0], None), ([0.5, 0.5009], None), ([0.5, 0.4991], None), ([0.5, 0.502], "do not sum to 1"),
        ([0.5, 0.498], "do not sum to 1"), ([-1e-6, 1.0], "negative"), ([np.nan, 1.0], "not finite"),
        ([np.inf, 0.0], "not finite"),
    ],
)  # fmt: skip
def test_probabilities_are_not_negative_and_sum_to_one(task, monkeypatch, p, error):
    monkeypatch.setattr(Member, "predict", lambda self, rows: np.tile(p, (len(rows), 1)))
    found = run_trial(task, Rows(task.frame), trial_of(task, "cv:k=2:r=0"))
    assert (found.error is None) == (error is None) and (error is None or error in found.error)
    assert (found.predictions is None) == (error is not None) and found.seconds > 0


def test_self_training_takes_its_sure_guesses(task, monkeypatch):
    fitted = []
    fit = Member.fit
    monkeypatch.setattr(
        Member,
        "fit",
        lambda self, own, told, *rest: fitted.append((len(own), told.tolist())) or fit(self, own, told, *rest),
    )
    guess = np.tile([0.8, 0.2], (40, 1))
    guess[:3] = [0.21, 0.79]

    def predict(self, rows):
        return guess[: len(rows)]

    monkeypatch.setattr(Member, "predict", predict)
    run_trial(task, Rows(task.frame), trial_of(task, "part:k=2:r=0:n=8:u=10"))
    assert [n for n, _ in fitted] == [8, 15, 8, 15] and fitted[1][1][8:] == [0] * 7  # seven of ten are sure enough
    assert fitted[1][1][:8] == fitted[0][1]
    sure, values = trial_module._guessed(np.array([1.5, 2.5]))
    assert sure.tolist() == [True, True] and values.tolist() == [1.5, 2.5]
    fitted.clear()
    run_trial(task, Rows(task.frame), trial_of(task, "part:k=2:r=0:n=8:p=10"))
    assert [n for n, _ in fitted] == [8, 8]


def test_memory_that_ends_is_no_result(task, monkeypatch):
    def eat(*_):
        raise MemoryError

    monkeypatch.setattr(Member, "fit", eat)
    with pytest.raises(MemoryError):
        run_trial(task, Rows(task.frame), trial_of(task, "cv:k=2:r=0"))

    def fail(*_):
        raise KeyError("x" * 900)

    monkeypatch.setattr(Member, "fit", fail)
    found = run_trial(task, Rows(task.frame), trial_of(task, "cv:k=2:r=0"))
    assert found.error.startswith("KeyError: 'xxx") and len(found.error) == 500


@pytest.mark.parametrize("fails", [False, True])
def test_a_trial_is_timed_whether_it_fails_or_not(task, monkeypatch, fails):
    wall, processor = iter([10.0, 13.5]), iter([2.0, 4.25])
    clocks = SimpleNamespace(perf_counter=lambda: next(wall), process_time=lambda: next(processor))

    def fit(*_):
        raise LookupError("x" * 600)

    if fails:
        monkeypatch.setattr(Member, "fit", fit)
    monkeypatch.setattr(trial_module, "time", clocks)
    found = run_trial(task, Rows(task.frame), trial_of(task, "cv:k=2:r=0"))
    assert (found.seconds, found.cpu_seconds) == (3.5, 2.25)
    assert found.error == (("LookupError: " + "x" * 600)[:500] if fails else None)
    assert (found.predictions is None, found.peak_bytes > 0, found.model_bytes > 0) == (fails, not fails, not fails)
