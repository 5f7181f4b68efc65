"""Byte-level BPE, trained on the corpus: any text goes in and comes out unchanged, no unknown token.

The pre-tokenizer is GPT-2's, which other programs know by name. One special token, `<|endoftext|>`, starts each
document: as the target of the document before it, it is that one's end. It never comes from text: written out in a
document it is read as characters.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.extras import need
from smidgen.kit.files import digest, json_bytes, read_bytes, write_bytes
from smidgen.nets.tokenizer_parts import BYTES, read_tokenizer

END = "<|endoftext|>"
FEWEST = 257  # the bytes and END
FILE, CONFIG = "tokenizer.json", "tokenizer_config.json"
_LIMIT = 256 << 20  # bytes of a tokenizer file
_PIECE = 1 << 16  # characters
_AT_ONCE = 16  # pieces


@dataclass(frozen=True)
class Tokenizer:
    """Text to ids and back.

    Attributes:
        json: content of tokenizer.json; equal text, equal tokenizer (`identity` is its hash).
        words: size of the vocabulary.
        end: id of `<|endoftext|>`.
    """

    json: bytes = field(repr=False)
    words: int
    end: int
    _inner: Any = field(repr=False)

    @property
    def identity(self) -> str:
        return digest(self.json)

    @property
    def vocabulary(self) -> str:
        """Hash of the words by id: stays when another program writes the same tokenizer anew."""
        return digest(*(f"{i} {word}" for word, i in sorted(self._inner.get_vocab().items())))

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without the start of a document. Special tokens in it are characters like any others."""
        return self._inner.encode(text, add_special_tokens=False).ids

    def encode_document(self, text: str) -> np.ndarray:
        """Ids of a whole document with its start, uint32. Long ones are read in parts, some at a time, on all cores."""
        ids = [np.array([self.end], np.uint32)]
        pieces = cut(text)
        while parts := list(itertools.islice(pieces, _AT_ONCE)):  # what the library makes of them is 35 times as large
            read = self._inner.encode_batch_fast(parts, add_special_tokens=False)
            ids += [np.array(part.ids, np.uint32) for part in read]
        return np.concatenate(ids)

    def decode(self, ids: Iterable[int]) -> str:
        """The text; bytes that make no character show as U+FFFD, the start of a document as nothing."""
        return self._inner.decode([int(i) for i in ids if i != self.end], skip_special_tokens=False)

    def write(self, folder: Path, max_len: int) -> None:
        """Writes tokenizer.json and what transformers needs beside it into an existing folder."""
        write_bytes(folder / FILE, self.json)
        settings = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END,
            "eos_token": END,
            "pad_token": END,
            "model_max_length": max_len,
            "clean_up_tokenization_spaces": False,
        }
        write_bytes(folder / CONFIG, json_bytes(settings))


def train(texts: Iterable[str], words: int) -> Tokenizer:
    """A tokenizer of `words` words from texts; the same texts in the same order give the same one.

    It has fewer where the texts have no more pairs to join. Give a sample of a large corpus: some 100 MB are enough.

    Raises:
        BadInput: fewer words than bytes, or no text.
    """
    tokenizers = _tokenizers()
    if not FEWEST <= words <= 1 << 20:
        raise bad("words", f"{FEWEST} to {1 << 20:,} (256 bytes and the end)", words)
    inner = tokenizers.Tokenizer(tokenizers.models.BPE())
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    inner.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=words,
        special_tokens=[END],
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        min_frequency=2,
    )
    some = False

    def parts() -> Iterator[str]:
        nonlocal some
        for text in texts:
            some = some or bool(text.strip())
            yield from cut(text)

    inner.train_from_iterator(parts(), trainer)
    if not some:
        raise BadInput("There is no text to make a tokenizer of: the corpus is empty.")
    end = inner.token_to_id(END)
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{END} $A", pair=f"{END} $A {END} $B", special_tokens=[(END, end)]
    )
    return parse(inner.to_str(pretty=True).encode())


def load(folder: Path | str) -> Tokenizer:
    """The tokenizer of a model folder. Raises BadInput: missing, damaged, or without an end token."""
    path = Path(folder) / FILE
    return parse(read_bytes(path, _LIMIT), str(path))


def parse(json: bytes, where: str = FILE) -> Tokenizer:
    """The tokenizer in the bytes of a tokenizer.json."""
    inner = read_tokenizer(json, BYTES, where)
    inner.encode_special_tokens = True
    end = inner.token_to_id(END)
    if end is None:
        raise BadInput(f"{where} has no {END} token, which separates documents: it is not a tokenizer of this program.")
    return Tokenizer(json, inner.get_vocab_size(), end, inner)


def cut(text: str, length: int = _PIECE) -> Iterator[str]:
    """Parts of a text that are tokenized as the whole is: cut where white space follows something else."""
    start = 0
    while start < len(text):
        end = min(start + length, len(text))
        while end < len(text) and not (text[end] in " \t\r\n" and not text[end - 1].isspace()):
            end += 1
        yield text[start:end]
        start = end


def _tokenizers() -> Any:
    return need("tokenizers", extra="text", why="Tokenizing text")
