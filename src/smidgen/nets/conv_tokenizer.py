"""Pictures to tokens: small convolutions with pooling (compact transformers), or plain patches (vision transformers).

A convolutional tokenizer is a few blocks of convolution, ReLU and max-pooling; what it leaves of the picture, place by
place and row after row, are the tokens. Overlapping windows know what a patch must learn: that neighbours belong
together (Hassani et al., 2021, arXiv 2104.05704, section 3.3).

Dims: B pictures, C channels, H, W height and width, N tokens, D width of a token.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from smidgen.kit.errors import BadInput, bad

Pool = tuple[int, int, int]  # kernel, stride, padding


class ConvTokenizer(nn.Module):
    """`float[B, C, H, W]` to `[B, N, D]`.

    Args:
        in_channels, dim: C and D. hidden: channels between two layers.
        kernel_size, stride, padding: of each convolution; None: `usual_stride` and `usual_padding` of the kernel.
        n_layers: blocks. pool: kernel, stride and padding of max-pooling; None: no pooling.
        activation: a module, made anew for each block. bias: of the convolutions.

    Raises:
        BadInput: sizes below 1; a padding of the pooling above half its kernel.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        *,
        kernel_size: int = 3,
        stride: int | None = None,
        padding: int | None = None,
        n_layers: int = 1,
        hidden: int = 64,
        pool: Pool | None = (3, 2, 1),
        activation: Callable[[], nn.Module] = nn.ReLU,
        bias: bool = False,
    ) -> None:
        super().__init__()
        stride, padding = window(kernel_size, stride, padding)
        check_tokenizer({"in_channels": in_channels, "dim": dim, "n_layers": n_layers, "hidden": hidden}, pool)
        widths = [in_channels, *[hidden] * (n_layers - 1), dim]
        self.in_channels, self.pooled = in_channels, pool
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, kernel_size, stride, padding, bias=bias)
            for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.activations = nn.ModuleList(activation() for _ in range(n_layers))
        self.pool = nn.MaxPool2d(*pool) if pool else nn.Identity()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The tokens. Raises BadInput: another number of channels; a picture that leaves no token."""
        check_pictures(x_BCHW, self.in_channels)
        self.grid(*x_BCHW.shape[2:])
        x = x_BCHW.contiguous(memory_format=torch.channels_last)  # tokens then need no copy
        for conv, activation in zip(self.convs, self.activations, strict=True):
            # ReLU after pooling is the same, and cheaper: the largest of what is cut off at 0 is the largest, cut off
            relu = isinstance(activation, nn.ReLU)
            x = activation(self.pool(conv(x))) if relu else self.pool(activation(conv(x)))
        return x.flatten(2).transpose(1, 2)

    def grid(self, h: int, w: int) -> tuple[int, int]:
        """Rows and columns of tokens of a picture of this size. Raises BadInput: there is none."""
        rows, columns = h, w
        for _ in self.convs:
            rows, columns = (self._steps(n) for n in (rows, columns))
        if min(rows, columns) < 1:
            raise bad("picture", "large enough for one token", f"{h} x {w}", "Take fewer layers or a smaller kernel.")
        return rows, columns

    def sequence_length(self, h: int, w: int) -> int:
        """N of a picture of this size. Raises BadInput: no token."""
        rows, columns = self.grid(h, w)
        return rows * columns

    def _steps(self, n: int) -> int:
        conv: nn.Conv2d = self.convs[0]  # pyright: ignore
        n = steps(n, conv.kernel_size[0], conv.stride[0], int(conv.padding[0]))
        return steps(n, *self.pooled) if self.pooled else n


class PatchTokenizer(nn.Module):
    """`float[B, C, H, W]` to `[B, N, D]`: each patch of `patch` x `patch` pixels through one linear layer.

    Raises:
        BadInput: sizes below 1.
    """

    def __init__(self, in_channels: int, dim: int, *, patch: int = 4) -> None:
        super().__init__()
        check_tokenizer({"in_channels": in_channels, "dim": dim, "patch": patch}, None)
        self.in_channels, self.patch = in_channels, patch
        self.convs = nn.ModuleList([nn.Conv2d(in_channels, dim, patch, patch)])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The tokens. Raises BadInput: another number of channels; sides that are no multiples of the patch."""
        check_pictures(x_BCHW, self.in_channels)
        self.grid(*x_BCHW.shape[2:])
        x = x_BCHW.contiguous(memory_format=torch.channels_last)
        return self.convs[0](x).flatten(2).transpose(1, 2)

    def grid(self, h: int, w: int) -> tuple[int, int]:
        """Rows and columns of patches. Raises BadInput: sides that are no multiples of the patch, or none."""
        if h % self.patch or w % self.patch or min(h, w) < 1:
            raise bad("picture", f"sides that are multiples of the patch of {self.patch}", f"{h} x {w}")
        return h // self.patch, w // self.patch

    def sequence_length(self, h: int, w: int) -> int:
        """N of a picture of this size."""
        rows, columns = self.grid(h, w)
        return rows * columns


def usual_stride(kernel_size: int) -> int:
    """As the authors set it."""
    return max(1, kernel_size // 2 - 1)


def usual_padding(kernel_size: int) -> int:
    """As the authors set it."""
    return max(1, kernel_size // 2)


def window(kernel_size: int, stride: int | None, padding: int | None) -> tuple[int, int]:
    """Stride and padding, the usual ones where None. Raises BadInput: out of range."""
    stride = usual_stride(kernel_size) if stride is None else stride
    padding = usual_padding(kernel_size) if padding is None else padding
    if kernel_size < 1 or stride < 1 or padding < 0:
        raise bad("window", "kernel_size and stride of at least 1, padding of at least 0",
                  f"{kernel_size}, {stride}, {padding}")  # fmt: skip
    return stride, padding


def steps(n: int, kernel: int, stride: int, padding: int) -> int:
    """How many windows fit into `n` places."""
    return max((n + 2 * padding - kernel) // stride + 1, 0)


def check_tokenizer(sizes: dict[str, int], pool: Pool | None) -> None:
    """Raises BadInput: a size below 1, or pooling that torch refuses."""
    for name, value in sizes.items():
        if value < 1:
            raise bad(name, "at least 1", value)
    if pool and (min(pool[:2]) < 1 or not 0 <= 2 * pool[2] <= pool[0]):
        raise bad("pool", "(kernel, stride, padding), the padding at most half the kernel", pool)


def check_pictures(x_BCHW: Tensor, channels: int) -> None:
    """Raises BadInput: not `float[B, channels, H, W]`."""
    if x_BCHW.ndim != 4:
        raise bad("pictures", "[pictures, channels, height, width]", f"shape {tuple(x_BCHW.shape)}")
    if x_BCHW.shape[1] != channels:
        raise bad("pictures", f"{channels} channels, as the network has", f"{x_BCHW.shape[1]}",
                  "Channels come before height and width.")  # fmt: skip
    if not x_BCHW.is_floating_point():
        raise BadInput(f"pictures: expected floating-point numbers, got {x_BCHW.dtype}: scale them first.")
