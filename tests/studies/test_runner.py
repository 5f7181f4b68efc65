"""The runner: each trial once, in an order that nobody's speed decides, from the store where it is known."""

import numpy as np
import pytest

from smidgen.budget.meter import Meter
from smidgen.studies import runner as runner_module
from smidgen.studies import trial as trial_module
from smidgen.studies.job import Failure
from smidgen.studies.pool import InlinePool
from smidgen.studies.runner import Runner
from smidgen.studies.store import RunStore
from smidgen.studies.trial import Result, Trial


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def trials_of(*numbers, draw="cv:k=4:r=0"):
    return [Trial(task="t", method=f"learn/m{i}", version=1, view="linear", draw=draw, seed=0) for i in numbers]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.db"


@pytest.fixture
def work(monkeypatch):
    """What a trial does, by method; and the trials that were really run, in order."""
    ran: list[str] = []
    acts: dict[str, object] = {}

    def run_trial(trial):
        ran.append(trial.method)
        act = acts.get(trial.method)
        if isinstance(act, BaseException):
            raise act
        if callable(act):
            act()
        return act if isinstance(act, Result) else Result(np.full((3, 2), float(trial.method[7:])), 1.0, 0.5, 100, 10)

    monkeypatch.setattr(trial_module, "run_trial", run_trial)
    return ran, acts


@pytest.fixture(autouse=True)
def _no_naps(monkeypatch):
    """Nobody waits for a lease to end, unless a test says so."""
    monkeypatch.setattr(runner_module.time, "sleep", lambda seconds: pytest.fail("it waits for another"))


@pytest.fixture
def start(path):
    made = []

    def start(pool=None, **options):
        store = RunStore(path)
        made.append(store)
        study = store.open_study("s", "f", {})
        runner = Runner(store, pool or InlinePool(), Meter(Clock()), study.id, **options)
        got: list[tuple[str, Result]] = []
        return runner, got, lambda trial, result: got.append((trial.method, result))

    yield start
    for store in made:
        store.close()


class Backwards(InlinePool):
    """Two workers, of which the one that started last ends first."""

    def __init__(self, failures=()):
        super().__init__()
        self.workers, self.failures = 2, dict(failures)

    def wait(self, timeout=None):
        if self._queue:
            self._queue.rotate(1)
        return [(job, self.failures.pop(job.args[0].method, out)) for job, out in super().wait(timeout)]


def test_outcomes_come_in_the_order_asked_whoever_ends_first(start, work):
    ran, _ = work
    runner, got, each = start(Backwards())
    assert runner.run(trials_of(0, 1, 2, 3, 4), each)
    assert ran != sorted(ran) and [m for m, _ in got] == [f"learn/m{i}" for i in range(5)]
    assert [r.predictions[0, 0] for _, r in got] == [0, 1, 2, 3, 4]
    spent = runner.meter.spent()
    assert (spent["trials"], spent["reused"], spent["fits"], spent["cpu_seconds"], spent["peak_memory_bytes"]) == (
        5,
        0,
        20,
        2.5,
        100,
    )


def test_what_is_known_is_not_run_again(start, work):
    ran, acts = work
    acts["learn/m1"] = Result(error="no")
    first, got, each = start()
    first.run(trials_of(0, 1), each)
    second, again, each = start()
    assert second.run(trials_of(1, 2, 0), each)
    assert ran == ["learn/m0", "learn/m1", "learn/m2"]
    assert [(m, r.error) for m, r in again] == [("learn/m1", "no"), ("learn/m2", None), ("learn/m0", None)]
    assert again[2][1].predictions.tobytes() == got[0][1].predictions.tobytes()
    assert second.meter.spent()["reused"] == 2 and second.meter.spent()["fits"] == 4
    assert {t.trial["method"] for t in second.store.trials(second.study)} == {"learn/m0", "learn/m1", "learn/m2"}


@pytest.mark.parametrize("kind", ["deadline", "memory", "stopped", "died", "error"])
def test_what_only_the_budget_forbade_is_not_held_against_a_trial(start, work, kind):
    runner, got, each = start(Backwards({"learn/m0": Failure("why", kind)}))
    runner.run(trials_of(0, 1), each)
    expected = [("learn/m1", None)] if kind == "stopped" else [("learn/m0", "why"), ("learn/m1", None)]
    assert [(m, r.error) for m, r in got] == expected
    kept = runner.store.get([t.key for t in trials_of(0)])
    assert bool(kept) == (kind == "error")
    again, _, each = start()
    again.run(trials_of(0), each)
    assert work[0].count("learn/m0") == (1 if kept else 2)


def test_the_count_ends_it(start, work):
    runner, got, each = start(trials_left=3)
    assert runner.run(trials_of(0, 1), each)
    assert not runner.run(trials_of(2, 3, 4), each)
    assert not runner.run(trials_of(5), each)
    assert work[0] == ["learn/m0", "learn/m1", "learn/m2"] and runner.trials_left == 0 and len(got) == 3


def test_known_trials_count_too(start, work):
    first, _, each = start()
    first.run(trials_of(0, 1), each)
    runner, got, each = start(trials_left=2)
    assert not runner.run(trials_of(0, 1, 2), each)
    assert len(got) == 2 and runner.meter.spent()["reused"] == 2


