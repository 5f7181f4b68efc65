"""Laws of bits: published constants and their golden values, known laws found again, inversions, what is refused."""

import gzip
import math

import numpy as np
import pandas as pd
import pytest

from smidgen.kit.errors import BadInput
from smidgen.laws import bits, float_bits, qat, qid
from smidgen.laws.form import Parameter, PowerSum, Term
from smidgen.laws.law import TooFar
from smidgen.laws.least_values import fit_values
from smidgen.laws.nd_law import NDLaw
from smidgen.laws.points import Points


def grid(*axes):
    return [axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")]


def checkpoints(seed=0, noise=0.0):
    law = qid.published()
    n, d, b = grid([2e8, 5e8, 1e9, 7e9], [2e9, 8e9, 3e10, 1e11, 2e11], [2.0, 3.0, 4.0])
    whole = qid.pythia_loss(n, d)
    lost = law.qid(n, d, b) * np.exp(noise * np.random.default_rng(seed).normal(size=len(n)))
    return pd.DataFrame({"n": n, "d": d, "bits": b, "loss_fp": whole, "loss_q": whole + lost})


def test_rounding_published_tokens_and_inversions():
    law = qid.published()
    assert law.tokens_for(0.2, 7e9, 4, anyway=True) == pytest.approx(3.80e12, rel=2e-3)
    assert law.tokens_for(0.2, 405e9, 4, anyway=True) == pytest.approx(21.8e12, rel=2e-3)
    assert qid.published_tokens(405e9, 4) == 48.5e12 and 17.3e12 < qid.published_tokens(140e9, 4) < 48.5e12
    n, d = 2e9, 5e10
    lost = float(law.qid(n, d, 3)[0])
    back = law.tokens_for(lost, n, 3), law.params_for(lost, d, 3), law.bits_for(lost, n, d)
    assert back == pytest.approx((d, n, 3.0))
    assert law.training_level(float(law.qid(n, 2 * d, 3)[0]), full=float(law.qid(n, d, 3)[0])) == pytest.approx(2.0)
    assert law.qid(n, d, 16)[0] == 0 and law.quantized_loss(n, d, 2, lambda n, d: 9.0, chance=9.1)[0] <= 9.1
    for far in (lambda: law.qid(n, 1e14, 3), lambda: law.qid(1e6, d, 3), lambda: law.qid(n, d, 8)):
        with pytest.raises(TooFar, match="anyway=True"):
            far()
    with pytest.raises(BadInput, match="for one other|one of"):
        qid.published_tokens(70e9, 3)


def test_rounding_law_is_found_again_with_an_interval_that_holds_it():
    table = checkpoints(noise=0.1)
    law = qid.fit_qid(table)
    truth = qid.published()
    for name in ("alpha", "beta", "gamma"):
        low, high = law.exponent(name, 0.999)
        assert low < getattr(truth, name) < high and high - low < 1.0
    exact = qid.fit_qid(checkpoints(), draws=0)
    assert (exact.k, exact.alpha, exact.beta, exact.gamma) == pytest.approx((0.017, 0.2261, 0.5251, 5.4967), rel=1e-4)
    low, high = law.interval(1e9, 1e11, 3)
    assert low[0] < law.qid(1e9, 1e11, 3)[0] < high[0]
    by = qid.per_bits(table, draws=0)
    assert sorted(by) == [2.0, 3.0, 4.0] and by[4.0].gamma == 0
    named = pd.concat([table.assign(quantizer="a"), table.assign(quantizer="b", loss_q=table.loss_fp + 1.0)])
    two = qid.fit_by_quantizer(named, draws=0)
    assert two["a"].beta == pytest.approx(law.beta) and two["b"].beta == pytest.approx(0.0, abs=1e-6)


def test_one_factor_is_fitted_where_the_others_stand_still():
    n, d, b = grid([2e8, 5e8, 1e9, 7e9], [2e9, 8e9, 3e10, 2e11], [2.0, 3.0, 4.0])
    lost = 1e-9 * d**0.5316 * (1e9 / n) ** 0.2276 * b**-5.4812 * 1e6
    table = pd.DataFrame({"n": n, "d": d, "bits": b, "loss_fp": 3.0, "loss_q": 3.0 + lost})
    still = {"n": "d == 3e10 and bits == 3", "d": "n == 1e9 and bits == 3", "bits": "n == 1e9 and d == 3e10"}
    for name, exponent in (("n", "alpha"), ("d", "beta"), ("bits", "gamma")):
        own = table.query(still[name])
        law = qid.fit_one_factor(own, name, draws=20)
        assert getattr(law, exponent) == pytest.approx(qid.ONE_FACTOR[name], rel=1e-4)
        assert [getattr(law, e) for e in ("alpha", "beta", "gamma") if e != exponent] == [0.0, 0.0]
        assert law.qid(1e9, 3e10, 3)[0] == pytest.approx(float(lost[(n == 1e9) & (d == 3e10) & (b == 3)][0]), rel=1e-4)
        low, high = law.interval(1e9, 3e10, 3)
        assert low[0] <= law.qid(1e9, 3e10, 3)[0] * 1.0001 and high[0] >= law.qid(1e9, 3e10, 3)[0] * 0.9999
        with pytest.raises(BadInput, match=f"one value, where QiD by {name} alone"):
            qid.fit_one_factor(table, name)


def test_rounding_rows_without_loss_or_at_chance_are_left_out_and_counted():
    table = checkpoints()
    table.loc[0, "loss_q"] = table.loc[0, "loss_fp"] - 0.01
    table.loc[5, "loss_q"] = 12.0
    with pytest.warns(UserWarning, match="1 of 60 checkpoints"):
        law = qid.fit_qid(table, chance=11.0, draws=0)
    assert law.left_out == {"lost nothing": 1, "at chance": 1} and law.beta == pytest.approx(0.5251, rel=1e-3)
    with pytest.raises(BadInput, match="different d"):
        qid.fit_qid(checkpoints().query("d < 1e10"), draws=0)
    with pytest.raises(BadInput, match="Add loss_q"):
        qid.fit_qid(table.drop(columns="loss_q"))


def test_least_squares_of_values_meets_scipy():
    from scipy.optimize import curve_fit

    x = np.geomspace(1, 100, 12)
    y = 3 * x**-0.7 + np.abs(np.random.default_rng(1).normal(0, 0.05, 12))
    form = PowerSum("p", ("x",), (Parameter(name="a", log=True), Parameter(name="b", low=0.0, high=5.0)),
                    (Term("a", {"x": ("b", 1.0)}),))  # fmt: skip
    wanted = curve_fit(lambda x, a, b: a * x**-b, x, y, (1, 1))[0]
    law = fit_values(form, Points.of({"x": x}, y))
    assert tuple(law.values.values()) == pytest.approx(tuple(wanted), rel=1e-4)


def test_quantized_llama3_by_quantizer(data_folder):
    """Of the released table GPTQ loses less than rounding to nearest, and in both fewer bits lose more."""
    with gzip.open(data_folder / "llama3_quant_table" / "llama3_quant.csv.gz", "rt") as file:
        table = pd.read_csv(file)
    whole = table[table.w_bits == 16].set_index("model_b").ppl_c4
    own = table[table.method.isin(["RTN", "GPTQ"]) & (table.group == 128) & (table.w_bits < 5)]
    runs = pd.DataFrame({
        "quantizer": own.method, "n": own.model_b * 1e9, "d": 15e12, "bits": own.w_bits,
        "loss_fp": np.log(own.model_b.map(whole)), "loss_q": np.log(own.ppl_c4),
    })  # fmt: skip
    with pytest.warns(UserWarning, match="lost nothing"):  # GPTQ at 4 bits on 70B: no higher perplexity
        laws = qid.fit_by_quantizer(runs, factors=("bits",), draws=0)
    assert laws["GPTQ"].gamma > 2 and laws["RTN"].gamma > 2
    assert laws["GPTQ"].qid(8e9, 15e12, 3)[0] < laws["RTN"].qid(8e9, 15e12, 3)[0]


def test_float_bits_published_values():
    law = float_bits.published()
    golden = {(8, 7): 2.6118, (4, 3): 2.6123, (2, 1): 2.6504, (1, 1): 2.8091}
    for (e, m), loss in golden.items():
        assert law.loss(679e6, 1e11, e, m, 128) == pytest.approx(loss, abs=5e-5)
    tokens = [law.critical_tokens(1e9, e, m, 128) for e, m in ((1, 1), (2, 1), (4, 3))]
    assert tokens == pytest.approx([8.09e10, 3.93e11, 2.73e13], rel=2e-3)
    assert [law.best_layout(b) for b in (4, 8, 16)] == [(2, 1), (4, 3), (8, 7)]
    assert 4 < law.best_precision_for_tokens(1e11, 128) < law.best_precision_for_tokens(1e14, 128) < 8


def test_float_bits_plans_are_minima_of_the_law():
    law = float_bits.published()
    at = np.geomspace(1e10, 1e12, 20001)
    best = at[np.argmin(law.loss(1e9, at, 1, 1, 128, anyway=True))]
    assert law.critical_tokens(1e9, 1, 1, 128) == pytest.approx(best, rel=1e-2)
    told = law.best_precision(1e21, 128)
    assert 6 / 16 * told.n * told.d * told.bits == pytest.approx(1e21)
    for width in (told.bits * 0.9, told.bits * 1.1):
        for d in (told.d * 0.8, told.d, told.d * 1.25):
            n = 1e21 / (6 / 16 * d * width)
            assert law.loss(n, d, *law.best_split(width), 128, anyway=True) > told.loss
    with pytest.warns(UserWarning, match="no penalty"):
        assert law.critical_tokens(1e9, 1, 1, 1) == math.inf


def float_runs(kind="channel"):
    law = float_bits.published()
    n, d, i = grid([4e7, 8e7, 1.5e8, 6e8], [1e10, 3e10, 1e11], np.arange(8))
    layout = np.array([(2, 1), (4, 3), (1, 2), (1, 1)] * 2)[i.astype(int)]
    block = [[32, kind][int(v) // 4] for v in i]
    width = np.where(i < 4, 5.0, 4.0 * (n / d) ** -0.1)
    clean = [float(law.penalty(a, b, *em, 2)) for a, b, em in zip(n, d, layout, strict=True)] * width
    loss = law.cn * n**-law.alpha + law.cd * d**-law.beta + law.l0 + clean
    return pd.DataFrame({"n": n, "d": d, "e": layout[:, 0], "m": layout[:, 1], "block": block, "loss": loss})


def test_float_bits_are_found_again_with_scales_of_a_channel():
    truth, table = float_bits.published(), float_runs()
    base = NDLaw(truth.cn, truth.alpha, truth.cd, truth.beta, truth.l0)
    law = float_bits.fit_float_bits(table, base=base, draws=50)
    assert (law.gamma, law.delta, law.nu) == pytest.approx((truth.gamma, truth.delta, truth.nu), rel=1e-2)
    assert law.effective["channel"] == pytest.approx((4.0, -0.1), rel=2e-2) and law.cn == pytest.approx(truth.cn)
    joint = float_bits.fit_float_bits(table)
    assert joint.loss(1e8, 5e10, 1, 1, "channel") == pytest.approx(law.loss(1e8, 5e10, 1, 1, "channel"), rel=1e-3)
    low, high = law.interval(1e8, 5e10, 1, 1, 32)
    assert low[0] <= law.loss(1e8, 5e10, 1, 1, 32) * 1.001 and high[0] >= law.loss(1e8, 5e10, 1, 1, 32) * 0.999
    for wrong in (lambda: law.loss(1e8, 5e10, 0, 0, 32), lambda: law.loss(1e8, 5e10, 1, 1, "tensor"),
                  lambda: float_bits.fit_float_bits(table[:7]), lambda: law.loss(1e8, 5e12, 1, 1, 32)):  # fmt: skip
        with pytest.raises(BadInput):
            wrong()


def test_the_rule_of_the_second_phase():
    found = [qat.optimal_qat_fraction(s * 1e6 / 2, 1e6, 4) for s in (10, 30, 100, 1000, 10000)]
    assert found == pytest.approx([0.054, 0.138, 0.232, 0.377, 0.482], abs=6e-4)
    for wrong in ((5e5, 1e6, 4), (0, 1e6, 4), (1e9, 1e6, -1)):
        with pytest.raises(ValueError, match="above"):
            qat.optimal_qat_fraction(*wrong)
    plan = qat.plan_qat(2e10, 1e9, 4, step_cost=1.5, flops_a_second=1e15)
    assert plan.qat_tokens == pytest.approx(2e10 * qat.optimal_qat_fraction(2e10, 1e9, 4))
    assert plan.flops == pytest.approx(6e9 * (plan.fp_tokens + 1.5 * plan.qat_tokens)) and plan.seconds > 100
    assert sum(plan.steps(1e6)) == 20_000 and plan.outside == 1 and qat.plan_qat(1e6, 1e5, 4).outside > 100


BASE = NDLaw(cn=400.0, alpha=0.34, cd=410.0, beta=0.28, l0=1.7)


def true_loss(n, d_fp, d_qat, b):
    size = n * b / 8
    return (BASE.loss(n, d_fp + d_qat) + 0.3 * 2 ** (-1.1 * b) + 3 * 2 ** (-0.5 * b) * n**-0.1 * (d_qat / size) ** -0.4
            + 0.02 * 2 ** (-0.6 * b) * n**-0.05 * (d_fp / size) ** 0.3 * (d_qat / size) ** -0.2)  # fmt: skip


def test_the_law_of_two_phases_is_found_again_and_plans_with_it():
    n, d, f, b = grid([1e8, 4e8, 1e9], [1e10, 5e10, 3e11], [0.05, 0.15, 0.4, 0.7, 0.95], [2.0, 4.0, 6.0])
    loss = true_loss(n, (1 - f) * d, f * d, b)
    runs = pd.DataFrame({"n": n, "d_fp": (1 - f) * d, "d_qat": f * d, "bits": b, "loss": loss})
    law = qat.fit_qat(runs, base=BASE, draws=20)
    assert law.predict(n, (1 - f) * d, f * d, b) == pytest.approx(loss, rel=3e-4)
    shares = np.linspace(0.02, 0.98, 2000)
    wanted = shares[np.argmin(true_loss(6e8, (1 - shares) * 1e11, shares * 1e11, 2.0))]
    assert law.best_fraction(6e8, 1e11, 2) == pytest.approx(wanted, abs=0.05)
    choice = law.best_bits(3e8, 1e11)
    told = {w: law.best_bits(3e8, 1e11, [w]) for w in (2.0, 4.0, 6.0)}
    assert choice.loss == min(c.loss for c in told.values()) and choice.n * choice.bits / 8 == pytest.approx(3e8)
    assert law.fp_equivalent_bits(6e8, 1e11, 10.0) == 2.0 and law.fp_equivalent_bits(6e8, 1e11, 1e-9) is None
    low, high = law.interval(6e8, 5e10, 5e10, 4)
    assert low[0] <= high[0] < low[0] * 1.01
    with pytest.raises(TooFar):
        law.predict(6e8, 5e10, 5e10, 8)
    with pytest.raises(BadInput, match="at least 12"):
        qat.fit_qat(runs[:10], base=BASE)


def test_what_more_bits_buy():
    rows = bits.what_bits_buy(1e9, 2e10)
    rounded = [r for r in rows if r.way == bits.ROUNDED]
    assert [r.bits for r in rounded] == [2, 3, 4, 6, 8, 16] and rounded[-1].lost == 0
    assert all(a.lost > b.lost for a, b in zip(rounded, rounded[1:], strict=False))
    assert [r.extrapolated for r in rounded] == [False, False, False, True, True, False] and rounded[0].low is None
    own = bits.what_bits_buy(1e9, 2e10, [3], rounding=qid.fit_qid(checkpoints(noise=0.1)))[0]
    assert own.low < own.lost < own.high and own.bytes == 3e9 / 8
    fits = bits.best_for_memory(5e8, 2e10)
    assert fits[0][1].loss == min(row.loss for _, row in fits) and {n * r.bits for n, r in fits} == {4e9}
    with pytest.raises(BadInput, match="whole numbers"):
        bits.what_bits_buy(1e9, 2e10, [1])
