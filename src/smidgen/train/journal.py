"""What a run writes down: one JSON line an update."""

import json
import math
from pathlib import Path
from typing import Any

from smidgen.kit.files import write_bytes


class Journal:
    """Appends to a file of JSON lines.

    Args:
        after: on resuming, lines of this and later steps are removed: those are done again.
    """

    def __init__(self, path: Path, after: int | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if after is not None and path.is_file():
            kept = [line for line in read(path) if line.get("step", -1) < after]
            write_bytes(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, **values: Any) -> None:
        """One line: the step and what is known of it; numbers that are not finite become null."""
        clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        self._file.write(json.dumps({"step": step, **clean}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal, without those that are broken: a kill cuts the last one short."""
    out = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            out.append(json.loads(line))
        except ValueError:
            continue
    return out
