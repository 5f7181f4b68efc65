"""What the run store's rows hold: studies, trials and results, written into columns and read back.

A file from elsewhere may hold anything: a row that does not hold what it should is one sentence. `store`: the store's
name, for that sentence.
"""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from smidgen.kit.errors import BadInput
from smidgen.studies.owner import runs_here
from smidgen.studies.result import Result

if TYPE_CHECKING:
    import sqlalchemy as sa

_HOLDS: dict[str, Any] = {
    "task_name": str,
    "fingerprint": str,
    "state": str,
    "created": int | float,
    "updated": int | float,
    "options": dict,
    "asked": dict,
    "summary": dict | None,
    "trials": list,
    "owner": str | None,
    "lease_until": int | float | None,
}
_NUMBERS = ("seconds", "cpu_seconds", "peak_bytes", "model_bytes", "created", "finished")


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study as stored. `state`: running, done, stopped or failed; `trials`: keys in the order used, for a replay."""

    id: str
    task_name: str
    fingerprint: str
    options: dict[str, Any]
    asked: dict[str, Any]
    state: str
    created: float  # seconds since 1970
    updated: float
    summary: dict[str, Any] | None = None
    trials: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """A trial as stored, without its predictions. `state`: running, done or failed."""

    key: str
    trial: dict[str, Any]
    state: str
    seconds: float | None
    cpu_seconds: float | None
    peak_bytes: int | None
    model_bytes: int | None
    error: str | None
    created: float
    finished: float | None


def study_of(row: Any, now: float, store: str) -> Study:
    """`now`: of the store's clock. One whose process is gone, or has not been heard of, counts as stopped."""
    values = {name: row[name] for name in Study.__dataclass_fields__}
    for name in ("options", "asked", "summary", "trials"):
        values[name] = None if values[name] is None else parse(values[name], row["id"], store)
    for name, kind in _HOLDS.items():
        if not isinstance(values.get(name, row[name]), kind):
            raise _damaged(row["id"], store)
    if not all(0 <= values[name] < 1e11 for name in ("created", "updated")):  # seconds since 1970
        raise _damaged(row["id"], store)
    if row["state"] == "running" and row["owner"]:
        here, until = runs_here(row["owner"]), row["lease_until"]
        if here is False or (here is None and until is not None and until <= now):
            values["state"] = "stopped"
    return Study(**values)


def trial_of(row: Any, store: str) -> TrialRow:
    told = parse(row["trial"], row["key"], store)
    texts = isinstance(told, dict) and all(isinstance(row[k], str | None) for k in ("state", "error"))
    if not texts or not all(isinstance(row[k], int | float | None) for k in _NUMBERS):
        raise _damaged(row["key"], store)
    return TrialRow(**{**row, "trial": told})


def result_of(row: "sa.Row", store: str) -> Result:
    predictions = None
    if row.predictions is not None:
        import numpy as np

        try:
            shape = tuple(json.loads(row.shape))
            if not 1 <= len(shape) <= 2 or not all(type(d) is int and d >= 0 for d in shape):
                raise ValueError
            size = 8 * int(np.prod(shape, dtype=object))
            unpacker = zlib.decompressobj()
            data = unpacker.decompress(row.predictions, size + 1)  # never more than the shape says
            if len(data) != size or not unpacker.eof:
                raise ValueError
        except (ValueError, TypeError, zlib.error, OverflowError):
            raise _damaged(row.key, store) from None
        predictions = np.frombuffer(data, "<f8").reshape(shape).copy()
    told = [] if row.notes is None else parse(row.notes, row.key, store)
    texts = isinstance(told, list) and isinstance(row.error, str | None)
    if not texts or not all(isinstance(row._mapping[k], int | float | None) for k in _NUMBERS):
        raise _damaged(row.key, store)
    notes = tuple(map(str, told))
    return Result(predictions, row.seconds, row.cpu_seconds, row.peak_bytes, row.model_bytes, row.error, notes)


def columns_of(result: Result, scrub: Callable[[Any], Any]) -> dict[str, Any]:
    """What a result becomes in its trial's row. `scrub`: takes passwords out of texts."""
    values: dict[str, Any] = {
        "state": "done" if result.error is None else "failed",
        "owner": None,
        "lease_until": 0.0,
        "seconds": float(result.seconds),
        "cpu_seconds": float(result.cpu_seconds),
        "peak_bytes": int(result.peak_bytes),
        "model_bytes": int(result.model_bytes),
        "error": None if result.error is None else scrub(result.error),
        "notes": json.dumps(scrub(list(result.notes))) if result.notes else None,
        "predictions": None,
        "shape": None,
    }
    if result.predictions is not None:
        import numpy as np

        array = np.ascontiguousarray(result.predictions, np.dtype("<f8"))
        values |= {"predictions": zlib.compress(array.tobytes(), 1), "shape": json.dumps(result.predictions.shape)}
    return values


def parse(text: str, what: str, store: str) -> Any:
    """The JSON value of a column. `what`: the row's key."""
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise _damaged(what, store) from None


def _damaged(what: str, store: str) -> BadInput:
    return BadInput(f"{store}: the row '{what}' is damaged or was edited; remove its study and run it again.")
