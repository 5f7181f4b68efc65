"""What could be tried on a task: methods on views, with what each will need, and why some are left out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from smidgen.data.views.view import choices, rough_tokens, rough_width
from smidgen.kit import methods
from smidgen.kit.errors import BadInput
from smidgen.kit.extras import installed
from smidgen.kit.methods import MethodCard
from smidgen.tasks.task import Task

BASELINE = "learn/constant"
SPARSE_COST = 6
MOST_POOL = 10_000  # rows without labels that methods are given, at most
WORKER_BYTES = 350_000_000  # a worker with its libraries loaded, before any data


@dataclass(frozen=True)
class Candidate:
    """A method on a view with settings.

    Attributes:
        seconds: forecast of one fit on all rows, one core; least: of one on two thirds of them, the fewest that a fold
            has; 0: as of all. memory: forecast of a worker's peak, bytes. once: seconds of what it learns before any
            fit, see `studies.pretraining`.
    """

    method: str
    view: str
    params: dict[str, Any] = field(default_factory=dict)
    version: int = 1
    seconds: float = 0.0
    memory: int = 0
    least: float = 0.0
    once: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        return (self.method, self.view)


@dataclass(frozen=True)
class Skipped:
    """A method that is not tried, and why."""

    method: str
    view: str
    why: str


def candidates(
    task: Task,
    wanted: Sequence[str] | None = None,
    settings: dict[str, dict[str, Any]] | None = None,
    memory: int | None = None,
) -> tuple[list[Candidate], list[Skipped]]:
    """Every candidate that suits the task, and what was skipped.

    Args:
        wanted: full method names; None for all. The baseline is tried only where all are, or where it is wanted.
        settings: by method, settings of its head.
        memory: bytes that a worker may hold.
    Raises:
        BadInput: a wanted method that cannot do this kind of task, or needs a package that is not installed.
    """
    found: list[Candidate] = []
    skipped: list[Skipped] = []
    for name in wanted or methods.names("learn"):
        try:
            card = methods.card(name)
        except BadInput as error:  # of another package, and broken
            if wanted:
                raise
            skipped.append(Skipped(name, "", str(error)))
            continue
        if not wanted and (task.kind not in card.tasks or not set(task.modalities) & set(card.modalities)):
            continue  # not a method for this kind of task: nobody would look for it
        why = _unfit(card, task)
        if why:
            if wanted:
                raise BadInput(f"The method '{name}' cannot be used here: {why}.")
            skipped.append(Skipped(name, "", why))
            continue
        views = choices(task, for_features=card.features, sparse=card.sparse) if name != BASELINE else ["linear"]
        if not views:
            only = "image" if card.features == "picture" else "text"
            why = f"it takes one column of {only} alone, and a package that reads it"
            if wanted:
                raise BadInput(f"The method '{name}' cannot be used here: {why}.")
            skipped.append(Skipped(name, card.features, why))
        for view in views:
            seconds, need, least = forecast(card, task, view)
            if memory is not None and need > memory:
                skipped.append(Skipped(name, view, f"needs {_gb(need)} of memory, there are {_gb(memory)}"))
                continue
            own = (settings or {}).get(name, {})
            found.append(Candidate(name, view, own, card.version, seconds, need, least, once_seconds(card, task)))
    return found, skipped


def _unfit(card: MethodCard, task: Task) -> str:
    """Why a method does not suit a task; empty when it does."""
    if task.kind not in card.tasks:
        return f"it does no {task.kind}"
    if not set(task.modalities) & set(card.modalities):
        return f"it takes {' or '.join(card.modalities)}, not {' and '.join(task.modalities)}"
    if card.package and not installed(card.package):
        return f"the package '{card.package}' is not installed (pip install 'smidgen[{card.extra}]')"
    if card.needs_unlabelled and task.unlabelled is None:
        return "it learns from rows without labels, and there are none"
    if card.max_rows and len(task) > card.max_rows:
        return f"it takes at most {card.max_rows:,} rows, there are {len(task):,}"
    if card.max_classes and len(task.classes) > card.max_classes:
        return f"it takes at most {card.max_classes} classes, there are {len(task.classes)}"
    return ""


def forecast(card: MethodCard, task: Task, view: str) -> tuple[float, int, float]:
    """(seconds of one fit on all rows, peak bytes of the worker that fits it, seconds of one on two thirds of them)."""
    more = 0 if task.unlabelled is None or not card.unlabelled else min(len(task.unlabelled), MOST_POOL)
    n, d, c = len(task), rough_width(task.columns, view), max(len(task.classes), 1)
    # A working copy of the features in each of: view, fold, solver, scaled; kernels hold a few row-by-row matrices.
    need = (
        WORKER_BYTES
        + 8 * (n + more) * d * 6
        + 8 * n * c * 8
        + int(card.bytes_per_pair * n * n)
        + int(card.bytes_per_row * n * d)
    )
    return _seconds(card, task, view, n, more), need, _seconds(card, task, view, 2 * n / 3, more)


def _seconds(card: MethodCard, task: Task, view: str, rows: float, more: int) -> float:
    """Of one fit on so many labelled rows and `more` others."""
    d, c = rough_width(task.columns, view), max(len(task.classes), 1)
    fixed, cells, pairs, each, read = (*card.seconds, 0.0, 0.0, 0.0, 0.0)[:5]
    # A fit on tf-idf walks many columns where the forecast of memory counts entries.
    d = d * SPARSE_COST if "tfidf" in view.split("+") else d
    seconds = fixed + cells * (rows + more) * d * c / 1e6 + pairs * rows * rows * c / 1e6 + each * rows / 1e3
    return seconds + read * _batch(card, task, rows) / 1e3


def _batch(card: MethodCard, task: Task, rows: float) -> float:
    """What one update reads of so many rows: rows, or tokens where a batch is bounded in them."""
    read = min(rows, card.batch)
    if not card.batch_tokens:
        return read
    each = sum(rough_tokens(task.frame[c.name].dropna().astype(str)) for c in task.columns if c.kind == "text")
    return min(read * each, card.batch_tokens)


def once_seconds(card: MethodCard, task: Task) -> float:
    """Forecast of what a method learns without labels before any fit; 0: nothing."""
    if not card.pretraining or task.unlabelled is None:
        return 0.0
    fixed, rows = (*card.pretraining, 0.0)[:2]
    return fixed + rows * min(len(task.unlabelled), MOST_POOL) / 1e3


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