def test_when_the_time_is_up_nothing_starts_and_what_runs_is_nobody_s_fault(start, work):
    clock = Clock()

    class Slow(Backwards):
        def wait(self, timeout=None):
            out = super().wait(timeout) if clock.now < 105 else []
            clock.now += 3
            return out

    pool = Slow()
    runner, got, each = start(pool, clock=clock, stop_at=107.0, longest=50.0)
    assert not runner.run(trials_of(0, 1, 2, 3), each)
    assert len(got) == 2 and len(runner.cut) == 2 and pool.outstanding == 0
    assert all(r.error is None for _, r in got)
    assert not runner.run(trials_of(9), each) and "learn/m9" not in work[0]
    late, got, each = start()
    assert late.run(trials_of(0, 1, 2, 3), each) and len(got) == 4  # given back: nobody has to wait for a lease
    assert sorted(work[0]) == [f"learn/m{i}" for i in range(4)]


def test_each_trial_gets_its_own_deadline_and_never_the_end_of_the_time(start, work):
    class Noted(InlinePool):
        limits: list = []

        def submit(self, function, args=(), deadline_seconds=None):
            self.limits.append(deadline_seconds)
            return super().submit(function, args, deadline_seconds)

    runner, _, each = start(Noted(), clock=Clock(), stop_at=101.0, longest=30.0)
    runner.run(trials_of(0, 1), each)
    assert Noted.limits == [30.0, 30.0]


def test_a_stop_keeps_what_has_ended_and_gives_the_rest_back(start, work):
    _, acts = work
    acts["learn/m2"] = KeyboardInterrupt()
    runner, got, each = start()
    with pytest.raises(KeyboardInterrupt):
        runner.run(trials_of(0, 1, 2, 3), each)
    assert [m for m, _ in got] == ["learn/m0", "learn/m1"]
    acts.clear()
    other, _, each = start()
    assert other.run(trials_of(0, 1, 2, 3), each)
    assert work[0].count("learn/m2") == 2 and work[0].count("learn/m0") == 1


def test_another_s_trial_is_waited_for_and_not_run_twice(start, work, monkeypatch):
    ran, _ = work
    first, _, _ = start()
    trial = trials_of(1)[0]
    fence = first.store.claim(trial.key, trial.to_json())
    assert fence is not None
    naps = []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            assert first.store.finish(trial.key, fence, Result(np.full((3, 2), 7.0)))

    monkeypatch.setattr(runner_module.time, "sleep", nap)
    second, got, each = start()
    assert second.run(trials_of(0, 1, 2), each)
    assert ran == ["learn/m0", "learn/m2"] and [r.predictions[0, 0] for _, r in got] == [0, 7, 2]
    assert second.meter.spent()["reused"] == 1 and second.meter.spent()["fits"] == 8


def test_a_trial_whose_holder_gives_up_is_taken_over(start, work, monkeypatch):
    first, _, _ = start()
    trial = trials_of(1)[0]
    first.store.claim(trial.key, trial.to_json())
    monkeypatch.setattr(runner_module.time, "sleep", lambda seconds: first.store.release())
    second, got, each = start()
    assert second.run(trials_of(1), each) and work[0] == ["learn/m1"] and len(got) == 1


def test_a_result_of_another_who_was_quicker_is_taken(start, work):
    """This process slept past its lease; what it measured is refused, and it uses what the store has."""
    trial = trials_of(0)[0]
    other, _, _ = start()

    def overtaken():
        with other.store._db.write() as c:
            c.exec_driver_sql("UPDATE trials SET lease_until = 0, owner = NULL")
        fence = other.store.claim(trial.key, trial.to_json())
        assert other.store.finish(trial.key, fence, Result(np.full((3, 2), 5.0)))

    work[1]["learn/m0"] = overtaken
    runner, got, each = start()
    assert runner.run([trial], each)
    assert got[0][1].predictions[0, 0] == 5


def test_leases_are_extended_while_it_works(start, work, monkeypatch):
    clock, beats = Clock(), []
    runner, _, each = start(clock=clock)
    monkeypatch.setattr(runner.store, "beat", lambda *a, **k: beats.append(clock.now))
    work[1].update({f"learn/m{i}": (lambda: setattr(clock, "now", clock.now + 6)) for i in range(6)})
    runner.run(trials_of(*range(6)), each)
    assert len(beats) >= 2 and max(np.diff([100.0, *beats])) < runner_module.LEASE_SECONDS / 2


def test_progress_is_told_at_once_and_only_of_what_is_run_here(start, work):
    told = []
    runner, _, each = start()
    runner.live = lambda trial, result: told.append(trial.method)
    runner.run(trials_of(0, 1), each)
    runner.run(trials_of(0, 1, 2), each)
    assert told == ["learn/m0", "learn/m1", "learn/m2"]


class AtOnce(InlinePool):
    """All that was submitted ends in one wait."""

    def wait(self, timeout=None):
        return [pair for _ in range(self.outstanding) for pair in super(AtOnce, self).wait(timeout)]


def test_what_ended_is_stored_before_it_is_told_and_whatever_then_comes(start, work):
    pool = AtOnce()
    pool.workers = 3
    runner, got, each = start(pool)
    trials = trials_of(0, 1, 2)

    def stop(trial, result):
        assert trial.key in runner.store.get([trial.key])
        raise KeyboardInterrupt

    runner.live = stop
    with pytest.raises(KeyboardInterrupt):
        runner.run(trials, each)
    assert len(runner.store.get([t.key for t in trials])) == 3 == len(got)
    assert work[0] == ["learn/m0", "learn/m1", "learn/m2"]
