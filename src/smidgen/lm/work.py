"""The folder `OUT/.train` of a training: who works in it, what lies there, and how it ends in a model.

setup.json      what was begun             log.jsonl    a line for each update
tokenizer.json  parts/ held/ judged/       spent.json   seconds of all sittings
checkpoints/    stable/: one from before the fall, where it is kept to be trained further
finished        the model was delivered, and all this stayed: a longer training goes on from stable/
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from smidgen.kit.errors import BadInput
from smidgen.kit.files import read_json, remove_tree, write_bytes, write_json
from smidgen.kit.lock import NAME as LOCK
from smidgen.kit.lock import FolderLock
from smidgen.lm.model import LanguageModel, save
from smidgen.train.checkpoint.folder import manifests

WORK, SETUP, LOG, SPENT, FINISHED = ".train", "setup.json", "log.jsonl", "spent.json", "finished"
CHECKPOINTS, STABLE = "checkpoints", "stable"


@contextlib.contextmanager
def working(out: Path, resume: bool, begun: float | None = None) -> Iterator[Path]:
    """Holds the training of `out` and gives its folder; removes what it made where nothing was begun, and counts the
    time where a stop ends it.

    Args:
        begun: `time.monotonic()` of the command; default: now.
    Raises:
        BadInput: another command works there; something else is there, or, on resuming, nothing to go on with.
    """
    work = out / WORK
    if resume and not (work / SETUP).is_file():
        raise _nothing(out)
    made = [p for p in (work, out) if not p.exists()]
    work.mkdir(parents=True, exist_ok=True)
    with FolderLock(work, f"{out}: another training goes on there. Wait for it, or name another --out."):
        try:
            if not resume:
                _fresh(out, work)
            spent = Spent(work, time.monotonic() if begun is None else begun, lambda error: None)
            try:
                yield work
            except BaseException:
                if (work / SETUP).is_file():
                    spent.keep()
                raise
        finally:
            if made and not (work / SETUP).is_file():
                shutil.rmtree(work, ignore_errors=True)
                with contextlib.suppress(OSError):
                    if out in made:
                        out.rmdir()


def _nothing(out: Path) -> BadInput:
    if (out / "config.json").is_file():
        return BadInput(
            f"{out} is a finished model: there is nothing to go on with. What is trained with --keep-stable can be "
            "trained further with --resume --more."
        )
    return BadInput(f"There is nothing to go on with in {out}: no training was begun there.")


def _fresh(out: Path, work: Path) -> None:
    """A new training wants a new folder; what one left that never began is no hindrance."""
    if any(path != work for path in out.iterdir()) or (work / SETUP).exists():
        raise BadInput(f"{out} is not empty: name another --out, or go on with --resume.")
    for path in work.iterdir():
        if path.name != LOCK:
            remove_tree(path) if path.is_dir() else path.unlink()


def seconds_before(work: Path) -> float:
    """Of all earlier sittings of the training in `work`."""
    path = work / SPENT
    return float(read_json(path)) if path.is_file() else 0.0


class Spent:
    """Seconds of all sittings of a training; those of earlier ones lie in a file.

    Args:
        begun: `time.monotonic()` when this sitting began. trouble: told where the file cannot be written.
    """

    def __init__(self, work: Path, begun: float, trouble: Callable[[Exception], None]) -> None:
        self.path, self.begun, self.trouble = work / SPENT, begun, trouble
        self.before = seconds_before(work)

    def now(self) -> float:
        return self.before + time.monotonic() - self.begun

    def keep(self) -> None:
        try:
            write_json(self.path, round(self.now(), 3))
        except OSError as error:
            self.trouble(error)


def deliver(model: LanguageModel, out: Path, keep: bool) -> None:
    """The model's files into `out`, whole each; what training needed goes last: until then it can go on.

    Args:
        keep: it stays, if there is a checkpoint from before the fall.
    """
    work = out / WORK
    save(model, work / "model")
    for path in sorted((work / "model").iterdir()):
        path.replace(out / path.name)
    write_bytes(out / LOG, (work / LOG).read_bytes())
    if keep and manifests(work / STABLE):
        (work / "model").rmdir()
        write_bytes(work / FINISHED, b"")
    else:
        (work / SETUP).unlink(missing_ok=True)  # first: nobody goes on with what a kill leaves of the rest
        shutil.rmtree(work)


def once(say: Callable[[str], None]) -> Callable[[Exception], None]:
    """Says a trouble that training goes on with, once for each cause: a full disk stops every checkpoint."""
    said: set[str] = set()

    def tell(error: Exception) -> None:
        cause = error.__cause__ or error
        name = getattr(cause, "strerror", None) or str(cause)
        if name not in said:
            said.add(name)
            say(f"{str(error).rstrip('.')}. The training goes on; this is not said again.")

    return tell
