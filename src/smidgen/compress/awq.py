"""Activation-aware scaling: columns that meet large inputs are written larger, so that rounding spoils them less.

W x = (W diag(s)) (x / s): the weight is quantized as W diag(s), and the inputs are divided by s when the layer runs.
With s = (mean |x|)^alpha, the best alpha of a grid is the one whose rounded weight errs least on the layer's outputs
(AWQ; Lin et al., 2023, arXiv 2306.00978, equations 4 and 5). That error is known from the second moment H alone.
Dims: R rows, C columns, G groups of rows with inputs of their own (s is shared by all: it is one number a column).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from smidgen.compress.gptq import DAMPING, damped, gptq, row_importance
from smidgen.compress.inputs import Inputs, by_group, squared_error
from smidgen.formats.format import Format, Quantized, as_matrix
from smidgen.formats.scales import Search
from smidgen.kit.errors import BadInput

ALPHAS = tuple(i / 10 for i in range(11))
_ROWS = 128  # that judge an alpha: evenly spread over the weight
_RANGE = 1e4  # of s, from its middle to either side: float16 says 1 / s


class Rounded(NamedTuple):
    """A quantized weight, and what its layer's inputs are multiplied by (float16 `[C]`; None: nothing)."""

    quantized: Quantized
    inputs: Tensor | None = None

    def weight(self) -> Tensor:
        """As it multiplies the inputs as they come, float32, in its shape."""
        return effective(self.quantized, self.inputs)


def effective(quantized: Quantized, inputs: Tensor | None) -> Tensor:
    """The dequantized weight with `inputs` in it."""
    w = quantized.dequantize()
    return w if inputs is None else (as_matrix(w) * inputs.float()).reshape(w.shape)


def awq(
    weight: Tensor,
    seen: Inputs,
    format: Format,
    *,
    alphas: Sequence[float] = ALPHAS,
    search: Search = "mse",
    damping: float = DAMPING,
    rows: int = _ROWS,
) -> Rounded:
    """A weight in a format, its columns scaled by what the inputs are, each number rounded by itself.

    The best alpha is found on some of the rows, then held against plain rounding on all of them: with scaling only
    where it is better.

    Args:
        alphas: the grid. rows: how many rows judge it.

    Raises:
        BadInput: nothing is known of the inputs (an embedding).
    """
    h_GCC, importance = _known(weight, seen, damping)

    def plain(w: Tensor, inputs: Tensor, important: Tensor) -> Quantized:
        return format.quantize(w, search=search, importance=important * inputs**2)

    return _chosen(weight, seen, h_GCC, importance, alphas, rows, plain, plain)


def awq_gptq(
    weight: Tensor,
    seen: Inputs,
    format: Format,
    *,
    alphas: Sequence[float] = ALPHAS,
    damping: float = DAMPING,
    rows: int = _ROWS,
    refine: int = 0,
) -> Rounded:
    """The same scaling (alpha as plain rounding finds it), then GPTQ on the scaled weight with the scaled H; without
    scaling where that errs less."""
    h_GCC, importance = _known(weight, seen, damping)

    def plain(w: Tensor, inputs: Tensor, important: Tensor) -> Quantized:
        return format.quantize(w, importance=important * inputs**2)

    def second_order(w: Tensor, inputs: Tensor, important: Tensor) -> Quantized:
        return gptq(w, h_GCC * inputs[:, None] * inputs, format, damping=0.0, refine=refine)

    return _chosen(weight, seen, h_GCC, importance, alphas, rows, plain, second_order)


def input_scales(magnitude_C: Tensor, alpha: float) -> Tensor:
    """1 / s as it is stored, float16 `[C]`: s = magnitude^alpha with its largest times its smallest number made 1.
    Columns that no input reached count as the smallest that one did."""
    seen = magnitude_C[magnitude_C > 0]
    if not len(seen) or alpha == 0:
        return torch.ones_like(magnitude_C).half()
    s = magnitude_C.clamp(min=float(seen.min())).double().pow(alpha)
    s = s / (s.max() * s.min()).sqrt()
    return (1 / s.clamp(1 / _RANGE, _RANGE)).half()


def _known(weight: Tensor, seen: Inputs, damping: float) -> tuple[Tensor, Tensor]:
    if seen.hessian is None or seen.magnitude is None:
        raise BadInput("Scaling by inputs needs a layer that multiplies: of an embedding no inputs are known.")
    rows, columns = as_matrix(weight).shape
    h_GCC = damped(by_group(seen.hessian, rows, columns), damping)
    return h_GCC, row_importance(h_GCC, rows)


def _chosen(
    weight: Tensor,
    seen: Inputs,
    h_GCC: Tensor,
    importance: Tensor,
    alphas: Sequence[float],
    rows: int,
    trial: Callable[[Tensor, Tensor, Tensor], Quantized],
    final: Callable[[Tensor, Tensor, Tensor], Quantized],
) -> Rounded:
    x_RC = as_matrix(weight)
    magnitude_C = seen.magnitude.mean(0)  # type: ignore[union-attr]
    ones = torch.ones_like(magnitude_C)
    at = _some(len(x_RC), len(h_GCC), rows)
    x = x_RC[at]
    important = importance if importance.dim() == 1 else importance[at]

    def error(alpha: float) -> float:
        inputs = input_scales(magnitude_C, alpha).float()
        made = trial(x / inputs, inputs, important)
        return float(squared_error(x - effective(made, inputs), h_GCC).sum())

    alpha = min(alphas, key=error)
    best = Rounded(final(weight, ones, importance))
    if alpha == 0:
        return best
    inputs = input_scales(magnitude_C, alpha)
    scaled = (x_RC / inputs.float()).reshape(weight.shape)
    other = Rounded(final(scaled, inputs.float(), importance), inputs)
    errors = [float(squared_error(weight - r.weight(), h_GCC).sum()) for r in (best, other)]
    return other if errors[1] < errors[0] else best


def _some(rows: int, groups: int, most: int) -> Tensor:
    """int64: rows evenly spread, each group's part."""
    each = rows // groups
    many = min(each, max(1, most // groups))
    inside = torch.linspace(0, each - 1, many).long()
    return (torch.arange(groups)[:, None] * each + inside).reshape(-1)
