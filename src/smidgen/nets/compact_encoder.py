"""What pictures and texts share in a compact transformer: positions, blocks, a last norm, and pooling to one vector.

Dims: B sequences, N tokens, D width.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from smidgen.kit.errors import bad
from smidgen.nets.compact_blocks import Block, DropPath, SeqPool, check_mask
from smidgen.nets.compact_positions import sine_table


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """
    Attributes:
        depth, heads, dim: blocks, heads of attention, D. mlp_ratio: hidden units of a block over D.
        pool: "seq", attention over the tokens, or "cls", a class token.
        pos: positions learned, of a fixed sine table, or none.
        dropout, attn_dropout: while training, of tokens and of attention (on a processor torch's fused attention has
            no dropout and gets slower with it).
        stochastic_depth: of the last block; it rises from 0 at the first.
        reference_norm: the authors' blocks, which their weights need, see `compact_blocks`.
    """

    depth: int = 2
    heads: int = 2
    mlp_ratio: float = 1
    dim: int = 128
    pool: Literal["seq", "cls"] = "seq"
    pos: Literal["learnable", "sine", "none"] = "learnable"
    dropout: float = 0.0
    attn_dropout: float = 0.1
    stochastic_depth: float = 0.1
    reference_norm: bool = False

    def __post_init__(self) -> None:
        for name in ("depth", "heads", "dim"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))
        if self.dim % self.heads:
            raise bad("dim", f"a multiple of the {self.heads} heads", self.dim)
        if not self.dim * self.mlp_ratio >= 1:
            raise bad("mlp_ratio", "at least one hidden unit", self.mlp_ratio)
        for name, allowed in (("pool", ("seq", "cls")), ("pos", ("learnable", "sine", "none"))):
            if getattr(self, name) not in allowed:
                raise bad(name, " or ".join(allowed), getattr(self, name))
        for name in ("dropout", "attn_dropout", "stochastic_depth"):
            if not 0 <= getattr(self, name) < 1:
                raise bad(name, "from 0, below 1", getattr(self, name))


class CompactEncoder(nn.Module):
    """Tokens `[B, N, D]` to one vector `[B, D]`.

    Args:
        length: most tokens, without a class token; None: any number, only without positions.

    Raises:
        BadInput: positions are asked for and the length is not known, or 0.
    """

    positional_embedding: Tensor | None
    class_token: Tensor | None

    def __init__(self, config: EncoderConfig, length: int | None) -> None:
        super().__init__()
        if config.pos != "none" and not length:
            raise bad("image_size", f"a size for pos={config.pos!r}", length, "Give one, or take pos='none'.")
        self.config, D = config, config.dim
        self.extra = int(config.pool == "cls")
        self.class_token = nn.Parameter(torch.zeros(1, 1, D)) if self.extra else None
        self.seq_pool = None if self.extra else SeqPool(D)
        places = (length or 0) + self.extra
        if config.pos == "learnable":
            self.positional_embedding = nn.Parameter(torch.zeros(1, places, D))
        else:  # a buffer: no optimizer may move it
            table = sine_table(places, D)[None] if config.pos == "sine" else None
            self.register_buffer("positional_embedding", table)
        rates = [config.stochastic_depth * i / max(config.depth - 1, 1) for i in range(config.depth)]
        self.blocks = nn.ModuleList(
            Block(D, config.heads, int(D * config.mlp_ratio), dropout=config.dropout, attn_dropout=config.attn_dropout,
                  drop_path=rate, reference_norm=config.reference_norm)
            for rate in rates
        )  # fmt: skip
        self.norm, self.dropout = nn.LayerNorm(D), nn.Dropout(config.dropout)

    def start(self, random: torch.Generator) -> None:
        """First values of a learned table, after `initialise`."""
        if self.config.pos == "learnable":
            assert self.positional_embedding is not None
            nn.init.trunc_normal_(self.positional_embedding, std=0.2, generator=random)

    def forward(self, x_BND: Tensor, mask_BN: Tensor | None = None) -> Tensor:
        """The pooled vectors. Args: mask_BN: True where a token is one, at least once in each row; None: everywhere.
        Raises BadInput: more tokens than positions, or a mask of another shape."""
        x_BND, mask_BN = self.tokens(x_BND, mask_BN)
        return x_BND[:, 0] if self.seq_pool is None else self.seq_pool(x_BND, mask_BN)

    def tokens(self, x_BND: Tensor, mask_BN: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """All tokens after the last norm, the class token first, and which are some. As `forward`."""
        if mask_BN is not None:
            check_mask(mask_BN, x_BND)
        if self.class_token is not None:
            x_BND = torch.cat([self.class_token.to(x_BND.dtype).expand(len(x_BND), -1, -1), x_BND], 1)
            mask_BN = None if mask_BN is None else nn.functional.pad(mask_BN, (1, 0), value=True)
        if self.positional_embedding is not None:
            places = self.positional_embedding.shape[1]
            if x_BND.shape[1] > places:
                got = x_BND.shape[1] - self.extra
                raise bad("input", f"at most {places - self.extra} tokens, as there are positions", got,
                          "Resize the input, or the positions (`resize_positional_embedding`).")  # fmt: skip
            x_BND = x_BND + self.positional_embedding[:, : x_BND.shape[1]]
        x_BND = self.dropout(x_BND)
        keys_B11N = None if mask_BN is None else mask_BN[:, None, None]
        for block in self.blocks:
            x_BND = block(x_BND, keys_B11N)
        return self.norm(x_BND), mask_BN

    def draw_from(self, random: torch.Generator | None) -> None:
        """Stochastic depth draws from here from now on, not from torch's own generator."""
        for part in self.modules():
            if isinstance(part, DropPath):
                part.generator = random
