"""What reads files, rows and requests, each as a target of atheris, which changes inputs so that they reach new lines.

`fuzz.py` runs them; one alone, in a folder of inputs and with libFuzzer's own options:

    python tests/hostile/fuzz_readers.py table build/fuzz CORPUS -max_total_time=600
"""

import asyncio
import contextlib
import io
import json
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "src"), str(Path(__file__).parent)]
sys.path.append(str(Path(__file__).parent / ".atheris"))  # behind the project's own packages
import atheris  # noqa: E402

with atheris.instrument_imports(include=["smidgen", "json"]):
    import numpy as np
    from hostile_help import forge, read_parts, small_models
    from PIL import Image

    from smidgen.data.views.image import decode
    from smidgen.kit.config import from_mapping, parse_settings
    from smidgen.kit.errors import BadInput, SmidgenError
    from smidgen.kit.files import digest, json_bytes, parse_tensors, read_json, tensor_bytes
    from smidgen.kit.state import unpack
    from smidgen.learn.boosting import BoostingConfig
    from smidgen.learn.model import Model
    from smidgen.learn.packed_arrays import unpacked
    from smidgen.learn.svm import SVMConfig
    from smidgen.lm.tokenizer import train as train_tokenizer
    from smidgen.nets.decoder import DecoderConfig
    from smidgen.nets.folder import from_llama, to_llama
    from smidgen.nets.tokenizer_parts import BYTES, WORD_PIECES, read_tokenizer
    from smidgen.papers import evidence
    from smidgen.studies.database import hide_passwords
    from smidgen.studies.stored import Study, columns_of, result_of, study_of
    from smidgen.studies.trial import Result
    from smidgen.tasks.read import read
    from smidgen.web.app import make_app
    from smidgen.web.guard import Keys

HERE = Path(tempfile.mkdtemp(prefix="smidgen-fuzz-"))
NAMES = ("t.csv", "t.tsv", "t.jsonl", "t.csv.gz", "t.json", "t.parquet")
Reader = tuple[Callable[[bytes], object], Callable[[], list[bytes]]]  # and whole examples to begin with


