"""Codes and scales made better for what a layer is fed, after any rounding: tr(E H E'), E = W - Q, only falls.

Codes: one column after the other takes the level that is best while all others stay, which is the nearest to
q_j + (E H)_j / H_jj (coordinate descent). Scales and offsets: least squares under H for the codes as they are; a row
of a weight is sum_g s_g z_g + o_g, so the normal equations of its groups are small. What cannot be said in the format's
kind of scales is rounded, and a row whose error rose keeps what it had.
Dims: G groups of rows with an H each, R rows of a group, C columns; K groups of columns that share a scale.
"""

import torch
from torch import Tensor

from smidgen.compress.inputs import by_group, squared_error
from smidgen.formats import rounding
from smidgen.formats.format import Quantized, Scaled, as_matrix
from smidgen.formats.scales import from_units, to_units

SWEEPS = 2  # over the codes, between two fits of the scales
_NUMBERS = 1 << 24  # of normal equations at a time


def refine(weight: Tensor, hessian: Tensor, start: Quantized, *, rounds: int = 3, block: int = 128) -> Quantized:
    """The quantized weight with better codes and scales; never worse under this H than the one it starts from.

    Args:
        weight: as it was. hessian: `[C, C]` or `[G, C, C]`, damped as for the rounding.
        rounds: fits of the scales, each followed by sweeps over the codes; fewer when nothing changes.
    """
    x_RC = as_matrix(weight)
    h_GCC = by_group(hessian, *x_RC.shape)
    best = sweep(x_RC, h_GCC, start, block=block)
    for _ in range(rounds):
        scaled = fit_scales(x_RC, h_GCC, best)
        if scaled is None:
            break
        best = sweep(x_RC, h_GCC, scaled.with_codes(best.codes), block=block)
    return best if _error(x_RC, best, h_GCC) <= _error(x_RC, start, h_GCC) else start


def sweep(x_RC: Tensor, h_GCC: Tensor, start: Quantized, *, sweeps: int = SWEEPS, block: int = 128) -> Quantized:
    """Codes by coordinate descent, scales as they are."""
    grid, groups = start.format.levels, len(h_GCC)
    order = torch.arange(x_RC.shape[1], device=x_RC.device)
    w, s, o = columns_first(x_RC, start.scaled, groups, order)
    codes = start.codes.reshape(groups, -1, w.shape[1]).transpose(1, 2).contiguous()
    q = from_units(rounding.values(codes, grid), s, o)
    diagonal = h_GCC.diagonal(dim1=1, dim2=2).clamp(min=1e-30)
    for _ in range(sweeps):
        pull = h_GCC @ (w - q)  # H E'
        moved = False
        for first in range(0, w.shape[1], block):
            end = min(first + block, w.shape[1])
            before = q[:, first:end].clone()
            for i in range(first, end):
                offset = None if o is None else o[:, i]
                wanted = q[:, i] + pull[:, i] / diagonal[:, i, None]
                codes[:, i] = rounding.codes(to_units(wanted, s[:, i], offset), grid)
                new = from_units(rounding.values(codes[:, i], grid), s[:, i], offset)
                if i + 1 < end:
                    step = new - q[:, i]
                    pull[:, i + 1 : end].addcmul_(h_GCC[:, i, i + 1 : end, None], step[:, None], value=-1)
                q[:, i] = new
            step = q[:, first:end] - before
            moved = moved or bool(step.any())
            if end < w.shape[1]:
                pull[:, end:].baddbmm_(h_GCC[:, end:, first:end], step, alpha=-1)
        if not moved:
            break
    return start.scaled.with_codes(rows_first(codes, order))


def fit_scales(x_RC: Tensor, h_GCC: Tensor, start: Quantized) -> Scaled | None:
    """Scales and offsets that fit these codes best under H; None where they are so already."""
    was, form = start.scaled, start.format
    z_RC = rounding.values(start.codes, form.levels)
    now = squared_error(x_RC - _matrix(start), h_GCC)
    change = _whole_change(x_RC, h_GCC, start, z_RC) if form.group == "tensor" else _changes(x_RC, h_GCC, start, z_RC)
    K = was.scales.shape[1]
    scales, offsets = was.scales + change[:, :K], None if was.offsets is None else was.offsets + change[:, K:]
    made = Scaled.keep(form, start.shape, scales, offsets)
    then = squared_error(x_RC - _matrix(made.with_codes(start.codes)), h_GCC)
    if form.group != "tensor":
        better = (then < now)[:, None]
        scales = torch.where(better, scales, was.scales)
        offsets = None if offsets is None or was.offsets is None else torch.where(better, offsets, was.offsets)
        made = Scaled.keep(form, start.shape, scales, offsets)
        then = squared_error(x_RC - _matrix(made.with_codes(start.codes)), h_GCC)
    return made if float(then.sum()) < float(now.sum()) else None


