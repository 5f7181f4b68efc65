"""Pools of images of falling quality, and a small network trained on them pass by pass (claim 037).

Dims: N rows, D pixels, H hidden units, C classes, B rows of a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HIDDEN, BATCH, RATE = 128, 32, 0.1
CLASSES = 10


@dataclass(frozen=True)
class Images:
    """`x_ND` in 0 to 1, `y_N` classes."""

    x_ND: np.ndarray
    y_N: np.ndarray

    def __len__(self) -> int:
        return len(self.y_N)


def noisy_pools(images: Images, size: int, noises: Sequence[float], seed: int) -> list[Images]:
    """Disjoint pools, each with normal noise of its own on the pixels, drawn once."""
    rng = np.random.default_rng([seed, 3])
    order = rng.permutation(len(images))[: size * len(noises)].reshape(len(noises), size)
    return [
        Images(images.x_ND[rows] + noise * rng.normal(size=(size, images.x_ND.shape[1])), images.y_N[rows])
        for rows, noise in zip(order, noises, strict=True)
    ]


def mislabelled_pools(images: Images, size: int, shares: Sequence[float], seed: int) -> list[Images]:
    """Disjoint pools of clean images of which a share has wrong labels."""
    rng = np.random.default_rng([seed, 4])
    out = []
    for pool, share in zip(noisy_pools(images, size, [0.0] * len(shares), seed), shares, strict=True):
        wrong = rng.random(size) < share
        other = (pool.y_N + rng.integers(1, CLASSES, size)) % CLASSES
        out.append(Images(pool.x_ND, np.where(wrong, other, pool.y_N)))
    return out


def together(pools: Sequence[Images]) -> Images:
    return Images(np.concatenate([p.x_ND for p in pools]), np.concatenate([p.y_N for p in pools]))


def errors_after(train: Images, test: Images, samples: Sequence[int], seed: int) -> list[float]:
    """Test errors of one training by plain SGD with a constant step, each time that so many samples were seen."""
    rng = np.random.default_rng([seed, 5])
    inputs = train.x_ND.shape[1]
    W1 = (rng.normal(size=(inputs, HIDDEN)) * np.sqrt(2 / inputs)).astype(np.float32)
    W2 = (rng.normal(size=(HIDDEN, CLASSES)) * np.sqrt(1 / HIDDEN)).astype(np.float32)
    b1, b2 = np.zeros(HIDDEN, np.float32), np.zeros(CLASSES, np.float32)
    x_ND, hot_NC = train.x_ND.astype(np.float32), np.eye(CLASSES, dtype=np.float32)[train.y_N]
    test_ND = test.x_ND.astype(np.float32)
    wanted, out, seen = sorted(samples), [], 0
    order = np.empty(0, int)
    while len(out) < len(wanted):
        while len(order) < BATCH:
            order = np.concatenate([order, rng.permutation(len(train))])
        take, order = order[:BATCH], order[BATCH:]
        x, y = x_ND[take], hot_NC[take]
        h = np.maximum(x @ W1 + b1, 0)
        logits = h @ W2 + b2
        p = np.exp(logits - logits.max(1, keepdims=True))
        d = (p / p.sum(1, keepdims=True) - y) * np.float32(RATE / BATCH)
        dh = (d @ W2.T) * (h > 0)
        W2 -= h.T @ d
        b2 -= d.sum(0)
        W1 -= x.T @ dh
        b1 -= dh.sum(0)
        seen += BATCH
        while len(out) < len(wanted) and seen >= wanted[len(out)]:
            found = (np.maximum(test_ND @ W1 + b1, 0) @ W2 + b2).argmax(1)
            out.append(float((found != test.y_N).mean()))
    return out
