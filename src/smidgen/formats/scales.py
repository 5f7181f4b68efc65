"""Scales of groups of numbers: chosen to lose little, and written down in few bytes themselves.

A number is w = scale * level + offset. The scale of a group is that of its largest number ("absmax"), or the one of a
line search over narrower ranges whose squared error is least, followed by least squares for the codes that it gives
("mse"), or the one of a finer search that goes further down, for large groups with heavy tails ("line", see
`formats.noise`). Written down they are floats, powers of two (MX: one byte), FP8 numbers with one float32 a tensor
(NVFP4), or bytes of blocks of 256 scales less their mean (double quantization; Dettmers et al., 2023, arXiv 2305.14314,
section 3).
Dims: R rows, G groups of a row, S numbers of a group.
"""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from smidgen.formats.blockwise import Blockwise, Encoded
from smidgen.formats.grid import Grid, grid
from smidgen.formats.noise import best_scales_of
from smidgen.formats.rounding import round_to
from smidgen.kit.errors import bad

Kind = Literal["float32", "float16", "bfloat16", "e8m0", "e4m3fn", "double"]
Search = Literal["absmax", "mse", "line"]
BLOCK = 256  # scales that share a float32 under "double"
SHRINK = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4)
_SIZES = {"float32": 4, "float16": 2, "bfloat16": 2, "e8m0": 1, "e4m3fn": 1, "double": 1}
_FLOATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_TINY = {"float32": 1e-30, "float16": 2.0**-24, "bfloat16": 1e-30, "e8m0": 2.0**-127, "e4m3fn": 0.0, "double": 0.0}
_BLOCKWISE = Blockwise(levels="dynamic", block=BLOCK)
_BIAS = 127  # of e8m0
_TOGETHER = ("float32", "e4m3fn", "double")  # kept nearly as they are, or together with others: once, at the end


def check_kind(kind: str, offset: bool) -> None:
    """Raises BadInput for a kind that is none, or that cannot say offsets."""
    if kind not in get_args(Kind):
        raise bad("scales", ", ".join(get_args(Kind)), kind)
    if offset and kind in ("e8m0", "e4m3fn"):
        raise bad("scales", "float32, float16, bfloat16 or double, since there are offsets", kind)


def store(scales_RG: Tensor, kind: Kind) -> dict[str, Tensor]:
    """As tensors to keep: "codes" (or the floats themselves) `[R, G]`, with what they are relative to."""
    if kind in _FLOATS:
        limit = torch.finfo(_FLOATS[kind]).max
        return {"codes": scales_RG.clamp(-limit, limit).to(_FLOATS[kind])}
    if kind == "e8m0":
        exponent = torch.log2(scales_RG.abs().clamp(min=_TINY[kind])).round().clamp(-_BIAS, _BIAS)
        return {"codes": (exponent + _BIAS).to(torch.uint8)}
    if kind == "e4m3fn":
        whole = (scales_RG.abs().max() / grid("e4m3fn").largest).clamp(min=1e-30)
        return {"codes": (scales_RG / whole).to(torch.float8_e4m3fn).view(torch.uint8), "of": whole.float()}
    mean = scales_RG.mean() if scales_RG.numel() else scales_RG.new_zeros(())
    codes, of = _BLOCKWISE.encode(scales_RG - mean)
    return {"codes": codes, "of": of.float(), "mean": mean.float()}


def restore(stored: dict[str, Tensor], kind: Kind) -> Tensor:
    """float32 `[R, G]` of what `store` gave."""
    codes = stored["codes"]
    if kind in _FLOATS:
        return codes.float()
    if kind == "e8m0":
        return torch.exp2(codes.float() - _BIAS)
    if kind == "e4m3fn":
        return codes.view(torch.float8_e4m3fn).float() * stored["of"]
    return _BLOCKWISE.decode(Encoded(codes, stored["of"])) + stored["mean"]


