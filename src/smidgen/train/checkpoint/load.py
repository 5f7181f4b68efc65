"""Reading checkpoints back: one file, the newest of a folder, or whole tensors from the pieces of all ranks."""

import mmap as mapping
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smidgen.kit.errors import BadInput
from smidgen.kit.files import digest
from smidgen.train.checkpoint.errors import CheckpointCorrupt
from smidgen.train.checkpoint.folder import Published, manifests, read_manifest
from smidgen.train.checkpoint.layout import Layout, corrupt, read_exactly, read_layout, read_table, table_bytes
from smidgen.train.checkpoint.tree import DTYPES, Piece, unflatten

READ = 16 << 20  # bytes at a time


@dataclass(frozen=True)
class Loaded:
    """A state and where it comes from; `skipped`: newer checkpoints that were damaged, a sentence each."""

    state: Any
    step: int
    source: Published
    skipped: tuple[str, ...] = ()


def inspect(path: Path) -> Layout:
    """What a file holds, by its header alone: names, types and shapes, and the tree."""
    fd = _open(path)
    try:
        return read_layout(fd, str(path))
    finally:
        os.close(fd)


def load_file(path: Path, *, map_location: Any = "cpu", mmap: bool = False, whole: Published | None = None) -> Any:
    """The state in a file, every byte checked.

    Args:
        map_location: device of the tensors (`Piece`s and tensors; numpy arrays stay).
        mmap: tensors are private, writable views of the file instead of copies: pages come when they are touched.
        whole: the manifest that must agree with the file.
    Raises:
        CheckpointCorrupt: a byte differs from what was written. BadInput: no such file, or from a newer version.
    """
    fd = _open(path)
    try:
        layout = read_layout(fd, str(path))
        crcs = read_table(fd, layout, str(path))
        if whole is not None:
            _compare(fd, layout, whole, Path(path))
        tensors = (_mapped if mmap else _copied)(fd, layout, _Check(crcs, layout, str(path)), str(path))
        return _move(_state(layout, tensors, str(path)), torch.device(map_location))
    finally:
        os.close(fd)


def load(source: Published, rank: int = 0, *, map_location: Any = "cpu", mmap: bool = False) -> Any:
    """The state that a rank saved in a published checkpoint. Raises as `load_file`."""
    if not 0 <= rank < source.world:
        raise BadInput(
            f"{source.folder}: step {source.step} was saved by {source.world} ranks; there is no rank {rank}."
        )
    return load_file(source.file(rank), map_location=map_location, mmap=mmap, whole=source)


def load_newest(folder: Path, rank: int = 0, *, map_location: Any = "cpu", mmap: bool = False) -> Loaded | None:
    """The newest checkpoint that is whole; None where nothing was ever published.

    Raises:
        CheckpointCorrupt: there are checkpoints, and all are damaged. BadInput: the newest is from a newer version.
    """
    skipped: list[str] = []
    for name in reversed(manifests(folder)):
        try:
            source = read_manifest(folder, name)
            state = load(source, rank, map_location=map_location, mmap=mmap)
            return Loaded(state, source.step, source, tuple(skipped))
        except CheckpointCorrupt as error:
            skipped.append(str(error))
    if skipped:
        raise CheckpointCorrupt(f"{folder}: every checkpoint here is damaged. {skipped[0]}")
    return None


def gather(source: Published) -> Any:
    """Rank 0's state with each `Piece` replaced by its whole tensor, put together from the files of all ranks.

    Raises:
        CheckpointCorrupt: damaged, or pieces that do not cover their tensor exactly.
    """
    whole: dict[str, Tensor] = {}
    filled: dict[str, int] = {}
    first = None
    for rank in range(source.world):
        state = load(source, rank)
        first = state if rank == 0 else first
        for piece in _pieces(state):
            made = whole.setdefault(piece.name, torch.empty(piece.whole, dtype=piece.tensor.dtype))
            if tuple(made.shape) != piece.whole or made.dtype != piece.tensor.dtype:
                raise corrupt(str(source.file(rank)), f"ranks disagree on the shape of '{piece.name}'")
            made[tuple(slice(s, s + n) for s, n in zip(piece.start, piece.tensor.shape, strict=True))] = piece.tensor
            filled[piece.name] = filled.get(piece.name, 0) + piece.tensor.numel()
    for name, made in whole.items():
        if filled[name] != made.numel():
            raise corrupt(str(source.folder / source.data), f"the pieces of '{name}' do not make a whole")
    return _walk(first, lambda v: whole[v.name] if isinstance(v, Piece) else v)


