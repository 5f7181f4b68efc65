"""Mixing domains: the formulas, exact resumption and sharding, schedules, double correction, measured noise."""

import json
import math
from collections import Counter

import numpy as np
import pytest

from smidgen.data.mix import (
    TemperatureSampler,
    batch_weights,
    check_single_correction,
    class_weights,
    members,
    scalarization_weights,
    variance_factor,
)
from smidgen.data.mix_schedules import (
    Constant,
    Cooldown,
    OrderMattersSchedule,
    PiecewiseSchedule,
    RunLength,
    UniMaxSchedule,
    domain_probabilities,
    schedule_from,
    to_dict,
)
from smidgen.kit.errors import BadInput

SIZES = {"en": 8000, "it": 1600, "zh": 240, "sw": 40}
SCHEDULES = [
    Constant(2.0),
    Cooldown(5.0, 1.0, 0.5),
    Cooldown(3.0, 1.0, 7),
    PiecewiseSchedule(((0, 5.0), (4, 2.0), (9, 1.0))),
    UniMaxSchedule(3.0),
    OrderMattersSchedule(0.5, large=0.2),
]


def test_probabilities_are_the_formula():
    for tau in (1.0, 2.0, 5.0, 100.0):
        powers = np.array([s ** (1 / tau) for s in SIZES.values()])
        assert np.allclose(list(domain_probabilities(SIZES, tau).values()), powers / powers.sum())
    assert set(domain_probabilities(SIZES, math.inf).values()) == {0.25}
    with pytest.warns(UserWarning, match="0.02"):
        assert domain_probabilities({"a": 10**18, "b": 1}, 0.02) == {"a": 1.0, "b": 0.0}  # no overflow


def test_temperatures_that_cannot_be():
    with pytest.raises(ValueError, match="above 0"):
        domain_probabilities(SIZES, 0.0)
    with pytest.warns(UserWarning, match=r"0\.5"):
        assert domain_probabilities(SIZES, 0.5)["en"] > domain_probabilities(SIZES, 1.0)["en"]
    with pytest.raises(ValueError, match="'b'"):
        domain_probabilities({"a": 3, "b": 0}, 2.0)
    with pytest.raises(ValueError, match="at least one domain"):
        TemperatureSampler({})


def test_weights_give_the_same_mean_gradient():
    weights, natural = scalarization_weights(SIZES, 5.0), domain_probabilities(SIZES, 1.0)
    for name, p in domain_probabilities(SIZES, 5.0).items():
        assert weights[name] * natural[name] == pytest.approx(p)
    batch = [("en", 1)] * 7 + [("sw", 3)]
    assert batch_weights(batch, weights, normalize=True).mean() == pytest.approx(1)
    assert batch_weights(batch, weights)[-1] == weights["sw"] > 1 > weights["en"]


def test_variance_factor_is_the_second_moment_of_draws():
    """Against simulated single-example gradients of norm g_i: E[S^2] / E[TS^2], and with means taken off."""
    squares = {"en": 1.0, "it": 2.0, "zh": 5.0, "sw": 0.5}
    rng, names = np.random.default_rng(0), list(SIZES)
    weights = scalarization_weights(SIZES, 5.0)
    moments = []
    for tau, w in ((1.0, weights), (5.0, dict.fromkeys(SIZES, 1.0))):
        chances = domain_probabilities(SIZES, tau)
        drawn = rng.choice(4, 400_000, p=[chances[n] for n in names])
        moments.append(np.mean([w[names[i]] ** 2 * squares[names[i]] for i in drawn]))
    assert variance_factor(SIZES, 5.0, squares) == pytest.approx(moments[0] / moments[1], rel=0.05)
    assert variance_factor(SIZES, 1.0) == pytest.approx(1)
    assert variance_factor(SIZES, 5.0) > variance_factor(SIZES, 2.0) > 1
    assert (
        variance_factor(SIZES, 5.0, {"en": 100.0, "it": 1, "zh": 1e-3, "sw": 1e-3}) < 1
    )  # large domain, large gradients
    assert variance_factor(SIZES, 5.0, squares, 1.0) > variance_factor(SIZES, 5.0, squares)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_draws_follow_the_schedule(schedule):
    run = RunLength(20, 500)
    sampler = TemperatureSampler(SIZES, schedule, 500, steps=20)
    for step, batch in enumerate(sampler):
        chances = schedule.probabilities(SIZES, step, run)
        assert sum(chances.values()) == pytest.approx(1)
        for name, count in {**dict.fromkeys(SIZES, 0), **Counter(n for n, _ in batch)}.items():
            assert abs(count - 500 * chances[name]) <= 5 * math.sqrt(500 * chances[name] * (1 - chances[name])) + 1e-9
        assert all(0 <= i < SIZES[n] for n, i in batch)
    assert step == 19 and len(sampler) == 20


