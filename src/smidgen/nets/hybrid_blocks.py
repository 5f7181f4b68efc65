"""Blocks of a convolution-attention network for pictures: inverted bottlenecks, attention with relative positions.

Names of parameters are those of timm's CoAtNet, so that weights can be exchanged. Sources: MBConv: Sandler et al.
(2018), arXiv 1801.04381, with squeeze-and-excite; both blocks as in CoAtNet (Dai et al., 2021, arXiv 2106.04803).

Dims: B pictures, C, O channels in and out, H, W places, T = H W, N heads, K = 32 their width.
"""

import math
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.kit.errors import bad

RelPos = Literal["bias", "bias_tf", "mlp", "none"]
HEAD = 32  # width of a head
TABLE = "relative_position_bias_table"


class LayerNorm2d(nn.LayerNorm):
    """Over channels of `[B, C, H, W]`, at each place."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class NormAct(nn.BatchNorm2d):
    """Batch normalization, then GELU."""

    def forward(self, input: Tensor) -> Tensor:
        return F.gelu(super().forward(input))


class DropPath(nn.Module):
    """Leaves a branch out for some pictures while training, and makes up for it in the others (stochastic depth)."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return x
        kept = torch.empty(len(x), 1, 1, 1, dtype=x.dtype, device=x.device).bernoulli_(1 - self.rate)
        return x * kept / (1 - self.rate)


