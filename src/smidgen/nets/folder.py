"""A decoder as an ordinary transformers folder: config.json, generation_config.json, model.safetensors.

`AutoModelForCausalLM` opens it as a Llama. The multipliers of the width-transferable parametrisation are folded into
the weights, which is exact in real numbers (bit-exact when they are powers of two, else to one rounding of each
weight): the residual multiplier into the layers that end a branch, those of embedding and logits into the embedding
and the last norm, whose weight is then `scale_logits / scale_emb` times itself when the embedding is tied. config.json
keeps them, so that `load` gives back the parametrisation that was trained.

What Llama cannot say, `norm_position="post"`, is saved with a model type of its own: transformers then refuses the
folder instead of computing something else.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smidgen.kit.config import from_mapping
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.files import new_folder, read_json, write_bytes, write_json
from smidgen.nets.decoder import Decoder, DecoderConfig
from smidgen.nets.packed_pretrained import PackedConfig, dequantized

SCHEMA = 1
LARGEST = 1 << 31  # of any size in config.json
CONFIG, GENERATION, WEIGHTS = "config.json", "generation_config.json", "model.safetensors"
POST = "smidgen_post_norm"
_SIZES = {
    "vocab": "vocab_size",
    "hidden": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "ffn": "intermediate_size",
    "max_len": "max_position_embeddings",
}
_OURS = ("init_std", "scale_emb", "scale_depth", "width_base")


def save(model: Decoder, folder: Path, **special_ids: int | None) -> None:
    """Writes the folder anew, whole or not at all; `special_ids`: bos, eos, pad."""
    with new_folder(folder) as made:
        write(model, made, **special_ids)


def write(
    model: Decoder, folder: Path, *, bos: int | None = None, eos: int | None = None, pad: int | None = None
) -> None:
    """Writes the three files into an existing folder."""
    from safetensors.torch import save

    ids = {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad}
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    folded = fold(tensors, model.config)
    write_bytes(folder / WEIGHTS, save(folded, metadata={"format": "pt"}))
    dtype = str(model.model.embed_tokens.weight.dtype).removeprefix("torch.")
    write_json(folder / CONFIG, to_llama(model.config) | ids | {"dtype": dtype, "torch_dtype": dtype})
    write_json(folder / GENERATION, ids)


def load(folder: Path) -> Decoder:
    """The model of a folder that `save` or transformers wrote, on the CPU, in the type it was saved in; of one that
    `compress` wrote, unpacked to float32 (`packed_pretrained.from_pretrained` keeps it packed).

    Raises:
        BadInput: a file is missing or damaged, from a newer version, or the model is not one that this decoder computes
            exactly; names the file and the setting.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    said = read_json(folder / CONFIG)
    config = from_llama(said, str(folder / CONFIG))
    path = folder / WEIGHTS
    if path.is_symlink():
        raise BadInput(f"{path}: expected a regular file, found a link.")
    if not path.is_file():
        raise BadInput(f"{folder}: there is no {WEIGHTS}. Is it a whole model folder, with its weights in one file?")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path} is damaged ({str(error)[:100]}): copy it again.") from None
    tensors = {name: t for name, t in tensors.items() if not name.endswith("rotary_emb.inv_freq")}
    if config.tie_embeddings:
        tensors.pop("lm_head.weight", None)
    if len(tensors) < config.layers:  # before so many are made
        raise bad(
            f"{folder / CONFIG}: num_hidden_layers", f"at most the {len(tensors)} tensors in {path.name}", config.layers
        )
    try:
        with torch.device("meta"):
            model = Decoder(config)
    except (RuntimeError, OverflowError):  # sizes whose product no tensor can have
        raise BadInput(f"{folder / CONFIG} describes a model that is too large to be one.") from None
    shapes = {name: p.shape for name, p in model.named_parameters()}
    if said.get("quantization_config") is not None:
        tensors = dequantized(tensors, PackedConfig.from_dict(said["quantization_config"]), shapes)
    _check(tensors, shapes, path)
    model.load_state_dict(fold(tensors, config, back=True), assign=True)
    return model.requires_grad_(True)


def fold(tensors: dict[str, Tensor], config: DecoderConfig, back: bool = False) -> dict[str, Tensor]:
    """Weights with which a model without multipliers computes the same; `back`: the other way."""
    embedding, logits = config.scale_emb, config.logits_scale
    output = 1.0 if config.tie_embeddings else logits  # an untied output matrix takes it itself
    last = logits / embedding if config.tie_embeddings else 1.0
    if config.norm_position == "post" and last != 1 and not back:
        raise BadInput("Multipliers of a tied embedding need a last norm: norm_position='post' has none. Untie it.")

    def times(name: str) -> float:
        if name == "model.embed_tokens.weight":
            return embedding
        if name == "lm_head.weight":
            return output
        if name == "model.norm.weight":
            return last
        return config.residual_scale if ".o_proj." in name or ".down_proj." in name else 1.0

    scales = {name: 1 / times(name) if back else times(name) for name in tensors}
    return {name: t if scales[name] == 1 else t * scales[name] for name, t in tensors.items()}


