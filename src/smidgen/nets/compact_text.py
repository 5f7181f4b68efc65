"""A compact transformer for short texts: word vectors, a convolution along the text, masked blocks, masked pooling.

What stands after a text's end never changes the result: padded places are left out of convolution, pooling, attention
and the last mean, and a text has as many tokens as it would have alone.

    net = TextCompactTransformer(vocab=4000, max_len=64, num_classes=6)
    logits_BC = net(ids_BT)                      # 0 is padding

Source: Hassani et al., 2021, arXiv 2104.05704, section 4.5. The authors' code keeps one token more at a text's end, and
pools padded tokens too. Dims: B texts, T words, E width of a word vector, N tokens, D width, K classes.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.kit.errors import BadInput, bad
from smidgen.nets.compact_blocks import check_mask, initialise
from smidgen.nets.compact_encoder import CompactEncoder, EncoderConfig
from smidgen.nets.conv_tokenizer import Pool, check_tokenizer, steps, window

PADDING = 0


@dataclass(frozen=True, kw_only=True)
class TextConfig(EncoderConfig):
    """
    Attributes:
        vocab, max_len: words, padding among them, and the most of a text. num_classes: K.
        embed: E. kernel_size, n_layers, stride, padding: of the convolutions, see `TextTokenizer`.
        The others: see `EncoderConfig`.
    """

    vocab: int
    max_len: int
    num_classes: int = 2
    embed: int = 300
    kernel_size: int = 4
    n_layers: int = 1
    stride: int | None = None
    padding: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("vocab", "max_len", "num_classes", "embed"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))


class TextTokenizer(nn.Module):
    """`float[B, T, E]` with a mask `[B, T]` to tokens `[B, N, D]` with a mask `[B, N]`.

    Args as of `ConvTokenizer`, in one dimension; between layers there are `dim` channels.
    """

    def __init__(
        self,
        embed: int,
        dim: int,
        *,
        kernel_size: int = 4,
        stride: int | None = None,
        padding: int | None = None,
        n_layers: int = 1,
        pool: Pool | None = (3, 2, 1),
    ) -> None:
        super().__init__()
        stride, padding = window(kernel_size, stride, padding)
        check_tokenizer({"embed": embed, "dim": dim, "n_layers": n_layers}, pool)
        self.conv, self.pooled = (kernel_size, stride, padding), pool
        self.convs = nn.ModuleList(
            nn.Conv1d(embed if i == 0 else dim, dim, kernel_size, stride, padding, bias=False) for i in range(n_layers)
        )

    def forward(self, x_BTE: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens, 0 where the mask is False."""
        x, mask = x_BTE.transpose(1, 2), mask_BT
        for conv in self.convs:
            x = conv(x * mask[:, None])
            mask = _seen(mask, self.conv)
            x = F.relu(x) * mask[:, None]  # not below 0: what is masked never is the largest
            if self.pooled:
                x, mask = F.max_pool1d(x, *self.pooled), _seen(mask, self.pooled)
                x = x * mask[:, None]
        return x.transpose(1, 2), mask

    def sequence_length(self, words: int) -> int:
        """N of so many words. Raises BadInput: no token."""
        n = words
        for _ in self.convs:
            n = steps(n, *self.conv)
            n = steps(n, *self.pooled) if self.pooled else n
        if n < 1:
            raise bad("text", "long enough for one token", f"{words} words", "Take fewer layers or a smaller kernel.")
        return n


