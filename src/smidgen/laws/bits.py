"""What more bits a weight would buy: the loss of a language model of N parameters after D tokens, by its bits.

Two ways to few bits: a model trained at 16 that is rounded at the end (`qid`), and one trained in a small
floating-point format from the start (`float_bits`). Laws may be one's own, fitted to own runs, and then have intervals;
without them the published ones answer, which have none and hold for large models of subword tokens: what lies outside
their runs is marked with how far.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.kit.errors import bad
from smidgen.laws import float_bits, qid
from smidgen.laws.float_bits import FloatBitsLaw
from smidgen.laws.qid import QiDLaw

WIDTHS = (2, 3, 4, 6, 8, 16)
BLOCK = 128  # weights that share a scale
ROUNDED, TRAINED = "rounded after training", "trained in this format"


@dataclass(frozen=True)
class BitsRow:
    """One width by one way.

    Attributes:
        bits: a weight. way: "rounded after training" or "trained in this format".
        loss: forecast, nats a token. lost: of it by having fewer than 16 bits.
        low, high: ends of the interval of `lost`; None: the law is a published one.
        bytes: of the weights alone, without scales.
        outside: how far out of the law's runs the question is, as a factor; 1 inside.
    """

    bits: float
    way: str
    loss: float
    lost: float
    low: float | None
    high: float | None
    bytes: float
    outside: float

    @property
    def extrapolated(self) -> bool:
        return self.outside > 1


def what_bits_buy(
    n: float, d: float, bits: Sequence[float] = WIDTHS, *, rounding: QiDLaw | None = None,
    training: FloatBitsLaw | None = None, base: Callable[..., Any] | None = None, block: int = BLOCK,
    level: float = 0.9,
) -> list[BitsRow]:  # fmt: skip
    """A row for each width and way, fewest bits first.

    Args:
        n, d: parameters without embeddings, tokens trained on.
        rounding, training: laws; default: the published ones. base: loss of the whole model by (n, d), for rounding;
            default: the one that goes with the published law. The losses of the two ways come from laws of different
            texts and tokenizers: compare what is lost, and losses only within a way.
    Raises:
        BadInput: numbers not above 0, widths below 2 or that are not whole.
    """
    for name, value in (("parameters", n), ("tokens", d)):
        if not 0 < value < float("inf"):
            raise bad(name, "a finite number above 0", value)
    for width in bits:
        if width < 2 or width != int(width):
            raise bad("bits", "whole numbers from 2 on", width)
    rounding, training = rounding or qid.published(), training or float_bits.published()
    whole = float(np.asarray((base or qid.pythia_loss)(n, d)))
    rows = []
    for width in sorted({float(b) for b in bits}):
        lost = float(rounding.qid(n, d, width, anyway=True)[0])
        ends = _ends(rounding.interval(n, d, width, level, anyway=True)) if rounding.law else (None, None)
        far = 1.0 if width >= qid.UNROUNDED else float(rounding.outside(n, d, width).max())
        rows.append(BitsRow(width, ROUNDED, whole + lost, lost, *ends, n * width / 8, far))
        if width < qid.UNROUNDED:
            e, m = training.best_layout(int(width))
            lost = float(training.penalty(n, d, e, m, block, anyway=True))
            loss = float(training.loss(n, d, e, m, block, anyway=True))
            ends = (None, None)
            if training.law is not None and training.law.draws_KP is not None:
                low, high = _ends(training.interval(n, d, e, m, block, level, anyway=True))
                ends = low - loss + lost, high - loss + lost
            rows.append(BitsRow(width, TRAINED, loss, lost, *ends, n * width / 8, float(training.outside(n, d).max())))
    return rows


def best_for_memory(
    memory_bytes: float, d: float, bits: Sequence[float] = WIDTHS, *, rounding: QiDLaw | None = None,
    base: Callable[..., Any] | None = None,
) -> list[tuple[float, BitsRow]]:  # fmt: skip
    """Models that fill the same memory when rounded after training on `d` tokens, as (parameters, row), the least loss
    first: many parameters of few bits, or few of many. Raises as `what_bits_buy`."""
    if not memory_bytes > 0:
        raise bad("memory", "bytes above 0", memory_bytes)
    rows = []
    for width in bits:
        n = memory_bytes * 8 / width
        rows.append((n, what_bits_buy(n, d, [width], rounding=rounding, base=base)[0]))
    return sorted(rows, key=lambda pair: pair[1].loss)


def _ends(interval: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    return float(interval[0][0]), float(interval[1][0])
