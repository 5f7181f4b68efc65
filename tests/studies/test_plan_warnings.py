"""What a plan warns of: a curve that rises where it should fall, a score that is nearly perfect. And only then."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from smidgen.laws.curve import Point
from smidgen.studies import findings
from smidgen.studies.findings import NEARLY_PERFECT, result
from smidgen.studies.losses import Scale
from smidgen.studies.measured import rough
from smidgen.studies.prices import offers_of
from smidgen.studies.purchases import CURVE_REPEATS, curve_draws
from smidgen.studies.ready import Ready
from smidgen.tasks.read import read

N, FOLDS = 80, 5


def curve(losses, spread=0.05, repeats=4):
    return [Point(10.0 * 2**i, loss, 80, spread, repeats) for i, loss in enumerate(losses)]


def test_a_curve_is_rough_where_it_rises_by_more_than_its_scatter():
    assert not rough(curve([0.4, 0.3, 0.25, 0.2]))
    assert rough(curve([0.2, 0.2, 0.25, 0.3]))
    assert not rough(curve([0.2, 0.2, 0.21, 0.22], spread=0.2))  # by 0.1, and trainings differ by 0.2 / sqrt(4)
    assert rough(curve([0.2, 0.2, 0.21, 0.22], spread=0.02))
    assert not rough(curve([0.2, 0.2, 0.25, 0.3], spread=0.6)) and rough(curve([0.2, 0.2, 0.25, 0.3], 0.3, 16))
    assert not rough(curve([0.2, 0.4]))  # two sizes say too little
    assert not rough(curve([0.001, 0.001, 0.01, 0.01]))  # a loss of 1 % of few rows is no rise


def warned(errors: list[float], estimate: float, metric: str = "accuracy") -> str:
    """Warnings of a plan whose sizes have these shares of wrong rows."""
    rng = np.random.default_rng(0)
    task = read((rng.normal(size=(N, 2)), np.arange(N) % 2))
    sizes = sorted({n for _, n in curve_draws(N, 2, FOLDS, 1)})
    results = {}
    for draw, n in curve_draws(N, 2, FOLDS, CURVE_REPEATS):
        wrong = rng.permutation(N) < round(errors[sizes.index(n)] * N)
        results[draw] = np.eye(2)[np.where(wrong, 1 - task.target, task.target)] * 0.9 + 0.05
    own = Ready(task, Scale.of(metric), "learn/logistic", "linear", {}, 0, FOLDS, estimate)
    study: Any = SimpleNamespace(id="made")
    return " ".join(result(own, study, offers_of({"label": 1.0}), [], results, 50.0, None)["warnings"])


def test_a_rising_curve_is_warned_of():
    assert "rises where it should fall" in warned([0.1, 0.15, 0.2, 0.3], 0.7)
    assert "rises" not in warned([0.4, 0.3, 0.25, 0.2], 0.8)


@pytest.mark.parametrize(("metric", "share", "said"), [("accuracy", 0.5, True), ("accuracy", 1.5, False)])
def test_a_nearly_perfect_score_is_warned_of(metric, share, said):
    text = warned([0.1, 0.05, 0.025, 0.0125], 1 - share * NEARLY_PERFECT, metric)
    assert ("The accuracy is nearly perfect" in text) == said and 0.005 <= NEARLY_PERFECT <= 0.02


def test_a_small_log_loss_is_not_nearly_perfect(monkeypatch):
    assert "perfect" not in warned([0.1, 0.05, 0.025, 0.0125], 0.5 * NEARLY_PERFECT, "log_loss")
    monkeypatch.setattr(findings, "NEARLY_PERFECT", 0.3)
    assert "nearly perfect" in warned([0.4, 0.3, 0.25, 0.2], 0.8)
