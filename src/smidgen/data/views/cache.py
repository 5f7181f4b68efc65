"""Encoded values on disk, found by content: what was encoded once, by any study or process, is not encoded again.

A shard is two files. `X.npy` holds rows; `X.keys`, written after it, holds the digest of that file and then one
16-byte key a row. Both appear whole or not at all; a shard that does not match its digest is passed over and its
values are made anew. Two processes may write at once: equal keys make equal names and equal content.
"""

import contextlib
import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from smidgen.data.views.encoders import IMAGE, IN_MEMORY, TEXT, Progress, content, encode, identity
from smidgen.data.views.rows import Rows
from smidgen.kit.files import write_bytes
from smidgen.tasks.task import Column

CHUNK = 2048  # values to a shard: what a kill may cost
_KEY, _DIGEST = 16, 32


def fill(
    rows: Rows,
    encoders: Iterable[str],
    folder: Path | None,
    progress: Progress | None = None,
    *,
    columns: tuple[Column, ...],
    threads: int | None = None,
) -> None:
    """Puts the blocks of these encoders into `rows`, each distinct value encoded once, ever.

    Args:
        encoders: see `view.encoders_of`.
        folder: where shards lie; made when absent. None, or one that cannot be written: nothing is kept.
        progress: called with (values done, values in all), over all encoders and columns.
        columns: the task's columns: which are texts, which images.
        threads: for the sentence encoder.
    """
    todo = [
        (e, c.name)
        for e in encoders
        for c in columns
        if c.kind == ("text" if e in TEXT else "image") and e in TEXT + IMAGE and f"{e}:{c.name}" not in rows.blocks
    ]
    total, before = len(todo) * len(rows), 0
    for name, column in todo:
        start = before
        rows.blocks[f"{name}:{column}"] = cached(
            name,
            rows.frame[column].tolist(),
            folder,
            threads=threads,
            progress=(lambda done, start=start: progress(start + done, total)) if progress else None,
        )
        before += len(rows)


def cached(name: str, values: list, folder: Path | None, *, progress=None, threads: int | None = None):
    """As `encoders.encode`, reading what is there and keeping what was made. `progress` is called with values done."""
    tell = progress or (lambda done: None)
    if name in IN_MEMORY or not values:
        out = encode(name, values)
        tell(len(values))
        return out
    keys = [content(name, v) for v in values]
    wanted = dict(zip(keys, values, strict=True))
    place = Path(folder) / identity(name) if folder is not None else None
    found = _read(place, set(wanted)) if place else {}
    todo = [k for k in wanted if k not in found]
    tell(len(values) * (len(wanted) - len(todo)) // len(wanted))
    for start in range(0, len(todo), CHUNK):
        chunk = todo[start : start + CHUNK]
        had = len(wanted) - len(todo) + start

        def part(done: int, of: int, had: int = had, size: int = len(chunk)) -> None:
            tell(int(len(values) * (had + size * done / max(of, 1)) / len(wanted)))

        made = encode(name, [wanted[k] for k in chunk], part, threads)
        found.update(zip(chunk, made, strict=True))
        if place:
            with contextlib.suppress(OSError):  # a full or read-only disk costs time, not the study
                _write(place, chunk, made)
    tell(len(values))
    return np.stack([found[k] for k in keys])


def _write(place: Path, keys: list[bytes], rows: np.ndarray) -> None:
    place.mkdir(parents=True, exist_ok=True)
    body = io.BytesIO()
    np.save(body, np.ascontiguousarray(rows), allow_pickle=False)
    name = hashlib.sha256(b"".join(keys)).hexdigest()[:24]
    write_bytes(place / f"{name}.npy", body.getvalue())
    write_bytes(place / f"{name}.keys", hashlib.sha256(body.getvalue()).digest() + b"".join(keys))


def _read(place: Path, wanted: set[bytes]) -> dict[bytes, np.ndarray]:
    found: dict[bytes, np.ndarray] = {}
    for path in sorted(place.glob("*.keys")) if place.is_dir() else ():
        try:
            head = path.read_bytes()
            keys = [head[i : i + _KEY] for i in range(_DIGEST, len(head), _KEY)]
            here = [(i, k) for i, k in enumerate(keys) if k in wanted and k not in found]
            if not here:
                continue
            body = path.with_suffix(".npy").read_bytes()
            if hashlib.sha256(body).digest() != head[:_DIGEST]:
                continue
            rows = np.load(io.BytesIO(body), allow_pickle=False)
            if rows.ndim == 2 and len(rows) == len(keys) and rows.dtype == np.float32 and np.isfinite(rows).all():
                found.update((k, rows[i]) for i, k in here)
        except (OSError, ValueError, EOFError):
            continue
    return found
