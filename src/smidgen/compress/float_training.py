"""Training with products of few bits: any of the six inputs of a linear layer's three products is seen in a small
format (Sun et al., 2025, arXiv 2501.02423).

    y = x W'         inputs "x_fwd", "w_fwd"
    dx = dy W        inputs "dy_dx", "w_dx"
    dW = dy' x       inputs "dy_dw", "x_dw"

Each input is divided in blocks along the axis that its product sums over, each block by its largest magnitude over the
format's, and rounded to nearest; products and sums are float32. Rounding passes the gradient on as it is. To round the
activations again for dW ("x_dw") costs most of all in the paper; its law is fitted with `PUBLISHED`.

Dims: N rows (tokens), I inputs, O outputs of a layer.
"""

import re
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from smidgen.formats.float_rounding import largest, round_float
from smidgen.formats.format import Format
from smidgen.kit.errors import BadInput, bad

Target = Literal["x_fwd", "w_fwd", "dy_dx", "w_dx", "x_dw", "dy_dw"]
TARGETS: tuple[Target, ...] = ("x_fwd", "w_fwd", "dy_dx", "w_dx", "x_dw", "dy_dw")
PUBLISHED: tuple[Target, ...] = ("w_fwd", "dy_dx", "dy_dw")  # one input of each product
TINY = 1e-30  # least scale: of a block of zeros
_FLOAT = re.compile(r"e(\d+)m(\d+)")


def float_format(exp_bits: int, man_bits: int, block: int | Literal["channel", "tensor"]) -> Format:
    """Sign, exponent and mantissa bits with exact scales, as the law counts them. Raises BadInput: no such grid."""
    if exp_bits < 0 or man_bits < 0 or exp_bits + man_bits < 1:
        raise bad("exponent and mantissa bits", "0 or more each, and not both 0", f"{exp_bits}, {man_bits}")
    return Format(f"e{exp_bits}m{man_bits}", block, False, "float32")


def fake(x_NC: Tensor, format: Format, axis: int = -1) -> Tensor:
    """A matrix as the format says it, blocks along `axis`, each by its largest magnitude; float32, no gradient.

    Raises:
        BadInput: the block is neither larger than the axis nor divides it; no float format with exact scales; NaN or
            infinity.
    """
    bits = _FLOAT.fullmatch(format.grid)
    if bits is None or format.offset or format.scales != "float32":
        raise bad("format", "one of float_format: a float grid, no offset, float32 scales", format.name)
    x_RC = x_NC.detach().transpose(axis, -1)
    rows, columns = x_RC.shape
    size = columns if isinstance(format.group, str) else min(format.group, columns)
    if columns % size:
        raise bad("block", f"a divisor of the {columns} numbers that a product sums over", size)
    x_RGS = x_RC.reshape(rows, -1, size)
    largest_RG1 = x_RGS.abs().amax(-1, keepdim=True)
    if format.group == "tensor":
        largest_RG1 = largest_RG1.max()
    if not bool(torch.isfinite(largest_RG1.sum())):
        raise BadInput("A product's input holds NaN or infinity: lower the rate.")
    e, m = int(bits[1]), int(bits[2])
    scale = (largest_RG1 / largest(e, m)).clamp_(min=TINY)
    return round_float(x_RGS / scale, e, m).mul_(scale).reshape(rows, columns).transpose(axis, -1)


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NI: Tensor, w_OI: Tensor, format: Format, targets: frozenset[Target]) -> Tensor:
        ctx.save_for_backward(x_NI, w_OI)
        ctx.format, ctx.targets = format, targets
        x = fake(x_NI, format) if "x_fwd" in targets else x_NI
        w = fake(w_OI, format) if "w_fwd" in targets else w_OI
        return x @ w.T

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (dy_NO,), (x_NI, w_OI) = grads, ctx.saved_tensors
        format, targets = ctx.format, ctx.targets
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dy = fake(dy_NO, format) if "dy_dx" in targets else dy_NO
            dx = dy @ (fake(w_OI, format, 0) if "w_dx" in targets else w_OI)
        if ctx.needs_input_grad[1]:
            dy = fake(dy_NO, format, 0) if "dy_dw" in targets else dy_NO
            dw = dy.T @ (fake(x_NI, format, 0) if "x_dw" in targets else x_NI)
        return dx, dw, None, None


class FloatLinear(nn.Module):
    """A linear layer in its place, with the same parameters, whose products see inputs in a format.

    Attributes:
        targets: which of the six inputs.
    """

    def __init__(self, linear: nn.Linear, format: Format, targets: tuple[Target, ...] = PUBLISHED) -> None:
        super().__init__()
        for target in targets:
            if target not in TARGETS:
                raise bad("targets", ", ".join(TARGETS), target)
        self.weight, self.bias = linear.weight, linear.bias
        self.format, self.targets = format, frozenset(targets)

    def forward(self, x: Tensor) -> Tensor:
        y_NO = _Products.apply(x.reshape(-1, x.shape[-1]), self.weight, self.format, self.targets)
        y = y_NO.reshape(*x.shape[:-1], -1)
        return y if self.bias is None else y + self.bias


def train_in(
    model: nn.Module, format: Format, targets: tuple[Target, ...] = PUBLISHED,
    where: Callable[[str, nn.Linear], bool] | None = None,
) -> list[str]:  # fmt: skip
    """Puts `FloatLinear` in the place of linear layers, in place; gives their names. Parameters and their names stay,
    so that an optimizer and a checkpoint go on.

    Args:
        where: of name and layer, which; default: all but those whose weight is an embedding's.
    Raises:
        BadInput: no such layer; unknown targets.
    """
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and (where(name, module) if where else id(module.weight) not in embeddings)
    ]
    if not found:
        raise BadInput("No linear layer to train in a small format: expected at least one, or others by `where`.")
    for name, module in found:
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent) if parent else model, last, FloatLinear(module, format, targets))
    return [name for name, _ in found]


def loss_gaps(loss_with: Callable[[tuple[Target, ...]], float]) -> dict[str, float]:
    """What each of the six inputs alone costs, and the published three together: loss less that without any.

    Args:
        loss_with: trains a model anew with these targets in the format, and gives its loss.
    """
    whole = loss_with(())
    gaps = {target: loss_with((target,)) - whole for target in TARGETS}
    return {**gaps, "+".join(PUBLISHED): loss_with(PUBLISHED) - whole}
