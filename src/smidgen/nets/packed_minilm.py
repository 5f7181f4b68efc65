"""The sentence encoder with packed weights, as it lies in the folder of a compressed model: `encoder/` beside it.

The folder is as `nets.packed_pretrained` has it: config.json, model.safetensors, tokenizer.json. Its words are unpacked
as they are read, its matrices are multiplied as they are packed, so that it takes in memory what it takes on disk. It
needs torch and tokenizers, neither transformers nor the package of the encoder. Files are pinned by their digests in
model.json; loading reads arrays and JSON and runs nothing.
"""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.kit.errors import BadInput
from smidgen.kit.extras import need
from smidgen.kit.files import digest, parse_tensors, read_bytes, read_json
from smidgen.nets.minilm import KINDS, LAYERS, LINEAR, NORM, PLACES, POSITIONS, QKV, WIDTH, WORDS, MiniLM
from smidgen.nets.tokenizer_parts import WORD_PIECES, read_tokenizer

FILES = ("config.json", "model.safetensors", "tokenizer.json")
MAX_BYTES = 1 << 30
WHY = "A compressed sentence encoder"


class PackedMiniLM(MiniLM):
    """See `nets.minilm.MiniLM`, whose `encode` and `token_ids` it has.

    Attributes:
        place: its folder. told: what model.json says of it: `of` and the digests of its files.
    """

    def __init__(self, place: Path, told: Any):
        """
        Raises:
            BadInput: a file is missing, damaged or not the one that `told` describes. MissingExtra: no torch.
        """
        self.place, self.told = Path(place), told
        kept = self.files()
        need("torch", extra="text", why=WHY)
        tensors = parse_tensors(kept["model.safetensors"], str(self.place / "model.safetensors"))
        try:
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # as for the installed one
            where = str(self.place / "tokenizer.json")
            self.tokenizer, self.of = read_tokenizer(kept["tokenizer.json"], WORD_PIECES, where), str(told["of"])
            self._weights = _weights(tensors, read_json(self.place / "config.json"))
            self._take(self._weights)
            self._layers = [_layer(self._weights, f"encoder.layer.{i}.") for i in range(LAYERS)]
            words = self._weights[WORDS]
            self._words = words if isinstance(words, np.ndarray) else _Rows(words)
        except BadInput:
            raise
        except Exception as error:  # any shape of nonsense in an edited file must end in one sentence
            raise BadInput(
                f"{self.place} is damaged or was edited ({type(error).__name__}: {str(error)[:100]})."
            ) from None
        self.identity = digest(*(told["files"][name] for name in FILES))

    def files(self) -> dict[str, bytes]:
        """Its files, by name. Raises BadInput unless they are those that were described."""
        told = self.told.get("files") if isinstance(self.told, dict) else None
        if not isinstance(told, dict) or set(told) != set(FILES):
            raise BadInput(f"model.json does not say what {self.place} holds: it is damaged or was edited.")
        if self.place.is_symlink():
            raise BadInput(f"{self.place}: expected a folder, found a link.")
        kept = {name: read_bytes(self.place / name, MAX_BYTES) for name in FILES}
        for name, data in kept.items():
            if digest(data) != told[name]:
                where = self.place / name
                raise BadInput(f"{where} is not the file that model.json describes: it is damaged or was edited.")
        return kept

    def weights(self) -> dict[str, np.ndarray]:
        return {k: v if isinstance(v, np.ndarray) else v().numpy() for k, v in self._weights.items()}


def described(files: Mapping[str, bytes], of: str) -> dict[str, Any]:
    """What model.json says of an encoder in its folder. of: the identity of the one that it stands for."""
    return {"of": of, "files": {name: digest(files[name]) for name in FILES}}


def files_of(place: Path) -> dict[str, bytes]:
    """The files of a folder that count."""
    return {name: (Path(place) / name).read_bytes() for name in FILES}


