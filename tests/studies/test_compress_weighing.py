"""Which options are measured first, and what is said of those that are not."""

import itertools

import pytest

from smidgen.studies.compress_weighing import Array, order, weigh

OPTIONS = ("int2", "int3", "int4", "int8", "float16")
ERRORS = (0.4, 0.2, 0.1, 0.01, 0.001)
ARRAYS = [Array("small", 100, 0.5, OPTIONS, ERRORS), Array("big", 1000, 0.5, OPTIONS, ERRORS)]


def true(name: str, option: str) -> float:
    return {"small": 0.1, "big": 2.0}[name] * ERRORS[OPTIONS.index(option)]


def measured(count: int) -> tuple[list[tuple[str, str]], dict[tuple[str, str], float]]:
    calls: list[tuple[str, str]] = []

    def measure(name: str, option: str) -> float:
        calls.append((name, option))
        return true(name, option)

    left = itertools.count()
    found = weigh(ARRAYS, measure, lambda: next(left) < count)
    return calls, {(a.name, o): found.loss(a, i) for a in ARRAYS for i, o in enumerate(a.options)}


def test_every_place_comes_once_and_the_middle_first() -> None:
    for options in range(1, 12):
        places = [p for level in order(options) for p, _ in level]
        assert sorted(places) == list(range(options)) and places[0] == options // 2
        assert {0, options - 1} <= set(places[:3])


def test_more_time_measures_more_in_the_same_order_and_the_big_ones_first() -> None:
    whole = measured(100)[0]
    assert whole[:2] == [("big", "int4"), ("small", "int4")] and len(set(whole)) == len(whole) == 10
    assert all(measured(n)[0] == whole[:n] for n in range(11))


def test_losses_in_proportion_to_errors_are_forecast_exactly_from_one_option_of_each() -> None:
    losses = measured(2)[1]
    assert all(losses[name, option] == pytest.approx(true(name, option)) for name, option in losses)
    nothing = measured(0)[1]
    assert all(nothing[a.name, o] > nothing[a.name, p] for a in ARRAYS for o, p in itertools.pairwise(OPTIONS))


def test_what_lies_between_options_of_like_loss_is_not_measured_and_what_cannot_be_used_is_infinite() -> None:
    flat = Array("flat", 10, 1.0, OPTIONS, ERRORS)
    found = weigh([flat], lambda name, option: 0.25, lambda: True)
    assert len(found.measured) == 3 and found.skipped == 2 and found.loss(flat, 1) == pytest.approx(0.25)
    broken = weigh([flat], lambda name, option: float("inf"), iter([True, False]).__next__)
    assert broken.loss(flat, 0) == float("inf")
