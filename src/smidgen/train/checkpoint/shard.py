"""Writing one shard file: sized first, then its chunks in any order, then the checksums, then on the disk."""

import contextlib
import errno
import os
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

from smidgen.kit.errors import bad
from smidgen.kit.files import digest
from smidgen.train.checkpoint.layout import Layout, table

SYNC_EVERY = 128 << 20  # bytes: so that the last sync of a large file is short


class Throttle:
    """At most so many bytes a second, on average: a slow disk for measurements, or room for others on a shared one."""

    def __init__(self, bytes_per_second: float | None) -> None:
        if bytes_per_second is not None and not bytes_per_second > 0:
            raise bad("throttle", "more than 0 bytes a second, or None", bytes_per_second)
        self.rate = bytes_per_second
        self._free = 0.0  # when the next write may begin

    def pay(self, size: int) -> None:
        if self.rate is not None:
            self._free = max(self._free, time.monotonic()) + size / self.rate
            time.sleep(max(0.0, self._free - time.monotonic()))


@dataclass(frozen=True)
class Written:
    """What a manifest says of a shard; `digest` is of its header and checksums."""

    bytes: int
    digest: str


class ShardFile:
    """A new file that takes the chunks of one layout."""

    def __init__(self, path: Path, layout: Layout, throttle: Throttle) -> None:
        self.path, self.layout, self.throttle = Path(path), layout, throttle
        self.crcs = [0] * layout.chunks
        self._unsynced = 0
        self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            self._reserve()
            self._write(layout.head, 0)
        except BaseException:
            self.abandon()
            raise

    def put(self, index: int, data: memoryview, sync: bool) -> None:
        """Writes chunk `index`; the interpreter is free for others meanwhile."""
        self.crcs[index] = zlib.crc32(data)
        self.throttle.pay(len(data))
        self._write(data, len(self.layout.head) + self.layout.span(index)[0])
        self._unsynced += len(data)
        if sync and self._unsynced >= SYNC_EVERY:
            os.fdatasync(self.fd)
            self._unsynced = 0

    def finish(self, sync: bool) -> Written:
        """Writes the checksums and closes; with `sync` all bytes are on the disk then."""
        checks = table(self.layout, self.crcs)
        self._write(checks, len(self.layout.head) + self.layout.body)
        if sync:
            os.fsync(self.fd)
        fd, self.fd = self.fd, -1
        os.close(fd)
        return Written(self.layout.total, digest(self.layout.head, checks))

    def abandon(self) -> None:
        """Closes a file that was not finished; whoever made its folder removes it."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def _reserve(self) -> None:
        """Room for all of the file, so that a full disk is known at once; where the system cannot, only the size."""
        try:
            os.posix_fallocate(self.fd, 0, self.layout.total)
        except (AttributeError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
            os.ftruncate(self.fd, self.layout.total)

    def _write(self, data: bytes | memoryview, offset: int) -> None:
        view = memoryview(data)
        while view:
            done = os.pwrite(self.fd, view, offset)
            view, offset = view[done:], offset + done


def sync_folder(path: Path) -> None:
    """Puts the names in a folder on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
