"""Parts of a compact transformer: the encoder block, stochastic depth, and pooling of a sequence by attention.

Attention is torch's fused one. A block is the usual pre-norm one; `reference_norm` is the authors' code instead, which
after attention goes on with the *normalised* stream: a slip by their own word, but their weights need it.

Dims: B sequences, N tokens, D width, H heads, K = D / H.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.kit.errors import bad


class SeqPool(nn.Module):
    """`[B, N, D]` to `[B, D]`: a mean of the tokens, weighted by the softmax of one learned score each (section 3.2).

    Tokens where `mask_BN` is False weigh nothing; where all are, the mean is a plain one.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1)

    def forward(self, x_BND: Tensor, mask_BN: Tensor | None = None) -> Tensor:
        """The pooled sequences. Raises BadInput: a mask of another shape."""
        return (self.weights(x_BND, mask_BN)[:, None] @ x_BND)[:, 0]

    def weights(self, x_BND: Tensor, mask_BN: Tensor | None = None) -> Tensor:
        """How much each token counts, `[B, N]`; rows sum to 1."""
        score_BN = self.score(x_BND)[..., 0]
        if mask_BN is not None:
            check_mask(mask_BN, x_BND)
            score_BN = score_BN.masked_fill(~mask_BN, torch.finfo(score_BN.dtype).min)
        return score_BN.softmax(1)


class DropPath(nn.Module):
    """Stochastic depth: while training a branch is left out for a share `rate` of the rows, the others are scaled up.

    Attributes:
        generator: where the draws come from; None: torch's own.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.generator: torch.Generator | None = None

    def forward(self, x_BND: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return x_BND
        device = self.generator.device if self.generator else x_BND.device
        kept_B = torch.rand(len(x_BND), generator=self.generator, device=device).to(x_BND.device) >= self.rate
        return x_BND * (kept_B / (1 - self.rate)).to(x_BND.dtype)[:, None, None]


class Block(nn.Module):
    """Attention among all tokens, then a small network for each, both added to what came in.

    Args:
        hidden: of the small network. drop_path: of both branches. reference_norm: see above.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        *,
        dropout: float = 0.0,
        attn_dropout: float = 0.0,
        drop_path: float = 0.0,
        reference_norm: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.attn_dropout, self.reference_norm = heads, attn_dropout, reference_norm
        self.norm_attention, self.norm_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.dropout, self.drop_path = nn.Dropout(dropout), DropPath(drop_path)

    def forward(self, x_BND: Tensor, keys_B11N: Tensor | None = None) -> Tensor:
        """Args: keys_B11N: True where a token may be looked at; None: everywhere."""
        mixed = self.out(self._attention(self.norm_attention(x_BND), keys_B11N))
        x_BND = x_BND + self.drop_path(self.dropout(mixed))
        h = self.norm_mlp(x_BND)
        if self.reference_norm:
            x_BND = h
        h = self.down(self.dropout(F.gelu(self.up(h))))
        return x_BND + self.drop_path(self.dropout(h))

    def _attention(self, h_BND: Tensor, keys_B11N: Tensor | None) -> Tensor:
        q, k, v = self.qkv(h_BND).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()  # B H N K each
        p = self.attn_dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, keys_B11N, p).transpose(1, 2).flatten(2)


def check_mask(mask_BN: Tensor, x_BND: Tensor) -> None:
    """Raises BadInput: not a boolean `[B, N]`."""
    if mask_BN.shape != x_BND.shape[:2] or mask_BN.dtype != torch.bool:
        raise bad("mask", f"bool {tuple(x_BND.shape[:2])}", f"{mask_BN.dtype} {tuple(mask_BN.shape)}")


def initialise(module: nn.Module, random: torch.Generator) -> None:
    """First weights, as published: linear ones normal with deviation 0.02, convolutions Kaiming-normal, biases 0.

    The truncation is at 2, not at two deviations, as in the authors' code.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02, generator=random)
        elif isinstance(layer, nn.Conv1d | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, generator=random)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
