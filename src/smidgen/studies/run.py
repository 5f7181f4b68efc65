"""One run of a study: race, choose, estimate, fit on all rows, save; all under one budget."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.budget.meter import Meter
from smidgen.data.views.rows import Rows
from smidgen.kit import methods
from smidgen.kit.errors import BudgetSpent
from smidgen.kit.files import write_bytes
from smidgen.learn.model import Model
from smidgen.studies import summary
from smidgen.studies.candidates import Candidate, Skipped
from smidgen.studies.choose import Choice, OutOfFold, choose
from smidgen.studies.compare import compare
from smidgen.studies.curve import curve_draws, curve_member, curve_points
from smidgen.studies.database import again
from smidgen.studies.encoding import CACHE
from smidgen.studies.estimate import judge
from smidgen.studies.fitted import Fitted
from smidgen.studies.job import AnyPool
from smidgen.studies.plan import Plan
from smidgen.studies.pretraining import Unfinished, pretrain_within
from smidgen.studies.refit import Refit
from smidgen.studies.replay import Replay
from smidgen.studies.runner import Runner
from smidgen.studies.sharing import Sharing
from smidgen.studies.size import within_size
from smidgen.studies.slow import CURVE_SHARE, SAFETY, SLOW_SHARE, after_race, longest_trial, race_trials
from smidgen.studies.store import RunStore
from smidgen.studies.stored import Study
from smidgen.studies.trial import Result, Trial
from smidgen.studies.unlabelled import look
from smidgen.tasks.metrics import resolve


class Run:
    """Executes a plan; `finish` does all of it. sharing: offers its trials to other processes; own: see `Runner`."""

    def __init__(
        self,
        plan: Plan,
        store: RunStore,
        study: Study,
        pool: AnyPool,
        rows: Rows,
        replay: Replay | None = None,
        sharing: Sharing | None = None,
        own: int | None = None,
    ) -> None:
        self.plan, self.store, self.study, self.pool, self.rows, self.replay = plan, store, study, pool, rows, replay
        self.task, self.race, self.budget = plan.task, plan.race, plan.budget
        self.clock = time.monotonic
        self.meter = Meter(self.clock)
        self.meter.add(labels=len(self.task))
        self.end = None if self.budget.seconds is None else plan.begun + self.budget.seconds
        self.runner = Runner(
            store, pool, self.meter, study.id, self.clock, trials_left=race_trials(self.task, self.budget)
        )
        self.runner.sharing, self.runner.own = sharing, own
        self.seconds: dict[tuple[str, str], float] = {}
        self.sizes: dict[tuple[str, str], int] = {}
        self.once: dict[tuple[str, str], float] = {}
        self.notes: dict[tuple[str, str], list[str]] = {}
        self.interrupted = False
        self._ended = 0
        self.runner.live = self._live

    def finish(self) -> Fitted:
        """Race, choose, fit, save. Raises BudgetSpent when no candidate was measured before the budget ended."""
        state = "failed"
        try:
            self._race()
            tried, board = self._comparable()
            choice, judgeable = choose(board, self.race.choice), board
            if self.budget.model_bytes is not None:
                choice, judgeable = within_size(tried, board, self.race, self.sizes, self.budget.model_bytes)
            judged = judge(judgeable, self.race.choice, self.plan.seed)
            metric = resolve(self.task.metric, self.task.kind)
            found = summary.measured(judged, self.task, board.units, metric, self.plan.interval, self.plan.seed)
            curve = self._curve(tried, board, choice, metric)
            refit = Refit(self.plan, self.pool, self.rows, self.meter, self.seconds, self.clock, self.end, self.replay)
            refit.noted = self._remark
            try:
                model, choice = refit.fit(tried, choice)
            except KeyboardInterrupt:  # the first Ctrl-C keeps the best so far; this takes a moment
                if self.interrupted:
                    raise
                self.interrupted = True
                model, choice = refit.fit(tried, choice)
            about = self._about(tried, board, choice, metric, found, curve, model)
            about["pool"] = self._pool(model)
            path = self._save(model, about)
            state = "stopped" if self.interrupted else "done"
            again(lambda: self.store.finish_study(self.study.id, state, about, self.race.used))
            return Fitted(model, about, self.study.id, path, self.interrupted)
        except BaseException as error:
            state = "stopped" if isinstance(error, KeyboardInterrupt) else state
            self.store.finish_study(self.study.id, state, None, self.race.used)
            raise

    # -- racing --

    def _race(self) -> None:
        if self.replay is None:
            self.plan.leave_out_the_slow()
        try:
            for repeat in range(self.race.repeats):
                todo = self.race.round(repeat)
                if self.replay is not None:
                    for c, t in todo:
                        if c.key in self.replay.failed and t.key not in self.replay.keys:
                            self.race.drop(c, "failed in the run that is replayed")
                    todo = [(c, t) for c, t in todo if t.key in self.replay.keys]
                late = [] if repeat else [(c, t) for c, t in todo if methods.card(c.method).pretraining]
                whole = self._measure([pair for pair in todo if pair not in late])
                if whole and late:  # the others have their first results by then, whatever becomes of these
                    self._pretrain([c for c, _ in late])
                    whole = self._measure([(c, t) for c, t in late if c.key not in self.race.out])
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

    def _measure(self, todo: list[tuple[Candidate, Trial]]) -> bool:
        """Runs trials; whether all of them were."""
        self.runner.stop_at, self.runner.longest = self._race_end(), self._longest()
        of = {t.key: c for c, t in todo}
        return self.runner.run([t for _, t in todo], lambda trial, result: self._note(of[trial.key], trial, result))

    def _longest(self) -> float | None:
        """Seconds that one trial may take; None: as long as there is time."""
        return None if self.end is None else longest_trial(self.race, self.end - self.plan.begun, self.plan.named)

    def _pretrain(self, candidates: list[Candidate]) -> None:
        """What methods learn once, without labels, for all their fits. One that cannot in its time is not tried."""
        before = len(self.rows.learnt)
        for c in candidates if self.rows.pool is not None else ():
            end = self._race_end()
            left = None if end is None else max(1.0, SLOW_SHARE * (end - self.clock()))

            def tell(passed: float, c: Candidate = c) -> None:
                self._tell("pretraining", f"Pretraining of {c.method}", round(passed), round(max(c.once, passed)))

            try:
                spent = pretrain_within(
                    self.pool, self.task, self.rows, c, self.plan.seed, folder=CACHE, seconds=left, tell=tell
                )
            except Unfinished as error:
                self.race.drop(c, f"not tried: its pretraining {error}")
                continue
            self._remark(c, spent.notes)
            self.once[c.key] = spent.seconds
            self.meter.add(cpu_seconds=spent.cpu_seconds, peak_memory_bytes=spent.peak_bytes)
        if len(self.rows.learnt) > before:
            self.pool.load(self.task, self.rows)
            if self.runner.sharing:
                self.runner.sharing.load(self.task, self.rows)

    def _note(self, candidate: Candidate, trial: Trial, result: Result) -> None:
        self._remark(candidate, result.notes)
        if result.predictions is None:
            self.race.drop(candidate, f"failed: {result.error}")
        else:
            self.race.record(candidate, trial, result.predictions)
            self.seconds[candidate.key] = self.seconds.get(candidate.key, 0.0) + result.seconds
            self.sizes[candidate.key] = max(result.model_bytes, self.sizes.get(candidate.key, 0))

    def _remark(self, candidate: Candidate, notes: Sequence[str]) -> None:
        """Keeps what a person should know of how a candidate was fitted."""
        own = self.notes.setdefault(candidate.key, [])
        own.extend(text for text in notes if text not in own)

    def _live(self, trial: Trial, result: Result) -> None:
        self._ended += 1
        how = f"{result.seconds:.2f} s" if result.predictions is not None else "failed"
        self._tell("trial", f"{trial.method} on {trial.view}: {how}", self._ended)

    def _race_end(self) -> float | None:
        """When racing must stop: what follows (estimate, curve, fitting, report) needs its time."""
        if self.end is None:
            return None
        whole = self.end - self.plan.begun
        fit = [
            self.seconds[c.key] / max(len(self.race.finished.get(c.key, ())), 1) / self.race.folds_of(c)
            for c in self.race.found
            if c.key in self.seconds
        ]
        refit = SAFETY * sum(sorted(fit)[-self.race.choice.max_members :]) / self.plan.workers if fit else None
        return self.end - after_race(self.race, whole, refit)

    def _comparable(self) -> tuple[list[Candidate], OutOfFold]:
        tried, repeats = self.race.complete()
        if not repeats:
            for c in self.race.alive:
                self.race.out[c.key] = self._unfinished(c)
            reasons = "; ".join(f"{m} on {v}: {why}" for (m, v), why in list(self.race.out.items())[:3])
            raise BudgetSpent(
                f"The budget ended before any model was fitted{f' ({reasons})' if reasons else ''}. "
                "Give more time or trials.",
                see="budget",
            )
        return self.race.board()

    def _unfinished(self, candidate: Candidate) -> str:
        began = any((t.method, t.view) == candidate.key for t in self.runner.cut)
        return "not finished: the time ended" if began else "not tried: the budget ended"

    # -- after the race --

    def _curve(
        self, tried: list[Candidate], board: OutOfFold, choice: Choice, metric: Any
    ) -> list[dict[str, Any]] | None:
        """The learning curve of one member alone, see `curve_member`; its last point is that member cross-validated on
        all rows.
        """
        time = None if self.end is None else CURVE_SHARE * (self.end - self.plan.begun)
        k = curve_member(self.task, choice.weights, [c.seconds for c in tried], time)
        if self.replay is not None:
            drew = choice.weights * np.array([bool(self._draws(c)) for c in tried])
            k = int(np.argmax(drew)) if drew.any() else k
        best, log_t = tried[k], float(choice.log_t[k])
        draws = self._draws(best)
        if self.interrupted or not draws:
            return None
        if self.budget.trials is not None:
            self.runner.trials_left = len(draws) if self.budget.trials >= 5 * len(draws) else 0
        if self.end is not None and time is not None:
            self.runner.stop_at = min(self.clock() + time, self._race_end() or self.end)
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
        folds = self.race.folds_of(best)  # of a network fewer than of others
        most = (1 - 1 / folds) * len(self.task) if folds < self.race.folds else np.inf
        return curve_points(known, self.task, metric, log_t, whole, most)

    def _draws(self, candidate: Candidate) -> list[Trial]:
        """The trials of its learning curve; in a replay those that there were."""
        draws = [self.race.trial(candidate, d) for d in curve_draws(self.task)]
        return draws if self.replay is None else [t for t in draws if t.key in self.replay.keys]

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
            {key: s + self.once.get(key, 0.0) for key, s in self.seconds.items()},
            replace(self.plan.interval, resamples=50),
            self.plan.seed,
        )
        folds = {c.key: self.race.folds_of(c) for c in self.race.found}
        for row in board_rows:
            row["remarks"] = self.notes.get((row["method"], row["view"]), [])
            row["folds"] = folds.get((row["method"], row["view"]))
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
            "comparisons": compare(board, tried, choice, metric.name, board_rows, self.plan.interval),
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

    def _pool(self, model: Model) -> dict[str, Any] | None:
        """What the model says of rows without labels, if there is time."""
        late = self.end is not None and self.clock() > self.end - 0.02 * (self.end - self.plan.begun)
        try:
            return None if late or self.interrupted else look(self.task, self.rows, model, self.plan.seed)
        except KeyboardInterrupt:
            self.interrupted = True
        except Exception as error:  # a photo was moved, memory ended: the model is made, and is not lost for a map
            self._tell("note", f"Rows without labels could not be looked at ({type(error).__name__}: {error})"[:200])
        return None

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
