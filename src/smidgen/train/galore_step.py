"""One update in a subspace: the steps that all projected optimizers share, and the checks of their groups.

A subspace needs the whole matrix: sharded parameters (DTensor) are refused in projected groups.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from smidgen.kit.errors import bad
from smidgen.kit.seeds import derive_seed
from smidgen.train import subspace as sub
from smidgen.train.galore_residual import limit_growth_, outside_update
from smidgen.train.subspace import Basis

ON_SWITCH = ("keep", "reset", "rotate")
NOT_MOMENTS = ("step", "projector_left", "projector_right", "residual_norm")
PROJECTION = {
    "rank": None,
    "update_proj_gap": 200,
    "scale": 0.25,
    "proj_type": "std",
    "offset": 0,
    "subspace": "svd",
    "on_switch": "keep",
    "residual": False,
    "seed": 0,
}


class ProjectedOptimizer(Optimizer):
    """Steps of all GaLore optimizers; a subclass says what its direction is, and how its moments move to a new basis.

    State of a parameter: `step` (int), `projector_left` and `projector_right` (those that there are), and moments.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        check_learning_rate(defaults["lr"])
        super().__init__(params, {**defaults, **PROJECTION})

    @abstractmethod
    def direction(self, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        """Updates the moments in `state` by a gradient, projected or whole, and gives what is subtracted times lr."""

    @abstractmethod
    def switch(self, state: dict[str, Any], group: dict[str, Any], old: Basis, new: Basis) -> None:
        """Moves the moments from one basis to the next; called for on_switch "rotate" only."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One update of each parameter that has a gradient.

        Raises:
            RuntimeError: a sparse gradient. FloatingPointError: a gradient that is not finite where a subspace is to
                be found in it. Nothing has changed then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        check_gradients(self)
        for group in self.param_groups:
            for place, parameter in enumerate(group["params"]):
                if parameter.grad is not None:
                    self._update(parameter, group, place)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any], place: int) -> None:
        grad = cast(Tensor, parameter.grad)
        state, lr = self.state[parameter], self.rate(parameter, group)
        if group["rank"] is None:
            state.setdefault("step", 0)
            parameter.add_(self.direction(grad, state, group).to(parameter.dtype), alpha=-lr)
        else:
            grad_MN = sub.as_matrix(grad)
            basis, replaced = refreshed_basis(grad_MN, state, group, place)
            if replaced is not None:
                self._switch(state, group, replaced, basis)
            low = sub.project(grad_MN, basis)
            direction = self.direction(low, state, group)
            add_back(parameter, direction, basis, -lr * group["scale"])
            if group["residual"]:
                outside = outside_update(grad_MN, low, direction, basis)
                limit_growth_(outside, float(direction.norm()), state)
                parameter.add_(outside.view_as(parameter), alpha=-lr * group["scale"])
        if group["weight_decay"]:
            parameter.mul_(1 - float(group["lr"]) * group["weight_decay"])
        state["step"] += 1

    def rate(self, parameter: Tensor, group: dict[str, Any]) -> float:
        """What the direction is multiplied with."""
        return float(group["lr"])

    def _switch(self, state: dict[str, Any], group: dict[str, Any], old: Basis, new: Basis) -> None:
        if group["on_switch"] == "rotate":
            self.switch(state, group, old, new)
        elif group["on_switch"] == "reset":
            for name in [k for k in state if k not in NOT_MOMENTS]:
                del state[name]
            state["moments_since"] = state["step"]  # bias correction starts anew with them

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As in torch, and checks a projected group. Raises BadInput (a ValueError)."""
        super().add_param_group(param_group)
        try:
            check_group(self.param_groups[-1])
        except ValueError:
            self.param_groups.pop()
            raise

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes a state exactly: each tensor keeps its dtype (codes, bfloat16) and goes to its parameter's device."""
        super().load_state_dict({**state_dict, "state": {}})
        load_exactly(self, state_dict)


def refreshed_basis(
    grad_MN: Tensor, state: dict[str, Any], group: Mapping[str, Any], place: int
) -> tuple[Basis, Basis | None]:
    """The basis of this step, kept in `state`, and the one whose place it takes in this very step, if it does.

    While all gradients were zero the basis is the first axes, and is not kept.
    """
    step, old = state.setdefault("step", 0), sub.state_basis(state)
    if wants_basis(state, group, place):
        name = parameter_name(group, place)
        seed = derive_seed(group["seed"], name, step)
        new = sub.find_basis(grad_MN, group["rank"], group["proj_type"], group["subspace"], seed, name)
        if new is not None:
            state |= sub.basis_state(new)
            return new, old
    return old or sub.unit_basis(grad_MN, group["rank"], group["proj_type"]), None


def add_back(parameter: Tensor, low: Tensor, basis: Basis, alpha: float) -> None:
    """parameter += alpha * the projected update."""
    if parameter.is_contiguous():
        sub.add_back_(parameter.view(len(parameter), -1), low, basis, alpha)
    else:
        parameter.add_(sub.project_back(low, basis).to(parameter.dtype).view_as(parameter), alpha=alpha)


def wants_basis(state: Mapping[str, Any], group: Mapping[str, Any], place: int) -> bool:
    """Whether a subspace is to be found in the next gradient: it is due, or there is none yet."""
    offset = group["offset"]
    offset = offset if isinstance(offset, int) else offset[place]
    due = sub.is_due(state.get("step", 0), group["update_proj_gap"], offset)
    return due or sub.state_basis(state) is None


def check_gradients(optimizer: Optimizer) -> None:
    """Raises, before anything changes, what a step would raise on its way: RuntimeError, FloatingPointError."""
    for group in optimizer.param_groups:
        for place, parameter in enumerate(group["params"]):
            grad = parameter.grad
            if grad is None:
                continue
            if grad.is_sparse:
                name = parameter_name(group, place)
                raise RuntimeError(f"{name}: sparse gradients cannot be projected; use sparse=False.")
            if group["rank"] is not None and wants_basis(optimizer.state.get(parameter, {}), group, place):
                sub.check_finite(grad, parameter_name(group, place))


def parameter_name(group: Mapping[str, Any], place: int) -> str:
    """The parameter's name where the group has names, else its place and shape."""
    names = group.get("param_names")
    return names[place] if names else f"parameter {place} of shape {tuple(group['params'][place].shape)}"


def check_group(group: Mapping[str, Any]) -> None:
    """Raises BadInput for a projected group that cannot be: rank, shape, settings, shards."""
    if group["rank"] is None:
        return
    sub.check_settings(group)
    if group["on_switch"] not in ON_SWITCH:
        raise bad("on_switch", " or ".join(ON_SWITCH), group["on_switch"])
    offset = group["offset"]
    if not isinstance(offset, int) and len(offset) != len(group["params"]):
        raise bad("offset", f"a number, or one for each of {len(group['params'])} parameters", len(offset))
    for place, parameter in enumerate(group["params"]):
        name = parameter_name(group, place)
        if hasattr(parameter, "device_mesh"):
            raise bad(name, "a whole matrix", "a shard (DTensor)", "Project before sharding, or leave `rank` out.")
        sub.check_rank(group["rank"], sub.as_matrix(parameter, name).shape, name)


def load_exactly(optimizer: Optimizer, state_dict: Mapping[str, Any]) -> None:
    """Copies saved entries into the state, dtypes as they are."""
    saved = [i for group in state_dict["param_groups"] for i in group["params"]]
    ours = [p for group in optimizer.param_groups for p in group["params"]]
    for i, parameter in zip(saved, ours, strict=True):
        entry = state_dict["state"].get(i)
        if entry:
            optimizer.state[parameter] = {
                k: v.to(parameter.device, copy=True) if isinstance(v, Tensor) else v for k, v in entry.items()
            }


def check_learning_rate(lr: Any) -> None:
    """Raises BadInput below 0."""
    if not float(lr) >= 0:
        raise bad("lr", "at least 0", lr)
