"""One vector for a set of vectors: a transformer over them and a learned query, whose output alone is kept.

Source: Trinh, Luong and Le (2019, arXiv 1906.02940, section 2). Dims: B sets, N vectors, D width, H heads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.kit.errors import bad


class AttentionPool(nn.Module):
    """Args:
        width: of vectors, D. depth: layers. heads: must divide D. ffn_dim: hidden width of the feed-forward parts.
        dropout: of what attention and feed-forward parts add. seed: of the weights.

    Layers are normalised before each part; nothing tells where a vector stands: add that before.
    """

    def __init__(
        self, width: int, depth: int = 3, heads: int = 32, ffn_dim: int = 640, dropout: float = 0.1, *, seed: int = 0
    ) -> None:
        super().__init__()
        for name, value in (("width", width), ("depth", depth), ("heads", heads), ("ffn_dim", ffn_dim)):
            if value < 1:
                raise bad(name, "at least 1", value)
        if width % heads:
            raise bad("heads", f"a number that divides the {width} features", heads)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.query = nn.Parameter(torch.randn(width) * 0.02)
            self.layers = nn.ModuleList(_Layer(width, heads, ffn_dim, dropout) for _ in range(depth))
            self.norm = nn.LayerNorm(width)

    def forward(self, h_BND: Tensor) -> Tensor:
        """The summary `[B, D]`, the same for any order of the vectors."""
        x = torch.cat([self.query.expand(len(h_BND), 1, -1), h_BND], 1)
        for layer in self.layers[:-1]:
            x = layer(x, x.shape[1])
        return self.norm(self.layers[-1](x, 1)[:, 0])  # nobody reads the others


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, ffn_dim), nn.Linear(ffn_dim, width)

    def forward(self, x: Tensor, wanted: int) -> Tensor:
        """The first `wanted` vectors after the layer."""
        h = self.norm1(x)
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # B H N K
            for t in (self.q(h[:, :wanted]), *self.kv(h).chunk(2, -1))
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x[:, :wanted] + self._dropped(self.out(mixed))
        return x + self._dropped(self.down(F.gelu(self.up(self.norm2(x)))))

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)
