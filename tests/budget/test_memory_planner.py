"""The memory planner against the paper's own figures, its inverse, and what it refuses."""

import pytest

from smidgen.budget.memory import activation_bytes, comm_volume, fitting_stage, max_params, model_state_bytes
from smidgen.kit.errors import BadInput


def test_the_papers_case():
    totals = [model_state_bytes(7_500_000_000, stage, 64)["total"] / 1e9 for stage in range(4)]
    assert [round(t, 1) for t in totals] == [120.0, 31.4, 16.6, 1.9]
    assert model_state_bytes(10, 3, 4, 1, 4, 4, 8) == {"weights": 10, "grads": 10, "optimizer": 20, "total": 40}
    assert model_state_bytes(10, 2, 4, n_mp=2) == {"weights": 10, "grads": 3, "optimizer": 15, "total": 28}


def test_the_most_parameters_fit_and_one_percent_more_do_not():
    for stage in range(4):
        most = max_params(32e9, stage, 64, 2)
        assert model_state_bytes(most, stage, 64, 2)["total"] <= 32e9 + 3
        assert model_state_bytes(int(1.01 * most), stage, 64, 2)["total"] > 32e9
    assert [fitting_stage(32e9, int(n * 1e9), 64) for n in (1, 7.6, 13, 100, 200)] == [0, 1, 2, 3, None]


def test_volumes():
    assert [comm_volume(100, stage) for stage in range(4)] == [200, 200, 200, 300]
    assert comm_volume(100, 3, 4) == 225 and comm_volume(100, 2, 1) == 0
    assert [comm_volume(100, stage, micro_batches=3) for stage in range(4)] == [200, 200, 400, 900]


def test_activations():
    assert activation_bytes(32, 1024, 1600, 48)["device"] == pytest.approx(60e9, rel=0.01)  # GPT-2 of 1.5 B
    kept = activation_bytes(1, 10, 8, 5, checkpoints=True, n_mp=2)
    parts = activation_bytes(1, 10, 8, 5, checkpoints=True, n_mp=2, partition=True)
    away = activation_bytes(1, 10, 8, 5, checkpoints=True, n_mp=2, partition=True, offload=True)
    assert kept == {"device": 960 + 800, "host": 0, "gathered": 0}
    assert parts == {"device": 960 + 400, "host": 0, "gathered": 400}
    assert away == {"device": 960, "host": 400, "gathered": 400}


def test_refusals():
    for call in (
        lambda: model_state_bytes(10, 4, 1),
        lambda: model_state_bytes(10, 1, 0),
        lambda: max_params(0, 1, 1),
        lambda: comm_volume(0, 1),
        lambda: activation_bytes(1, 1, 1, 1, partition=True),
        lambda: activation_bytes(1, 1, 1, 1, checkpoints=True, offload=True),
    ):
        with pytest.raises(BadInput, match="expected"):
            call()
