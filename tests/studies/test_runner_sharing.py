"""The runner with others: what it offers, takes itself, waits for and counts; what is cut; how long it waits."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from smidgen.budget.meter import Meter
from smidgen.studies import runner as runner_module
from smidgen.studies import trial as trial_module
from smidgen.studies.inline import InlinePool
from smidgen.studies.job import Failure
from smidgen.studies.runner import BEAT_SECONDS, POLL_SECONDS, Runner, _fits
from smidgen.studies.store import RunStore
from smidgen.studies.trial import Result, Trial


def trials_of(*numbers):
    return [Trial(task="t", method=f"learn/m{i}", version=1, view="x", draw="cv:k=4:r=0", seed=0) for i in numbers]


def value(i):
    return Result(np.full((3, 2), float(i)), 1.0, 0.5, 100 + i, 10)


class Others:
    """Stands for `Sharing`: `does[k]` is what has ended elsewhere at the k-th look; `own` may be taken here."""

    def __init__(self, store, does=(), own=(), accepts=True):
        self.store, self.does, self.own, self.accepts = store, list(does), list(own), accepts
        self.said: list[Any] = []
        self.offering = False

    def wanted(self):
        return not self.offering and self.accepts is not None

    def offer(self, trials, longest):
        self.said.append(("offer", [t.method[-1] for t in trials], longest))
        self.offering = bool(self.accepts)
        self.accepts = self.accepts or None
        return self.offering

    def take(self, count):
        taken, self.own = self.own[:count], self.own[count:]
        self.said.append(("take", count, len(taken)))
        out = []
        for t in taken:
            fence = self.store.claim(t.key, t.to_json())
            out.append(SimpleNamespace(key=t.key, fence=fence))
        return out

    def outcomes(self, keys):
        self.said.append(("look", len(keys)))
        ended = self.does.pop(0) if self.does else []
        return {t.key: value(int(t.method[-1])) for t in ended}

    def drop(self, key):
        self.said.append(("drop", key))

    def beat(self):
        pass

    def withdraw(self):
        self.said.append("withdraw")
        self.offering = False


@pytest.fixture
def naps(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(runner_module.time, "sleep", slept.append)
    return slept


@pytest.fixture
def ran(monkeypatch):
    seen: list[str] = []

    def run_trial(trial):
        seen.append(trial.method[-1])
        return value(int(trial.method[-1]))

    monkeypatch.setattr(trial_module, "run_trial", run_trial)
    return seen


@pytest.fixture
def start(tmp_path):
    made = []

    def start(pool=None, clock=lambda: 100.0, **options):
        store = RunStore(tmp_path / "runs.db")
        made.append(store)
        study = store.open_study("s", "f", {})
        runner = Runner(store, pool or InlinePool(), Meter(lambda: 0.0), study.id, clock, **options)
        got: list[tuple[str, float]] = []
        live: list[str] = []
        runner.live = lambda trial, result: live.append(trial.method[-1])
        return runner, got, live, lambda t, r: got.append((t.method[-1], r.predictions[0, 0]))

    yield start
    for store in made:
        store.close()


def test_all_is_measured_by_others(start, ran, naps):
    runner, got, live, each = start(own=0, longest=9.0)
    a, b, c = trials_of(0, 1, 2)
    runner.sharing = others = Others(runner.store, [[], [c], [], [a, b]])
    assert runner.run([a, b, c], each)
    assert got == [("0", 0.0), ("1", 1.0), ("2", 2.0)] and live == ["2", "0", "1"] and ran == []
    looks = [("look", 3), ("look", 3), ("look", 2), ("look", 2)]
    assert others.said == [("offer", ["0", "1", "2"], 9.0), *looks, "withdraw"]
    assert naps == [POLL_SECONDS] * 2 and runner.cut == []
    spent = runner.meter.spent()
    assert [spent[k] for k in ("trials", "reused", "fits", "cpu_seconds", "peak_memory_bytes")] == [3, 0, 12, 1.5, 102]


def test_who_shares_takes_its_own_part(start, ran, naps):
    runner, got, live, each = start()
    a, b, c = trials_of(0, 1, 2)
    runner.sharing = others = Others(runner.store, [[], [b]], own=[a, c])
    assert runner.run([a, b, c], each)
    assert ran == ["0", "2"] and [m for m, _ in got] == ["0", "1", "2"] and set(live) == {"0", "1", "2"}
    assert others.said[:2] == [("offer", ["0", "1", "2"], None), ("take", 1, 1)] and others.said[-1] == "withdraw"
    assert len(runner.store.get([t.key for t in (a, c)])) == 2 and runner.meter.spent()["reused"] == 0


class Late(InlinePool):
    """Nothing ends in the first waits."""

    def __init__(self, empty):
        super().__init__()
        self.empty, self.waits = empty, []

    def wait(self, timeout=None):
        self.waits.append(timeout)
        self.empty -= 1
        return [] if self.empty >= 0 else super().wait(timeout)


def test_while_it_works_it_looks_at_others_now_and_then(start, ran, monkeypatch):
    now, naps = SimpleNamespace(t=100.0), []

    def sleep(seconds):
        naps.append(seconds)
        now.t += seconds

    monkeypatch.setattr(runner_module.time, "sleep", sleep)
    runner, got, _, each = start(Late(6), clock=lambda: now.t)
    a, b = trials_of(0, 1)
    runner.sharing = others = Others(runner.store, [[], []], own=[a])
    wait = runner.pool.wait

    def waits(timeout):
        now.t += POLL_SECONDS / 4
        return wait(timeout)

    runner.pool.wait = waits
    runner.stop_at = now.t + 2 * POLL_SECONDS + 0.01
    assert not runner.run([a, b], each)
    looks = [s for s in others.said if s[0] == "look"]
    assert looks == [("look", 1)] * 2 and naps == [POLL_SECONDS]  # once in four waits, and once when nothing runs
    assert [m for m, _ in got] == ["0"]


def test_what_cannot_be_given_away_is_measured_here(start, ran, naps):
    runner, got, _, each = start()
    runner.sharing = others = Others(runner.store, accepts=False)
    assert runner.run(trials_of(0, 1), each)
    assert ran == ["0", "1"] and others.said == [("offer", ["0", "1"], None), "withdraw"] and naps == []


def test_who_has_no_workers_waits_until_it_can_offer(start, ran, naps):
    runner, got, _, each = start(own=0)
    (a,) = trials_of(0)
    runner.sharing = others = Others(runner.store, [[a]])
    turns = iter([False, False, True])
    others.wanted = lambda: next(turns, False)
    assert runner.run([a], each)
    assert naps == [POLL_SECONDS] * 2 and got == [("0", 0.0)] and ran == []


def test_what_others_run_when_the_time_ends_was_cut(start, ran, naps, monkeypatch):
    runner, got, _, each = start(own=0)
    a, b = trials_of(0, 1)
    runner.sharing = Others(runner.store)
    ends = iter([False, False, True])
    monkeypatch.setattr(runner, "_time_is_up", lambda: next(ends))
    monkeypatch.setattr(runner_module, "held", lambda store, keys: {b.key} & set(keys))
    assert not runner.run([a, b], each)
    assert runner.cut == [b] and got == []


def test_what_this_machine_cannot_do_is_not_asked_of_others(start, ran, naps):
    class Small(InlinePool):
        def wait(self, timeout=None):
            return [(job, Failure("out of memory", "memory")) for job, _ in super().wait(timeout)]

    runner, _, _, _ = start(Small())
    (a,) = trials_of(0)
    runner.sharing = others = Others(runner.store, own=[a])
    got = []
    assert runner.run([a], lambda t, r: got.append(r.error))
    assert got == ["out of memory"] and ("drop", a.key) in others.said and not runner.store.get([a.key])


def test_it_waits_as_long_as_nothing_else_is_to_be_done(start):
    now = SimpleNamespace(t=100.0)
    runner, *_ = start(clock=lambda: now.t)
    assert (runner._patience(False), runner._patience(True)) == (BEAT_SECONDS, POLL_SECONDS)
    assert not runner._time_is_up()
    runner.stop_at = 104.0
    assert (runner._patience(False), runner._patience(True)) == (4.0, POLL_SECONDS)
    for t, patience, up in ((103.9, pytest.approx(0.1), False), (104.0, 0.0, True), (110.0, 0.0, True)):
        now.t = t
        assert runner._patience(True) == patience and runner._time_is_up() == up


def test_fits_of_a_draw():
    assert [_fits(Trial(task="t", method="m", version=1, view="x", draw=d, seed=0)) for d in
            ("cv:k=5:r=1", "cv:k=12:r=0", "part:k=6:r=0:n=20:m=5:e=10", "sub:n=20:r=0")] == [5, 12, 6, 1]  # fmt: skip
