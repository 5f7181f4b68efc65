"""What sampled texts are like, and how far the next-token distributions of two models lie apart.

Dims: B texts, T tokens read, N tokens of an answer, V vocabulary, W features.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smidgen.nets.decoder import Decoder
from smidgen.nets.products import full_speed

CHUNK = 256  # rows that are read at once
PIECE = 16  # tokens of which one vector is made


def duplicate_rate(ids_BN: np.ndarray, n: int = 4) -> np.ndarray:
    """Share of a text's n-grams that occurred in it before, `[B]`; 0 of texts shorter than n."""
    grams = _grams(ids_BN, n)
    if grams.shape[1] == 0:
        return np.zeros(len(ids_BN))
    ordered = np.sort(grams, 1)
    return (ordered[:, 1:] == ordered[:, :-1]).sum(1) / grams.shape[1]


def distinct(ids_BN: np.ndarray, n: int) -> float:
    """Distinct n-grams of all texts together, as a share of their number (Li et al., 2016, arXiv 1510.03055)."""
    grams = _grams(ids_BN, n)
    return len(np.unique(grams)) / grams.size if grams.size else 0.0


def same_start(a_BN: np.ndarray, b_BN: np.ndarray) -> np.ndarray:
    """Share of each text before the first token in which two differ, `[B]`."""
    same = a_BN == b_BN
    return np.where(same.all(1), same.shape[1], same.argmin(1)) / same.shape[1]


@torch.inference_mode()
def read_answers(model: Decoder, prompts_BT: Tensor, answers_BN: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Under a model: nats of each token of the answers `[B, N]`, and for every `PIECE` tokens the mean of what the
    output matrix reads `[B, N // PIECE, W]`."""
    nats, pieces = [], []
    T, N = prompts_BT.shape[1], answers_BN.shape[1]
    for prompt, answer in zip(prompts_BT.split(CHUNK), answers_BN.split(CHUNK), strict=True):
        with full_speed():
            x_BNW = model.hidden(torch.cat([prompt, answer[:, :-1]], 1))[:, T - 1 :]
            logits_BNV = x_BNW @ model.output_weight_VD.T
        own = logits_BNV.gather(2, answer[..., None])[..., 0]
        nats.append((logits_BNV.logsumexp(2) - own).numpy())
        pieces.append(x_BNW[:, : N - N % PIECE].unflatten(1, (-1, PIECE)).mean(2).numpy())
    return np.concatenate(nats), np.concatenate(pieces)


@torch.inference_mode()
def divergence(base: Decoder, other: Decoder, ids_BT: Tensor, temperatures: tuple[float, ...]) -> np.ndarray:
    """KL(base || other) of the next token at each temperature, nats, the mean over each text's places `[B, K]`."""
    found = []
    for ids in ids_BT.split(CHUNK // 4):
        with full_speed():
            p, q = ((m.hidden(ids) @ m.output_weight_VD.T).double() for m in (base, other))
        rows = []
        for t in temperatures:
            logp, logq = (p / t).log_softmax(2), (q / t).log_softmax(2)
            rows.append((logp.exp() * (logp - logq)).sum(2).mean(1))
        found.append(torch.stack(rows, 1))
    return torch.cat(found).numpy()


@torch.inference_mode()
def losses(model: Decoder, ids_BT: Tensor) -> np.ndarray:
    """Nats a token of each text, every token predicted from those before it, `[B]`."""
    out = []
    for ids in ids_BT.split(CHUNK):
        with full_speed():
            logits = model.hidden(ids[:, :-1]) @ model.output_weight_VD.T
        own = logits.gather(2, ids[:, 1:, None])[..., 0]
        out.append((logits.logsumexp(2) - own).mean(1))
    return torch.cat(out).numpy()


class Likeness:
    """How alike texts are to reference texts, in (0, 1]: the area under the frontier of exp(-scale KL) that both have
    to their mixtures, over clusters (Pillutla et al., 2021, arXiv 2102.01454, eq. 3).

    The clusters are those of the reference, and vectors are your own float model's of pieces of `PIECE` tokens, so that
    numbers compare within one study only.
    """

    def __init__(self, reference_QW: np.ndarray, clusters: int = 16, seed: int = 0, scale: float = 5.0) -> None:
        from sklearn.cluster import KMeans

        self.scale, self.clusters = scale, max(1, min(clusters, len(reference_QW) // 4))
        starts: Any = 2
        means = KMeans(self.clusters, n_init=starts, random_state=seed)
        self._means = means.fit(reference_QW.astype(np.float64))
        self._q = self._shares(reference_QW)

    def __call__(self, texts_PW: np.ndarray) -> float:
        p, q = self._shares(texts_PW), self._q
        points = [(0.0, 1.0)]
        for share in np.linspace(1e-6, 1 - 1e-6, 25):
            mix = share * p + (1 - share) * q
            points.append((math.exp(-self.scale * _kl(q, mix)), math.exp(-self.scale * _kl(p, mix))))
        x, y = np.array(sorted([*points, (1.0, 0.0)], key=lambda at: (at[0], -at[1]))).T
        return float(np.trapezoid(y, x))

    def _shares(self, x_PW: np.ndarray) -> np.ndarray:
        at = self._means.predict(x_PW.astype(np.float64))
        return np.bincount(at, minlength=self.clusters) / len(at)


def _kl(p: np.ndarray, q: np.ndarray) -> float:
    there = p > 0
    return float((p[there] * np.log(p[there] / q[there])).sum())


def _grams(ids_BN: np.ndarray, n: int) -> np.ndarray:
    """A number for each n-gram, `[B, N - n + 1]`, equal where they are (a hash of 64 bits)."""
    B, N = ids_BN.shape
    if n > N:
        return np.zeros((B, 0), np.uint64)
    out = np.zeros((B, N - n + 1), np.uint64)
    with np.errstate(over="ignore"):
        for k in range(n):
            out = out * np.uint64(0x9E3779B97F4A7C15) + ids_BN[:, k : N - n + 1 + k].astype(np.uint64) + np.uint64(1)
            out ^= out >> np.uint64(29)
    return out
