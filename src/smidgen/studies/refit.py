"""The chosen members, fitted on all rows and put together: the model."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.budget.budget import show_bytes
from smidgen.budget.meter import Meter
from smidgen.data.views.rows import Rows
from smidgen.kit.errors import BadInput, BudgetSpent, SmidgenError
from smidgen.learn.model import Model
from smidgen.studies.candidates import Candidate
from smidgen.studies.choose import Choice
from smidgen.studies.job import AnyPool, Failure
from smidgen.studies.plan import Plan
from smidgen.studies.replay import Replay
from smidgen.studies.trial import fit_member, state_bytes

ABOUT_BYTES = 1_000  # what is known of a model, in its folder


@dataclass
class Refit:
    """Fits the chosen on the workers. `seconds`: what each candidate's trials took, by candidate; `noted`: is told of
    each that was fitted, and what is to be known of how, see `kit.notes`."""

    plan: Plan
    pool: AnyPool
    rows: Rows
    meter: Meter
    seconds: dict[tuple[str, str], float]
    clock: Callable[[], float]
    end: float | None
    replay: Replay | None
    noted: Callable[[Candidate, list[str]], None] = lambda candidate, notes: None

    def fit(self, tried: list[Candidate], choice: Choice) -> tuple[Model, Choice]:
        """The chosen members fitted on all rows. One that does not end in time, or fails, leaves the blend."""
        order = [int(k) for k in np.argsort(-choice.weights, kind="stable") if choice.weights[k] > 0]
        if not self.pool.outstanding:
            self.pool.wait(0)
        if self.replay is not None:
            order = [k for k in order if tried[k].key in self.replay.chosen] or order
        limit = None if self.end is None else max(self.clock() + 1.0, self.end + 0.05 * (self.end - self.plan.begun))
        jobs = {}
        for k in order:
            c = tried[k]
            jobs[self.pool.submit(fit_member, (c.method, c.view, c.params, self.plan.seed))] = k
        states: dict[int, dict[str, Any]] = {}
        why: list[str] = []
        kinds: set[str] = set()
        while len(states) + len(why) < len(order):
            if limit is not None and self.clock() >= limit:  # of all of them together: some may still be queued
                for job in jobs:
                    self.pool.kill(job)
            for job, outcome in self.pool.wait(None if limit is None else max(0.05, limit - self.clock())):
                if job not in jobs:
                    continue
                if isinstance(outcome, Failure):
                    reason = "the time ended" if outcome.kind == "stopped" else outcome.reason
                    why.append(f"{tried[jobs[job]].method}: {reason}")
                    kinds.add(outcome.kind)
                else:
                    self.noted(tried[jobs[job]], outcome.pop("notes", []))
                    states[jobs[job]] = outcome
                    self.meter.add(fits=1, cpu_seconds=job.cpu_seconds, peak_memory_bytes=job.peak_bytes)
                self._tell(tried[jobs[job]].method, len(states), len(order))
        if not states and limit is not None:
            states = self._quickest(tried, order)
        if not states:
            said = f"None of the chosen methods could be fitted on all rows ({'; '.join(why)})."
            if "stopped" in kinds:
                raise BudgetSpent(f"{said} Give more time.", see="budget")
            hint = "Allow more memory, or give fewer rows or columns." if "memory" in kinds else "Take other --methods."
            raise SmidgenError(f"{said} {hint}")
        kept = [k for k in order if k in states]
        while True:
            weights = np.zeros(len(tried))
            weights[kept] = choice.weights[kept] / choice.weights[kept].sum()
            model = Model.assemble(
                self.plan.task,
                [states[k] for k in kept],
                [float(weights[k]) for k in kept],
                [float(choice.log_t[k]) for k in kept],
                {},
            )
            size, most = model.saved_bytes() + ABOUT_BYTES, self.plan.budget.model_bytes
            if most is None or size <= most:
                break
            if len(kept) == 1:
                raise BadInput(
                    f"--size {show_bytes(most)}: the model needs {show_bytes(size)}; "
                    "allow that much, or take other --methods."
                )
            kept.pop()  # the one with the least weight
        self.meter.add(model_bytes=sum(state_bytes(states[k]) for k in kept))
        return model, Choice(weights, choice.log_t)

    def _quickest(self, tried: list[Candidate], order: list[int]) -> dict[int, dict[str, Any]]:
        """Where starting workers again took all the time: the quickest member, fitted here, if it takes under a
        second.
        """
        from threadpoolctl import threadpool_limits

        race = self.plan.race
        fits = {k: len(race.finished[tried[k].key]) * race.folds_of(tried[k]) for k in order}
        took = {k: self.seconds[tried[k].key] / fits[k] for k in order}
        k = min(order, key=lambda k: took[k])
        if took[k] > 1.0:
            return {}
        c = tried[k]
        with contextlib.suppress(Exception), threadpool_limits(1):  # as in the workers: the same numbers
            state = fit_member(self.plan.task, self.rows, c.method, c.view, c.params, self.plan.seed)
            self.noted(c, state.pop("notes", []))
            return {k: state}
        return {}

    def _tell(self, method: str, done: int, total: int) -> None:
        left = None if self.end is None else round(max(0.0, self.end - self.clock()), 1)
        event = {"kind": "refit", "text": f"{method} on all rows", "done": done, "total": total, "seconds_left": left}
        self.plan.progress(event)
