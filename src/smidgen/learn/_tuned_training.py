"""Tuning the sentence encoder on a few labelled texts: low-rank changes of its layers, and a loss over pairs.

Each step reads a batch with texts of all classes, or of some; texts of one class are to be alike, others to be at right
angles: squared errors of all pairs of the batch, those of one class and the others weighing the same (the loss of
SetFit; Tunstall et al., 2022, arXiv 2209.11055, which shows its pairs one by one: here a text is read once for all its
pairs). The change of each matrix has a low rank (LoRA; Hu et al., 2021, arXiv 2106.09685).
Dims: n texts, B of a batch, T their tokens, C classes, D width, R rank.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smidgen.kit.seeds import derive_seed
from smidgen.learn._tuned_tokens import batches
from smidgen.nets.minilm import LAYERS, WIDTH
from smidgen.nets.minilm_torch import SHAPES, Encoder, LowRank, Packing, pool, run_layer
from smidgen.train.schedules import Cosine

CLIP = 1.0  # of the norm of all gradients together
WARMUP = 0.1  # share of the updates


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """layers: the last ones, that are tuned; rank: of the changes; updates: how many; rate: of Adam at its height;
    batch: texts of an update; dropout: as in the encoder's own training."""

    layers: int
    rank: int
    updates: int
    rate: float
    batch: int
    dropout: float


def pair_loss(z_BD: Tensor, y_B: Tensor) -> Tensor:
    """Mean squared error of the cosines of all pairs, wanted 1 within a class and 0 between; both kinds weigh the same.
    z: unit vectors."""
    same = y_B[:, None] == y_B
    errors = (z_BD @ z_BD.T - same.float()).square()
    pairs = same & ~torch.eye(len(y_B), dtype=torch.bool)
    found = [errors[kind].mean() for kind in (pairs, ~same) if kind.any()]
    return torch.stack(found).mean()


class Batches:
    """Rows of each step: of few texts all; else as many of each class, of the classes whose turn it is."""

    def __init__(self, codes: np.ndarray, size: int, rng: np.random.Generator):
        self.codes, self.size, self.rng = codes, size, rng
        self.by_class = [np.flatnonzero(codes == c) for c in range(codes.max() + 1)]
        self.classes = min(len(self.by_class), max(2, size // 4))
        self.waiting: list[int] = []

    def __call__(self) -> np.ndarray:
        if len(self.codes) <= self.size:
            return np.arange(len(self.codes))
        if len(self.waiting) < self.classes:  # those that wait go first, and come once in a batch
            new = self.rng.permutation(len(self.by_class)).tolist()
            self.waiting += sorted(new, key=self.waiting.count)
        turn, self.waiting = self.waiting[: self.classes], self.waiting[self.classes :]
        each = -(-self.size // self.classes)
        return np.concatenate([self.rng.permutation(self.by_class[c])[:each] for c in turn])


def tune(encoder: Encoder, lower: Sequence[Tensor], codes: np.ndarray, tuning: Tuning, seed: int) -> list[LowRank]:
    """The changes of the last layers, from the output of the layers before them `[tokens, D]` of each text.

    The same seed gives the same changes on one machine.
    """
    random = torch.Generator().manual_seed(derive_seed(seed, "changes"))
    changes = [_start(tuning.rank, random) for _ in range(tuning.layers)]
    parameters = [p for change in changes for pair in change.values() for p in pair]
    optimizer = torch.optim.AdamW(parameters, lr=tuning.rate, weight_decay=0.0)
    schedule = Cosine(steps=tuning.updates, warmup=max(1, round(WARMUP * tuning.updates)), least=0.0)
    rows_of = Batches(codes, tuning.batch, np.random.default_rng(derive_seed(seed, "batches")))
    y = torch.from_numpy(codes)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(derive_seed(seed, "dropout"))  # dropout inside functions knows no other generator
        for step in range(tuning.updates):
            for group in optimizer.param_groups:
                group["lr"] = tuning.rate * schedule(step)
            rows = rows_of()
            z_BD = run_changed(encoder, [lower[i] for i in rows], changes, tuning.dropout)
            loss = pair_loss(z_BD, y[rows])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, CLIP)
            optimizer.step()
    return [{k: (a.detach(), b.detach()) for k, (a, b) in change.items()} for change in changes]


def run_changed(
    encoder: Encoder, lower: Sequence[Tensor], changes: Sequence[LowRank | None], dropout: float = 0.0
) -> Tensor:
    """Unit vectors `[B, D]` of texts whose lower layers' output is given; a layer with None stays as it is."""
    packing = Packing.of([len(one) for one in lower])
    x_TD = torch.cat(list(lower))
    for layer, change in zip(encoder.layers[LAYERS - len(changes) :], changes, strict=True):
        x_TD = run_layer(layer, x_TD, packing, change, dropout)
    return pool(x_TD, packing)


@torch.no_grad()
def embed(encoder: Encoder, lower: Sequence[Tensor], changes: Sequence[LowRank | None]) -> Tensor:
    """Unit vectors `[n, D]`, as `run_changed`, in batches of texts of like length."""
    out = torch.empty(len(lower), WIDTH)
    for batch in batches([len(one) for one in lower]):
        out[batch] = run_changed(encoder, [lower[i] for i in batch], changes)
    return out


def _start(rank: int, random: torch.Generator) -> dict[str, tuple[Tensor, Tensor]]:
    """Changes that change nothing yet: A random, B zero."""
    return {
        key: (
            (torch.randn(rank, inputs, generator=random) / inputs**0.5).requires_grad_(),
            torch.zeros(outputs, rank, requires_grad=True),
        )
        for key, (outputs, inputs) in SHAPES.items()
    }


def half(changes: Sequence[LowRank]) -> list[dict[str, list[np.ndarray]]]:
    """Changes as arrays to save: float16 [A, B], A of unit size, as it began."""
    return [{k: [m.numpy().astype(np.float16) for m in pair] for k, pair in change.items()} for change in changes]


def whole(saved: Sequence[dict[str, list[np.ndarray]]]) -> list[LowRank]:
    """The changes that `half` saved."""
    return [
        {
            k: (torch.from_numpy(a.astype(np.float32)), torch.from_numpy(b.astype(np.float32)))
            for k, (a, b) in one.items()
        }
        for one in saved
    ]
