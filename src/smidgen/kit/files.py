"""Files that are whole or absent, arrays as safetensors under our own limits, and content hashes."""

import contextlib
import functools
import glob
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smidgen.kit.errors import BadInput, SmidgenError

if TYPE_CHECKING:  # who reads text only needs no array
    import numpy as np

MAX_HEADER = 8 << 20  # bytes; the format itself allows 100 MB, our folders need a few KB
MAX_TENSORS = 50_000
MAX_JSON = 64 << 20
MAX_VALUES = 2_000_000  # of a JSON file: each takes up to 70 bytes in memory, and 3 in the file
MAX_AXES = 64
_RUST = re.compile(r"\(os error (\d+)\)")  # in what libraries in Rust, safetensors among them, say of a disk
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "U16": "<u2",
    "U32": "<u4",
    "U64": "<u8",
    "BOOL": "|b1",
}


def write_bytes(path: Path, data: bytes) -> None:
    """Writes the file as a whole or not at all: temporary name, fsync, rename."""
    path = Path(path)
    _sweep(path)
    while True:
        fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path))
        lock = os.dup(fd) if _lock(fd) else -1
        if lock < 0 or os.path.lexists(temporary):
            break
        os.close(fd)  # a sweeper was quicker than the lock
        os.close(lock)
    try:
        with os.fdopen(fd, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        _name(error, path)
        raise
    finally:
        if lock >= 0:
            os.close(lock)


def write_json(path: Path, value: Any) -> None:
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def read_json(path: Path, limit: int = MAX_JSON) -> Any:
    """JSON from a file of at most `limit` bytes and MAX_VALUES values. Raises BadInput when it is none, or larger."""
    data = read_bytes(path, limit)
    if data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_VALUES:
        raise BadInput(f"{path} holds more than {MAX_VALUES:,} values, the most that are read: it is not one of ours.")
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not valid JSON ({str(error)[:80]}): the file is damaged or was edited.") from None


def tensor_bytes(arrays: "dict[str, np.ndarray]") -> bytes:
    """The arrays in safetensors form; the same arrays always give the same bytes."""
    import numpy as np
    from safetensors.numpy import save

    return save({k: np.asarray(v, order="C") for k, v in sorted(arrays.items())})


def read_tensors(path: Path, limit: int = 4 << 30) -> "dict[str, np.ndarray]":
    """Arrays of a safetensors file; everything is checked before anything is allocated.

    Raises:
        BadInput: truncated, overlapping, oversized or malformed.
    """
    return parse_tensors(read_bytes(path, limit), str(path))


def parse_tensors(data: bytes, where: str = "tensors") -> "dict[str, np.ndarray]":
    """Arrays from safetensors bytes, as `read_tensors`."""
    import numpy as np

    def fail(why: str) -> BadInput:
        return BadInput(f"{where} is not a whole safetensors file ({why}): the file is damaged or was edited.")

    if len(data) < 8:
        raise fail("shorter than its header")
    size = int.from_bytes(data[:8], "little")
    if size > MAX_HEADER or 8 + size > len(data):
        raise fail("its header is longer than allowed or than the file")
    try:
        header = json.loads(bytes(data[8 : 8 + size]).decode())
    except (ValueError, RecursionError):
        raise fail("its header is not JSON") from None
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise fail("its header is not a table of tensors")
    header.pop("__metadata__", None)
    body = memoryview(data)[8 + size :]
    out, end = {}, 0
    try:
        entries = sorted(header.items(), key=lambda kv: tuple(kv[1]["data_offsets"]))
        for name, entry in entries:
            dtype, shape, (start, stop) = np.dtype(_DTYPES[entry["dtype"]]), entry["shape"], entry["data_offsets"]
            if len(shape) > MAX_AXES or not all(type(v) is int and 0 <= v < 1 << 63 for v in [*shape, start, stop]):
                raise ValueError
            count = 1
            for axis in shape:
                count *= axis
            if start != end or stop - start != count * dtype.itemsize or stop > len(body):
                raise ValueError
            out[name] = np.frombuffer(body[start:stop], dtype).reshape(shape).copy()
            end = stop
    except (KeyError, TypeError, ValueError, OverflowError):
        raise fail("its table does not match its contents") from None
    if end != len(body):
        raise fail("it has bytes that no tensor owns")
    return out


def digest(*parts: bytes | str) -> str:
    """SHA-256 of the parts, each with its length, as 32 hex digits."""
    h = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        h.update(len(data).to_bytes(8, "little"))
        h.update(data)
    return h.hexdigest()[:32]


def file_digest(path: Path | str) -> str:
    """`digest` of a file's bytes, which are read once while its size and time stay."""
    about = os.stat(path)
    return _digest_of(str(path), about.st_size, about.st_mtime_ns)


@functools.cache
def _digest_of(path: str, size: int, changed: int) -> str:
    return digest(Path(path).read_bytes())


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder that appears under its name only when the block ends well; replaces an older one of the same name, on
    Linux in one step, so that there is one at every moment. What lies in it, whoever wrote it, is on the disk by then;
    a disk that fails is an OSError, also where a library has an error of its own for that."""
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary, lock = _held_folder(path)
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file() and not file.is_symlink():
                _sync(file)
        os.chmod(temporary, 0o755)
        if not path.exists():
            os.replace(temporary, path)
        elif _exchange(temporary, path):
            remove_tree(temporary)  # it is the older one now
        else:
            aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
            try:
                os.replace(path, aside / "old")
                os.replace(temporary, path)
            except BaseException:
                if (aside / "old").exists():
                    os.replace(aside / "old", path)  # if this fails too, it is at least still there
                remove_tree(aside)
                raise
            remove_tree(aside)
    except BaseException as error:
        remove_tree(temporary)
        inside = getattr(error, "filename", None)
        if isinstance(inside, str | Path) and Path(inside).is_relative_to(temporary):
            _name(error, path / Path(inside).relative_to(temporary))
        if not isinstance(error, SmidgenError) and (number := _RUST.search(str(error))):
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
        raise
    finally:
        if lock >= 0:
            os.close(lock)


def _held_folder(path: Path) -> tuple[Path, int]:
    """A new folder beside `path`, and what holds its lock until it is closed (-1 where there are no locks)."""
    while True:
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=_prefix(path)))
        if os.name != "posix":
            return temporary, -1
        try:
            lock = os.open(temporary, os.O_RDONLY)
        except FileNotFoundError:  # a sweeper was quicker
            continue
        except BaseException:
            remove_tree(temporary)
            raise
        if not _lock(lock) or temporary.exists():
            return temporary, lock
        os.close(lock)  # a sweeper was quicker than the lock: one made again under its name would not be locked


def _prefix(path: Path) -> str:
    return f".{path.name}.unfinished-"


def _name(error: BaseException, path: Path) -> None:
    """Lets an error of the system speak of the file as a person knows it."""
    if isinstance(error, OSError):
        error.filename, error.filename2 = str(path), None


def settle(temporary: Path, path: Path) -> None:
    """A file that a library wrote gets its name, when all of it is on the disk."""
    _sync(Path(temporary))
    os.replace(temporary, path)


def _sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _lock(fd: int, wait: bool = True) -> bool:
    """Locks what is open there until it is closed, or the process ends in whatever way. False: not possible."""
    try:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def _sweep(path: Path) -> None:
    """Removes what processes that were killed left of this file or folder; who is still writing holds a lock."""
    if os.name != "posix":
        return
    for stray in path.parent.glob(glob.escape(_prefix(path)) + "*"):
        with contextlib.suppress(OSError):
            fd = os.open(stray, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                if _lock(fd, wait=False):
                    remove_tree(stray) if stray.is_dir() else stray.unlink(missing_ok=True)
            finally:
                os.close(fd)


def _exchange(one: Path, other: Path) -> bool:
    """Each gets the other's name, in one step. False: nothing was done, this system or disk cannot."""
    import ctypes

    try:
        call = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return call(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def remove_tree(path: Path) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)


def read_bytes(path: Path, limit: int) -> bytes:
    """A regular file of at most `limit` bytes. Raises BadInput when it is missing, a link, or larger."""
    path = Path(path)
    if path.is_symlink() or not path.is_file():
        raise BadInput(f"{path}: expected a regular file, found {'a link' if path.is_symlink() else 'none'}.")
    if path.stat().st_size > limit:
        raise BadInput(f"{path} has {path.stat().st_size:,} bytes, more than the {limit:,} allowed here.")
    return path.read_bytes()
