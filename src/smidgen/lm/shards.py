"""Tokens on disk: files that are mapped and never loaded, with the starts of documents and a checksum per megabyte.

A folder holds `00000.tokens`, `00000.starts`, ... and `shards.json`, which is written last: a folder without it is
not whole. Tokens are uint16 where the vocabulary allows, else uint32; starts are uint64, within their shard; all are
little-endian.
"""

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import digest, new_folder, read_json, write_bytes, write_json

SCHEMA = 1
INDEX = "shards.json"
CHUNK = 1 << 20  # bytes under one checksum
SHARD_TOKENS = 1 << 26
_CURE = "Remove {}, so that it is tokenized anew, or leave the shard out (--skip-corrupt)."


def write(
    folder: Path, documents: Iterable[np.ndarray], words: int, tokenizer: str, shard_tokens: int = SHARD_TOKENS
) -> "TokenShards":
    """Writes documents (ids, each beginning with the end token) as a new folder, whole or not at all.

    Memory is that of one shard; a shard ends with the document that fills it.

    Args:
        words: size of the vocabulary.
        tokenizer: the tokenizer's identity.
    Raises:
        BadInput: an id outside the vocabulary, or no document.
    """
    dtype = np.dtype("<u2" if words <= 1 << 16 else "<u4")
    with new_folder(Path(folder)) as made:
        shards: list[dict[str, Any]] = []
        waiting: list[np.ndarray] = []
        size = 0

        def flush() -> None:
            nonlocal size
            if waiting:
                shards.append(_write_shard(made, len(shards), waiting, dtype))
            waiting.clear()
            size = 0

        for ids in documents:
            if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < words:
                raise bad(
                    "token ids", f"0 to {words - 1:,}", f"{int(ids.min())} to {int(ids.max())}", "Is it this tokenizer?"
                )
            waiting.append(ids.astype(dtype))
            size += len(ids)
            if size >= shard_tokens:
                flush()
        flush()
        if not sum(s["tokens"] for s in shards):
            raise BadInput("There are no tokens to write: the corpus is empty.")
        write_json(
            made / INDEX,
            {"schema": SCHEMA, "words": words, "tokenizer": tokenizer, "dtype": dtype.str, "shards": shards},
        )
    return TokenShards(folder)


def _write_shard(folder: Path, number: int, documents: list[np.ndarray], dtype: np.dtype) -> dict[str, Any]:
    lengths = np.array([len(d) for d in documents], np.uint64)
    starts = (np.cumsum(lengths) - lengths).astype("<u8")
    tokens = np.concatenate(documents).astype(dtype)
    name = f"{number:05}"
    write_bytes(folder / f"{name}.tokens", tokens.tobytes())
    write_bytes(folder / f"{name}.starts", starts.tobytes())
    return {
        "name": name,
        "tokens": len(tokens),
        "documents": len(documents),
        "crc": _checksums(tokens.view(np.uint8)),
        "starts_crc": _checksums(starts.view(np.uint8)),
    }


def _checksums(data: np.ndarray) -> list[int]:
    return [zlib.crc32(data[i : i + CHUNK].data) for i in range(0, len(data), CHUNK)]


class NothingWhole(BadInput):
    """Every shard of a folder is damaged."""


