"""Long texts made short enough for a small encoder: thin out the words, then cut at whole words.

After "Simple Hack for Transformers against Heavy Long-Text Classification on a Time- and Memory-Limited GPU Service"
(arXiv 2403.12563): choose the tokenizer that makes fewest tokens; drop stop words, keep punctuation and rare words.
The other hacks (punctuation, rare words, repeated words) are here to be compared. Meant for topics: where a "not"
decides, keep the negations, as is the default.
"""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from smidgen.data import stopwords as lists
from smidgen.data.tokens import counter, cut, windows
from smidgen.kit.errors import bad

__all__ = ["TextShortener", "rank_checkpoints", "shorten_each", "tokenizer_fertility", "windows"]
LOW_COVERAGE = 0.15  # running text of a language is about half stop words; below this the list does not fit
ELIDING = ("fr", "it")  # l'homme, dell'anno: the part before the apostrophe is a word of its own
PAUSES = tuple(".,;:!?")
LIMITS = (128, 256, 512)
_PIECE = re.compile(r"(\s*)(\w+(?:['’\-]\w+)*['’]?|[^\w\s]|_)")


def pieces(text: str) -> list[tuple[str, str]]:
    """The text as (space before, word or punctuation mark); joined again they are the text, but for its end."""
    return [(m.group(1), m.group(2)) for m in _PIECE.finditer(text)]


def is_word(piece: str) -> bool:
    return piece[0].isalnum()


def spelling(piece: str) -> str:
    """How a word is looked up: lower case, straight apostrophe."""
    return piece.lower().replace("’", "'")


class TextShortener(TransformerMixin, BaseEstimator):
    """Thins out texts; learns word frequencies and the language from the texts given to `fit`, and from no others.

    Args:
        remove_stopwords: drop the words of the list.
        stopwords: "auto" (the language whose list covers the texts best), a language code, or a set of words.
        keep_negations: words such as "not" stay, also where a given set holds them.
        remove_punctuation: drop punctuation marks.
        min_frequency: drop words seen less often than this in the texts of `fit`.
        drop_repeated: keep only a word's first occurrence in a text.
        keep: "first" cuts the end off; "head_tail" keeps as many tokens of the beginning as of the end.
        max_tokens: the encoder's limit; None does not cut. Counted by `tokenizer`, whole words only.
        tokenizer: a `tokenizers` or `transformers` tokenizer, or a function from text to tokens; None counts words.
        special_tokens: how many of `max_tokens` the encoder takes for itself.

    Attributes:
        language_: code of the list, "" for a given set. coverage_: share of the words of `fit` that it holds.
        counts_: frequency of each word in `fit`, where `min_frequency` is given.
        spent_: over all calls of `transform`: texts, words_in, words_out, tokens_in, tokens_out, and `fell_back`:
            texts of which nothing was left, so that the raw text was taken.
    """

    def __init__(
        self,
        remove_stopwords: bool = True,
        stopwords: Any = "auto",
        keep_negations: bool = True,
        remove_punctuation: bool = False,
        min_frequency: int | None = None,
        drop_repeated: bool = False,
        keep: str = "first",
        max_tokens: int | None = None,
        tokenizer: Any = None,
        special_tokens: int = 2,
    ):
        self.remove_stopwords = remove_stopwords
        self.stopwords = stopwords
        self.keep_negations = keep_negations
        self.remove_punctuation = remove_punctuation
        self.min_frequency = min_frequency
        self.drop_repeated = drop_repeated
        self.keep = keep
        self.max_tokens = max_tokens
        self.tokenizer = tokenizer
        self.special_tokens = special_tokens

    def fit(self, texts: Iterable[str], y: Any = None) -> "TextShortener":
        """Learns from the training texts. Warns when the stop words are those of another language."""
        if self.keep not in ("first", "head_tail"):
            raise bad("keep", "'first' or 'head_tail'", self.keep)
        if self.min_frequency is not None and self.min_frequency < 1:
            raise bad("min_frequency", "a count of at least 1, or None", self.min_frequency)
        if self.max_tokens is not None and self.max_tokens <= self.special_tokens:
            raise bad("max_tokens", f"more than the {self.special_tokens} special tokens", self.max_tokens)
        texts = _checked(texts)
        words = [spelling(p) for t in texts for _, p in pieces(t) if is_word(p)]
        guessed, share = lists.guess(words)
        self.language_, stop, negations = "", frozenset(), frozenset()
        if isinstance(self.stopwords, str):
            self.language_ = guessed if self.stopwords == "auto" else self.stopwords
            found = lists.load(self.language_)
            stop, negations = found.all, found.negations
        else:
            stop = frozenset(spelling(w) for w in self.stopwords)
            negations = frozenset().union(*(lists.load(code).negations for code in lists.languages()))
        self.coverage_ = lists.coverage(words, stop)
        if self.remove_stopwords and words:
            self._warn(guessed, share)
        self.stop_ = sorted(stop - negations if self.keep_negations else stop)
        self.counts_ = dict(Counter(words)) if self.min_frequency is not None else {}
        self.spent_: dict[str, int] = dict.fromkeys(
            ("texts", "words_in", "words_out", "tokens_in", "tokens_out", "fell_back"), 0
        )
        return self

    def transform(self, texts: Iterable[str]) -> list[str]:
        """The shortened texts. One of which nothing would be left stays as it was (and is cut)."""
        check_is_fitted(self)
        texts, out, count = _checked(texts), [], counter(self.tokenizer)
        stop = frozenset(self.stop_)
        for text in texts:
            thin = self._thin(text, stop)
            self.spent_["fell_back"] += not thin and bool(text.strip())
            short = self._cut(thin or text, count)
            out.append(short)
            for name, one in (("in", text), ("out", short)):
                self.spent_[f"words_{name}"] += len(one.split())
                self.spent_[f"tokens_{name}"] += count(one)
        self.spent_["texts"] += len(texts)
        return out

    def coverage(self, texts: Iterable[str]) -> dict[str, float]:
        """How much of what matters is kept: the mean share of a text's distinct informative words (no stop words,
        no marks) that are in the shortened text, `kept`, and in the raw text cut at the same limit, `raw_kept`."""
        texts = _checked(texts)
        spent = dict(self.spent_) if hasattr(self, "spent_") else {}
        short = self.transform(texts)
        self.spent_ = spent
        count, stop = counter(self.tokenizer), frozenset(self.stop_)

        def informative(text: str) -> set[str]:
            return {spelling(p) for _, p in pieces(text) if is_word(p)} - stop

        full = [informative(t) for t in texts]
        rows = [
            (len(f & informative(s)) / len(f), len(f & informative(self._cut(t, count))) / len(f))
            for f, s, t in zip(full, short, texts, strict=True)
            if f
        ]
        kept, raw = np.mean(rows, 0) if rows else (1.0, 1.0)
        return {"kept": float(kept), "raw_kept": float(raw)}

    def _thin(self, text: str, stop: frozenset[str]) -> str:
        seen: set[str] = set()
        out, gap, dropped = [], False, False
        for space, piece in pieces(text):
            gap = gap or bool(space)
            if is_word(piece):
                if self.remove_stopwords and self.language_ in ELIDING:
                    head, mark, tail = piece.replace("’", "'").partition("'")
                    piece = tail if mark and tail and head.lower() in stop else piece
                word = spelling(piece)
                rare = self.min_frequency is not None and self.counts_.get(word, 0) < self.min_frequency
                if (self.remove_stopwords and word in stop) or rare or (self.drop_repeated and word in seen):
                    dropped = True
                    continue
                seen.add(word)
            elif self.remove_punctuation:
                gap = True
                continue
            elif dropped and piece in PAUSES and (not out or out[-1].strip() in PAUSES):
                continue  # what stood between them is gone: one mark says it
            else:
                gap = bool(space)  # a comma after a dropped word joins the word before it
            out.append((" " if gap and out else "") + piece)
            gap = dropped = False
        return "".join(out) if seen else ""

    def _cut(self, text: str, count: Callable[[str], int]) -> str:
        return text if self.max_tokens is None else cut(text, self.max_tokens - self.special_tokens, count, self.keep)

    def _warn(self, guessed: str, share: float) -> None:
        if self.coverage_ < LOW_COVERAGE:
            warnings.warn(
                f"The stop words hold only {self.coverage_:.0%} of the words: they may be those of another language.",
                stacklevel=3,
            )
        elif self.language_ and guessed != self.language_ and share > 1.3 * self.coverage_:
            warnings.warn(
                f"The stop words are {lists.load(self.language_).name}, the texts look {lists.load(guessed).name}.",
                stacklevel=3,
            )


