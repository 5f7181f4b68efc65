"""The serving model: closed forms, queueing theory, and the rule that it should give."""

import math

import numpy as np
import pytest

from smidgen.budget.serving import FORMATS, Hardware, Roofline, ServingModel, calibrate, fastest
from smidgen.budget.serving_choice import USE_CASES, choose_format, cost_per_1000
from smidgen.budget.serving_queue import UseCase, arrivals, max_qps, simulate, throughput
from smidgen.kit.errors import BadInput

# round numbers, like a large accelerator's and like a middling one's without FP8
LARGE = Hardware(
    name="large", rates={"float16": 4e14, "int8": 8e14, "float8": 8e14}, bandwidth=2e12, memory=8e10, price=4
)
SMALL = Hardware(name="small", rates={"float16": 1e14, "int8": 2e14}, bandwidth=7e11, memory=4.8e10, price=1)
CHAT = USE_CASES["multi-turn chat"]


def model(format, hardware=LARGE, parameters=8e9, **more):
    return ServingModel.of(hardware, FORMATS[format], parameters, cache_bytes=1.3e5, **more)


def test_steps_are_the_roofline():
    m = model("w8a8-int", overhead=1e-3)
    assert m.step(1) == pytest.approx(1e-3 + 8e9 / 2e12)
    assert m.step(4000) == pytest.approx(1e-3 + 2 * 8e9 * 4000 / 8e14)
    assert m.step(2, 500) - m.step(2) == pytest.approx(2 * 500 * 1.3e5 / 2e12)
    assert m.latency(3, 100, 1) == m.prefill(300)
    assert (
        m.capacity(512, 256) == int((8e10 - 8e9) / (768 * 1.3e5)) and model("bf16", parameters=5e10).capacity(1, 1) == 0
    )
    assert m.roofline.corner == pytest.approx((8e9 / 2e12) / (16e9 / 8e14))


def test_a_roofline_comes_back_from_its_times():
    roof = Roofline(2e-4, 3e-3, 4e-5)
    n = np.array([1, 2, 8, 32, 64, 128, 256, 512])
    noise = np.exp(np.random.default_rng(0).normal(0, 0.02, len(n)))
    found = calibrate(n, [roof.seconds(b) * e for b, e in zip(n, noise, strict=True)])
    for b in (1, 50, 100, 400):
        assert found.seconds(b) == pytest.approx(roof.seconds(b), rel=0.06)
    assert found.row == pytest.approx(4e-5, rel=0.1)
    assert fastest({"a": roof, "b": Roofline(0, 1e-3, 1e-4)}, 1) == "b"
    assert fastest({"a": roof, "b": Roofline(0, 1e-3, 1e-4)}, 200) == "a"
    for rows, seconds in (([1, 2], [1, 2]), ([1, 2, 3], [1, 0, 2])):
        with pytest.raises(BadInput):
            calibrate(rows, seconds)


def test_one_at_a_time_is_the_queue_that_theory_knows():
    """Without batching it is M/D/1: the mean wait is rho s / (2 (1 - rho))."""
    m, use = model("bf16"), UseCase("short", 10, 20)
    s, rho = m.latency(1, 10, 20), 0.6
    served = simulate(m, use, arrivals(rho / s, 40_000, seed=1), max_batch=1)
    assert served.latency.min() == pytest.approx(s, rel=2e-3)
    assert (served.latency - s).mean() == pytest.approx(rho * s / (2 * (1 - rho)), rel=0.06)
    assert served.batch == 1 and served.busy == pytest.approx(rho, rel=0.02)


