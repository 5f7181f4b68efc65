"""The ways to quantize a language model that paper 058 compares, and what each costs: bytes, and tokens a second.

nf4 and fp4 (blocks of 64, float32 scales; "-double": scales as bytes of blocks of 256), int8 with outlier columns in
floating point, int4 by plain rounding (blocks of 64, float16 scales). All linear layers but the output matrix, scales
by the largest magnitude: as the library has it that the paper used (its fp4 table is not that of E2M1: see
`formats.grid`).
"""

import copy
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.compress.layers import find, pack, swap, weight_of
from smidgen.formats.format import Format
from smidgen.kit.errors import bad
from smidgen.lm.generate import Sampling, next_tokens
from smidgen.nets.decoder import Decoder
from smidgen.nets.mixed_int8 import mixed_int8
from smidgen.nets.packed import PackedLinear

FORMATS = {
    "nf4": "nf4/64/float32",
    "nf4-double": "nf4/64/double",
    "fp4": "fp4/64/float32",
    "fp4-double": "fp4/64/double",
    "int4": "int4/64",
}
VARIANTS = ("float", "int8", *FORMATS)
HEAD = "lm_head"


def variant(model: Decoder, name: str) -> Decoder:
    """A copy of a model, quantized in one of the ways of `VARIANTS`. Raises BadInput for another name."""
    if name not in VARIANTS:
        raise bad("variant", ", ".join(VARIANTS), name)
    made = copy.deepcopy(model).eval()
    if name == "int8":
        mixed_int8(made, keep=(HEAD,))
    elif name != "float":
        format = Format.parse(FORMATS[name])
        for layer in find(made):
            if layer.kind == "linear" and layer.name != HEAD:
                swap(made, layer, pack(layer, format.quantize(weight_of(made, layer), search="absmax")))
    return made


def variants(model: Decoder, names: tuple[str, ...] = VARIANTS) -> dict[str, Decoder]:
    return {name: variant(model, name) for name in names}


def unpacked(model: Decoder) -> Decoder:
    """The same numbers with the weights of packed linear layers as floats: for many rows, where unpacking each time
    would only cost."""
    made = copy.deepcopy(model)
    for name, module in list(made.named_modules()):
        if isinstance(module, PackedLinear):
            weight = module.weight()
            with torch.device("meta"):
                plain = nn.Linear(weight.shape[1], weight.shape[0], bias=module.bias is not None)
            plain.weight = nn.Parameter(weight, requires_grad=False)
            if module.bias is not None:
                plain.bias = module.bias
            parent, _, last = name.rpartition(".")
            setattr(made.get_submodule(parent), last, plain)
    return made


def dequantizing(model: Decoder) -> Decoder:
    """The same with whole weights unpacked at each product, as a library without packed kernels does."""
    made = copy.deepcopy(model)
    for name, module in list(made.named_modules()):
        if isinstance(module, PackedLinear):
            parent, _, last = name.rpartition(".")
            setattr(made.get_submodule(parent), last, _Dequantizing(module))
    return made


class _Dequantizing(nn.Module):
    def __init__(self, packed: PackedLinear) -> None:
        super().__init__()
        self.packed = packed

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.packed.weight().to(x.dtype), self.packed.bias)


def model_bytes(model: nn.Module) -> int:
    """Of all weights as they lie in memory; shared ones once."""
    kept = {v.data_ptr(): v.numel() * v.element_size() for v in model.state_dict().values() if v.numel()}
    return sum(kept.values())


def tokens_per_second(model: Decoder, prompt: list[int], new: int, rounds: int = 3) -> float:
    """Of one text at a time, the best of several rounds: a busy machine only ever adds. One more before is not
    counted."""
    best = 0.0
    for k in range(rounds + 1):
        start = time.perf_counter()
        made = sum(1 for _ in next_tokens(model, prompt, Sampling(seed=0, max_tokens=new)))
        if k:
            best = max(best, made / (time.perf_counter() - start))
    return best
