"""Stateless encoders: a list of values to a matrix, each row from its value alone. Nothing is learned here."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from smidgen.data.views import image, text
from smidgen.kit.config import nearest
from smidgen.kit.errors import BadInput
from smidgen.kit.files import digest

ENCODER_VERSION = 1  # raised when any encoder's result changes; part of every cache file's name
TEXT = ("minilm", "minilm_short", "minilm_windows", "words", "chars", "tokens")
IMAGE = ("pixels", "hog", "picture")
IN_MEMORY = ("words", "chars")  # sparse and quick: not worth a file
TOKENS = 128  # word pieces of a text that a method sees which tunes the encoder itself
WINDOW, STRIDE, MAX_WINDOWS = 190, 160, 12  # words: about 256 word pieces

Progress = Callable[[int, int], None]


def available(name: str) -> bool:
    """Whether the packages of an encoder are installed."""
    from smidgen.kit.extras import installed
    from smidgen.nets import minilm

    if name.startswith("minilm") or name == "tokens":
        return minilm.available()
    return installed(*{"pixels": ("PIL",), "picture": ("PIL",), "hog": ("PIL", "skimage")}.get(name, ()))


def encode(name: str, values: list, progress: Progress | None = None, threads: int | None = None) -> Any:
    """One row for each value: float32 `[n, d]`, or a csr matrix for "words" and "chars".

    Args:
        name: of `TEXT` or `IMAGE`.
        values: texts, or images (path, bytes, array). A missing one (None, NaN) is an empty text, or a row of zeros.
        progress: called with (done, total), in units of the encoder.
        threads: for the sentence encoder; the result does not depend on it.
    Raises:
        BadInput: no such encoder; an image that cannot be read. MissingExtra: its package is not installed.
    """
    if name in TEXT:
        return _texts(name, ["" if missing(v) else str(v) for v in values], progress, threads)
    if name in IMAGE:
        return _images(getattr(image, name), values, progress)
    raise BadInput(f"There is no encoder '{name}'. {nearest(name, TEXT + IMAGE)}")


def missing(value: Any) -> bool:
    return (
        value is None or (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType")
    )


def content(name: str, value: Any) -> bytes:
    """What a value is, for the cache: 16 bytes, the same for equal texts and for images of equal bytes."""
    if missing(value):
        data: bytes | str = b"\0missing"
    elif name in TEXT:
        data = str(value)
    elif isinstance(value, np.ndarray):
        data = f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes()
    else:
        data = image.read_bytes(value)
    return bytes.fromhex(digest(data))


def identity(name: str) -> str:
    """What else decides an encoder's result: its version and the weights it reads."""
    if not name.startswith("minilm") and name != "tokens":
        return f"{name}-v{ENCODER_VERSION}"
    from smidgen.nets import minilm

    return f"{name}-v{ENCODER_VERSION}-{minilm.load().identity[:12]}"


def _texts(name: str, texts: list[str], progress: Progress | None, threads: int | None) -> Any:
    if name in ("words", "chars"):
        return text.grams(name, texts) if texts else sparse.csr_matrix((0, text.COLUMNS))
    from smidgen.nets import minilm

    encoder = minilm.load()
    if name == "tokens":
        return _token_ids(encoder.token_ids(texts, TOKENS))
    if name == "minilm_short":
        from smidgen.data.shorten import shorten_each

        texts = shorten_each([one[: text.LONGEST] for one in texts])
    if name != "minilm_windows":
        return encoder.encode(texts, threads=threads, progress=progress)
    windows = [_windows(t) for t in texts]
    rows = encoder.encode([w for ws in windows for w in ws], threads=threads, progress=progress)
    ends = np.cumsum([len(w) for w in windows])
    means = np.array(
        [rows[end - len(w) : end].mean(0) for w, end in zip(windows, ends, strict=True)], np.float32
    ).reshape(-1, minilm.WIDTH)
    return means / np.sqrt((means**2).sum(1, keepdims=True))


def _token_ids(ids: list[list[int]]) -> np.ndarray:
    """float32 `[n, TOKENS]`, 0 behind the end of a text; every id is below 2^24, so it is exact."""
    out = np.zeros((len(ids), TOKENS), np.float32)
    for row, one in zip(out, ids, strict=True):
        row[: len(one)] = one
    return out


def _windows(one: str) -> list[str]:
    """The text in overlapping windows, evenly spread where there would be more than `MAX_WINDOWS`."""
    words = one.split()
    if len(words) <= WINDOW:
        return [one]
    count = min(MAX_WINDOWS, -(-(len(words) - WINDOW) // STRIDE) + 1)
    starts = np.linspace(0, len(words) - WINDOW, count).astype(int)
    return [" ".join(words[s : s + WINDOW]) for s in starts]


def _images(describe: Callable[[Any], np.ndarray], values: list, progress: Progress | None) -> np.ndarray:
    rows: list[np.ndarray | None] = []
    for i, value in enumerate(values):
        rows.append(None if missing(value) else describe(value))
        if progress and (i % 16 == 15 or i + 1 == len(values)):
            progress(i + 1, len(values))
    blank = np.zeros_like(
        next((r for r in rows if r is not None), None) if any(r is not None for r in rows) else _blank(describe)
    )
    return np.array([blank if r is None else r for r in rows], np.float32).reshape(len(rows), len(blank))


def _blank(describe: Callable[[Any], np.ndarray]) -> np.ndarray:
    return describe(np.zeros((8, 8, 3), np.uint8))
