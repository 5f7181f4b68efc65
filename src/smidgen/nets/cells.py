"""A transformer over the cells of a table: it reads labelled rows and says what the targets of other rows may be.

A token is a group of a few columns in one row, or the target of the row. Each layer lets the tokens of a row look at
each other, then the rows of a column at the labelled rows (labelled ones too, so that no query is seen by any row),
and ends with a small network for each token. Rows have no order; columns are told apart by vectors drawn from a learned
set. Attention over both axes: Hollmann et al. (2025), Nature 637, 319-326. A class's score is, as in a kernel
classifier, the attention that a query pays to the labelled rows of the class (Vinyals et al., 2016, arXiv 1606.04080),
plus a learned one.

Beside the cells, each row has what four regressions in closed form guess of its target (`guesses.py`): the network
begins near them and learns when to leave them.

Dims: B tables, R rows, N labelled rows, T tokens of a row (the target is first), S = T - 1, P columns a token,
I numbers a column, D width, H heads, K head width, C classes or bins, G families of guesses.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.kit.errors import bad
from smidgen.nets.cell_inputs import NUMBERS_A_COLUMN, CellInputs, bin_edges, number_features
from smidgen.nets.guesses import FAMILIES, Guess, Guesses, guesses

Kind = Literal["classes", "numbers"]
LEAST = 1e-4  # added to the attention that a class gets
USUAL_ROWS = 64  # at which attention needs no correction for the number of labelled rows
FEATURES_OF_NUMBER = 18
SIDE_BY_SIDE = 24  # tokens of rows that lie in one product
SCORES_AT_ONCE = 4 << 20  # of attention down columns, outside training


@dataclass(frozen=True, kw_only=True)
class CellsConfig:
    """
    Attributes:
        width, heads, layers, hidden: D, H, how many, and of the small network.
        group: columns a token, P. classes: most of a table. bins: of a target that is a number.
        ids: vectors that tell columns apart, at least as many as tokens of columns.
    """

    width: int = 96
    heads: int = 3
    layers: int = 5
    hidden: int = 192
    group: int = 3
    classes: int = 10
    bins: int = 64
    ids: int = 64

    def __post_init__(self) -> None:
        for name in ("width", "heads", "layers", "hidden", "group", "classes", "ids"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))
        if self.width % self.heads:
            raise bad("width", f"a multiple of the {self.heads} heads", self.width)
        if self.bins < 4 or self.bins % 2:
            raise bad("bins", "an even number, 4 or more", self.bins)


@dataclass(frozen=True)
class Memory:
    """What labelled rows leave behind for queries: keys and values of each layer, and those of the readout.

    Attributes:
        layers: pairs `[B, T, N, D]`; of the last layer `[B, 1, N, D]`. keys: `[B, N, D]`. classes: `[B, N]`, or None.
        guesses: regressions on the labelled rows.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    keys: Tensor
    classes: Tensor | None
    guesses: Guesses


