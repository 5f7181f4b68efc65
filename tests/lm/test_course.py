"""The course of a training, on a clock of our own: it ends with the time, at rate 0, and when other text says so."""

import math

import pytest

from smidgen.lm.course import LOOKS, Course
from smidgen.train.loop import Update
from smidgen.train.schedules import WSD


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def run(total, update, warmup=5, state=None, stop=10**9):
    """Updates of so many seconds until the course ends; factors by step, the course, the clock."""
    clock = Clock()
    course = Course(WSD(warmup=warmup, decay=10), total, total, 0.2, [], None, clock)
    if state:
        course.load(state, len(state["done"]))
    factors, step = [], len(state["done"]) if state else 0
    while course.go_on(step) and len(factors) < stop:
        factors.append(course(step))
        clock.now += update
        course.timed(Update(step, 1.0, 1.0, 1.0, 1, update, clock.now))
        step += 1
    return factors, course, clock


@pytest.mark.parametrize("update", [0.1, 0.37, 2.0, 7.0])
@pytest.mark.parametrize("total", [3.0, 10.0, 100.0, 1000.0])
def test_ends_with_the_time_and_near_rate_zero(total, update):
    factors, course, clock = run(total, update)
    assert clock.now <= total + update and factors
    if len(factors) > 20:
        assert clock.now > 0.9 * total and factors[-1] < 0.1
        assert factors[-len(factors) // 5 - 2] > 0.9  # the fall takes a fifth


def test_time_that_ends_within_the_warm_up():
    factors, _, clock = run(10.0, 1.0, warmup=50)
    assert 8 <= len(factors) <= 10 and clock.now <= 10 and factors[-1] == 0 < factors[-2]


def test_going_on_in_the_fall_ends_where_it_would_have():
    whole, _, _ = run(100.0, 1.0)
    part, course, _ = run(100.0, 1.0, stop=90)
    rest, _, clock = run(100.0 - 90.0, 1.0, state={**course.state(), "done": part})
    assert len(part) + len(rest) == len(whole) and clock.now <= 11
    assert part + rest == pytest.approx(whole)


def test_held_out_text_ends_it():
    course = Course(WSD(warmup=5, decay=100, stable_until=1000), math.inf, 0.0, 0.2, [])
    flat = [course.looked(i, loss) for i, loss in enumerate([3.0, 2.5, 2.51, 2.52, 2.51])]  # no more than noise
    assert not any(flat)
    looks = [2.5, 2.0, 2.5, 2.6, 2.7, 2.8]
    answers = [course.looked(40 * (i + 1), loss) for i, loss in enumerate(looks)]
    assert answers == [False, False, False, False, True, False] and LOOKS == 3
    assert course.falling(200) and course.wsd.end == 250 and not course.go_on(250)


def test_without_held_out_text_the_clock_gives_no_more_updates_than_planned():
    clock = Clock()
    course = Course(WSD(warmup=5, decay=10), 1000.0, 1000.0, 0.2, [], 50, clock)
    factors, step = [], 0
    while course.go_on(step):
        factors.append(course(step))
        clock.now += 0.1
        course.timed(Update(step, 1.0, 1.0, 1.0, 1, 0.1, clock.now))
        step += 1
    assert step == 50 and factors[39] == 1.0 > factors[40] and factors[-1] == pytest.approx(0, abs=1e-9)


def test_going_back_to_before_a_fall_takes_it_back():
    course = Course(WSD(warmup=5, decay=10), 100.0, 100.0, 0.2, [], None, Clock())
    before = course.state()
    course.fall(20, 8)
    course.load(before, 15)
    assert course.wsd.stable_until is None and course(30) == 1.0