def shorten_each(texts: list[str], limit_words: int = 190) -> list[str]:
    """Each long text without the stop words of its own language; by itself, so no text depends on another.

    Texts that an encoder of 256 tokens reads whole (`limit_words`) stay, as do those in a language without a list.
    """
    out = []
    for text in texts:
        words = [spelling(p) for _, p in pieces(text) if is_word(p)]
        language, share = lists.guess(words) if len(words) > limit_words else ("", 0.0)
        out.append(_shortener(language).transform([text])[0] if share >= LOW_COVERAGE else text)
    return out


def _shortener(language: str) -> TextShortener:
    return TextShortener(stopwords=language).fit([])


def tokenizer_fertility(tokenizer: Any, texts: Iterable[str]) -> dict[str, Any]:
    """What a tokenizer makes of a corpus: `tokens_per_word`, tokens of a text at the median `p50` and at `p90`, and
    `share_over`: the share of texts with more than 128, 256 and 512 tokens. Special tokens are not counted."""
    texts = _checked(texts)
    count = counter(tokenizer)
    tokens = np.array([count(t) for t in texts] or [0])
    words = sum(len(t.split()) for t in texts)
    return {
        "tokens_per_word": float(tokens.sum() / max(words, 1)),
        "p50": float(np.quantile(tokens, 0.5)),
        "p90": float(np.quantile(tokens, 0.9)),
        "share_over": {limit: float((tokens > limit).mean()) for limit in LIMITS},
    }


def rank_checkpoints(tokenizers: Mapping[str, Any], texts: Iterable[str], limit: int = 256) -> list[dict[str, Any]]:
    """Candidates by name, the one that makes fewest tokens first, each with its fertility and `inside`: the share of
    all tokens that lie within the first `limit` of their text."""
    texts, out = _checked(texts), []
    for name, tokenizer in tokenizers.items():
        count = counter(tokenizer)
        tokens = np.array([count(t) for t in texts] or [0])
        inside = float(np.minimum(tokens, limit).sum() / max(tokens.sum(), 1))
        out.append(
            {"name": name, "tokens": int(tokens.sum()), "inside": inside, **tokenizer_fertility(tokenizer, texts)}
        )
    return sorted(out, key=lambda row: (row["tokens"], row["name"]))


def _checked(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise bad("texts", "a list of texts", texts)
    texts = list(texts)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise bad(f"texts[{i}]", "text", text)
    return texts
