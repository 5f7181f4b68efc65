"""Part of what makes activations hard to round is moved into the weight, which is easy to round.

Before both are rounded to int8, each input channel is divided by s and the weight's column multiplied by it, with
s = max|x|^a / max|w|^(1 - a) (SmoothQuant; Xiao et al., 2022, arXiv 2211.10438, equation 4).
Dims: R rows, C columns.
"""

import torch
from torch import Tensor

from smidgen.compress.awq import Rounded
from smidgen.compress.inputs import Inputs
from smidgen.formats.format import Format, as_matrix
from smidgen.kit.errors import BadInput, bad

_RANGE = 1e4  # of s: float16 says 1 / s


def smooth_scales(largest_C: Tensor, weight: Tensor, migration: float = 0.5) -> Tensor:
    """1 / s, float16 `[C]`; 1 where a column of weights or inputs is 0.

    Args:
        largest_C: largest |x| of each column on calibration data. weight: outputs first.
        migration: a, 0 (all difficulty stays with the activations) to 1 (all goes to the weight).
    """
    if not 0 <= migration <= 1:
        raise bad("migration", "0 to 1", migration)
    w_C = as_matrix(weight).abs().amax(0)
    s = largest_C.double().pow(migration) / w_C.double().pow(1 - migration)
    s = torch.where((largest_C > 0) & (w_C > 0), s, 1.0)
    return (1 / s.clamp(1 / _RANGE, _RANGE)).half()


def smoothquant(weight: Tensor, seen: Inputs, format: Format | None = None, *, migration: float = 0.5) -> Rounded:
    """The smoothed weight, int8 with a scale for each row unless said otherwise, and what its inputs are multiplied by;
    for a layer that rounds its inputs (`nets.packed_activations`).

    Raises:
        BadInput: nothing is known of the inputs (an embedding).
    """
    if seen.largest is None:
        raise BadInput("Smoothing needs a layer that multiplies: of an embedding no inputs are known.")
    inputs = smooth_scales(seen.largest.amax(0), weight, migration)
    scaled = (as_matrix(weight) / inputs.float()).reshape(weight.shape)
    return Rounded((format or Format("int8", "channel")).quantize(scaled), inputs)
