"""The work folder of a compression: what it worked out, on the disk as soon as it is there, so that after any stop the
same command goes on from it.

results.jsonl    a line for each result: its key, its value or its file of tensors, the seconds spent so far
000001.safetensors    tensors of a result, by the digest that its line has

Data only. The folder belongs to one model, one set of calibration data and one version of the code; what lies there of
others, or is damaged, is not used. It is removed when the compression has ended well.
"""

import contextlib
import functools
import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from smidgen.compress.subject import Subject
from smidgen.kit.errors import BadInput, SmidgenError
from smidgen.kit.files import digest, read_bytes, write_bytes
from smidgen.kit.linefile import LineFile
from smidgen.kit.lock import NAME as LOCK
from smidgen.kit.lock import FolderLock

FILE = "results.jsonl"
MOST_BYTES = 64 << 30  # of a file of tensors
SAME = 1e-3  # that an answer of the same network may differ by, relative to the largest: another number of threads
_OURS = re.compile(r"\.?\d{6,}\.safetensors(\..*)?|results\.jsonl")
Key = list[Any]  # plain data


class WorkFolder:
    """Results by key. Used in a `with` block, which holds the folder; it is removed when the block ends well, and
    stays when it is left by a stop.

    Args:
        folder: made when absent; None: nothing is kept.
        space: a hash of what the work is, see `identity`.
        fresh: what lies there is not used.

    Attributes:
        before: seconds of earlier sittings. notes: sentences for the person.

    Raises:
        BadInput: on entry; another process works there, or the folder cannot be made.
    """

    def __init__(
        self, folder: Path | None, space: str, *, fresh: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.folder, self.space, self.fresh, self.clock = folder, space, fresh, clock
        self.before, self.notes = 0.0, []
        self._rows: dict[str, dict[str, Any]] = {}
        self._lines = 0
        self._file: LineFile | None = None

    def __enter__(self) -> Self:
        self._began = self.clock()
        if self.folder is None:
            return self
        self._made = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"{self.folder} cannot be made ({error.strerror}): name another place with --out.") from None
        self._lock = FolderLock(
            self.folder, f"{self.folder}: another compression works there. Wait for it, or name another --out."
        )
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.folder is None:
            return
        try:
            if error is None or (self._made and isinstance(error, SmidgenError)):
                self._close()
                self._remove()
                (self.folder / LOCK).unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    self.folder.rmdir()
            else:
                self.write(["stopped"], None)
                self._close()
        finally:
            self._lock.release()

    def __contains__(self, key: Key) -> bool:
        return _name(key) in self._rows

    def value(self, key: Key, make: Callable[[], Any]) -> Any:
        """Plain data: as kept, or made now and kept."""
        found = self.read(key)
        if found is not None:
            return found[0]
        made = make()
        self.write(key, made)
        return made

    def read(self, key: Key) -> tuple[Any, dict[str, Tensor]] | None:
        """Value and tensors as kept; None: there is none, or its file is damaged."""
        row = self._rows.get(_name(key))
        if row is None or self.folder is None:
            return None
        if "file" not in row:
            return row["value"], {}
        from safetensors.torch import load

        try:
            data = read_bytes(self.folder / row["file"], MOST_BYTES)
            if digest(data) != row["digest"]:
                raise BadInput(f"{row['file']} is not what was written")
        except BadInput:
            self._rows.pop(_name(key))
            self.notes.append("A part of what an earlier run left was damaged, and was worked out again.")
            return None
        return row["value"], load(data)

    def write(self, key: Key, value: Any, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Keeps a result, in place of an older one of this key. On a full disk the work goes on, and says so."""
        if self._file is None or self.folder is None:
            return
        name = _name(key)
        row: dict[str, Any] = {"key": key, "value": value, "spent": round(self.spent(), 3)}
        try:
            if tensors is not None:
                row |= self._write_tensors(tensors)
            self._file.add([row])
            self._lines += 1
            old, self._rows[name] = self._rows.get(name), row
            if old is not None and "file" in old:
                (self.folder / old["file"]).unlink(missing_ok=True)
        except OSError as error:
            self._close()
            self.notes.append(f"What was worked out could not be kept any more ({error.strerror}).")

    def agrees(self, key: Key, tensor: Tensor) -> None:
        """Begins anew if another tensor was kept: the same weights may stand in a network whose code has changed."""
        found = self.read(key)
        said = tensor.detach().cpu().float()
        if found is not None:
            kept = found[1]["tensor"]
            bound = SAME * kept.abs().max().clamp(min=1e-12)
            if kept.shape == said.shape and bool(((kept - said).abs() <= bound).all()):
                return
            self._anew()
        self.write(key, None, {"tensor": said})

    def spent(self) -> float:
        """Seconds of all sittings."""
        return self.before + self.clock() - self._began

    def _open(self) -> None:
        if self.fresh:
            self._remove()
        try:
            self._begin()
        except BadInput:
            self._anew()
        if self._rows:
            self.notes.append(
                f"It went on from what an earlier run had worked out in {self.before:.0f} s, which count into the time."
            )

    def _anew(self) -> None:
        self.notes.append(
            f"What an earlier run left in {self.folder} was damaged, or of another model, other calibration data or "
            "another version of smidgen: it was not used."
        )
        self._close()
        self._remove()
        self._begin()

    def _begin(self) -> None:
        assert self.folder is not None
        file = LineFile(
            self.folder / FILE, self.space, other="other work", same="model", user="compression", line="result"
        )
        file.__enter__()
        try:
            self._rows = {}
            for number, row in file.rows.items():
                try:
                    self._rows[_name(row["key"])] = {k: row[k] for k in ("value", "file", "digest") if k in row}
                    self.before = max(self.before, float(row["spent"]))
                except (KeyError, TypeError, ValueError):
                    raise file.damaged(number) from None
            self._rows.pop(_name(["stopped"]), None)
        except BaseException:
            file.__exit__()
            raise
        self._file, self._lines = file, len(file.rows)

    def _write_tensors(self, tensors: Mapping[str, Tensor]) -> dict[str, str]:
        from safetensors.torch import save

        assert self.folder is not None
        data = save({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()})
        name = f"{self._lines + 1:06d}.safetensors"  # no line names it yet: what a kill left of it is written over
        write_bytes(self.folder / name, data)
        return {"file": name, "digest": digest(data)}

    def _close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk
                self._file.__exit__()
        self._file = None

    def _remove(self) -> None:
        """What such work makes, and nothing else that lies there."""
        assert self.folder is not None
        self._rows, self.before, self._lines = {}, 0.0, 0
        for path in self.folder.iterdir():
            if _OURS.fullmatch(path.name):
                path.unlink()


def beside(place: Path) -> Path:
    """Where the work on a folder lies while it goes on."""
    place = Path(place).resolve()
    return place.with_name(f".{place.name}.compress")


def identity(*parts: Any) -> str:
    """A hash of subjects, networks, batches, arrays and plain data; and of our code and torch's version: results of
    another version are not mixed."""
    return digest(_code(), torch.__version__, *(_digest(p) for p in parts))


@functools.cache
def _code() -> str:
    root = Path(__file__).parents[1]
    return digest(*(p.read_bytes() for p in sorted(root.rglob("*.py"))))


def _digest(part: Any) -> str:
    if isinstance(part, Subject):
        return _digest([part.model, part.learn, part.choose, part.unit])
    if isinstance(part, torch.nn.Module):
        return _digest([type(part).__qualname__, repr(part), part.state_dict()])
    if isinstance(part, Tensor):
        raw = part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return digest("tensor", str(part.dtype), str(tuple(part.shape)), raw.tobytes())
    if isinstance(part, np.ndarray) and not part.dtype.hasobject:
        return digest("array", part.dtype.str, str(part.shape), part.tobytes())
    if isinstance(part, Mapping):
        return digest("mapping", *(_digest(x) for pair in part.items() for x in pair))
    if isinstance(part, list | tuple):
        return digest("list", *(_digest(p) for p in part))
    return digest("plain", part if isinstance(part, bytes | str) else repr(part))


def _name(key: Key) -> str:
    return json.dumps(key, sort_keys=True)
