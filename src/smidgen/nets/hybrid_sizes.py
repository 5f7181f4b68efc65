"""Published sizes of `HybridNet`, and what one has: parameters, work of a picture, what weight decay touches.

Sizes and names: Dagli (2023), arXiv 2304.05350, and its code; "nano" is ours, for pictures of 32 x 32. Counts of
`coatnet` agree with timm's; those that Astroformer's page states (161.75 million parameters of size 3) are larger than
its code's design has (148.9 with ten classes).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from smidgen.kit.errors import bad
from smidgen.nets.hybrid_blocks import HEAD, RelPosAttention2d
from smidgen.nets.hybrid_net import HybridNet, HybridStageConfig

Size = Literal["0", "1", "2", "3", "4", "5", "nano"]
STACKS = ("C-C-C-C", "C-C-C-T", "C-C-T-T", "C-T-T-T")  # from most convolution to most attention
# widths, depths, stem
_SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...], int]] = {
    "0": ((96, 192, 384, 768), (2, 3, 5, 2), 64),
    "1": ((96, 192, 384, 768), (2, 6, 14, 2), 64),
    "2": ((128, 256, 512, 1024), (2, 6, 14, 2), 128),
    "3": ((192, 384, 768, 1536), (2, 6, 14, 2), 192),
    "4": ((192, 384, 768, 1536), (2, 12, 28, 2), 192),
    "5": ((256, 512, 1280, 2048), (2, 12, 28, 2), 192),
    "nano": ((32, 64, 96, 192), (1, 1, 2, 1), 24),
}


@dataclass(frozen=True)
class Counts:
    """Attributes: parameters: learned numbers. macs: multiplications (each with an addition) of one picture."""

    parameters: int
    macs: int

    @property
    def flops(self) -> int:
        return 2 * self.macs


def stack(
    letters: str, widths: Sequence[int], depths: Sequence[int], strides: Sequence[int] = (2, 2, 2, 2)
) -> list[HybridStageConfig]:
    """Stages of a name such as "C-C-C-T".

    Raises:
        BadInput: an unknown letter, or not one width, depth and stride a stage.
    """
    blocks: list[Any] = letters.split("-")
    if not len(blocks) == len(widths) == len(depths) == len(strides):
        lengths = len(widths), len(depths), len(strides)
        raise bad("stack", f"as many letters as widths, depths and strides {lengths}", letters)
    parts = zip(depths, widths, blocks, strides, strict=True)
    return [HybridStageConfig(depth, width, block, stride) for depth, width, block, stride in parts]


def widened(letters: str, widths: Sequence[int], factor: float) -> tuple[int, ...]:
    """Widths times a factor, to the next multiple of 8, of attention of 32."""
    if not factor > 0:
        raise bad("factor of the widths", "above 0", factor)
    if factor == 1:
        return tuple(widths)
    steps = [HEAD if block == "T" else 8 for block in letters.split("-")]
    if len(steps) != len(widths):
        raise bad("stack", f"as many letters as the {len(widths)} widths", letters)
    return tuple(max(s, round(w * factor / s) * s) for w, s in zip(widths, steps, strict=True))


def hybrid(
    letters: str,
    size: Size = "0",
    *,
    num_classes: int = 10,
    image_size: int | None = None,
    widen: float = 1.0,
    **kw: Any,
) -> HybridNet:
    """A network of a stack and a size.

    Args:
        image_size: None: 256, or 32 for "nano", which keeps the finest map whole and halves it three times: 4 x 4
            places at the end. widen: factor of all widths; those of attention become multiples of 32.
    Raises:
        BadInput: another size, or as of `HybridNet`.
    """
    if size not in get_args(Size):
        raise bad("size", " or ".join(get_args(Size)), size)
    widths, depths, stem = _SIZES[size]
    small = size == "nano"
    widths = widened(letters, widths, widen)
    given: dict[str, Any] = {"stem_stride": 1 if small else 2} | kw
    stages = stack(letters, widths, depths, (1, 2, 2, 2) if small else (2, 2, 2, 2))
    return HybridNet(stages, round(stem * widen), num_classes, image_size or (32 if small else 256), **given)


def astroformer(size: Size = "0", **kw: Any) -> HybridNet:
    """Three stages of convolutions, one of attention. Arguments as of `hybrid`."""
    return hybrid("C-C-C-T", size, **kw)


def coatnet(size: Size = "0", **kw: Any) -> HybridNet:
    """Two of each, for comparison. Arguments as of `hybrid`."""
    return hybrid("C-C-T-T", size, **kw)


def counts(model: HybridNet) -> Counts:
    """Parameters, and the work of one picture in convolutions, linear layers and attention; norms are not counted."""
    macs = 0

    def seen(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        if isinstance(layer, nn.Conv2d):
            k1, k2 = layer.kernel_size
            macs += output.numel() * layer.in_channels // layer.groups * k1 * k2
        elif isinstance(layer, nn.Linear):
            macs += output.numel() * layer.in_features
        elif isinstance(layer, RelPosAttention2d):
            places = layer.window[0] * layer.window[1]
            macs += 2 * layer.heads * HEAD * places * places

    hooks = [m.register_forward_hook(seen) for m in model.modules()]
    was = model.training
    try:
        first = model.stem.conv1.weight
        x = torch.zeros(1, first.shape[1], model.image_size, model.image_size, device=first.device, dtype=first.dtype)
        with torch.no_grad():
            model.eval()(x)
    finally:
        model.train(was)
        for hook in hooks:
            hook.remove()
    return Counts(sum(p.numel() for p in model.parameters()), macs)


def decay_groups(model: HybridNet, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters for an optimizer: decayed ones, and those that are not (tables of positions, biases, norms)."""
    spared = model.no_weight_decay()
    decayed, rest = [], []
    for name, p in model.named_parameters():
        (rest if p.ndim < 2 or name in spared else decayed).append(p)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
