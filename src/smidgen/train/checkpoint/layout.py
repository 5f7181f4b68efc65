"""Where each byte of a shard file lies: a safetensors file with its own checksums in it.

    8 bytes: length of the header | header, JSON | body: tensors back to back, then the table of checksums

Any safetensors reader opens it. The body before the table is cut into chunks of equal size, without regard to where
tensors begin. The table, a U32 tensor named `__crc32__`, holds the CRC-32 of the first two parts, of each chunk, and of
the table up to there. Everything but the checksums is known before a single tensor is copied.
"""

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from smidgen.kit.errors import BadInput
from smidgen.train.checkpoint.errors import CheckpointCorrupt
from smidgen.train.checkpoint.tree import DTYPES, NAMES, Flat, dumps

FORMAT, VERSION = "smidgen checkpoint", 1
TABLE = "__crc32__"
MAX_HEADER = 100 << 20  # bytes; what safetensors itself reads


@dataclass(frozen=True)
class Entry:
    """A tensor in the body: bytes [start, stop)."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Layout:
    """Attributes: tree: of the state (JSON). head: length and header as they are in the file. chunk: bytes."""

    tree: Any
    step: int
    entries: dict[str, Entry]  # in the order of the file, without the table
    chunk: int
    head: bytes

    @property
    def body(self) -> int:
        """Bytes of all tensors."""
        return max((e.stop for e in self.entries.values()), default=0)

    @property
    def chunks(self) -> int:
        return -(-self.body // self.chunk)

    @property
    def total(self) -> int:
        """Bytes of the file."""
        return len(self.head) + self.body + table_bytes(self.chunks)

    def span(self, index: int) -> tuple[int, int]:
        """Chunk `index` in the body."""
        return index * self.chunk, min((index + 1) * self.chunk, self.body)

    def parts(self) -> Iterator[list[tuple[str, int, int]]]:
        """Per chunk: which bytes [from, to) of which tensor it holds, in order."""
        todo = iter((name, e) for name, e in self.entries.items() if e.stop > e.start)
        name, entry = next(todo, ("", Entry("", (), 0, 0)))
        for index in range(self.chunks):
            start, stop = self.span(index)
            found = []
            while start < stop:
                end = min(stop, entry.stop)
                found.append((name, start - entry.start, end - entry.start))
                start = end
                if end == entry.stop:
                    name, entry = next(todo, (name, entry))
            yield found


def table_bytes(chunks: int) -> int:
    return 4 * (chunks + 2)


def plan(flat: Flat, step: int, chunk: int) -> Layout:
    """The layout of a state. Tensors with large elements come first, so that all are aligned."""
    order = sorted(flat.tensors.items(), key=lambda item: -item[1].element_size())
    entries, end = {}, 0
    for name, tensor in order:
        entries[name] = Entry(NAMES[tensor.dtype], tuple(tensor.shape), end, end + tensor.nbytes)
        end += tensor.nbytes
    tree = dumps(flat.tree)
    size = table_bytes(-(-end // chunk))
    header: dict[str, Any] = {
        "__metadata__": {
            "format": FORMAT,
            "version": str(VERSION),
            "step": str(step),
            "chunk": str(chunk),
            "tree": tree,
        }
    }
    for name, e in entries.items():
        header[name] = {"dtype": e.dtype, "shape": list(e.shape), "data_offsets": [e.start, e.stop]}
    header[TABLE] = {"dtype": "U32", "shape": [size // 4], "data_offsets": [end, end + size]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise BadInput(
            f"The numbers and texts beside the tensors of this state take {len(text):,} bytes, more than"
            f" {MAX_HEADER:,}: keep long lists as arrays."
        )
    return Layout(flat.tree, step, entries, chunk, len(text).to_bytes(8, "little") + text)


def table(layout: Layout, crcs: list[int]) -> bytes:
    """The table of checksums, given those of the chunks."""
    first = np.array([zlib.crc32(layout.head), *crcs], "<u4").tobytes()
    return first + zlib.crc32(first).to_bytes(4, "little")


def read_layout(fd: int, where: str) -> Layout:
    """The layout of an open file, checked against the file's size.

    Raises:
        CheckpointCorrupt: cut short, damaged, or not a checkpoint. BadInput: written by a newer version.
    """
    size = os.fstat(fd).st_size
    start = os.pread(fd, 8, 0)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > MAX_HEADER or 8 + length > size:
        raise corrupt(where, "its header is longer than allowed or than the file")
    head = start + read_exactly(fd, length, 8, where)
    try:
        header = json.loads(head[8:])
        meta = header.pop("__metadata__")
        version = int(meta["version"]) if meta["format"] == FORMAT else 0
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
        raise corrupt(where, "its header cannot be read") from None
    check_version(version, where)
    try:
        step, chunk, tree = int(meta["step"]), int(meta["chunk"]), json.loads(meta["tree"])
        entries = _entries(header, chunk)
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
        raise corrupt(where, "its table does not match its contents") from None
    layout = Layout(tree, step, entries, chunk, head)
    if layout.total != size:
        raise corrupt(where, f"{size:,} bytes instead of {layout.total:,}")
    return layout


def read_table(fd: int, layout: Layout, where: str) -> list[int]:
    """CRC-32 of each chunk; the table itself and the header are checked."""
    size = table_bytes(layout.chunks)
    data = read_exactly(fd, size, len(layout.head) + layout.body, where)
    crcs = [int(v) for v in np.frombuffer(data, "<u4")]
    if crcs[-1] != zlib.crc32(data[:-4]) or crcs[0] != zlib.crc32(layout.head):
        raise corrupt(where, "its header or its table of checksums was changed")
    return crcs[1:-1]


def check_version(version: int, where: str) -> None:
    """Raises BadInput where a newer smidgen wrote this, CheckpointCorrupt where none did."""
    if version > VERSION:
        raise BadInput(
            f"{where} was written by a newer smidgen (format {version}; this one reads {VERSION} at most): update it."
        )
    if version < 1:
        raise corrupt(where, "it is not a smidgen checkpoint")


def corrupt(where: str, why: str) -> CheckpointCorrupt:
    return CheckpointCorrupt(f"{where} is not a whole checkpoint ({why}): it is damaged or was edited.")


def read_exactly(fd: int, size: int, offset: int, where: str) -> bytes:
    data = os.pread(fd, size, offset)
    while len(data) < size:
        more = os.pread(fd, size - len(data), offset + len(data))
        if not more:
            raise corrupt(where, "cut short")
        data += more
    return data


def source_bytes(tensor: Tensor, start: int, stop: int) -> Tensor:
    """Bytes [start, stop) of a tensor in C order, as uint8; of one that is not contiguous, only the rows it takes."""
    import torch

    if tensor.is_contiguous():
        return tensor.reshape(-1).view(torch.uint8)[start:stop]
    row = tensor.nbytes // tensor.shape[0]
    first, last = start // row, -(-stop // row)
    rows = tensor[first:last].contiguous().reshape(-1).view(torch.uint8)
    return rows[start - first * row : stop - first * row]


def _entries(header: Mapping[str, Any], chunk: int) -> dict[str, Entry]:
    if chunk < 1:
        raise ValueError
    found, end = {}, 0
    for name, value in sorted(header.items(), key=lambda kv: tuple(kv[1]["data_offsets"])):
        shape, (start, stop) = value["shape"], value["data_offsets"]
        if not all(type(v) is int and v >= 0 for v in [*shape, start, stop]):
            raise ValueError
        count = DTYPES[value["dtype"]].itemsize
        for axis in shape:
            count *= axis
        if start != end or stop - start != count:
            raise ValueError
        found[name] = Entry(value["dtype"], tuple(shape), start, stop)
        end = stop
    last = found.pop(TABLE)
    if last.stop != end or last.stop - last.start != table_bytes(-(-last.start // chunk)):
        raise ValueError
    return found