class TokenShards:
    """The tokens of a folder as one stream; implements `train.order.Tokens`.

    Args:
        corrupt: "refuse" a damaged shard, or "skip" it: `skipped` then says why, and `fingerprint` is another.
        verify: check every byte now; False (with "refuse"): each megabyte when it is first read.
    Raises:
        BadInput: no such folder, not whole, of a newer version, of another tokenizer; a damaged shard is named.
    """

    def __init__(self, folder: Path | str, corrupt: str = "refuse", verify: bool = True, tokenizer: str | None = None):
        if corrupt not in ("refuse", "skip"):
            raise bad("corrupt", "refuse or skip", corrupt)
        if corrupt == "skip" and not verify:
            raise bad("verify", "True when damaged shards are skipped", verify)
        self.folder = Path(folder)
        index = read_json(self.folder / INDEX)
        try:
            if index["schema"] > SCHEMA:
                raise BadInput(f"{self.folder / INDEX} was written by a newer version of smidgen: update it.")
            self.words, self.tokenizer = int(index["words"]), str(index["tokenizer"])
            self._dtype, shards = np.dtype(index["dtype"]), list(index["shards"])
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput(f"{self.folder / INDEX} is damaged ({error!r}): tokenize the corpus again.") from None
        if tokenizer is not None and tokenizer != self.tokenizer:
            raise BadInput(f"{self.folder} was made with another tokenizer: tokenize the corpus again.")
        self.skipped: list[str] = []
        self._shards: list[_Shard] = []
        for entry in shards:
            try:
                self._shards.append(_Shard(self.folder, entry, self._dtype, verify))
            except BadInput as error:
                if corrupt == "refuse":
                    raise
                self.skipped.append(str(error))
        if not self._shards:
            raise NothingWhole(f"{self.folder}: no shard is whole.")
        self._ends = np.cumsum([s.length for s in self._shards])
        self.documents = sum(len(s.starts) for s in self._shards)
        self.fingerprint = digest(self.tokenizer, *(s.checksum for s in self._shards))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, start: int, stop: int) -> np.ndarray:
        """The ids of places `start` to `stop` (exclusive), over the borders of shards."""
        self._check_range(start, stop)
        parts = [shard.read(a, b) for shard, a, b, _ in self._parts(start, stop)]
        return parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty(0, self._dtype)])

    def starts(self, start: int, stop: int) -> np.ndarray:
        """Ascending places in [start, stop) where a document begins, int64."""
        self._check_range(start, stop)
        found = [np.empty(0, np.int64)]
        for shard, a, b, base in self._parts(start, stop):
            first, last = np.searchsorted(shard.starts, np.array([a, b], np.uint64))
            found.append(shard.starts[first:last].astype(np.int64) + base)
        return np.concatenate(found)

    def _parts(self, start: int, stop: int) -> Iterable[tuple["_Shard", int, int, int]]:
        number = int(np.searchsorted(self._ends, start, "right"))
        while start < stop:
            base = int(self._ends[number - 1]) if number else 0
            end = min(stop, int(self._ends[number]))
            yield self._shards[number], start - base, end - base, base
            start, number = end, number + 1

    def _check_range(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= len(self):
            raise bad("places", f"within 0 to {len(self):,}", f"{start} to {stop}")


class _Shard:
    """One mapped file; each chunk's checksum is checked once."""

    def __init__(self, folder: Path, entry: dict[str, Any], dtype: np.dtype, verify: bool):
        try:
            name, self.length, self._crc = str(entry["name"]), int(entry["tokens"]), list(entry["crc"])
            self.path = folder / f"{name}.tokens"
            starts, documents = folder / f"{name}.starts", int(entry["documents"])
            starts_crc = list(entry["starts_crc"])
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{folder / INDEX}: an entry is damaged ({error!r}): tokenize the corpus again.") from None
        if "/" in name or "\\" in name:
            raise BadInput(f"{folder / INDEX}: a shard's name must be a plain file name: the index was edited.")
        self.starts = _mapped(starts, np.dtype("<u8"), documents)
        if _checksums(self.starts.view(np.uint8)) != starts_crc:
            raise _damaged(starts, 0)
        self._tokens = _mapped(self.path, dtype, self.length)
        self._bytes = self._tokens.view(np.uint8)
        self._checked = np.zeros(-(-len(self._bytes) // CHUNK), bool)
        if len(self._crc) != len(self._checked):
            raise BadInput(
                f"{folder / INDEX}: {self.path.name} has {len(self._crc)} checksums: tokenize the corpus again."
            )
        if verify:
            self._check(0, len(self._bytes))

    @property
    def checksum(self) -> str:
        return f"{self.length} {self._crc}"

    def read(self, start: int, stop: int) -> np.ndarray:
        size = self._tokens.itemsize
        self._check(start * size, stop * size)
        return self._tokens[start:stop]

    def _check(self, first: int, last: int) -> None:
        for chunk in range(first // CHUNK, -(-last // CHUNK)):
            if not self._checked[chunk]:
                if zlib.crc32(self._bytes[chunk * CHUNK : (chunk + 1) * CHUNK].data) != self._crc[chunk]:
                    raise _damaged(self.path, chunk)
                self._checked[chunk] = True


def _mapped(path: Path, dtype: np.dtype, count: int) -> np.ndarray:
    if not path.is_file():
        raise BadInput(f"{path} is missing. {_CURE.format(path.parent)}")
    size = path.stat().st_size
    if size != count * dtype.itemsize:
        raise BadInput(
            f"{path} has {size:,} bytes, and should have {count * dtype.itemsize:,}: it was cut off or edited. "
            f"{_CURE.format(path.parent)}"
        )
    return np.asarray(np.memmap(path, dtype, "r", shape=(count,))) if count else np.empty(0, dtype)


def _damaged(path: Path, chunk: int) -> BadInput:
    return BadInput(
        f"{path} is corrupt (its checksum is wrong in the bytes from {chunk * CHUNK:,}). {_CURE.format(path.parent)}"
    )
