"""What a run writes down: one JSON line a step for programs, and TensorBoard or MLflow where they are installed."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any


class Journal:
    """Appends to `log.jsonl`; a line that a kill cut short is dropped when a run goes on.

    Args:
        folder: where. after: on resuming, lines of later steps are removed: those steps are done again.
        tensorboard, mlflow: also write there; None: when installed and asked for by `also`.
    """

    def __init__(self, folder: Path, after: int | None = None, also: tuple[str, ...] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "log.jsonl"
        if after is not None and self.path.is_file():
            kept = [line for line in read(self.path) if line.get("step", -1) < after]
            self.path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._file = self.path.open("a", encoding="utf-8")
        self._others = [made for name in also if (made := _other(name, folder)) is not None]

    def write(self, step: int, **values: Any) -> None:
        """One line: the step and what is known of it; numbers that are not finite become null."""
        clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        self._file.write(json.dumps({"step": step, **clean}) + "\n")
        self._file.flush()
        numbers = {k: v for k, v in clean.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        for other in self._others:
            other(step, numbers)

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal, without one that was cut short."""
    out = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            out.append(json.loads(line))
        except ValueError:
            continue
    return out


def _other(name: str, folder: Path):
    if name == "tensorboard" and importlib.util.find_spec("tensorboard"):
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(folder / "tensorboard"))
        return lambda step, numbers: [writer.add_scalar(k, v, step) for k, v in numbers.items()]
    if name == "mlflow" and importlib.util.find_spec("mlflow"):
        import mlflow  # the run that the caller began

        return lambda step, numbers: mlflow.log_metrics(numbers, step=step)
    return None
