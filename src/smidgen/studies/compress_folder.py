"""The folder that `compress` writes for a model of transformers, and how many bytes it takes before it is written."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smidgen.compress.layers import Layer, find
from smidgen.compress.options import KEPT
from smidgen.formats.format import Format
from smidgen.kit.files import json_bytes, new_folder, write_bytes
from smidgen.nets.packed_pretrained import PackedConfig, PackedLayer, saved_state

_NAMES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.uint8: "U8", torch.int64: "I64",
    torch.bool: "BOOL", torch.int32: "I32", torch.float64: "F64",
}  # fmt: skip
_ORDER = (  # as the file has them: the widest first
    "U64", "I64", "F64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "I8", "U8", "BOOL",
)  # fmt: skip
META = {"format": "pt"}


class Size:
    """Counts the bytes of a folder: tensors with their header, the description, and files that are carried over.

    `config`: what config.json says beside the packing; None: the packing is all that is described.
    """

    def __init__(self, model: nn.Module, config: dict[str, Any] | None, carried: dict[str, bytes]) -> None:
        self.layers = {layer.name: layer for layer in find(model)}
        self.config, self.carried = config, sum(len(v) for v in carried.values())
        names = {f"{n}.weight" for layer in self.layers.values() for n in (layer.name, *layer.others)}
        state = saved_state(model, PackedConfig())
        self.rest = {k: (_NAMES[v.dtype], list(v.shape), v.numel() * v.element_size()) for k, v in state.items()
                     if k not in names}  # fmt: skip
        self.parts: dict[tuple[str, str], dict[str, tuple[str, list[int], int]]] = {}

    def __call__(self, mixture: dict[str, str]) -> int:
        tensors = dict(self.rest)
        for name, option in mixture.items():
            tensors |= self._of(self.layers[name], option)
        packed = packed_config(self.layers, mixture).to_dict()
        told = packed if self.config is None else {**self.config, "quantization_config": packed}
        return tensor_bytes(tensors, META if self.config is not None else None) + len(json_bytes(told)) + self.carried

    def _of(self, layer: Layer, option: str) -> dict[str, tuple[str, list[int], int]]:
        key = (layer.name, option)
        if key not in self.parts:
            if option == KEPT:
                shape = list(layer.shape)
                self.parts[key] = {f"{layer.name}.weight": ("F16", shape, 2 * layer.numbers)}
            else:
                with torch.device("meta"):
                    empty = Format.parse(option).empty(layer.shape)
                self.parts[key] = {
                    f"{layer.name}.weight.{k.replace('.', '_')}": (
                        _NAMES[v.dtype],
                        list(v.shape),
                        v.numel() * v.element_size(),
                    )
                    for k, v in empty.items()
                }
        return self.parts[key]


def tensor_bytes(tensors: dict[str, tuple[str, list[int], int]], meta: dict[str, str] | None = None) -> int:
    """Bytes of a safetensors file of these tensors: (dtype, shape, bytes) by name."""
    header: dict[str, Any] = {"__metadata__": meta} if meta else {}
    at = 0
    for name, (kind, shape, size) in sorted(tensors.items(), key=lambda t: (_ORDER.index(t[1][0]), t[0])):
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    length = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + -(-length // 8) * 8 + at


def packed_config(layers: dict[str, Layer], mixture: dict[str, str]) -> PackedConfig:
    """What config.json says of a mix."""
    return PackedConfig(
        {name: PackedLayer(option, False, layers[name].others) for name, option in mixture.items() if option != KEPT}
    )


def config_of(model: Any) -> dict[str, Any]:
    """config.json of a model as it will be saved, but for the packing."""
    config = json.loads(copy.deepcopy(model.config).to_json_string(use_diff=True))
    return {**config, "architectures": [type(model).__name__], "dtype": "float32"}


def write(
    folder: Path,
    model: nn.Module,
    config: dict[str, Any],
    mixture: dict[str, str],
    layers: list[Layer],
    carried: dict[str, bytes],
) -> int:
    """Writes the packed model, all or nothing; gives its bytes on disk."""
    from safetensors.torch import save

    packed = packed_config({layer.name: layer for layer in layers}, mixture)
    state = saved_state(model, packed)
    with new_folder(folder) as made:
        write_bytes(made / "model.safetensors", save(state, metadata=META))
        write_bytes(made / "config.json", json_bytes({**config, "quantization_config": packed.to_dict()}))
        for name, data in carried.items():
            (made / name).parent.mkdir(exist_ok=True)
            write_bytes(made / name, data)
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
