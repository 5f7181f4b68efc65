"""An array, of numpy or torch, whose every operation is rounded by the active `precision` context.

Operators, elementwise functions of either library, sums, and what only moves numbers about. What computes inside a
library (matrix products, FFT) cannot be rounded step by step from outside: it is refused rather than left exact.
"""

import operator
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np

from smidgen.formats.significand import library
from smidgen.kit.errors import bad

ACTIVE: ContextVar[Any] = ContextVar("precision", default=None)  # the innermost Arithmetic
# By name, in numpy's and torch's spelling. The exact ones choose or change a sign: there is nothing to round.
_EXACT = "negative neg positive absolute abs fabs maximum minimum fmax fmin sign copysign"
_ROUNDED = """
    add subtract sub multiply mul divide div true_divide truediv sqrt rsqrt square reciprocal power pow exp exp2 expm1
    log log2 log10 log1p sin cos tan sinh cosh tanh arcsin arccos arctan arctan2 asin acos atan atan2 hypot cbrt sigmoid
"""
_COMPARED = "less less_equal greater greater_equal equal not_equal lt le gt ge eq ne isfinite isnan isinf signbit"
_MOVED = """
    roll stack concatenate cat where flip moveaxis movedim reshape broadcast_to transpose repeat take clip zeros_like
    ones_like
"""
EXACT, ROUNDED, COMPARED, MOVED = (frozenset(s.split()) for s in (_EXACT, _ROUNDED, _COMPARED, _MOVED))
ELEMENTWISE = EXACT | ROUNDED | COMPARED
ADDED = frozenset(("add", "subtract", "sub"))


def active() -> Any:
    """The innermost context. Raises BadInput: there is none."""
    arithmetic = ACTIVE.get()
    if arithmetic is None:
        raise bad("LowPrecisionArray", "an operation inside `with precision(...)`", "one outside")
    return arithmetic


def _refuse(name: str) -> Any:
    raise bad("operation", "one that can be rounded step by step", f"'{name}'", "Write it with + - * / and functions.")


def _settled(name: str, arithmetic: Any, values: list[Any], result: Any) -> "LowPrecisionArray":
    result = arithmetic.settle(result)
    if name in ADDED:
        arithmetic.added(*values, result)
    return LowPrecisionArray(result)


def _apply(name: str, function: Callable[..., Any], *operands: Any, **keywords: Any) -> Any:
    """An elementwise function of wrapped arrays and others, which are rounded first."""
    arithmetic = active()
    if name not in ELEMENTWISE:
        _refuse(name)
    values = [arithmetic.operand(x) for x in operands]
    result = function(*values, **keywords)
    if name in COMPARED:
        return result
    return LowPrecisionArray(_array(result)) if name in EXACT else _settled(name, arithmetic, values, result)


def _array(x: Any) -> Any:
    return np.array(x) if isinstance(x, np.generic) else x


def _operator(name: str, function: Callable[[Any, Any], Any]) -> tuple[Any, Any, Any]:
    """The operator, with exchanged operands, and in place."""

    def direct(self: "LowPrecisionArray", other: Any) -> Any:
        arithmetic = ACTIVE.get() or active()
        right = other.value if type(other) is LowPrecisionArray else arithmetic.operand(other)
        return _settled(name, arithmetic, [self.value, right], function(self.value, right))

    def exchanged(self: "LowPrecisionArray", other: Any) -> Any:
        arithmetic = ACTIVE.get() or active()
        left = arithmetic.operand(other)
        return _settled(name, arithmetic, [left, self.value], function(left, self.value))

    def in_place(self: "LowPrecisionArray", other: Any) -> "LowPrecisionArray":
        self.value[...] = direct(self, other).value
        return self

    return direct, exchanged, in_place


def _comparison(name: str, function: Callable[[Any, Any], Any]) -> Any:
    def compare(self: "LowPrecisionArray", other: Any) -> Any:
        return _apply(name, function, self, other)

    return compare