def test_schedules_at_their_steps():
    run = RunLength(20, 500)
    at = {s: Cooldown(5.0, 1.0, 0.5).probabilities(SIZES, s, run) for s in (0, 9, 10, 19)}
    assert at[0] == at[9] == domain_probabilities(SIZES, 5.0) and at[10] == at[19] == domain_probabilities(SIZES, 1.0)
    steps = PiecewiseSchedule(((0, 5.0), (4, 2.0)))
    assert [steps.probabilities(SIZES, s, run)["en"] for s in (3, 4)] == [
        domain_probabilities(SIZES, t)["en"] for t in (5.0, 2.0)
    ]
    first, then = (OrderMattersSchedule(0.5, 0.2).probabilities(SIZES, s, run) for s in (9, 10))
    assert first["zh"] == first["sw"] == 0 and first["it"] == pytest.approx(1 / 6) and then["sw"] > 0
    shares = UniMaxSchedule(2.0).probabilities(SIZES, 0, RunLength(100, 40))  # 4000 draws
    drawn = {n: 4000 * p for n, p in shares.items()}
    assert drawn["sw"] == pytest.approx(80) and drawn["zh"] == pytest.approx(480)
    assert drawn["it"] == drawn["en"] == pytest.approx((4000 - 560) / 2)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_schedules_go_through_json(schedule):
    assert schedule_from(json.loads(json.dumps(to_dict(schedule)))) == schedule


def test_schedules_that_cannot_be():
    for make in (
        lambda: Cooldown(switch=1.5),
        lambda: Cooldown(high=0),
        lambda: PiecewiseSchedule(((1, 5.0),)),
        lambda: PiecewiseSchedule(((0, 5.0), (0, 1.0))),
        lambda: UniMaxSchedule(0),
        lambda: OrderMattersSchedule(large=0),
        lambda: schedule_from({"schedule": "cooldwn"}),
        lambda: schedule_from({"schedule": "cooldown", "hihg": 5}),
        lambda: TemperatureSampler(SIZES, Cooldown(switch=11), steps=10),
        lambda: TemperatureSampler(SIZES, Cooldown(switch=0.5)),
        lambda: TemperatureSampler(SIZES, UniMaxSchedule(1.0), 100, steps=100),
        lambda: TemperatureSampler(SIZES, 5.0, weighting=5.0),
        lambda: TemperatureSampler(SIZES, 1.0, 30, world=4),
        lambda: TemperatureSampler(SIZES, 1.0, draws="all"),
    ):
        with pytest.raises(BadInput):
            make()
    check_single_correction(TemperatureSampler(SIZES, 1.0), scalarization_weights(SIZES, 5.0))
    with pytest.raises(BadInput, match="twice"):
        check_single_correction(TemperatureSampler(SIZES, 5.0), scalarization_weights(SIZES, 5.0))
    weighted = TemperatureSampler(SIZES, weighting=5.0)
    assert weighted.loss_weights(weighted.take()).max() > 1


@pytest.mark.parametrize("draws", ["iid", "queues"])
def test_resumed_anywhere_and_sharded_anyhow(draws):
    def make(**more):
        return TemperatureSampler(SIZES, Cooldown(5.0, 1.0, 0.5), 12, seed=3, draws=draws, steps=30, **more)

    whole = list(make())
    for stop in (0, 1, 14, 15, 29, 30):
        first = make()
        for _ in range(stop):
            first.take()
        state = json.loads(json.dumps(first.state_dict()))
        ranks = [make(rank=r, world=3) for r in range(3)]  # goes on with another number of ranks
        for rank in ranks:
            rank.load_state_dict(state)
        rest = list(zip(*ranks, strict=True))
        assert len(rest) == 30 - stop
        for step, parts in enumerate(rest, stop):
            joined = [None] * 12
            for r, part in enumerate(parts):
                joined[r::3] = part
            assert joined == whole[step]
    ahead = make()
    for _ in range(20):
        ahead.take()
    at_14 = make()
    for _ in range(14):
        at_14.take()
    assert ahead.state_dict(consumed=14) == at_14.state_dict()
    other = TemperatureSampler(SIZES, 5.0, 12, seed=3)
    with pytest.raises(BadInput, match="saved sampler"):
        other.load_state_dict(ahead.state_dict())
    assert whole != list(TemperatureSampler(SIZES, Cooldown(5.0, 1.0, 0.5), 12, seed=4, draws=draws, steps=30))


