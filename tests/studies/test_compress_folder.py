"""Bytes of a folder of transformers before it is written, for every kind of tensor and every option."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import nn

from smidgen.compress.fitting import packed
from smidgen.compress.layers import find, weight_of
from smidgen.compress.options import KEPT
from smidgen.formats.format import Format
from smidgen.studies import compress_folder
from smidgen.studies.compress_folder import META, Size, config_of, packed_config, tensor_bytes, write


def net() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(64, 40), nn.BatchNorm1d(40), nn.Linear(40, 64, bias=False), nn.Embedding(9, 32))
    kinds = (torch.int32, torch.bool, torch.uint8, torch.float16, torch.bfloat16, torch.float64)
    for i, kind in enumerate(kinds):
        made.register_buffer(f"kind{i}", torch.ones(3).to(kind))
    return made


CONFIG, CARRIED = {"model_type": "x", "wörter": "é"}, {"vocab.txt": b"v" * 31, "1_Pooling/config.json": b"{}"}


@pytest.mark.parametrize("options", [("int4/32", "int8/64", KEPT), (KEPT, KEPT, KEPT), ("int3+offset/32/double",) * 3])
def test_what_is_counted_is_what_is_written(options: tuple[str, ...], tmp_path: Path) -> None:
    made = net()
    layers = find(made)
    mixture = {layer.name: option for layer, option in zip(layers, options, strict=True)}
    weights: Any = {}
    for layer in layers:
        option = mixture[layer.name]
        weights[layer] = None if option == KEPT else Format.parse(option).quantize(weight_of(made, layer))
    count = Size(made, CONFIG, CARRIED)
    size = write(tmp_path / "m", packed(made, weights), CONFIG, mixture, layers, CARRIED)
    assert count(mixture) == size == sum(f.stat().st_size for f in (tmp_path / "m").rglob("*") if f.is_file())
    assert count(mixture) == size  # parts that were counted are kept
    told = json.loads((tmp_path / "m" / "config.json").read_text())
    assert {k: told[k] for k in CONFIG} == CONFIG
    quantized = [n for n, o in mixture.items() if o != KEPT]
    assert list(told["quantization_config"]["layers"]) == quantized
    assert (tmp_path / "m" / "1_Pooling" / "config.json").read_bytes() == b"{}"
    assert set(packed_config({layer.name: layer for layer in layers}, mixture).layers) == set(quantized)
    bare = Size(made, None, {})
    assert bare(mixture) < count(mixture) - 33


def test_tensors_lie_in_the_order_of_their_width_and_the_header_is_padded_to_eight() -> None:
    kinds = {torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.int64: "I64", torch.int8: "I8",
             torch.int16: "I16", torch.uint8: "U8", torch.bool: "BOOL"}  # fmt: skip
    for length in range(9):
        tensors = {f"{'n' * length}{i}": torch.zeros(i + 1, 2).to(kind) for i, kind in enumerate(kinds)}
        told = {n: (kinds[t.dtype], list(t.shape), t.numel() * t.element_size()) for n, t in reversed(tensors.items())}
        for meta in (None, META):
            data = save(tensors, metadata=meta)
            assert tensor_bytes(told, meta) == len(data) and (len(data) - sum(t[2] for t in told.values())) % 8 == 0
    assert tensor_bytes({}) == len(save({}))
    names = compress_folder._NAMES
    assert {names[t.dtype] for t in net().state_dict().values()} == set(names.values())


def test_a_config_is_what_transformers_would_save_beside_its_class_and_width() -> None:
    config = SimpleNamespace(to_json_string=lambda use_diff: json.dumps({"diff": use_diff, "dtype": "float16", "b": 2}))
    model = type("OwnForCausalLM", (), {"config": config})()
    assert config_of(model) == {"diff": True, "dtype": "float32", "b": 2, "architectures": ["OwnForCausalLM"]}
