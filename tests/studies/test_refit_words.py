"""The last fits: what is told, how long they may take, and what is said where none succeeds."""

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from smidgen.budget.budget import Budget
from smidgen.budget.meter import Meter
from smidgen.data.views.rows import Rows
from smidgen.kit.errors import BadInput, BudgetSpent, SmidgenError
from smidgen.studies import refit as module
from smidgen.studies.candidates import Candidate
from smidgen.studies.choose import Choice
from smidgen.studies.inline import InlinePool
from smidgen.studies.job import STOPPED, Failure
from smidgen.studies.plan import Plan
from smidgen.studies.race import Race
from smidgen.studies.refit import Refit
from smidgen.studies.replay import Replay
from smidgen.tasks.read import read

FOUND = [Candidate(f"learn/{name}", "linear") for name in ("knn", "lda", "naive_bayes")]


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    y = np.arange(30) % 2
    return read(pd.DataFrame({"a": rng.normal(size=30) + y, "b": rng.normal(size=30), "y": y}), "y",
                kind="classification")  # fmt: skip


class Ends(InlinePool):
    """Each method ends as told, or as it does; `hangs`: those never end by themselves."""

    def __init__(self, outcomes=None, hangs=()):
        super().__init__()
        self.outcomes, self.hangs, self.waits = outcomes or {}, hangs, []

    def wait(self, timeout=None):
        self.waits.append(timeout)
        if not self._finished and self._queue and all(j.args[0] in self.hangs for j in self._queue):
            return []
        while self._queue and self._queue[0].args[0] in self.hangs:
            self._queue.rotate(-1)
        return [(job, self.outcomes.get(job.args[0], outcome)) for job, outcome in super().wait(timeout)]


def refit_of(task, pool, *, end=None, replay=None, clock=lambda: 500.0, budget=None):
    said: list[dict[str, Any]] = []
    race = Race(task, FOUND, np.full(3, 1 / 3), 0)
    plan = Plan(task, race, [], budget or Budget(trials=9), 1, 0, None, "few", 450.0, said.append)
    rows = Rows(task.frame)
    pool.load(task, rows)
    return Refit(plan, pool, rows, Meter(time.monotonic), {}, clock, end, replay), said


def fitted(refit, *weights, log_t=(0.1, 0.2, 0.3)):
    return refit.fit(refit.plan.race.found, Choice(np.array(weights), np.array(log_t)))


def test_each_member_is_told_the_heaviest_first(task):
    pool = Ends()
    refit, said = refit_of(task, pool, end=520.04)
    noted: list[Any] = []
    refit.noted = lambda c, notes: noted.append((c.method, notes))
    model, choice = fitted(refit, 0.25, 0.0, 0.75)
    assert said == [
        {"kind": "refit", "text": f"learn/{name} on all rows", "done": k, "total": 2, "seconds_left": 20.0}
        for k, name in ((1, "naive_bayes"), (2, "knn"))
    ]
    assert [m.method for m in model.members] == ["learn/naive_bayes", "learn/knn"]
    assert model.weights == [0.75, 0.25] and model.log_t == [0.3, 0.1]
    assert choice.weights.tolist() == [0.25, 0.0, 0.75] and noted == [("learn/naive_bayes", []), ("learn/knn", [])]
    spent = refit.meter.spent()
    assert spent["fits"] == 2 and spent["model_bytes"] > 0
    late, told = refit_of(task, Ends(), end=499.0)
    fitted(late, 0.0, 1.0, 0.0)
    assert told[0]["seconds_left"] == 0.0
    counted, told = refit_of(task, Ends())
    fitted(counted, 0.0, 1.0, 0.0)
    assert told[0]["seconds_left"] is None and counted.pool.waits == [0, None]


def test_a_pool_that_still_works_is_not_asked_for_old_results(task):
    pool = Ends()
    refit, _ = refit_of(task, pool)
    pool.submit("smidgen.studies.trial:fit_member", ("learn/lda", "linear", {}, 0))
    model, _ = fitted(refit, 0.0, 1.0, 0.0)
    assert len(model.members) == 1 and pool.waits == [None, None]  # the first outcome is none of its own