def test_batches_form_and_every_request_is_done():
    m = model("bf16")
    slow, fast = (simulate(m, CHAT, arrivals(rate, 300)) for rate in (0.05, 20.0))
    alone = m.latency(1, CHAT.prompt, CHAT.gen)
    assert np.median(slow.latency) == pytest.approx(alone, rel=2e-3) and slow.latency.max() < 1.1 * alone
    assert fast.batch > 10 * slow.batch and (fast.latency > fast.first).all() and (fast.first > 0).all()
    together = simulate(m, CHAT, np.zeros(8))
    assert np.allclose(together.latency, m.latency(8, CHAT.prompt, CHAT.gen), rtol=0.02)
    tight = simulate(m, CHAT, np.zeros(8), max_batch=4)
    assert np.allclose(tight.latency[4:], 2 * tight.latency[:4], rtol=0.01)


def test_most_requests_within_a_limit():
    m = model("w4a16-int")
    alone = m.latency(1, CHAT.prompt, CHAT.gen)
    rates = [max_qps(m, CHAT, k * alone, requests=200) for k in (0.9, 1.5, 3, 6)]
    assert rates[0] == 0 < rates[1] < rates[2] <= rates[3] <= throughput(m, CHAT, m.capacity(512, 256))
    served = simulate(m, CHAT, arrivals(rates[2], 200))
    assert np.percentile(served.latency, 95) <= 3 * alone
    over = simulate(m, CHAT, arrivals(rates[2] * 1.3, 200))
    assert np.percentile(over.latency, 95) > 3 * alone


def test_the_rule_of_the_study_follows():
    """One at a time: fewest bytes. Many at once on a device with fast 8-bit arithmetic: 8 bits for both."""
    many = UseCase("many", 1024, 128)
    assert choose_format("sync", LARGE, "multi-turn chat", 8e9, cache_bytes=1.3e5)[0] == "w4a16-int"
    name, rows = choose_format("async", LARGE, many, 8e9, cache_bytes=1.3e5, slo=20.0, requests=200)
    assert name in ("w8a8-fp", "w8a8-int") and [r.cost for r in rows] == sorted(r.cost for r in rows)
    best = {r.format: r for r in rows}
    assert best["w4a16-int"].qps < best["bf16"].qps * 1.05 < best["w8a8-int"].qps  # prompts are arithmetic
    assert "weights of 4.12 bits" in best["w4a16-int"].reason and best["w8a8-int"].bound == "memory"
    fp = {r.format: r for r in choose_format("sync", SMALL, many, 8e9)[1]}["w8a8-fp"]
    assert "no float8 arithmetic on small" in fp.reason
    assert fp.latency > ServingModel.of(LARGE, FORMATS["w8a8-fp"], 8e9).latency(1, 1024, 128)


def test_what_does_not_fit_is_said():
    name, rows = choose_format(
        "sync", LARGE, CHAT, 7e10, recovery={"w8a8-fp": 99.8, "w4a16-int": 97.0}, least_recovery=99
    )
    assert name == "w8a8-fp" and [r.format for r in rows if not r.fits] == ["w4a16-int", "bf16"]
    assert "140.0 GB" in rows[-1].reason and "97.0 %" in rows[-2].reason and rows[0].recovery == 99.8
    assert cost_per_1000(3.6, 0.5) == pytest.approx(2.0) and cost_per_1000(1, 0) == math.inf
    for wrong in ({"pattern": "batch"}, {"use": "poetry"}, {"parameters": 1e12}):
        with pytest.raises(BadInput):
            choose_format(**{"pattern": "sync", "hardware": LARGE, "use": CHAT, "parameters": 8e9, **wrong})
    roofs = {"bf16": Roofline(0.0, 1e-4, 1e-9), "w4a16-int": Roofline(0.0, 1.0, 1.0)}
    assert choose_format("sync", LARGE, CHAT, 8e9, measured=roofs)[0] == "bf16"
    with pytest.raises(BadInput, match="takes"):
        choose_format("async", LARGE, CHAT, 8e9, slo=1e-3)
    with pytest.raises(BadInput, match="float8 or float16"):
        ServingModel.of(Hardware(name="x", rates={"int8": 1.0}, bandwidth=1.0), FORMATS["w8a8-fp"], 1)