class _Layer(nn.Module):
    """Attention within rows, attention down columns, and a small network, each added to what came in."""

    def __init__(self, config: CellsConfig, last: bool) -> None:
        super().__init__()
        D, self.heads, self.last = config.width, config.heads, last
        self.norm_row, self.norm_column, self.norm_mlp = (nn.LayerNorm(D, bias=False) for _ in range(3))
        self.row_q, self.row_kv, self.row_out = _linear(D, D), _linear(D, 2 * D), _linear(D, D, 0.0)
        self.column_q, self.column_kv, self.column_out = _linear(D, D), _linear(D, 2 * D), _linear(D, D, 0.0)
        self.sharpness = nn.Parameter(torch.zeros(config.heads))
        self.up, self.down = _linear(D, config.hidden), _linear(config.hidden, D, 0.0)

    def forward(
        self, x_BTRD: Tensor, labelled: int, memory: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The tokens after the layer (of the last one: those of targets), and keys and values of labelled rows.

        Args:
            labelled: so many rows, the first ones, are. memory: those of other rows; then none of these is.
        """
        h = _normed(x_BTRD, self.norm_row)
        k, v = _linear_as(h, self.row_kv).chunk(2, -1)
        if self.last:
            x_BTRD, h = x_BTRD[:, :1], h[:, :1]
        x_BTRD = x_BTRD + _linear_as(self._within_rows(_linear_as(h, self.row_q), k, v), self.row_out)

        h = _normed(x_BTRD, self.norm_column)
        if memory is None:
            k, v = _linear_as(h[:, :, :labelled], self.column_kv).chunk(2, -1)
            memory = k, v
        q_BTRHK = _linear_as(h, self.column_q).unflatten(-1, (self.heads, -1))
        q_BTRHK = q_BTRHK * sharpened(self.sharpness, memory[0].shape[2])[:, None].to(q_BTRHK.dtype)
        x_BTRD = x_BTRD + _linear_as(self._down_columns(q_BTRHK, *memory), self.column_out)

        h = _normed(x_BTRD, self.norm_mlp)
        return x_BTRD + _linear_as(F.gelu(_linear_as(h, self.up)), self.down), memory

    def _within_rows(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Several short rows lie in one product, each blind to the others: products of few tokens are slow."""
        R, apart = q.shape[2], max(SIDE_BY_SIDE // k.shape[1], 1)
        q, k, v = (self._beside(t, apart) for t in (q, k, v))  # B L H (A T) K
        scores = (q * q.shape[-1] ** -0.5) @ k.mT
        if apart > 1:
            scores = scores + _blind(apart, q.shape[3] // apart, k.shape[3] // apart, scores.dtype, scores.device)
        mixed = (scores.softmax(-1) @ v).unflatten(3, (apart, -1))  # B L H A T K
        return mixed.permute(0, 4, 1, 3, 2, 5).flatten(-2).flatten(2, 3)[:, :, :R]

    def _beside(self, x_BTRD: Tensor, apart: int) -> Tensor:
        x = F.pad(x_BTRD, (0, 0, 0, -x_BTRD.shape[2] % apart)).unflatten(2, (-1, apart)).unflatten(-1, (self.heads, -1))
        return x.permute(0, 2, 4, 3, 1, 5).flatten(3, 4)  # B T L A H K before

    def _down_columns(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        k, v = (t.unflatten(-1, (self.heads, -1)).transpose(2, 3) for t in (k, v))  # B T H N K
        q = (q * q.shape[-1] ** -0.5).transpose(2, 3)
        scores = q[..., 0].numel() * k.shape[3]
        if torch.is_grad_enabled() or scores <= SCORES_AT_ONCE:
            return ((q @ k.mT).softmax(-1) @ v).transpose(2, 3).flatten(-2)
        out_BTRHK = q.new_empty(q.transpose(2, 3).shape)
        rows = max(SCORES_AT_ONCE // (scores // (q.shape[1] * q.shape[3])), 1)
        for t in range(q.shape[1]):  # a column and some rows at a time
            keys_BHKN, values_BHNK = k[:, t].mT.contiguous(), v[:, t].contiguous()
            for first in range(0, q.shape[3], rows):
                part = (q[:, t, :, first : first + rows] @ keys_BHKN).softmax(-1) @ values_BHNK
                out_BTRHK[:, t, first : first + rows] = part.transpose(1, 2)
        return out_BTRHK.flatten(-2)


class Cells(nn.Module):
    """The network. `forward` is for training: labelled rows and queries in one pass. To answer many queries, `read`
    the labelled rows once and `answer` with what that gives."""

    edges: Tensor  # between bins

    def __init__(self, config: CellsConfig | None = None, seed: int = 0) -> None:
        super().__init__()
        self.config = config = config or CellsConfig()
        D, C = config.width, config.classes
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.enter = nn.Linear(config.group * NUMBERS_A_COLUMN, D)
            self.bend = _linear(D, D)
            self.ids = nn.Parameter(torch.randn(config.ids, D) * 0.3)
            self.class_codes = nn.Parameter(torch.randn(C, D))
            self.number_codes = nn.Linear(FEATURES_OF_NUMBER, D)
            self.unknown = nn.Parameter(torch.randn(2, D))
            self.layers = nn.ModuleList(_Layer(config, i == config.layers - 1) for i in range(config.layers))
            self.norm = nn.LayerNorm(D, bias=False)
            self.read_q, self.read_k = _linear(D, D, 0.3), _linear(D, D, 0.3)
            self.read_sharpness = nn.Parameter(torch.zeros(1))
            self.class_scores, self.bin_scores = _linear(D, C, 0.0), _linear(D, config.bins, 0.0)
            G = len(FAMILIES)
            self.guess_classes = nn.ModuleList(_linear(D, D, 0.3) for _ in FAMILIES)
            self.guess_numbers = nn.ModuleList(_linear(FEATURES_OF_NUMBER, D, 0.3) for _ in FAMILIES)
            self.guess_doubt = nn.Linear(2 * G, D)
            self.trust_classes, self.trust_numbers = nn.Linear(D, G), nn.Linear(D, 2 * G)
            for layer in (self.trust_classes, self.trust_numbers):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
            nn.init.ones_(self.trust_classes.bias)
        self.register_buffer("edges", bin_edges(config.bins), persistent=False)

    def forward(
        self, inputs: CellInputs, targets_BN: Tensor, kind: Kind, ids_BS: Tensor, compute: torch.dtype = torch.float32
    ) -> Tensor:
        """Scores `[B, R - N, C]`, float32, of the rows that are not labelled.

        Args:
            inputs: of R rows. targets_BN: of the first N: classes (whole numbers), or numbers of mean 0 and standard
                deviation 1. ids_BS: which vector each token of columns gets. compute: number format of the layers.
        """
        N = targets_BN.shape[1]
        known = guesses(inputs.rows(slice(N)), self._indicators(targets_BN, kind))
        asked = known.of(inputs.rows(slice(N, None)))
        both = known.own.followed_by(asked)
        h_BRD, _ = self._run(inputs, targets_BN, kind, ids_BS, both, compute, None)
        keys = F.linear(h_BRD[:, :N], self.read_k.weight)
        return self._scores(h_BRD[:, N:], keys, targets_BN if kind == "classes" else None, asked)

    def read(
        self, inputs: CellInputs, targets_BN: Tensor, kind: Kind, ids_BS: Tensor, known: Guesses | None = None
    ) -> Memory:
        """What labelled rows (all of `inputs`) say to any query. `known`: regressions on them, where they are there."""
        known = known or guesses(inputs, self._indicators(targets_BN, kind))
        h_BRD, layers = self._run(inputs, targets_BN, kind, ids_BS, known.own, torch.float32, None)
        keys = F.linear(h_BRD, self.read_k.weight)
        return Memory(tuple(layers), keys, targets_BN if kind == "classes" else None, known)

    def answer(self, inputs: CellInputs, memory: Memory, ids_BS: Tensor, asked: Guess | None = None) -> Tensor:
        """Scores `[B, R, C]` of the rows of `inputs`, none of them labelled. `asked`: what the regressions say of them,
        where that is known."""
        kind: Kind = "numbers" if memory.classes is None else "classes"
        none = memory.keys.new_zeros(len(memory.keys), 0)
        asked = asked or memory.guesses.of(inputs)
        h_BRD, _ = self._run(inputs, none, kind, ids_BS, asked, torch.float32, memory)
        return self._scores(h_BRD, memory.keys, memory.classes, asked)

    def _indicators(self, targets_BN: Tensor, kind: Kind) -> Tensor:
        if kind == "numbers":
            return targets_BN[..., None].float()
        return F.one_hot(targets_BN.long(), self.config.classes).float()

    def _run(
        self,
        inputs: CellInputs,
        targets_BN: Tensor,
        kind: Kind,
        ids_BS: Tensor,
        guess: Guess,
        compute: torch.dtype,
        memory: Memory | None,
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Target tokens `[B, R, D]` after all layers, normed, float32; and keys and values of labelled rows."""
        cells_BSRD = self.enter(inputs.tokens(self.config.group)) + self.ids[ids_BS][:, :, None]
        cells_BSRD = cells_BSRD + F.gelu(F.linear(cells_BSRD, self.bend.weight))
        B, _, R, D = cells_BSRD.shape
        unknown = self.unknown[int(kind == "numbers")].expand(B, R - targets_BN.shape[1], D)
        if kind == "classes":
            known = self.class_codes[targets_BN.long()]
        else:
            known = self.number_codes(number_features(targets_BN))
        target_BRD = torch.cat([known, unknown], 1) + self._advice(guess, kind)
        x_BTRD = torch.cat([target_BRD[:, None], cells_BSRD], 1).to(compute)
        kept = []
        for i, layer in enumerate(self.layers):
            x_BTRD, pair = layer(x_BTRD, targets_BN.shape[1], memory.layers[i] if memory else None)
            kept.append(pair)
        return self.norm(x_BTRD[:, 0].float()), kept

    def _advice(self, guess: Guess, kind: Kind) -> Tensor:
        """What guesses add to target tokens, `[B, R, D]`."""
        error_BRG = guess.error[:, None].expand_as(guess.spread)
        advice = self.guess_doubt(torch.cat([guess.spread, error_BRG], -1).clamp(1e-3, 1e3).log())
        layers = self.guess_classes if kind == "classes" else self.guess_numbers
        for g, layer in enumerate(layers):
            mean_BRC = guess.mean[:, :, g]
            advice = advice + layer(
                mean_BRC @ self.class_codes if kind == "classes" else number_features(mean_BRC[..., 0])
            )
        return advice

    def _scores(self, h_BRD: Tensor, keys_BND: Tensor, classes_BN: Tensor | None, guess: Guess) -> Tensor:
        if classes_BN is None:
            return F.linear(h_BRD, self.bin_scores.weight) + self._normal_bins(h_BRD, guess)
        scale = sharpened(self.read_sharpness, keys_BND.shape[1]) * keys_BND.shape[-1] ** -0.5
        paid_BRN = (F.linear(h_BRD, self.read_q.weight) @ keys_BND.mT * scale).softmax(-1)
        paid_BRC = paid_BRN @ F.one_hot(classes_BN.long(), self.config.classes).to(paid_BRN.dtype)
        advice_BRC = (self.trust_classes(h_BRD)[..., None] * guess.mean).sum(-2)
        return (paid_BRC + LEAST).log() + F.linear(h_BRD, self.class_scores.weight) + advice_BRC

    def _normal_bins(self, h_BRD: Tensor, guess: Guess) -> Tensor:
        """Log chances `[B, R, C]` of a mixture of one normal distribution for each family."""
        share, wide = self.trust_numbers(h_BRD).chunk(2, -1)
        own_BRG = guess.error[:, None] * guess.spread / guess.usual[:, None]
        spread_BRG = (own_BRG * wide.clamp(-3, 3).exp()).clamp_min(0.01)
        z = (self.edges - guess.mean) / spread_BRG[..., None]
        below = torch.special.ndtr(z)
        each = torch.diff(F.pad(F.pad(below, (0, 1), value=1.0), (1, 0)), dim=-1)
        return ((share.softmax(-1)[..., None] * each).sum(-2) + LEAST / self.config.bins).log()


@cache
def _blind(rows: int, wanted: int, seen: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Added to scores of so many rows side by side: minus infinity between different ones."""
    q, k = torch.arange(rows * wanted) // wanted, torch.arange(rows * seen) // seen
    return torch.where(q[:, None] == k, 0.0, -torch.inf).to(device, dtype)


def sharpened(strength: Tensor, rows: int) -> Tensor:
    """Factor of attention scores over so many rows: with more rows to share it, attention must be sharper to stay as
    it was (Nakanishi, 2025, arXiv 2501.19399); how much is learned."""
    return torch.exp(strength * math.log(rows / USUAL_ROWS))


def _linear(inputs: int, outputs: int, gain: float = 1.0) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=gain * inputs**-0.5)
    return layer


def _linear_as(x: Tensor, layer: nn.Linear) -> Tensor:
    """The layer in the number format of its input; its weights stay what they are."""
    return F.linear(x, layer.weight.to(x.dtype))


def _normed(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    return F.layer_norm(x, norm.normalized_shape, norm.weight.to(x.dtype), None, norm.eps)
