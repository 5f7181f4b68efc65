"""One process at a time works in a folder; the system lets go of the lock when the process ends, however it ends."""

import os
from pathlib import Path
from typing import Self

from smidgen.kit.errors import BadInput

NAME = ".lock"
_held_here: set[str] = set()  # a process's own locks do not exclude each other


class FolderLock:
    """Held from when it is made until `release`, or to the end of a `with` block.

    Args:
        folder: exists. taken: the sentence where another holds it.
    Raises:
        BadInput: `taken`; another process, or another part of this one, holds the folder.
    """

    def __init__(self, folder: Path, taken: str) -> None:
        self._key, self._fd = str(Path(folder).resolve()), -1
        try:
            import fcntl
        except ImportError:  # Windows: two users of one folder are the caller's care
            return
        if self._key in _held_here:  # to open and close the file again would let go of it
            raise BadInput(taken)
        self._fd = os.open(Path(folder) / NAME, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            self._fd = -1
            raise BadInput(taken) from None
        _held_here.add(self._key)

    def release(self) -> None:
        """Lets go; a second call does nothing."""
        if self._fd >= 0:
            _held_here.discard(self._key)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
