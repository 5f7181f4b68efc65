"""The main job: from a file with few labels to a model that can be trusted.

Read the task; race the methods that suit it (`race`), through the run store and the workers (`runner`); choose a
blend and say how good it is (`choose`, `estimate`); fit the chosen on all rows; save model and report.
"""

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.budget.budget import Budget, parse_bytes, parse_duration
from smidgen.data.views.rows import Rows
from smidgen.data.views.view import RAW_PARTS, View, encoders_of
from smidgen.kit import methods as registry
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.machine import cores
from smidgen.learn.model import check_place
from smidgen.studies import DEFAULT_STORE, priors
from smidgen.studies.candidates import Candidate, candidates
from smidgen.studies.database import again
from smidgen.studies.encoding import encode_within, while_opened
from smidgen.studies.executor import executor_named
from smidgen.studies.fitted import Fitted
from smidgen.studies.named import flat, own_settings, wanted_methods
from smidgen.studies.plan import Plan, Progress
from smidgen.studies.pool import Pool
from smidgen.studies.pulse import pulse
from smidgen.studies.race import Race
from smidgen.studies.replay import Replay
from smidgen.studies.run import Run
from smidgen.studies.sharing import Sharing
from smidgen.studies.store import RunStore
from smidgen.studies.unlabelled import MOST, another_kind, dense, pool_of
from smidgen.tasks.read import read
from smidgen.tasks.task import Finding, Task

DEFAULT_SECONDS = 60.0
GIVEN = "(rows)"  # stands for rows without labels that were no file


