"""Convolutions over the plane and a group of its matrices, their kernels given by small sine networks.

A feature map holds a value for each place x and each sampled matrix A. A group moves both: where the picture is
transformed by g, the map at (x, A) becomes what it was at (g^-1 x, g^-1 A). With few samples, redrawn at each pass, the
integrals are Monte Carlo sums, and equivariance is approximate. Source: arXiv 2310.11366; sine networks: Sitzmann et
al. (2020), arXiv 2006.09661.

Dims: B pictures, C and O channels in and out, G and Q samples in and out, H, W places, K kernel size, E coordinates.
A place is (x to the right, y down); the pixels of a kernel fill -1 to 1 on both axes.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.kit.errors import bad
from smidgen.nets.lie_groups import MatrixGroup, Pair
from smidgen.nets.lie_matrices import determinant, exact

_place = exact(lambda inverse_GE, grid: torch.einsum("gij,klj->gkli", inverse_GE, grid))
_matmul = exact(torch.matmul)


@dataclass(frozen=True, kw_only=True)
class SirenConfig:
    """Attributes: hidden: units a layer. n_hidden: layers of sines. w0: frequency."""

    hidden: int = 60
    n_hidden: int = 2
    w0: float = 10.0

    def __post_init__(self) -> None:
        if self.hidden < 1 or self.n_hidden < 1 or not self.w0 > 0:
            raise bad("kernel network", "hidden and n_hidden of at least 1, w0 above 0", self)


class Siren(nn.Module):
    """A network of sines, `[..., in_dim]` to `[..., out_dim]`, whose outputs have variance 1 / `fan_in` at first."""

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        config: SirenConfig | None = None,
        fan_in: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        config = config or SirenConfig()
        self.w0, H = config.w0, config.hidden
        self.size = fan_in**-0.5  # beside the weights, not in them: one rate then suits layers of any fan-in
        sizes = [in_dim, *[H] * config.n_hidden]
        self.sines = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))
        self.out = nn.Linear(H, out_dim)
        with torch.no_grad():
            for i, layer in enumerate(self.sines):
                limit = 1 / in_dim if i == 0 else math.sqrt(6 / H) / self.w0
                layer.weight.uniform_(-limit, limit, generator=generator)  # pyright: ignore
                layer.bias.uniform_(-math.pi / self.w0, math.pi / self.w0, generator=generator)  # pyright: ignore
            limit = math.sqrt(6 / H)
            self.out.weight.uniform_(-limit, limit, generator=generator)
            self.out.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.sines:
            x = torch.sin(self.w0 * layer(x))
        return self.out(x) * self.size


class _GroupKernel(nn.Module):
    """What both convolutions share: the grid of a kernel, its network, its edge."""

    grid: Tensor  # [K, K, 2]

    def __init__(
        self,
        group: MatrixGroup,
        channels: tuple[int, int],
        kernel_size: int,
        n_samples: int,
        coordinates: int,
        kernel_net: SirenConfig | None,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        if n_samples < 1:
            raise bad("n_samples", "at least 1", n_samples)
        if min(channels) < 1 or kernel_size < 1 or kernel_size % 2 == 0:
            raise bad("channels and kernel_size", "at least 1, and an odd size", (*channels, kernel_size))
        self.group, self.n_samples, self.channels = group, n_samples, channels
        axis = (2 * torch.arange(kernel_size) + 1) / kernel_size - 1  # middles of pixels that fill -1 to 1
        self.register_buffer("grid", torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1), persistent=False)
        # of a kernel that fills its circle; the mean over samples comes after
        fan_in = channels[0] * int((self.grid.norm(dim=-1) <= 1).sum())
        self.kernel = Siren(coordinates, channels[0] * channels[1], kernel_net, fan_in, generator)
        self.bias = nn.Parameter(torch.zeros(channels[1]))

    def draw(self, generator: torch.Generator | None = None) -> Pair:
        """As many samples of the group as the layer asks for."""
        return self.group.sample_pair(self.n_samples, generator)

    def values(self, at: Tensor) -> Tensor:
        """The kernel `[..., K, K, O, C]` at coordinates `[..., K, K, E]`: 0 outside the circle of radius 1, or, where
        areas change, fading out with the size of all coordinates."""
        if self.group.volume_preserving:
            edge = (at[..., :2].norm(dim=-1) <= 1).to(at.dtype)
        else:
            edge = torch.sigmoid(2 * (1 - at.norm(dim=-1)))
        made = self.kernel(at) * edge[..., None]
        return made.unflatten(-1, (self.channels[1], self.channels[0]))


class LiftConv2d(_GroupKernel):
    """From pictures to functions on places and matrices: `[B, C, H, W]` to `[B, O, Q, H', W']`.

    The value at (x, A) is the sum over y of `f(y) k(A^-1 (y - x))`, times |det A^-1| in GL+(2).

    Args:
        padding: zeros around the picture; edges of zeros disturb equivariance.
    Raises:
        BadInput: a kernel of size 1, whose only place is the centre: nothing would depend on A.
    """

    def __init__(
        self,
        group: MatrixGroup,
        in_ch: int,
        out_ch: int,
        kernel_size: int = 5,
        n_samples: int = 10,
        kernel_net: SirenConfig | None = None,
        *,
        padding: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        if kernel_size == 1:
            raise bad("kernel_size of a lifting layer", "3 or more", 1, "At the centre all matrices look alike.")
        super().__init__(group, (in_ch, out_ch), kernel_size, n_samples, 2, kernel_net, generator)
        self.padding = padding

    def weights(self, out: Pair) -> Tensor:
        """Kernels of an ordinary convolution, `[O, Q, C, K, K]`."""
        k_QKKOC = self.values(_place(out.inverse.to(self.grid), self.grid))
        if not self.group.volume_preserving:
            k_QKKOC = k_QKKOC * determinant(out.inverse).abs().to(k_QKKOC)[:, None, None, None, None]
        return k_QKKOC.permute(3, 0, 4, 1, 2)

    def forward(self, x_BCHW: Tensor, out: Pair) -> Tensor:
        if x_BCHW.ndim != 4 or x_BCHW.shape[1] != self.channels[0]:
            raise bad("pictures", f"[B, {self.channels[0]}, H, W]", f"shape {tuple(x_BCHW.shape)}")
        w_OQCKK = self.weights(out)
        bias = self.bias.repeat_interleave(len(out))
        return F.conv2d(x_BCHW, w_OQCKK.flatten(0, 1), bias, padding=self.padding).unflatten(1, (-1, len(out)))


class GroupConv2d(_GroupKernel):
    """From functions on places and matrices to such: `[B, C, G, H, W]` to `[B, O, Q, H', W']`.

    The value at (x, A) is the mean over samples B of the sum over y of `f(y, B) k(A^-1 (y - x), xi_inv(A^-1 B) / pi)`,
    over |det B| in GL+(2): the measure of the plane and the group together.
    """

    def __init__(
        self,
        group: MatrixGroup,
        in_ch: int,
        out_ch: int,
        kernel_size: int = 5,
        n_samples: int = 10,
        kernel_net: SirenConfig | None = None,
        *,
        padding: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """padding: None keeps the picture's size."""
        super().__init__(group, (in_ch, out_ch), kernel_size, n_samples, 2 + group.dim, kernel_net, generator)
        self.padding = kernel_size // 2 if padding is None else padding

    def weights(self, into: Pair, out: Pair) -> Tensor:
        """Kernels of an ordinary convolution, `[O, Q, C, G, K, K]`, of samples of its input and of its output."""
        K, G, Q = len(self.grid), len(into), len(out)
        with torch.no_grad():
            places_QKK2 = _place(out.inverse.to(self.grid), self.grid)
            apart_QGE = self.group.xi_inv(_matmul(out.inverse[:, None], into.g[None])).to(self.grid) / math.pi
            at = torch.cat(
                [
                    places_QKK2[:, None].expand(Q, G, K, K, 2),
                    apart_QGE[:, :, None, None].expand(Q, G, K, K, self.group.dim),
                ],
                -1,
            )
        k_QGKKOC = self.values(at) / G
        if not self.group.volume_preserving:
            k_QGKKOC = k_QGKKOC / determinant(into.g).abs().to(k_QGKKOC)[:, None, None, None, None]
        return k_QGKKOC.permute(4, 0, 5, 1, 2, 3)

    def forward(self, x_BCGHW: Tensor, into: Pair, out: Pair | None = None) -> Tensor:
        """`into`: the samples that the third axis of the input stands for; `out`: of the output, None: the same."""
        out = into if out is None else out
        if x_BCGHW.ndim != 5 or x_BCGHW.shape[1:3] != (self.channels[0], len(into)):
            wanted = f"[B, {self.channels[0]}, {len(into)}, H, W]"
            raise bad("features", wanted, f"shape {tuple(x_BCGHW.shape)}")
        w_OQCGKK = self.weights(into, out)
        bias = self.bias.repeat_interleave(len(out))
        flat = F.conv2d(x_BCGHW.flatten(1, 2), w_OQCGKK.flatten(2, 3).flatten(0, 1), bias, padding=self.padding)
        return flat.unflatten(1, (-1, len(out)))


class GroupMaxPool2d(nn.Module):
    """The largest of each `size` x `size` places, for each matrix: `[B, C, G, H, W]` to `[B, C, G, H / size, ...]`."""

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        self.size = size

    def forward(self, x_BCGHW: Tensor) -> Tensor:
        return F.max_pool2d(x_BCGHW.flatten(1, 2), self.size).unflatten(1, x_BCGHW.shape[1:3])


class GlobalGroupPool(nn.Module):
    """The largest value, or the mean, over places and matrices: `[B, C, G, H, W]` to `[B, C]`, invariant features."""

    def __init__(self, kind: str = "max") -> None:
        super().__init__()
        if kind not in ("max", "mean"):
            raise bad("kind", "'max' or 'mean'", kind)
        self.kind = kind

    def forward(self, x_BCGHW: Tensor) -> Tensor:
        return x_BCGHW.amax((2, 3, 4)) if self.kind == "max" else x_BCGHW.mean((2, 3, 4))
