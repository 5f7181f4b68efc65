"""Layers that compute as a policy says: y = round(x) round(w)^T forward, and rounded gradients in both products back.

Linear layers (the `Conv1D` of transformers too) and convolutions. A layer's class becomes one of this kind that it
inherits from, so names of weights, saved files and what else a layer does stay as they are; embeddings, norms, biases
and whatever multiplies weights by itself stay in float32. Gradients pass straight through forward roundings.
Dims: N rows, K what is summed over, M outputs.
"""

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.formats.rounding import Mode
from smidgen.kit.errors import bad
from smidgen.train.low_precision.number import CASTS, Number
from smidgen.train.low_precision.policy import Delayed, PrecisionPolicy

CHUNK = 64  # products that are added up exactly before a sum is rounded
_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass
class Scaler:
    """The loss scale as it is now, shared by a model and its optimizer.

    Attributes:
        scale: by which gradients are multiplied before they are rounded. overflow: a rounded one was infinite since the
            last step. clean: steps since the last overflow. skipped: steps left out in all.
    """

    scale: float = 1.0
    active: bool = False
    overflow: bool = False
    clean: int = 0
    skipped: int = 0

    def update(self, every: int | None) -> None:
        """After a step, or one that was left out."""
        if self.overflow:
            self.clean, self.skipped = 0, self.skipped + 1
            if every is not None:
                self.scale = max(self.scale / 2, 2.0**-24)
        else:
            self.clean += 1
            if every is not None and self.clean % every == 0:
                self.scale = min(self.scale * 2, 2.0**40)
        self.overflow = False


class Rounding(nn.Module):
    """Rounds one of a layer's tensors. With delayed scales it keeps the largest numbers of past steps, "history" `[H]`
    in its state, the newest last, 0 where there was none."""

    def __init__(self, number: Number, mode: Mode = "nearest", delayed: Delayed | None = None) -> None:
        super().__init__()
        self.number = number
        self.mode: Mode = mode
        self.delayed = delayed if number.of_a_tensor else None
        if self.delayed is not None:
            self.history: Tensor
            self.register_buffer("history", torch.zeros(self.delayed.history))

    def forward(self, x: Tensor) -> Tensor:
        if self.delayed is None:
            return self.number.round(x, self.mode)
        now = x.detach().abs().amax().float()
        past = self.history.max()
        scale = torch.where(past > 0, past, now) * 2.0**self.delayed.margin / float(self.number.grid.levels[-1])
        out = self.number.round(x, self.mode, scale)
        if bool(torch.isfinite(now)):
            self.history.copy_(torch.cat([self.history[1:], now[None]]))
        return out


class _Through(torch.autograd.Function):
    """Rounds forward, backward, or both."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forward: Rounding | None, backward: Rounding | None, scaler: Scaler) -> Tensor:
        ctx.rounding, ctx.scaler = backward, scaler
        return x.view_as(x) if forward is None else forward(x).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (_round_gradient(grads[0], ctx.rounding, ctx.scaler), None, None, None)


def _round_gradient(grad: Tensor, rounding: Rounding | None, scaler: Scaler) -> Tensor:
    """Rounded at the size that the loss scale gives it. An overflow is noted, and the step left out; without a loss
    scale it goes on as it is."""
    if rounding is None:
        return grad
    rounded = rounding(grad * scaler.scale)
    if scaler.active and not bool(torch.isfinite(rounded).all()):
        scaler.overflow = True
        rounded = rounded.nan_to_num(0.0, 0.0, 0.0)
    return (rounded / scaler.scale).to(grad.dtype)


class _ChunkedLinear(torch.autograd.Function):
    """All three products of a linear layer with sums in few bits."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, name: str) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.name = name
        return chunked_product(x, w.T, name)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, w = ctx.saved_tensors
        g = grads[0]
        into = chunked_product(g, w, ctx.name)
        return into, chunked_product(g.flatten(0, -2).T, x.flatten(0, -2), ctx.name), None


