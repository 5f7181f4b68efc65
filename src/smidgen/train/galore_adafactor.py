"""Adafactor in the subspace: second moments as one row and one column of sums (Shazeer and Stern, 2018, 1804.04235).

The smallest state: of a projected gradient R x N only R + N numbers, plus R x N where there is a first moment.
"""

from typing import Any

import torch
from torch import Tensor

from smidgen.kit.errors import bad
from smidgen.train import subspace as sub
from smidgen.train.galore_step import ProjectedOptimizer
from smidgen.train.subspace import Basis


class GaLoreAdafactor(ProjectedOptimizer):
    """Adafactor with the learning rate that it is given (no relative steps), projected where a group has a `rank`.

    Args:
        beta1: of the first moment; None: there is none, which saves most of the state.
        decay: second moments keep 1 - t^decay at step t, decay in [-1, 0).
        clip: an update whose root mean square is above this is scaled down to it.
        scale_parameter: multiplies the rate by the root mean square of the whole weight (at least 1e-3).
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        beta1: float | None = 0.9,
        decay: float = -0.8,
        eps: float = 1e-30,
        clip: float = 1.0,
        weight_decay: float = 0.0,
        scale_parameter: bool = False,
    ) -> None:
        if beta1 is not None and not 0 <= beta1 < 1:
            raise bad("beta1", "None, or in [0, 1)", beta1)
        if not -1 <= decay < 0:
            raise bad("decay", "in [-1, 0)", decay)
        if not clip > 0:
            raise bad("clip", "above 0", clip)
        settings = {"beta1": beta1, "decay": decay, "eps": eps, "clip": clip, "weight_decay": weight_decay}
        super().__init__(params, {"lr": lr, **settings, "scale_parameter": scale_parameter})

    def direction(self, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        """The gradient over the root of its factored second moment, clipped; then its running mean."""
        count = state["step"] + 1 - state.get("moments_since", 0)
        keep = 1 - count ** group["decay"]
        square = grad.float().square().add_(group["eps"])
        if grad.ndim < 2:
            whole = _moved(state, "exp_avg_sq", square, keep)
            update = grad * whole.rsqrt()
        else:
            flat = square.flatten(1)
            row, column = _moved(state, "row", flat.mean(1), keep), _moved(state, "column", flat.mean(0), keep)
            update = grad * (row / row.mean()).rsqrt()[:, None].mul(column.rsqrt()).view_as(grad)
        update = update / (update.square().mean().sqrt() / group["clip"]).clamp(min=1.0)
        if group["beta1"] is None:
            return update
        return _moved(state, "exp_avg", update.to(grad.dtype), group["beta1"])

    def switch(self, state: dict[str, Any], group: dict[str, Any], old: Basis, new: Basis) -> None:
        """The first moment in the new axes; of the second, the sums over the axes that turn."""
        if "exp_avg" in state:
            state["exp_avg"] = sub.rotated(state["exp_avg"], old, new)
        left, right = Basis(old.left_MR, None), Basis(None, old.right_NR)
        state["row"] = sub.rotated(state["row"][:, None], left, new, power=2)[:, 0]
        state["column"] = sub.rotated(state["column"][None], right, new, power=2)[0]

    def rate(self, parameter: Tensor, group: dict[str, Any]) -> float:
        """lr, or lr times the weight's root mean square."""
        scale = max(1e-3, float(parameter.float().square().mean().sqrt())) if group["scale_parameter"] else 1.0
        return super().rate(parameter, group) * scale


def _moved(state: dict[str, Any], name: str, value: Tensor, keep: float) -> Tensor:
    """The running mean under a name, moved in place."""
    if name not in state:
        state[name] = torch.zeros_like(value, memory_format=torch.contiguous_format)
    return state[name].lerp_(value, 1 - keep)
