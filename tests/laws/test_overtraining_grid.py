"""The over-training law on all eight losses of the released models, and on single tasks, of which it warns."""

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws.overtraining import SIZES
from smidgen.laws.overtraining_grid import fit_task, forecast_grid
from smidgen.tasks import overtraining_scores, scaling_testbed


def made(noise=0.0):
    n = np.array([1e7, 8e7, 1.5e8, 4e8, 1e7, 1.4e9, 7e9])
    d = n * [20, 20, 20, 20, 320, 640, 20]
    loss = 1.84 + 166 * n**-0.27 + 250 * d**-0.27
    return n, d, loss * (1 + noise * np.arange(7)), np.arange(7) < 5


def test_a_law_is_forecast_exactly_and_each_cell_has_its_own_runs():
    n, d, loss, small = made()
    other = 2 * loss
    other[6] = np.nan  # not measured
    cells = forecast_grid(np.repeat(["a", "b"], 7), np.tile(n, 2), np.tile(d, 2),
                          {"x": np.r_[loss, 2 * loss], "y": np.r_[other, 3 * loss]}, np.tile(small, 2))  # fmt: skip
    assert [(c.text, c.loss, c.kept) for c in cells] == [("a", "x", 5), ("b", "x", 5), ("a", "y", 5), ("b", "y", 5)]
    assert [sorted(c.errors) for c in cells] == [[5, 6], [12, 13], [5], [12, 13]]
    assert all(c.worst < 2e-3 and c.outside > 100 for c in (cells[0], cells[1], cells[3]))
    off = loss.copy()
    off[5] *= 1.1
    assert forecast_grid(["a"] * 7, n, d, {"x": off}, small)[0].errors[5] == pytest.approx(1 - 1 / 1.1, abs=2e-3)
    with pytest.raises(BadInput, match="rows of x"):
        forecast_grid(["a"] * 7, n, d, {"x": loss[:5]}, small)
    with pytest.raises(BadInput, match="to forecast"):
        forecast_grid(["a"] * 7, n, d, {"x": loss}, np.ones(7, bool))


def test_the_released_models_on_eight_losses_and_on_single_tasks(data_folder):
    models, losses = scaling_testbed.overtraining(), overtraining_scores.losses()
    assert len(losses) == 8 and (losses["c4"] == models.loss).all()
    small = np.any([models.at(n, 1.0) for n in SIZES] + [models.at(SIZES[0], 16.0)], 0)
    two = {name: losses[name] for name in ("c4", "programming")}
    cells = {(c.text, c.loss): c for c in forecast_grid(models.text, models.n, models.d, two, small)}
    assert len(cells) == 6 and all(c.kept == 5 for c in cells.values())
    assert all(cells[t, "programming"].mean > 2 * cells[t, "c4"].mean for t in set(models.text.tolist()))
    own = models.text == "rpj"
    large = np.flatnonzero(own & (models.at(1.44e9, 32.0) | models.at(6.89e9, 1.0)))
    c4 = cells["rpj", "c4"]
    assert [c4.errors[int(i)] for i in large] == pytest.approx([0.0073, 0.0073], abs=1e-3) and c4.mean < 0.022
    errors = overtraining_scores.task_errors(scaling_testbed.BASKET)
    assert len(overtraining_scores.task_errors()) == 46
    assert np.mean(list(errors.values()), 0) == pytest.approx(models.error)
    six = own & (small | models.at(1.44e9, 1.0))
    law = fit_task(models.loss[six], {task: e[six] for task, e in errors.items()})
    assert law.values["gamma"] == pytest.approx(0.715, rel=0.02)
    with pytest.warns(UserWarning, match="not reliable for copa alone"):
        fit_task(models.loss[six], {"copa": errors["copa"][six]})
    with pytest.raises(BadInput, match="one of"):
        overtraining_scores.task_errors(["chess"])
