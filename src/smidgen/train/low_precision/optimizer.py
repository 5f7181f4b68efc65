"""Any element-wise optimizer with moments in few bits, weights kept in few bits, and steps left out after an overflow.

Moments are unpacked one parameter at a time, so that what lies in memory between and in steps is packed. Adam's second
moment never becomes 0 by rounding, since a step divides by its root.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from smidgen.formats.blockwise import Encoded
from smidgen.formats.format import Quantized, Scaled
from smidgen.kit.errors import bad
from smidgen.train.galore_step import load_exactly
from smidgen.train.low_precision.layers import Scaler, covered, lower
from smidgen.train.low_precision.number import CASTS, Number
from smidgen.train.low_precision.policy import PrecisionPolicy, StateFormat

UNSIGNED = ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum", "exp_inf")  # of torch's optimizers
SMALLEST = 4096  # numbers of a moment below which it stays in float32


def apply_policy(
    model: nn.Module, optimizer: Optimizer, policy: PrecisionPolicy, *, smallest: int = SMALLEST
) -> tuple[nn.Module, "LowPrecisionOptimizer"]:
    """The model, changed in place, and the optimizer of its parameters, to be used in place of the one given.

    Args:
        smallest: numbers of a moment below which it stays in float32.
    Raises:
        BadInput: see `layers.lower`; parameters of the optimizer that are none of the model's.
    """
    own = {id(p) for p in model.parameters()}
    if any(id(p) not in own for group in optimizer.param_groups for p in group["params"]):
        raise bad("optimizer", "one of the model's parameters", "others among them")
    scaler = Scaler()
    if policy.loss_scale is not None:
        scaler = Scaler(scale=policy.loss_scale.start, active=True)
    lower(model, policy, scaler)
    exact = [p for name, p in model.named_parameters() if any(part in name for part in policy.skip)]
    return model, LowPrecisionOptimizer(
        optimizer, policy, scaler, kept_weights(model, policy), exact=exact, smallest=smallest
    )


def kept_weights(model: nn.Module, policy: PrecisionPolicy) -> list[Tensor]:
    """Parameters that a policy keeps without a float32 copy: where numbers are rounded each by itself all that are
    trained, where groups share a scale the weights of layers."""
    if policy.master:
        return []
    if policy.weights in CASTS or Number.parse(policy.weights).format is None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        return [p for name, p in named if not any(part in name for part in policy.skip)]
    return [model.get_submodule(n).weight for n in covered(model, policy.skip)]  # type: ignore[misc]


class LowPrecisionOptimizer(Optimizer):
    """In place of the optimizer it is given: same groups, same settings.

    Attributes:
        inner: the optimizer. scaler: the loss scale, with the number of steps left out. kept: parameters that have no
            float32 copy.

    Args:
        exact: parameters whose moments stay in float32. smallest: numbers of a moment below which it does too.
    """

    def __init__(
        self,
        inner: Optimizer,
        policy: PrecisionPolicy,
        scaler: Scaler,
        kept: list[Tensor],
        *,
        exact: Sequence[Tensor] = (),
        smallest: int = SMALLEST,
    ) -> None:
        self.inner, self.policy, self.scaler, self.kept, self.smallest = inner, policy, scaler, kept, smallest
        self._packed: dict[Tensor, dict[str, Any]] = {}
        self._kept, self._exact = {id(p) for p in kept}, {id(p) for p in exact}
        super().__init__(inner.param_groups, {})
        self.param_groups = inner.param_groups
        self.signed, self.unsigned = (
            StateFormat.parse(name, signed=s) for name, s in zip(policy.optimizer_states, (True, False), strict=True)
        )
        with torch.no_grad():
            for p in kept:
                p.copy_(self.number.round(p))

    @property
    def number(self) -> Number:
        """Of kept weights."""
        return Number.parse(self.policy.weights)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        """An update; none where a gradient overflowed, which halves the loss scale."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        having = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if self.scaler.active:
            self.scaler.overflow |= not all(bool(torch.isfinite(p.grad).all()) for p in having)
            skip = self.scaler.overflow
            self.scaler.update(self.policy.loss_scale.every if self.policy.loss_scale else None)
            if skip:
                return loss
        if self.signed.exact and self.unsigned.exact:
            self.inner.step()
        else:
            grads = [p.grad for p in having]
            for p in having:
                p.grad = None
            for p, grad in zip(having, grads, strict=True):
                p.grad = grad
                self._unpack(p)
                self.inner.step()
                self._pack(p)
                p.grad = None
            for p, grad in zip(having, grads, strict=True):
                p.grad = grad
        for p in having:
            if id(p) in self._kept:
                p.copy_(self.number.round(p, self.policy.rounding))
        return loss

    def moments(self, p: Tensor) -> dict[str, Tensor]:
        """Of a parameter, as they would be unpacked, float32."""
        found = {k: v for k, v in self.inner.state.get(p, {}).items() if _is_moment(k, v, p)}
        return found | {k: self._decoded(k, parts, p) for k, parts in self._packed.get(p, {}).items()}

    def _unpack(self, p: Tensor) -> None:
        for name, parts in self._packed.pop(p, {}).items():
            self.inner.state[p][name] = self._decoded(name, parts, p)

    def _pack(self, p: Tensor) -> None:
        if id(p) in self._exact:
            return
        for name, value in list(self.inner.state[p].items()):
            format = self._format(name)
            if _is_moment(name, value, p) and not format.exact and value.numel() >= self.smallest:
                self._packed.setdefault(p, {})[name] = self._encoded(format, value)
                del self.inner.state[p][name]

    def _format(self, name: str) -> StateFormat:
        return self.unsigned if name in UNSIGNED else self.signed

    def _encoded(self, format: StateFormat, value: Tensor) -> dict[str, Tensor]:
        if format.number is None:
            codes, scales = format.blockwise(value.numel()).encode(value.clamp(min=0) if not format.signed else value)
            return {"codes": codes, "scales": scales}
        number = format.number
        if number.format is None:
            rounded = number.round(value, self.policy.rounding)
            if not format.signed and number.name not in CASTS:
                least = float(number.grid.levels[number.grid.levels > 0].min())
                rounded = torch.where((value > 0) & (rounded <= 0), least, rounded)
            return {"numbers": rounded.to(CASTS[number.name]) if number.name in CASTS else rounded}
        made = number.format.fit(value, search="absmax").quantize(value, mode=self.policy.rounding)
        return (made if format.signed else _above_zero(made, value)).pack()

    def _decoded(self, name: str, parts: dict[str, Tensor], p: Tensor) -> Tensor:
        format = self._format(name)
        if "numbers" in parts:
            return parts["numbers"].float()
        if format.number is None:
            return format.blockwise(p.numel()).decode(Encoded(parts["codes"], parts["scales"]))
        assert format.number.format is not None
        return Quantized.unpack(parts, format.number.format, tuple(p.shape)).dequantize()

    def state_dict(self) -> dict[str, Any]:  # type: ignore[override]
        """As of the optimizer, packed moments by name and part, and the loss scale."""
        saved = self.inner.state_dict()
        order = [p for group in self.param_groups for p in group["params"]]
        state = {i: dict(entry) for i, entry in saved["state"].items()}
        for i, p in enumerate(order):
            for name, parts in self._packed.get(p, {}).items():
                state.setdefault(i, {}).update({f"{name}:{part}": v for part, v in parts.items()})
        scale = {k: getattr(self.scaler, k) for k in ("scale", "overflow", "clean", "skipped")}
        return {**saved, "state": state, "loss_scale": scale}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # type: ignore[override]
        """Takes what `state_dict` gave, to the bit."""
        order = [p for group in self.inner.param_groups for p in group["params"]]
        plain: dict[int, dict[str, Any]] = {}
        self._packed = {}
        for i, entry in state_dict["state"].items():
            plain[i] = {k: v for k, v in entry.items() if ":" not in k}
            for key in (k for k in entry if ":" in k):
                name, part = key.split(":")
                of = self._packed.setdefault(order[i], {}).setdefault(name, {})
                of[part] = entry[key].to(order[i].device, copy=True)
        rest = {k: v for k, v in state_dict.items() if k != "loss_scale"}
        self.inner.load_state_dict({**rest, "state": {}})
        load_exactly(self.inner, {**rest, "state": plain})
        self.param_groups = self.inner.param_groups
        for name, value in state_dict["loss_scale"].items():
            setattr(self.scaler, name, value)


def _is_moment(name: str, value: Any, p: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == p.shape and value.is_floating_point() and name != "step"


def _above_zero(made: Quantized, value: Tensor) -> Quantized:
    """Numbers above 0 that became 0 take the smallest level above it instead."""
    grid = made.format.levels
    least = int(grid.codes[(grid.levels > 0).argmax()])
    lost = (value > 0) & (made.dequantize() <= 0)
    codes = torch.where(lost.reshape(made.codes.shape), least, made.codes).to(made.codes.dtype)
    return Scaled(made.format, made.shape, made.scaled.kept).with_codes(codes)
