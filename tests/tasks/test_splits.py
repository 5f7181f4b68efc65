"""Splits keep groups whole, classes spread, folds filled, and are the same each time."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen.kit.errors import BadInput
from smidgen.tasks.splits import fold_of, sub_draw, units_of
from smidgen.tasks.task import Task


@st.composite
def tasks(draw: st.DrawFn, grouped: bool | None = None) -> Task:
    n = draw(st.integers(2, 60))
    kind = draw(st.sampled_from(["classification", "regression"]))
    if kind == "classification":
        target = np.array(draw(st.lists(st.integers(0, draw(st.integers(1, 8))), min_size=n, max_size=n)))
        classes = tuple(range(int(target.max()) + 1))
    else:
        target, classes = np.array(draw(st.lists(st.floats(-5, 5), min_size=n, max_size=n))), ()
    with_groups = draw(st.booleans()) if grouped is None else grouped
    groups = np.array(draw(st.lists(st.integers(0, n), min_size=n, max_size=n))) if with_groups else None
    return Task(
        frame=pd.DataFrame({"x": np.zeros(n)}),
        target=target,
        kind=kind,
        columns=(),
        metric="",
        classes=classes,
        groups=groups,
    )


@settings(max_examples=120, deadline=None)
@given(tasks(), st.integers(0, 5), st.data())
def test_folds(task, seed, data):
    units = units_of(task)
    count = len(np.unique(units))
    if count < 2:
        with pytest.raises(BadInput, match="folds"):
            fold_of(task, 2, seed)
        return
    folds = data.draw(st.integers(2, min(count, 10)))
    fold = fold_of(task, folds, seed)
    assert set(fold) == set(range(folds))
    assert all(len(set(fold[units == u])) == 1 for u in units)
    assert (fold == fold_of(task, folds, seed)).all()
    if task.kind == "classification":
        for c in np.unique(task.target):
            own = np.unique(units[task.target == c])
            if all((units == u).sum() == 1 for u in own) and len(own) < folds:
                assert len({int(fold[units == u][0]) for u in own}) == len(own)


@settings(max_examples=100, deadline=None)
@given(tasks(grouped=False), st.integers(0, 5))
def test_folds_without_groups_are_even(task, seed):
    folds = min(len(task), 5)
    fold = fold_of(task, folds, seed)
    assert np.ptp(np.bincount(fold, minlength=folds)) <= 1
    if task.kind == "classification":
        for c in np.unique(task.target):
            assert np.ptp(np.bincount(fold[task.target == c], minlength=folds)) <= 1


def test_regression_folds_share_the_range_of_the_target():
    rng = np.random.default_rng(0)
    task = Task(
        frame=pd.DataFrame(index=range(50)), target=rng.normal(size=50) ** 3, kind="regression", columns=(), metric=""
    )
    rank = task.target.argsort().argsort()
    fold = fold_of(task, 5, 0)
    means = [rank[fold == f].mean() for f in range(5)]
    assert np.ptp(means) < 4.5  # one from each of ten strata of five ranks: at most 4 apart
    assert any((fold != fold_of(task, 5, seed)).any() for seed in (1, 2))


@settings(max_examples=60, deadline=None)
@given(tasks(), st.integers(0, 5))
def test_sub_draws_are_nested_and_show_each_class(task, seed):
    units = units_of(task)
    whole = sub_draw(task, len(task), seed)
    assert sorted(whole) == list(range(len(task)))
    largest = np.bincount(units).max()
    for n in range(1, len(task) + 1):
        rows = sub_draw(task, n, seed)
        assert (whole[: len(rows)] == rows).all()
        assert not set(units[rows]) & set(np.delete(units, rows))
        assert len(rows) <= max(n, largest) and len(rows) > n - largest
        if task.kind == "classification" and largest == 1 and n >= len(np.unique(task.target)):
            assert set(task.target[rows]) == set(task.target)


def test_sub_draws_keep_proportions():
    target = np.repeat([0, 1, 2], [60, 30, 10])
    task = Task(
        frame=pd.DataFrame(index=range(100)),
        target=target,
        kind="classification",
        columns=(),
        metric="",
        classes=(0, 1, 2),
    )
    for seed in range(10):
        assert np.abs(np.bincount(target[sub_draw(task, 50, seed)]) - [30, 15, 5]).max() <= 2
