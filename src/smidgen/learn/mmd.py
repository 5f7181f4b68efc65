"""Maximum mean discrepancy: how far two samples are from coming from one distribution (Gretton et al., 2012).

MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y), over all pairs, those of a row with itself too. k is a sum of
Gaussian kernels exp(-d^2 / (2 sigma)): widths of all sizes, so that none must be chosen. Squared distances come from
products of the samples, never from a table of all differences.

Dims: N and M rows, F features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from smidgen.kit.errors import bad

# of the published device selection; each stands where a squared width would
SIGMAS = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 100.0)
FLOOR = 1e-4  # least MMD^2: its inverse is a weight


def mmd_rbf(x_NF: Tensor, y_MF: Tensor, sigmas: Sequence[float] = SIGMAS, *, floor: float = FLOOR) -> Tensor:
    """Squared MMD of two samples, float64, at least `floor`.

    Features that are many make all distances large, so compare values only among samples of equal F, and of equal N and
    M too: of two samples of one distribution the mean is about 1/N + 1/M kernels, not 0.

    Raises:
        BadInput: no rows, other features, widths that are not above 0.
    """
    return mmd_rbf_to_many(x_NF, [y_MF], sigmas, floor=floor)[0]


def mmd_rbf_to_many(
    x_NF: Tensor, others: Sequence[Tensor], sigmas: Sequence[float] = SIGMAS, *, floor: float = FLOOR
) -> Tensor:
    """`[len(others)]`: `mmd_rbf` of one sample to each of several, its own kernel computed once."""
    if not sigmas or not min(sigmas) > 0:
        raise bad("sigmas", "widths above 0", tuple(sigmas))
    for y in (x_NF, *others):
        if y.ndim != 2 or not len(y) or y.shape[1] != x_NF.shape[1]:
            raise bad("samples", f"[rows, {x_NF.shape[-1]}] with at least 1 row", tuple(y.shape))
    x = x_NF.double()
    own, found = _mean_kernel(x, x, sigmas), []
    for y in others:
        y = y.double()
        found.append(own + _mean_kernel(y, y, sigmas) - 2 * _mean_kernel(x, y, sigmas))
    return torch.stack(found).clamp_min(floor)


def _mean_kernel(x_NF: Tensor, y_MF: Tensor, sigmas: Sequence[float]) -> Tensor:
    shift_F = x_NF.mean(0)  # far from 0 the products would swallow small distances
    a, b = x_NF - shift_F, y_MF - shift_F
    d_NM = (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp_min(0)
    if x_NF is y_MF:
        d_NM.fill_diagonal_(0)
    kernel = torch.zeros((), dtype=d_NM.dtype, device=d_NM.device)
    for sigma in sigmas:
        kernel = kernel + torch.exp(d_NM / (-2 * sigma)).mean()
    return kernel