class _Rows:
    """A packed table that is asked for rows as an array is."""

    def __init__(self, weight: Any):
        from smidgen.nets.packed import PackedEmbedding

        self.table = PackedEmbedding(weight)

    def __getitem__(self, ids: np.ndarray) -> np.ndarray:
        import torch

        return self.table(torch.from_numpy(ids)).numpy()


def _weights(tensors: Mapping[str, np.ndarray], config: Any) -> dict[str, Any]:
    """By name: arrays, float32, and packed weights."""
    import torch

    from smidgen.formats.format import Format
    from smidgen.nets.packed import PackedWeight
    from smidgen.nets.packed_pretrained import PackedConfig

    said = config.get("quantization_config") if isinstance(config, dict) else None
    out: dict[str, Any] = {k: v.astype(np.float32) if v.dtype == np.float16 else v for k, v in tensors.items()}
    for name, one in PackedConfig.from_dict(said if isinstance(said, dict) else {}).layers.items():
        at = f"{name}.weight"
        if at not in SHAPES and "pooler" not in name:
            raise BadInput(f"config.json names a packed layer '{name[:60]}' that the encoder does not have.")
        parts = {k: out.pop(k) for k in list(out) if k.startswith(f"{at}.")}
        if at not in SHAPES:
            continue
        weight = PackedWeight(Format.parse(one.format), SHAPES[at], inputs=one.inputs)
        kinds = {own: t.dtype for own, t in weight.state_dict().items()}
        state = {k.removeprefix(f"{at}."): torch.from_numpy(tensors[k]) for k in parts}
        weight.load_state_dict({k: v.to(kinds[k]) for k, v in state.items()})
        out[at] = weight().numpy() if at in (PLACES, KINDS) else weight  # small, and added to each other at once
    for name, shape in SHAPES.items():
        if name not in out or tuple(out[name].shape) != shape:
            raise BadInput(f"{name} is missing, or has not the shape {list(shape)}: the encoder is damaged.")
    return out


def _layer(w: Mapping[str, Any], at: str) -> dict[str, Any]:
    def linear(*names: str) -> Any:
        return functools.partial(_products, [(w[f"{at}{n}.weight"], w[f"{at}{n}.bias"]) for n in names])

    return {
        "qkv": linear(*QKV),
        **{k: linear(name) for k, name in LINEAR.items()},
        **{k: (w[f"{at}{name}.weight"], w[f"{at}{name}.bias"]) for k, name in NORM.items()},
    }


def _products(parts: list[tuple[Any, np.ndarray]], x: np.ndarray) -> np.ndarray:
    """`[T, inputs]` to `[T, outputs of all parts]`."""
    import torch

    from smidgen.formats.product import product

    given, out = torch.from_numpy(x), []
    with torch.no_grad():
        for weight, bias in parts:
            if isinstance(weight, np.ndarray):
                out.append(x @ weight.T + bias)
                continue
            scaled = given if weight.inputs is None else given * weight.inputs.float()
            out.append(product(scaled, weight.parts(), weight.format, weight.packed_shape).numpy() + bias)
    return out[0] if len(out) == 1 else np.hstack(out)


def _shapes() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {
        WORDS: (30522, WIDTH), PLACES: (POSITIONS, WIDTH), KINDS: (2, WIDTH),
        "embeddings.LayerNorm.weight": (WIDTH,), "embeddings.LayerNorm.bias": (WIDTH,),
    }  # fmt: skip
    wide = {"intermediate.dense": (4 * WIDTH, WIDTH), "output.dense": (WIDTH, 4 * WIDTH)}
    for i in range(LAYERS):
        for name in (*QKV, *LINEAR.values()):
            shape = wide.get(name, (WIDTH, WIDTH))
            found |= {f"encoder.layer.{i}.{name}.weight": shape, f"encoder.layer.{i}.{name}.bias": shape[:1]}
        for name in NORM.values():
            found |= {f"encoder.layer.{i}.{name}.{part}": (WIDTH,) for part in ("weight", "bias")}
    return found


SHAPES = _shapes()
