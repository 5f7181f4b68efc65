"""The bytes of a table file: read within limits, unpacked, and its text as UTF-8 whatever encoding it was in."""

import gzip
import io
import sys
import zlib
from pathlib import Path

import numpy as np

from smidgen.kit.errors import BadInput
from smidgen.tasks.task import Finding

MAX_BYTES = 8 << 30  # unpacked; beyond this one machine's pandas is the wrong tool
ROOM, GROWTH = 256 << 20, 100  # a packed file may become the larger of so many bytes, and so many times its own
MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


def read_bytes(path: Path | str, where: str) -> bytes:
    """Of the file ("-": standard input), unpacked if it is a gzip file.

    Args:
        where: how messages call it.
    Raises:
        BadInput: missing, no regular file, not readable, damaged, larger than is read.
    """
    return _unzipped(_bytes(path), where)


def _bytes(path: Path | str) -> bytes:
    if str(path) == "-":
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise BadInput(f"Standard input has more than the {MAX_BYTES:,} bytes that are read: take a part of it.")
        return data
    path = Path(path)
    try:
        if not path.exists():
            beside = path.absolute().parent
            hint = "" if beside.exists() else f" (nor is there a folder {beside})"
            raise BadInput(f"{path}: there is no such file{hint}. Check the path.")
        if not path.is_file():
            raise BadInput(f"{path} is not a regular file: give a table file or a folder of images by class.")
        if path.stat().st_size > MAX_BYTES:
            raise BadInput(
                f"{path} has {path.stat().st_size:,} bytes, more than the {MAX_BYTES:,} that are read: "
                "take a part of it."
            )
        return path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}. Check the path and its permissions."
        ) from None


def _unzipped(data: bytes, where: str) -> bytes:
    if data[:2] != b"\x1f\x8b":
        return data
    out, most = bytearray(), room(data)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            while part := file.read(1 << 20):
                out += part
                if len(out) > most:
                    raise BadInput(
                        f"{where} unpacks to more than {most:,} bytes, {len(out) // len(data):,} times what it has: "
                        "unpack it yourself if it is to be trusted."
                    )
    except (zlib.error, EOFError, OSError) as error:
        raise BadInput(f"{where} is a damaged gzip file ({str(error)[:100]}): make or copy it again.") from None
    return bytes(out)


def room(data: bytes) -> int:
    """How large a packed file may become: few grow a hundredfold, and what grows further is made to fill the memory."""
    return min(MAX_BYTES, max(ROOM, GROWTH * len(data)))


def as_utf8(data: bytes, where: str, findings: list[Finding]) -> bytes:
    """The text as UTF-8 without a byte-order mark."""
    mark, code = next(((m, c) for m, c in MARKS if data.startswith(m)), (b"", "utf-8"))
    if not mark:
        head = np.frombuffer(data[:4096], np.uint8)
        odd, even = ((head[1::2] == 0).mean(), (head[::2] == 0).mean()) if len(head) > 1 else (0, 0)
        if max(odd, even) > 0.4 and min(odd, even) < 0.1:  # Latin letters in two bytes each
            code = "utf-16-le" if odd > even else "utf-16-be"
    if code != "utf-8":
        try:
            text = data.decode(code).removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise BadInput(
                f"{where} says it is {code.upper()} text but is damaged at byte {error.start:,}: export it "
                "again as UTF-8."
            ) from None
        return text.encode("utf-8", "replace")
    data = data[len(mark) :]
    try:
        data.decode()
        return data
    except UnicodeDecodeError as error:
        line = data.count(10, 0, error.start) + 1
    loose = data.decode("utf-8", "replace")
    lost = loose.count("\ufffd")
    good = sum(len(c.encode()) > 1 for c in loose if c > "\x7f") - lost if len(loose) < 50_000_000 else 0
    if mark or good > 9 * lost:
        findings.append(
            Finding(level="warning", text=f"{where}, line {line}: {lost} damaged characters were replaced by \ufffd.")
        )
        return loose.encode()
    findings.append(
        Finding(
            level="note", text=f"{where} is not UTF-8 (line {line}); it was read as Windows-1252 (Western European)."
        )
    )
    try:
        return data.decode("cp1252").encode()
    except UnicodeDecodeError:  # a few bytes have no meaning there
        return data.decode("latin-1").encode()
