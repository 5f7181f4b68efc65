"""Folders that lie, made by the hundred: of models, of sentence encoders inside them, of language models. Digests are
right in most: whoever can write a folder can compute them.
"""

import copy
import json
import os
import pickle
import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from finds import made
from hostile_help import forge, read_parts

from smidgen.kit.files import digest, tensor_bytes

VALUES: list[Any] = [None, True, 0, -1, 1, 2**31, 2**63, 10**30, 1e308, "", "x", "\x00", [], {}, [[]], -1e9,
                     float("nan"), {"$array": "x"}, {"$list": [1, "a"]}, {"$float": "nan"}, "../../x"]  # fmt: skip


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def changed_text(head: dict[str, Any], draw: random.Random) -> None:
    found = [p for p in places(head) if p and p[0] not in ("arrays", "about", "schema")]
    for _ in range(draw.choice([1, 1, 2])):
        path, inner = draw.choice(found), head
        try:
            for key in path[:-1]:
                inner = inner[key]
            if draw.random() < 0.2:
                del inner[path[-1]]
            else:
                inner[path[-1]] = copy.deepcopy(draw.choice(VALUES))
        except (KeyError, IndexError, TypeError):
            continue  # the first change took the second's place away


def changed_array(arrays: dict[str, np.ndarray], draw: random.Random) -> None:
    name = draw.choice(sorted(arrays))
    old = arrays[name]
    largest = np.iinfo(old.dtype).max if old.dtype.kind in "iu" else 1e30 if old.dtype.kind == "f" else 1
    arrays[name] = draw.choice([
        lambda: old.reshape(-1), lambda: old[:-1], lambda: old[:0], lambda: np.full_like(old, largest),
        lambda: old.astype(np.float16), lambda: -1 - old.astype(np.int64), lambda: np.zeros((0,) * old.ndim, old.dtype),
        lambda: np.full(old.shape, np.nan), lambda: np.resize(old, (3, 1000)), lambda: old.astype(np.uint8),
    ])() if old.ndim else old  # fmt: skip


class Runs:
    """What runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/smidgen-was-here",)


class Liars:
    """New folders below one, each a copy of a good one beside files that a careless import would take."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind, self.made = folder, kind, []

    def new(self, source: Path) -> Path:
        self.made.append(self.folder / f"{self.kind}{len(self.made)}")
        shutil.copytree(source, self.made[-1])
        for name in ("sitecustomize.py", "numpy.py", "smidgen.py", "json.py", "__init__.py", "conftest.py"):
            (self.made[-1] / name).write_text("raise SystemExit('ran')")
        return self.made[-1]


def models_that_lie(folder: Path, models: list[Path]) -> list[Path]:
    made, draw = Liars(folder, "model"), random.Random(0)
    for name in ("model.json", "arrays.safetensors"):
        no_files(lambda name=name: made.new(models[0]) / name, models[1] / name)
    for head in headers():
        (made.new(models[0]) / "arrays.safetensors").write_bytes(tensors_of(head))
    for text in texts():
        (made.new(models[0]) / "model.json").write_bytes(text)
    for source in models * 30:
        parts, arrays = read_parts(source)
        changed_text(parts, draw)
        forge(source, made.new(source), parts, arrays)
    for source in models * 20:
        parts, arrays = read_parts(source)
        changed_array(arrays, draw)
        forge(source, made.new(source), parts, arrays)
    for source in models * 5:
        for name in ("model.json", "arrays.safetensors"):
            place = made.new(source) / name
            place.write_bytes(broken(place.read_bytes(), draw))
    ways = ("os", "subprocess", "builtins/eval", "../../tmp/x", "learn/../cli/main", "learn/base", "lm/train")
    for method in (*ways, "learn/_trees"):
        parts, arrays = read_parts(models[0])
        parts["members"][0]["method"] = method
        forge(models[0], made.new(models[0]), parts, arrays)
    return made.made


def encoders_that_lie(folder: Path, model: Path) -> list[Path]:
    """Models of which model.json says that their sentence encoder lies beside it."""
    made = Liars(folder, "encoder")
    good = {"config.json": b"{}", "tokenizer.json": word_pieces(), "model.safetensors": tensor_bytes({"a": np.ones(2)})}

    def new(change: dict[str, bytes], told: Any = None) -> Path:
        files, place = good | change, made.new(model)
        head, arrays = read_parts(model)
        said = {"of": "x", "files": {name: digest(data) for name, data in files.items()}} if told is None else told
        forge(model, place, head | {"schema": 2, "packed": {}, "encoder": said}, arrays)
        (place / "encoder").mkdir()
        for name, data in files.items():
            (place / "encoder" / name).write_bytes(data)
        return place / "encoder"

    for head in headers():
        if len(head) < 1 << 24:
            new({"model.safetensors": tensors_of(head)})
    for text in texts():
        new({"config.json": text})
    for text in (*tokenizers(word_pieces()), *texts()[:12]):
        new({"tokenizer.json": text})
    for told in (7, {}, {"files": []}, {"of": 7, "files": {"../../x": "y"}}, {"files": dict.fromkeys(good, "x")}):
        new({}, told)
    for name in good:
        no_files(lambda name=name: new({}) / name, model / "model.json")
    place = new({})
    shutil.move(place, place.parent / "elsewhere")
    place.symlink_to("elsewhere")  # of what is described, and yet a link
    return made.made


