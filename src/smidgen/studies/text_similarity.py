"""How alike two models' answers to the same prompts are: words in common, words in order, and meaning.

ROUGE-1 and ROUGE-L are F1 (Lin, 2004, "ROUGE: a package for automatic evaluation of summaries", sections 2 and 3) over
lower-case words; "embedding cosine" is that of a sentence encoder, and "sts" the same on the scale of the semantic
similarity benchmarks, 0 to 5 (negative cosines count as 0).
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from smidgen.kit.errors import bad

Encode = Callable[[list[str]], np.ndarray]
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def rouge_1(a: str, b: str) -> float:
    """F1 of words in common, 0 to 1; 1 of two texts without words."""
    x, y = Counter(words(a)), Counter(words(b))
    return _f1((x & y).total(), x.total(), y.total())


def rouge_l(a: str, b: str) -> float:
    """F1 of the longest common subsequence of words."""
    x, y = words(a), words(b)
    return _f1(longest_common(x, y), len(x), len(y))


def longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of the table at a time."""
    ids: dict[str, int] = {}
    x, y = (np.array([ids.setdefault(w, len(ids)) for w in part], int) for part in (a, b))
    row = np.zeros(len(y) + 1, int)
    for word in x:  # the maximum over the left neighbour runs along the row by itself: lengths only grow
        row[1:] = np.maximum(row[1:], row[:-1] + (y == word))
        np.maximum.accumulate(row, out=row)
    return int(row[-1])


def output_similarity(texts_a: Sequence[str], texts_b: Sequence[str], encode: Encode | None = None) -> pd.DataFrame:
    """A row a pair: "rouge1", "rougeL", "embed_cos", "sts", and "same": whether they are equal to the letter.

    Args:
        encode: texts to vectors; by default the sentence encoder MiniLM.
    Raises:
        BadInput: no texts, or not as many of both. MissingExtra: the encoder is not installed.
    """
    if len(texts_a) != len(texts_b) or not len(texts_a):
        raise bad("texts", "as many of both, at least one", f"{len(texts_a)} and {len(texts_b)}")
    if encode is None:
        from smidgen.nets import minilm

        encode = minilm.load().encode
    a, b = (np.asarray(encode(list(t)), float) for t in (texts_a, texts_b))
    sizes = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = (a * b).sum(1) / np.where(sizes > 0, sizes, 1.0)
    return pd.DataFrame({
        "rouge1": [rouge_1(x, y) for x, y in zip(texts_a, texts_b, strict=True)],
        "rougeL": [rouge_l(x, y) for x, y in zip(texts_a, texts_b, strict=True)],
        "embed_cos": cosine,
        "sts": 5 * cosine.clip(0, 1),
        "same": [x == y for x, y in zip(texts_a, texts_b, strict=True)],
    })  # fmt: skip


def _f1(common: int, a: int, b: int) -> float:
    return 1.0 if a + b == 0 else 2 * common / (a + b)