def to_llama(config: DecoderConfig) -> dict[str, Any]:
    """The configuration as transformers' LlamaConfig writes it (5 and the form of 4)."""
    post = config.norm_position == "post"
    made: dict[str, Any] = {
        "architectures": [None if post else "LlamaForCausalLM"],
        "model_type": POST if post else "llama",
        **{theirs: getattr(config, ours) for ours, theirs in _SIZES.items()},
        "head_dim": config.width,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tie_embeddings,
        "attention_bias": config.bias,
        "mlp_bias": config.bias,
        "attention_dropout": 0.0,
        "initializer_range": config.init_std,
        "use_cache": True,
    }
    return made | {"smidgen": {"schema": SCHEMA} | {name: getattr(config, name) for name in _OURS}}


def from_llama(values: Any, where: str) -> DecoderConfig:
    """The configuration in a config.json; a setting that this decoder does not have is refused."""
    if not isinstance(values, dict):
        raise bad(where, "an object", type(values).__name__)
    kind = values.get("model_type")
    if kind not in ("llama", POST):
        raise bad(f"{where}: model_type", "llama", kind, "Only Llama-shaped models are read.")
    ours = values.get("smidgen") or {}
    if not isinstance(ours, dict):
        raise bad(f"{where}: smidgen", "an object", ours)
    if type(ours.get("schema", SCHEMA)) is not int:
        raise bad(f"{where}: smidgen: schema", "a whole number", ours["schema"])
    if ours.get("schema", SCHEMA) > SCHEMA:
        raise BadInput(f"{where} was written by a newer version of smidgen: update it (pip install -U smidgen).")
    missing = [theirs for name, theirs in _SIZES.items() if name != "kv_heads" and values.get(theirs) is None]
    if missing:
        raise BadInput(f"{where}: {', '.join(missing)} is missing: the file is damaged or not of a model.")
    for theirs in _SIZES.values():
        if type(values.get(theirs, 1)) is not int:
            raise bad(f"{where}: {theirs}", "a whole number", values[theirs])
        if values.get(theirs, 1) > LARGEST:
            raise bad(f"{where}: {theirs}", f"at most {LARGEST:,}", values[theirs])
    rotary = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if not isinstance(rotary, dict):
        raise bad(f"{where}: rope_parameters", "an object", rotary)
    bias = bool(values.get("attention_bias", False))
    _refuse(where, "rope_type", rotary.get("rope_type", rotary.get("type", "default")), "default")
    _refuse(where, "hidden_act", values.get("hidden_act", "silu"), "silu")
    _refuse(where, "mlp_bias", bool(values.get("mlp_bias", False)), bias)
    _refuse(where, "head_dim", values.get("head_dim") or _width(values), _width(values))
    _refuse(where, "pretraining_tp", values.get("pretraining_tp") or 1, 1)
    settings = {name: values[theirs] for name, theirs in _SIZES.items() if values.get(theirs) is not None}
    settings.setdefault("kv_heads", settings["heads"])
    return from_mapping(
        DecoderConfig,
        settings
        | {
            "rope_theta": rotary.get("rope_theta") or values.get("rope_theta") or 1e4,
            "tie_embeddings": bool(values.get("tie_word_embeddings", False)),
            "norm_eps": values.get("rms_norm_eps", 1e-6),
            "norm_position": "post" if kind == POST else "pre",
            "bias": bias,
        }
        | {name: ours[name] for name in _OURS if name in ours},
        where,
    )


def _width(values: dict[str, Any]) -> int:
    return values["hidden_size"] // max(1, values["num_attention_heads"])


def _refuse(where: str, name: str, got: Any, wanted: Any) -> None:
    if got != wanted:
        raise bad(f"{where}: {name}", repr(wanted), got, "This decoder would compute something else.")


def _check(tensors: dict[str, Tensor], shapes: dict[str, torch.Size], path: Path) -> None:
    missing, more = sorted(shapes.keys() - tensors.keys()), sorted(tensors.keys() - shapes.keys())
    if missing or more:
        what = f"{missing[0]} is missing" if missing else f"{more[0]} belongs to no layer"
        raise BadInput(
            f"{path}: {what} ({len(missing) + len(more)} such). Do config.json and the weights belong together?"
        )
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            got, wanted = (" x ".join(map(str, s)) for s in (tensors[name].shape, shape))
            raise BadInput(f"{path}: {name} is {got}, config.json says {wanted}. Do the two belong together?")