def test_fits_may_take_a_twentieth_more_and_a_second_at_least(task):
    for end, limit in ((600.0, 607.5), (500.2, 502.71), (490.0, 501.0)):
        now = SimpleNamespace(t=500.0)
        pool = Ends(hangs=("learn/knn", "learn/lda"))
        refit, _ = refit_of(task, pool, end=end, clock=lambda now=now: now.t)
        killed = []
        kill = pool.kill

        def kills(job, killed=killed, now=now, kill=kill):
            killed.append(now.t)
            kill(job)

        pool.kill = kills  # type: ignore[method-assign]
        wait = pool.wait

        def waits(timeout, now=now, wait=wait):
            now.t += min(timeout, 60.0)
            return wait(timeout)

        pool.wait = waits  # type: ignore[method-assign]
        model, choice = fitted(refit, 0.5, 0.3, 0.2)
        assert [m.method for m in model.members] == ["learn/naive_bayes"] and choice.weights.tolist() == [0, 0, 1]
        assert min(killed) == pytest.approx(limit)


@pytest.mark.parametrize(
    ("kinds", "error", "said"),
    [
        (("error", "error"), SmidgenError, "(learn/knn: singular; learn/lda: singular). Take other --methods."),
        (("memory", "error"), SmidgenError, "(learn/knn: singular; learn/lda: singular). Allow more memory, or give "
         "fewer rows or columns."),
        (("error", "stopped"), BudgetSpent, "(learn/knn: singular; learn/lda: the time ended). Give more time."),
    ],
)  # fmt: skip
def test_where_none_succeeds_the_reasons_are_told(task, kinds, error, said):
    pool = Ends({c.method: Failure("singular", kind) for c, kind in zip(FOUND, kinds, strict=False)})
    refit, told = refit_of(task, pool)
    with pytest.raises(SmidgenError) as raised:
        fitted(refit, 0.6, 0.4, 0.0)
    assert type(raised.value) is error
    assert str(raised.value).startswith(f"None of the chosen methods could be fitted on all rows {said}")
    assert [(e["done"], e["total"]) for e in told] == [(0, 2), (0, 2)]


def test_a_replay_fits_what_was_fitted_or_all_where_none_of_it_is_chosen(task):
    for chosen, members in ((FOUND[1], ["learn/lda"]), (FOUND[2], ["learn/knn", "learn/lda"])):
        replay = Replay(frozenset(), 0, frozenset(), frozenset({chosen.key}))
        refit, _ = refit_of(task, Ends(), replay=replay)
        assert [m.method for m in fitted(refit, 0.6, 0.4, 0.0)[0].members] == members


def test_a_model_that_is_too_large_is_refused_in_bytes(task):
    refit, _ = refit_of(task, Ends(), budget=Budget(trials=9, model_bytes=1500))
    with pytest.raises(BadInput) as told:
        fitted(refit, 0.0, 1.0, 0.0)
    size = refit_of(task, Ends())[0]
    need = (fitted(size, 0.0, 1.0, 0.0)[0].saved_bytes() + 1000) / 1e3
    said = f"--size 1.5 KB: the model needs {need:.1f} KB; allow that much, or take other --methods."
    assert str(told.value) == said


@pytest.mark.parametrize(("seconds", "known"), [((0.5, 1.0, 0.9), "learn/knn"), ((2.0, 1.0, 3.0), "learn/lda"),
                                                ((2.0, 1.01, 3.0), None)])  # fmt: skip
def test_where_all_the_time_is_gone_the_quickest_is_fitted_here(task, monkeypatch, seconds, known):
    refit, _ = refit_of(task, Ends(dict.fromkeys([c.method for c in FOUND], STOPPED)), end=500.0)
    race = refit.plan.race
    for c, each in zip(race.found, seconds, strict=True):
        race.finished[c.key] = [np.zeros(1)] * 2
        refit.seconds[c.key] = 2 * 8 * each
    real, made, noted = module.fit_member, [], []

    def fit_member(task, rows, method, view, params, seed):
        made.append((method, view, params, seed))
        return {**real(task, rows, method, view, params, seed), "notes": ["rough"]}

    fit_member.__module__, fit_member.__qualname__ = real.__module__, real.__qualname__  # workers have the real one
    monkeypatch.setattr(module, "fit_member", fit_member)
    refit.noted = lambda c, notes: noted.append((c.method, notes))
    if known is None:
        with pytest.raises(BudgetSpent):
            fitted(refit, 0.3, 0.3, 0.4)
        return
    model, _ = fitted(refit, 0.3, 0.3, 0.4)
    assert [m.method for m in model.members] == [known] and made == [(known, "linear", {}, 0)]
    assert noted == [(known, ["rough"])]

    def fails(*given):
        raise ValueError("singular")

    fails.__module__, fails.__qualname__ = real.__module__, real.__qualname__
    monkeypatch.setattr(module, "fit_member", fails)
    with pytest.raises(BudgetSpent):
        fitted(refit, 0.3, 0.3, 0.4)
