"""The band of the published step law: its constants are what the released table gives, and it holds its cells."""

import numpy as np
import pytest

from smidgen.cli.main import main
from smidgen.laws.optimal_step import TOLERANCE, cells_of, fit_optimal_step, near_best
from smidgen.laws.step_law import BATCH_SPREAD, CENTRE, LR_SPREAD, step_law
from smidgen.tasks import scaling_testbed


@pytest.fixture(scope="module")
def law(data_folder):
    return fit_optimal_step(scaling_testbed.steps())


def test_the_doubt_is_that_of_a_refit(law):
    u, v = np.log(CENTRE)
    near = near_best(law.runs, TOLERANCE)
    assert [np.exp(np.log(law.runs.column(c)[near]).mean()) for c in ("n", "d")] == pytest.approx(CENTRE, rel=0.01)
    lr_K3, batch_K2 = law.lr_K3.copy(), law.batch_K2.copy()
    lr_K3[:, 0], batch_K2[:, 0] = lr_K3 @ [1, u, v], batch_K2 @ [1, v]
    assert np.array(LR_SPREAD.covariance) == pytest.approx(np.cov(lr_K3.T), rel=0.03, abs=1e-5)
    assert np.array(BATCH_SPREAD.covariance) == pytest.approx(np.cov(batch_K2.T), rel=0.03, abs=1e-5)


def test_the_band_holds_the_cells(law):
    near, off, held = near_best(law.runs, TOLERANCE), [], 0
    for (n, d), rows in cells_of(law.runs).items():
        told, own = step_law(n, d), rows[near[rows]]
        lr, batch = (np.exp(np.log(law.runs.column(c)[own]).mean()) for c in ("lr", "batch_tokens"))
        off.append((np.log(lr / told.lr), np.log(batch / told.batch_tokens)))
        held += told.lr_interval[0] <= lr <= told.lr_interval[1]
        held += told.batch_interval[0] <= batch <= told.batch_interval[1]
    assert np.sqrt(np.square(off).mean(0)) == pytest.approx((LR_SPREAD.cells, BATCH_SPREAD.cells), abs=2e-3)
    assert 28 <= held <= 34  # of 34


def test_the_band_is_wider_far_from_the_runs_and_is_said(capsys):
    near, far = step_law(4e8, 3e10), step_law(4e8, 3e13)
    assert near.lr_interval[0] < near.lr < near.lr_interval[1]
    assert far.lr_interval[1] / far.lr > 1.2 * near.lr_interval[1] / near.lr
    assert far.batch_interval[1] / far.batch_tokens > 1.2 * near.batch_interval[1] / near.batch_tokens
    assert main(["laws", "step", "--params", "1e9", "--tokens", "2e10"]) == 0
    said = capsys.readouterr().out
    assert "90 % sure" in said and "0.000996" in said and "0.00074 to 0.0013" in said and "0.00053 to 0.0019" in said
