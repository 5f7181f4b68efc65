"""The noise of a score on few rows, resample by resample."""

import numpy as np
import pandas as pd
import pytest

from smidgen.kit.seeds import derive_seed
from smidgen.studies.losses import Scale
from smidgen.studies.row_noise import row_noise
from smidgen.tasks.metrics import METRICS
from smidgen.tasks.read import read

N = 24
RNG = np.random.default_rng(0)
Y = np.arange(N) % 2
UP = 1 / (1 + np.exp(-(0.05 * (2 * Y - 1) + RNG.normal(size=N))))


def task_of(grouped=False):
    frame = pd.DataFrame({"x": RNG.normal(size=N), "y": Y, "who": np.arange(N) // 2})
    return read(frame if grouped else frame.drop(columns="who"), "y", kind="classification",
                **({"group": "who"} if grouped else {}))  # fmt: skip


def by_hand(metric, p, rows, groups, seed, least=0.05):
    scale = Scale.of(metric)
    score = METRICS[metric].score
    rng = np.random.default_rng(derive_seed(seed, "noise", metric))
    names, unit = np.unique(groups[rows], return_inverse=True)
    loss, logs = scale.loss(score(Y[rows], p[rows])), []
    for _ in range(200):
        m = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))[unit].astype(float)
        at = rows[m > 0]
        drawn = score(Y[at], p[at], m[m > 0])
        if np.isfinite(drawn):
            logs.append(np.log(max(scale.loss(drawn), loss / 4, 1e-4)))
    return max(np.std(logs), least)


@pytest.mark.parametrize("metric", ["auc", "brier", "macro_f1"])
@pytest.mark.parametrize("grouped", [False, True])
def test_it_is_the_spread_over_rows_drawn_anew(metric, grouped):
    task, p = task_of(grouped), np.c_[1 - UP, UP]
    groups = np.arange(N) // 2 if grouped else np.arange(N)
    got = row_noise(task, Scale.of(metric), {"part:k=2:r=0:n=4": p[::-1], "cv:k=2:r=0": p, "cv:k=2:r=1": p[::-1]}, 3)
    assert got == pytest.approx(by_hand(metric, p, np.arange(N), groups, 3))
    if not grouped:
        some = p.copy()
        some[[3, 8], 1] = np.nan  # rows that were not predicted
        rows = np.delete(np.arange(N), [3, 8])
        assert row_noise(task, Scale.of(metric), {"sub:n=2:r=0": some}, 0) == pytest.approx(
            by_hand(metric, some, rows, groups, 0)
        )


def test_known_noise_and_nothing_measured_are_none():
    p = np.c_[1 - UP, UP]
    assert row_noise(task_of(), Scale.of("accuracy"), {"cv:k=2:r=0": p}, 0) is None
    assert row_noise(task_of(), Scale.of("auc"), {}, 0) is None


def test_few_errors_are_at_least_as_unsure_as_their_count():
    task = task_of()
    for wrong, floor in ((0, True), (1, True), (2, True), (5, False)):
        p = np.eye(2)[np.where(np.arange(N) < wrong, 1 - Y, Y)] * 0.98 + 0.01
        loss = 1 - METRICS["balanced_accuracy"].score(Y, p)
        share = (loss * N + 0.5) / (N + 1)
        least = np.sqrt((1 - share) / (share * N)) if floor else 0.05
        assert loss * N == pytest.approx(wrong)
        got = row_noise(task, Scale.of("balanced_accuracy"), {"cv:k=2:r=0": p}, 0)
        assert got == pytest.approx(by_hand("balanced_accuracy", p, np.arange(N), np.arange(N), 0, least))
        assert not floor or got >= least > 0.4
    even = np.full((N, 2), 0.5)  # equal in every resample, and not that sure
    assert row_noise(task, Scale.of("brier"), {"cv:k=2:r=0": even}, 0) == 0.05


def test_where_no_resample_has_a_value_nothing_is_known():
    task = read(pd.DataFrame({"x": RNG.normal(size=2), "y": [0, 1]}), "y", kind="classification")
    p = np.array([[0.6, 0.4], [0.4, 0.6]])
    got = row_noise(task, Scale.of("auc"), {"cv:k=2:r=0": p}, 0)  # half of the resamples have one class
    assert got is not None and np.isfinite(got)