class Downsample2d(nn.Module):
    """Means of 2 x 2 places (or none, where `stride` is 1), then channels by a 1 x 1 convolution where they differ."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.expand = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.expand(self.pool(x))


class SqueezeExcite(nn.Module):
    """Channels are weighted by what the whole picture says."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(width, squeezed, 1), nn.Conv2d(squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(F.silu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class MBConv(nn.Module):
    """`[B, C, H, W]` to `[B, O, H / stride, W / stride]`: 1 x 1 to four times O, depthwise 3 x 3, squeeze-excite, back.

    Batch normalization needs batches of 32 or more in training; where they are smaller, train with fewer blocks of
    this kind.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, drop_path: float = 0.0, expand: int = 4) -> None:
        super().__init__()
        inner = expand * outputs
        changes = stride > 1 or inputs != outputs
        self.shortcut = Downsample2d(inputs, outputs, stride) if changes else nn.Identity()
        self.pre_norm = nn.BatchNorm2d(inputs)
        self.conv1_1x1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.norm1 = NormAct(inner)
        self.conv2_kxk = nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False)
        self.norm2 = NormAct(inner)
        self.se = SqueezeExcite(inner, max(outputs // 4, 1))
        self.conv3_1x1 = nn.Conv2d(inner, outputs, 1)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(self.conv1_1x1(self.pre_norm(x)))
        h = self.conv3_1x1(self.se(self.norm2(self.conv2_kxk(h))))
        return self.shortcut(x) + self.drop_path(h)


class RelPosBias(nn.Module):
    """What is added to attention scores, `[N, T, T]`, by how far apart two places lie.

    Args:
        window: (height, width) of the map. kind: "bias": a table of places apart by heads; "bias_tf": heads first, as
            TensorFlow's; "mlp": a small network of the logarithms of distances (as Swin v2 has it, not timm).
    """

    relative_position_index: Tensor  # [T, T]
    relative_coords_log: Tensor  # [2 H - 1, 2 W - 1, 2]

    def __init__(self, window: tuple[int, int], heads: int, kind: RelPos = "bias", hidden: int = 512) -> None:
        super().__init__()
        if kind not in get_args(RelPos) or kind == "none":
            raise bad("rel_pos", "'bias', 'bias_tf' or 'mlp'", kind)
        self.window, self.heads, self.kind = window, heads, kind
        H, W = window
        self.register_buffer("relative_position_index", _apart(H, W), persistent=False)
        if kind == "mlp":
            self.mlp = nn.Sequential()
            self.mlp.fc1, self.mlp.act, self.mlp.fc2 = nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, heads, False)
            self.register_buffer("relative_coords_log", _log_distances(H, W), persistent=False)
        else:
            rows = (2 * H - 1) * (2 * W - 1)
            shape = (rows, heads) if kind == "bias" else (heads, 2 * H - 1, 2 * W - 1)
            self.relative_position_bias_table = nn.Parameter(torch.zeros(shape))

    def forward(self) -> Tensor:
        if self.kind == "mlp":
            table_DN = 16 * self.mlp(self.relative_coords_log).flatten(0, 1).sigmoid()
        elif self.kind == "bias":
            table_DN = self.relative_position_bias_table
        else:
            table_DN = self.relative_position_bias_table.flatten(1).T
        return table_DN[self.relative_position_index].permute(2, 0, 1)


class RelPosAttention2d(nn.Module):
    """Attention among all places, `[B, C, H, W]` to `[B, O, H, W]`, by torch's fused kernel with the bias as its mask.

    Raises:
        BadInput: a width that is not a multiple of 32, or a map of another size than the window.
    """

    def __init__(
        self, inputs: int, outputs: int, window: tuple[int, int], rel_pos: RelPos = "bias", drop: float = 0.0
    ) -> None:
        super().__init__()
        if outputs % HEAD:
            raise bad("width of an attention stage", f"a multiple of {HEAD}, the width of a head", outputs)
        self.heads, self.window = outputs // HEAD, window
        self.qkv = nn.Conv2d(inputs, 3 * outputs, 1)
        self.rel_pos = None if rel_pos == "none" else RelPosBias(window, self.heads, rel_pos)
        self.proj = nn.Conv2d(outputs, outputs, 1)
        self.proj_drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        shape = tuple(x.shape[2:])
        if shape != self.window:
            hint = "Make the network for that picture size; `load_weights` resizes the tables of positions."
            raise bad("map of an attention stage", f"{self.window[0]} x {self.window[1]}", f"{shape}", hint)
        q, k, v = self.qkv(x).unflatten(1, (self.heads, 3 * HEAD)).flatten(3).mT.chunk(3, -1)  # B N T K
        bias = None if self.rel_pos is None else self.rel_pos().to(q.dtype)[None]
        mixed_BNTK = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj_drop(self.proj(mixed_BNTK.mT.flatten(1, 2).unflatten(2, shape)))


class TransformerBlock2d(nn.Module):
    """Attention and a small network a place, each added to what came in; a stride takes means of places before both."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        window: tuple[int, int],
        stride: int = 1,
        rel_pos: RelPos = "bias",
        drop_path: float = 0.0,
        drop: float = 0.0,
        expand: int = 4,
    ) -> None:
        super().__init__()
        changes = stride > 1 or inputs != outputs
        self.shortcut = Downsample2d(inputs, outputs, stride) if changes else nn.Identity()
        norm = LayerNorm2d(inputs, eps=1e-6)
        if stride > 1:
            self.norm1 = nn.Sequential()
            self.norm1.norm, self.norm1.down = norm, Downsample2d(inputs, inputs, stride)
        else:
            self.norm1 = norm
        self.attn = RelPosAttention2d(inputs, outputs, window, rel_pos, drop)
        self.norm2 = LayerNorm2d(outputs, eps=1e-6)
        self.mlp = nn.Sequential()
        self.mlp.fc1, self.mlp.act = nn.Conv2d(outputs, expand * outputs, 1), nn.GELU()
        self.mlp.drop, self.mlp.fc2 = nn.Dropout(drop), nn.Conv2d(expand * outputs, outputs, 1)
        self.drop_path1, self.drop_path2 = DropPath(drop_path), DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shortcut(x) + self.drop_path1(self.attn(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


def resize_table(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """A table of relative positions for another window, bicubic between its places, of the layout that it has.

    Raises:
        BadInput: a table that does not belong to the old window.
    """
    size = tuple(2 * n - 1 for n in old)
    if table.ndim == 2 and len(table) == size[0] * size[1]:
        grid_NHW = table.T.unflatten(1, size)
    elif table.ndim == 3 and tuple(table.shape[1:]) == size:
        grid_NHW = table
    else:
        raise bad("table", f"one of a window of {old[0]} x {old[1]}", f"shape {tuple(table.shape)}")
    wanted = [2 * n - 1 for n in new]
    made = F.interpolate(grid_NHW[None].float(), wanted, mode="bicubic", align_corners=True)[0].to(table.dtype)
    return made.flatten(1).T.contiguous() if table.ndim == 2 else made


def init_conv(block: nn.Module, random: torch.Generator) -> None:
    """First weights of convolutions: normal, of a variance of 2 over the fan-out; biases 0."""
    for layer in block.modules():
        if isinstance(layer, nn.Conv2d):
            k1, k2 = layer.kernel_size
            nn.init.normal_(layer.weight, 0, math.sqrt(2 / (k1 * k2 * layer.out_channels / layer.groups)), random)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def init_transformer(block: nn.Module, random: torch.Generator) -> None:
    """First weights of an attention block: Xavier's uniform; biases 0, of the small network tiny; tables near 0."""
    for name, layer in block.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight, generator=random)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, 0, 1e-6 if "mlp" in name else 0.0, generator=random)
        table = getattr(layer, TABLE, None)
        if table is not None:
            nn.init.trunc_normal_(cast(Tensor, table), std=0.02, generator=random)


def _apart(H: int, W: int) -> Tensor:
    """Row of the table for each pair of places `[T, T]`."""
    y, x = (t.flatten() for t in torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij"))
    down, across = y[:, None] - y[None] + H - 1, x[:, None] - x[None] + W - 1
    return down * (2 * W - 1) + across


def _log_distances(H: int, W: int) -> Tensor:
    """Signed log2(1 + 8 d), over 3, of distances d as shares of the window `[2 H - 1, 2 W - 1, 2]`."""
    axes = [torch.arange(1 - n, n, dtype=torch.float32) / max(n - 1, 1) * 8 for n in (H, W)]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    return grid.sign() * (1 + grid.abs()).log2() / 3
