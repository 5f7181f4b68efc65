"""Inputs that once hung, broke or filled the memory, and are too large to be kept as files: a name and its bytes.

What is found is added here, or beside this file, and stays.
"""

import gzip
import json
import struct
import zlib

EVIL_PATTERN = "(a+)+b"  # on a row of a's: more steps than the library of tokenizers takes, so it broke off

_PAIRS = [(i, "uv"[i % 2]) for i in range(6)]


def _lines(cell: str) -> bytes:
    return ("a,label\n" + "".join(f"{cell.format(i)},{y}\n" for i, y in _PAIRS)).encode()


def tables() -> dict[str, bytes]:
    """Files by name; the target is `label`. Comments say what each did."""
    many = 500
    return {
        # the sign of money was looked for at every place of the white space: hours
        "white_space.csv": _lines("x{}" + " " * 100_000 + "y"),
        "white_space_number.csv": _lines("{}" + " " * 100_000 + "1"),
        # a column for each name: 12,000 x 12,000 cells from 300 KB
        "names_as_values.jsonl": "".join(
            json.dumps({f"k{i}": 1, "label": "uv"[i % 2]}) + "\n" for i in range(12_000)
        ).encode(),
        # 700 times its size
        "bomb.csv.gz": gzip.compress(b"a,label\n" + b"1,u\n2,v\n" * 40_000_000, 1),
        # what was left was copied for each part: quadratic in their number
        "many_parts.csv.gz": gzip.compress(b"a,label\n1,u\n2,v\n3,u\n4,v\n") + gzip.compress(b"") * 100_000,
        # the number of rows that there can be overflowed, with a warning
        "wide.csv": (
            ",".join(f"c{i}" for i in range(many)) + ",label\n"
            + "".join(",".join(str(i * j % 7) for j in range(many)) + f",{y}\n" for i, y in _PAIRS)
        ).encode(),
    }  # fmt: skip


def tensors() -> dict[str, bytes]:
    """Bytes of safetensors files."""

    def whole(head: bytes, body: bytes = b"") -> bytes:
        return len(head).to_bytes(8, "little") + head + body

    def one(shape: bytes, ends: bytes = b"0,4") -> bytes:
        return whole(b'{"a":{"dtype":"F32","shape":[' + shape + b'],"data_offsets":[' + ends + b"]}}", b"1234")

    return {
        "product of huge axes": one(b",".join([b"9" * 4000] * 1900)),  # multiplied out: hours
        "millions of axes": one(b",".join([b"1"] * 1_000_000)),
        "more than a word": one(b"0,18446744073709551616", b"0,0"),
    }


def values() -> dict[str, bytes]:
    """JSON of few bytes that takes a lot of memory: each was 0.7 to 1.6 GB."""
    return {
        "lists": b"[" + b"[]," * 5_000_000 + b"[]]",
        "objects": b"[" + b"{}," * 5_000_000 + b"{}]",
        "numbers": b"[" + b"1e1," * 5_000_000 + b"1]",
    }


def pictures() -> dict[str, bytes]:
    """Files that are called .png."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, side = zlib.compressobj(9), 9000
    body = b"".join(packer.compress(b"\0" * (1 + side // 8)) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return {
        # Pillow starts Ghostscript for it
        "program.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n(x) run\nshowpage\n",
        # 81 million pixels of nothing, in 10 KB (of three colours: 1.4 GB from 236 KB)
        "black.png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b""),
    }


def tokenizer_parts() -> dict[str, dict]:
    """What was put into a tokenizer.json."""
    evil = {"Regex": EVIL_PATTERN}
    split = {"type": "Split", "pattern": evil, "behavior": "Isolated", "invert": False}
    return {
        "replace": {"normalizer": {"type": "Replace", "pattern": evil, "content": "x"}},
        "table": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},  # broke off while it was read
        "split": {"pre_tokenizer": split},
        "splits": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split] * 100}},
        "decoder": {"decoder": {"type": "Replace", "pattern": evil, "content": "x"}},
    }
