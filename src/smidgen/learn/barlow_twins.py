"""Barlow Twins (Zbontar et al., 2021, arXiv 2103.03230): features from pictures without labels.

Two views of a batch go through one network. The cross-correlation of what comes out is drawn to the identity: views
agree feature by feature, and no feature repeats another. No negative pairs, second network or large batch is needed.

    twins = BarlowTwins(ConvNet(), 128, projector=(512, 512, 512), lambd=balanced_lambda(512))
    pretrain(twins, images, small_pair(), PretrainingConfig(epochs=15))      # learn/pretraining.py
    features = embed(twins.backbone, images)

At the start the loss is about D, the width of the projector's last layer, and with 8192 of them in the thousands: that
is how it is defined. A constant factor on it (`scale`) is not neutral under LARS with momentum or mixed precision.

Dims: N views of this process, G of all, D features of the projector.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from smidgen.kit.errors import BadInput, bad
from smidgen.nets.projector import projector as new_projector

EPS = 1e-5  # added to each variance: a constant feature gives 0, not NaN
PUBLISHED_LAMBDA, PUBLISHED_WIDTH = 0.0051, 8192
ROWS_AT_ONCE = 1 << 17  # numbers of the correlation that are squared at a time: they stay in the cache


@dataclass(frozen=True)
class BarlowTwinsStats:
    """on_diag: sum of (1 - C_ii)^2. off_diag: sum of the other C_ij^2, without lambda. effective_rank: of both views'
    embeddings together, 1 to D."""

    on_diag: float
    off_diag: float
    effective_rank: float


def barlow_twins_loss(
    z1: Tensor, z2: Tensor, *, lambd: float = 5e-3, normalize: Literal["batchnorm"] = "batchnorm", group: Any = None
) -> Tensor:
    """Sum of (1 - C_ii)^2, and lambda times that of C_ij^2, of the cross-correlation C of two views (equations 1, 2).

    Statistics and correlation are of the global batch, in float32, autocast or not. With several processes gradients
    are those of the sum of the (equal) losses of all, as of torch's own differentiable all-reduce: averaged over
    processes, as data-parallel training does, they are the gradient of the loss.

    Args:
        z1, z2: `[N, D]`, row i of both is the same picture; not normalised.
        lambd: weight of redundancy, 0 or more. group: of processes; None: all there are.
    Raises:
        BadInput (a ValueError): shapes differ, or fewer than 2 rows in all. TypeError: not floating point.
    """
    if normalize != "batchnorm":
        raise bad("normalize", "'batchnorm'", normalize)
    return _parts(z1, z2, lambd, group)[0]


def barlow_twins_stats(z1: Tensor, z2: Tensor, *, group: Any = None) -> BarlowTwinsStats:
    """Both parts of the loss, and the effective rank (of this process's views), which costs a decomposition."""
    with torch.no_grad():
        _, on, off = _parts(z1, z2, 0.0, group)
        return BarlowTwinsStats(float(on), float(off), effective_rank(torch.cat([z1, z2])))


def effective_rank(z_ND: Tensor) -> float:
    """How many directions embeddings use: exp of the entropy of the shares of the singular values of the centred
    matrix (Roy and Vetterli, 2007). 0 where all rows are equal."""
    values = torch.linalg.svdvals((z_ND - z_ND.mean(0)).double())
    if not float(values[0]) > 0:
        return 0.0
    share = values[values > 0] / values.sum()
    return float((-share * share.log()).sum().exp())


def balanced_lambda(width: int) -> float:
    """Lambda with which both parts weigh as in the paper: there are D terms of agreement and D (D - 1) of redundancy,
    so it falls as 1 / (D - 1), from 0.0051 at 8192 features; at most 0.05. The authors advise to try 1 / D to 0.05."""
    if width < 2:
        raise bad("width", "2 features or more", width)
    return min(0.05, PUBLISHED_LAMBDA * (PUBLISHED_WIDTH - 1) / (width - 1))


class BarlowTwins(nn.Module):
    """A backbone with a projector, for `learn.pretraining.pretrain`. After training take `backbone`.

    Args:
        backbone: gives features `[B, feature_dim]`. projector: widths of its layers. lambd: weight of redundancy, for
            narrow projectors see `balanced_lambda`. scale: factor of the loss. seed: of the projector's weights.
    """

    def __init__(
        self,
        backbone: nn.Module,
        feature_dim: int,
        projector: Sequence[int] = (8192, 8192, 8192),
        lambd: float = 5e-3,
        *,
        scale: float = 1.0,
        group: Any = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not (lambd >= 0 and math.isfinite(lambd)):
            raise bad("lambd", "0 or more", lambd)
        if not scale > 0:
            raise bad("scale", "above 0", scale)
        self.backbone, self.feature_dim = backbone, feature_dim
        self.projector = new_projector(feature_dim, projector, seed=seed)
        self.lambd, self.scale, self.group = lambd, scale, group

    def forward(self, view1: Tensor, view2: Tensor) -> Tensor:
        """The loss of two views of a batch of pictures."""
        return self.training_loss(view1, view2)[0]

    def training_loss(self, view1: Tensor, view2: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its parts by name. Views go through the network one after the other: each has its own batch
        statistics."""
        z1, z2 = (self.projector(self.embed(view)) for view in (view1, view2))
        loss, on, off = _parts(z1, z2, self.lambd, self.group)
        return loss * self.scale, {"on_diag": on, "off_diag": off}

    def embed(self, x: Tensor) -> Tensor:
        """Features `[B, feature_dim]`: of the backbone, not of the projector."""
        h = self.backbone(x)
        if h.shape != (len(x), self.feature_dim):
            raise bad("backbone", f"features [{len(x)}, {self.feature_dim}]", list(h.shape))
        return h

    def synchronised(self) -> nn.Module:
        """This module with BatchNorm layers that share their statistics between processes; torch has them on GPUs only.
        The loss's own normalisation always shares them."""
        return nn.SyncBatchNorm.convert_sync_batchnorm(self, self.group)


def _parts(z1: Tensor, z2: Tensor, lambd: float, group: Any) -> tuple[Tensor, Tensor, Tensor]:
    for name, z in (("z1", z1), ("z2", z2)):
        if not z.is_floating_point():
            raise TypeError(f"{name}: expected floating point, got {z.dtype}.")
    if z1.ndim != 2 or z1.shape != z2.shape:
        raise bad("z1, z2", "two embeddings [N, D] of one shape", f"{list(z1.shape)} and {list(z2.shape)}")
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size(group) > 1):
        if len(z1) < 2:
            raise BadInput(f"The batch has {len(z1)} rows: correlations need 2 or more. Drop the last short batch.")
        return _Loss.apply(z1, z2, lambd, None, False)
    return _Loss.apply(z1, z2, lambd, group, True)


class _Loss(torch.autograd.Function):
    """Normalisation, correlation and loss in one, with one matrix D x D and two N x D kept for the gradient.

    With h normalised, C = h1' h2 / G and K = dL/dC = 2 lambda C + diag(d), the gradient of h1 is h2 K' / G. On the way
    back through the normalisation its mean over the batch is taken off, which is 0 as h2 has mean 0, and h1 times the
    mean of its product with h1, which is the row sums of K * C over G: no pass over the batch, nothing to reduce.
    """

    @staticmethod
    def forward(ctx: Any, z1: Tensor, z2: Tensor, lambd: float, group: Any, many: bool) -> tuple[Tensor, ...]:
        (h1, s1), (h2, s2), count = _normalised(z1.float(), z2.float(), group, many)
        width = h1.shape[1]
        # In place, here and in `backward`: autocast, which would round them, leaves such products alone.
        corr_DD = h1.new_empty(width, width).addmm_(h1.T, h2, beta=0.0, alpha=1 / count)
        if many:
            dist.all_reduce(corr_DD, group=group)
        rows_D, columns_D = _square_sums(corr_DD)
        agree_D = corr_DD.diagonal().clone()
        on = (1 - agree_D).square().sum()
        off = (rows_D.sum() - agree_D.square().sum()).clamp_min(0.0)
        ctx.save_for_backward(h1, h2, s1, s2, corr_DD, rows_D, columns_D)
        ctx.lambd, ctx.count, ctx.dtypes = lambd, count, (z1.dtype, z2.dtype)
        ctx.times = dist.get_world_size(group) if many else 1
        ctx.mark_non_differentiable(on, off)
        return on + lambd * off, on, off

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:  # pyright: ignore
        h1, h2, s1, s2, corr_DD, rows_D, columns_D = ctx.saved_tensors
        twice = 2 * ctx.lambd
        agree_D = corr_DD.diagonal()
        d = (2 - twice) * agree_D - 2
        own, factor = d * agree_D, grads[0] * (ctx.times / ctx.count)
        out: list[Tensor | None] = [None, None]
        sides = ((h1, h2, corr_DD.T, rows_D, s1), (h2, h1, corr_DD, columns_D, s2))
        for i, (mine, other, corr, squares_D, s) in enumerate(sides):
            if ctx.needs_input_grad[i]:
                g = other * d
                g.addcmul_(mine, twice * squares_D + own, value=-1)
                if twice:
                    g.addmm_(other, corr, alpha=twice)
                out[i] = g.mul_(s * factor).to(ctx.dtypes[i])
        return *out, None, None, None


def _normalised(z1: Tensor, z2: Tensor, group: Any, many: bool) -> tuple[Any, Any, int]:
    """Both views with mean 0 and deviation 1 by feature over the global batch, 1 / deviation, and its size."""
    made = [torch.native_batch_norm(z.contiguous(), None, None, None, None, True, 0.0, EPS) for z in (z1, z2)]
    if not many:
        return (made[0][0], made[0][2]), (made[1][0], made[1][2]), len(z1)
    local = torch.stack([m[1] for m in made]) * len(z1)  # sums by feature
    sums = torch.cat([local.new_tensor([float(len(z1))]), local.flatten()])
    dist.all_reduce(sums, group=group)
    count = int(sums[0])
    if count < 2:
        raise BadInput(f"The batch has {count} rows: correlations need 2 or more. Drop the last short batch.")
    means = (sums[1:] / count).view_as(local)
    spread = torch.stack([len(z1) * (m[2] ** -2 - EPS + (m[1] - mean).square()) for m, mean in zip(made, means)])  # noqa: B905
    dist.all_reduce(spread, group=group)
    s = (spread / count + EPS).rsqrt()
    for (h, mean, one), m, t in zip(made, means, s, strict=True):  # from the local norm to the global one, in place
        h.mul_(t / one).add_((mean - m) * t)
    return (made[0][0], s[0]), (made[1][0], s[1]), count


def _square_sums(corr_DD: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of squares of rows and of columns, read once, without a second matrix."""
    rows_D, columns_D = corr_DD.new_empty(len(corr_DD)), corr_DD.new_zeros(len(corr_DD))
    some = max(1, ROWS_AT_ONCE // len(corr_DD)) if corr_DD.device.type == "cpu" else 1024
    for first in range(0, len(corr_DD), some):
        squares = corr_DD[first : first + some].square()
        torch.sum(squares, 1, out=rows_D[first : first + some])
        columns_D += squares.sum(0)
    return rows_D, columns_D