def value(data: bytes) -> Any:
    """The JSON in the bytes; what is none is not the reader's to look at."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise BadInput("no JSON") from None


def tensors() -> Reader:
    def look(data: bytes) -> None:
        """What is accepted is what would be saved again, in another order at most."""
        found = parse_tensors(data)
        again = parse_tensors(tensor_bytes(found))
        assert {k: v.tobytes() for k, v in again.items()} == {k: v.tobytes() for k, v in found.items()}

    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros((0, 4), np.int8)}
    return look, lambda: [tensor_bytes(arrays), tensor_bytes({})]


def values() -> Reader:
    def look(data: bytes) -> None:
        (HERE / "a.json").write_bytes(data)
        unpack(read_json(HERE / "a.json"), {"a": np.zeros(2)})

    return look, lambda: [b'{"$array": "a"}', b'{"a": [1, {"$dict": {"$tuple": [1.5, null, true]}}]}']


def table() -> Reader:
    def look(data: bytes) -> None:
        path = HERE / NAMES[data[0] % len(NAMES) if data else 0]
        path.write_bytes(data[1:])
        read(path, "y")

    def seeds() -> list[bytes]:
        small_models(HERE, [])
        whole = (HERE / "small.csv").read_bytes()
        lines = b"".join(json.dumps({"x": i, "y": "ab"[i % 2]}).encode() + b"\n" for i in range(4))
        german = 'a;"b c";y\n1.234,5;"x\ny";u\n;2024-01-02 10:00;v\n0,5;"z";u\n'.encode("utf-16")
        packed = io.BytesIO()
        import pandas as pd

        pd.DataFrame({"x": [1.0, 2.0], "y": ["u", "v"]}).to_parquet(packed)
        return [b"\0" + whole, b"\1x\ty\n1\tu\n2\tv\n", b"\2" + lines, b"\0" + german, b"\5" + packed.getvalue()]

    return look, seeds


def picture() -> Reader:
    def look(data: bytes) -> None:
        (HERE / "p.png").write_bytes(data)
        assert decode(HERE / "p.png").dtype == np.uint8

    def seeds() -> list[bytes]:
        made, modes = [], {"PNG": "RGBA", "JPEG": "RGB", "GIF": "P", "BMP": "L", "WEBP": "RGB", "TIFF": "L"}
        for kind, mode in modes.items():
            held = io.BytesIO()
            Image.new(mode, (5, 4), 3).save(held, kind)
            made.append(held.getvalue())
        return made

    return look, seeds


def model() -> Reader:
    """The head of a model folder, with digests that are right; the first byte says of which method."""
    folders = small_models(HERE, ["logistic", "knn", "forest"])
    parts = [read_parts(folder) for folder in folders]

    def look(data: bytes) -> None:
        at = data[0] % len(folders) if data else 0
        said = value(data[1:])
        if not isinstance(said, dict):
            raise BadInput("not a head")
        forge(folders[at], HERE / "forged", said, parts[at][1])
        with np.errstate(all="ignore"):
            found = Model.load(HERE / "forged").predict_proba(HERE / "small.csv")
        assert found.shape == (30, 2) and np.isfinite(found).all()

    return look, lambda: [bytes([i]) + json_bytes(head) for i, (head, _) in enumerate(parts)]


def packed() -> Reader:
    arrays = {"a|": np.zeros(4, np.float32), "a|codes": np.zeros(4, np.uint8), "a|scales": np.ones(1, np.float32)}
    told = {"a": {"format": "int4", "shape": [2, 4], "dtype": "float32", "parts": ["codes", "scales"]}}
    return lambda data: unpacked(arrays, value(data), "model.json"), lambda: [json_bytes(told)]


def language() -> Reader:
    config = DecoderConfig(vocab=32, hidden=16, layers=2, heads=2, kv_heads=2, ffn=32, max_len=16)
    return lambda data: from_llama(value(data), "config.json"), lambda: [json_bytes(to_llama(config))]


def tokenizer() -> Reader:
    def look(data: bytes) -> None:
        for allowed in (BYTES, WORD_PIECES):
            with contextlib.suppress(BadInput):
                read_tokenizer(data, allowed, "tokenizer.json").encode("some words")

    return look, lambda: [train_tokenizer(["some words and some more"], 257).json]


def proof() -> Reader:
    """Evidence of a claim."""

    def look(data: bytes) -> None:
        (HERE / "005.json").write_bytes(data)
        evidence.read_file(HERE / "005.json", "005")

    return look, lambda: [(evidence.folder() / "005.json").read_bytes()]


def settings() -> Reader:
    def look(data: bytes) -> None:
        said = data.decode("utf-8", "replace")
        for config in (BoostingConfig, SVMConfig, DecoderConfig):
            with contextlib.suppress(BadInput):
                from_mapping(config, dict(parse_settings(said.split("\n"))))
        from_mapping(BoostingConfig, said if isinstance(said := value(data), dict) else {})

    return look, lambda: [b"rate=0.1\nrounds=20", b'{"rate": 0.1, "C": null}', b"vocab=32\nhidden=16\nlayers=2"]


def row() -> Reader:
    """Of the run store, as JSON; a study when it has options, else a trial."""
    study = {"id": "s", "name": "s", "fingerprint": "f", "task_name": "t", "options": "{}", "asked": "{}",
             "created": 1.0, "updated": 1.0, "state": "running", "owner": "here:1:2", "lease_until": 5.0,
             "summary": None, "trials": "[]"}  # fmt: skip
    trial = columns_of(Result(np.eye(2), notes=("n",)), lambda text: text)
    trial |= {"key": "k", "created": 1.0, "finished": 2.0}

    def look(data: bytes) -> None:
        said = value(data)
        if not isinstance(said, dict):
            raise BadInput("not a row")
        if "options" in said:
            whole = dict.fromkeys(Study.__dataclass_fields__) | {"owner": None, "lease_until": None} | said
            study_of(whole, 10.0, "runs.db")
            return
        whole = trial | said
        body = whole["predictions"]
        whole["predictions"] = body.encode("latin-1", "replace") if isinstance(body, str) else trial["predictions"]
        result_of(SimpleNamespace(**whole, _mapping=whole), "runs.db")  # type: ignore[arg-type]

    return look, lambda: [json_bytes(study), json_bytes(trial | {"predictions": "x"}), json_bytes({"notes": "[]"})]


def address() -> Reader:
    """Of a store: its password is in nothing that is said of it."""

    def look(data: bytes) -> None:
        said = data.decode("utf-8", "replace")
        for text in (f"postgresql://u:S3cret@h/{said}", f"{said} a://u:S3cret@h", f"{said} a://h?password=S3cret"):
            assert "S3cret" not in hide_passwords(text) or "S3cret" in said

    return look, lambda: [b"postgresql+psycopg://user:pass@host:5432/db?password=x&sslmode=require", b"sqlite:///a.db"]


def request() -> Reader:
    """To the local page: a line with method and address, lines of headers, the body."""
    small_models(HERE, ["logistic"])
    keys = Keys(8765)
    app = make_app(str(HERE / "runs.db"), HERE, keys)
    cookie = f"smidgen-8765={keys.token}"

    def look(data: bytes) -> None:
        head, _, body = data.partition(b"\n\n")
        first, *lines = head.split(b"\n")
        method, _, path = first.partition(b" ")
        path, _, query = path.partition(b"?")
        headers = [(b"host", b"127.0.0.1:8765"), (b"cookie", cookie.encode())]
        headers += [(k.strip().lower(), v.strip()) for k, _, v in (line.partition(b":") for line in lines)]
        body = body.replace(b"FORM", keys.form.encode())
        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": "",
                 "method": method.decode("latin-1"), "path": path.decode("utf-8", "replace"), "raw_path": path,
                 "query_string": query, "headers": headers, "server": ("127.0.0.1", 8765),
                 "client": ("127.0.0.1", 1)}  # fmt: skip
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        asyncio.run(app(scope, receive, send))
        assert sent[0]["status"] < 500, sent

    form = b"\ncontent-type: application/x-www-form-urlencoded\norigin: http://127.0.0.1:8765\n\nform=FORM&c0=1"
    return look, lambda: [b"GET /studies?q=a&sort=seconds&page=2", b"GET /models", b"POST /models/0" + form,
                          b"GET /papers/035", b"GET /openapi.json"]  # fmt: skip


READERS = {"tensors": tensors, "json": values, "table": table, "picture": picture, "model": model, "packed": packed,
           "language": language, "tokenizer": tokenizer, "evidence": proof, "settings": settings, "row": row,
           "address": address, "request": request}  # fmt: skip


def main(name: str, out: Path, options: list[str]) -> None:
    """Does not return: libFuzzer ends the process, or the first fault, which is kept with its input."""
    look, seeds = READERS[name]()

    def look_at(data: bytes) -> None:
        try:
            with warnings.catch_warnings(action="ignore"), contextlib.suppress(SmidgenError):
                look(data)
        except BaseException:
            traceback.print_exc()
            (out / f"{name}-{digest(data)[:12]}").write_bytes(data)
            sys.stderr.flush()
            os._exit(77)  # libFuzzer's own way out waits for all that was imported, and its alarm ends that

    for place in (Path(o) for o in options if not o.startswith("-")):
        for i, seed in enumerate(seeds()):
            (place / f"seed-{i}").write_bytes(seed)
        break
    atheris.Setup([sys.argv[0], *options], look_at)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
