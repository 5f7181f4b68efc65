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
    for rows, seconds in (([1, 2], [1, 2]), ([1, 2, 3], [1, 0, 2]), ([0, 1, 2], [1, 1, 2]), ([1, 2, 3], [1, 2])):
        with pytest.raises(BadInput):
            calibrate(rows, seconds)


def test_times_and_room_by_hand():
    m = model("w4a16-int", parameters=8e9, overhead=1e-3)
    read = 8e9 * (4 + 16 / 128) / 8 / 2e12
    assert m.roofline == Roofline(1e-3, pytest.approx(read), pytest.approx(2 * 8e9 / 4e14)) and m.notes == ()
    assert m.latency(2, 100, 5) == pytest.approx(m.prefill(200) + 4 * m.step(2, 102.5))
    assert m.latency(1, 1, 1) == m.prefill(1)
    for wrong in ({"batch": 0}, {"prompt": 0}, {"gen": 0}):
        with pytest.raises(BadInput, match=f"{next(iter(wrong))}: expected at least 1"):
            m.latency(**{"batch": 1, "prompt": 1, "gen": 1, **wrong})
    endless = Hardware(name="endless", rates={"float16": 1.0}, bandwidth=1.0)
    assert endless.memory == math.inf and endless.price == 0
    assert ServingModel.of(endless, FORMATS["bf16"], 8e9, 1.0).capacity(1, 1) == 2**20
    assert ServingModel.of(LARGE, FORMATS["bf16"], 8e9).capacity(1, 1) == 2**20
    assert Roofline(0.0, 1.0, 0.0).corner == math.inf and Roofline(0.0, 1.0, 0.5).corner == 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"bandwidth": 0}, "bandwidth of x: expected above 0"),
        ({"memory": 0}, "memory of x: expected above 0"),
        ({"rates": {"int8": 0}}, "int8 of x: expected above 0"),
        ({"rates": {}}, "rates of x: expected at least one"),
        ({"price": -1}, "price of x: expected 0 or more"),
        ({"price": math.nan}, "price of x: expected 0 or more"),
    ],
)
def test_a_device_that_cannot_be(wrong, said):
    with pytest.raises(BadInput, match=said):
        Hardware(**{"name": "x", "rates": {"int8": 1.0}, "bandwidth": 1.0, **wrong})


def test_two_requests_step_by_step():
    """The second comes in the middle of the first one's first step, and joins after it."""
    m, use = model("bf16", overhead=1e-3), UseCase("tiny", 10, 3)
    read = m.prefill(10)
    alone = simulate(m, use, [5.0])
    assert alone.latency == pytest.approx([read + 2 * m.step(1, 11.5)]) and alone.first == pytest.approx([read])
    assert (alone.batch, alone.busy) == (1.0, pytest.approx(1.0))
    comes = read + 0.5 * m.step(1, 11)
    both = simulate(m, use, [0.0, comes])
    joins = read + m.step(1, 11)
    ends = joins + read + m.step(2, 11.5)
    assert both.first == pytest.approx([read, joins + read - comes])
    assert both.latency == pytest.approx([ends, ends + m.step(1, 12) - comes])
    assert both.batch == pytest.approx((1 + 2 + 1) / 3) and both.busy == pytest.approx(1.0)
    one = simulate(m, use, [0.0, comes], max_batch=1)
    work = read + 2 * m.step(1, 11.5)
    assert one.latency == pytest.approx([work, 2 * work - comes])
    apart = simulate(m, use, [1.0, 1.0 + 4 * work])
    assert apart.latency == pytest.approx([work, work]) and apart.busy == pytest.approx(2 / 5)
    assert len(simulate(m, use, []).latency) == 0 == simulate(m, use, []).busy
    word = simulate(m, UseCase("a word", 10, 1), [0.0, 0.0])
    assert word.latency == pytest.approx([m.prefill(20)] * 2) and word.batch == 0
    with pytest.raises(BadInput, match="bf16 on large: weights and one request do not fit"):
        simulate(model("bf16", parameters=5e10), use, [0.0])
    with pytest.raises(BadInput, match="do not fit"):
        max_qps(model("bf16", parameters=5e10), use, 1.0)


def test_arrivals_and_the_best_batch():
    times = arrivals(2.0, 20_000)
    assert np.array_equal(times, arrivals(1.0, 20_000, seed=0) / 2) and (np.diff(times) > 0).all()
    assert times[-1] / 20_000 == pytest.approx(0.5, rel=0.02)
    with pytest.raises(BadInput, match="rate: expected above 0"):
        arrivals(0.0, 1)
    m = model("bf16")
    for most, sizes in ((1, (1,)), (3, (1, 2, 3)), (64, (1, 2, 4, 8, 16, 32, 64))):
        assert throughput(m, CHAT, most) == max(b / m.latency(b, CHAT.prompt, CHAT.gen) for b in sizes)


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


def test_costs_and_reasons_by_hand():
    name, rows = choose_format("sync", LARGE, UseCase("x", 100, 10), 8e9, formats=["bf16", "w8a8-int"])
    for row in rows:
        alone = ServingModel.of(LARGE, FORMATS[row.format], 8e9).latency(1, 100, 10)
        assert (row.latency, row.qps) == (pytest.approx(alone), pytest.approx(1 / alone))
        assert row.cost == pytest.approx(4 / 3600 * 1000 * alone) and row.fits and row.recovery is None
    assert name == rows[0].format == "w8a8-int" and rows[0].bound == "memory"
    assert rows[0].reason == (
        "a step of 1 request waits for memory: 4 ms to read weights of 8 bits, 0.02 ms to compute (int8)"
    )
    free = Hardware(name="free", rates=LARGE.rates, bandwidth=2e12)
    assert [r.format for r in choose_format("sync", free, "code fixing", 8e9)[1]][0] == "w4a16-int"  # by speed
    many = UseCase("many", 64, 8)
    found = choose_format("async", LARGE, many, 8e9, requests=50)[1]
    limit = 3 * min(row.latency for row in found)  # where none is given
    assert found == choose_format("async", LARGE, many, 8e9, slo=limit, requests=50)[1]
    assert found != choose_format("async", LARGE, many, 8e9, slo=limit / 2, requests=50)[1]


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
