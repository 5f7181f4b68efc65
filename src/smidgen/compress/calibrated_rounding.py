"""Any rounding method as a quantizer of a sweep of checkpoints (`ptq_sweep.sweep_checkpoints`): it walks over the
calibration data with the very checkpoint that it rounds, and changes its weights in place.

    {"gptq 3 bits": (3, CalibratedRounding("gptq", Format.parse("int3+offset/16"), batches))}

Give all checkpoints of a law the same batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from smidgen.compress.capture import answer
from smidgen.compress.layers import find, set_weight, weight_of
from smidgen.compress.methods import method
from smidgen.compress.walk import walk
from smidgen.formats.format import Format
from smidgen.kit.errors import BadInput


@dataclass(frozen=True)
class CalibratedRounding:
    """Weights of a network by a method of `methods` ("gptq", "awq", "hqq", ...); embeddings and what shares its weight
    with one stay whole. Scales of columns, as "awq" has them, are multiplied into the weight again.

    Attributes:
        batches: what the network reads, at least one batch where the method looks at data.

    Raises:
        BadInput: on a call; no batches where there must be some, or inputs that are NaN or infinite. NotFound: no such
            method.
    """

    method: str
    format: Format
    batches: Sequence[Any] = ()

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> nn.Module:
        how = method(self.method)
        layers = [
            layer
            for layer in find(model)
            if not any(isinstance(model.get_submodule(n), nn.Embedding) for n in (layer.name, *layer.others))
        ]
        if how.calibrated and not len(self.batches):
            raise BadInput(f"{self.method} needs calibration data: give at least one batch, or take rtn or hqq.")
        seen = walk(model, self.batches, answer, layers=layers) if how.calibrated else {}
        for layer in layers:
            rounded = how.round(weight_of(model, layer), seen.get(layer), self.format)
            set_weight(model, layer, rounded.weight())
        return model
