"""The decoder language model: a plain torch module whose parameters are named and laid out as Llama's in transformers.

Everything that varies between the published models is a switch of `DecoderConfig`; `nets.presets` has some by name,
`nets.folder` writes and reads ordinary transformers folders.

Dims: B batch, T tokens, D hidden, H heads, G key/value heads, K = D / H, F feed-forward, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.kit.errors import BadInput, bad
from smidgen.nets.cache import Cache
from smidgen.nets.fused import (
    attention,
    cached_attention,
    document_starts,
    output_loss,
    rms_norm,
    rope,
    rope_tables,
)

IGNORED = -100  # a target that is not counted


@dataclass(frozen=True)
class DecoderConfig:
    """Shape and switches of a decoder.

    Attributes:
        vocab, hidden, layers, heads, kv_heads, ffn, max_len: sizes; kv_heads < heads is grouped-query attention.
        rope_theta: base of the rotary positions.
        tie_embeddings: the output matrix is the embedding.
        norm_position: "pre": x + f(norm x), as Llama; "post": norm(x + f(x)), which transformers' Llama cannot hold.
        bias: all linear layers but the output have one.
        init_std: of the first weights; layers that end a residual branch get 1 / sqrt(2 layers) of it unless
            scale_depth is set.
        scale_emb, scale_depth, width_base: the width-transferable parametrisation (MiniCPM): the embedding's output
            times scale_emb, each residual branch times scale_depth / sqrt(layers), logits times width_base / hidden,
            and weights inside layers begin with init_std sqrt(width_base / hidden). None: off.
        kernels: "fast", or "plain" operations that can be differentiated twice and vmapped; no part of the model.
    """

    vocab: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    max_len: int
    rope_theta: float = 1e4
    tie_embeddings: bool = True
    norm_eps: float = 1e-5
    norm_position: str = "pre"
    bias: bool = False
    init_std: float = 0.02
    scale_emb: float = 1.0
    scale_depth: float | None = None
    width_base: int | None = None
    kernels: str = "fast"

    def __post_init__(self) -> None:
        for name in ("vocab", "hidden", "layers", "heads", "kv_heads", "ffn", "max_len"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))
        if self.hidden % self.heads:
            raise bad("hidden", f"a multiple of the {self.heads} heads", self.hidden)
        if self.heads % self.kv_heads:
            raise bad("heads", f"a multiple of the {self.kv_heads} key/value heads", self.heads)
        if self.width % 2:
            raise bad("hidden / heads", "an even number (positions turn pairs)", self.width)
        for name, allowed in (("norm_position", ("pre", "post")), ("kernels", ("fast", "plain"))):
            if getattr(self, name) not in allowed:
                raise bad(name, " or ".join(allowed), getattr(self, name))
        for name in ("rope_theta", "norm_eps", "init_std", "scale_emb", "scale_depth", "width_base"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise bad(name, "a positive number", value)

    @property
    def width(self) -> int:
        """Of one head."""
        return self.hidden // self.heads

    @property
    def residual_scale(self) -> float:
        return 1.0 if self.scale_depth is None else self.scale_depth / self.layers**0.5

    @property
    def logits_scale(self) -> float:
        return 1.0 if self.width_base is None else self.width_base / self.hidden


def parameters(config: DecoderConfig) -> int:
    """Number of parameters; a tied output matrix counts once."""
    D, F_, Q, KV = config.hidden, config.ffn, config.hidden, config.kv_heads * config.width
    biases = (Q + 2 * KV + D + 2 * F_ + D) if config.bias else 0
    layer = 2 * D * Q + 2 * D * KV + 3 * D * F_ + 2 * D + biases
    final = D if config.norm_position == "pre" else 0
    return config.vocab * D * (1 if config.tie_embeddings else 2) + config.layers * layer + final


def flops_per_token(config: DecoderConfig, context: int, training: bool = True) -> float:
    """Floating-point operations of matrix products a token takes in sequences of `context` tokens.

    A multiplication and an addition are two; causal attention counts only what a token sees, (context + 1) / 2 on
    average; the embedding look-up counts nothing. Training is three times the forward pass.
    """
    D, KV = config.hidden, config.kv_heads * config.width
    weights = config.layers * (2 * D * D + 2 * D * KV + 3 * D * config.ffn) + config.vocab * D
    forward = 2 * weights + config.layers * 4 * D * (context + 1) / 2
    return forward * (3 if training else 1)


def matrix_like(name: str) -> bool:
    """Whether a parameter is a weight inside a layer: its step is `width_base / hidden` of the rate when the
    parametrisation is width-transferable; embeddings, output, norms and biases keep the rate."""
    return "_proj.weight" in name


class Linear(nn.Linear):
    """Without first weights of its own: `Decoder.initialize` draws them all, and loading a folder needs none."""

    def reset_parameters(self) -> None:
        pass


class Embedding(nn.Embedding):
    """As `Linear`."""

    def reset_parameters(self) -> None:
        pass


class Attention(nn.Module):
    def __init__(self, config: DecoderConfig):
        super().__init__()
        D, KV, self.config = config.hidden, config.kv_heads * config.width, config
        self.q_proj = Linear(D, D, bias=config.bias)
        self.k_proj = Linear(D, KV, bias=config.bias)
        self.v_proj = Linear(D, KV, bias=config.bias)
        self.o_proj = Linear(D, D, bias=config.bias)

    def forward(self, x_BTD: Tensor, seen: "Seen", cache: Cache | None, layer: int) -> Tensor:
        heads, fast = (*x_BTD.shape[:2], -1, self.config.width), self.config.kernels == "fast"
        q_BTHK = rope(self.q_proj(x_BTD).view(heads), seen.cos, seen.sin, fast)
        k_BTGK = rope(self.k_proj(x_BTD).view(heads), seen.cos, seen.sin, fast)
        v_BTGK = self.v_proj(x_BTD).view(heads)
        if cache is None:
            out_BTHK = attention(q_BTHK, k_BTGK, v_BTGK, seen.starts_BT, fast)
        else:
            out_BTHK = cached_attention(q_BTHK, *cache.extend(layer, k_BTGK.transpose(1, 2), v_BTGK.transpose(1, 2)))
        return self.o_proj(out_BTHK.flatten(2))


class FeedForward(nn.Module):
    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.gate_proj = Linear(config.hidden, config.ffn, bias=config.bias)
        self.up_proj = Linear(config.hidden, config.ffn, bias=config.bias)
        self.down_proj = Linear(config.ffn, config.hidden, bias=config.bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))


class RmsNorm(nn.Module):
    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.hidden))
        self.eps, self.fast = config.norm_eps, config.kernels == "fast"

    def forward(self, x_BTD: Tensor) -> Tensor:
        return rms_norm(x_BTD, self.weight, self.eps, self.fast)


@dataclass(frozen=True)
class Seen:
    """What all layers share: the turn of each position, and where each token's document starts."""

    cos: Tensor
    sin: Tensor
    starts_BT: Tensor | None


