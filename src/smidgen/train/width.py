"""Rates and settings that carry over from a narrow model to a wide one (MiniCPM, Hu et al., 2024, arXiv 2404.06395,
appendix A; after Yang et al., 2022, arXiv 2203.03466).

`transferable` switches the parametrisation on in a decoder's configuration: what the network computes and how its
weights begin. `width_groups` gives the other half, how far each weight steps: matrices inside layers by
`width_base / width` of the rate, all else by the rate itself. Only both together make the best rate the same at every
width.
"""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from torch import nn

from smidgen.kit.errors import bad
from smidgen.nets.decoder import DecoderConfig, matrix_like

WIDTH_BASE, SCALE_EMB, SCALE_DEPTH, INIT_STD, RATE = 256, 12.0, 1.4, 0.1, 0.01  # as published


def transferable(
    config: DecoderConfig,
    *,
    width_base: int = WIDTH_BASE,
    scale_emb: float = SCALE_EMB,
    scale_depth: float = SCALE_DEPTH,
    init_std: float = INIT_STD,
) -> DecoderConfig:
    """The same shape in the width-transferable parametrisation, by default with the published settings.

    Args:
        width_base: the width at which settings are tuned. Warns when `config.hidden` is no multiple of it.
        scale_depth: over the square root of `config.layers`, whatever the depth that it was tuned at.
    """
    if config.hidden % width_base:
        warnings.warn(
            f"The width {config.hidden} is no multiple of width_base {width_base}: settings carry over less surely.",
            stacklevel=2,
        )
    return replace(config, width_base=width_base, scale_emb=scale_emb, scale_depth=scale_depth, init_std=init_std)


def width_groups(
    named: Iterable[tuple[str, nn.Parameter]],
    lr: float,
    *,
    scale: float,
    weight_decay: float = 0.1,
    inner: Callable[[str], bool] = matrix_like,
) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer with decoupled weight decay: matrices inside layers, then all others.

    AdamW shrinks weights by lr x weight_decay a step. So that this product, and with it how long a weight is
    remembered, is the same at every width, the first group decays by `weight_decay / scale`. Others do not decay.

    Args:
        named: parameters with their names; those that need no gradient are left out.
        scale: `width_base / width`, a decoder's `config.logits_scale`; 1 where the parametrisation is off.
        inner: which names are matrices inside layers.
    Raises:
        BadInput: a scale that is not above 0.
    """
    if not scale > 0:
        raise bad("scale", "width_base / width, above 0", scale)
    trained = [(name, p) for name, p in named if p.requires_grad]
    return [
        {"params": [p for n, p in trained if inner(n)], "lr": lr * scale, "weight_decay": weight_decay / scale},
        {"params": [p for n, p in trained if not inner(n)], "lr": lr, "weight_decay": 0.0},
    ]


def at_width(config: DecoderConfig, hidden: int) -> DecoderConfig:
    """The same network at another width: as deep, heads as wide and shared as before, feed-forward in proportion.

    Raises:
        BadInput: a width that does not hold whole groups of heads.
    """
    shared = config.heads // config.kv_heads
    if hidden < 1 or hidden % (config.width * shared):
        raise bad("hidden", f"a multiple of {config.width * shared} ({shared} heads of {config.width})", hidden)
    heads = hidden // config.width
    ffn = max(1, round(config.ffn * hidden / config.hidden))
    return replace(config, hidden=hidden, heads=heads, kv_heads=heads // shared, ffn=ffn)
