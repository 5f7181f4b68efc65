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


def test_the_table_of_the_stages_backwards():
    """A hundred parameters of the bytes that the module's table gives each."""
    each = (2 + 2 + 12, 2 + 2 + 12 / 4, 2 + 2 / 4 + 12 / 4, (2 + 2 + 12) / 4)
    assert [max_params(100 * b, stage, 4) for stage, b in enumerate(each)] == [100] * 4
    assert [max_params(100 * b - 1, stage, 4) for stage, b in enumerate(each)] == [99] * 4
    assert max_params(50 * 16, 0, 4, n_mp=2) == max_params(100 * 17, 1, 4, 1, 4, 3, 40) == 100
    assert fitting_stage(550, 100, 4) == 2 and fitting_stage(550, 101, 4) == 3 and fitting_stage(1600, 100, 4) == 0
    assert fitting_stage(900, 100, 4, optim_multiplier=20) == 1


def test_volumes():
    assert [comm_volume(100, stage) for stage in range(4)] == [200, 200, 200, 300]
    assert comm_volume(100, 3, 4) == 225 and comm_volume(100, 2, 1) == 0
    assert [comm_volume(100, stage, micro_batches=3) for stage in range(4)] == [200, 200, 400, 900]


def test_activations():
    assert activation_bytes(32, 1024, 1600, 48)["device"] == pytest.approx(60e9, rel=0.01)  # GPT-2 of 1.5 B
    assert activation_bytes(2, 10, 8, 5) == {"device": 12 * 2 * 10 * 8 * 2 * 5, "host": 0, "gathered": 0}
    assert activation_bytes(1, 10, 8, 5, n_mp=4, element_bytes=4)["device"] == 12 * 10 * 8 * 4 * 5 / 4
    alone = activation_bytes(1, 10, 8, 5, checkpoints=True, partition=True)
    assert alone == {"device": 1920 + 800, "host": 0, "gathered": 0}
    thirds = activation_bytes(1, 10, 8, 5, checkpoints=True, n_mp=3, partition=True)
    assert thirds == {"device": 640 + 267, "host": 0, "gathered": 533}
    kept = activation_bytes(1, 10, 8, 5, checkpoints=True, n_mp=2)
    parts = activation_bytes(1, 10, 8, 5, checkpoints=True, n_mp=2, partition=True)
    away = activation_bytes(1, 10, 8, 5, checkpoints=True, n_mp=2, partition=True, offload=True)
    assert kept == {"device": 960 + 800, "host": 0, "gathered": 0}
    assert parts == {"device": 960 + 400, "host": 0, "gathered": 400}
    assert away == {"device": 960, "host": 400, "gathered": 400}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: model_state_bytes(10, 4, 1), "stage: expected 0, 1, 2 or 3, got 4"),
        (lambda: model_state_bytes(0, 1, 1), "n_params: expected at least 1"),
        (lambda: model_state_bytes(10, 1, 0), "n_dp: expected at least 1"),
        (lambda: model_state_bytes(10, 1, 1, 0), "n_mp: expected at least 1"),
        (lambda: max_params(0, 1, 1), "device_bytes: expected at least 1"),
        (lambda: max_params(10, -1, 1), "stage: expected"),
        (lambda: comm_volume(0, 1), "n_params: expected at least 1"),
        (lambda: comm_volume(1, 1, 0), "n_dp: expected at least 1"),
        (lambda: comm_volume(1, 1, micro_batches=0), "micro_batches: expected at least 1"),
        (lambda: activation_bytes(1, 1, 1, float("nan")), "layers: expected at least 1"),  # type: ignore[arg-type]
        (lambda: activation_bytes(1, 1, 1, 1, partition=True), "offload only of partitioned"),
        (lambda: activation_bytes(1, 1, 1, 1, checkpoints=True, offload=True), "offload only of partitioned"),
    ],
)
def test_refusals(call, said):
    with pytest.raises(BadInput, match=said):
        call()
