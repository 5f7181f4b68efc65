"""A trial: one method on one view of one task, measured once, on one draw of the examples.

A draw is a short text, so that it can stand in a key and be read by a person:
`cv:k=5:r=0` is the first repeat of five-fold cross-validation, every row predicted by a fit that did not see it;
`sub:n=20:r=0` is a fit on the first 20 rows of a nested stratified sub-draw, all other rows predicted;
`part:k=5:r=0:n=20` is that cross-validation with each fit on the first 20 rows of such a sub-draw of its training part,
so that every size is scored on all rows; `part:k=5:r=0:n=20:m=10:e=30` adds 10 rows to the 20, of which each label is
wrong with a probability of 30 % (`e=0.4`: of 0.4 %); `part:k=5:r=0:n=20:u=10` adds 10 rows without labels, which a
first fit on the 20 labels (where it is sure of them) for a second one: self-training (Yarowsky, 1995); with `p=10` in
its place the fit is given them beside the pool, for a method that learns from rows without labels itself.
"""

import json
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from smidgen.data.views.rows import Rows
from smidgen.kit.files import digest
from smidgen.kit.notes import listening
from smidgen.kit.seeds import derive_seed
from smidgen.kit.state import pack
from smidgen.learn.member import Member
from smidgen.learn.rounded_state import rounded
from smidgen.studies.result import Result
from smidgen.studies.worker import peak_bytes
from smidgen.tasks.splits import fold_of, sub_draw
from smidgen.tasks.task import Task

SURE = 0.8  # probability from which self-training takes its own guess for a label


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is measured. `task` is the task's fingerprint; `version` the method's; `params` settings of its head."""

    task: str
    method: str
    version: int
    view: str
    params: dict[str, Any] = field(default_factory=dict)
    draw: str
    seed: int

    @property
    def key(self) -> str:
        """Content hash of all of it: equal keys, equal results."""
        return digest(self.to_json())

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Trial":
        return cls(**json.loads(text))


def _read(draw: str) -> tuple[str, dict[str, int], float]:
    """(kind, counts by letter, share of wrong labels) of a draw."""
    kind, *pairs = draw.split(":")
    values = dict(pair.split("=") for pair in pairs)
    percent = float(values.pop("e", 0))
    return kind, {k: int(v) for k, v in values.items()}, percent / 100


def parts(task: Task, draw: str, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(training rows, predicted rows) of a draw. The same for every method, so that trials are paired."""
    kind, values, _ = _read(draw)
    own = derive_seed(seed, "cv" if kind == "part" else kind, values["r"])
    if kind in ("cv", "part"):
        folds = fold_of(task, values["k"], own)
        whole = [(np.flatnonzero(folds != f), np.flatnonzero(folds == f)) for f in np.unique(folds)]
        if kind == "cv":
            return whole
        wanted = values["n"] + sum(values.get(more, 0) for more in "mup")
        return [(train[sub_draw(task.take(train), wanted, own)], test) for train, test in whole]
    chosen = sub_draw(task, values["n"], own)
    held = np.ones(len(task), bool)
    held[chosen] = False
    return [(np.sort(chosen), np.flatnonzero(held))]


def labels_of(task: Task, draw: str, train: np.ndarray, seed: int) -> np.ndarray:
    """The labels that a fit on `train` is told: the task's, but where the draw asks for wrong ones."""
    kind, values, error = _read(draw)
    labels = task.target[train]
    if kind != "part" or not values.get("m"):
        return labels
    rng = np.random.default_rng(derive_seed(seed, "wrong labels", draw))
    wrong = (np.arange(len(train)) >= values["n"]) & (rng.random(len(train)) < error)
    other = (labels + rng.integers(1, len(task.classes), len(train))) % len(task.classes)
    return np.where(wrong, other, labels)


def labelled_in(draw: str, rows: int) -> int:
    """How many of the rows of a training part, the first ones, come with labels."""
    _, values, _ = _read(draw)
    return min(values["n"], rows) if values.get("u") or values.get("p") else rows


def drawn(task: Task, draw: str, seed: int) -> tuple[float, float]:
    """(labels, other rows) that a fit of a draw is given, on average over its parts. Whole groups stop a draw short of
    what it names, or lead beyond."""
    _, values, _ = _read(draw)
    rows = np.array([len(train) for train, _ in parts(task, draw, seed)])
    labels = np.minimum(rows, values["n"]) if any(values.get(more) for more in "mup") else rows
    return float(labels.mean()), float((rows - labels).mean())


