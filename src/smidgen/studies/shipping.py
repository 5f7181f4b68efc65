"""A task and its rows as data that another machine can be given through the run store: JSON and arrays, no code.

Only what trials need: used columns, targets, groups, what was encoded or learnt before. Of images the encoded arrays
go, no paths. It is found by its content, and lies in the store in packed parts while a run that offers trials of it
lives.
"""

import json
import zlib
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from scipy import sparse

from smidgen.budget.budget import show_bytes
from smidgen.data.views.rows import Rows
from smidgen.kit.errors import BadInput
from smidgen.kit.files import digest, parse_tensors, tensor_bytes
from smidgen.kit.state import pack, unpack
from smidgen.studies.store import RunStore
from smidgen.studies.tables import coordinators, task_data
from smidgen.tasks.task import Column, Task

PART_BYTES = 8 << 20  # of the whole, in one row of the store
MAX_BYTES = 4 << 30
FORM = 1


def pack_data(task: Task, rows: Rows) -> bytes:
    """The task and its rows as one piece of data. Raises BadInput: more than `MAX_BYTES`, or what is no data."""
    arrays: dict[str, np.ndarray] = {}
    about = {
        "form": FORM,
        "fingerprint": task.fingerprint,
        "kind": task.kind,
        "metric": task.metric,
        "classes": list(task.classes),
        "columns": [[c.name, c.kind, c.form] for c in task.columns if c.used],
        "target": task.target,
        "groups": task.groups,
        "rows": _rows(rows, task.columns),
    }
    try:
        head = pack(about, arrays)
    except TypeError as error:
        raise BadInput(f"The data cannot be given to other machines: {error}.") from None
    # Sums in another order are other numbers: an array keeps the order of its axes.
    turned = [name for name, a in arrays.items() if a.flags.f_contiguous and not a.flags.c_contiguous]
    text = json.dumps({"about": head, "turned": turned}).encode()
    size = len(text) + sum(a.nbytes for a in arrays.values())
    if size > MAX_BYTES:
        raise BadInput(f"The data has {show_bytes(size)}; {show_bytes(MAX_BYTES)} can be given to other machines.")
    return len(text).to_bytes(8, "little") + text + tensor_bytes(arrays)


def unpack_data(body: bytes) -> tuple[Task, Rows]:
    """What `pack_data` took. Raises BadInput: damaged, or of another form."""
    try:
        end = 8 + int.from_bytes(body[:8], "little")
        head = json.loads(body[8:end])
        arrays = parse_tensors(body[end:], "the data of the task")
        for name in head["turned"]:
            arrays[name] = np.asfortranarray(arrays[name])
        about = unpack(head["about"], arrays)
        if about["form"] != FORM:
            raise ValueError
        columns = tuple(Column(name=n, kind=k, form=f) for n, k, f in about["columns"])
        rows = _made(about["rows"])
        task = Task(
            frame=rows.frame,
            target=about["target"],
            kind=about["kind"],
            columns=columns,
            metric=about["metric"],
            classes=tuple(about["classes"]),
            groups=about["groups"],
        )
        if len(task) != len(rows):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(f"The data of a task in the run store is damaged ({str(error)[:100]}).") from None
    task.__dict__["fingerprint"] = about["fingerprint"]  # images count with their bytes, which are not here
    return task, rows


def put(store: RunStore, body: bytes, mark: str) -> None:
    """Puts the data into the store under `mark`, its digest; only the parts that are not there yet."""
    count = -(-len(body) // PART_BYTES)
    with store._db.read() as c:
        known = set(c.execute(sa.select(task_data.c.part).where(task_data.c.digest == mark)).scalars())
    for part in range(count):  # each its own transaction: nobody waits long
        if part not in known:
            packed = zlib.compress(body[part * PART_BYTES : (part + 1) * PART_BYTES], 1)
            with store._db.write() as c:
                row = {"digest": mark, "part": part, "parts": count, "content": packed}
                c.execute(store._db.insert(task_data).values(**row))


def fetch(store: RunStore, mark: str) -> bytes:
    """The data of this digest. Raises BadInput: it is not (or no longer) there as a whole, or damaged."""
    body, part, count = bytearray(), 0, 1
    while part < count:
        with store._db.read() as c:
            query = sa.select(task_data.c.parts, task_data.c.content)
            row = c.execute(query.where(task_data.c.digest == mark, task_data.c.part == part)).one_or_none()
        if row is None or row.parts > MAX_BYTES // PART_BYTES + 1:
            raise BadInput(f"The data {mark} of a task is not whole in {store.name}.")
        unpacker = zlib.decompressobj()
        try:
            body += unpacker.decompress(row.content, PART_BYTES + 1)
        except zlib.error:
            raise BadInput(f"The data {mark} of a task in {store.name} is damaged.") from None
        part, count = part + 1, row.parts
    if digest(bytes(body)) != mark:
        raise BadInput(f"The data {mark} of a task in {store.name} is damaged.")
    return bytes(body)


def sweep(c: sa.Connection) -> None:
    """Removes data that no run offers trials of."""
    c.execute(task_data.delete().where(task_data.c.digest.not_in(sa.select(coordinators.c.data))))


# -- rows --


def _rows(rows: Rows, columns: tuple[Column, ...]) -> dict[str, Any]:
    cells = []
    for column in columns:
        if not column.used or column.kind == "image":
            continue
        values = rows.frame[column.name]
        if column.kind == "number":
            made: Any = values.to_numpy(np.float64)
        elif column.kind == "date":
            made = values.to_numpy("datetime64[us]").view(np.int64)
        else:
            made = [v if isinstance(v, str) else None for v in values]
        cells.append([column.name, column.kind, made])
    return {
        "count": len(rows),
        "cells": cells,
        "blocks": [[key, _block(block)] for key, block in sorted(rows.blocks.items())],
        "groups": rows.groups,
        "learnt": rows.learnt,
        "pool": None if rows.pool is None else _rows(rows.pool, columns),
    }


def _block(block: Any) -> Any:
    if not sparse.issparse(block):
        return np.asarray(block)
    return {"csr": [block.data, block.indices, block.indptr, list(block.shape)]}


def _made(given: dict[str, Any]) -> Rows:
    frame: dict[str, Any] = {}
    for name, kind, cells in given["cells"]:
        if kind == "date":
            frame[name] = cells.view("datetime64[us]")
        else:
            frame[name] = cells if kind == "number" else pd.Series(cells, dtype=object)
    blocks = {}
    for key, block in given["blocks"]:
        if isinstance(block, dict):
            data, indices, indptr, shape = block["csr"]
            block = sparse.csr_matrix((data, indices, indptr), shape=tuple(shape))
            block.check_format(full_check=True)
        blocks[key] = block
    count = given["count"]
    if any(len(v) != count for v in frame.values()) or any(b.shape[0] != count for b in blocks.values()):
        raise ValueError("its parts have different numbers of rows")
    return Rows(
        pd.DataFrame(frame, index=pd.RangeIndex(count)),
        blocks,
        pool=None if given["pool"] is None else _made(given["pool"]),
        groups=given["groups"],
        learnt=given["learnt"],
    )
