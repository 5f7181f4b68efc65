"""Rounding that looks at the inputs: each column's error is made good by the columns that are not rounded yet.

With H the mean of x x' of a layer's inputs, the error is tr((W - Q) H (W - Q)'). Columns are rounded one after the
other; of the upper Cholesky factor U of H^-1, row i says how the columns after i take over the error e of column i:
w_j -= e U_ij / U_ii (GPTQ; Frantar et al., 2022, arXiv 2210.17323, equations 2 and 3, algorithm 1). Scales are chosen
first, for the weight as it was, with H's diagonal as importance: columns may then be rounded in any order (those with
the largest inputs first) and still lie in storage as they lay, with no index of groups.
Dims: G groups of rows with an H each, R rows of a group, C columns.
"""

from typing import Literal

import torch
from torch import Tensor

from smidgen.compress.inputs import by_group
from smidgen.compress.refine import columns_first, rows_first
from smidgen.compress.refine import refine as refine_codes
from smidgen.formats import rounding
from smidgen.formats.format import Format, Quantized, Scaled, as_matrix
from smidgen.formats.scales import Search, from_units, to_units
from smidgen.kit.errors import BadInput, bad

Order = Literal["activations", "given"]
DAMPING = 0.01
_RISES = 8  # of the damping, tenfold each, before a second moment is given up


def gptq(
    weight: Tensor,
    hessian: Tensor,
    format: Format,
    *,
    damping: float = DAMPING,
    order: Order = "activations",
    search: Search = "mse",
    block: int = 128,
    importance: Tensor | None = None,
    refine: int = 0,
) -> Quantized:
    """A weight in a format, for these inputs.

    Args:
        weight: outputs first, any shape. hessian: `[C, C]`, or `[G, C, C]` of grouped convolutions.
        damping: share of the mean of H's diagonal that is added to it; raised tenfold while H cannot be factored.
        order: largest inputs first, or the columns as they are given.
        importance: of each column (or number) for the scales; H's diagonal by default.
        refine: rounds of `refine.refine` afterwards.

    Columns that no input reached are rounded to nearest: nothing is known of them, so nothing is traded for them.

    Raises:
        BadInput: NaN in the weight or in H, an H that does not fit, or one that no damping makes positive definite.
    """
    if order not in ("activations", "given"):
        raise bad("order", "activations or given", order)
    if block < 1:
        raise bad("block", "at least 1", block)
    x_RC = as_matrix(weight)
    h_GCC = damped(by_group(hessian, *x_RC.shape), damping)
    if importance is None:
        importance = row_importance(h_GCC, len(x_RC))
    scaled = format.fit(weight, search=search, importance=importance)
    columns = column_order(h_GCC, order)
    u_GCC = inverse_factor(h_GCC, columns, damping)
    made = scaled.with_codes(_round(x_RC, scaled, u_GCC, columns, block))
    return refine_codes(weight, h_GCC, made, rounds=refine, block=block) if refine else made


def damped(h_GCC: Tensor, damping: float) -> Tensor:
    """H with a share of the mean of its diagonal added to it; 1 where all inputs were 0."""
    level = h_GCC.diagonal(dim1=1, dim2=2).mean(1)
    add = torch.where(level > 0, damping * level, 1.0)
    return h_GCC + torch.diag_embed(add[:, None].expand(-1, h_GCC.shape[1]))


def row_importance(h_GCC: Tensor, rows: int) -> Tensor:
    """H's diagonal, `[C]`, or `[R, C]` where there are groups; divided by its mean."""
    d_GC = h_GCC.diagonal(dim1=1, dim2=2)
    d_GC = d_GC / d_GC.mean(1, keepdim=True).clamp(min=1e-30)
    return d_GC[0] if len(d_GC) == 1 else d_GC.repeat_interleave(rows // len(d_GC), 0)


def column_order(h_GCC: Tensor, order: Order) -> Tensor:
    """int64 `[C]`: one order for all groups."""
    if order == "given":
        return torch.arange(h_GCC.shape[1], device=h_GCC.device)
    return torch.argsort(row_importance(h_GCC, len(h_GCC)).reshape(-1, h_GCC.shape[1]).mean(0), descending=True)


def inverse_factor(h_GCC: Tensor, columns: Tensor, damping: float) -> Tensor:
    """The upper factor U of H^-1 = U' U, columns in this order, `[G, C, C]`.

    With H = V V', V upper triangular (Cholesky from the last column), it is V^-1: the inverse of H is never formed.
    """
    h = h_GCC[:, columns][:, :, columns].flip(1, 2)
    level = h.diagonal(dim1=1, dim2=2).mean(1)
    more = max(damping, 1e-6)
    for _ in range(_RISES):
        lower, failed = torch.linalg.cholesky_ex(h)
        if not bool(failed.any()):
            eye = torch.eye(h.shape[1], device=h.device).expand_as(h)
            return torch.linalg.solve_triangular(lower.flip(1, 2).contiguous(), eye, upper=True)
        more *= 10
        h = h + torch.diag_embed(torch.where(failed > 0, more * level, 0.0)[:, None].expand(-1, h.shape[1]))
    raise BadInput("The second moment of a layer's inputs is not positive, however much it is damped.")


def _round(x_RC: Tensor, scaled: Scaled, u_GCC: Tensor, columns: Tensor, block: int) -> Tensor:
    """Codes `[R, C]`."""
    grid, groups = scaled.format.levels, len(u_GCC)
    w, s, o = columns_first(x_RC, scaled, groups, columns)
    codes = torch.empty(w.shape, dtype=torch.uint8 if grid.bits <= 8 else torch.int64, device=w.device)
    for start in range(0, w.shape[1], block):
        end = min(start + block, w.shape[1])
        errors = w.new_empty(groups, end - start, w.shape[2])
        for i in range(start, end):
            offset = None if o is None else o[:, i]
            codes[:, i] = rounding.codes(to_units(w[:, i], s[:, i], offset), grid)
            rounded = from_units(rounding.values(codes[:, i], grid), s[:, i], offset)
            e = (w[:, i] - rounded) / u_GCC[:, i, i, None]
            errors[:, i - start] = e
            if i + 1 < end:
                w[:, i + 1 : end].addcmul_(u_GCC[:, i, i + 1 : end, None], e[:, None], value=-1)
        if end < w.shape[1]:
            w[:, end:].baddbmm_(u_GCC[:, start:end, end:].transpose(1, 2), errors, alpha=-1)
    return rows_first(codes, columns)