class Layer(nn.Module):
    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.self_attn, self.mlp = Attention(config), FeedForward(config)
        self.input_layernorm, self.post_attention_layernorm = RmsNorm(config), RmsNorm(config)
        self.scale, self.post = config.residual_scale, config.norm_position == "post"

    def forward(self, x_BTD: Tensor, seen: Seen, cache: Cache | None = None, layer: int = 0) -> Tensor:
        first, second = self.input_layernorm, self.post_attention_layernorm
        if self.post:
            x_BTD = first(torch.add(x_BTD, self.self_attn(x_BTD, seen, cache, layer), alpha=self.scale))
            return second(torch.add(x_BTD, self.mlp(x_BTD), alpha=self.scale))
        x_BTD = torch.add(x_BTD, self.self_attn(first(x_BTD), seen, cache, layer), alpha=self.scale)
        return torch.add(x_BTD, self.mlp(second(x_BTD)), alpha=self.scale)


class Trunk(nn.Module):
    """All but the output matrix; what transformers calls `model`."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.embed_tokens = Embedding(config.vocab, config.hidden)
        self.layers = nn.ModuleList([Layer(config) for _ in range(config.layers)])
        self.norm = RmsNorm(config) if config.norm_position == "pre" else nn.Identity()


class Decoder(nn.Module):
    """The language model.

    Args:
        seed: of the first weights; they depend on it and the config alone.

    Made under `torch.device("meta")` it has no weights yet.
    """

    def __init__(self, config: DecoderConfig, seed: int = 0):
        super().__init__()
        self.config = config
        self.model = Trunk(config)
        self.lm_head = None if config.tie_embeddings else Linear(config.hidden, config.vocab, bias=False)
        if not self.model.embed_tokens.weight.is_meta:
            self.initialize(seed)

    @torch.no_grad()
    def initialize(self, seed: int = 0) -> None:
        """First weights, drawn on the CPU so that they are the same on any device."""
        config, random = self.config, torch.Generator().manual_seed(seed)
        inner = config.init_std * config.logits_scale**0.5
        ends = inner if config.scale_depth is not None else inner / (2 * config.layers) ** 0.5
        for name, p in self.named_parameters():
            if name.endswith("norm.weight"):
                p.fill_(1.0)
            elif name.endswith("bias"):
                p.zero_()
            else:
                std = config.init_std if not matrix_like(name) else ends if ".o_" in name or ".down_" in name else inner
                p.copy_(torch.empty(p.shape, device="cpu").normal_(0.0, std, generator=random))

    @property
    def output_weight_VD(self) -> Tensor:
        return self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def forward(
        self,
        ids_BT: Tensor,
        positions_BT: Tensor | None = None,
        documents_BT: Tensor | None = None,
        cache: Cache | None = None,
        targets_BT: Tensor | None = None,
    ) -> Tensor:
        """Logits `[B, T, V]`; with targets the *sum* of the loss over those that are not -100, without ever holding
        the logits (divide by their number: `mean_loss` does).

        Args:
            positions_BT: default 0, 1, ... in each document.
            documents_BT: equal numbers mark a document: a token sees only its own, and positions restart. Padding is
                a document of its own (and its targets -100). Leave it out where every row is one document: then
                nothing is masked but the future, which is faster.
            cache: what was read before; these tokens are added to it.
        Raises:
            BadInput: more tokens than max_len, ids outside the vocabulary, a cache together with documents.
        """
        x_BTD = self.hidden(ids_BT, positions_BT, documents_BT, cache)
        if targets_BT is None:
            return F.linear(x_BTD, self.output_weight_VD)
        fast = self.config.kernels == "fast"
        return output_loss(x_BTD.flatten(0, 1), self.output_weight_VD, targets_BT.flatten(), fast)

    def hidden(
        self,
        ids_BT: Tensor,
        positions_BT: Tensor | None = None,
        documents_BT: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """What the output matrix reads, `[B, T, D]`; arguments as of `forward`."""
        seen = self.seen(ids_BT, positions_BT, documents_BT, cache)
        x_BTD = self.embed(ids_BT)
        for number, layer in enumerate(self.model.layers):
            x_BTD = layer(x_BTD, seen, cache, number)
        if cache is not None:
            cache.advance(ids_BT.shape[1])
        x_BTD = self.model.norm(x_BTD)
        return x_BTD if self.config.logits_scale == 1 else x_BTD * self.config.logits_scale

    def embed(self, ids_BT: Tensor) -> Tensor:
        try:
            x_BTD = self.model.embed_tokens(ids_BT)
        except IndexError:
            wrong = ids_BT[(ids_BT < 0) | (ids_BT >= self.config.vocab)]
            raise bad("token ids", f"0 to {self.config.vocab - 1}", int(wrong[0]), "Is it this tokenizer?") from None
        return x_BTD if self.config.scale_emb == 1 else x_BTD * self.config.scale_emb

    def seen(
        self, ids_BT: Tensor, positions_BT: Tensor | None, documents_BT: Tensor | None, cache: Cache | None
    ) -> Seen:
        """What the layers share for these tokens."""
        T, read = ids_BT.shape[1], cache.read if cache is not None else 0
        if read + T > self.config.max_len:
            raise bad("sequence", f"at most {self.config.max_len:,} tokens", f"{read + T:,}")
        if documents_BT is not None and cache is not None:
            raise BadInput("A cache holds one document a row: leave out either the cache or the documents.")
        starts_BT = None if documents_BT is None else document_starts(documents_BT)
        if positions_BT is None:
            positions_BT = torch.arange(read, read + T, device=ids_BT.device)
            if starts_BT is not None:
                positions_BT = positions_BT - starts_BT
        return Seen(*rope_tables(positions_BT, self.config.width, self.config.rope_theta), starts_BT)

    def new_cache(self, batch: int, length: int) -> Cache:
        """Room for `length` tokens of `batch` sequences, in the type of the weights."""
        c, weight = self.config, self.model.embed_tokens.weight
        return Cache(c.layers, batch, c.kv_heads, length, c.width, weight.dtype, weight.device)

    def save(self, folder: Path | str, **special_ids: int | None) -> None:
        """Writes a folder that transformers opens (`folder.save`)."""
        from smidgen.nets import folder as folders

        folders.save(self, Path(folder), **special_ids)

    @staticmethod
    def load(folder: Path | str) -> "Decoder":
        """The model of a folder (`folder.load`)."""
        from smidgen.nets import folder as folders

        return folders.load(Path(folder))


def loss(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """Mean cross-entropy (nats) over the targets that are not -100."""
    return F.cross_entropy(logits_BTV.flatten(0, 1).float(), targets_BT.flatten(), ignore_index=IGNORED)


def mean_loss(model: Callable[..., Any], ids_BT: Tensor, targets_BT: Tensor, **where: Tensor | None) -> Tensor:
    """The same without the logits; `model` may be wrapped (compiled, sharded, replicated)."""
    return model(ids_BT, targets_BT=targets_BT, **where) / (targets_BT != IGNORED).sum().clamp_min(1)
