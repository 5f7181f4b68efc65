"""Half-quadratic quantization: scales and offsets that a few large errors do not drag along; no data are needed.

The error of a group is the sum of |w - q|^p, p < 1, split as min over e of |e|^p + b / 2 |e - (w - q)|^2: the outliers'
errors e come from shrinking w - q (generalised soft thresholding), then offset and scale are least squares for w - e;
b grows from step to step (Badri & Shaji, 2023, "Half-Quadratic Quantization of Large Machine Learning Models",
equations 3 to 6). There the offset alone is fitted; here the scale is too, which is all that a format without offsets
has. Each group keeps the best of its steps, as it can be written down.
Dims: R rows, K groups of a row, S numbers of a group.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from smidgen.formats.format import Format, Quantized, Scaled, as_matrix
from smidgen.formats.rounding import round_to
from smidgen.formats.scales import Search, from_units, in_units, kept, least_squares
from smidgen.kit.errors import BadInput, bad


@dataclass(frozen=True, kw_only=True)
class HQQConfig:
    """Published settings, but that the scale is fitted too and starts from least squares ("absmax" there): both lower
    the sum of |w - q|^p.

    Attributes:
        p: of the norm, above 0 and at most 1. beta: b at the start; errors are in units of a step of the grid here, so
            that it means the same for every weight. growth: its factor from step to step. steps: at most.
        scale: whether it is fitted; without offsets there is nothing else to fit.
        search: how scales start.
    """

    p: float = 0.7
    beta: float = 10.0
    growth: float = 1.01
    steps: int = 20
    scale: bool = True
    search: Search = "mse"

    def __post_init__(self) -> None:
        if not 0 < self.p <= 1:
            raise bad("p", "above 0 and at most 1", self.p)
        if self.beta <= 0 or self.growth < 1 or self.steps < 1:
            raise bad("beta, growth, steps", "above 0, at least 1, at least 1", (self.beta, self.growth, self.steps))


def hqq(weight: Tensor, format: Format, config: HQQConfig | None = None) -> Quantized:
    """A weight in a format, without data.

    Raises:
        BadInput: NaN or infinity in the weight.
    """
    config = config or HQQConfig()
    x_RC = as_matrix(weight)
    if not bool(torch.isfinite(x_RC).all()):
        raise BadInput("The weight holds NaN or infinity: it cannot be quantized.")
    start = format.fit(weight, search=config.search)
    x_RKS, counts_RKS = format.grouped(x_RC), format.grouped(torch.ones_like(x_RC), fill=0)
    s_RK, o_RK = start.scales, start.offsets
    best_s, best_o = s_RK, o_RK
    best = _norms(x_RKS, counts_RKS, s_RK, o_RK, format, config.p)
    unit_RK1 = torch.where(s_RK == 0, 1.0, s_RK.abs())[..., None]
    beta = config.beta
    for _ in range(config.steps):
        q_RKS = round_to(in_units(x_RKS, s_RK, o_RK), format.levels)
        left_RKS = x_RKS - _back(q_RKS, s_RK, o_RK)
        target_RKS = x_RKS - shrink(left_RKS / unit_RK1, beta, config.p) * unit_RK1
        s_RK, o_RK = _fitted(target_RKS, q_RKS, counts_RKS, s_RK, o_RK, config.scale)
        s_RK, o_RK = kept(s_RK, o_RK, format.scales)
        norms = _norms(x_RKS, counts_RKS, s_RK, o_RK, format, config.p)
        better = norms < best
        if not bool(better.any()):
            break
        best = torch.where(better, norms, best)
        best_s = torch.where(better, s_RK, best_s)
        best_o = None if best_o is None or o_RK is None else torch.where(better, o_RK, best_o)
        beta *= config.growth
    made = Scaled.keep(format, tuple(weight.shape), best_s, best_o).quantize(weight)
    first = start.quantize(weight)
    return made if objective(weight, made, config.p) <= objective(weight, first, config.p) else first


def objective(weight: Tensor, quantized: Quantized, p: float = 0.7) -> float:
    """Sum of |w - q|^p."""
    return float((weight.detach().float() - quantized.dequantize()).abs().pow(p).sum())


def shrink(x: Tensor, beta: float, p: float) -> Tensor:
    """Generalised soft thresholding: towards 0 by |x|^(p - 1) / beta, and 0 below that (equation 4)."""
    size = x.abs()
    return torch.sign(x) * (size - size.clamp(min=1e-12).pow(p - 1) / beta).clamp(min=0)


def _fitted(
    x: Tensor, q: Tensor, counts: Tensor, s: Tensor, o: Tensor | None, scale: bool
) -> tuple[Tensor, Tensor | None]:
    """Scales and offsets of least squares for these codes (equation 6, and its like for scales)."""
    if o is None:
        return least_squares(x, q, s, None, counts)
    if scale:
        return least_squares(x, q, s, o, counts)
    return s, (counts * (x - s[..., None] * q)).sum(-1) / counts.sum(-1)


def _norms(x: Tensor, counts: Tensor, s: Tensor, o: Tensor | None, format: Format, p: float) -> Tensor:
    """Sum of |w - q|^p of each group."""
    back = _back(round_to(in_units(x, s, o), format.levels), s, o)
    return (counts * (x - back).abs().pow(p)).sum(-1)


def _back(q: Tensor, s: Tensor, o: Tensor | None) -> Tensor:
    return from_units(q, s[..., None], None if o is None else o[..., None])
