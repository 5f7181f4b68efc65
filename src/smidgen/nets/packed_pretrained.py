"""Models of transformers with packed weights: a folder that `from_pretrained` opens, as small on disk as in memory.

The folder holds config.json, whose "quantization_config" names each packed layer with its format, the tokenizer's own
files, and model.safetensors: packed weights as plain tensors, all other numbers as float16. `smidgen.from_pretrained`
opens it; after `register()` so does `from_pretrained` of transformers. Nothing in a folder is run.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.formats.format import Format, Quantized
from smidgen.kit.errors import BadInput
from smidgen.kit.extras import need
from smidgen.kit.files import read_json
from smidgen.nets.packed import PackedWeight
from smidgen.nets.quietly import quietly

METHOD = "smidgen"
SCHEMA = 1
INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"[\w-][\w.-]*\.safetensors")
WHY = "A packed model of transformers"
UNREAD = "pooler."  # of an encoder without a head: often not saved, and no embedding here is read from it


@dataclass(frozen=True)
class PackedLayer:
    """How one weight is packed.

    Attributes:
        format: its name. inputs: there are input scales. others: layers that share the weight.
    """

    format: str
    inputs: bool = False
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class PackedConfig:
    """What "quantization_config" says. layers: by name of a module."""

    layers: dict[str, PackedLayer] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        layers = {name: asdict(layer) | {"others": list(layer.others)} for name, layer in self.layers.items()}
        return {"quant_method": METHOD, "schema": SCHEMA, "layers": layers}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "PackedConfig":
        """Raises BadInput for what no smidgen wrote, or a newer one."""
        told = data if isinstance(data, Mapping) else {}
        schema, layers = told.get("schema"), told.get("layers")
        if told.get("quant_method") != METHOD or not isinstance(schema, int) or not isinstance(layers, dict):
            raise BadInput("config.json does not say how the weights are packed: it was not written by smidgen.")
        if schema > SCHEMA:
            raise BadInput(
                f"The model was packed by a newer smidgen (schema {schema}, this one reads {SCHEMA}): update."
            )
        try:
            made = {
                str(name): PackedLayer(
                    Format.parse(str(one["format"])).name, bool(one["inputs"]), tuple(map(str, one["others"]))
                )
                for name, one in layers.items()
            }
        except (KeyError, TypeError) as error:
            raise BadInput(f"config.json is damaged or was edited: a packed layer lacks {error}.") from None
        return cls(made)


def make_room(model: nn.Module, config: PackedConfig) -> None:
    """Empty packed layers in place of those that the configuration names; to be filled by the saved tensors.

    Raises:
        BadInput: there is no such layer.
    """
    from smidgen.nets.packable import call_parts, packed_like, shape_of

    call_parts(model)
    for name, one in config.layers.items():
        for at in (name, *one.others):
            try:
                module = model.get_submodule(at)
                shape, turned = shape_of(module)
            except (AttributeError, TypeError):
                raise BadInput(f"config.json names a packed layer '{at}' that the model does not have.") from None
            if at == name:
                with torch.device("meta" if _on_meta(model) else "cpu"):
                    weight = PackedWeight(Format.parse(one.format), shape, transposed=turned, inputs=one.inputs)
            parent, _, last = at.rpartition(".")
            made: Any = packed_like(module, weight)
            if at != name:  # it gets the owner's weight when that was read (`share`); until then it holds none
                made.weight = nn.Module()
            setattr(model.get_submodule(parent) if parent else model, last, made)


def share(model: nn.Module, config: PackedConfig) -> None:
    """Layers that share a weight get it from its owner."""
    for name, one in config.layers.items():
        weight = model.get_submodule(name).weight
        for other in one.others:
            layer: Any = model.get_submodule(other)
            layer.weight = weight


def saved_state(model: nn.Module, config: PackedConfig) -> dict[str, Tensor]:
    """Tensors to keep: each once, floats of more than 16 bits as float16 where none of them is too large for it."""
    borrowed = tuple(f"{other}.weight." for one in config.layers.values() for other in one.others)
    state, seen = {}, {}
    for name, tensor in model.state_dict().items():
        if name.startswith(borrowed):
            continue
        at = (tensor.data_ptr(), tuple(tensor.shape), tensor.dtype) if tensor.numel() else name
        if at in seen:
            continue
        seen[at] = name
        keep = name.rpartition(".")[2] in ("scales_of", "scales_mean", "offsets_of", "offsets_mean", "scales_codes")
        if tensor.dtype in (torch.float32, torch.float64) and not keep and bool((tensor.abs() < 65504).all()):
            tensor = tensor.half()
        state[name] = tensor.detach().contiguous().clone()
    return state


def dequantized(
    state: Mapping[str, Tensor], config: PackedConfig, shapes: Mapping[str, torch.Size]
) -> dict[str, Tensor]:
    """The tensors of a packed folder as plain weights of these shapes, float32.

    Raises:
        BadInput: a packed weight that no layer has, or that does not fit.
    """
    out = dict(state)
    for name, one in config.layers.items():
        at = f"{name}.weight"
        if at not in shapes or one.inputs:
            raise BadInput(f"config.json names a packed layer '{name}' that this model cannot unpack.")
        weight = PackedWeight(Format.parse(one.format), tuple(shapes[at]))
        parts = {k: out.pop(f"{at}.{own}") for k, own in weight.names.items() if f"{at}.{own}" in out}
        out[at] = Quantized.unpack(parts, weight.format, weight.packed_shape).dequantize()
    return {name: t.float() if t.is_floating_point() else t for name, t in out.items()}


def register() -> None:
    """Lets `from_pretrained` of transformers open packed folders; once is enough.

    Raises:
        MissingExtra: transformers is not installed.
    """
    need("transformers", extra="tune", why=WHY)
    from transformers.quantizers.auto import (
        AUTO_QUANTIZER_MAPPING,
        register_quantization_config,
        register_quantizer,
    )
    from transformers.quantizers.base import HfQuantizer
    from transformers.utils.quantization_config import QuantizationConfigMixin

    if METHOD in AUTO_QUANTIZER_MAPPING:
        return

    @register_quantization_config(METHOD)
    class SmidgenConfig(QuantizationConfigMixin):
        def __init__(self, **data: Any) -> None:
            self.quant_method = METHOD  # type: ignore[assignment]
            self.data = {**data, "quant_method": METHOD}
            self.packed = PackedConfig.from_dict(self.data)

        def to_dict(self) -> dict[str, Any]:
            return self.packed.to_dict()

    @register_quantizer(METHOD)
    class SmidgenQuantizer(HfQuantizer):
        requires_calibration = True
        quantization_config: Any

        def _process_model_before_weight_loading(self, model: Any, **_: Any) -> Any:
            packed = self.quantization_config.packed
            make_room(model, packed)
            own = {n for name, one in packed.layers.items() for n in (name, *one.others)}  # they share by themselves
            tied = dict(getattr(model, "all_tied_weights_keys", None) or {})
            tied = {a: b for a, b in tied.items() if not {n.removesuffix(".weight") for n in (a, b)} & own}
            model.all_tied_weights_keys = tied
            if not tied:
                model.config.tie_word_embeddings = False
            return model

        def _process_model_after_weight_loading(self, model: Any, **_: Any) -> Any:
            share(model, self.quantization_config.packed)
            for module in model.modules():
                if isinstance(module, PackedWeight):
                    module.settle()  # scales of 16 bits came as floats of the model's kind
            return model

        def is_serializable(self) -> bool:
            return True

        @property
        def is_trainable(self) -> bool:
            return False


def from_pretrained(folder: str | Path) -> Any:
    """The model of a folder of transformers, packed or not, of the class that its config.json names, for use.

    Raises:
        BadInput: no such folder, damaged, a weight is missing, or of a class that transformers does not have.
    """
    register()
    import transformers

    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise BadInput(f"{folder} is not a model folder of transformers: it has no config.json.")
    config = checked_folder(folder)
    names = config.get("architectures") or ["AutoModel"]
    name = str(names[0]) if isinstance(names, list) else ""
    kind = getattr(transformers, name, None) if name.isidentifier() else None
    if not (isinstance(kind, type) and (issubclass(kind, transformers.PreTrainedModel) or name.startswith("Auto"))):
        raise BadInput(f"{folder}/config.json names the architecture {name[:60]!r}, which transformers does not have.")
    try:
        with quietly(transformers):
            both: Any = kind.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
            made, told = both
    except BadInput:
        raise
    except Exception as error:  # whatever a damaged folder makes of it, it ends in a sentence
        raise BadInput(
            f"{folder} cannot be opened: it is damaged or not whole ({type(error).__name__}: {str(error)[:200]})."
        ) from None
    lacking = sorted(k for k in told["missing_keys"] if not k.startswith(UNREAD))
    if lacking:  # transformers would put random numbers there
        raise BadInput(
            f"{folder} is not whole: its files lack {len(lacking)} of the weights of {type(made).__name__}, the first "
            f"is {lacking[0]}. Copy the folder anew, or check the architecture that config.json names."
        )
    return made.eval()


def checked_folder(folder: Path) -> dict[str, Any]:
    """What config.json of a folder says, once it is known that opening it leads nowhere else.

    Raises:
        BadInput: config.json is damaged, it asks for code, weights lie elsewhere, or it is an adapter of another model.
    """
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise BadInput(f"{folder}/config.json does not describe a model: the file is damaged or was edited.")
    if "auto_map" in config:
        raise BadInput(f"{folder} is a model with code of its own (auto_map in config.json), which is never run here.")
    if (folder / "adapter_config.json").exists():
        raise BadInput(f"{folder} is an adapter: it leads to a model elsewhere. Merge the two, and give that folder.")
    if (folder / INDEX).exists():
        told = read_json(folder / INDEX)
        parts = told.get("weight_map") if isinstance(told, dict) else None
        if not isinstance(parts, dict) or not all(isinstance(p, str) and _SHARD.fullmatch(p) for p in parts.values()):
            raise BadInput(f"{folder / INDEX} names weights that do not lie beside it: the file was edited.")
    return config


def _on_meta(model: nn.Module) -> bool:
    return any(p.is_meta for p in model.parameters())
