"""Networks of class-conditioned image translation: one that redraws a picture as another class, one that judges.

After SPARSE (Manni et al., 2025, arXiv 2508.06429); the judge is that of StarGAN (Choi et al., 2018). Norms are over
groups of channels of one picture, never over a batch: training and use compute the same, and a batch may be one row.
Dims: B pictures, C channels, H and W edges, K classes, D hidden width.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.kit.errors import bad

Mode = Literal["translate", "classify"]
LEAK = 0.01


class AttentionUNet(nn.Module):
    """A U-Net with attention gates that redraws a picture as a class, or names its class.

    Both modes share all but the first block. To translate, the class comes as K constant planes beside the picture;
    to classify, the mean of the deepest maps is read.

    Args:
        widths: channels by depth; each depth halves the edges, so they must be divisible by `factor`.
    """

    def __init__(
        self, num_classes: int, in_channels: int = 3, widths: Sequence[int] = (64, 128, 256, 512), seed: int = 0
    ) -> None:
        super().__init__()
        _at_least(num_classes=(num_classes, 2), in_channels=(in_channels, 1), depths=(len(widths), 2))
        self.num_classes, self.in_channels, self.factor = num_classes, in_channels, 2 ** (len(widths) - 1)
        self.enter_translate = _block(in_channels + num_classes, widths[0])
        self.enter_classify = _block(in_channels, widths[0])
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.down = nn.ModuleList([_block(a, b) for a, b in pairs])
        self.up = nn.ModuleList([nn.Conv2d(b, a, 3, padding=1) for a, b in reversed(pairs)])
        self.gates = nn.ModuleList([_Gate(a) for a, _ in reversed(pairs)])
        self.join = nn.ModuleList([_block(2 * a, a) for a, _ in reversed(pairs)])
        self.leave = nn.Conv2d(widths[0], in_channels, 1)
        self.classes = nn.Linear(widths[-1], num_classes)
        _initialize(self, seed)

    def forward(self, x: Tensor, cond: Tensor | None = None, mode: Mode = "translate") -> Tensor:
        """
        Args:
            x: pictures `[B, C, H, W]` in -1 to 1. cond: to translate, the wanted classes, codes `[B]` or shares
                `[B, K]`.
        Returns:
            Pictures like x in -1 to 1; to classify, logits `[B, K]`.
        Raises:
            BadInput: other channels, edges that `factor` does not divide, no or another `cond`, another mode.
        """
        _check_picture(x, self.in_channels, self.factor)
        if mode == "classify":
            h = self.enter_classify(x)
        elif mode == "translate":
            planes_BKHW = self._shares(x, cond)[:, :, None, None].expand(-1, -1, *x.shape[2:])
            h = self.enter_translate(torch.cat([x, planes_BKHW], 1))
        else:
            raise bad("mode", "translate or classify", mode)
        skips = []
        for down in self.down:
            skips.append(h)
            h = down(F.avg_pool2d(h, 2))
        if mode == "classify":
            return self.classes(h.mean((2, 3)))
        for up, gate, join in zip(self.up, self.gates, self.join, strict=True):
            h = up(F.interpolate(h, scale_factor=2.0))
            h = join(torch.cat([h, gate(h, skips.pop())], 1))
        return torch.tanh(self.leave(h))

    def _shares(self, x: Tensor, cond: Tensor | None) -> Tensor:
        """The wanted classes as shares `[B, K]`."""
        K = self.num_classes
        if cond is None or cond.shape not in ((len(x),), (len(x), K)):
            got = "nothing" if cond is None else str(tuple(cond.shape))
            raise bad("shape of cond", f"({len(x)},) class codes or ({len(x)}, {K}) shares", got)
        if cond.ndim == 2:
            return cond.to(x)
        wrong = cond[(cond < 0) | (cond >= K)]
        if len(wrong):
            raise bad("cond", f"classes 0 to {K - 1}", int(wrong[0]))
        return F.one_hot(cond.long(), K).to(x)


class PatchDiscriminator(nn.Module):
    """A judge with two heads: how real each patch of a picture looks, and which class the picture has.

    Args:
        image_size: edge, or (height, width), divisible by 2 ** n_strided: the class head reads all of what is left.
        width: of the first layer; each of the `n_strided` halves the edges and doubles it.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int],
        in_channels: int,
        num_classes: int,
        width: int = 64,
        n_strided: int = 6,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _at_least(num_classes=(num_classes, 2), in_channels=(in_channels, 1), n_strided=(n_strided, 1))
        self.image_size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        self.in_channels, self.num_classes, self.factor = in_channels, num_classes, 2**n_strided
        _check_size(self.image_size, self.factor)
        widths = [in_channels, *(width * 2**i for i in range(n_strided))]
        layers: list[nn.Module] = []
        for a, b in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Conv2d(a, b, 4, stride=2, padding=1), nn.LeakyReLU(LEAK)]
        self.body = nn.Sequential(*layers)
        h, w = (edge // self.factor for edge in self.image_size)
        self.real = nn.Conv2d(widths[-1], 1, 3, padding=1)
        self.classes = nn.Conv2d(widths[-1], num_classes, (h, w))
        _initialize(self, seed)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of pictures `[B, C, H, W]`: how real `[B, 1, h, w]` (no bounds), and logits `[B, K]`.

        Raises:
            BadInput: another size or other channels.
        """
        _check_picture(x, self.in_channels, self.factor)
        if tuple(x.shape[2:]) != self.image_size:
            raise bad("size of the pictures", str(self.image_size), str(tuple(x.shape[2:])))
        h = self.body(x)
        return self.real(h), self.classes(h).flatten(1)


class PictureClassifier(nn.Module):
    """A small convolutional network, `[B, C, H, W]` to logits `[B, K]`, for pictures of any size."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        widths: Sequence[int] = (32, 64, 128),
        dropout: float = 0.3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        layers: list[nn.Module] = []
        for a, b in zip([in_channels, *widths[:-1]], widths, strict=True):
            layers += [nn.Conv2d(a, b, 3, padding=1), _norm(b), nn.ReLU(), nn.AvgPool2d(2, ceil_mode=True)]
        self.body = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(2 * widths[-1], num_classes)
        _initialize(self, seed)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != self.in_channels:
            raise bad("channels of the pictures", str(self.in_channels), x.shape[1])
        h = self.body(x)
        return self.classes(self.dropout(torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1)))


