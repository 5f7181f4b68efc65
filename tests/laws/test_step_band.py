"""The band of the published step law: its constants are what the released table gives, and it holds its cells."""

from dataclasses import replace

import numpy as np
import pytest

from smidgen.cli.main import main
from smidgen.laws.optimal_step import TOLERANCE, cells_of, fit_optimal_step, near_best
from smidgen.laws.step_law import BATCH_REFIT, BATCH_SPREAD, CENTRE, LR_REFIT, LR_SPREAD, step_law
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


def test_the_band_reaches_around_the_published_law_and_the_refit(law):
    u, v = np.log(CENTRE)
    (a, b, c), (d, e) = law.lr_coefficients, law.batch_coefficients
    assert pytest.approx((a + b * u + c * v, b, c), abs=2e-3) == LR_REFIT
    assert pytest.approx((d + e * v, e), abs=2e-3) == BATCH_REFIT
    for n, d in ((1e10, 1e12), (1e11, 1e13), (1e7, 1e8), (4e8, 3e10)):
        told, own = step_law(n, d), law.predict(n, d)
        for value in (told.lr, own.lr):
            assert told.lr_interval[0] < value < told.lr_interval[1]
        for value in (told.batch_tokens, own.batch_tokens):
            assert told.batch_interval[0] < value < told.batch_interval[1]


def test_a_sweep_of_ones_own_is_as_unsure_as_its_cells(law):
    near, off, held = near_best(law.runs, TOLERANCE), [], 0
    for cell, rows in cells_of(law.runs).items():
        told, own = law.predict(*cell), rows[near[rows]]
        lr, batch = (np.exp(np.log(law.runs.column(c)[own]).mean()) for c in ("lr", "batch_tokens"))
        off.append((np.log(lr / told.lr), np.log(batch / told.batch_tokens)))
        held += told.lr_interval[0] <= lr <= told.lr_interval[1]
        held += told.batch_interval[0] <= batch <= told.batch_interval[1]
    assert 28 <= held <= 34  # of 34
    paid = np.sqrt(np.square(off).sum(0) / (17 - np.array([3, 2])))  # unknowns that were fitted to them
    assert (law.lr_cells, law.batch_cells) == pytest.approx(paid)
    alone = replace(law, lr_cells=0.0).predict(1e9, 2e10)
    assert law.predict(1e9, 2e10).lr_interval[1] / alone.lr_interval[1] > 1.05


def test_the_band_is_wider_far_from_the_runs_and_is_said(capsys):
    near, far = step_law(4e8, 3e10), step_law(4e8, 3e13)
    assert near.lr_interval[0] < near.lr < near.lr_interval[1]
    for there, here in ((far.lr_interval, near.lr_interval), (far.batch_interval, near.batch_interval)):
        assert there[1] / there[0] > 1.5 * here[1] / here[0]
    assert main(["laws", "step", "--params", "1e9", "--tokens", "2e10"]) == 0
    said = capsys.readouterr().out
    assert "90 % sure" in said and "0.000996" in said and "0.00074 to 0.0014" in said and "0.00053 to 0.0019" in said
