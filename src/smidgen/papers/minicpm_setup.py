"""What the runs of claim 060 share: books and plays as windows of bytes, sizes, first weights, short trainings.

Dims: R windows, B rows of a batch, T bytes of a window, N bytes of a text.
"""

import functools
import gzip
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smidgen.kit.seeds import derive_seed
from smidgen.nets.decoder import Decoder, DecoderConfig
from smidgen.tasks import known
from smidgen.train.audit import CurveAudit
from smidgen.train.loop import LoopConfig, NonFinite, Run, train
from smidgen.train.width import transferable, width_groups

ROWS, LENGTH = 16, 64
INIT_STD = 0.28
TRIAL_ROWS = 8  # of the short runs over widths
GRID = tuple(0.02 * 2.0**k for k in range(-3, 4))
SHARE = 0.1  # of the rows of a fall that are of plays
DEALT = 5  # parts of the books


@dataclass(frozen=True)
class Texts:
    """As bytes; `held` and `held_plays` are other books and other plays."""

    books: np.ndarray
    held: np.ndarray
    plays: np.ndarray
    held_plays: np.ndarray


class Setup:
    """Of one seed; `small`: smoke scale, on made-up text.

    Attributes:
        S: updates of the first horizon. fall: updates of the fall from 1.8 S. trial: of a short run, at each rate of
            the grid and each width.
        shape, wide: of the model that is trained long, and of the widest of the short runs.
    """

    def __init__(self, seed: int, small: bool) -> None:
        self.seed = seed
        self.S, self.trial, self.grid = (10, 2, GRID[3:5]) if small else (250, 150, GRID)
        self.widths, hidden = ((8, 16, 32), 16) if small else ((32, 64, 128), 96)
        self.shape, self.wide = _shape(hidden, 1 if small else 3), _shape(self.widths[-1], 8)
        self.warm_up = 2 if small else 15
        self.fall = 2 * self.S // 10
        texts = _made() if small else _texts()
        part = len(texts.books) // DEALT
        self.text_N = texts.books[part * (seed % DEALT) :][:part]
        held = 8 if small else 512
        self.held_RT, self.held_plays_RT = (_spread(t, held) for t in (texts.held, texts.held_plays))
        self.plays_RT = _spread(texts.plays, round(SHARE * ROWS * self.fall))

    def batch(self, number: int, rows: int = ROWS) -> tuple[Any, Any]:
        """Inputs and targets `[B, T]` of the micro-batch of that number."""
        return split(_drawn(self.text_N, rows, self.seed, number))

    def with_plays(self, first: int, updates: int) -> Any:
        """Batches of which those from `first` on, so many, hold all windows of plays between them, evenly."""

        def at(number: int) -> tuple[Any, Any]:
            rows_BT = _drawn(self.text_N, ROWS, self.seed, number)
            if 0 <= number - first < updates:
                begin, end = (math.ceil((number - first + i) * len(self.plays_RT) / updates) for i in (0, 1))
                rows_BT[: end - begin] = self.plays_RT[begin:end]
            return split(rows_BT)

        return at

    def config(self, shape: dict[str, Any]) -> DecoderConfig:
        plain = DecoderConfig(vocab=256, layers=2, max_len=LENGTH, **shape)
        return transferable(plain, width_base=self.widths[0], init_std=INIT_STD)

    def new(self, rate: float, config: DecoderConfig | None = None) -> Run:
        """A run at its beginning."""
        model = Decoder(config or self.config(self.shape), self.seed)
        groups = width_groups(model.named_parameters(), rate, scale=model.config.logits_scale)
        return Run(model, torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=True))


def trained(run: Any, batches: Any, schedule: Any, steps: int) -> Any:
    """The model after `steps` updates, or as it was when its loss stopped being a number."""
    with suppress(NonFinite):
        train(run, batches, loss_of, schedule, LoopConfig(), steps=steps)
    return run.model


def loss_of(model: Any, ids_BT: Any, targets_BT: Any) -> tuple[Any, int]:
    return model(ids_BT, targets_BT=targets_BT), targets_BT.numel()


def held_loss(model: Any, rows_RT: Any) -> float:
    """Nats a byte on windows; infinite where it is not a number."""
    ids_RT, targets_RT = split(rows_RT)
    with torch.no_grad():
        total = float(model(ids_RT, targets_BT=targets_RT))
    return total / targets_RT.numel() if math.isfinite(total) else math.inf


def differing(a: Any, b: Any) -> int:
    """How many numbers of two runs' weights and moments differ."""

    def tensors(state: Any) -> list[Any]:
        moments = [m for of in state["optimizer"]["state"].values() for m in of.values()]
        return [*state["model"].values(), *moments]

    return sum(int(torch.ne(x, y).sum()) for x, y in zip(tensors(a), tensors(b), strict=True))


def audit_of(setup: Setup, model: Any) -> CurveAudit:
    """Ten looks a fall of the first horizon, on 32 held-out windows."""
    ids_BT, targets_BT = split(setup.held_RT[:: max(1, len(setup.held_RT) // 32)])

    def probe(model: Any) -> Any:
        return model(ids_BT, targets_BT=targets_BT) / targets_BT.numel()

    return CurveAudit(model, probe, every=2)


@functools.cache
def _texts() -> Texts:
    books = (_bytes("\n\n".join(row["text"] for row in known.lines("books_lm", part))) for part in ("train", "val"))
    folder = known.place("tiny_shakespeare")
    plays = (_bytes(gzip.decompress((folder / f"{part}.txt.gz").read_bytes()).decode()) for part in ("train", "test"))
    return Texts(*books, *plays)


def _made() -> Texts:
    """Letters that go round: enough to see that it runs, without the data sets."""
    ways = np.arange(6000) % 13 + np.arange(6000) % 7
    return Texts(*((ways + first).astype(np.uint8) for first in (97, 98, 40, 41)))


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def _shape(hidden: int, heads: int) -> dict[str, Any]:
    return {"hidden": hidden, "heads": heads, "kv_heads": heads, "ffn": 16 * round(hidden / 6)}


def _drawn(text_N: np.ndarray, rows: int, seed: int, number: int) -> Tensor:
    """Windows `int64 [B, T + 1]` at random places that depend on seed and number alone."""
    rng = np.random.default_rng(derive_seed(seed, "windows", number))
    return _at(text_N, rng.integers(0, len(text_N) - LENGTH, rows))


def _spread(text_N: np.ndarray, rows: int) -> Tensor:
    """Windows `int64 [R, T + 1]` at even distances over the whole text."""
    return _at(text_N, np.linspace(0, len(text_N) - LENGTH - 1, rows).astype(int))


def _at(text_N: np.ndarray, starts: np.ndarray) -> Tensor:
    return torch.from_numpy(text_N[starts[:, None] + np.arange(LENGTH + 1)].astype(np.int64))


def split(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and, one later, targets: `[B, T]` each."""
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
