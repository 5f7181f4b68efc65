"""The ways to round a weight, by name: what each needs and about how long it takes, so that one can be chosen by time.

"rtn" each number to its nearest; "rtn+inputs" the same with scales for what the inputs are; "hqq" half-quadratic;
"gptq" second order; "gptq+refine" with codes and scales bettered after it; "awq" scaled columns; "awq+gptq" both.
Seconds are those of one thread. They are counted from shapes with rates of one machine, times how fast this one does a
small known job.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from smidgen.compress.awq import ALPHAS, Rounded, awq, awq_gptq
from smidgen.compress.gptq import DAMPING, damped, gptq, row_importance
from smidgen.compress.hqq import HQQConfig, hqq
from smidgen.compress.inputs import Inputs, by_group
from smidgen.compress.layers import Layer
from smidgen.formats.format import Format, matrix_shape
from smidgen.formats.scales import SHRINK
from smidgen.kit.errors import BadInput, NotFound

REFINE = 3  # rounds
_JUDGED = 128  # rows that judge an alpha

Round = Callable[[Tensor, Inputs | None, Format], Rounded]
Forecast = Callable[[tuple[int, ...], Format], float]


@dataclass(frozen=True)
class Method:
    """
    Attributes:
        name. says: in a few words.
        calibrated: it needs what a layer's inputs are; where a layer has none to speak of (an embedding, an expert that
            was never asked) it rounds to nearest.
        rounding: see `round`. forecast: seconds on the machine of the rates.
    """

    name: str
    says: str
    calibrated: bool
    rounding: Round
    forecast: Forecast

    def round(self, weight: Tensor, seen: Inputs | None, format: Format) -> Rounded:
        """A layer's weight in a format.

        Args:
            weight: outputs first. seen: of the calibration walk; not looked at by methods that need no data.

        Raises:
            BadInput: the method needs calibration and there was none.
        """
        if self.calibrated and seen is None:
            raise BadInput(f"{self.name} needs calibration data: give some, or use rtn or hqq.")
        if self.calibrated and seen is not None and seen.hessian is None:
            return Rounded(format.quantize(weight))
        return self.rounding(weight, seen, format)

    def seconds(self, shapes: Iterable[tuple[int, ...]], format: Format) -> float:
        """What rounding weights of these shapes takes here on one thread, without the calibration walk."""
        return slowness() * sum(self.forecast(shape, format) for shape in shapes)


def method(name: str) -> Method:
    """Raises NotFound for a name that is none."""
    if name not in METHODS:
        raise NotFound(f"There is no rounding method {name!r}: {', '.join(METHODS)}.")
    return METHODS[name]


def walk_seconds(layers: Iterable[Layer], rows: int) -> float:
    """What the second moments of so many inputs of each layer (tokens, places) take, the network's own time not
    counted; layers with the same inputs are counted each by itself, so it is at most this."""
    products = sum(2.0 * rows * matrix_shape(a.shape)[1] ** 2 for a in layers if a.kind != "embedding")
    return slowness() * products / _PRODUCTS


@cache
def slowness() -> float:
    """Seconds of a small known job here, over those of the machine of the rates."""
    x = torch.randn(128, 512, generator=torch.Generator().manual_seed(0))
    form, spent = Format("int4", 64), []
    for _ in range(3):
        start = time.perf_counter()
        form.fit(x)
        spent.append(time.perf_counter() - start)
    return max(0.05, min(spent) / _JOB)


# Rates of the machine that `_JOB` was timed on: seconds, products a second.
_JOB = 0.0165
_PRODUCTS = 8e10
_TRY = {True: 5.8e-9, False: 7.5e-8}  # of a number for one scale that is tried; whole levels, others
_COLUMN, _NUMBER = 8e-5, 4e-8  # of a column that is rounded by itself: as such, and of each of its numbers
_POWER = 1e-8  # of a number: to a power
_FACTOR = 2.8e10  # products a second of a factorization


def _fit(shape: tuple[int, ...], format: Format) -> float:
    rows, columns = matrix_shape(shape)
    levels = format.levels
    one_sided = format.offset or levels.levels[0] == -levels.levels[-1] or format.scales == "e8m0"
    tries = 2 * len(SHRINK) * (1 if one_sided else 2)
    return rows * columns * tries * _TRY[levels.integer] * (2.3 if format.offset else 1.0)


def _columns(shape: tuple[int, ...], format: Format) -> float:
    """One pass over the columns: round one, update the others."""
    rows, columns = matrix_shape(shape)
    each = _NUMBER * (1 if format.levels.integer else 2)
    return columns * _COLUMN + rows * columns * (each + columns / _PRODUCTS)


def _gptq(shape: tuple[int, ...], format: Format) -> float:
    columns = matrix_shape(shape)[1]
    return _fit(shape, format) + _columns(shape, format) + columns**3 / _FACTOR


def _refined(shape: tuple[int, ...], format: Format) -> float:
    rows, columns = matrix_shape(shape)
    unknowns = format.groups(columns) * (2 if format.offset else 1)
    normal = rows * columns * (2 * columns / _PRODUCTS + unknowns * 1e-8) + rows * unknowns**3 / _FACTOR
    return REFINE * normal + 2 * (REFINE + 1) * _columns(shape, format)


def _hqq(shape: tuple[int, ...], format: Format) -> float:
    rows, columns = matrix_shape(shape)
    steps = HQQConfig().steps
    return _fit(shape, format) + rows * columns * steps * (2 * _POWER + 2 * _TRY[format.levels.integer])


def _awq(shape: tuple[int, ...], format: Format) -> float:
    rows, columns = matrix_shape(shape)
    few = (min(rows, _JUDGED), columns)
    judged = len(ALPHAS) * (_fit(few, format) + 2 * few[0] * columns**2 / _PRODUCTS)
    return judged + 2 * _fit(shape, format) + 4 * rows * columns**2 / _PRODUCTS


def _awq_gptq(shape: tuple[int, ...], format: Format) -> float:
    return _awq(shape, format) + 2 * (_gptq(shape, format) - _fit(shape, format))


def _rtn(weight: Tensor, seen: Inputs | None, format: Format) -> Rounded:
    return Rounded(format.quantize(weight))


def _rtn_inputs(weight: Tensor, seen: Inputs | None, format: Format) -> Rounded:
    rows, columns = matrix_shape(tuple(weight.shape))
    h_GCC = damped(by_group(_hessian(seen), rows, columns), DAMPING)
    return Rounded(format.quantize(weight, importance=row_importance(h_GCC, rows)))


def _hessian(seen: Inputs | None) -> Tensor:
    assert seen is not None and seen.hessian is not None
    return seen.hessian


def _with_inputs(make: Callable[..., Rounded], **options: int) -> Round:
    def rounding(weight: Tensor, seen: Inputs | None, format: Format) -> Rounded:
        return make(weight, seen, format, **options)

    return rounding


METHODS = {
    m.name: m
    for m in (
        Method("rtn", "each number to its nearest", False, _rtn, _fit),
        Method("hqq", "half-quadratic, no data", False, lambda w, _, f: Rounded(hqq(w, f)), _hqq),
        Method("rtn+inputs", "to the nearest, scales for what the inputs are", True, _rtn_inputs, _fit),
        Method("awq", "columns scaled by what the inputs are", True, _with_inputs(awq), _awq),
        Method("gptq", "second order", True, lambda w, s, f: Rounded(gptq(w, _hessian(s), f)), _gptq),
        Method("awq+gptq", "scaled columns, second order", True, _with_inputs(awq_gptq), _awq_gptq),
        Method(
            "gptq+refine",
            "second order, then codes and scales bettered",
            True,
            lambda w, s, f: Rounded(gptq(w, _hessian(s), f, refine=REFINE)),
            lambda shape, f: _gptq(shape, f) + _refined(shape, f),
        ),
    )
}
