"""What the command line writes: results on standard output, everything else on standard error.

Text from a person's file may hold terminal commands; it is cleaned before it is shown.
"""

import contextlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from smidgen.web.words import clean

_PLAIN = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "—": "-",
        "“": '"',
        "”": '"',
        "\u00a0": " ",
        "●": "*",
        "○": "o",
        "─": "-",
        "├": "|",
        "┤": "|",
        "…": "~",
        "�": "?",
        "²": "2",
        "·": "-",
    }
)


def say(text: str = "", stream: TextIO | None = None) -> None:
    """One line; signs that the terminal's encoding lacks get a plain stand-in."""
    stream = stream or sys.stdout
    if stream is None:  # started with closed streams
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_PLAIN).encode(encoding, "replace").decode(encoding)
    try:
        stream.write(text + "\n")
        stream.flush()
    except BrokenPipeError:  # the reader (head, less) has seen enough
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise SystemExit(141) from None


def tell(text: str) -> None:
    """One line for people, on standard error."""
    say(clean(text, 2000), sys.stderr)


def say_json(value: Any) -> None:
    """Exactly one JSON object, strict: what JSON cannot say is null."""
    say(json.dumps(_strict(value), allow_nan=False))


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(v) for v in value]
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)


@contextlib.contextmanager
def stdout_kept() -> Iterator[None]:
    """Inside, whatever is printed (also by C code and by workers started there) goes to standard error."""
    real, saved = sys.stdout, None
    with contextlib.suppress(AttributeError, OSError, ValueError, io.UnsupportedOperation):
        real.flush()
        if real.fileno() == 1:
            saved = os.dup(1)
            os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout = real
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)


def width() -> int:
    return max(40, shutil.get_terminal_size((100, 24)).columns)


def table(
    rows: Sequence[Sequence[str]], heads: Sequence[str], right: Sequence[int] = (), indent: str = ""
) -> list[str]:
    """Lines of an aligned table, cut at the terminal's edge; columns in `right` are aligned right."""
    cells = [[clean(c, 200) for c in row] for row in [list(heads), *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    lines = []
    for row in cells:
        parts = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        text = (indent + "  ".join(parts)).rstrip()
        lines.append(text if len(text) <= width() or not sys.stdout.isatty() else text[: width() - 1] + "…")
    return lines
