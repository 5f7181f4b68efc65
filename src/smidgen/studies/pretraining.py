"""What a method learns once for all fits of a study: without labels, from the rows that have none.

Only from those, so that it is the same for every fold and no fold's network has seen the rows that judge it; where rows
have groups, from those of no labelled row's group. It is made on a worker, and kept by content as encodings are: of
equal rows, settings and seed it is made once, ever.
"""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data.views.rows import Rows
from smidgen.data.views.view import View
from smidgen.kit import methods
from smidgen.kit.errors import BadInput
from smidgen.kit.files import digest, parse_tensors, read_bytes, tensor_bytes, write_bytes
from smidgen.kit.notes import listening
from smidgen.kit.seeds import derive_seed
from smidgen.kit.state import pack, unpack
from smidgen.studies.candidates import Candidate
from smidgen.studies.job import AnyPool, Failure
from smidgen.tasks.task import Task

LOOK_SECONDS = 5.0  # between two reports of progress
MAX_BYTES = 1 << 30


class Unfinished(Exception):
    """Nothing was learnt: it "took longer than its 5 s", or "failed (out of memory)"."""


@dataclass(frozen=True)
class Spent:
    """What a pretraining took: nothing, where it was known. `notes`: what is to be known of how, see `kit.notes`."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    notes: tuple[str, ...] = ()


def pretrain(task: Task, rows: Rows, method: str, view: str, params: dict[str, Any], seed: int) -> dict[str, Any]:
    """A job of the workers: what the method learnt, and what is to be known of how."""
    with listening() as notes:
        made = methods.load(method).pretrain(_free(task, rows, view), params, derive_seed(seed, method, "pretraining"))
    return {"learnt": made, "notes": notes}


def pretrain_within(
    workers: AnyPool,
    task: Task,
    rows: Rows,
    candidate: Candidate,
    seed: int,
    *,
    folder: Path | None,
    seconds: float | None,
    tell: Callable[[float], None] = lambda passed: None,
    clock: Callable[[], float] = time.monotonic,
) -> Spent:
    """Puts what a method learns before any fit into `rows.learnt`: from the folder, or made by a worker now.

    Args:
        workers: have been given `task` and `rows`, and must be given them again afterwards.
        folder: of the cache; None, or one that cannot be written: nothing is kept.
        seconds: it may take at most; None: any. tell: is told now and then how many have passed.
    Raises:
        Unfinished: it took longer, or failed.
    """
    method, params = candidate.method, candidate.params
    place = None if folder is None else Path(folder) / "pretrained" / f"{_key(task, rows, candidate, seed)}.bin"
    found = None if place is None else _read(place)
    spent = Spent()
    if found is None:
        job = workers.submit(pretrain, (method, candidate.view, params, seed), seconds)
        begun, ended = clock(), {}
        try:
            while job not in ended:
                ended |= dict(workers.wait(LOOK_SECONDS))
                tell(clock() - begun)
        finally:
            workers.kill(job)
        if isinstance(ended[job], Failure):
            why, kind = ended[job].reason, ended[job].kind
            raise Unfinished(why if kind == "deadline" else f"failed ({why})")
        found, spent = ended[job], Spent(job.seconds, job.cpu_seconds, job.peak_bytes)
        if place is not None:
            with contextlib.suppress(OSError):
                _write(place, found)
    rows.learnt[method] = found["learnt"]
    return replace(spent, notes=tuple(found["notes"]))


def _free(task: Task, rows: Rows, view: str) -> np.ndarray:
    """Features of the rows without labels that share no group with a labelled one."""
    pool = rows.pool
    if pool is None or not len(pool):
        raise BadInput("There are no rows without labels to learn from.")
    if pool.groups is not None:
        pool = pool.take(np.flatnonzero(pool.groups < 0))
    return View(view, task.columns).fit(pool).transform(pool)


def _key(task: Task, rows: Rows, candidate: Candidate, seed: int) -> str:
    card = methods.card(candidate.method)
    what = [candidate.method, card.version, candidate.view, candidate.params, seed]
    features = np.ascontiguousarray(_free(task, rows, candidate.view), np.float32)
    return digest(json.dumps(what, sort_keys=True), str(features.shape), features.tobytes())


def _write(place: Path, found: Any) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    head = json.dumps(pack(found, arrays)).encode()
    body = len(head).to_bytes(8, "little") + head + tensor_bytes(arrays)
    write_bytes(place, digest(body).encode() + body)


def _read(place: Path) -> Any:
    """What was kept; None: nothing, or it is damaged and is made anew."""
    try:
        data = read_bytes(place, MAX_BYTES)
        mark, body = data[:32], data[32:]
        if digest(body).encode() != mark:
            return None
        end = 8 + int.from_bytes(body[:8], "little")
        return unpack(json.loads(body[8:end]), parse_tensors(body[end:], str(place)))
    except (BadInput, OSError, ValueError):
        return None
