"""Counting an encoder's tokens, and cutting texts to so many of them without cutting a word."""

from collections.abc import Callable
from typing import Any


def counter(tokenizer: Any) -> Callable[[str], int]:
    """A function that counts a text's tokens, special ones left out.

    Args:
        tokenizer: of `tokenizers` or `transformers`, or a function from a text to its tokens; None counts words.
    """
    if tokenizer is None:
        return lambda text: len(text.split())
    encode = getattr(tokenizer, "encode", None)
    if encode is None:
        return lambda text: len(tokenizer(text))
    return lambda text: len(encode(text, add_special_tokens=False))


def cut(text: str, limit: int, count: Callable[[str], int], keep: str = "first") -> str:
    """The text cut to at most `limit` tokens, whole words only, at least one word.

    Args:
        keep: "first", or "head_tail": half of the limit from the beginning, the rest from the end.
    """
    if count(text) <= limit:
        return text
    words = text.split()
    if keep == "first":
        return " ".join(words[: max(1, _most(words, limit, count))])
    head = max(1, _most(words, (limit + 1) // 2, count))
    rest = words[head:][::-1]
    tail = _most(rest, limit - count(" ".join(words[:head])), lambda t: count(" ".join(t.split()[::-1])))
    while tail and count(" ".join(words[:head] + rest[:tail][::-1])) > limit:  # tokens that join at the seam
        tail -= 1
    return " ".join(words[:head] + rest[:tail][::-1])


def windows(text: str, limit: int, count: Callable[[str], int], overlap: float = 0.25) -> list[str]:
    """The text in pieces of at most `limit` tokens that overlap by this share of their words: it reads all."""
    words, out, start = text.split(), [], 0
    while start < len(words):
        size = max(1, _most(words[start:], limit, count))
        out.append(" ".join(words[start : start + size]))
        if start + size >= len(words):
            break
        start += max(1, int(size * (1 - overlap)))
    return out or [text]


def _most(words: list[str], limit: int, count: Callable[[str], int]) -> int:
    """How many of the first words make at most `limit` tokens, by bisection."""
    low, high = 0, 1
    while high <= len(words) and count(" ".join(words[:high])) <= limit:
        low, high = high, 2 * high
    high = min(high, len(words) + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(" ".join(words[:middle])) <= limit else (low, middle)
    return low
