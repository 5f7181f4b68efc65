"""What a person has to train on, as documents: text files, JSON lines, tables, folders of these; also gzipped.

A text file is one document, or several with `<|endoftext|>` between them. Of JSON lines and tables, the column `text`
is read (another by name). Files are read as a stream: memory is that of the longest document.
"""

import codecs
import contextlib
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from smidgen.kit.errors import BadInput, bad

BETWEEN = "<|endoftext|>"
PLAIN = (".txt", ".text", ".md", ".rst")
LINES = (".jsonl", ".ndjson")
TABLES = (".csv", ".tsv", ".parquet", ".json")
_BLOCK = 1 << 20  # bytes
_LONGEST_LINE = 1 << 30
_KNOWN_BINARY = (b"\x89PNG", b"\xff\xd8\xff", b"%PDF-", b"PK\x03\x04", b"\x7fELF", b"GGUF", b"BZh", b"\xfd7zXZ")


class Document(NamedTuple):
    text: str
    where: str  # file, and line or row


@dataclass(frozen=True)
class Corpus:
    """Files in the order in which they are read.

    Attributes:
        column: of the text in JSON lines and tables.
        skipped: files in folders that are of no kind that is read.
    """

    files: tuple[Path, ...]
    column: str = "text"
    skipped: tuple[Path, ...] = field(default=())

    def __iter__(self) -> Iterator[Document]:
        """Documents that hold more than white space.

        Raises:
            BadInput: names the file and the line: not text, damaged, no such column; or there was no text at all.
        """
        some = False
        for path in self.files:
            for document in _documents(path, self.column):
                if document.text.strip():
                    some = True
                    yield document
        if not some:
            names = ", ".join(str(p) for p in self.files[:3])
            raise BadInput(
                f"{names}{' ...' if len(self.files) > 3 else ''}: there is no text in it. Give a corpus with text."
            )


def open_corpus(sources: Iterable[Path | str], column: str = "text") -> Corpus:
    """The files of these sources; folders are searched, in the order of names, hidden files left out.

    Raises:
        BadInput: a source is missing, or a folder holds no file that is read.
    """
    files: dict[Path, None] = {}
    skipped: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            inside = [p for p in sorted(source.rglob("*")) if p.is_file() and not _hidden(p.relative_to(source))]
            found = [p for p in inside if _kind(p)]
            if not found:
                raise bad(
                    str(source), f"files that end in {', '.join(PLAIN + LINES + TABLES)} (or these with .gz)", "none"
                )
            files.update(dict.fromkeys(found))
            skipped += [p for p in inside if not _kind(p)]
        elif source.is_file():
            files[source] = None
        else:
            raise BadInput(f"{source}: there is no such file or folder. Check the path.")
    if not files:
        raise BadInput("There is no corpus: give a text file, JSON lines, a table, or a folder of these.")
    return Corpus(tuple(files), column, tuple(skipped))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _kind(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    for kind, ends in (("plain", PLAIN), ("lines", LINES), ("table", TABLES)):
        if name.endswith(ends):
            return kind
    return ""


def _documents(path: Path, column: str) -> Iterator[Document]:
    kind = _kind(path)
    if kind == "table":
        return _table(path, column)
    return _json_lines(path, column) if kind == "lines" else _plain(path)


def _plain(path: Path) -> Iterator[Document]:
    """Documents between the marks; a mark may straddle two blocks."""
    rest, number = "", 1
    waiting: list[str] = []
    for block in _text(path):
        *whole, rest = (rest + block).split(BETWEEN)
        for part in whole:
            yield Document("".join([*waiting, part]), f"{path}, document {number}")
            waiting, number = [], number + 1
        keep = len(BETWEEN) - 1
        waiting.append(rest[:-keep])
        rest = rest[-keep:]
    yield Document("".join([*waiting, rest]), str(path) if number == 1 else f"{path}, document {number}")


def _json_lines(path: Path, column: str) -> Iterator[Document]:
    for number, line in enumerate(_lines(path), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadInput(
                f"{where}: not valid JSON ({str(error)[:80]}). Each line must be one whole object."
            ) from None
        if not isinstance(record, dict) or column not in record:
            got = ", ".join(map(str, list(record)[:8])) if isinstance(record, dict) else type(record).__name__
            raise bad(where, f'an object with "{column}"', got or "none", "Name the column that holds the text.")
        text = record[column]
        if text is None:
            continue
        if not isinstance(text, str):
            raise bad(f'{where}, "{column}"', "a text", text)
        yield Document(_whole(text), where)


def _table(path: Path, column: str) -> Iterator[Document]:
    from smidgen.tasks.files import load_file

    frame = load_file(path, as_text=(column,)).frame
    if column not in frame.columns:
        names = ", ".join(map(str, frame.columns[:8]))
        raise bad(str(path), f"a column '{column}'", names, "Name the column that holds the text.")
    for row, text in enumerate(frame[column], 1):
        if isinstance(text, str):
            yield Document(_whole(text), f"{path}, row {row}")


def _whole(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON can hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode() if any("\ud800" <= c <= "\udfff" for c in text) else text


def _lines(path: Path) -> Iterator[str]:
    waiting = ""
    for block in _text(path):
        *whole, waiting = (waiting + block).split("\n")
        if len(waiting) > _LONGEST_LINE:
            raise BadInput(f"{path}: a line of more than {_LONGEST_LINE:,} characters. Is it JSON lines?")
        yield from whole
    yield waiting


def _text(path: Path) -> Iterator[str]:
    """The file's text in blocks, line ends as they are.

    UTF-8, or UTF-16 and UTF-32 by their mark; a text in neither is read as Windows-1252.
    """
    decoder, seen = None, 0
    for block in _blocks(path):
        if decoder is None:
            decoder = _decoder(path, block)
        try:
            text = decoder.decode(block)
        except UnicodeDecodeError as error:
            raise BadInput(
                f"{path} is not UTF-8 text (byte {seen + error.start:,}): save it as UTF-8, or take that file out."
            ) from None
        if "\0" in text:
            raise BadInput(f"{path} is a binary file (a NUL byte after {seen:,} bytes): give text.")
        seen += len(block)
        yield text
    if decoder is not None:
        try:
            yield decoder.decode(b"", True)
        except UnicodeDecodeError:
            raise BadInput(f"{path} ends inside a character: it was cut off. Copy it again.") from None


def _decoder(path: Path, head: bytes) -> codecs.IncrementalDecoder:
    if head.startswith(_KNOWN_BINARY):
        raise BadInput(f"{path} is a picture, document, archive or program, not text: give its text.")
    for mark, code in (
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            return codecs.getincrementaldecoder(code)()
    control = sum(head.count(c) for c in range(32) if c not in b"\t\n\r\f\x1b")
    if b"\0" in head[:4096] or control > len(head) / 100:
        raise BadInput(f"{path} is a binary file: give text.")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        with contextlib.suppress(UnicodeDecodeError):
            head.decode("cp1252")
            return codecs.getincrementaldecoder("cp1252")()
    return codecs.getincrementaldecoder("utf-8-sig")()


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream: Any = gzip.GzipFile(fileobj=raw) if packed else raw
            while block := stream.read(_BLOCK):
                yield block
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadInput(f"{path} is a damaged gzip file ({error}): make or copy it again.") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}. Check its permissions.") from None
