"""The authors' weights of compact transformers for pictures (github.com/SHI-Labs/Compact-Transformers), read and
written: names are translated, positions carried over to another size, another head is left new.

    state = torch.load("cct_7_3x1_32_cifar10_300epochs.pth", weights_only=True)
    net = create("cct_7_3x1_32", reference_norm=True)
    load_reference(net, state)
"""

import re
import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from smidgen.kit.errors import BadInput, bad
from smidgen.nets.compact_positions import resize_positional_embedding
from smidgen.nets.compact_transformer import CompactTransformer

NAMES = (  # theirs, ours; the longest first where one begins another
    ("tokenizer.conv_layers.{}.0.", "tokenizer.convs.{}."),
    ("classifier.class_emb", "encoder.class_token"),
    ("classifier.positional_emb", "encoder.positional_embedding"),
    ("classifier.attention_pool.", "encoder.seq_pool.score."),
    ("classifier.blocks.{}.pre_norm.", "encoder.blocks.{}.norm_attention."),
    ("classifier.blocks.{}.self_attn.qkv.", "encoder.blocks.{}.qkv."),
    ("classifier.blocks.{}.self_attn.proj.", "encoder.blocks.{}.out."),
    ("classifier.blocks.{}.linear1.", "encoder.blocks.{}.up."),
    ("classifier.blocks.{}.norm1.", "encoder.blocks.{}.norm_mlp."),
    ("classifier.blocks.{}.linear2.", "encoder.blocks.{}.down."),
    ("classifier.norm.", "encoder.norm."),
    ("classifier.fc.", "head."),
)


def from_reference(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The authors' state under our names; also within "state_dict" or "model", and with "module." before each name.

    Raises:
        BadInput: a name that is none of theirs.
    """
    for wrapper in ("state_dict", "model"):
        if isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    return {_renamed(name.removeprefix("module."), 0, 1): value for name, value in state.items()}


def to_reference(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state under the authors' names. Raises BadInput: a name that is none of ours."""
    return {_renamed(name, 1, 0): value for name, value in state.items()}


def load_reference(
    net: CompactTransformer, state: Mapping[str, Any], old_hw: tuple[int, int] | None = None
) -> CompactTransformer:
    """The network with the authors' weights; given back in evaluation mode.

    Positions of another grid are resized, a sine table too; a head for another number of classes is left as it is, with
    a warning.

    Args:
        old_hw: the grid of the weights' positions, where it is not square.

    Raises:
        BadInput: `reference_norm` is not set; names or shapes that are not the network's.
    """
    if not net.config.reference_norm:
        raise BadInput(
            "The authors' weights are for blocks that go on with the normalised stream: "
            "build the network with reference_norm=True."
        )
    found, own = from_reference(state), net.state_dict()
    positions = "encoder.positional_embedding"
    if positions in found and positions in own and found[positions].shape[1] != own[positions].shape[1]:
        grid = old_hw or _square(found[positions].shape[1] - net.encoder.extra)
        found = resize_positional_embedding(found, grid, net.grid())
    if "head.weight" in found and found["head.weight"].shape[0] != own["head.weight"].shape[0]:
        old, new = len(found["head.weight"]), len(own["head.weight"])
        warnings.warn(f"The weights tell {old} classes apart, this network {new}: its last layer is left new.",
                      UserWarning, stacklevel=2)  # fmt: skip
        found |= {name: own[name] for name in ("head.weight", "head.bias")}
    missing, other = sorted(own.keys() - found.keys()), sorted(found.keys() - own.keys())
    if missing or other:
        what = f"lack {missing[0]}" if missing else f"have {other[0]}, which the network has not"
        raise BadInput(f"These weights are of another network: they {what}.")
    for name, value in found.items():
        if value.shape != own[name].shape:
            raise bad(f"weights {name}", f"shape {tuple(own[name].shape)}", f"{tuple(value.shape)}")
    net.load_state_dict(found)
    return net.eval()


def _renamed(name: str, old: int, new: int) -> str:
    for pair in NAMES:
        pattern = re.escape(pair[old]).replace(r"\{\}", r"(\d+)")
        found = re.match(pattern, name)
        if found:
            return pair[new].format(*found.groups()) + name[found.end() :]
    raise bad("weights", "names of a compact transformer for pictures", name)


def _square(places: int) -> tuple[int, int]:
    side = round(places**0.5)
    if side * side != places:
        raise bad("positions", "a square grid, or old_hw=(rows, columns)", f"{places} places")
    return side, side
