"""Published laws, refitted on the measurements that were released with them."""

import csv
import gzip

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws.optimal_step import cells_of, fit_optimal_step, friendly
from smidgen.laws.overtraining import (
    fit_downstream,
    fit_overtraining,
    forecast_downstream,
    report,
    small_scale_plan,
)  # fmt: skip
from smidgen.laws.step_law import PLATEAU, step_law

# The 17 tasks that a small model is clearly above chance on: mlfoundations/scaling, scaling/constants.py.
TASKS = (
    "bigbench_operators", "pubmed_qa_labeled", "hellaswag_zeroshot", "boolq", "arc_easy", "coqa",
    "bigbench_dyck_languages", "lambada_openai", "bigbench_novel_concepts", "winograd",
    "bigbench_cs_algorithms", "commonsense_qa", "bigbench_qa_wikidata", "hellaswag", "copa", "squad", "piqa",
)  # fmt: skip


def rows(path):
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def sweep(data_folder):
    table = rows(data_folder / "steplaw_dense" / "steplaw_dense.csv.gz")
    runs = {"n": "N", "d": "D", "lr": "lr", "loss": "smooth loss"}
    return {k: np.array([float(r[v]) for r in table]) for k, v in runs.items()} | {
        "batch_tokens": np.array([float(r["bs"]) * 2048 for r in table])
    }


def test_step_law_on_its_dense_runs(sweep):
    law = fit_optimal_step(sweep)
    assert len(cells_of(law.runs)) == 17
    assert law.lr_coefficients[1:] == pytest.approx((-0.77, 0.20), abs=0.01)  # as the spec's author recomputed
    assert law.batch_coefficients[1] == pytest.approx(0.61, abs=0.01)
    at, published = law.predict(1e9, 2e10), step_law(1e9, 2e10)
    assert at.lr == pytest.approx(published.lr, rel=0.15) and at.lr_interval[0] < at.lr < at.lr_interval[1]
    (lr_low, lr_high), (b_low, b_high) = law.plateau(1e9, 2e10)
    assert ((lr_high / lr_low) ** 0.5, (b_high / b_low) ** 0.5) == pytest.approx(PLATEAU, abs=0.02)
    assert all(b.convex and b.condition < 10 for b in law.bowls().values())
    assert law.predict(1e13, 2e10).outside > 1000 and not law.predict(1e13, 2e10).usable


def test_a_sweep_that_cannot_be_fitted(sweep):
    with pytest.raises(BadInput, match="Add loss"):
        fit_optimal_step({k: v for k, v in sweep.items() if k != "loss"})
    two = np.isin(sweep["n"], np.unique(sweep["n"])[:1])
    with pytest.raises(BadInput, match="different n: expected at least 3"):
        fit_optimal_step({k: v[two] for k, v in sweep.items()})
    assert [friendly(x) for x in (0.3, 1.2, 5.2, 208, 700)] == [1, 1, 6, 192, 768]


@pytest.fixture(scope="module")
def models(data_folder):
    return rows(data_folder / "scaling_overtrain104" / "runs.csv.gz")


def small(models, text):
    own = [r for r in models if r["train_set"] == text]

    def at(size, times):
        return next(r for r in own if abs(float(r["params"]) / 1e9 - size) < 0.02 * size + 0.003
                    and float(r["chinchilla_multiplier"]) == times)  # fmt: skip

    fitted = [at(s, 1.0) for s in (0.0106, 0.079, 0.154, 0.411)] + [at(0.0106, 16.0)]
    return own, fitted, at


def column(rows, name):
    return np.array([float(r[name]) for r in rows])


def error(rows):
    return 1 - np.mean([column(rows, f"acc_{t}") for t in TASKS], 0)


def test_overtraining_on_its_104_models(models):
    """Constants and forecasts of the paper's RedPajama models: E 1.84, A 166, B 367, p -0.273; k 2.2, gamma 0.715."""
    own, fitted, at = small(models, "rpj")
    law = fit_overtraining(*(column(fitted, c) for c in ("params", "tokens", "loss_c4_val")))
    assert law.constants == pytest.approx({"E": 1.84, "A": 166, "B": 367, "p": -0.273}, rel=0.01)
    large = [at(1.44, 32.0), at(6.89, 1.0)]
    assert law.predict(column(large, "params"), column(large, "tokens")) == pytest.approx([2.520, 2.443], abs=1e-3)
    six = [*fitted, at(1.44, 1.0)]
    errors = fit_downstream(column(six, "loss_c4_val"), error(six))
    assert (errors.values["k"], errors.values["gamma"]) == pytest.approx((2.2, 0.715), rel=0.02)
    _, forecast = forecast_downstream(law, errors, column(large, "params"), column(large, "tokens"))
    assert np.abs(forecast - error(large)) / error(large) == pytest.approx([0.036, 0.0005], abs=2e-3)
    rest = [r for r in own if r not in fitted]
    found = report(law, *(column(rest, c) for c in ("params", "tokens", "loss_c4_val")))
    assert np.mean([f["error"] for f in found]) < 0.017
    low, high = law.interval(column(large, "params"), column(large, "tokens"))
    assert (low < [2.520, 2.443]).all() and (high > [2.520, 2.443]).all()


def test_over_training_needs_runs_that_tell_a_from_b():
    with pytest.raises(BadInput, match="small_scale_plan"):
        fit_overtraining([1e7] * 4, [2e8] * 4, [3.0] * 4)
    with pytest.raises(BadInput, match="smallest model longer"):
        fit_overtraining([1e7, 2e7, 4e7, 8e7, 9e7], np.array([1e7, 2e7, 4e7, 8e7, 9e7]) * 20, [3.5, 3.3, 3.1, 3.0, 2.9])
    plan = small_scale_plan(1e18)
    assert sum(r["flops"] for r in plan) == pytest.approx(1e18) and {round(r["m"]) for r in plan} == {20, 320}
    fit_overtraining([r["n"] for r in plan], [r["d"] for r in plan], [4.0, 3.5, 3.3, 3.1, 3.8])
