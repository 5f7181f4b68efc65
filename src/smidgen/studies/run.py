"""One run of a study: race, choose, estimate, fit on all rows, save; all under one budget."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.budget.budget import Budget, show_bytes
from smidgen.budget.meter import Meter
from smidgen.data.views.rows import Rows
from smidgen.kit.errors import BadInput, BudgetSpent
from smidgen.kit.files import write_bytes
from smidgen.learn.model import Model
from smidgen.studies import summary
from smidgen.studies.candidates import BASELINE, Candidate, Skipped
from smidgen.studies.choose import Choice, OutOfFold, choose
from smidgen.studies.curve import curve_draws, curve_points
from smidgen.studies.estimate import IntervalConfig, judge
from smidgen.studies.fitted import Fitted
from smidgen.studies.pool import Failure, InlinePool, Pool
from smidgen.studies.race import Race
from smidgen.studies.replay import Replay
from smidgen.studies.runner import Runner
from smidgen.studies.store import RunStore, Study
from smidgen.studies.trial import Result, Trial, fit_member, state_bytes
from smidgen.tasks.metrics import resolve
from smidgen.tasks.task import Task

Progress = Callable[[dict[str, Any]], None]
CURVE_SHARE = 0.12  # of the time, for the learning curve, when the race leaves it
REPORT_BYTES = 200_000  # room for the report in the folder; where it is too large it lies beside
ABOUT_BYTES = 1_000  # what is known of a model, in its folder
SLOW_SHARE = 0.35  # a candidate of which one repeat takes more of the race's time is not tried
SAFETY = 1.3  # forecasts of seconds are multiplied by this


@dataclass
class Plan:
    """What a run will do."""

    task: Task
    race: Race
    skipped: list[Skipped]
    budget: Budget
    workers: int
    seed: int
    out: Path | None
    name: str
    begun: float
    progress: Progress
    render: Callable[[dict[str, Any]], str] | None = None
    interval: IntervalConfig = field(default_factory=IntervalConfig)

    def forecast(self) -> tuple[float, list[dict[str, Any]]]:
        """(seconds of the whole run, what each candidate needs)."""
        fits = self.race.folds
        entries = [
            {
                "method": c.method,
                "view": c.view,
                "seconds": round(c.seconds * fits, 2),
                "memory_bytes": c.memory,
                "note": f"{fits} fits a repeat, up to {self.race.repeats} repeat(s)",
            }
            for c in self.race.found
        ]
        once = sum(c.seconds for c in self.race.found) * fits
        whole = 3 + once * (1 + 0.6 * (self.race.repeats - 1)) / self.workers
        return (whole if self.budget.seconds is None else min(whole, self.budget.seconds)), entries

    def described(self) -> dict[str, Any]:
        return {**summary.described(self.task), "metric": self.task.metric, "seed": self.seed, "name": self.name}


class Run:
    """Executes a plan; `finish` does all of it."""

    def __init__(
        self,
        plan: Plan,
        store: RunStore,
        study: Study,
        pool: Pool | InlinePool,
        rows: Rows,
        replay: Replay | None = None,
    ) -> None:
        self.plan, self.store, self.study, self.pool, self.rows, self.replay = plan, store, study, pool, rows, replay
        self.task, self.race, self.budget = plan.task, plan.race, plan.budget
        self.clock = time.monotonic
        self.meter = Meter(self.clock)
        self.meter.add(labels=len(self.task))
        self.end = None if self.budget.seconds is None else plan.begun + self.budget.seconds
        self.runner = Runner(store, pool, self.meter, study.id, self.clock, trials_left=self._race_trials())
        self.seconds: dict[tuple[str, str], float] = {}
        self.sizes: dict[tuple[str, str], int] = {}
        self.interrupted = False
        self._ended = 0
        self.runner.live = self._live

    def finish(self) -> Fitted:
        """Race, choose, fit, save. Raises BudgetSpent when no candidate was measured before the budget ended."""
        state = "failed"
        try:
            self._race()
            tried, board = self._comparable()
            choice, judgeable = self._within_size(tried, board, choose(board, self.race.choice))
            judged = judge(judgeable, self.race.choice, self.plan.seed)
            metric = resolve(self.task.metric, self.task.kind)
            found = summary.measured(judged, self.task, board.units, metric, self.plan.interval, self.plan.seed)
            curve = self._curve(tried, board, choice, metric)
            model, choice = self._fit_chosen(tried, choice)
            about = self._about(tried, board, choice, metric, found, curve, model)
            path = self._save(model, about)
            state = "stopped" if self.interrupted else "done"
            self.store.finish_study(self.study.id, state, about, self.race.used)
            return Fitted(model, about, self.study.id, path, self.interrupted)
        except BaseException as error:
            state = "stopped" if isinstance(error, KeyboardInterrupt) else state
            self.store.finish_study(self.study.id, state, None, self.race.used)
            raise

    # -- racing --

    def _race(self) -> None:
        self._leave_out_the_slow()
        try:
            for repeat in range(self.race.repeats):
                todo = self.race.round(repeat)
                if self.replay is not None:
                    for c, t in todo:
                        if c.key in self.replay.failed and t.key not in self.replay.keys:
                            self.race.drop(c, "failed in the run that is replayed")
                    todo = [(c, t) for c, t in todo if t.key in self.replay.keys]
                self.runner.stop_at = self._race_end()
                self.runner.longest = None if self.end is None else max(2.0, 0.25 * (self.end - self.plan.begun))
                by_key = {t.key: c for c, t in todo}
                whole = self.runner.run(
                    [t for _, t in todo], lambda trial, result, of=by_key: self._note(of[trial.key], trial, result)
                )
                self._tell(
                    "round", f"Round {repeat + 1} of {self.race.repeats}: {len(self.race.alive)} candidates in the race"
                )
                if (
                    not whole
                    or not self.race.complete()[1]
                    or (self.replay is not None and repeat >= self.replay.rounds)
                ):
                    break
                self.race.close()
                self.meter.add(rounds=1)
        except KeyboardInterrupt:
            self.interrupted = True

    def _leave_out_the_slow(self) -> None:
        """Candidates of which one repeat alone would take too much of the time; the quickest one always stays."""
        end = self._race_end()
        if end is None or self.replay is not None:
            return
        left = end - self.clock()
        need = {c.key: c.seconds * self.race.folds for c in self.race.found}
        for c in self.race.found:
            if need[c.key] > SLOW_SHARE * left and need[c.key] > min(
                v for k, v in need.items() if k[0] != BASELINE or len(need) == 1
            ):
                self.race.drop(
                    c, f"not tried: one repeat takes about {need[c.key]:.0f} s, of the {left:.0f} s that there are"
                )

    def _note(self, candidate: Candidate, trial: Trial, result: Result) -> None:
        if result.predictions is None:
            self.race.drop(candidate, f"failed: {result.error}")
        else:
            self.race.record(candidate, trial, result.predictions)
            self.seconds[candidate.key] = self.seconds.get(candidate.key, 0.0) + result.seconds
            self.sizes[candidate.key] = max(result.model_bytes, self.sizes.get(candidate.key, 0))

    def _live(self, trial: Trial, result: Result) -> None:
        self._ended += 1
        how = f"{result.seconds:.2f} s" if result.predictions is not None else "failed"
        self._tell("trial", f"{trial.method} on {trial.view}: {how}", self._ended)

    def _race_trials(self) -> int | None:
        """The count for the race: a few trials are kept back for the learning curve when there are many."""
        if self.budget.trials is None:
            return None
        curve = len(curve_draws(self.task))
        return self.budget.trials - curve if self.budget.trials >= 5 * curve else self.budget.trials

    def _race_end(self) -> float | None:
        """When racing must stop: what follows (estimate, curve, fitting, report) needs its time."""
        if self.end is None:
            return None
        whole = self.end - self.plan.begun
        fit = [self.seconds[k] / max(len(self.race.finished.get(k, ())), 1) / self.race.folds for k in self.seconds]
        refit = SAFETY * sum(sorted(fit)[-self.race.choice.max_members :]) / self.plan.workers if fit else 0.05 * whole
        cells = len(self.task) * max(len(self.task.classes), 1) * len(self.race.found)
        judging = 1.0 + min(cells / 1e6, 3.0)
        return self.end - min(0.6 * whole, judging + refit + CURVE_SHARE * whole)

    def _comparable(self) -> tuple[list[Candidate], OutOfFold]:
        tried, repeats = self.race.complete()
        if not repeats:
            for c in self.race.alive:
                self.race.out[c.key] = self._unfinished(c)
            reasons = "; ".join(f"{m} on {v}: {why}" for (m, v), why in list(self.race.out.items())[:3])
            raise BudgetSpent(
                f"The budget ended before any model was fitted{f' ({reasons})' if reasons else ''}. "
                "Give more time or trials."
            )
        return self.race.board()

    def _unfinished(self, candidate: Candidate) -> str:
        began = any((t.method, t.view) == candidate.key for t in self.runner.cut)
        return "not finished: the time ended" if began else "not tried: the budget ended"

    def _within_size(self, tried: list[Candidate], board: OutOfFold, choice: Choice) -> tuple[Choice, OutOfFold]:
        """Under a bound of model bytes: members leave, the most bytes for the least weight first, until the rest fits.

        Also returns the board of those that could be chosen: the estimate must not count on the others.
        """
        limit = self.budget.model_bytes
        if limit is None:
            return choice, board
        room = limit - (REPORT_BYTES if limit >= 3 * REPORT_BYTES else 4_000)
        # A fold's member is a little smaller than the one fitted on all rows.
        need = np.array([1.15 * self.sizes[c.key] * self.race.folds / (self.race.folds - 1) + 2_000 for c in tried])
        fits = need <= room
        if not fits.any():
            least = tried[int(need.argmin())]
            raise BadInput(
                f"--size {show_bytes(limit)}: the smallest model that was found is {least.method} with about "
                f"{show_bytes(float(need.min()))}; allow that much, or less in --methods."
            )
        keep = np.flatnonzero(fits)
        while True:
            own = OutOfFold(
                board.predictions[keep], board.truth, board.prior[keep] / board.prior[keep].sum(), board.units
            )
            part = choose(own, self.race.choice)
            chosen = keep[part.weights > 0]
            if need[chosen].sum() <= room:
                weights, log_t = np.zeros(len(tried)), choice.log_t.copy()
                weights[keep], log_t[keep] = part.weights, part.log_t
                return Choice(weights, log_t), own
            dear = chosen[np.argmax(need[chosen] / np.maximum(part.weights[part.weights > 0], 1e-9))]
            keep = keep[keep != dear]

    # -- after the race --

    def _curve(
        self, tried: list[Candidate], board: OutOfFold, choice: Choice, metric: Any
    ) -> list[dict[str, Any]] | None:
        """The learning curve of the heaviest member alone; its last point is that member cross-validated on all
        rows.
        """
        k = int(np.argmax(choice.weights))
        best, log_t = tried[k], float(choice.log_t[k])
        draws = [self.race.trial(best, d) for d in curve_draws(self.task)]
        if self.interrupted or not draws:
            return None
        if self.replay is not None:
            draws = [t for t in draws if t.key in self.replay.keys]
        if self.budget.trials is not None:
            self.runner.trials_left = len(draws) if self.budget.trials >= 5 * len(draws) else 0
        if self.end is not None:
            self.runner.stop_at = min(
                self.clock() + CURVE_SHARE * (self.end - self.plan.begun), self._race_end() or self.end
            )
            self.runner.stop_at = max(self.runner.stop_at, self.clock() + 0.3)
        known: dict[str, np.ndarray] = {}

        def keep(trial: Trial, result: Result) -> None:
            if result.predictions is not None:
                known[trial.draw] = result.predictions
                self.race.used.append(trial.key)

        try:
            self.runner.run(draws, keep)
        except KeyboardInterrupt:
            self.interrupted = True
        if not known:
            return None
        whole = summary.simple(board, k, metric, board.units, self.plan.interval, log_t, self.plan.seed)
        return curve_points(known, self.task, metric, log_t, whole)

    def _fit_chosen(self, tried: list[Candidate], choice: Choice) -> tuple[Model, Choice]:
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
                else:
                    states[jobs[job]] = outcome
                    self.meter.add(fits=1, cpu_seconds=job.cpu_seconds, peak_memory_bytes=job.peak_bytes)
                self._tell("refit", f"{tried[jobs[job]].method} on all rows", len(states), len(order))
        if not states and limit is not None:
            states = self._quickest(tried, order)
        if not states:
            raise BudgetSpent(
                f"None of the chosen methods could be fitted on all rows ({'; '.join(why)}). Give more time."
            )
        kept = [k for k in order if k in states]
        while True:
            weights = np.zeros(len(tried))
            weights[kept] = choice.weights[kept] / choice.weights[kept].sum()
            model = Model.assemble(
                self.task,
                [states[k] for k in kept],
                [float(weights[k]) for k in kept],
                [float(choice.log_t[k]) for k in kept],
                {},
            )
            size, most = model.saved_bytes() + ABOUT_BYTES, self.budget.model_bytes
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

        took = {k: self.seconds[tried[k].key] / len(self.race.finished[tried[k].key]) / self.race.folds for k in order}
        k = min(order, key=lambda k: took[k])
        if took[k] > 1.0:
            return {}
        c = tried[k]
        with contextlib.suppress(Exception), threadpool_limits(1):  # as in the workers: the same numbers
            return {k: fit_member(self.task, self.rows, c.method, c.view, c.params, self.plan.seed)}
        return {}

    def _about(
        self,
        tried: list[Candidate],
        board: OutOfFold,
        choice: Choice,
        metric: Any,
        found: dict,
        curve: Any,
        model: Model,
    ) -> dict[str, Any]:
        from smidgen import __version__

        compared = {c.key for c in tried}
        dropped = []
        for c in self.race.found:
            done = self.race.finished.get(c.key)
            if c.key not in compared and done:
                own = OutOfFold(np.stack(done)[None], self.task.target, np.ones(1), board.units)
                dropped.append((c, own, self.race.out.get(c.key, "not in every round")))
        never = [
            Skipped(c.method, c.view, self.race.out.get(c.key) or self._unfinished(c))
            for c in self.race.found
            if c.key not in self.race.finished
        ]
        board_rows = summary.leaderboard(
            board,
            tried,
            choice,
            metric,
            dropped,
            [*never, *self.plan.skipped],
            self.seconds,
            replace(self.plan.interval, resamples=50),
            self.plan.seed,
        )
        about = {
            "model": None,
            "study": self.study.id,
            "method": summary.named(tried, choice.weights),
            "metric": metric.name,
            **self.plan.described(),
            **found,
            "seconds": round(self.clock() - self.plan.begun, 2),
            "spent": self.meter.spent(),
            "leaderboard": board_rows,
            "curve": curve,
            "baseline": summary.baseline(board, tried, metric, self.task.kind),
            "version": __version__,
            "created": summary.now(),
        }
        model.about = {
            k: about[k]
            for k in (
                "study",
                "method",
                "metric",
                "estimate",
                "interval",
                "level",
                "n",
                "kind",
                "seed",
                "version",
                "created",
            )
        }
        return about

    def _save(self, model: Model, about: dict[str, Any]) -> Path | None:
        out = self.plan.out
        if out is None:
            return None
        about["model"] = str(out)
        page = self.plan.render(about) if self.plan.render else None
        limit = self.budget.model_bytes
        inside = limit is None or (page is not None and model.saved_bytes() + len(page.encode()) <= limit)
        path = model.save(out, {"report.html": page} if page and inside else {})
        if page and not inside:
            write_bytes(out.with_name(out.name + "-report.html"), page.encode())
        about["spent"]["model_bytes"] = sum(f.stat().st_size for f in path.iterdir())
        about["seconds"] = round(self.clock() - self.plan.begun, 2)
        self._tell("done", f"Model and report in {out}")
        return path

    def _tell(self, kind: str, text: str, done: int | None = None, total: int | None = None) -> None:
        left = None if self.end is None else round(max(0.0, self.end - self.clock()), 1)
        used = len(self.race.used)
        self.plan.progress(
            {"kind": kind, "text": text, "done": used if done is None else done, "total": total, "seconds_left": left}
        )
