"""Published laws, refitted on the measurements that were released with them."""

import numpy as np
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws.optimal_step import cells_of, fit_optimal_step, friendly
from smidgen.laws.overtraining import (
    SIZES,
    fit_downstream,
    fit_overtraining,
    forecast_downstream,
    report,
    small_scale_plan,
)  # fmt: skip
from smidgen.laws.step_law import PLATEAU, step_law
from smidgen.tasks import scaling_testbed


@pytest.fixture(scope="module")
def sweep(data_folder):
    return scaling_testbed.steps()


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


def test_overtraining_on_its_104_models(data_folder):
    """Constants and forecasts of the paper's RedPajama models: E 1.84, A 166, B 367, p -0.273; k 2.2, gamma 0.715."""
    models = scaling_testbed.overtraining()
    assert len(models.n) == 104
    own = models.take(models.text == "rpj")
    small = np.any([own.at(n, 1.0) for n in SIZES] + [own.at(SIZES[0], 16.0)], 0)
    law = fit_overtraining(own.n[small], own.d[small], own.loss[small])
    assert law.constants == pytest.approx({"E": 1.84, "A": 166, "B": 367, "p": -0.273}, rel=0.01)
    large = own.take(own.at(1.44e9, 32.0) | own.at(6.89e9, 1.0))
    assert sorted(law.predict(large.n, large.d)) == pytest.approx([2.443, 2.520], abs=1e-3)
    six = small | own.at(1.44e9, 1.0)
    errors = fit_downstream(own.loss[six], own.error[six])
    assert (errors.values["k"], errors.values["gamma"]) == pytest.approx((2.2, 0.715), rel=0.02)
    forecast = forecast_downstream(law, errors, large.n, large.d)[1]
    assert sorted(np.abs(forecast - large.error) / large.error) == pytest.approx([0.0005, 0.036], abs=2e-3)
    found = report(law, own.n[~small], own.d[~small], own.loss[~small])
    assert np.mean([f["error"] for f in found]) < 0.017
    assert {f["name"]: f["outside"] for f in found} == pytest.approx(
        {str(i): v for i, v in enumerate(law.outside(own.n[~small], own.d[~small]))}
    )
    c, m = 6 * own.n[small] * own.d[small], own.d[small] / own.n[small]
    far = np.maximum(6 * large.n * large.d / c.max(), large.d / large.n / m.max())
    assert law.outside(large.n, large.d) == pytest.approx(far) and (far > 10).all()
    assert (law.outside(own.n[small], own.d[small]) == 1).all()
    low, high = law.interval(large.n, large.d)
    assert (low < law.predict(large.n, large.d)).all() and (high > law.predict(large.n, large.d)).all()


def test_over_training_needs_runs_that_tell_a_from_b():
    with pytest.raises(BadInput, match="small_scale_plan"):
        fit_overtraining([1e7] * 4, [2e8] * 4, [3.0] * 4)
    with pytest.raises(BadInput, match="smallest model longer"):
        fit_overtraining([1e7, 2e7, 4e7, 8e7, 9e7], np.array([1e7, 2e7, 4e7, 8e7, 9e7]) * 20, [3.5, 3.3, 3.1, 3.0, 2.9])
    plan = small_scale_plan(1e18)
    assert sum(r["flops"] for r in plan) == pytest.approx(1e18) and {round(r["m"]) for r in plan} == {20, 320}
    fit_overtraining([r["n"] for r in plan], [r["d"] for r in plan], [4.0, 3.5, 3.3, 3.1, 3.8])
