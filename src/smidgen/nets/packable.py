"""Layers that have a packed form: linear layers, the `Conv1D` of transformers, embeddings, convolutions."""

from typing import Any, Literal

from torch import nn

from smidgen.nets.packed import PackedConv, PackedEmbedding, PackedLinear, PackedWeight

Kind = Literal["linear", "conv1d", "embedding", "conv"]
_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_TURNED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_SETTINGS = ("stride", "padding", "dilation", "groups")


def kind_of(module: nn.Module) -> Kind | None:
    """What kind of layer it is; None: it is kept as it is."""
    if isinstance(module, nn.Linear):
        return "linear"
    if isinstance(module, nn.Embedding):
        return "embedding"
    if isinstance(module, _CONVS):
        return "conv"
    if type(module).__name__ == "Conv1D" and type(module).__module__ == "transformers.pytorch_utils":
        return "conv1d"
    return None


def shape_of(module: nn.Module) -> tuple[tuple[int, ...], bool]:
    """The shape of a layer's weight, and whether it has its outputs second."""
    if kind_of(module) is None:
        raise TypeError(f"a {type(module).__name__} has no packed form")
    return tuple(module.weight.shape), kind_of(module) == "conv1d" or isinstance(module, _TURNED)  # type: ignore[union-attr]


def call_parts(model: nn.Module) -> None:
    """Lets the transformer layers of torch call their linear layers, in place: their fast path, which reads the weights
    by itself, cannot read packed ones."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0
        elif isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False


def packed_like(module: nn.Module, packed: PackedWeight) -> nn.Module:
    """The packed form of a layer."""
    bias: Any = getattr(module, "bias", None)
    if isinstance(module, nn.Embedding):
        return PackedEmbedding(packed, module.padding_idx)
    if isinstance(module, _CONVS):
        options = {k: getattr(module, k) for k in _SETTINGS} | {"padding_mode": module.padding_mode}
        if packed.transposed:
            options |= {"output_padding": module.output_padding}
        return PackedConv(packed, bias, options)
    return PackedLinear(packed, bias)
