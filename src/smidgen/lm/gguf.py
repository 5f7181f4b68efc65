"""A language model as one GGUF file, which llama.cpp and what is built on it read.

llama.cpp's own converter knows pre-tokenizers by a hash of what they make of one text, so it refuses every tokenizer
that was newly trained; ours is GPT-2's, which the file can name. Architecture "llama": its names of tensors and its
order of rotary pairs, which lie side by side there (2 i, 2 i + 1) and half a head apart here (i, i + K/2). Format:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

Dims: H heads, K width of a head, N columns.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.extras import need
from smidgen.kit.files import settle
from smidgen.lm.model import LanguageModel
from smidgen.nets.decoder import DecoderConfig
from smidgen.nets.folder import fold

_TENSORS = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def export(model: LanguageModel, path: Path | str, precision: str = "fp32") -> None:
    """Writes the file, whole or not at all; replaces one of that name.

    Args:
        precision: of matrices; norms and biases are always float32.
    Raises:
        BadInput: llama.cpp cannot compute this model or its tokenizer, or a weight is too large for 16 bits.
        MissingExtra: the package `gguf` is not installed.
    """
    gguf: Any = need("gguf", extra="gguf", why="Writing a GGUF file")
    if precision not in ("fp32", "fp16"):
        raise bad("precision", "fp32 or fp16", precision)
    path = Path(path).absolute()
    if path.is_dir() or not path.parent.is_dir():
        raise bad("--gguf", "the name of a file in a folder that is there", str(path))
    tensors = _tensors(model, precision)
    vocabulary = _vocabulary(model)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as place:
        made = Path(place) / path.name
        writer = gguf.GGUFWriter(made, "llama")
        _say_shape(writer, model.decoder.config, path.stem)
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if precision == "fp16" else gguf.LlamaFileType.ALL_F32)
        _say_tokenizer(writer, gguf.TokenType, vocabulary, model.tokenizer.end)
        for name, array in tensors.items():
            writer.add_tensor(name, array)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        settle(made, path)


def interleaved(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows `[H K, N]` or `[H K]` of a query or key projection, the two of each rotary pair side by side."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def _tensors(model: LanguageModel, precision: str) -> dict[str, np.ndarray]:
    config = model.decoder.config
    if config.norm_position != "pre":
        raise BadInput("llama.cpp has no model with norms behind the layers (norm_position='post').")
    plain = {name: t.detach().cpu() for name, t in model.decoder.state_dict().items()}
    out = {}
    for name, tensor in fold(plain, config).items():
        array = tensor.float().numpy()
        if ".q_proj." in name or ".k_proj." in name:
            array = interleaved(array, config.heads if ".q_proj." in name else config.kv_heads)
        if precision == "fp16" and array.ndim > 1:
            array = _half(array, name)
        out[_name(name)] = np.ascontiguousarray(array)
    return out


def _half(array: np.ndarray, name: str) -> np.ndarray:
    if not np.abs(array).max() <= torch.finfo(torch.float16).max:
        raise BadInput(f"{name} has weights that 16 bits cannot hold: export it in fp32.")
    return array.astype(np.float16)


def _name(name: str) -> str:
    """llama.cpp's name: `model.layers.3.mlp.up_proj.weight` is `blk.3.ffn_up.weight`."""
    stem, kind = name.rsplit(".", 1)
    if stem.startswith("model.layers."):
        number, part = stem.removeprefix("model.layers.").split(".", 1)
        return f"blk.{number}.{_TENSORS[part]}.{kind}"
    return f"{_TENSORS[stem]}.{kind}"


def _say_shape(writer: Any, config: DecoderConfig, name: str) -> None:
    writer.add_type("model")
    writer.add_name(name)
    writer.add_vocab_size(config.vocab)
    writer.add_context_length(config.max_len)
    writer.add_embedding_length(config.hidden)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.ffn)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_rope_dimension_count(config.width)


def _vocabulary(model: LanguageModel) -> dict[str, Any]:
    """What tokenizer.json says: words by id, with fillers where the embedding has more rows; merges, best first.

    Raises:
        BadInput: not the tokenizer that this program trains, which is the one that llama.cpp calls "gpt-2".
    """
    content = json.loads(model.tokenizer.json)
    before, bpe = content.get("pre_tokenizer") or {}, content["model"]
    ours = before.get("type") == "ByteLevel" and before.get("use_regex", True) and not before.get("add_prefix_space")
    if bpe.get("type") != "BPE" or not ours or content.get("normalizer"):
        raise BadInput("Only byte-level BPE with GPT-2's pre-tokenizer is written, as lm train makes it.")
    if not bpe["merges"]:
        raise BadInput(
            "The tokenizer knows single bytes only, and llama.cpp reads none without merges: more text is needed."
        )
    added = {t["content"]: t for t in content["added_tokens"]}
    ids = bpe["vocab"] | {word: t["id"] for word, t in added.items()}
    words = {i: word for word, i in ids.items()}
    return {
        "words": [words.get(i, f"[PAD{i}]") for i in range(model.decoder.config.vocab)],
        "special": {t["id"] for t in added.values()},
        "unused": set(range(model.decoder.config.vocab)) - words.keys(),
        "merges": [m if isinstance(m, str) else " ".join(m) for m in bpe["merges"]],
    }


def _say_tokenizer(writer: Any, kinds: Any, vocabulary: dict[str, Any], end: int) -> None:
    def kind(i: int) -> int:
        return (
            kinds.CONTROL if i in vocabulary["special"] else kinds.UNUSED if i in vocabulary["unused"] else kinds.NORMAL
        )

    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary["words"])
    writer.add_token_types([kind(i) for i in range(len(vocabulary["words"]))])
    writer.add_token_merges(vocabulary["merges"])
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_pad_token_id(end)
    writer.add_add_bos_token(True)
