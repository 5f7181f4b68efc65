"""What a projection leaves out of a gradient, put to use without any moments of its own (Fira, arXiv 2410.01623).

Adam's effect on the part inside the subspace tells how far to go in the part outside of it: each column (each row,
where the right side is projected) is scaled as Adam scaled its projection. At small ranks this gets most of what
projecting loses; the state grows by one number a weight.
"""

import math
from collections.abc import MutableMapping
from typing import Any

from torch import Tensor

from smidgen.train.subspace import Basis, project_back

GROWTH = 1.01  # of the norm from step to step, at most: sudden gradients are damped
FREE = 0.1  # of the norm inside the subspace, which is always allowed: one empty step does not hold back all after it


def outside_update(grad_MN: Tensor, low: Tensor, direction: Tensor, basis: Basis) -> Tensor:
    """(G - P P^T G), scaled by the norms of what the optimizer made of P^T G over those of P^T G."""
    if basis.left_MR is not None and basis.right_NR is not None:
        ratio = direction.norm() / low.norm().clamp(min=1e-30)
    else:
        axis = 0 if basis.left_MR is not None else 1
        ratio = direction.norm(dim=axis, keepdim=True) / low.norm(dim=axis, keepdim=True).clamp(min=1e-30)
    return (grad_MN - project_back(low, basis)) * ratio.to(grad_MN.dtype)


def limit_growth_(update: Tensor, inside: float, state: MutableMapping[str, Any]) -> Tensor:
    """Scales an update, in place, to at most `GROWTH` times the norm of the one before, which `state` keeps.

    Args:
        inside: norm of the update inside the subspace.
    """
    norm = float(update.norm())
    limit = max(GROWTH * state.get("residual_norm", math.inf), FREE * inside)
    if norm > limit:
        update.mul_(limit / norm)
        norm = limit
    if math.isfinite(norm):
        state["residual_norm"] = norm
    return update
