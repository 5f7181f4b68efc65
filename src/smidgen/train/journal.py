"""What a run writes down of each update: JSON lines, and on request TensorBoard's events or a run of MLflow.

The JSON lines are the record: a resumed run cuts off what it does again. The others are for looking on; one that fails
is left out, and the training goes on.
"""

import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from smidgen.kit.errors import bad
from smidgen.kit.extras import need
from smidgen.kit.files import read_json, write_bytes, write_json

KINDS = ("tensorboard", "mlflow")
SEND = 100  # updates that MLflow is told at once: each call may go over a network
Trouble = Callable[[Exception], None]


class Log(Protocol):
    """Takes what is known of each update: its step, and numbers and texts by name."""

    def write(self, step: int, **values: Any) -> None: ...

    def cut(self, after: int) -> None:
        """Updates from this one on are done again."""
        ...

    def close(self) -> None: ...


class Journal:
    """Appends to a file of JSON lines.

    Args:
        after: on resuming, lines of this and later steps are removed: those are done again. spent: seconds of the run
            until then; what the guard did by then (`action`) did happen, and stays.
        on_failure: called where a line cannot be written (disk full); it is tried again with the next one. None: raise.
    """

    def __init__(
        self, path: Path, after: int | None = None, on_failure: Trouble | None = None, spent: float = 0.0
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._on_failure = path, on_failure
        if after is not None and path.is_file():
            self._keep(after, spent)
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, **values: Any) -> None:
        """One line: the step and what is known of it; numbers that are not finite become null."""
        clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        self._trying(lambda: self._file.write(json.dumps({"step": step, **clean}) + "\n"))
        self._trying(self._file.flush)

    def cut(self, after: int) -> None:
        """Updates from this one on are done again; what the guard did (`action`) stays on record."""
        self._trying(self._file.close)
        self._trying(lambda: self._keep(after, math.inf))
        self._file = self._path.open("a", encoding="utf-8")

    def close(self) -> None:
        self._trying(self._file.close)

    def _keep(self, after: int, spent: float) -> None:
        def stays(line: dict[str, Any]) -> bool:
            happened = line.get("action") and line.get("spent", math.inf) <= spent
            return line.get("step", -1) < after or bool(happened)

        kept = [line for line in read(self._path) if stays(line)]
        write_bytes(self._path, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def _trying(self, step: Callable[[], Any]) -> None:
        try:
            step()
        except OSError as error:
            if self._on_failure is None:
                raise
            self._on_failure(error)


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal, without those that are broken: a kill cuts the last one short."""
    out = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            out.append(json.loads(line))
        except ValueError:
            continue
    return out


class TensorBoard:
    """Events for `tensorboard --logdir FOLDER`. On resuming, steps from `after` on are marked as done again."""

    def __init__(self, folder: Path, after: int) -> None:
        need("tensorboard", extra="logs", why="A log for TensorBoard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=after)

    def write(self, step: int, **values: Any) -> None:
        for name, value in numbers(values).items():
            self._writer.add_scalar(name, value, step)

    def cut(self, after: int) -> None:
        """Its events stay; those of the same steps follow."""

    def close(self) -> None:
        self._writer.close()


class MLflow:
    """A run of MLflow, where its environment variables say (MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME).

    Args:
        kept: file with the run's id; a resumed training goes on with the same run.
    """

    def __init__(self, kept: Path, name: str) -> None:
        mlflow: Any = need("mlflow", extra="logs", why="A log for MLflow")
        self._mlflow, self._client, self._waiting = mlflow, mlflow.MlflowClient(), []
        known = read_json(kept) if kept.is_file() else None
        self._run = mlflow.start_run(run_id=known, run_name=name, nested=True).info.run_id
        write_json(kept, self._run)

    def write(self, step: int, **values: Any) -> None:
        now = int(time.time() * 1000)
        metric = self._mlflow.entities.Metric
        self._waiting.append([metric(name, value, now, step) for name, value in numbers(values).items()])
        if len(self._waiting) >= SEND:
            self._send()

    def cut(self, after: int) -> None:
        """Its values stay; those of the same steps follow."""

    def close(self) -> None:
        self._send()
        self._mlflow.end_run()

    def _send(self) -> None:
        waiting, self._waiting = [metric for update in self._waiting for metric in update], []
        if waiting:
            self._client.log_batch(self._run, waiting)


class Logs:
    """Several logs as one; the first that fails is said and left out, the others go on."""

    def __init__(self, logs: Iterable[Log], on_failure: Trouble) -> None:
        self._logs, self._on_failure = list(logs), on_failure

    def write(self, step: int, **values: Any) -> None:
        self._each(lambda log: log.write(step, **values))

    def cut(self, after: int) -> None:
        self._each(lambda log: log.cut(after))

    def close(self) -> None:
        self._each(lambda log: log.close())

    def _each(self, act: Callable[[Log], None]) -> None:
        for log in list(self._logs):
            try:
                act(log)
            except Exception as error:  # another program's: whatever is wrong with it, ours goes on
                self._logs.remove(log)
                self._on_failure(error)


def check(kinds: Iterable[str]) -> None:
    """Raises BadInput for a log that is not known, MissingExtra where its package is not installed."""
    for kind in kinds:
        if kind not in KINDS:
            raise bad("--log", " or ".join(KINDS), kind)
        need(kind, extra="logs", why=f"--log {kind}")


def open_log(kind: str, out: Path, work: Path, after: int) -> Log:
    """One of `KINDS` for the training of `out`; `work`: what goes when it is finished. Raises as `check`."""
    check([kind])
    return TensorBoard(out / kind, after) if kind == "tensorboard" else MLflow(work / "mlflow.json", out.name)


def numbers(values: dict[str, Any]) -> dict[str, float]:
    """Those values that are finite numbers, as floats."""
    return {k: float(v) for k, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}
