"""A transformer over (stimulus, response) pairs of one output unit that gives the unit's linear read-out.

The pairs are a set: no positions, so their order says nothing. Learned register tokens stand before them; the first one
is read out as weights `w` and intercept `b` of `w . e + b`, a predictor of the unit for any stimulus embedding `e` of
unit length. No step of fitting: what units have in common was learned in training (BraInCoRL, Yu et al., 2025,
arXiv 2505.15813). Queries of attention grow with the logarithm of the number of tokens, so that attention stays sharp
over contexts longer than those of training.

Inside, embeddings are multiplied by sqrt(E): each coordinate is then about as large as a response, and so are weights.

Dims: B units, S pairs of context, R registers, T = R + S tokens, E embedding, D width, H heads, K = D / H, L layers,
Q queries (stimuli to predict for).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.kit.errors import bad

SLOPE = 0.1  # of LeakyReLU
FLAT = 1e-6  # responses that vary less than this, in their own size, do not vary


@dataclass(frozen=True, kw_only=True)
class HypernetworkConfig:
    """
    Attributes:
        embed: E. hidden, heads, depth: D, H, L. ffn: hidden units of SwiGLU. registers: R.
        dropout: while training.
        length_scaling: queries times the logarithm of the number of tokens.
        standardize: responses are read in units of their own context (mean 0, standard deviation 1), and weights given
            back in the unit that came in. False, as published: responses come with mean 0 and deviation 1 of the unit.
    """

    embed: int
    hidden: int = 64
    depth: int = 3
    heads: int = 4
    ffn: int = 128
    registers: int = 4
    dropout: float = 0.0
    length_scaling: bool = True
    standardize: bool = True

    def __post_init__(self) -> None:
        for name in ("embed", "hidden", "depth", "heads", "ffn", "registers"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))
        if self.hidden % self.heads:
            raise bad("hidden", f"a multiple of the {self.heads} heads", self.hidden)
        if not 0 <= self.dropout < 1:
            raise bad("dropout", "from 0, below 1", self.dropout)


def _published(embed: int, hidden: int) -> HypernetworkConfig:
    return HypernetworkConfig(embed=embed, hidden=hidden, depth=20, heads=10, ffn=2048, standardize=False)


PRESETS = {"clip": _published(512, 560), "dino": _published(768, 800), "siglip": _published(1152, 1200)}  # as published


class ResidualMLP(nn.Module):
    """Two pre-activated layers beside a bypass, which is linear where the sizes differ."""

    def __init__(self, inputs: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm_in, self.norm_inner = nn.LayerNorm(inputs), nn.LayerNorm(2 * outputs)
        self.up, self.down = nn.Linear(inputs, 2 * outputs), nn.Linear(2 * outputs, outputs)
        self.bypass = nn.Identity() if inputs == outputs else nn.Linear(inputs, outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(self.dropout(F.leaky_relu(self.norm_in(x), SLOPE)))
        return self.bypass(x) + self.down(self.dropout(F.leaky_relu(self.norm_inner(h), SLOPE)))


class _Block(nn.Module):
    """Attention among all tokens, then SwiGLU, each added to what came in."""

    def __init__(self, config: HypernetworkConfig) -> None:
        super().__init__()
        D, self.heads = config.hidden, config.heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(D), nn.LayerNorm(D)
        self.query, self.key_value, self.out = nn.Linear(D, D), nn.Linear(D, 2 * D), nn.Linear(D, D)
        self.gate_up, self.down = nn.Linear(D, 2 * config.ffn), nn.Linear(config.ffn, D)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTD: Tensor, seen: "_Seen", first_only: bool = False) -> Tensor:
        """The tokens after the block; of the first token alone `[B, 1, D]`, where no other is needed."""
        q, k, v = self._heads(x_BTD, seen, first_only)
        if q.device.type == "cpu":  # with heads this narrow its fused attention is several times slower
            mixed_BHTK = _attention(q, k, seen.keys_B11T) @ v
        else:
            mixed_BHTK = F.scaled_dot_product_attention(q, k, v, seen.keys_B11T)
        x_BTD = x_BTD[:, : q.shape[2]] + self.dropout(self.out(mixed_BHTK.transpose(1, 2).flatten(2)))
        gate, up = self.gate_up(self.norm_mlp(x_BTD)).chunk(2, -1)
        return x_BTD + self.dropout(self.down(F.silu(gate) * up))

    def paid(self, x_BTD: Tensor, seen: "_Seen") -> Tensor:
        """Attention `[B, H, T]` that the first token pays to all."""
        q, k, _ = self._heads(x_BTD, seen, first_only=True)
        return _attention(q, k, seen.keys_B11T)[:, :, 0]

    def _heads(self, x_BTD: Tensor, seen: "_Seen", first_only: bool) -> list[Tensor]:
        u = self.norm_attention(x_BTD)
        asking = (u[:, :1] if first_only else u) * seen.sharp
        parts = self.query(asking), *self.key_value(u).chunk(2, -1)
        return [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts]


def _attention(q_BHTK: Tensor, k_BHTK: Tensor, keys_B11T: Tensor | None) -> Tensor:
    scores_BHTT = (q_BHTK * q_BHTK.shape[-1] ** -0.5) @ k_BHTK.mT
    if keys_B11T is not None:
        scores_BHTT = scores_BHTT.masked_fill(~keys_B11T, -torch.inf)
    return scores_BHTT.softmax(-1)


@dataclass(frozen=True)
class _Seen:
    """What all blocks share: the factor of queries (`[B, 1, 1]`, or one for all), and which tokens are looked at."""

    sharp: Tensor | float
    keys_B11T: Tensor | None


@dataclass(frozen=True)
class _Unit:
    """Mean and standard deviation `[B, 1]` of the responses, in which they are read."""

    mean_B1: Tensor
    spread_B1: Tensor


class InContextLinearHypernet(nn.Module):
    """The network.

    Args:
        seed: of the first weights.
    """

    def __init__(self, config: HypernetworkConfig, seed: int = 0) -> None:
        super().__init__()
        self.config, D = config, config.hidden
        with torch.random.fork_rng(devices=[]):
            self.enter = ResidualMLP(config.embed + 1, D, config.dropout)
            self.registers = nn.Parameter(torch.empty(config.registers, D))
            self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
            self.leave = ResidualMLP(D, config.embed + 1, config.dropout)
        random = torch.Generator().manual_seed(seed)  # not torch's own, which another thread may draw from
        with torch.no_grad():
            self.registers.normal_(0.0, (D + 1) ** -0.5, generator=random)
            for layer in self.modules():
                if isinstance(layer, nn.Linear):
                    for p in layer.parameters():
                        p.uniform_(-1, 1, generator=random).mul_(layer.in_features**-0.5)

    def forward(
        self, x_BSE: Tensor, y_BS: Tensor, query_BQE: Tensor, mask_BS: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Predictions `[B, Q]` for the queries, and the weights `[B, E + 1]` that they come from; see `weights`."""
        w_BW = self.weights(x_BSE, y_BS, mask_BS)
        return predicted(w_BW, query_BQE), w_BW

    def weights(self, x_BSE: Tensor, y_BS: Tensor, mask_BS: Tensor | None = None) -> Tensor:
        """Read-out of each unit: weights of the embedding, and last the intercept, `[B, E + 1]`, float32.

        Args:
            x_BSE: embeddings of unit length. y_BS: responses. mask_BS: True where a response is known, None: all are;
                what the others hold is not looked at.
        Raises:
            BadInput: no pair, or shapes that do not fit each other or the network.
        """
        x_BTD, seen, unit = self._enter(x_BSE, y_BS, mask_BS)
        for i, block in enumerate(self.blocks):
            x_BTD = block(x_BTD, seen, first_only=i + 1 == len(self.blocks))
        w_BW = self.leave(x_BTD[:, 0]).float() * unit.spread_B1
        return torch.cat([w_BW[:, :-1] * self.config.embed**0.5, w_BW[:, -1:] + unit.mean_B1], 1)

    def attention(self, x_BSE: Tensor, y_BS: Tensor, mask_BS: Tensor | None = None) -> Tensor:
        """How much the token that is read out attends to each pair, `[B, L, H, S]`; what is left of 1 went to
        registers. Arguments and errors as of `weights`."""
        x_BTD, seen, _ = self._enter(x_BSE, y_BS, mask_BS)
        paid = []
        for block in self.blocks:
            paid.append(block.paid(x_BTD, seen)[..., self.config.registers :])  # pyright: ignore
            x_BTD = block(x_BTD, seen)
        return torch.stack(paid, 1)

    def _enter(self, x_BSE: Tensor, y_BS: Tensor, mask_BS: Tensor | None) -> tuple[Tensor, _Seen, _Unit]:
        """Tokens `[B, T, D]`, and what goes with them."""
        config = self.config
        _check(x_BSE, y_BS, mask_BS, config.embed)
        if mask_BS is not None:
            y_BS = torch.where(mask_BS, y_BS, 0.0)
        unit = _unit(y_BS, mask_BS, config.standardize)
        z_BS = (y_BS - unit.mean_B1) / torch.where(unit.spread_B1 > 0, unit.spread_B1, 1.0)
        pairs_BSD = self.enter(torch.cat([x_BSE * config.embed**0.5, z_BS[..., None]], -1))
        x_BTD = torch.cat([self.registers.to(pairs_BSD.dtype).expand(len(y_BS), -1, -1), pairs_BSD], 1)
        count, keys_B11T = torch.tensor(float(x_BTD.shape[1])), None
        if mask_BS is not None:
            known_BT = F.pad(mask_BS, (config.registers, 0), value=True)
            count, keys_B11T = known_BT.sum(1)[:, None, None].float(), known_BT[:, None, None]
        return x_BTD, _Seen(count.log().to(x_BTD) if config.length_scaling else 1.0, keys_B11T), unit


