"""Small networks for diffusion models: an image, how noisy it is, perhaps a class; out comes an image.

What they are asked (noise, clean image or a mixture of both) is not theirs to know: see `learn.diffusion`.
Dims: B rows, C channels, H and W edges, E width of the condition, D hidden width.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.kit.errors import bad

Kind = Literal["mlp", "conv"]
FREQUENCIES = 16  # pairs of sine and cosine of the noise level
FASTEST = 32.0  # radians for a change of the level by 1


@dataclass(frozen=True, kw_only=True)
class DenoiserConfig:
    """
    Attributes:
        shape: (channels, height, width) of an image; (1, 1, n) for a row of n numbers.
        kind: "mlp" sees all pixels at once and is cheap on processors; "conv" keeps the edges and is for accelerators.
        width: of the hidden layers. blocks: residual ones, of two layers each. condition: width of what tells level
            and class. classes: 0 for none. dropout: within the blocks.
    """

    shape: tuple[int, int, int]
    kind: Kind = "mlp"
    width: int = 352
    blocks: int = 3
    condition: int = 64
    classes: int = 0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise bad("shape", "channels, height and width, each at least 1", self.shape)
        if self.kind not in ("mlp", "conv"):
            raise bad("kind", "mlp or conv", self.kind)
        for name, least in (("width", 1), ("blocks", 1), ("condition", 1), ("classes", 0)):
            if getattr(self, name) < least:
                raise bad(name, f"at least {least}", getattr(self, name))
        if not 0 <= self.dropout < 1:
            raise bad("dropout", "from 0 to below 1", self.dropout)


class Denoiser(nn.Module):
    """A residual network. Blocks and output begin at 0, so that at first the result is 0 for every input.

    Without a label, or with one of -1, a row is taken as of no known class.
    """

    speeds: Tensor

    def __init__(self, config: DenoiserConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        channels, height, width = config.shape
        D, E = config.width, config.condition
        conv = config.kind == "conv"
        self.levels = nn.Linear(2 * FREQUENCIES, E)
        self.classes = nn.Embedding(config.classes + 1, E) if config.classes else None
        self.mix = nn.Linear(E, E)
        pixels = channels * height * width
        self.enter = nn.Conv2d(channels, D, 3, padding=1) if conv else nn.Linear(pixels, D)
        self.blocks = nn.ModuleList([_Block(D, E, conv, config.dropout) for _ in range(config.blocks)])
        self.norm = _norm(D, conv)
        self.leave = nn.Conv2d(D, channels, 3, padding=1) if conv else nn.Linear(D, pixels)
        speeds = torch.logspace(0, math.log10(FASTEST), FREQUENCIES)
        self.register_buffer("speeds", speeds, persistent=False)
        self._initialize(seed)

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """
        Args:
            x: `[B, C, H, W]`. noise: `[B]`, a number of order 1 that tells the level (a logarithm of it). labels: whole
                numbers `[B]`, -1 where none is known.
        Returns:
            `[B, C, H, W]`.
        Raises:
            BadInput: another shape of images, labels for a network without classes or beyond them.
        """
        if tuple(x.shape[1:]) != self.config.shape:
            raise bad("shape of the images", str(self.config.shape), str(tuple(x.shape[1:])))
        angles = noise[:, None] * self.speeds
        condition_BE = self.levels(torch.cat([angles.sin(), angles.cos()], 1))
        if labels is not None:
            condition_BE = condition_BE + self._class(labels)
        elif self.classes is not None:
            condition_BE = condition_BE + self.classes.weight[-1]
        condition_BE = F.silu(self.mix(F.silu(condition_BE)))
        h = self.enter(x if self.config.kind == "conv" else x.flatten(1))
        for block in self.blocks:
            h = block(h, condition_BE)
        return self.leave(F.silu(self.norm(h))).view_as(x)

    def _class(self, labels: Tensor) -> Tensor:
        """`[B, E]`; the last row of the table is for no known class."""
        count = self.config.classes
        if self.classes is None:
            raise bad("labels", "none, as the network has no classes", "some", "Make it with classes=...")
        if len(labels) and not (int(labels.min()) >= -1 and int(labels.max()) < count):
            wrong = labels[(labels < -1) | (labels >= count)]
            raise bad("labels", f"-1 (none known) to {count - 1}", int(wrong[0]))
        return self.classes(torch.where(labels < 0, count, labels))

    def _initialize(self, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        silent = {id(self.leave), *(id(block.second) for block in self.blocks)}
        with torch.no_grad():
            for layer in self.modules():
                if isinstance(layer, nn.Linear | nn.Conv2d):
                    inputs = layer.weight[0].numel()
                    std = 0.0 if id(layer) in silent else inputs**-0.5
                    layer.weight.normal_(0.0, std, generator=random)
                    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
                elif isinstance(layer, nn.Embedding):
                    layer.weight.normal_(0.0, 1.0, generator=random)


class _Block(nn.Module):
    """h + second(silu(scaled and shifted first)), the scale and the shift from the condition."""

    def __init__(self, width: int, condition: int, conv: bool, dropout: float) -> None:
        super().__init__()
        layer: Any = (lambda: nn.Conv2d(width, width, 3, padding=1)) if conv else (lambda: nn.Linear(width, width))
        self.norm, self.first, self.second = _norm(width, conv), layer(), layer()
        self.modulate = nn.Linear(condition, 2 * width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, condition_BE: Tensor) -> Tensor:
        scale, shift = self.modulate(condition_BE).chunk(2, 1)
        if h.ndim == 4:
            scale, shift = scale[:, :, None, None], shift[:, :, None, None]
        inner = self.first(F.silu(self.norm(h)))
        return h + self.second(self.dropout(F.silu(inner * (1 + scale) + shift)))


def _norm(width: int, conv: bool) -> nn.Module:
    return nn.GroupNorm(math.gcd(8, width), width) if conv else nn.LayerNorm(width)
