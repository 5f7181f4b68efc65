"""Linear layers whose weights and inputs are 8-bit integers, except for the few input columns with outliers
(LLM.int8; Dettmers et al., 2022, arXiv 2208.07339, section 3).

Weights have one scale a row, inputs one a token, both by the largest magnitude; the product of the integers is exact.
Columns in which any input of the batch exceeds the threshold are multiplied in floating point and added. Their weights
come from the stored integers, or, where a column was known to have outliers, from a float16 copy kept beside them.
Dims: B tokens, R outputs, C inputs.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.formats.format import Format
from smidgen.kit.errors import bad

THRESHOLD = 6.0  # published
FORMAT = Format("int8", "channel", False, "float32")
EXACT = 1024  # products of 127 x 127 whose sum float32 holds exactly (2^24 / 127^2 = 1040)


class MixedInt8Linear(nn.Module):
    """y = W x + b.

    Attributes:
        codes: int8 `[R, C]`; scales: float32 `[R]`. columns, kept: places and float16 weights `[R, k]` of columns with
            known outliers. threshold: infinity switches the decomposition off.
    """

    codes: Tensor
    scales: Tensor
    columns: Tensor
    kept: Tensor

    def __init__(
        self, weight_RC: Tensor, bias: Tensor | None, threshold: float = THRESHOLD, columns: Tensor | None = None
    ) -> None:
        super().__init__()
        if not threshold > 0:
            raise bad("threshold", "above 0 (infinity: no outlier columns)", threshold)
        made = FORMAT.quantize(weight_RC, search="absmax")
        at = torch.zeros(0, dtype=torch.long) if columns is None else columns.long()
        self.threshold = float(threshold)
        self.out_features, self.in_features = weight_RC.shape
        self.register_buffer("codes", (made.codes.to(torch.int16) - 128).to(torch.int8))
        self.register_buffer("scales", made.scaled.scales[:, 0].float())
        self.register_buffer("columns", at)
        self.register_buffer("kept", weight_RC.detach()[:, at].to(torch.float16))
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)

    @classmethod
    def of(cls, linear: nn.Linear, threshold: float = THRESHOLD, columns: Tensor | None = None) -> "MixedInt8Linear":
        """A layer in place of a linear one. Raises BadInput for NaN or infinity in the weight."""
        return cls(linear.weight, linear.bias, threshold, columns)

    def forward(self, x: Tensor) -> Tensor:
        x_BC = x.reshape(-1, self.in_features).float()
        large = x_BC.abs().amax(0) > self.threshold if len(x_BC) else torch.zeros(self.in_features, dtype=torch.bool)
        out_BR = self._integers(x_BC.masked_fill(large, 0.0) if bool(large.any()) else x_BC)
        if bool(large.any()):
            at = large.nonzero()[:, 0]
            out_BR = out_BR + F.linear(x_BC[:, at], self._weights(at))
        if self.bias is not None:
            out_BR = out_BR + self.bias
        return out_BR.to(x.dtype).reshape(*x.shape[:-1], self.out_features)

    def _integers(self, x_BC: Tensor) -> Tensor:
        scale_B1 = x_BC.abs().amax(1, keepdim=True) / 127
        units = (x_BC / scale_B1.masked_fill(scale_B1 == 0, 1.0)).round()  # a row of zeros stays 0
        w = self.codes.float()
        if self.in_features <= EXACT:
            product = F.linear(units, w)
        else:
            pieces = zip(units.split(EXACT, 1), w.split(EXACT, 1), strict=True)
            product = sum((F.linear(a, b).double() for a, b in pieces), torch.zeros((), dtype=torch.float64)).float()
        return product * scale_B1 * self.scales

    def _weights(self, at: Tensor) -> Tensor:
        """Weights `[R, k]` of some columns in floating point."""
        w = self.codes[:, at].float() * self.scales[:, None]
        if len(self.columns):
            same = at[:, None] == self.columns
            hit, place = same.any(1), same.long().argmax(1)
            w[:, hit] = self.kept[:, place[hit]].float()
        return w

    def bytes(self) -> int:
        return sum(v.numel() * v.element_size() for v in (self.codes, self.scales, self.columns, self.kept))


@torch.no_grad()
def outlier_columns(
    model: nn.Module,
    batches: Any,
    run: Callable[[nn.Module, Any], Any] = lambda m, b: m(b),
    threshold: float = THRESHOLD,
) -> dict[str, Tensor]:
    """Of each linear layer the input columns that exceed the threshold somewhere in the batches."""
    most: dict[str, Tensor] = {}
    hooks = []

    def watch(name: str) -> Callable[..., None]:
        def seen(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            peak = inputs[0].reshape(-1, inputs[0].shape[-1]).abs().amax(0)
            most[name] = torch.maximum(most[name], peak) if name in most else peak

        return seen

    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            hooks.append(module.register_forward_pre_hook(watch(name)))
    try:
        for batch in batches:
            run(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: (peak > threshold).nonzero()[:, 0] for name, peak in most.items()}


def mixed_int8(
    model: nn.Module, threshold: float = THRESHOLD, columns: dict[str, Tensor] | None = None, keep: tuple[str, ...] = ()
) -> nn.Module:
    """Exchanges the linear layers of a model, in place, but those named in `keep`; gives the model."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and name not in keep:
            parent, _, last = name.rpartition(".")
            place = model.get_submodule(parent) if parent else model
            setattr(place, last, MixedInt8Linear.of(module, threshold, (columns or {}).get(name)))
    return model