def predicted(w_BW: Tensor, query_BQE: Tensor) -> Tensor:
    """`w . e + b` for each query, `[B, Q]`."""
    return (query_BQE @ w_BW[:, :-1, None])[..., 0] + w_BW[:, -1:]


def _unit(y_BS: Tensor, mask_BS: Tensor | None, standardize: bool) -> _Unit:
    """Of known responses (the others are 0); spread 0 where they do not vary."""
    if not standardize:
        return _Unit(y_BS.new_zeros(len(y_BS), 1), y_BS.new_ones(len(y_BS), 1))
    known_BS = torch.ones_like(y_BS) if mask_BS is None else mask_BS.to(y_BS.dtype)
    count_B1 = known_BS.sum(1, keepdim=True).clamp_min(1)
    mean_B1 = y_BS.sum(1, keepdim=True) / count_B1
    spread_B1 = (((y_BS - mean_B1) * known_BS).square().sum(1, keepdim=True) / count_B1).sqrt()
    size_B1 = (y_BS.square().sum(1, keepdim=True) / count_B1).sqrt()
    return _Unit(mean_B1, torch.where(spread_B1 > FLAT * size_B1, spread_B1, 0.0))


def _check(x_BSE: Tensor, y_BS: Tensor, mask_BS: Tensor | None, embed: int) -> None:
    if x_BSE.ndim != 3 or x_BSE.shape[1] < 1:
        raise bad("context", "embeddings [units, pairs, numbers] of at least 1 pair", f"shape {tuple(x_BSE.shape)}")
    if x_BSE.shape[2] != embed:
        raise bad("embeddings", f"{embed} numbers each, as in training", x_BSE.shape[2])
    if y_BS.shape != x_BSE.shape[:2]:
        raise bad("responses", f"one for each pair, {tuple(x_BSE.shape[:2])}", f"shape {tuple(y_BS.shape)}")
    if mask_BS is not None and (mask_BS.shape != y_BS.shape or mask_BS.dtype != torch.bool):
        raise bad("mask", f"bool {tuple(y_BS.shape)}", f"{mask_BS.dtype} {tuple(mask_BS.shape)}")