def fit(
    source: Any,
    target: str | None = None,
    *,
    out: str | Path | None = None,
    time: str | float | None = None,
    trials: int | None = None,
    memory: str | int | None = None,
    size: str | int | None = None,
    metric: str | None = None,
    unlabelled: Any = None,
    group: str | None = None,
    methods: str | Sequence[str] | None = None,
    settings: Mapping[str, Any] | Sequence[str] | None = None,
    seed: int = 0,
    store: str | None = None,
    workers: int | None = None,
    executor: str | None = None,
    kind: str | None = None,
    replay: str | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    render: Callable[[dict[str, Any]], str] | None = None,
    begun: float | None = None,
) -> Fitted:
    """Fits the best model that these rows allow and says how good it is.

    Args:
        source: a file (CSV, TSV, Parquet, JSON lines; .gz too), a folder of images by class, any dataframe, or (X, y).
        target: the column to predict. Rows where it is blank are the unlabelled pool; `unlabelled` may add more.
        out: folder of the model; None: `<name>-model` beside the working directory for files, nothing saved for frames.
        time: wall time, e.g. "60s" or seconds. trials: a budget by count instead: exactly reproducible. Neither: 60 s.
        memory: bound of each worker, e.g. "4GB". size: bound of the saved model folder, e.g. "50MB".
        metric: what is reported ("log_loss", "accuracy", ..., "rmse", ...); the choice itself is always made on a
            proper score.
        group: a column whose equal values never straddle a split.
        methods: names, e.g. "logistic,forest"; None: all that suit. settings: `{"logistic.strength": 0.1}` or
            "name=value" texts.
        seed: equal seeds give equal results. store: URL of the run store. workers: processes; None: one a core, at
            most 8. 0: `smidgen work` measures all trials; one process here encodes, and fits the model.
        executor: where trials run: "local", or a Ray cluster ("ray", "ray:auto", "ray:HOST:PORT", "ray://HOST:PORT",
            see docs/many-machines.md), whose CPUs are then counted.
        kind: "classification" or "regression" where the guess is wrong. replay: id of a study whose trials are used
            again.
        progress: called with `{"kind", "text", "done", "total", "seconds_left"}`. render: makes the report from the
            summary.
        begun: `time.monotonic()` when the time began to count; None: now.
    Raises:
        BadInput: the data or an argument is wrong. BudgetSpent: the time ended before any model was fitted.
        MissingExtra: ray is not installed.
    """
    begun = _clock() if begun is None else begun
    if time is not None and trials is not None:
        raise BadInput("Give --time or --trials, not both: a budget by count does not depend on the clock.")
    budget = Budget(
        seconds=parse_duration(time, "time") if time is not None else None if trials or replay else DEFAULT_SECONDS,
        trials=trials,
        memory=parse_bytes(memory, "memory") if memory is not None else None,
        model_bytes=parse_bytes(size, "size") if size is not None else None,
    )
    wanted = wanted_methods(methods)
    own = own_settings(settings, wanted)
    if workers is not None and workers < 0:
        raise bad("workers", "at least 0", workers)
    cluster = executor_named(executor)
    count = min(cores(), 8) if workers is None else max(workers, 1)
    place = _folder(out, source)
    if place is not None and not dry_run:
        check_place(place)
    with contextlib.ExitStack() as stack:
        # Started first, so that the workers' imports overlap with reading the file.
        pool = None
        if cluster is not None and not dry_run:
            pool = stack.enter_context(cluster.open(workers, budget.memory))
            count = pool.workers
        elif not dry_run:
            pool = stack.enter_context(Pool(count, budget.memory))
        tell = progress or (lambda event: None)
        opened = while_opened(budget.seconds, begun, tell)
        task = read(source, target, unlabelled=unlabelled, group=group, kind=kind, metric=metric, opened=opened)
        left = None if budget.seconds is None else max(0.0, round(begun + budget.seconds - _clock(), 1))
        tell({"kind": "read", "text": _said(task), "done": 0, "total": None, "seconds_left": left})
        found, skipped = candidates(task, wanted, own, budget.memory)
        if not found:
            raise BadInput(f"No method can be tried: {'; '.join(f'{s.method} {s.why}' for s in skipped[:3])}.")
        race = Race(task, found, priors.weights(task, found), seed)
        plan = Plan(
            task=task,
            race=race,
            skipped=skipped,
            budget=budget,
            workers=count,
            seed=seed,
            out=place,
            name=_name(source),
            begun=begun,
            progress=tell,
            render=render,
            named=wanted is not None,
        )
        if dry_run:
            planned = Fitted.planned(plan)
            if cluster is not None:
                planned.summary["executor"] = cluster.sentence(workers)
            return planned
        assert pool is not None
        tell({"kind": "plan", "text": plan.sentence(), "done": 0, "total": None, "seconds_left": left})
        runs = stack.enter_context(contextlib.closing(RunStore(store or DEFAULT_STORE)))
        options = {
            "source": str(Path(source).absolute()) if isinstance(source, str | Path) else task.source,
            "target": task.target_name,
            "metric": task.metric,
            "kind": task.kind,
            "group": group,
            "methods": wanted,
            "settings": own,
            "seed": seed,
            "unlabelled": _place(unlabelled),
            "named_kind": kind,
            "named_metric": metric,
        }
        known = Replay.of(runs.study(replay)) if replay else None
        if known is not None:
            race.set_folds = known.folds
        asked = {"time": time, "trials": trials, "memory": memory, "size": size, "workers": workers}
        asked["executor"] = executor
        asked["out"] = None if place is None else str(place.absolute())
        study = again(lambda: runs.open_study(plan.name, task.fingerprint, options, asked))
        stack.enter_context(pulse(runs, study.id))
        rows = Rows(task.frame)
        if known is None:
            plan.leave_out_the_slow()  # what they alone would need is not encoded
        encode_within(plan, rows, _encoders(race.alive))
        pooled = [c for c in race.alive if registry.card(c.method).unlabelled]
        if pooled and task.unlabelled is not None:
            rows.pool, said = pool_of(task, seed)
            plan.noticed += said
            encode_within(plan, rows.pool, _encoders(pooled), of_pool=True)
            plan.noticed += _kinds(race, pooled, rows)
        pool.load(task, rows)

        def note(text: str) -> None:
            tell({"kind": "note", "text": text, "done": 0, "total": None, "seconds_left": None})

        sharing = stack.enter_context(Sharing(runs, study.id, budget.memory, always=workers == 0, tell=note))
        sharing.load(task, rows)
        return Run(plan, runs, study, pool, rows, known, sharing, own=0 if workers == 0 else None).finish()


