"""Tiny decoders of bytes, trained on books for so many tokens: what claims about scaling measure on two cores.

Dims: R windows, B rows of a batch, T bytes of a window, N bytes of a text.
"""

import functools
import math
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from smidgen.kit.seeds import derive_seed
from smidgen.nets.decoder import Decoder, DecoderConfig, parameters
from smidgen.tasks import known
from smidgen.train.loop import LoopConfig, NonFinite, Run, train
from smidgen.train.schedules import Cosine

LENGTH = 64  # bytes of a window
HELD = 1024  # windows of the text held out
WORDS = 256
WARMUP, FLOOR = 0.05, 0.1  # share of the updates; rate at the end, as a share of the peak


def config(hidden: int, layers: int, max_len: int = LENGTH) -> DecoderConfig:
    """Heads of 8 or 16, a feed-forward of 8/3."""
    heads = hidden // 16 if hidden % 16 == 0 else hidden // 8
    return DecoderConfig(
        vocab=WORDS, hidden=hidden, layers=layers, heads=heads, kv_heads=heads, ffn=8 * round(hidden / 3),
        max_len=max_len,
    )  # fmt: skip


def sizes(of: DecoderConfig) -> tuple[int, int]:
    """(all parameters, those without the embedding)."""
    whole = parameters(of)
    return whole, whole - of.vocab * of.hidden


def loss_after(
    of: DecoderConfig, tokens: float, rate: float, batch_tokens: int, seed: int, small: bool = False
) -> float:
    """Nats a byte on held-out books after training on so many bytes; infinite where it broke down."""
    model = Decoder(of, seed)
    try:
        with suppress(NonFinite):
            fit(model, tokens, rate, batch_tokens, seed, small)
    except FloatingPointError:
        return math.inf
    held_RT = _texts(small)[1]
    total = 0.0
    with torch.no_grad():
        for part_RT in held_RT.split(256):
            total += float(_loss(model, *_split(part_RT))[0])
    return total / (held_RT.shape[0] * LENGTH) if math.isfinite(total) else math.inf


def fit(
    model: Decoder, tokens: float, rate: float, batch_tokens: int, seed: int, small: bool = False, length: int = LENGTH
) -> None:
    """Trains a model in place on so many bytes of books, in windows of `length`; at small scale on a made-up text.

    Raises:
        NonFinite, FloatingPointError: it broke down.
    """
    rows = max(1, batch_tokens // length)
    torch.set_num_threads(1)  # products this small only wait for each other
    steps = max(2, round(tokens / (rows * length)))
    text_N = _texts(small)[0]
    torch.manual_seed(seed)
    run = Run(model, torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True))
    schedule = Cosine(steps=steps, warmup=max(1, round(WARMUP * steps)), least=FLOOR)
    train(run, lambda n: _batch(text_N, rows, seed, n, length), _loss, schedule, LoopConfig(), steps=steps)


def held_windows(count: int, length: int, seed: int, small: bool = False) -> Tensor:
    """Ids `[count, length]` of the text held out, from places of a seed."""
    held_N = _bytes(small)[1]
    rng = np.random.default_rng(derive_seed(seed, "held windows"))
    return _at(held_N, np.sort(rng.choice(len(held_N) - length, count, replace=False)), length - 1)


def _loss(model: Decoder, ids_BT: Tensor, targets_BT: Tensor) -> tuple[Tensor, int]:
    return model(ids_BT, targets_BT=targets_BT), targets_BT.numel()


@functools.cache
def _texts(small: bool) -> tuple[np.ndarray, Tensor]:
    """Bytes to train on, and windows held out."""
    text_N, held_N = _bytes(small)
    places = np.linspace(0, len(held_N) - LENGTH - 1, 32 if small else HELD).astype(int)
    return text_N, _at(held_N, places)


@functools.cache
def _bytes(small: bool) -> tuple[np.ndarray, np.ndarray]:
    """Bytes to train on, and bytes held out."""
    if small:
        text_N = ((np.arange(20_000) % 13 + np.arange(20_000) % 7) + 97).astype(np.uint8)
        held_N = text_N[:4000]
    else:
        text_N, held_N = (
            np.frombuffer("\n\n".join(row["text"] for row in known.lines("books_lm", part)).encode(), np.uint8)
            for part in ("train", "val")
        )
    return text_N, held_N


def _batch(text_N: np.ndarray, rows: int, seed: int, number: int, length: int = LENGTH) -> tuple[Tensor, Tensor]:
    """Windows at random places that depend on seed and number alone."""
    rng = np.random.default_rng(derive_seed(seed, "byte windows", number))
    return _split(_at(text_N, rng.integers(0, len(text_N) - length, rows), length))


def _at(text_N: np.ndarray, starts: np.ndarray, length: int = LENGTH) -> Tensor:
    """Bytes from each start on, and one after `length`."""
    return torch.from_numpy(text_N[starts[:, None] + np.arange(length + 1)].astype(np.int64))


def _split(rows: Tensor) -> tuple[Tensor, Tensor]:
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
