"""Convolution where places are many, attention where they are few: picture classifiers of stages, from a list.

`astroformer` has three stages of convolutions and one of attention (C-C-C-T), so that attention sees only the coarsest
map, where CoAtNet has C-C-T-T: the less data, the more is built in. After Dagli (2023), "Astroformer: More Data Might
Not Be All You Need for Classification", arXiv 2304.05350; the relative positions are the plain bias of its released
code. `hybrid_sizes` has the published sizes. Dims as in `hybrid_blocks`; S stages.
"""

from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from smidgen.kit.errors import BadInput, bad
from smidgen.nets.hybrid_blocks import (
    HEAD,
    TABLE,
    LayerNorm2d,
    MBConv,
    NormAct,
    RelPos,
    RelPosBias,
    TransformerBlock2d,
    init_conv,
    init_transformer,
    resize_table,
)

Block = Literal["C", "T"]


@dataclass(frozen=True)
class HybridStageConfig:
    """
    Attributes:
        depth: blocks. width: channels. block: "C", convolutions, or "T", attention. stride: of the first block.
    """

    depth: int
    width: int
    block: Block
    stride: int = 2

    def __post_init__(self) -> None:
        if self.block not in get_args(Block):
            raise bad("stage", "'C' (convolution) or 'T' (attention)", self.block)
        if self.depth < 1 or self.width < 1 or self.stride not in (1, 2):
            raise bad("stage", "depth and width of at least 1, stride 1 or 2", self)
        if self.block == "T" and self.width % HEAD:
            raise bad("width of an attention stage", f"a multiple of {HEAD}, the width of a head", self.width)


class _Stem(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.norm1 = NormAct(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.norm1(self.conv1(x)))


class _Stage(nn.Module):
    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class _Head(nn.Module):
    """Mean over places, normalization, a hidden layer with tanh, dropout, classes."""

    def __init__(self, width: int, hidden: int, classes: int, drop: float) -> None:
        super().__init__()
        self.norm = LayerNorm2d(width, eps=1e-6)
        self.pre_logits = nn.Sequential()
        self.pre_logits.fc, self.pre_logits.act = nn.Linear(width, hidden), nn.Tanh()
        self.drop, self.fc = nn.Dropout(drop), nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(self.pre_logits(self.norm(x.mean((2, 3), keepdim=True)).flatten(1))))


