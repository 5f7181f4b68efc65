"""Other quantizers beside smidgen at equal bytes: what `compress.py` and its parts on text and pictures share."""

import copy
import json
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PEERS = HERE / ".quantizers" / "bin" / "python"
GROUP = 64
WIDTHS = (8, 4, 3, 2)
RUNS = {
    8: ("int8", "hqq", "quanto", "torchao", "rounding"),
    4: ("nf4", "nf4_double", "fp4", "hqq", "quanto", "quanto_hqq", "torchao", "torchao_hqq", "rounding_offset"),
    3: ("hqq", "torchao", "rounding_offset"),
    2: ("hqq", "quanto", "quanto_hqq", "torchao", "rounding_offset"),
}


def others(
    python: Path, widths: Sequence[int], weights: Path, names: Sequence[str], folder: Path
) -> list[tuple[str, Path, dict[str, Any]]]:
    """Each of the others at these widths: its name, the file of dequantized weights, what it took.

    `weights`: a safetensors file, or a folder with such. `folder`: for what is written.
    """
    runs = [{"peer": p, "bits": w, "group": GROUP, "out": str(folder / f"{p}-{w}.safetensors")}
            for w in widths for p in RUNS[w]]  # fmt: skip
    job = folder / "job.json"
    job.write_text(json.dumps({"weights": str(weights), "names": list(names), "transposed": [], "runs": runs}))
    subprocess.run([str(python), str(HERE / "peers" / "run_quantizer.py"), "weights", str(job)], check=True)
    return [(r["peer"], Path(r["out"]), json.loads(Path(f"{r['out']}.json").read_text())) for r in runs]


def with_weights(model: Any, file: Path) -> Any:
    """A copy of the network with these weights."""
    from safetensors.torch import load_file

    made = copy.deepcopy(model)
    made.load_state_dict(load_file(file), strict=False)
    return made


def within(
    subject: Any,
    bytes_: int,
    *,
    seconds: float = 0.0,
    steps: int | None = None,
    where: Callable[[Any], bool] = lambda layer: True,
) -> tuple[Any, dict[str, Any]]:
    """smidgen within so many bytes of the layers: the packed network, and what it took.

    `steps`: of recovery, in place of what is left of the `seconds`.
    """
    from smidgen.compress import fitting
    from smidgen.compress.options import bytes_of

    start = time.perf_counter()
    layers = {a.name: a for a in fitting.find(subject.model)}
    seen = fitting.outlook(subject, lambda mix: sum(bytes_of(layers[n], o) for n, o in mix.items()), where=where)
    left = max(seconds - (time.perf_counter() - start), 0.0)
    limit = fitting.Limit(bytes=bytes_)
    made = fitting.fit(subject, limit, seen.size, seconds=left, recovery_steps=steps, seen=seen)
    tried = {t.name: t.loss for t in made.tried}
    told = {"bytes": made.bytes, "seconds": time.perf_counter() - start, "steps": made.recovery_steps, "tried": tried}
    return made.model, told


def judged(
    made: Sequence[tuple[str, Path, dict[str, Any]]], model: Any, judge: Callable[[Any], dict[str, Any]]
) -> list[dict[str, Any]]:
    """A row of each of the others: what it took, how many layers it refused, what its network is worth."""
    rows = []
    for tool, file, told in made:
        row = {"tool": tool, "width": told["bits"]}
        if "error" in told:
            rows.append(row | {"failed": told["error"]})
        else:
            row |= {"bytes": told["bytes"], "seconds": told["seconds"]}
            row |= {"refused": len(told["kept"])} if told["kept"] else {}
            rows.append(row | judge(with_weights(model, file)))
        print(rows[-1], flush=True)
    return rows


def kept_rows(file: Path) -> list[dict[str, Any]]:
    """Rows that earlier runs stored."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def keep(file: Path, rows: Sequence[dict[str, Any]], meta: dict[str, Any], stored: bool) -> None:
    """Adds rows to a file of results; prints them where they are not to be stored."""
    if not stored:
        print(json.dumps(list(rows), indent=1), flush=True)
        return
    with file.open("a") as out:
        for row in rows:
            out.write(json.dumps(row | meta) + "\n")