def test_queues_see_everything_once_an_epoch():
    sampler = TemperatureSampler({"big": 300, "small": 7}, math.inf, 10, draws="queues", steps=50)
    drawn = [item for batch in sampler for item in batch]
    small = [i for n, i in drawn if n == "small"]
    for start in range(0, len(small) - 7, 7):
        assert sorted(small[start : start + 7]) == list(range(7))
    assert small[:7] != small[7:14] or small[7:14] != small[14:21]
    assert sampler.epochs() == {"small": len(small) / 7, "big": (500 - len(small)) / 300}


def test_in_a_torch_loader():
    torch = pytest.importorskip("torch")

    class Data(torch.utils.data.Dataset):
        def __getitem__(self, item):
            domain, index = item
            return list(SIZES).index(domain) * 10_000 + index

    loader = torch.utils.data.DataLoader(Data(), batch_sampler=TemperatureSampler(SIZES, 5.0, 6, steps=4))
    got = [batch.tolist() for batch in loader]
    same = [[list(SIZES).index(n) * 10_000 + i for n, i in b] for b in TemperatureSampler(SIZES, 5.0, 6, steps=4)]
    assert got == same and len(loader) == 4


def test_classes_as_domains():
    labels = np.array(["b", "a", "b", "b", "c", "b"])
    rows = members(labels)
    assert {k: v.tolist() for k, v in rows.items()} == {"a": [1], "b": [0, 2, 3, 5], "c": [4]}
    sampler = TemperatureSampler({k: len(v) for k, v in rows.items()}, math.inf, 30)
    assert all(labels[rows[domain][index]] == domain for domain, index in sampler.take())
    balanced = class_weights(labels, math.inf)
    assert balanced == pytest.approx({"a": 6 / 3, "b": 6 / 12, "c": 6 / 3})  # n / (classes x count)
    assert class_weights(np.array([0, 0, 1]), 1.0) == pytest.approx({0: 1.0, 1: 1.0})


def test_measured_noise_is_that_of_theorem_1():
    """A linear model whose gradients are known: the measured variances are the exact ones, and S is the noisier."""
    torch = pytest.importorskip("torch")
    from smidgen.data.variance import GradientVarianceProbe

    sizes = {"big": 400, "mid": 60, "small": 8}
    rng = np.random.default_rng(0)
    data = {
        n: torch.from_numpy(rng.standard_normal((s, 5)) * k) for (n, s), k in zip(sizes.items(), (1, 1, 2), strict=True)
    }
    model = torch.nn.Linear(5, 1, bias=False).double()
    with torch.no_grad():
        model.weight.zero_()

    def loss_fn(model, batch, weights):
        x = torch.stack([data[n][i] for n, i in batch])
        return (torch.from_numpy(weights) * model(x)[:, 0]).mean()  # the gradient of one example is its x

    out = GradientVarianceProbe(model, loss_fn, batch_size=16).compare(sizes, 5.0, n_batches=1500, n_single=400)
    exact = {}
    for kind, tau, w in (
        ("sampling", 5.0, dict.fromkeys(sizes, 1.0)),
        ("weighting", 1.0, scalarization_weights(sizes, 5.0)),
    ):
        p = domain_probabilities(sizes, tau)
        second = sum(p[n] * w[n] ** 2 * float(data[n].square().sum(1).mean()) for n in sizes)
        mean = sum(p[n] * w[n] * data[n].mean(0) for n in sizes)
        exact[kind] = (second - float(mean.square().sum())) / 16
        assert out[kind] == pytest.approx(exact[kind], rel=0.1)
    assert out["ratio"] == pytest.approx(out["predicted"], rel=0.15) and out["ratio"] > 1.5
    assert out["mean_sq_norm"] == pytest.approx(float(mean.square().sum()), rel=0.3, abs=0.02)
    assert model.weight.grad is None