class HybridNet(nn.Module):
    """Scores `[B, classes]` of pictures `[B, in_channels, image_size, image_size]`.

    Args:
        head_hidden: None: the width of the last stage. drop: in the head. drop_path: of the last block; it grows
            evenly from 0 at the first. stem_stride: 1 for small pictures: attention should see 4 x 4 places or more.
        seed: of the first weights.
    Raises:
        BadInput: no stage, an unknown letter, a width of attention that is not a multiple of 32, or a picture size that
            all strides together (32 as published) do not divide.
    """

    def __init__(
        self,
        stages: Sequence[HybridStageConfig],
        stem_width: int,
        num_classes: int,
        image_size: int,
        in_channels: int = 3,
        head_hidden: int | None = None,
        drop: float = 0.1,
        drop_path: float = 0.0,
        rel_pos: RelPos = "bias",
        *,
        stem_stride: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.configs, self.image_size, self.rel_pos = tuple(stages), image_size, rel_pos
        self.checkpointed: frozenset[int] = frozenset()
        _check(stages, num_classes, image_size, in_channels, stem_width, drop, drop_path, rel_pos, stem_stride)
        random = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            self.stem = _Stem(in_channels, stem_width, stem_stride)
            side, width, made = image_size // stem_stride, stem_width, []
            total, done = sum(c.depth for c in stages), 0
            for config in stages:
                side //= config.stride
                blocks = []
                for i in range(config.depth):
                    rate = drop_path * done / max(total - 1, 1)
                    stride = config.stride if i == 0 else 1
                    if config.block == "C":
                        blocks.append(MBConv(width, config.width, stride, rate))
                    else:
                        blocks.append(TransformerBlock2d(width, config.width, (side, side), stride, rel_pos, rate))
                    width, done = config.width, done + 1
                made.append(_Stage(blocks))
            self.stages = nn.ModuleList(made)
            self.head = _Head(width, head_hidden or width, num_classes, drop)
        init_conv(self.stem, random)
        for config, stage in zip(stages, made, strict=True):
            (init_conv if config.block == "C" else init_transformer)(stage, random)
        for layer in self.head.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02, generator=random)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.forward_features(x)[-1])

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Maps after the stem and after each stage, finest first."""
        if x.ndim != 4 or x.shape[2:] != (self.image_size, self.image_size):
            raise bad("pictures", f"[B, C, {self.image_size}, {self.image_size}]", f"shape {tuple(x.shape)}")
        maps = [self.stem(x)]
        for i, stage in enumerate(self.stages):
            if i in self.checkpointed and torch.is_grad_enabled():
                again = (lambda s: lambda: (nullcontext(), _frozen_statistics(s)))(stage)
                maps.append(cast(Tensor, checkpoint(stage, maps[-1], use_reentrant=False, context_fn=again)))
            else:
                maps.append(stage(maps[-1]))
        return maps

    def set_checkpointing(self, stages: bool | Sequence[int] = True) -> None:
        """Which stages (by number, from 0; True: all) keep no inner activations in training and compute them again in
        the backward pass: less memory, about a third more work, the same gradients and statistics."""
        chosen = range(len(self.stages)) if stages is True else () if stages is False else stages
        unknown = [i for i in chosen if not 0 <= i < len(self.stages)]
        if unknown:
            raise bad("stages", f"0 to {len(self.stages) - 1}", unknown)
        self.checkpointed = frozenset(chosen)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that weight decay should leave alone whatever their shape: tables of positions."""
        return {name for name, _ in self.named_parameters() if name.endswith(TABLE) or ".rel_pos." in name}

    def load_weights(self, state: dict[str, Tensor], *, resize_rel_pos: bool = False) -> None:
        """Loads a state dict, timm's of the same layout too; buffers that only place positions are passed over.

        Raises:
            BadInput: tables of another window without `resize_rel_pos`, or weights that do not fit.
        """
        state = {k: v for k, v in state.items() if not k.endswith(("relative_position_index", "relative_coords_log"))}
        for name, module in self.named_modules():
            key = f"{name}.{TABLE}"
            if not isinstance(module, RelPosBias) or key not in state:
                continue
            table, own = state[key], getattr(module, TABLE)
            if table.shape == own.shape:
                continue
            if not resize_rel_pos:
                hint = "Say resize_rel_pos=True to interpolate them."
                raise bad(f"table {key}", f"shape {tuple(own.shape)}", f"{tuple(table.shape)}, another window", hint)
            state[key] = resize_table(table, _window(table, key), module.window)
        try:
            self.load_state_dict(state)
        except RuntimeError as error:
            raise BadInput(f"The weights do not fit the network: {str(error).splitlines()[1].strip()[:150]}") from None


@contextmanager
def _frozen_statistics(stage: nn.Module) -> Any:
    """Within it a forward pass does not count towards the running statistics of batch normalization."""
    norms = [m for m in stage.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [(m.momentum, m.num_batches_tracked) for m in norms]
    for m, (_, count) in zip(norms, before, strict=True):
        m.momentum, m.num_batches_tracked = 0.0, None if count is None else count.clone()
    try:
        yield
    finally:
        for m, (momentum, count) in zip(norms, before, strict=True):
            m.momentum, m.num_batches_tracked = momentum, count


def _window(table: Tensor, key: str) -> tuple[int, int]:
    """Of a table of a square window."""
    side = round(len(table) ** 0.5) if table.ndim == 2 else table.shape[-1]
    if side % 2 == 0 or (table.ndim == 2 and side * side != len(table)):
        raise bad(f"table {key}", "one of a square window", f"shape {tuple(table.shape)}")
    return (side + 1) // 2, (side + 1) // 2


def _check(
    stages: Sequence[HybridStageConfig],
    classes: int,
    size: int,
    channels: int,
    stem: int,
    drop: float,
    path: float,
    rel_pos: str,
    stem_stride: int,
) -> None:
    if not stages:
        raise bad("stages", "at least one", "none")
    if min(classes, channels, stem) < 1 or stem_stride not in (1, 2):
        raise bad("classes, channels and stem", "at least 1, stride 1 or 2", (classes, channels, stem, stem_stride))
    total = stem_stride * prod(c.stride for c in stages)
    if size < total or size % total:
        raise bad("image_size", f"a multiple of {total}, all strides together", size)
    if not (0 <= drop < 1 and 0 <= path < 1):
        raise bad("drop and drop_path", "from 0, below 1", (drop, path))
    if rel_pos not in get_args(RelPos):
        raise bad("rel_pos", " or ".join(get_args(RelPos)), rel_pos)
