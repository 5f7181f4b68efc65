"""A linear layer in eight bits throughout: its weight is packed int8, its inputs become int8 as they come.

Each token has a scale of its own, that of its largest number (dynamic, symmetric), and each row of the weight has one;
so y = s_x s_w (q_x q_w), and the product in brackets is one of integers (W8A8, as in SmoothQuant; Xiao et al., 2022,
arXiv 2211.10438, section 2).
Dims: N tokens, C inputs, R outputs.
"""

import torch
from torch import Tensor, nn

from smidgen.kit.errors import bad
from smidgen.nets.packed import PackedWeight

_SIGN = 128  # codes are the integers plus this, so the byte of one is that of the other but for this bit
LARGEST = 127  # of the activations' integers: as many below 0 as above


def quantize_tokens(x_NC: Tensor) -> tuple[Tensor, Tensor]:
    """int8 `[N, C]` and float32 `[N, 1]` scales; a token of zeros has scale 1."""
    x_NC = x_NC.float()
    top = x_NC.abs().amax(1, keepdim=True)
    scale = torch.where(top > 0, top / LARGEST, 1.0)
    return (x_NC / scale).round().clamp(-LARGEST, LARGEST).to(torch.int8), scale


class Int8Linear(nn.Module):
    """y = W x + b, both rounded to int8; the weight's `inputs` are multiplied in before x is rounded.

    Args:
        weight: packed "int8/channel".
        bias: float `[R]`.
    """

    def __init__(self, weight: PackedWeight, bias: Tensor | None = None) -> None:
        super().__init__()
        form = weight.format
        if form.grid != "int8" or form.group not in ("channel", "tensor") or form.offset or len(weight.shape) != 2:
            raise bad("weight", "a matrix in int8/channel or int8/tensor", form.name)
        self.weight = weight
        self.out_features, self.in_features = weight.packed_shape
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.inputs is not None:
            x = x * self.weight.inputs.to(x.dtype)
        q_NC, scale_N1 = quantize_tokens(x.reshape(-1, self.in_features))
        quantized = self.weight.quantized()
        w_RC = (quantized.codes ^ _SIGN).view(torch.int8)
        out = integer_product(q_NC, w_RC.t()).float() * scale_N1 * quantized.scaled.scales[:, 0]
        if self.bias is not None:
            out = out + self.bias
        return out.reshape(*x.shape[:-1], self.out_features).to(x.dtype)


def integer_product(a_NC: Tensor, b_CR: Tensor) -> Tensor:
    """int32 `[N, R]` of int8 matrices, exact. Off the CPU by float64, which says all its sums."""
    if a_NC.device.type == "cpu":
        return torch._int_mm(a_NC, b_CR)  # pyright: ignore[reportPrivateImportUsage]
    return (a_NC.double() @ b_CR.double()).to(torch.int32)
