"""LARS (You et al., 2017, arXiv 1708.03888): the step of each weight has a size in proportion to the weight itself, so
that one rate suits all layers at large batches. In the form of the Barlow Twins code (arXiv 2103.03230, appendix):
vectors (biases, norms) are neither scaled nor decayed, and have a rate of their own.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.kit.errors import bad


class LARS(torch.optim.Optimizer):
    """g <- g + weight_decay * p; g <- g * eta |p| / |g| (1 where a norm is 0); b <- momentum * b + g; p <- p - lr * b.

    Args:
        params: parameters, or groups such as `rate_groups` makes. exclude_1d: tensors of fewer than 2 dimensions get
            neither the decay nor the factor.
    Raises:
        BadInput: a rate, decay, momentum or eta out of its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        eta: float = 1e-3,
        exclude_1d: bool = True,
    ) -> None:
        for name, value in (("lr", lr), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise bad(name, "0 or more", value)
        if not 0 <= momentum < 1:
            raise bad("momentum", "0 or more, below 1", momentum)
        if not eta > 0:
            raise bad("eta", "above 0", eta)
        one = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "eta": eta, "exclude_1d": exclude_1d}
        super().__init__(params, one)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._move(p, p.grad, group)
        return loss

    def _move(self, p: Tensor, g: Tensor, group: dict[str, Any]) -> None:
        if p.ndim > 1 or not group["exclude_1d"]:
            if group["weight_decay"]:
                g = g.add(p, alpha=group["weight_decay"])
            size, slope = p.norm(), g.norm()  # their quotient stays a tensor: no wait for the device
            ratio = torch.where((size > 0) & (slope > 0), group["eta"] * size / slope, 1.0)
            g = g * ratio
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p)
        state["momentum"].mul_(group["momentum"]).add_(g)
        p.sub_(state["momentum"], alpha=group["lr"])


def rate_groups(net: nn.Module, lr: float, lr_rest: float, weight_decay: float = 0.0) -> list[dict[str, Any]]:
    """Two groups: weights (2 dimensions or more), and all else with its own rate and no decay; frozen ones in none.

    Works for any optimizer; schedules multiply each group's own rate (`train.schedules.set_rate`).
    """
    trained = [p for p in net.parameters() if p.requires_grad]
    weights, rest = ([p for p in trained if (p.ndim > 1) is many] for many in (True, False))
    groups = [
        {"params": weights, "lr": lr, "weight_decay": weight_decay},
        {"params": rest, "lr": lr_rest, "weight_decay": 0.0},
    ]
    return [g for g in groups if g["params"]]
