"""Decoders by name or by size."""

import math

from smidgen.kit.errors import bad
from smidgen.nets.decoder import DecoderConfig, parameters

LARGER = 1.2  # `sized` may take so many times the parameters that were asked for


def geb_1_3b(norm_position: str = "pre") -> DecoderConfig:
    """GEB-1.3B (arXiv 2406.09900): 1.35e9 parameters. Its "PostRMSNorm" is ambiguous; see `norm_position`."""
    return DecoderConfig(
        vocab=64_896, hidden=2048, layers=24, heads=16, kv_heads=4, ffn=5632, max_len=4096, tie_embeddings=False,
        norm_position=norm_position,
    )  # fmt: skip


def geb_mini(layers: int, hidden: int, vocab: int = 2048, max_len: int = 256) -> DecoderConfig:
    """GEB's proportions at another size: four query heads to a key/value head, feed-forward 8/3, untied.

    Raises:
        BadInput: hidden is no multiple of 8.
    """
    if hidden % 8:
        raise bad("hidden", "a multiple of 8 (4 heads of an even width)", hidden)
    heads = 4 * max(1, hidden // (4 * 64))
    while hidden % (2 * heads):
        heads -= 4
    ffn = _up(8 * hidden / 3, 32)
    return DecoderConfig(vocab, hidden, layers, heads, heads // 4, ffn, max_len, tie_embeddings=False)


def minicpm_1_2b() -> DecoderConfig:
    """MiniCPM-1.2B (arXiv 2404.06395): 1.25e9 parameters without the embedding of 0.11e9; width-transferable."""
    return DecoderConfig(
        vocab=73_440, hidden=1536, layers=52, heads=24, kv_heads=8, ffn=3840, max_len=4096, scale_emb=12.0,
        scale_depth=1.4, width_base=256, init_std=0.1,
    )  # fmt: skip


def minicpm_2_4b() -> DecoderConfig:
    """MiniCPM-2.4B (arXiv 2404.06395), also named 2B: 2.44e9 parameters without the embedding, 2.72e9 with it."""
    return DecoderConfig(
        vocab=122_753, hidden=2304, layers=40, heads=36, kv_heads=36, ffn=5760, max_len=4096, scale_emb=12.0,
        scale_depth=1.4, width_base=256, init_std=0.1,
    )  # fmt: skip


def sized(size: int, vocab: int, max_len: int) -> DecoderConfig:
    """A decoder of about `size` parameters with a tied embedding, deep and thin; 4 layers at a width of 128, 6 at
    256, 12 at 512 where the size can be met so.

    Raises:
        BadInput: the vocabulary alone is more than the size allows.
    """
    best: tuple[float, DecoderConfig] | None = None
    for hidden in [*range(32, 256, 32), *range(256, 4097, 64)]:
        heads = hidden // (64 if hidden >= 256 else 32)
        for layers in range(2, 65):
            config = DecoderConfig(vocab, hidden, layers, heads, heads, _up(8 * hidden / 3, 32), max_len)
            if parameters(config) > LARGER * size:
                continue
            off = abs(math.log(parameters(config) / size))
            shape = abs(math.log(layers / max(3.0, hidden / 43)))
            rank = shape + 5 * max(0.0, off - 0.05)
            if best is None or rank < best[0]:
                best = rank, config
    if best is None:
        raise bad("size", f"at least {vocab * 32 + 30_000:,} parameters with {vocab:,} words", f"{size:,}")
    return best[1]


def _up(value: float, multiple: int) -> int:
    return math.ceil(value / multiple) * multiple