def chunked_product(a_NK: Tensor, b_KM: Tensor, name: str, chunk: int = CHUNK) -> Tensor:
    """a @ b whose sums are rounded to `name` ("float16", "bfloat16") after each so many products."""
    kind = CASTS[name]
    total = None
    for k in range(0, b_KM.shape[0], chunk):
        part = (a_NK[..., k : k + chunk] @ b_KM[k : k + chunk]).to(kind).float()
        total = part if total is None else (total + part).to(kind).float()
    assert total is not None
    return total


class LowPrecision:
    """What a layer's new class adds to it; `precision` holds its roundings and is a part of its state."""

    precision: nn.ModuleDict
    scaler: Scaler
    accumulate: str

    def forward(self, x: Tensor, *rest: Any) -> Tensor:
        p, layer = self.precision, self
        x = _Through.apply(x, _get(p, "activations"), None, self.scaler)  # type: ignore[assignment]
        weight: Any = self._parameters["weight"]  # type: ignore[attr-defined]
        weight = _Through.apply(weight, _get(p, "weights"), _get(p, "weight_grads"), self.scaler)
        if self.accumulate != "float32":
            bias: Any = self._parameters["bias"]  # type: ignore[attr-defined]
            y: Any = _ChunkedLinear.apply(x, weight, self.accumulate)
            y = y if bias is None else y + bias
        else:
            layer.__dict__["weight"] = weight  # before the parameter of this name, for this one call
            try:
                y = super().forward(x, *rest)  # type: ignore[misc]
            finally:
                del layer.__dict__["weight"]
        return _Through.apply(y, None, _get(p, "act_grads"), self.scaler)  # type: ignore[return-value]


def covered(model: nn.Module, skip: tuple[str, ...] = ()) -> list[str]:
    """Names of the layers that a policy is for."""
    return [
        name
        for name, module in model.named_modules()
        if (isinstance(module, (nn.Linear, *_CONVS)) or type(module).__name__ == "Conv1D")
        and not any(part in name for part in skip)
    ]


def lower(model: nn.Module, policy: PrecisionPolicy, scaler: Scaler) -> list[str]:
    """Makes the layers of a model compute so, in place; gives their names.

    Raises:
        BadInput: none is left, one is lowered already, or sums in few bits are asked of a convolution.
    """
    names = covered(model, policy.skip)
    if not names:
        raise bad("skip", "at least one linear layer or convolution left", policy.skip)
    weights = Number.parse(policy.weights if policy.master else "float32")  # kept ones are rounded already
    for name in names:
        module = model.get_submodule(name)
        if isinstance(module, LowPrecision):
            raise bad("model", "one that no policy was applied to", f"layer {name} with one")
        if policy.accumulate != "float32" and not isinstance(module, nn.Linear):
            raise bad("accumulate", "float32, for other layers than linear ones", policy.accumulate, f"Skip {name}.")
        made = {
            "weights": (weights, "nearest"),
            "activations": (Number.parse(policy.activations), "nearest"),
            "weight_grads": (Number.parse(policy.weight_grads), policy.rounding),
            "act_grads": (Number.parse(policy.act_grads), policy.rounding),
        }
        parts = {k: Rounding(n, mode, policy.scaling) for k, (n, mode) in made.items() if not n.exact}  # type: ignore[arg-type]
        module.add_module("precision", nn.ModuleDict(parts))
        module.scaler, module.accumulate = scaler, policy.accumulate  # type: ignore[assignment]
        module.__class__ = _class_of(type(module))
    return names


def raise_again(model: nn.Module) -> None:
    """Takes the policy away from the layers again."""
    for module in model.modules():
        if isinstance(module, LowPrecision):
            del module.precision, module.scaler, module.accumulate  # type: ignore[attr-defined]
            module.__class__ = type(module).__mro__[2]  # type: ignore[assignment]


@functools.cache
def _class_of(kind: type) -> type:
    return type(f"LowPrecision{kind.__name__}", (LowPrecision, kind), {})


def _get(parts: nn.ModuleDict, name: str) -> Any:
    return dict(parts.items()).get(name)
