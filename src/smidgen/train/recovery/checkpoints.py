"""Checkpoints to roll back to, of all parts or of one."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from smidgen.kit.errors import bad
from smidgen.train.checkpoint import CheckpointFailed, LazyCheckpointer, load, load_newest, published


class Checkpoints:
    """Saves every `every` updates while training goes on, and before the first.

    Checkpoints are numbered by iterations done, which never repeat, not by updates, which do after a roll-back.
    One that cannot be written is warned of; training goes on.
    """

    def __init__(self, folder: Path | str, every: int, **options: Any) -> None:
        if every < 1:
            raise bad("every", "at least 1 update", every)
        self.folder, self.every = Path(folder), every
        self._saver = LazyCheckpointer(self.folder, on_failure=_warn, **options)

    def maybe_save(self, state: dict[str, Any], iterations: int, update: int) -> None:
        """Saves when the update is due. The one before is on the disk by then, so that machines differ by one."""
        if update % self.every == 0:
            self._saver.wait_durable()
            self._saver.save(state, iterations)

    def before_update(self) -> None:
        """Waits until nothing reads the weights any more."""
        self._saver.before_update()

    def settle(self) -> None:
        """Returns when all checkpoints begun are on the disk."""
        self._saver.wait_durable()

    def newest(self) -> dict[str, Any]:
        """The state to roll back to. Raises CheckpointFailed: none was ever written."""
        self.settle()
        found = load_newest(self.folder)
        if found is None:
            raise CheckpointFailed(f"{self.folder}: no checkpoint was written to go back to.")
        return found.state

    def close(self) -> None:
        self._saver.close()


def newest_common(folders: Iterable[Path]) -> int | None:
    """The number of the newest checkpoint that lies complete in every folder."""
    common = set.intersection(*({source.step for source in published(folder)} for folder in folders))
    return max(common, default=None)


def numbered(folder: Path, number: int) -> dict[str, Any]:
    """The state of one checkpoint."""
    return load([source for source in published(folder) if source.step == number][-1])


def _warn(failure: CheckpointFailed) -> None:
    warnings.warn(str(failure), RuntimeWarning, stacklevel=2)
