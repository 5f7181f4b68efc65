"""How fast this machine trains a decoder, and how fast it multiplies matrices at its best: measured, not looked up."""

import math
import time
from collections.abc import Callable

import torch

from smidgen.lm.search import optimizer_of
from smidgen.nets.decoder import Decoder, DecoderConfig, flops_per_token
from smidgen.train.precision import Precision, cast, context, products

SIDE = 1024  # of the matrices


def matrix_speed(precision: Precision, rounds: int = 5, seconds: float = 1.0) -> float:
    """Floating-point operations a second of a product of square matrices in the precision of the products; the best of
    some rounds, at least one, about so many seconds in all (a processor may have no bfloat16 of its own)."""
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    a, b = torch.ones(2, SIDE, SIDE, dtype=dtype)
    with products(precision):
        return 2 * SIDE**3 / _least(lambda: a @ b, rounds, seconds)


def training_speed(
    config: DecoderConfig,
    rows: int,
    length: int,
    precision: Precision,
    optimizer: str = "muon",
    updates: int = 4,
    seconds: float = 3.0,
) -> float:
    """Floating-point operations a second that updates of `rows` windows reach; the best of a few, at least one, about
    so many seconds in all."""
    model = cast(Decoder(config), precision)
    moves = optimizer_of(model, 1e-4, optimizer)
    ids_BT = torch.arange(rows * (length + 1)).reshape(rows, length + 1) % config.vocab

    def update() -> None:
        with products(precision):
            with context(precision):
                loss = model(ids_BT[:, :-1].contiguous(), targets_BT=ids_BT[:, 1:].contiguous())
            loss.backward()
        moves.step()
        moves.zero_grad()

    update()  # the first makes the optimizer's state
    return flops_per_token(config, length) * rows * length / _least(update, updates, seconds)


def _least(work: Callable[[], object], rounds: int, seconds: float = math.inf) -> float:
    best, begun = math.inf, time.perf_counter()
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() - begun > seconds:
            break
    return best
