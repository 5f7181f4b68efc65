"""From texts to tokens on disk: what is trained on, and what is held out to be predicted.

Of many documents, one in 25 is held out whole; of few, the ends of the long ones. One half of that tells which rate is
best and when to end, the other, which decides nothing, how good the model is. Where all are few and short nothing is
held out, and nobody can say how well the model predicts other text.
"""

import bz2
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from smidgen.kit.errors import BadInput
from smidgen.kit.files import write_bytes
from smidgen.lm import shards, tokenizer
from smidgen.lm.corpus import Corpus
from smidgen.lm.held import Held
from smidgen.lm.shards import NothingWhole, TokenShards
from smidgen.lm.tokenizer import Tokenizer

EVERY = 25  # documents, of which one is held out: by turns to choose on and to judge on
SAMPLE = 900_000  # bytes that are compressed: one block of bzip2
LONG, END, END_SHARE = 2000, 200, 0.02  # characters of a document that is divided; of each of its two ends at least,
# and its share
ROLES = ("parts", "held", "judged")  # the folders of tokens: to train on, to choose on, to judge on
WORDS_FROM = 50_000_000  # bytes of text that words are made from; more are read for minutes and change few of them
MEASURED = 1 << 16  # tokens whose bytes are counted


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
    """Tokens by the name of their corpus.

    Attributes:
        parts: to train on. held: what the rate and the end are chosen on; judged: what the model is judged on at last;
            both without corpora of which nothing is held out. again: tokens that were damaged and made anew.
    """

    tokenizer: Tokenizer
    parts: dict[str, TokenShards]
    held: dict[str, TokenShards]
    judged: dict[str, TokenShards]
    again: tuple[str, ...] = ()

    @property
    def skipped(self) -> list[str]:
        """What shards were left out, and why: a sentence each."""
        every = (*self.parts.values(), *self.held.values(), *self.judged.values())
        return [why for tokens in every for why in tokens.skipped]

    @functools.cached_property
    def bytes_per_token(self) -> dict[str, float]:
        """Of the text of each part; documents' starts count as tokens."""
        out = {}
        for name, tokens in self.parts.items():
            ids = tokens.read(0, min(len(tokens), MEASURED))
            out[name] = len(self.tokenizer.decode(ids.tolist()).encode()) / len(ids)
        return out

    def held_by(self, shares: dict[str, float], judged: bool = False) -> Held | None:
        """What is held out, each part with its share in training; None where that is nothing."""
        tokens = self.judged if judged else self.held
        return Held(tokens, {name: shares[name] for name in tokens}) if tokens else None


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
    """Trains the tokenizer on what is trained on and tokenizes each part; what is there already is used again.

    Args:
        corrupt: "refuse" a damaged shard, or "skip" it; where no shard of a part is whole, that is tokenized anew.
    Raises:
        BadInput: names a corpus with nothing to train on, and a damaged shard.
    """
    if (folder / tokenizer.FILE).is_file():
        made = tokenizer.load(folder)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        every = (_divided(corpus, surveys[name].documents) for name, corpus in corpora.items())
        texts = (texts[0] for part in every for texts in part if texts[0].strip())
        made = tokenizer.train(sample(texts, WORDS_FROM / max(1, sum(s.bytes for s in surveys.values()))), words)
        write_bytes(folder / tokenizer.FILE, made.json)
    again: list[str] = []
    found: dict[str, dict[str, TokenShards]] = {role: {} for role in ROLES}
    for (name, corpus), (which, role) in itertools.product(corpora.items(), enumerate(ROLES)):
        divided = functools.partial(_divided, corpus, surveys[name].documents)
        texts = functools.partial(_role, divided, which)
        tokens = _tokens(texts, made, folder / role / name, corrupt, again)
        if tokens is not None:
            found[role][name] = tokens
        elif role == "parts":
            raise BadInput(f"{name}: there is no text to train on.")
    return Prepared(made, found["parts"], found["held"], found["judged"], tuple(again))


def sample(texts: Iterable[str], share: float) -> Iterator[str]:
    """About this share of the texts, in pieces spread evenly over them; all of them from 1 on."""
    taken = 0.0
    for piece in (piece for text in texts for piece in tokenizer.cut(text)):
        taken += share
        if taken >= 1:
            taken = min(taken - 1, 1.0)
            yield piece


def _role(divided: Callable[[], Iterator[tuple[str, str, str]]], which: int) -> Iterator[str]:
    return (texts[which] for texts in divided() if texts[which].strip())


def _tokens(
    texts: Callable[[], Iterator[str]], made: Tokenizer, place: Path, corrupt: str, again: list[str]
) -> TokenShards | None:
    """Tokens on the disk, made where they are not there; None where there is no text."""

    none = place.with_name(f"{place.name}.none")  # so that all of it is not read again

    def write() -> bool:
        some = texts()
        first = next(some, None)
        if first is None:
            none.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(none, b"")
        else:
            documents = map(made.encode_document, itertools.chain([first], some))
            shards.write(place, documents, made.words, made.identity)
        return first is not None

    if none.is_file() or (not (place / shards.INDEX).is_file() and not write()):
        return None
    try:
        return TokenShards(place, corrupt, tokenizer=made.identity)
    except NothingWhole as error:
        again.append(f"{error} It was tokenized anew.")
        write()
        return TokenShards(place, tokenizer=made.identity)


def _divided(corpus: Corpus, documents: int) -> Iterator[tuple[str, str, str]]:
    """Of each document what is trained on, what is chosen on, and what is judged on."""
    for number, document in enumerate(corpus):
        text = document.text
        if documents >= 2 * EVERY:
            turn, place = divmod(number, EVERY)
            out = place == EVERY - 1
            yield "" if out else text, text if out and turn % 2 == 0 else "", text if out and turn % 2 else ""
        elif len(text) >= LONG:
            end = max(END, int(END_SHARE * len(text)))
            yield text[: -2 * end], text[-2 * end : -end], text[-end:]
        else:
            yield text, "", ""
