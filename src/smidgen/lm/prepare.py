"""From texts to tokens on disk: what is trained on, and what is held out to be predicted.

Of many documents, one in fifty is held out whole; of few, the ends of the long ones. Where all are few and short
nothing is, and nobody can say how well the model predicts other text.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smidgen.kit.files import write_bytes
from smidgen.lm import shards, tokenizer
from smidgen.lm.corpus import Corpus
from smidgen.lm.shards import TokenShards
from smidgen.lm.tokenizer import Tokenizer

EVERY = 50  # documents, of which one is held out
LONG, END, END_SHARE = 2000, 200, 0.02  # characters of a document that is divided; of its end at least, and its share


@dataclass(frozen=True)
class Survey:
    """One corpus: documents, bytes of text, and a hash of all of it."""

    documents: int
    bytes: int
    digest: str


@dataclass(frozen=True)
class Prepared:
    """Tokens of each part of the corpus, and of what is held out of all; None where that is nothing."""

    tokenizer: Tokenizer
    parts: tuple[TokenShards, ...]
    held: TokenShards | None


def survey(corpus: Corpus) -> Survey:
    """Reads the corpus once. Raises BadInput: as reading does."""
    documents, size, digest = 0, 0, hashlib.sha256()
    for document in corpus:
        data = document.text.encode()
        documents, size = documents + 1, size + len(data)
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return Survey(documents, size, digest.hexdigest()[:32])


def prepare(corpora: dict[str, Corpus], surveys: dict[str, Survey], words: int, folder: Path) -> Prepared:
    """Trains the tokenizer on all texts and tokenizes each part; what is there already is used again."""
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
            shards.write(place, kept, made.words, made.identity)
        parts.append(TokenShards(place, tokenizer=made.identity))
    held = (text for corpus, documents in divided.values() for _, text in _divided(corpus, documents) if text.strip())
    return Prepared(made, tuple(parts), _written(held, made, folder / "held"))


def _written(texts: Iterator[str], made: Tokenizer, place: Path) -> TokenShards | None:
    if not (place / shards.INDEX).is_file():
        first = next(texts, None)
        if first is None:
            return None

        def encoded() -> Iterator[np.ndarray]:
            yield made.encode_document(first)
            yield from map(made.encode_document, texts)

        shards.write(place, encoded(), made.words, made.identity)
    return TokenShards(place, tokenizer=made.identity)


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