class _Check:
    """Compares bytes that pass by, in order, with the checksums of their chunks."""

    def __init__(self, crcs: list[int], layout: Layout, where: str) -> None:
        self.crcs, self.layout, self.where = crcs, layout, where
        self.at, self.crc = 0, 0

    def feed(self, data: memoryview) -> None:
        while data:
            index = self.at // self.layout.chunk
            stop = self.layout.span(index)[1]
            part = data[: stop - self.at]
            self.crc = zlib.crc32(part, self.crc)
            self.at, data = self.at + len(part), data[len(part) :]
            if self.at == stop:
                if self.crc != self.crcs[index]:
                    raise corrupt(self.where, f"chunk {index} of {len(self.crcs)} differs from its checksum")
                self.crc = 0


def _copied(fd: int, layout: Layout, check: _Check, where: str) -> dict[str, Tensor]:
    """Each tensor in memory of its own, so that those dropped early free theirs."""
    tensors = {}
    for name, e in layout.entries.items():
        tensor = torch.empty(e.stop - e.start, dtype=torch.uint8)
        view = tensor.numpy().data
        for start in range(0, len(view), READ):
            part = view[start : start + READ]
            at = len(layout.head) + e.start + start
            done = os.preadv(fd, [part], at)
            if done < len(part):
                part[done:] = read_exactly(fd, len(part) - done, at + done, where)
            check.feed(part)
        tensors[name] = tensor.view(DTYPES[e.dtype]).reshape(e.shape)
    return tensors


def _mapped(fd: int, layout: Layout, check: _Check, where: str) -> dict[str, Tensor]:
    memory = mapping.mmap(fd, layout.total, access=mapping.ACCESS_COPY)
    head = len(layout.head)
    check.feed(memoryview(memory)[head : head + layout.body])
    tensors = {}
    for name, e in layout.entries.items():
        dtype = DTYPES[e.dtype]
        count = (e.stop - e.start) // dtype.itemsize
        flat = torch.frombuffer(memory, dtype=dtype, count=count, offset=head + e.start) if count else torch.empty(0)
        tensors[name] = flat.to(dtype).reshape(e.shape)
    return tensors


def _state(layout: Layout, tensors: dict[str, Tensor], where: str) -> Any:
    try:
        return unflatten(layout.tree, tensors)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, RecursionError):
        raise corrupt(where, "its tree does not match its tensors") from None


def _compare(fd: int, layout: Layout, source: Published, path: Path) -> None:
    checks = read_exactly(fd, table_bytes(layout.chunks), len(layout.head) + layout.body, str(path))
    expected = dict(source.shards)[path.name]
    if (layout.total, digest(layout.head, checks)) != (expected.bytes, expected.digest):
        raise corrupt(str(path), "it is not the file that its manifest names")


def _pieces(state: Any) -> Iterator[Piece]:
    found: list[Piece] = []
    _walk(state, lambda v: found.append(v) if isinstance(v, Piece) else v)
    return iter(found)


def _walk(value: Any, change: Any) -> Any:
    """The state with `change` applied to what is no container."""
    if type(value) is dict:
        return {k: _walk(v, change) for k, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_walk(v, change) for v in value)
    return change(value)


def _move(state: Any, device: torch.device) -> Any:
    if device.type == "cpu":
        return state
    moved: dict[int, Tensor] = {}  # tied tensors stay tied

    def move(value: Any) -> Any:
        if isinstance(value, Tensor):
            return moved.setdefault(id(value), value.to(device)) if id(value) not in moved else moved[id(value)]
        if isinstance(value, Piece):
            return Piece(value.name, value.tensor.to(device), value.start, value.whole)
        return value

    return _walk(state, move)


def _open(path: Path) -> int:
    path = Path(path)
    if path.is_symlink() or not path.is_file():
        raise CheckpointCorrupt(
            f"{path}: expected a checkpoint file, found {'a link' if path.is_symlink() else 'none'}."
        )
    return os.open(path, os.O_RDONLY)