class TextCompactTransformer(nn.Module):
    """The network.

    Args:
        vocab, max_len, num_classes, settings: those of `TextConfig`. seed: of the first weights.

    Raises:
        BadInput (a ValueError): as `CompactTransformer`.
    """

    def __init__(self, vocab: int, max_len: int, num_classes: int = 2, *, seed: int = 0, **settings: Any) -> None:
        super().__init__()
        self.config = config = TextConfig(vocab=vocab, max_len=max_len, num_classes=num_classes, **settings)
        with torch.random.fork_rng(devices=[]):
            self.embedding = nn.Embedding(vocab, config.embed, padding_idx=PADDING)
            self.tokenizer = TextTokenizer(
                config.embed, config.dim, kernel_size=config.kernel_size, stride=config.stride,
                padding=config.padding, n_layers=config.n_layers,
            )  # fmt: skip
            self.encoder = CompactEncoder(config, self.tokenizer.sequence_length(max_len))
            self.head = nn.Linear(config.dim, num_classes)
        random = torch.Generator().manual_seed(seed)
        initialise(self, random)
        self.encoder.start(random)
        with torch.no_grad():
            self.embedding.weight.normal_(generator=random)[PADDING] = 0

    def forward(self, ids_BT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Logits `[B, K]`.

        Args:
            ids_BT: whole numbers below `vocab`. mask_BT: True where a word is one; None: where it is not padding (0).
                A text without any word is read as one unknown word.
        Raises:
            BadInput: longer texts than `max_len`, ids out of range, a mask of another shape.
        """
        return self.head(self.forward_features(ids_BT, mask_BT))

    def forward_features(self, ids_BT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """What the last layer sees, `[B, D]`. As `forward`."""
        return self.encoder(*self._tokens(ids_BT, mask_BT))

    def pool_weights(self, ids_BT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """How much each token counts in sequence pooling, `[B, N]`. As `forward`; BadInput for a class token."""
        if self.encoder.seq_pool is None:
            raise BadInput("A class token has no pooling weights: take a network with pool='seq'.")
        return self.encoder.seq_pool.weights(*self.encoder.tokens(*self._tokens(ids_BT, mask_BT)))

    def draw_from(self, random: torch.Generator | None) -> None:
        """As `CompactTransformer.draw_from`."""
        self.encoder.draw_from(random)

    def _tokens(self, ids_BT: Tensor, mask_BT: Tensor | None) -> tuple[Tensor, Tensor]:
        if ids_BT.ndim != 2 or not 1 <= ids_BT.shape[1] <= self.config.max_len:
            raise bad("texts", f"[texts, words], of 1 to {self.config.max_len} words", f"shape {tuple(ids_BT.shape)}")
        if ids_BT.numel() and not 0 <= int(ids_BT.min()) <= int(ids_BT.max()) < self.config.vocab:
            raise bad("words", f"numbers from 0 to {self.config.vocab - 1}", f"{ids_BT.min()} to {ids_BT.max()}")
        if mask_BT is None:
            mask_BT = ids_BT != PADDING
        check_mask(mask_BT, ids_BT)
        ids_BT = ids_BT.masked_fill(~mask_BT, PADDING)
        none_B = ~mask_BT.any(1)
        mask_BT = torch.cat([mask_BT[:, :1] | none_B[:, None], mask_BT[:, 1:]], 1)
        return self.tokenizer(self.embedding(ids_BT), mask_BT)


def text_cct(layers: int, vocab: int, max_len: int, num_classes: int = 2, **settings: Any) -> TextCompactTransformer:
    """The network of one of the published sizes (`compact_presets.SIZES`)."""
    from smidgen.nets.compact_presets import SIZES

    if layers not in SIZES:
        raise bad("layers", "one of " + ", ".join(map(str, SIZES)), layers)
    return TextCompactTransformer(vocab, max_len, num_classes, **{**SIZES[layers], **settings})


def _seen(mask_BT: Tensor, size: Pool) -> Tensor:
    """Which windows see a token, no more of them than the text alone would have."""
    kernel, stride, padding = size
    seen_BN = F.max_pool1d(F.pad(mask_BT[:, None].float(), (padding, padding)), kernel, stride)[:, 0] > 0
    places = torch.arange(1, mask_BT.shape[1] + 1, device=mask_BT.device)
    length_B = (mask_BT * places).amax(1)
    windows_B = (length_B + 2 * padding - kernel).div(stride, rounding_mode="floor") + 1
    first = torch.arange(seen_BN.shape[1], device=mask_BT.device) < windows_B.clamp_min(1)[:, None]
    return seen_BN & first
