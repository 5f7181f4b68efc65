"""Muon for the matrices inside layers, AdamW for all else, as one optimizer.

Muon (Jordan et al., 2024, kellerjordan.github.io/posts/muon) moves a matrix by its momentum made nearly orthogonal: all
directions that the gradient has get equal steps, not only the strong ones. The step has the size of AdamW's as in Liu
et al. (2025, arXiv 2502.16982, equation 4), so that one rate serves both. Each update costs five short iterations of
products for each matrix, a few percent of a batch of some thousand tokens.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from smidgen.train.precision import bf16_units

A, B, C = 3.4445, -4.7750, 2.0315  # of the quintic iteration; singular values end within about 0.7 to 1.2
ITERATIONS, MATCH = 5, 0.2


class Muon(torch.optim.Optimizer):
    """Args:
        params: groups; those with `orthogonal=True` hold matrices [out, in] that Muon moves.
        lr, weight_decay: decoupled, of both kinds. momentum: of Muon, Nesterov's. betas, eps: of AdamW.

    The iteration computes in bfloat16 where the processor has units for it, else in float32. Tensors are not
    independent by element: a matrix cannot be cut into shards.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        *,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "betas": betas, "eps": eps}
        super().__init__(params, {**defaults, "orthogonal": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            (self._orthogonal if group["orthogonal"] else self._adam)(trained, group)
        return loss

    def _orthogonal(self, params: list[Tensor], group: dict[str, Any]) -> None:
        lr, alike = group["lr"], {}
        for p in params:
            assert p.grad is not None
            state = self.state[p]
            if not state:
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].lerp_(p.grad, 1 - group["momentum"])
            ahead = p.grad.lerp(state["momentum"], group["momentum"])
            wide = p.shape[0] <= p.shape[1]
            alike.setdefault(tuple(sorted(p.shape)), []).append((p, ahead if wide else ahead.T, wide))
        for shape, same in alike.items():
            steps = orthogonal(torch.stack([x for _, x, _ in same]))
            for (p, _, wide), step in zip(same, steps, strict=True):
                p.mul_(1 - lr * group["weight_decay"])
                p.add_((step if wide else step.T).to(p.dtype), alpha=-lr * MATCH * shape[1] ** 0.5)

    def _adam(self, params: list[Tensor], group: dict[str, Any]) -> None:
        for p in params:
            if not self.state[p]:
                self.state[p].update(
                    step=torch.zeros((), device=p.device),
                    exp_avg=torch.zeros_like(p),
                    exp_avg_sq=torch.zeros_like(p),
                )
        states = [self.state[p] for p in params]
        adamw(
            params,
            [p.grad for p in params],  # pyright: ignore
            [s["exp_avg"] for s in states],
            [s["exp_avg_sq"] for s in states],
            [],
            [s["step"] for s in states],
            fused=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonal(x_NRC: Tensor) -> Tensor:
    """The nearest matrices with all singular values about 1, [N, R, C] with R <= C, by Newton-Schulz iterations."""
    x_NRC = x_NRC.to(torch.bfloat16 if bf16_units(x_NRC.device.type) else torch.float32)
    x_NRC = x_NRC / x_NRC.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(ITERATIONS):
        gram_NRR = x_NRC @ x_NRC.mT
        x_NRC = torch.baddbmm(x_NRC, torch.baddbmm(gram_NRR, gram_NRR, gram_NRR, beta=B, alpha=C), x_NRC, beta=A)
    return x_NRC