def columns_first(x_RC: Tensor, scaled: Scaled, groups: int, columns: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """The weight, and the scale and offset of each number, as `[G, C, R]` with columns in this order: a column lies in
    one piece."""

    def turned(x: Tensor) -> Tensor:
        x = x.expand(x_RC.shape)[:, columns]
        return x.reshape(groups, -1, x.shape[1]).transpose(1, 2).contiguous()

    s, o = scaled.spread()
    return turned(x_RC), turned(s), None if o is None else turned(o)


def rows_first(x_GCR: Tensor, columns: Tensor) -> Tensor:
    """Back: `[R, C]` of all groups, columns as they lie in storage."""
    out = torch.empty_like(x_GCR)
    out[:, columns] = x_GCR
    return out.transpose(1, 2).reshape(-1, x_GCR.shape[1])


def _changes(x_RC: Tensor, h_GCC: Tensor, start: Quantized, z_RC: Tensor) -> Tensor:
    """What to add to scales, then offsets: `[R, K]` or `[R, 2 K]`."""
    size, offset = start.format.group, start.scaled.offsets is not None
    size = size if isinstance(size, int) else x_RC.shape[1]
    e_RC = x_RC - _matrix(start)
    each, unknowns = len(x_RC) // len(h_GCC), start.scaled.scales.shape[1] * (2 if offset else 1)
    step = max(1, _NUMBERS // unknowns**2)
    out = []
    for g, h_CC in enumerate(h_GCC):
        for first in range(g * each, (g + 1) * each, step):
            rows = slice(first, min(first + step, (g + 1) * each))
            out.append(_solved(*_normal(z_RC[rows], e_RC[rows], h_CC, size, offset)))
    return torch.cat(out)


def _whole_change(x_RC: Tensor, h_GCC: Tensor, start: Quantized, z_RC: Tensor) -> Tensor:
    """The same where the whole weight has one scale: `[1, 1]` or `[1, 2]`."""
    e_RC, each = x_RC - _matrix(start), len(x_RC) // len(h_GCC)
    offset = start.scaled.offsets is not None
    parts = [
        _normal(z, e, h_CC, x_RC.shape[1], offset)
        for z, e, h_CC in zip(z_RC.split(each), e_RC.split(each), h_GCC, strict=True)
    ]
    return _solved(*(sum(p[i].sum(0, keepdim=True) for p in parts) for i in (0, 1)))  # type: ignore[arg-type]


def _normal(z_RC: Tensor, e_RC: Tensor, h_CC: Tensor, size: int, offset: bool) -> tuple[Tensor, Tensor]:
    """The normal equations of some rows: matrices `[R, U, U]` and right sides `[R, U]`, scales before offsets."""
    rows, columns = z_RC.shape
    K = -(-columns // size)
    pull = e_RC @ h_CC
    matrix = z_RC.new_zeros(rows, K * (2 if offset else 1), K * (2 if offset else 1))
    for k in range(K):
        here = slice(k * size, (k + 1) * size)
        along_RC = z_RC[:, here] @ h_CC[here]
        matrix[:, k, :K] = _sums(z_RC * along_RC, size)
        if offset:
            ones_C = h_CC[here].sum(0)
            matrix[:, k, K:] = _sums(along_RC, size)
            matrix[:, K:, k] = matrix[:, k, K:]
            matrix[:, K + k, K:] = _sums(ones_C[None], size)
    right = _sums(z_RC * pull, size)
    return matrix, torch.cat([right, _sums(pull, size)], 1) if offset else right


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    """With a touch of damping: groups whose codes are all alike say scale and offset only together."""
    matrix, right = matrix.double(), right.double()
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    add = torch.where(diagonal > 0, 1e-6 * diagonal, 1.0)
    lower, _ = torch.linalg.cholesky_ex(matrix + torch.diag_embed(add))
    found = torch.cholesky_solve(right[..., None], lower)[..., 0].float()
    return torch.where(torch.isfinite(found), found, 0.0)


def _sums(x_RC: Tensor, size: int) -> Tensor:
    """Of each group, `[R, K]`."""
    lacking = -x_RC.shape[1] % size
    x_RC = torch.nn.functional.pad(x_RC, (0, lacking)) if lacking else x_RC
    return x_RC.reshape(len(x_RC), -1, size).sum(-1)


def _matrix(quantized: Quantized) -> Tensor:
    return as_matrix(quantized.dequantize())


def _error(x_RC: Tensor, quantized: Quantized, h_GCC: Tensor) -> float:
    return float(squared_error(x_RC - _matrix(quantized), h_GCC).sum())
