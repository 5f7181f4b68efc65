"""Two small networks for pictures that train on one processor core: a plain ConvNet, and a pre-activation ResNet.

Both end in a global average, so that pictures may have any size, and give features `[B, feature_dim]` without a
classifier; `with_head` puts one on. Dims: B pictures, C channels, H x W pixels, F features, K classes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.kit.errors import bad


class ConvNet(nn.Module):
    """For each width a 3 x 3 convolution, BatchNorm and ReLU; the edge is halved between them, then averaged over.

    Args:
        widths: channels of each layer; (32, 64, 128) has 0.09 M parameters. channels: of the pictures.
        seed: of the weights.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 128), channels: int = 1, *, seed: int = 0) -> None:
        super().__init__()
        _check(widths, "widths")
        self.feature_dim = widths[-1]
        with _seeded(seed):
            layers: list[nn.Module] = []
            for i, (before, width) in enumerate(zip((channels, *widths), widths, strict=False)):
                # Pooled before the norm: the maximum of a rising function is the function of the maximum, on a
                # quarter of the places.
                layers += [nn.Conv2d(before, width, 3, padding=1, bias=False)]
                layers += [nn.MaxPool2d(2)] if i + 1 < len(widths) else []
                layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            self.layers = nn.Sequential(*layers)
        _channels_last(self)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Features `[B, F]`."""
        return self.layers(x_BCHW).mean((2, 3))


class PreActBlock(nn.Module):
    """Norm, ReLU, convolution, twice, added to the input (He et al., 2016, arXiv 1603.05027, figure 1b)."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(before), nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        changes = stride > 1 or before != width
        self.shortcut = nn.Conv2d(before, width, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(x), inplace=True)
        same = x if self.shortcut is None else self.shortcut(h)
        return same + self.conv2(F.relu(self.norm2(self.conv1(h)), inplace=True))


class SmallResNet(nn.Module):
    """Pre-activation ResNet with a 3 x 3 stem and no pooling before the end: 8 x 8 patches keep 2 x 2 places after
    three stages.

    Args:
        widths: channels of each stage; all but the first halve the edge. blocks: of each stage.
        channels: of the pictures. seed: of the weights.

    A network of fewer stages has the same names for the weights that both have (`stem`, `stages.0`, ...), but its norm
    before the average is of another width.
    """

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 64, 128),
        blocks: Sequence[int] | int = 1,
        channels: int = 1,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check(widths, "widths")
        counts = [blocks] * len(widths) if isinstance(blocks, int) else list(blocks)
        _check(counts, "blocks")
        if len(counts) != len(widths):
            raise bad("blocks", f"one number for each of {len(widths)} stages", counts)
        self.feature_dim = widths[-1]
        with _seeded(seed):
            self.stem = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
            self.stages = nn.ModuleList()
            before = widths[0]
            for i, (width, count) in enumerate(zip(widths, counts, strict=True)):
                stage = [PreActBlock(before if b == 0 else width, width, 2 if i and not b else 1) for b in range(count)]
                self.stages.append(nn.Sequential(*stage))
                before = width
            self.norm = nn.BatchNorm2d(before)
        _channels_last(self)

    def trunk(self, x_BCHW: Tensor) -> Tensor:
        """The map `[B, F, h, w]` after the last stage, before norm and average."""
        x = self.stem(x_BCHW)
        for stage in self.stages:
            x = stage(x)
        return x

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Features `[B, F]`."""
        return F.relu(self.norm(self.trunk(x_BCHW)), inplace=True).mean((2, 3))


def begin_as_identity(net: nn.Module) -> nn.Module:
    """Sets the last convolution of each residual block to 0; gives the network.

    For blocks that end in a norm the published way is to set that norm's factor to 0. Here a ReLU follows the last
    norm, and would pass no gradient back to it.
    """
    for module in net.modules():
        if isinstance(module, PreActBlock):
            nn.init.zeros_(module.conv2.weight)
    return net


def with_head(backbone: nn.Module, feature_dim: int, classes: int, *, seed: int = 0) -> nn.Sequential:
    """The backbone and a linear classifier: logits `[B, K]`; parts are named `backbone` and `head`."""
    with _seeded(seed):
        head = nn.Linear(feature_dim, classes)
    net = nn.Sequential()
    net.add_module("backbone", backbone)
    net.add_module("head", head)
    return net


def _channels_last(net: nn.Module) -> None:
    """Weights with the channel as their last axis in memory: a third faster on a processor, pooling above all."""
    net.to(memory_format=torch.channels_last)  # pyright: ignore


def _check(numbers: Sequence[int], what: str) -> None:
    if not len(numbers) or min(numbers) < 1:
        raise bad(what, "numbers of at least 1", list(numbers))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """A block whose draws come from its own seed and leave all others as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