def language_models_that_lie(folder: Path, good: Path) -> list[Path]:
    made, draw = Liars(folder, "language"), random.Random(0)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        no_files(lambda name=name: made.new(good) / name, folder / "elsewhere")
    for head in headers():
        (made.new(good) / "model.safetensors").write_bytes(tensors_of(head))
    for text in texts():
        (made.new(good) / "config.json").write_bytes(text)
    said = json.loads((good / "config.json").read_text())
    for _ in range(40):
        (made.new(good) / "config.json").write_text(json.dumps(spoilt(said, draw)))
    for text in tokenizers((good / "tokenizer.json").read_bytes()):
        (made.new(good) / "tokenizer.json").write_bytes(text)
    for name in ("pytorch_model.bin", "model.pt", "modeling_x.py", "training_args.bin"):
        place = made.new(good)
        (place / name).write_bytes(pickle.dumps(Runs()))
        (place / "config.json").write_text(json.dumps(said | {"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}))
    return made.made


def no_files(new: Callable[[], Path], other: Path) -> None:
    """Pickles under a good name, links, pipes, folders, and 5 GB of nothing."""
    code = pickle.dumps(Runs())
    new().write_bytes(code)
    new().write_bytes(b"PK\x03\x04" + code)
    for target in ("/etc/passwd", "/dev/zero", "/dev/stdin", str(other), "..", "gone"):
        (place := new()).unlink()
        place.symlink_to(target)
    (place := new()).unlink()
    os.mkfifo(place)
    (place := new()).unlink()
    place.mkdir()
    with new().open("r+b") as file:
        file.truncate(5 << 30)  # takes no place on the disk


def broken(data: bytes, draw: random.Random) -> bytes:
    """Some bytes changed, and perhaps the end gone."""
    body = bytearray(data)
    for _ in range(draw.choice([1, 3, 20])):
        body[draw.randrange(len(body))] = draw.randrange(256)
    return bytes(body[: draw.choice([len(body), draw.randrange(len(body))])])


def word_pieces() -> bytes:
    """A tokenizer like that of the sentence encoder, of three words."""
    words = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}
    start = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None}
    model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "vocab": words}
    rest = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": []}
    rest["post_processor"] = {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]}
    rest["decoder"] = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    rest |= {"normalizer": start | {"lowercase": True}, "pre_tokenizer": {"type": "BertPreTokenizer"}}
    return json.dumps(rest | {"model": model | {"max_input_chars_per_word": 100}}).encode()


def tokenizers(good: bytes) -> Iterable[bytes]:
    """The same with what a tokenizer can do to its reader, and damaged."""
    said, draw = json.loads(good), random.Random(0)
    for change in (
        *made.tokenizer_parts().values(),
        {"model": {"type": "Unigram", "unk_id": 7, "vocab": []}},
        {"model": {**said["model"], "vocab": {"a": -1}}},
        {"model": {**said["model"], "vocab": {"a": 2**64}}},
        {"post_processor": {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}}},
        {"added_tokens": [{"id": 2**32, "content": "x" * 1000, "special": True}]},
        {"truncation": {"max_length": 0, "strategy": "LongestFirst", "stride": 9, "direction": "Right"}},
    ):
        yield json.dumps(said | change).encode()
    for _ in range(8):
        yield broken(good, draw)


def tensors_of(head: bytes) -> bytes:
    return len(head).to_bytes(8, "little") + head + b"\0" * 64


def spoilt(value: Any, draw: random.Random) -> Any:
    """The value with one or two places changed or gone."""
    value = json.loads(json.dumps(value))
    for _ in range(draw.choice([1, 1, 2])):
        path, inner = draw.choice([p for p in places(value) if p]), value
        for key in path[:-1]:
            inner = inner[key]
        if draw.random() < 0.2:
            del inner[path[-1]]
        else:
            inner[path[-1]] = draw.choice(VALUES)
    return value


def headers() -> list[bytes]:
    """Of safetensors files."""
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    tables: list[Any] = [
        {"a": one, "b": {**one, "data_offsets": [4, 12]}},  # overlapping
        {"a": one, "b": {**one, "data_offsets": [16, 24]}},  # with a gap
        {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)},
        *({"a": {**one, "shape": s}} for s in ([float("nan")], [float("inf")], [-2], [2**62, 2**62, 2**62], "2")),
        *({"a": {**one, "dtype": d}} for d in ("PICKLE", ["F32"], None)),
        *({"a": {**one, "data_offsets": o}} for o in ([8, 0], [0, 2**64], "ab", [0])),
        {"../../a": one}, {"a": [0, 8]}, {"a": "x"}, [], None, 7, {"__metadata__": {"a": "b" * 1000}}, {"": one},
    ]  # fmt: skip
    raw = [
        b"",
        b"{",
        b"[" * 1_000_000,
        b"\xff" * 100,
        b"{}" + b" " * (100 << 20),
        b"9" * 5000,
        *made.tensors().values(),
    ]
    return [json.dumps(t).encode() for t in tables] + raw


def texts() -> list[bytes]:
    """Of model.json."""
    deep = b"[" * 200_000 + b"]" * 200_000
    plain = [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"x"',
        b"{}",
        b'{"schema": 1}',
        b'{"schema": 99}',
        b'{"schema": true}',
        b"\xff\xfe",
        deep,
    ]
    return [
        *plain,
        b'{"schema": 1, "arrays": ' + deep + b"}",
        b'{"schema": ' + b"1" * 10_000 + b"}",
        *made.values().values(),
    ]