def draw_in_words(draw: str) -> str:
    """What each fit of a draw is given, for people: "all labels of 7 folds in 8", "20 labels"."""
    kind, values, error = _read(draw)
    if kind == "cv":
        bits = f", rounded to {values['b']} bits" if "b" in values else ""
        return f"all labels of {values['k'] - 1} folds in {values['k']}{bits}"
    said = f"{values['n']} labels"
    if values.get("m"):
        said += f", {values['m']} more of which {100 * error:.3g} % are wrong"
    if bare := values.get("u") or values.get("p"):
        said += f", {bare} rows without labels"
    return said


def _guessed(predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(which predictions are sure enough to be taken for labels, those labels)."""
    if predicted.ndim == 1:  # a number is never sure: all are taken
        return np.ones(len(predicted), bool), predicted
    return predicted.max(1) >= SURE, predicted.argmax(1)


def run_trial(task: Task, rows: Rows, trial: Trial) -> Result:
    """Fits and predicts every part of the trial's draw. An error of the method becomes the result's `error`."""
    with listening() as notes:
        result = _run(task, rows, trial)
    return replace(result, notes=tuple(notes))


def _run(task: Task, rows: Rows, trial: Trial) -> Result:
    start, cpu = time.perf_counter(), time.process_time()
    classes, whole = len(task.classes), rows
    predictions = np.full((len(task), classes) if classes else len(task), np.nan)
    size, bits = 0, _read(trial.draw)[1].get("b")
    fits = trial.draw.partition(":b=")[0]  # what is rounded afterwards is the very fit that is not
    try:
        for i, (train, test) in enumerate(parts(task, trial.draw, trial.seed)):
            member = Member(trial.method, trial.view, task.kind, classes, trial.params)
            rows = whole if task.groups is None else whole.apart_from(task.groups[test])
            seed = derive_seed(trial.seed, trial.method, trial.view, fits, i)
            told = labels_of(task, trial.draw, train, trial.seed)
            known = labelled_in(trial.draw, len(train))
            own, rest = rows.take(train[:known]), train[known:]
            given = _read(trial.draw)[1].get("p", 0)  # rows that it is given, and need not guess
            if given and len(rest):
                more = rows.take(rest)
                own = replace(own, pool=more if rows.pool is None else rows.pool.joined(more))
            member.fit(own, told[:known], task.columns, seed)
            if len(rest) and not given:
                sure, guessed = _guessed(member.predict(rows.take(rest)))
                told = np.concatenate([told[:known], guessed[sure]])
                taken = np.concatenate([train[:known], rest[sure]])
                member = Member(trial.method, trial.view, task.kind, classes, trial.params)
                member.fit(rows.take(taken), told, task.columns, seed)
            if bits:
                state, packed = rounded(member.get_state(), bits, lambda state, own=own: _finite(state, task, own))
                member, size = Member.from_state(state, task.columns), max(size, packed)
            predictions[test] = member.predict(rows.take(test))
            if not np.isfinite(predictions[test]).all():
                raise ValueError("it predicted values that are not finite")
            if classes and (predictions[test].min() < 0 or np.abs(predictions[test].sum(1) - 1).max() > 1e-3):
                raise ValueError("its probabilities are negative or do not sum to 1")
            size = size or state_bytes(member.get_state())
    except MemoryError:  # says something about this worker's memory, not about the trial: the pool tells them apart
        raise
    except Exception as error:  # a method may fail in any way; the study goes on without it
        text = f"{type(error).__name__}: {error}".strip()
        return Result(error=text[:500], seconds=time.perf_counter() - start, cpu_seconds=time.process_time() - cpu)
    return Result(predictions, time.perf_counter() - start, time.process_time() - cpu, peak_bytes(), size)


def _finite(state: dict[str, Any], task: Task, rows: Rows) -> bool:
    """Whether a member of this state predicts numbers."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(Member.from_state(state, task.columns).predict(rows)).all())


def fit_member(task: Task, rows: Rows, method: str, view: str, params: dict[str, Any], seed: int) -> dict[str, Any]:
    """The member fitted on all rows, as its state; with "notes" where there are any, see `kit.notes`."""
    member = Member(method, view, task.kind, len(task.classes), params)
    with listening() as notes:
        member.fit(rows, task.target, task.columns, derive_seed(seed, method, view, "all"))
    return member.get_state() | ({"notes": notes} if notes else {})


def state_bytes(state: dict[str, Any]) -> int:
    """Bytes that a state takes in a model folder."""
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(pack(state, arrays))
    return len(text) + sum(a.nbytes for a in arrays.values())
