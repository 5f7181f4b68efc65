"""The mix of options against all mixes."""

import itertools
import math

import numpy as np
import pytest

from smidgen.compress.allocate import Choice, Infeasible, additivity, allocate, best_mix, frontier
from smidgen.kit.errors import BadInput


def _case(rng, layers=6, options=4, whole=False):
    """Sizes that grow with bits and scales, losses that fall about fourfold a bit, with exceptions."""
    choices = []
    for a in range(layers):
        numbers = int(rng.integers(100, 100_000))
        weight = float(rng.lognormal(0, 2))
        for bits in range(2, 2 + options):
            loss = weight * 4.0**-bits * float(rng.lognormal(0, 0.5))
            size = numbers * bits // 8 + 2 * int(rng.integers(1, 999))
            choices.append(Choice(f"layer {a}", f"int{bits}", size, round(loss * 40) if whole else loss))
    return choices


def _all(choices):
    layers: dict[str, list[Choice]] = {}
    for c in choices:
        layers.setdefault(c.layer, []).append(c)
    return [(sum(c.bytes for c in m), math.fsum(c.loss for c in m)) for m in itertools.product(*layers.values())]


@pytest.mark.parametrize("whole", [False, True], ids=["any losses", "losses with ties"])
def test_best_of_all_mixes(whole):
    rng = np.random.default_rng(5)
    for _ in range(8):
        choices = _case(rng, whole=whole)
        every = _all(choices)
        sizes = sorted(s for s, _ in every)
        for limit in (sizes[0], sizes[40], sizes[len(sizes) // 2], sizes[-1] + 7):
            mix = best_mix(choices, most_bytes=limit)
            loss = min(v for s, v in every if s <= limit)
            assert mix.loss == pytest.approx(loss, rel=1e-6, abs=1e-12)
            assert mix.bytes <= limit
            if whole:
                assert mix.bytes == min(s for s, v in every if s <= limit and v == loss)
        for limit in (min(v for _, v in every), every[len(every) // 3][1], max(v for _, v in every)):
            mix = best_mix(choices, most_loss=limit)
            assert mix.loss <= limit * (1 + 1e-9)
            assert mix.bytes == min(s for s, v in every if v <= limit * (1 + 1e-9))


def test_bytes_are_exact_however_large():
    """Two mixes that differ by a byte in gigabytes: the solver's tolerance must not let the larger one through."""
    big = 3_000_000_000
    choices = [
        Choice(a, o, s, v)
        for a in ("a", "b")
        for o, s, v in (("large", big + 1, 0.0), ("just", big, 1.0), ("small", 5, 9.0))
    ]
    assert allocate(choices, most_bytes=2 * big) == {"a": "just", "b": "just"}
    assert best_mix(choices, most_bytes=2 * big + 1).loss == 1.0
    assert best_mix(choices, most_bytes=2 * big + 2).loss == 0.0


def test_negative_and_infinite_losses_and_what_is_wrong():
    choices = [Choice("a", "x", 10, -0.5), Choice("a", "y", 4, math.inf), Choice("a", "z", 6, -0.1)]
    choices += [Choice("b", "x", 10, 0.0), Choice("b", "y", 3, 0.2)]
    assert allocate(choices, most_bytes=14) == {"a": "x", "b": "y"}
    assert allocate(choices, most_loss=0.1) == {"a": "z", "b": "y"}
    with pytest.raises(Infeasible, match="smallest reachable is 9 bytes") as error:
        allocate(choices, most_bytes=8)
    assert error.value.smallest == 9
    with pytest.raises(Infeasible, match="smallest reachable is -0.5"):
        allocate(choices, most_loss=-0.6)
    for wrong in ({}, {"most_bytes": 20, "most_loss": 1.0}):
        with pytest.raises(BadInput, match="one of them"):
            allocate(choices, **wrong)
    with pytest.raises(BadInput, match="each once"):
        allocate([*choices, choices[0]], most_bytes=20)
    with pytest.raises(BadInput, match="loss of x for c"):
        allocate([Choice("c", "x", 1, math.nan)], most_bytes=20)


def test_a_hundred_layers_are_at_the_bound():
    """The relaxed problem bounds the optimum from below; at such a size a mix comes very near it."""
    from scipy.optimize import linprog

    choices = _case(np.random.default_rng(3), layers=100, options=12)
    low = sum(min(c.bytes for c in choices if c.layer == f"layer {a}") for a in range(100))
    high = sum(max(c.bytes for c in choices if c.layer == f"layer {a}") for a in range(100))
    limit = (2 * low + high) // 3
    mix = best_mix(choices, most_bytes=limit)
    one = np.array([[float(c.layer == f"layer {a}") for c in choices] for a in range(100)])
    relaxed = linprog(
        [c.loss for c in choices],
        A_ub=[[c.bytes / limit for c in choices]],
        b_ub=[1],
        A_eq=one,
        b_eq=np.ones(100),
    )
    assert relaxed.fun * (1 - 1e-9) <= mix.loss <= relaxed.fun * 1.001
    assert 0.999 * limit <= mix.bytes <= limit


def test_the_frontier_runs_from_smallest_to_best():
    choices = _case(np.random.default_rng(8))
    every = _all(choices)
    curve = frontier(choices, 12)
    assert curve[0].bytes == min(s for s, _ in every)
    assert curve[-1].loss == pytest.approx(min(v for _, v in every))
    for a, b in itertools.pairwise(curve):
        assert a.bytes < b.bytes and a.loss > b.loss


def test_additivity_of_losses():
    predicted = [0.1, 0.2, 0.4, 0.8]
    exact = additivity(predicted, predicted)
    assert (exact.rank, exact.ratio, exact.error) == pytest.approx((1, 1, 0))
    worse = additivity(predicted, [0.2, 0.4, 0.8, 1.6])
    assert (worse.rank, worse.ratio, worse.error) == pytest.approx((1, 2, 0.5))
    assert additivity(predicted, predicted[::-1]).rank == pytest.approx(-1)
    from scipy.stats import spearmanr

    tied = [0.3, 0.3, 0.1, 0.5]
    assert additivity(predicted, tied).rank == pytest.approx(spearmanr(predicted, tied).statistic)
    with pytest.raises(BadInput, match="at least 3"):
        additivity([1, 2], [1, 2])
