"""From texts to tokens on disk: what is trained on, and what is held out to be predicted.

Of many documents, one in fifty is held out whole; of few, the ends of the long ones. Where all are few and short
nothing is, and nobody can say how well the model predicts other text.
"""

import bz2
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smidgen.kit.errors import BadInput
from smidgen.kit.files import write_bytes
from smidgen.lm import shards, tokenizer
from smidgen.lm.corpus import Corpus
from smidgen.lm.shards import TokenShards
from smidgen.lm.tokenizer import Tokenizer

EVERY = 50  # documents, of which one is held out
SAMPLE = 900_000  # bytes that are compressed: one block of bzip2
LONG, END, END_SHARE = 2000, 200, 0.02  # characters of a document that is divided; of its end at least, and its share


@dataclass(frozen=True)
class Survey:
    """One corpus: documents, bytes of text, a hash of all of it, the bits a byte that bzip2 needs for its start, and
    the bytes of the longest document."""

    documents: int
    bytes: int
    digest: str
    compressed: float
    longest: int


@dataclass(frozen=True)
class Prepared:
    """Tokens of each part of the corpus, and of what is held out of all; None where that is nothing."""

    tokenizer: Tokenizer
    parts: tuple[TokenShards, ...]
    held: TokenShards | None

    @property
    def skipped(self) -> list[str]:
        """What shards were left out, and why: a sentence each."""
        return [why for tokens in (*self.parts, self.held) if tokens is not None for why in tokens.skipped]

    @property
    def bytes_per_token(self) -> float:
        """Of the text that is held out; documents' starts count as tokens."""
        if self.held is None:
            return math.nan
        ids = self.held.read(0, min(len(self.held), 1 << 18))
        return len(self.tokenizer.decode(ids.tolist()).encode()) / len(ids)


def survey(corpus: Corpus) -> Survey:
    """Reads the corpus once. Raises BadInput: as reading does."""
    documents, size, longest, digest, start = 0, 0, 0, hashlib.sha256(), bytearray()
    for document in corpus:
        data = document.text.encode()
        documents, size, longest = documents + 1, size + len(data), max(longest, len(data))
        start += data[: SAMPLE - len(start)]
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    compressed = 8 * len(bz2.compress(bytes(start))) / max(1, len(start))
    return Survey(documents, size, digest.hexdigest()[:32], compressed, longest)


def prepare(
    corpora: dict[str, Corpus], surveys: dict[str, Survey], words: int, folder: Path, corrupt: str = "refuse"
) -> Prepared:
    """Trains the tokenizer on all texts and tokenizes each part; what is there already is used again.

    Args:
        corrupt: "refuse" a damaged shard, or "skip" it.
    Raises:
        BadInput: names a corpus with nothing to train on, and a damaged shard.
    """
    if (folder / tokenizer.FILE).is_file():
        made = tokenizer.load(folder)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        made = tokenizer.train((d.text for c in corpora.values() for d in c), words)
        write_bytes(folder / tokenizer.FILE, made.json)
    divided = {name: (corpus, surveys[name].documents) for name, corpus in corpora.items()}
    parts = []
    for name, (corpus, documents) in divided.items():
        place = folder / "parts" / name
        if not (place / shards.INDEX).is_file():
            kept = (made.encode_document(text) for text, _ in _divided(corpus, documents) if text.strip())
            try:
                shards.write(place, kept, made.words, made.identity)
            except BadInput as error:
                raise BadInput(f"{name}: {error}") from None
        parts.append(TokenShards(place, corrupt, tokenizer=made.identity))
    held = (text for corpus, documents in divided.values() for _, text in _divided(corpus, documents) if text.strip())
    return Prepared(made, tuple(parts), _written(held, made, folder / "held", corrupt))


def _written(texts: Iterator[str], made: Tokenizer, place: Path, corrupt: str) -> TokenShards | None:
    if not (place / shards.INDEX).is_file():
        first = next(texts, None)
        if first is None:
            return None

        def encoded() -> Iterator[np.ndarray]:
            yield made.encode_document(first)
            yield from map(made.encode_document, texts)

        shards.write(place, encoded(), made.words, made.identity)
    return TokenShards(place, corrupt, tokenizer=made.identity)


def _divided(corpus: Corpus, documents: int) -> Iterator[tuple[str, str]]:
    """Of each document what is trained on and what is held out."""
    for number, document in enumerate(corpus):
        text = document.text
        if documents >= EVERY:
            yield ("", text) if number % EVERY == EVERY - 1 else (text, "")
        elif len(text) >= LONG:
            cut = len(text) - max(END, int(END_SHARE * len(text)))
            yield text[:cut], text[cut:]
        else:
            yield text, ""
