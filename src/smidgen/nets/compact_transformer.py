"""Small transformers for small pictures, trained from scratch: CCT, CVT and ViT-Lite as one class.

- ViT-Lite: a vision transformer with small patches and a class token: `tokenizer="patch", pool="cls"`.
- CVT: the class token gives way to pooling by attention: `tokenizer="patch", pool="seq"`.
- CCT: convolutions make the tokens as well: `tokenizer="conv", pool="seq"`, the default.

Hassani et al., 2021, "Escaping the Big Data Paradigm with Compact Transformers", arXiv 2104.05704. Named sizes:
`compact_presets`; texts: `compact_text`; the authors' weights: `compact_weights`; a method for `smidgen fit`:
`learn.compact_transformer`.

    net = CompactTransformer(32, 3, 10, depth=2, heads=2, mlp_ratio=1, dim=128, n_layers=2)   # CCT-2/3x2
    logits_BC = net(x_BCHW); net.pool_weights(x_BCHW)                                          # where it looks

Dims: B pictures, C channels, H, W height and width, N tokens, D width, K classes.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from smidgen.kit.errors import BadInput, bad
from smidgen.nets.compact_blocks import SeqPool, initialise
from smidgen.nets.compact_encoder import CompactEncoder, EncoderConfig
from smidgen.nets.compact_positions import resize_positional_embedding
from smidgen.nets.conv_tokenizer import ConvTokenizer, PatchTokenizer

__all__ = [
    "CompactConfig",
    "CompactTransformer",
    "ConvTokenizer",
    "PatchTokenizer",
    "SeqPool",
    "resize_positional_embedding",
]


@dataclass(frozen=True, kw_only=True)
class CompactConfig(EncoderConfig):
    """
    Attributes:
        image_size: side of a picture in pixels, or (height, width); None: any, only with pos="none".
        in_channels, num_classes: C and K.
        tokenizer: "conv" or "patch". kernel_size: of a convolution, or the side of a patch.
        n_layers, hidden, stride, padding: of a convolutional tokenizer, see there.
        The others: see `EncoderConfig`.
    """

    image_size: int | tuple[int, int] | None
    in_channels: int = 3
    num_classes: int = 10
    tokenizer: Literal["conv", "patch"] = "conv"
    kernel_size: int = 3
    n_layers: int = 1
    hidden: int = 64
    stride: int | None = None
    padding: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokenizer not in ("conv", "patch"):
            raise bad("tokenizer", "conv or patch", self.tokenizer)
        if self.tokenizer == "patch" and (self.n_layers, self.stride, self.padding) != (1, None, None):
            raise BadInput("Patches have one layer and no stride or padding of their own: leave these off.")
        if self.num_classes < 1:
            raise bad("num_classes", "at least 1", self.num_classes)
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise bad("image_size", "pixels, or (height, width), of at least 1", self.image_size)

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width."""
        if isinstance(self.image_size, int):
            return self.image_size, self.image_size
        return self.image_size


class CompactTransformer(nn.Module):
    """The network.

    Args:
        image_size, in_channels, num_classes, settings: those of `CompactConfig`.
        seed: of the first weights.

    Raises:
        BadInput (a ValueError): `dim` is no multiple of `heads`; a picture of this size leaves no token; positions, but
            no size; a setting out of range.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] | None,
        in_channels: int,
        num_classes: int,
        *,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.config = config = CompactConfig(
            image_size=image_size, in_channels=in_channels, num_classes=num_classes, **settings
        )
        with torch.random.fork_rng(devices=[]):
            if config.tokenizer == "patch":
                self.tokenizer = PatchTokenizer(in_channels, config.dim, patch=config.kernel_size)
            else:
                self.tokenizer = ConvTokenizer(
                    in_channels, config.dim, kernel_size=config.kernel_size, stride=config.stride,
                    padding=config.padding, n_layers=config.n_layers, hidden=config.hidden,
                )  # fmt: skip
            self.encoder = CompactEncoder(config, self.tokenizer.sequence_length(*config.size) if config.size else None)
            self.head = nn.Linear(config.dim, num_classes)
        random = torch.Generator().manual_seed(seed)  # not torch's own, which another thread may draw from
        initialise(self, random)
        self.encoder.start(random)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits `[B, K]` of pictures `float[B, C, H, W]`. Raises BadInput: another number of channels, or another size
        than the positions are for."""
        return self.head(self.forward_features(x_BCHW))

    def forward_features(self, x_BCHW: Tensor) -> Tensor:
        """What the last layer sees, `[B, D]`. As `forward`."""
        return self.encoder(self._tokens(x_BCHW))

    def pool_weights(self, x_BCHW: Tensor) -> Tensor:
        """How much each place counts in sequence pooling, `[B, rows, columns]` of tokens; each sums to 1. As `forward`;
        BadInput also for a class token, which has no such weights."""
        if self.encoder.seq_pool is None:
            raise BadInput("A class token has no pooling weights: take a network with pool='seq'.")
        x_BND, _ = self.encoder.tokens(self._tokens(x_BCHW))
        return self.encoder.seq_pool.weights(x_BND).unflatten(1, self.tokenizer.grid(*x_BCHW.shape[2:]))

    def grid(self, size: tuple[int, int] | None = None) -> tuple[int, int]:
        """Rows and columns of tokens, of pictures of the network's own size or another. Raises BadInput: no size."""
        size = size or self.config.size
        if size is None:
            raise bad("size", "(height, width)", None, "This network has none of its own.")
        return self.tokenizer.grid(*size)

    def draw_from(self, random: torch.Generator | None) -> None:
        """Stochastic depth draws from here: with `attn_dropout=0` and `dropout=0` a training then depends on nothing
        else, whatever other threads do."""
        self.encoder.draw_from(random)

    def _tokens(self, x_BCHW: Tensor) -> Tensor:
        """Raises BadInput: another grid than the positions are for, which may have as many places."""
        x_BND = self.tokenizer(x_BCHW)
        size = self.config.size
        if self.config.pos != "none" and size and self.tokenizer.grid(*x_BCHW.shape[2:]) != self.tokenizer.grid(*size):
            raise bad("pictures", f"{size[0]} x {size[1]} pixels, as the positions are for", tuple(x_BCHW.shape[2:]),
                      "Resize the pictures, or the positions (`resize_positional_embedding`).")  # fmt: skip
        return x_BND
