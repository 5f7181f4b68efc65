"""Any element-wise torch optimizer in a low-rank subspace: SGD, RMSprop, Adagrad, Lion of another package, ...

For a projected parameter, the optimizer is shown the projected gradient and zeros in place of the weight; what it
makes of the zeros is its update, which goes back to the whole weight. That is right only where an update of one entry
depends on that entry's gradients alone, and all that is remembered is in the state of the parameter, not in its group,
so every class is tried on small tensors first.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from smidgen.kit.errors import BadInput, bad
from smidgen.train import subspace as sub
from smidgen.train.galore_step import PROJECTION, add_back, check_gradients, check_group, load_exactly, refreshed_basis

OWN = ("step", "projector_left", "projector_right")
SAVED = {key: f"galore_{key}" for key in OWN}


class Projected(Optimizer):
    """`Projected(torch.optim.RMSprop, galore_param_groups(...), lr=1e-3)`.

    Groups as for GaLoreAdamW; on_switch "keep" or "reset". Weight decay acts on the whole weight: decoupled where the
    group says so (`decoupled_weight_decay`, as AdamW's), else added to the gradient before it is projected.

    Raises:
        BadInput: the optimizer is not element-wise with these settings (Adafactor, Muon, LBFGS, LARS, ...).
    """

    def __init__(self, optimizer_class: type[Optimizer], params: Any, **settings: Any) -> None:
        check_elementwise(optimizer_class, settings)
        defaults = optimizer_class([nn.Parameter(torch.zeros(1, 1))], **settings).defaults
        super().__init__(params, {**defaults, **PROJECTION})
        with _low_shapes(self.param_groups):  # some make their state at once, and make it as large as a parameter
            self.inner = optimizer_class(self.param_groups, **settings)
        self.inner.param_groups = self.param_groups  # the same groups: a schedule that changes `lr` is seen by both

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One update of each parameter that has a gradient; raises as GaLoreAdamW's."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        check_gradients(self)
        try:
            for group in self.param_groups:
                for place, parameter in enumerate(group["params"]):
                    if parameter.grad is not None:
                        self._update(parameter, group, place)
        finally:
            self.inner.param_groups = self.param_groups
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any], place: int) -> None:
        grad = cast(Tensor, parameter.grad)
        alone = {**group, "params": [parameter]}
        self.inner.param_groups = [alone]
        if group["rank"] is None:
            self.inner.step()
            return
        decay, decoupled = group.get("weight_decay", 0), group.get("decoupled_weight_decay", False)
        if decay:
            alone["weight_decay"] = 0.0
        if decay and not decoupled:
            grad = grad.add(parameter, alpha=-decay if group.get("maximize") else decay)
        grad_MN, state = sub.as_matrix(grad), self.state[parameter]
        basis, replaced = refreshed_basis(grad_MN, state, group, place)
        if replaced is not None and group["on_switch"] == "reset":
            self.inner.state.pop(parameter, None)
        update = self._inner_update(parameter, sub.project(grad_MN, basis))
        add_back(parameter, update, basis, group["scale"])
        if decay and decoupled:
            parameter.mul_(1 - float(group["lr"]) * decay)
        state["step"] += 1

    def _inner_update(self, parameter: Tensor, low: Tensor) -> Tensor:
        """What the inner optimizer makes of zeros; weight and gradient are put back, whatever happens."""
        weight, grad = parameter.data, parameter.grad
        try:
            parameter.grad = None
            parameter.data = torch.zeros_like(low, dtype=weight.dtype)
            parameter.grad = low.to(weight.dtype)
            self.inner.step()
            return parameter.data
        finally:
            parameter.grad = None
            parameter.data = weight
            parameter.grad = grad

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch, and checks a projected group. Raises BadInput (a ValueError)."""
        if hasattr(self, "inner"):
            raise bad("add_param_group", "all groups when it is made", "another one later")
        super().add_param_group(param_group)
        try:
            if param_group["on_switch"] == "rotate":
                raise bad("on_switch", "keep or reset", "rotate", "Only GaLore's own optimizers know their moments.")
            if param_group["residual"]:
                raise bad("residual", "False", True, "It scales by what Adam does, and is GaLore's own optimizers'.")
            check_group(param_group)
        except ValueError:
            self.param_groups.pop()
            raise

    def state_dict(self) -> dict[str, Any]:
        """The inner optimizer's state, with `galore_step` and the bases beside its entries."""
        saved, inner = super().state_dict(), self.inner.state_dict()["state"]
        own = {i: {SAVED[k]: v for k, v in entry.items()} for i, entry in saved["state"].items()}
        saved["state"] = {i: {**inner.get(i, {}), **own.get(i, {})} for i in {**inner, **own}}
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes a state exactly: each tensor keeps its dtype, and goes to its parameter's device."""
        super().load_state_dict({**state_dict, "state": {}})
        self.inner.param_groups = self.param_groups
        self.inner.state.clear()
        entries = state_dict["state"].items()
        own = {i: {k: e[SAVED[k]] for k in OWN if SAVED[k] in e} for i, e in entries}
        inner = {i: {k: v for k, v in e.items() if k not in SAVED.values()} for i, e in entries}
        load_exactly(self, {**state_dict, "state": own})
        load_exactly(self.inner, {**state_dict, "state": inner})


@contextlib.contextmanager
def _low_shapes(groups: list[dict[str, Any]]) -> Iterator[None]:
    """Projected parameters look as small as their projected gradients."""
    kept = [(p, p.data) for group in groups if group["rank"] is not None for p in group["params"]]
    try:
        for group in groups:
            rank = group["rank"]
            for parameter in group["params"] if rank is not None else ():
                low = sub.low_shape(sub.as_matrix(parameter).shape, int(rank or 0), group["proj_type"])
                parameter.data = parameter.data.new_zeros(low)
        yield
    finally:
        for parameter, data in kept:
            parameter.data = data


def check_elementwise(optimizer_class: type[Optimizer], settings: Mapping[str, Any]) -> None:
    """Tries the class: three steps on a matrix must be those of its rows apart, wherever the weights lie.

    Raises:
        BadInput: they are not; steps change the settings of a group; the class does not take a matrix, or `step()`
            without a closure.
    """
    name = optimizer_class.__name__
    kept = {k: v for k, v in settings.items() if k != "weight_decay"}
    takes = inspect.signature(optimizer_class).parameters
    if "weight_decay" in takes:
        kept["weight_decay"] = 0.0
    try:
        whole = _moved_by(optimizer_class, kept, lambda w: [w])
        apart = _moved_by(optimizer_class, kept, lambda w: [w[:1].clone(), w[1:].clone()])
        far = _moved_by(optimizer_class, kept, lambda w: [w], shift=10.0)
    except (RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{name} cannot be projected: {error}") from error
    if not (torch.allclose(whole, apart, rtol=1e-6, atol=1e-9) and torch.allclose(whole, far, rtol=1e-4, atol=1e-6)):
        raise BadInput(
            f"{name} cannot be projected: its update of an entry depends on other entries, or on the weight itself."
        )


def _moved_by(optimizer_class: type[Optimizer], settings: dict[str, Any], cut: Any, shift: float = 0.0) -> Tensor:
    """How far three steps move a 4 x 6 matrix that is cut into parameters."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4, 6, generator=generator, dtype=torch.float64) + shift
    parameters = [nn.Parameter(piece) for piece in cut(start.clone())]
    optimizer = optimizer_class(parameters, **settings)
    before = _group_settings(optimizer)
    for scale in (1.0, 30.0, 0.1):
        grads = scale * torch.randn(4, 6, generator=generator, dtype=torch.float64)
        for parameter, grad in zip(parameters, cut(grads), strict=True):
            parameter.grad = grad
        with torch.no_grad():
            optimizer.step()
    if _group_settings(optimizer) != before:
        raise BadInput(f"{optimizer_class.__name__} cannot be projected: its steps change the settings of its groups.")
    return torch.cat([p.detach() for p in parameters]) - start


def _group_settings(optimizer: Optimizer) -> list[dict[str, Any]]:
    return [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