def empty(rows: int, groups: int, kind: Kind) -> dict[str, Tensor]:
    """Tensors as `store` gives them, all zeros: to be filled."""
    codes = torch.zeros(rows, groups, dtype=_FLOATS.get(kind, torch.uint8))
    if kind == "e4m3fn":
        return {"codes": codes, "of": torch.zeros(())}
    if kind == "double":
        return {"codes": codes, "of": torch.zeros(-(-rows * groups // BLOCK)), "mean": torch.zeros(())}
    return {"codes": codes}


def stored_bytes(rows: int, groups: int, kind: Kind) -> int:
    """What the scales of a matrix take."""
    n = rows * groups
    return n * _SIZES[kind] + {"e4m3fn": 4, "double": 4 * -(-n // BLOCK) + 4}.get(kind, 0)


def choose(
    x_RGS: Tensor, g: Grid, *, offset: bool, kind: Kind, search: Search = "mse", weights: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Scales and offsets `[R, G]`, float32, such as `store` keeps exactly.

    Args:
        weights: how much each number's error counts, to be broadcast to x; also tells a last group's fill (0).
    """
    if search not in get_args(Search):
        raise bad("search", ", ".join(get_args(Search)), search)
    scales, offsets = _absmax(x_RGS, g, offset, kind)
    scales, offsets = kept(scales, offsets, kind)
    if search == "absmax":
        return scales, offsets
    if search == "line":
        return _line(x_RGS, g, scales, offsets, kind, weights)
    w = torch.ones_like(x_RGS) if weights is None else weights.expand_as(x_RGS)
    best = _error(x_RGS, g, scales, offsets, w)
    first, middle = scales, None if offsets is None else offsets + scales * float(g.levels[0] + g.levels[-1]) / 2
    signs = (1.0, -1.0) if _two_signs(g, offset, kind) else (1.0,)
    for sign in signs:
        for shrink in SHRINK:
            if sign * shrink == 1.0:
                continue
            s = first * (sign * shrink)
            o = None if middle is None else middle - s * float(g.levels[0] + g.levels[-1]) / 2
            for _ in range(2):
                if kind not in _TOGETHER:
                    s, o = kept(s, o, kind)
                error = _error(x_RGS, g, s, o, w)
                better = error < best
                best = torch.where(better, error, best)
                scales = torch.where(better, s, scales)
                offsets = None if o is None or offsets is None else torch.where(better, o, offsets)
                s, o = least_squares(x_RGS, round_to(in_units(x_RGS, s, o), g), s, o, w)
    return scales, offsets


def _line(
    x: Tensor, g: Grid, first: Tensor, offsets: Tensor | None, kind: Kind, weights: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Scales of the finer search; with offsets the middle of each group's range stays where it is."""
    span = float(g.levels[0] + g.levels[-1]) / 2
    middle = None if offsets is None else offsets + first * span
    flat = x.reshape(-1, x.shape[-1])
    alone = kind in _FLOATS or kind == "e8m0"  # each scale is kept by itself
    found = best_scales_of(
        flat,
        g,
        keep=(lambda s: restore(store(s.float(), kind), kind).double()) if alone else (lambda s: s),
        first_R=first.reshape(-1),
        middle_R=None if middle is None else middle.reshape(-1),
        weights_RN=None if weights is None else weights.expand_as(x).reshape(flat.shape),
        both_signs=_two_signs(g, offsets is not None, kind),
    )
    s = found.float().reshape(first.shape)
    return kept(s, None if middle is None else middle - s * span, kind)


def _two_signs(g: Grid, offset: bool, kind: Kind) -> bool:
    """Whether a scale below 0 says other numbers than one above."""
    return not (offset or g.levels[0] == -g.levels[-1] or kind == "e8m0")


def kept(scales: Tensor, offsets: Tensor | None, kind: Kind) -> tuple[Tensor, Tensor | None]:
    """What is read back of scales and offsets that are stored."""
    scales = restore(store(scales, kind), kind)
    return scales, None if offsets is None else restore(store(offsets, kind), kind)


def in_units(x_RGS: Tensor, scales_RG: Tensor, offsets_RG: Tensor | None) -> Tensor:
    """x in units of its group's scale; 0 where that is 0."""
    return to_units(x_RGS, scales_RG[..., None], None if offsets_RG is None else offsets_RG[..., None])


def to_units(x: Tensor, s: Tensor, o: Tensor | None) -> Tensor:
    """(x - offset) / scale; 0 where the scale is 0."""
    moved = x if o is None else x - o
    return torch.where(s == 0, 0.0, moved / torch.where(s == 0, 1.0, s))


def from_units(x: Tensor, s: Tensor, o: Tensor | None) -> Tensor:
    """x * scale + offset."""
    return x * s if o is None else x * s + o


def _absmax(x: Tensor, g: Grid, offset: bool, kind: Kind) -> tuple[Tensor, Tensor | None]:
    tiny = _TINY[kind]
    if offset:
        low, high = x.amin(-1), x.amax(-1)
        scales = ((high - low) / float(g.levels[-1] - g.levels[0])).clamp(min=tiny)
        return scales, low - scales * float(g.levels[0])
    largest = x.abs().amax(-1)
    if kind == "e8m0":  # the exponent of the largest number, less that of the grid's (OCP MX 1.0, section 6.3)
        top = math.floor(math.log2(float(g.levels[-1])))  # of int8 that of 127, not of the -128
        power = torch.floor(torch.log2(largest.clamp(min=tiny))) - top
        return torch.exp2(power.clamp(-_BIAS, _BIAS)), None
    return (largest / float(g.levels[-1])).clamp(min=tiny), None


def _error(x: Tensor, g: Grid, s: Tensor, o: Tensor | None, w: Tensor) -> Tensor:
    """Weighted squared error of each group, `[R, G]`."""
    back = round_to(in_units(x, s, o), g) * s[..., None]
    if o is not None:
        back = back + o[..., None]
    return (w * (x - back) ** 2).sum(-1)


def least_squares(x: Tensor, q: Tensor, s: Tensor, o: Tensor | None, w: Tensor) -> tuple[Tensor, Tensor | None]:
    """The scales (and offsets) that fit best the levels q; s where they cannot say."""
    if o is None:
        bottom = (w * q * q).sum(-1)
        return torch.where(bottom > 0, (w * q * x).sum(-1) / bottom.clamp(min=1e-30), s), None
    total = w.sum(-1).clamp(min=1e-30)
    mq, mx = (w * q).sum(-1) / total, (w * x).sum(-1) / total
    spread = (w * (q - mq[..., None]) ** 2).sum(-1)
    slope = (w * (q - mq[..., None]) * (x - mx[..., None])).sum(-1) / spread.clamp(min=1e-30)
    slope = torch.where(spread > 0, slope, s)
    return slope, mx - slope * mq
