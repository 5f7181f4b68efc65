"""The decoder language model cut into stages."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.kit.errors import bad
from smidgen.nets.decoder import Decoder, DecoderConfig, Layer, Seen
from smidgen.nets.fused import rope_tables
from smidgen.train.recovery.stages import StagedModel


class DecoderStage(nn.Module):
    """Some consecutive layers, `[B, T, D]` to `[B, T, D]`; every row is one document."""

    def __init__(self, config: DecoderConfig, layers: list[Layer]) -> None:
        super().__init__()
        self.config, self.layers = config, nn.ModuleList(layers)

    def forward(self, x_BTD: Tensor) -> Tensor:
        positions_T = torch.arange(x_BTD.shape[1], device=x_BTD.device)
        seen = Seen(*rope_tables(positions_T, self.config.width, self.config.rope_theta), None)
        for layer in self.layers:
            x_BTD = layer(x_BTD, seen)
        return x_BTD


class DecoderEmbed(nn.Module):
    """Ids `[B, T]` to `[B, T, D]`."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, ids_BT: Tensor) -> Tensor:
        return self.decoder.embed(ids_BT)


class DecoderHead(nn.Module):
    """`[B, T, D]` to logits `[B, T, V]`."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = self.decoder.model.norm(x_BTD) * self.decoder.config.logits_scale
        return F.linear(x_BTD, self.decoder.output_weight_VD)


def staged_decoder(config: DecoderConfig, n_stages: int, seed: int = 0, swap_ends: bool = False) -> StagedModel:
    """`Decoder(config, seed)` in stages of equally many layers: the same weights, the same logits.

    Raises:
        BadInput: the layers cannot be divided so.
    """
    if n_stages < 1 or config.layers % n_stages:
        raise bad("stages", f"a divisor of the {config.layers} layers", n_stages)
    decoder, each = Decoder(config, seed), config.layers // n_stages
    layers: list[Layer] = list(decoder.model.layers)  # pyright: ignore
    decoder.model.layers = nn.ModuleList()  # what is left are the ends
    stages = [DecoderStage(config, layers[i : i + each]) for i in range(0, config.layers, each)]
    return StagedModel(DecoderEmbed(decoder), stages, DecoderHead(decoder), swap_ends)


def fresh_stage(config: DecoderConfig, n_stages: int, seed: int) -> nn.Module:
    """A stage with first weights of its own, for recovery at random."""
    return staged_decoder(config, n_stages, seed).stages[0]