def resume(study_id: str, *, store: str | None = None, **overrides: Any) -> Fitted:
    """Goes on with a study of a file: the same command again, from its stored options and budget.

    Args:
        overrides: as `fit` has them, e.g. a larger `trials` or `time`.
    Raises:
        BadInput: no such study, or its data was no file or is gone.
    """
    with contextlib.closing(RunStore(store or DEFAULT_STORE)) as runs:
        study = runs.study(study_id)
    options = dict(study.options)
    source = options["source"]
    if not Path(source).exists():
        raise BadInput(
            f"The study {study.id} was made from {source}, which is not there: "
            "call smidgen.fit with the data again, it goes on."
        )
    asked = {k: v for k, v in study.asked.items() if v is not None}
    if options["unlabelled"] == GIVEN and "unlabelled" not in overrides:
        raise BadInput(
            f"The study {study.id} had further rows without labels, which were no file: call smidgen.fit again."
        )
    if "time" in overrides or "trials" in overrides:  # the new budget takes the place of the old one
        asked = {k: v for k, v in asked.items() if k not in ("time", "trials")}
    wanted = {
        **asked,
        **{k: options[k] for k in ("group", "methods", "seed", "unlabelled")},
        "kind": options["named_kind"],
        "metric": options["named_metric"],
        "settings": flat(options["settings"]),
        **overrides,
    }
    return fit(source, options["target"], store=store, **wanted)


def _place(unlabelled: Any) -> str | None:
    """What is kept of a further source: where it lies, so that a study can go on from any folder."""
    if isinstance(unlabelled, str | Path):
        return str(Path(unlabelled).absolute())
    return None if unlabelled is None else GIVEN


def _kinds(race: Race, pooled: Sequence[Candidate], rows: Rows) -> list[Finding]:
    """Whether rows with and without labels are of one kind, as the first method that uses both sees them."""
    seen = [c for c in pooled if c in race.alive and c.view not in RAW_PARTS]
    if not seen or rows.pool is None:
        return []
    some = np.random.default_rng(race.seed).permutation(len(rows.pool))[:MOST]
    view = View(seen[0].view, race.task.columns).fit(rows)
    return another_kind(dense(view.transform(rows)), dense(view.transform(rows.pool.take(some))), race.seed)


def _encoders(found: Sequence[Candidate]) -> tuple[str, ...]:
    return tuple(sorted({e for c in found for e in encoders_of(c.view)}))


def _clock() -> float:
    return time.monotonic()


def _name(source: Any) -> str:
    if isinstance(source, str | Path):
        return Path(source).name.split(".")[0] or "study"
    return "frame"


def _folder(out: str | Path | None, source: Any) -> Path | None:
    if out is not None:
        return Path(out)
    return Path(f"{_name(source)}-model") if isinstance(source, str | Path) else None


def _said(task: Task) -> str:
    what = f"{len(task.classes)} classes" if task.classes else "a number"
    pool = f", {len(task.unlabelled):,} without a label" if task.unlabelled is not None else ""
    seen = " and ".join(task.modalities) or "no usable columns"
    return f"{len(task):,} labelled rows{pool}; {seen}; target '{task.target_name}': {what}"


def describe_json(value: Any) -> str:
    """JSON text of a summary; what JSON cannot say (NaN, infinity) is written as null."""

    def clean(v: Any) -> Any:
        if isinstance(v, dict):
            return {k: clean(x) for k, x in v.items()}
        if isinstance(v, list | tuple):
            return [clean(x) for x in v]
        return None if isinstance(v, float) and v - v != 0 else v

    return json.dumps(clean(value), ensure_ascii=False)
