"""What the tests of hostile input share: how many inputs, the command line in process, a small table and its models.

SMIDGEN_FUZZ=N makes the drawn parts N times as long, and lets run what is too long for every push (`make fuzz`).
"""

import contextlib
import io
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings

from smidgen.cli.main import main
from smidgen.data.views.rows import Rows
from smidgen.kit.files import digest, json_bytes, tensor_bytes
from smidgen.learn.model import Model, _digest, read_parts
from smidgen.studies.trial import fit_member
from smidgen.tasks.read import read

TIMES = int(os.environ.get("SMIDGEN_FUZZ", "1"))
HEADS = {"logistic": "linear", "forest": "tree", "knn": "linear", "naive_bayes": "linear+tfidf_svd", "lda": "linear",
         "gaussian_process": "linear", "boosting": "tree", "svm": "linear", "label_spreading": "linear"}  # fmt: skip


def some(count: int) -> settings:
    """So many drawn inputs on every push, and more when asked."""
    return settings(
        max_examples=count * TIMES,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@dataclass(frozen=True)
class Said:
    """What a command line ended with."""

    status: int
    out: str
    err: str

    def sentence(self) -> str:
        """The one sentence of a refusal; fails where it is anything else."""
        assert self.status in (1, 2, 3) and self.out == "", self
        first, *more = self.err.splitlines()
        assert first.startswith("smidgen: ") and "Traceback" not in self.err, self.err
        assert more == [] or (len(more) == 1 and more[0].startswith("See ")), self.err  # the page that helps
        assert len(self.err) > 25, self.err
        return self.err


def cli(*line: str) -> Said:
    """Runs `smidgen LINE`; an error that is not told in a sentence comes through."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(part) for part in line])
    return Said(status, out.getvalue(), err.getvalue())


def files_in(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its size and time of change."""
    return {str(p): (p.lstat().st_size, p.lstat().st_mtime_ns) for p in folder.rglob("*") if not p.is_dir()}


def small_table(folder: Path, rows: int = 30) -> Path:
    """A table with a column of each kind, and two classes."""
    rng = np.random.default_rng(0)
    lines = ["x,colour,when,note,y"]
    for i in range(rows):
        said = f"some words about {i} and {'good' if i % 2 else 'bad'} things"
        cells = [f"{rng.normal():.3f}", "rgb"[i % 3], f"2024-01-{i % 28 + 1:02d}", said, "hi" if i % 2 else "lo"]
        lines.append(",".join(cells))
    path = folder / "small.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def small_models(folder: Path, heads: Iterable[str] = HEADS) -> list[Path]:
    """Model folders of one member each, beside the table `small.csv`."""
    task, made = read(small_table(folder), "y"), []
    for head in heads:
        view = HEADS[head]
        state = fit_member(task, Rows(task.frame), f"learn/{head}", view, {}, 0)
        made.append(Model.assemble(task, [state], [1.0], [0.0], {}).save(folder / f"model_{head}"))
    return made


def forge(source: Path, to: Path, head: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """A copy of a model folder that says and holds something else, with digests that are right."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(source, to)
    body = tensor_bytes(arrays)
    whole = {**head, "arrays": {"sha256": digest(body), "bytes": len(body)}}
    whole.pop("sha256", None)
    (to / "model.json").write_bytes(json_bytes({**whole, "sha256": _digest(whole)}))
    (to / "arrays.safetensors").write_bytes(body)


__all__ = ["Said", "TIMES", "cli", "files_in", "forge", "read_parts", "small_models", "small_table", "some"]
