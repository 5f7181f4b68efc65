"""Paragraphs of one sentence each, as web pages are full of, become paragraphs where they belong together."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.data.filters.pieces import is_whole, paragraphs, sentences, words
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.seeds import derive_seed

Related = Callable[[str, str], float]  # the chance that a sentence goes on where another ended
MOST_WORDS = 20_000


@dataclass(frozen=True)
class SentenceJoiner:
    """Joins a paragraph of one sentence to the one before where a classifier finds them related; GEB-1.3B.

    Attributes:
        related: of (sentence, next sentence); `Continuation` is a small one. least: chance from which they are joined.
    """

    related: Related
    least: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1:
            raise bad("least", "a chance above 0, at most 1", self.least)

    def join(self, text: str) -> str:
        """The text, a line for each paragraph."""
        out, last = [], ""  # the sentence that may be gone on with; "" after a paragraph of several
        for paragraph in paragraphs(text):
            single = len(sentences(paragraph)) == 1
            if single and last and self.related(last, paragraph) >= self.least:
                out[-1] += " " + paragraph
            else:
                out.append(paragraph)
            last = paragraph if single else ""
        return "\n".join(out)

    def apply(self, texts: Iterable[str]) -> list[str]:
        return [self.join(t) for t in texts]

    def state(self) -> dict[str, Any]:
        related = self.related.state() if isinstance(self.related, Continuation) else None
        return {"least": self.least, "related": related}

    @classmethod
    def load(cls, state: dict[str, Any], related: Related | None = None) -> "SentenceJoiner":
        """Raises BadInput: its classifier is not ours and must be given."""
        own = Continuation.load(state["related"]) if state["related"] is not None else related
        if own is None:
            raise BadInput("The joiner was made with a classifier of its own: give it as `related`.")
        return cls(own, state["least"])


@dataclass(frozen=True)
class Continuation:
    """Whether a sentence follows another: a logistic regression on rare words in common and marks at the seam.

    Attributes:
        idf: of the words that it knows. weights `[4]`, bias: of the features.
    """

    idf: dict[str, float]
    weights: np.ndarray
    bias: float

    @classmethod
    def fit(cls, documents: Iterable[str], seed: int = 0) -> "Continuation":
        """Learns from sentences that follow each other in documents, against sentences of other documents.

        Raises:
            BadInput: fewer than two documents of two sentences.
        """
        from sklearn.linear_model import LogisticRegression

        read = [[s for p in paragraphs(d) for s in sentences(p)] for d in documents]
        read = [d for d in read if len(d) > 1]
        if len(read) < 2:
            raise BadInput("To learn what belongs together, give at least 2 documents of at least 2 sentences.")
        counts = Counter(w for d in read for w in {w for s in d for w in words(s)})
        idf = {w: math.log(len(read) / n) for w, n in counts.most_common(MOST_WORDS)}
        blank = cls(idf, np.zeros(4), 0.0)
        rng = np.random.default_rng(derive_seed(seed, "continuation"))
        rows, follows = [], []
        for i, document in enumerate(read):
            for a, b in zip(document, document[1:], strict=False):
                other = read[(i + rng.integers(1, len(read))) % len(read)]
                rows += [blank.features(a, b), blank.features(a, other[rng.integers(len(other))])]
                follows += [1, 0]
        fitted: Any = LogisticRegression().fit(np.array(rows), follows)
        return cls(idf, fitted.coef_[0], float(fitted.intercept_[0]))

    def __call__(self, first: str, second: str) -> float:
        return 1 / (1 + math.exp(-float(self.features(first, second) @ self.weights) - self.bias))

    def features(self, first: str, second: str) -> np.ndarray:
        """`[4]`: cosine of their words, weighted by idf; how different their lengths are; the first has no end; the
        second begins small."""
        a, b = set(words(first)), set(words(second))
        size = [math.sqrt(sum(self.idf.get(w, 0.0) ** 2 for w in side)) for side in (a, b)]
        common = sum(self.idf.get(w, 0.0) ** 2 for w in a & b) / (size[0] * size[1]) if min(size) > 0 else 0.0
        ratio = abs(math.log((len(first) + 1) / (len(second) + 1)))
        return np.array([common, ratio, float(not is_whole(first)), float(second[:1].islower())])

    def state(self) -> dict[str, Any]:
        return {"idf": self.idf, "weights": self.weights, "bias": self.bias}

    @classmethod
    def load(cls, state: dict[str, Any]) -> "Continuation":
        return cls(state["idf"], np.asarray(state["weights"]), state["bias"])