class _Gate(nn.Module):
    """What of a skip connection passes: sigmoid(Conv1(ReLU(W_g g + W_s s))) * s (Oktay et al., 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = max(1, width // 2)
        self.signal, self.skip = nn.Conv2d(width, inner, 1), nn.Conv2d(width, inner, 1, bias=False)
        self.share = nn.Conv2d(inner, 1, 1)

    def forward(self, g: Tensor, s: Tensor) -> Tensor:
        return torch.sigmoid(self.share(F.relu(self.signal(g) + self.skip(s)))) * s


def _block(a: int, b: int) -> nn.Module:
    layers = (nn.Conv2d(a, b, 3, padding=1), _norm(b), nn.ReLU(), nn.Conv2d(b, b, 3, padding=1), _norm(b), nn.ReLU())
    return nn.Sequential(*layers)


def _norm(width: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(8, max(1, width // 2)), width)


def _initialize(net: nn.Module, seed: int) -> None:
    """Normal weights of variance 2 / inputs; of the heads, 1 / inputs."""
    random = torch.Generator().manual_seed(seed)
    heads = {id(getattr(net, name, None)) for name in ("leave", "real", "classes")}
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                gain = 1.0 if id(layer) in heads else 2.0
                layer.weight.normal_(0.0, math.sqrt(gain / layer.weight[0].numel()), generator=random)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


def _check_picture(x: Tensor, channels: int, factor: int) -> None:
    if x.ndim != 4 or x.shape[1] != channels:
        raise bad("shape of the pictures", f"(B, {channels}, H, W)", str(tuple(x.shape)))
    _check_size(tuple(x.shape[2:]), factor)


def _check_size(size: tuple[int, ...], factor: int) -> None:
    if len(size) != 2 or any(edge < 1 or edge % factor for edge in size):
        raise bad(
            "size of the pictures",
            f"edges divisible by {factor}",
            str(size),
            "Pad or resize them, or halve fewer times.",
        )


def _at_least(**values: tuple[int, int]) -> None:
    for name, (value, least) in values.items():
        if value < least:
            raise bad(name, f"at least {least}", value)
