"""Coverage-guided fuzzing of the parsers, with atheris (not in the environment: `pip install atheris`):

    python tests/hostile/fuzz_parsers.py tensors|json|table|model [-max_total_time=60] [CORPUS]

What is found goes to `finds/`.
"""

import contextlib
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["smidgen.kit", "smidgen.tasks", "smidgen.learn.model", "json"]):
    from smidgen.kit.errors import BadInput
    from smidgen.kit.files import parse_tensors, read_json, tensor_bytes
    from smidgen.kit.state import unpack
    from smidgen.learn.model import read_parts
    from smidgen.tasks.files import load_file

HERE = Path(tempfile.mkdtemp())


def tensors(data: bytes) -> None:
    """What is accepted is what would be saved again, in another order at most."""
    found = parse_tensors(data)
    assert {k: v.tobytes() for k, v in parse_tensors(tensor_bytes(found)).items()} == {
        k: v.tobytes() for k, v in found.items()
    }


def json(data: bytes) -> None:
    (HERE / "a.json").write_bytes(data)
    unpack(read_json(HERE / "a.json"), {})


def table(data: bytes) -> None:
    name = ("t.csv", "t.tsv", "t.jsonl", "t.csv.gz")[data[0] % 4 if data else 0]
    (HERE / name).write_bytes(data[1:])
    with warnings.catch_warnings(action="ignore"):
        load_file(HERE / name)


def model(data: bytes) -> None:
    (HERE / "model.json").write_bytes(data)
    (HERE / "arrays.safetensors").write_bytes(tensor_bytes({}))
    read_parts(HERE)


def one(data: bytes) -> None:
    with contextlib.suppress(BadInput):
        WHAT(data)


if __name__ == "__main__":
    WHAT = {"tensors": tensors, "json": json, "table": table, "model": model}[sys.argv.pop(1)]
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
