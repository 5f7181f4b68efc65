"""Metrics that are neither counts nor means: how far few rows leave them in doubt, and that the forecast carries it."""

import numpy as np
import pytest

from smidgen.laws.curve import Point, fit_curve
from smidgen.studies.losses import Scale
from smidgen.studies.row_noise import row_noise
from smidgen.tasks.metrics import METRICS
from smidgen.tasks.read import read
from smidgen.tasks.task import Task


def made(metric: str, n: int, seed: int, share: float = 0.5) -> tuple[Task, np.ndarray]:
    """n rows, and predictions of them by a model that is fairly good."""
    rng = np.random.default_rng(seed)
    if METRICS[metric].kind == "regression":
        y = rng.normal(size=n)
        return read((y[:, None], y), kind="regression"), y + rng.normal(size=n)
    y = (np.arange(n) < share * n).astype(int)
    z = (2 * y - 1) * 0.8 + rng.normal(size=n)
    p = 1 / (1 + np.exp(-1.6 * z))
    return read((z[:, None], y)), np.stack([1 - p, p], 1)


def noise_of(metric: str, n: int, seed: int, share: float = 0.5) -> float | None:
    task, p = made(metric, n, seed, share)
    return row_noise(task, Scale.of(metric), {"cv:k=5:r=0": p}, seed)


@pytest.mark.parametrize("metric", ["auc", "macro_f1", "balanced_accuracy", "brier", "mae"])
def test_the_noise_is_that_of_other_rows(metric):
    scale, logs = Scale.of(metric), []
    task, _ = made(metric, 120, 0)
    for seed in range(100):
        other, p = (task, made(metric, 120, seed)[1]) if metric != "mae" else made(metric, 120, seed)
        logs.append(np.log(scale.loss(scale.metric.score(other.target, p))))
    told = [noise_of(metric, 120, seed) for seed in range(6)]
    assert np.mean(told) == pytest.approx(np.std(logs), rel=0.2)


def test_rare_classes_leave_more_in_doubt_than_a_count_of_rows_says():
    even, rare = (noise_of("balanced_accuracy", 200, 0, share) for share in (0.5, 0.05))
    assert even is not None and rare is not None and rare > 1.5 * even
    assert [noise_of(m, 60, 0) for m in ("accuracy", "log_loss", "rmse", "r2")] == [None] * 4  # measured on other tasks


def test_a_perfect_auc_of_few_rows_is_no_certainty():
    y = np.arange(20) % 2
    told = row_noise(read((y[:, None], y)), Scale.of("auc"), {"cv:k=5:r=0": np.eye(2)[y]}, 0)
    assert told is not None and told > 0.5


def test_the_forecast_is_as_wide_as_that_and_not_as_a_count():
    points = [Point(n, 0.3 * (n / 20) ** -0.3, 200, 0.05, 4) for n in (20, 40, 80, 160)]

    def width(noise: float | None) -> float:
        _, low, high = fit_curve("error", points, baseline=0.5, labels=200, noise=noise, draws=400).forecast(400)
        return float(np.log(high / low))

    sure, counted, unsure = width(0.02), width(None), width(0.6)
    assert sure < 0.9 * counted and unsure > 1.5 * counted