class LowPrecisionArray:
    """Made by `Arithmetic.array`. `value`: the numbers, all of them of the format.

    Reading it as a plain array (`numpy.asarray`, or storing it in one) gives its exact value. Comparisons give plain
    truth values. It has no gradients.
    """

    __slots__ = ("value",)
    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __init__(self, value: Any) -> None:
        self.value = value

    __add__, __radd__, __iadd__ = _operator("add", operator.add)
    __sub__, __rsub__, __isub__ = _operator("subtract", operator.sub)
    __mul__, __rmul__, __imul__ = _operator("multiply", operator.mul)
    __truediv__, __rtruediv__, __itruediv__ = _operator("divide", operator.truediv)
    __lt__, __gt__ = _comparison("less", operator.lt), _comparison("greater", operator.gt)
    __le__, __ge__ = _comparison("less_equal", operator.le), _comparison("greater_equal", operator.ge)
    __eq__, __ne__ = _comparison("equal", operator.eq), _comparison("not_equal", operator.ne)

    def __pow__(self, exponent: Any) -> Any:
        if isinstance(exponent, int) and exponent == 2:
            return self * self
        return _apply("power", lambda x: x**exponent, self)  # the exponent itself is not rounded

    def __matmul__(self, other: Any) -> Any:
        return _refuse("matmul")

    __rmatmul__ = __matmul__

    def __neg__(self) -> "LowPrecisionArray":
        return LowPrecisionArray(_array(-self.value))

    def __abs__(self) -> "LowPrecisionArray":
        return LowPrecisionArray(_array(abs(self.value)))

    def sqrt(self) -> Any:
        return _apply("sqrt", library(self.value).sqrt, self)

    def sum(self, axis: int | None = None) -> "LowPrecisionArray":
        """Pair by pair, each sum rounded. Raises BadInput: over the members of an ensemble."""
        arithmetic, x = active(), self.value
        if arithmetic.members > 1 and axis in (None, -1, x.ndim - 1):
            raise bad("axis", "another than that of the members, the last", axis)
        parts = x.reshape(-1) if axis is None else library(x).moveaxis(x, axis, 0)
        join = np.concatenate if isinstance(x, np.ndarray) else library(x).cat
        while len(parts) > 1:
            half = len(parts) // 2
            sums = arithmetic.settle(parts[:half] + parts[half : 2 * half])
            parts = join([sums, parts[2 * half :]])
        return LowPrecisionArray(np.array(parts[0]) if isinstance(x, np.ndarray) else parts[0].clone())

    def mean(self, axis: int | None = None) -> Any:
        count = int(np.prod(self.shape)) if axis is None else self.shape[axis]
        return self.sum(axis) / count

    def __getitem__(self, at: Any) -> "LowPrecisionArray":
        return LowPrecisionArray(_array(self.value[at]))

    def __setitem__(self, at: Any, x: Any) -> None:
        self.value[at] = active().operand(x)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        value = self.value if isinstance(self.value, np.ndarray) else self.value.cpu().numpy()
        return np.array(value, dtype, copy=copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **keywords: Any) -> Any:
        if method != "__call__" or keywords:
            raise bad(
                f"numpy.{ufunc.__name__}",
                "a plain call, without `out` or `where`, on wrapped arrays",
                method if method != "__call__" else f"{', '.join(keywords)}",
                "Wrap what is added to as well.",
            )
        return _apply(ufunc.__name__, ufunc, *operands)

    def __array_function__(self, function: Any, types: Any, args: Any, keywords: Any) -> Any:
        return _moved(function.__name__, function, args, keywords)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.__name__.strip("_")
        if name in ELEMENTWISE:
            return _apply(name, function, *args, **(kwargs or {}))
        return _moved(name, function, args, kwargs or {})

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    @property
    def ndim(self) -> int:
        return self.value.ndim

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    def __len__(self) -> int:
        return len(self.value)

    def copy(self) -> "LowPrecisionArray":
        return LowPrecisionArray(self.value.copy() if isinstance(self.value, np.ndarray) else self.value.clone())

    def __repr__(self) -> str:
        return f"LowPrecisionArray({self.value!r})"


def _moved(name: str, function: Any, args: Any, keywords: Any) -> Any:
    """What moves numbers about. Plain numbers among wrapped ones are rounded; truth values and indices are not."""
    if name in ("sum", "mean"):
        axis = keywords.get("axis", keywords.get("dim", args[1] if len(args) > 1 else None))
        return getattr(args[0], name)(axis)
    if name not in MOVED:
        _refuse(name)
    arithmetic = active()

    def plain(x: Any) -> Any:
        if isinstance(x, (list, tuple)) and any(isinstance(one, LowPrecisionArray) for one in x):
            return [arithmetic.operand(one) for one in x]
        floating = isinstance(x, (LowPrecisionArray, float)) or "float" in str(getattr(x, "dtype", ""))
        return arithmetic.operand(x) if floating else x

    return LowPrecisionArray(function(*map(plain, args), **keywords))
