"""Finding papers by what a person needs: by meaning with the sentence encoder, by words where it is not installed.

A card is known by two vectors, of what it gives and of its keywords; `meanings.safetensors` holds them ready, so that
only the question is encoded. Words count beside meaning: names and rare terms are exact. How well this finds is
measured by `benchmarks/find.py`.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from smidgen.data import stopwords
from smidgen.kit.errors import BadInput
from smidgen.kit.files import digest, read_tensors, tensor_bytes, write_bytes
from smidgen.papers import catalogue
from smidgen.papers.catalogue import Card

VECTORS = catalogue.HERE / "meanings.safetensors"
WORDS_SHARE = 0.4  # of the score, beside meaning; settled on the development questions of `benchmarks/find.py`
KEY_BYTES = 16
_WORD = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


@dataclass(frozen=True)
class Found:
    """Cards with their scores, best first; `by` "meaning" or "words"; `note`: why not by meaning, for people."""

    hits: list[tuple[Card, float]]
    by: str
    note: str


def find(query: str, count: int = 10, *, by: str = "") -> Found:
    """The cards nearest to what is asked, of all 107.

    Args:
        by: "meaning" or "words"; default: meaning where the encoder is installed.

    Raises:
        BadInput: an empty question.
    """
    if not query.strip():
        raise BadInput("Say what you look for, for example: smidgen papers find 'few labelled scans, no GPU'.")
    cards = list(catalogue.cards().values())
    words = word_scores(query, cards)
    note, meaning = "", None
    if by != "words":
        meaning = _meaning_scores(query, cards)
        if meaning is None:
            note = "By words only: searching by meaning needs the package of 'smidgen[text]'."
    if meaning is None:
        hits = [(c, s) for c, s in zip(cards, words, strict=True) if s > 0]
    else:
        share = 0.0 if by == "meaning" else WORDS_SHARE
        hits = [(c, (1 - share) * m + share * w) for c, m, w in zip(cards, meaning, words, strict=True)]
    hits.sort(key=lambda hit: (-hit[1], hit[0].number))
    return Found(hits[:count], "words" if meaning is None else "meaning", note)


def word_scores(query: str, cards: Sequence[Card]) -> list[float]:
    """In [0, 1]: the share of the question's words, weighted by rarity, that a card has (BM25 without length)."""
    asked = set(_stems(query)) or {""}
    have = [Counter(_stems(f"{card.number} {card.title} {card.title} {card.text}")) for card in cards]
    rarity = {w: math.log(1 + len(cards) / (0.5 + sum(w in h for h in have))) for w in asked}
    whole = sum(rarity.values())
    return [sum(rarity[w] * min(1.0, 0.6 + 0.2 * h[w]) for w in asked if w in h) / whole for h in have]


def _stems(text: str) -> list[str]:
    """Words without endings, roughly; parts of a hyphenated word as well."""
    common = stopwords.load("en").all
    words = [w for word in _WORD.findall(text.lower()) for w in {word, *word.split("-")}]
    return [re.sub(r"(?<=...)(?:ing|ed|es|s|ly|ion|ions)$", "", w) for w in words if w not in common]


def _meaning_scores(query: str, cards: Sequence[Card]) -> list[float] | None:
    """Cosines, of the nearer of a card's two vectors mostly; None without the encoder."""
    from smidgen.nets import minilm

    if not minilm.available():
        return None
    encoder = minilm.load()
    known = vectors(cards, encoder)
    asked = encoder.encode([query])[0]
    gives, keys = known[:, 0] @ asked, known[:, 1] @ asked
    return (0.5 * (gives + keys)).tolist()


def vectors(cards: Sequence[Card], encoder: Any) -> Any:
    """Unit vectors float32 `[cards, 2, 384]`: from the file, and made anew for cards that it does not know."""
    import numpy as np

    from smidgen.nets import minilm

    stored = _stored(VECTORS)
    keys = [key(card, encoder.identity) for card in cards]
    missing = [i for i, k in enumerate(keys) if k not in stored]
    made = encoder.encode([t for i in missing for t in texts(cards[i])]).reshape(len(missing), 2, minilm.WIDTH)
    new = dict(zip(missing, made, strict=True))
    return np.stack([new[i] if i in new else stored[keys[i]] for i in range(len(cards))]).astype(np.float32)


def texts(card: Card) -> tuple[str, str]:
    return f"{card.title}. {card.gives}", card.keywords


def key(card: Card, identity: str) -> str:
    return digest(identity, *texts(card))[: 2 * KEY_BYTES]


@cache
def _stored(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = read_tensors(path, 4 << 20)
        return {bytes(k).hex(): v for k, v in zip(found["keys"], found["vectors"], strict=True)}
    except (BadInput, KeyError, ValueError):
        return {}  # vectors are a cache: made anew


def store(path: Path = VECTORS) -> None:
    """Writes the vectors of all cards (half precision): `python -m smidgen.papers.find`."""
    import numpy as np

    from smidgen.nets import minilm

    encoder, cards = minilm.load(), list(catalogue.cards().values())
    keys = [np.frombuffer(bytes.fromhex(key(c, encoder.identity)), np.uint8) for c in cards]
    write_bytes(path, tensor_bytes({"keys": np.stack(keys), "vectors": vectors(cards, encoder).astype(np.float16)}))


if __name__ == "__main__":
    store()
