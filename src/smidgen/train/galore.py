"""Optimizers whose moments live in a low-rank subspace of each gradient (GaLore: arXiv 2403.03507, algorithm 2).

All weights are trained. A parameter group that carries `rank` is projected, one without is treated as ever. What the
group may carry beside: `update_proj_gap` (steps that a subspace is kept), `scale` (alpha), `proj_type`, `offset` (a
number, or one for each parameter: moves its refreshes), `subspace` ("svd" or "randomized"), `on_switch`: what happens
to the moments when the subspace changes: "keep" (the paper), "reset", "rotate" (expressed in the new axes); `residual`:
the part of the gradient outside the subspace is used too (`train.galore_residual`), at no cost in state.

Beside these: `train.galore_adafactor`, `train.galore_any` (any element-wise optimizer), `train.layerwise`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.formats.blockwise import Blockwise, Encoded
from smidgen.kit.errors import bad
from smidgen.train import subspace as sub
from smidgen.train.galore_step import ProjectedOptimizer
from smidgen.train.subspace import Basis, ProjType, Subspace


class GaLoreAdamW(ProjectedOptimizer):
    """AdamW in the subspace; moments in the gradient's dtype. Groups without `rank` get plain AdamW.

    `lr` is about ten times that of AdamW, as `scale` makes updates smaller. Weight decay is decoupled, of the whole
    weight, after the update.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        correct_bias: bool = True,
    ) -> None:
        super().__init__(params, _adam_settings(lr, betas, eps, weight_decay, correct_bias))

    def direction(self, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        """Adam's, from moments as they are."""
        for name in ("exp_avg", "exp_avg_sq"):
            if name not in state:
                state[name] = torch.zeros_like(grad, memory_format=torch.contiguous_format)
        return _adam_direction(grad, state["exp_avg"], state["exp_avg_sq"], state, group)

    def switch(self, state: dict[str, Any], group: dict[str, Any], old: Basis, new: Basis) -> None:
        """Both moments in the new axes."""
        state["exp_avg"] = sub.rotated(state["exp_avg"], old, new)
        state["exp_avg_sq"] = sub.rotated(state["exp_avg_sq"], old, new, power=2)


FORMATS = {"exp_avg": Blockwise(signed=True), "exp_avg_sq": Blockwise(signed=False, keep_positive=True)}


class GaLoreAdamW8bit(ProjectedOptimizer):
    """GaLoreAdamW with moments in block-wise 8-bit numbers, on any device; arrays under `min_8bit_size` in float32.

    Also an 8-bit AdamW, where no group has a `rank`. Second moments never round to 0, so that no step explodes.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        correct_bias: bool = True,
        min_8bit_size: int = 4096,
    ) -> None:
        settings = _adam_settings(lr, betas, eps, weight_decay, correct_bias)
        super().__init__(params, {**settings, "min_8bit_size": min_8bit_size})

    def direction(self, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        """Adam's, from decoded moments, which are encoded again."""
        first, second = (_decoded(state, name, grad) for name in FORMATS)
        out = _adam_direction(grad.float(), first, second, state, group)
        _encode(state, "exp_avg", first, group)
        _encode(state, "exp_avg_sq", second, group)
        return out

    def switch(self, state: dict[str, Any], group: dict[str, Any], old: Basis, new: Basis) -> None:
        """Both moments in the new axes."""
        for power, name in enumerate(FORMATS, 1):
            _encode(state, name, sub.rotated(_decoded(state, name), old, new, power), group)


def galore_param_groups(
    model: nn.Module,
    target_modules: Sequence[str] = ("attn", "mlp"),
    rank: int = 128,
    *,
    update_proj_gap: int = 200,
    scale: float = 0.25,
    proj_type: ProjType = "std",
    subspace: Subspace = "svd",
    on_switch: str = "keep",
    residual: bool = False,
    stagger: bool = False,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Two groups of named parameters: weights of linear layers in the targets, projected, and all others, plain.

    Args:
        target_modules: parts of qualified module names. Embeddings are projected where they are named
            ("embed_tokens"), convolutions too; without that, both are plain.
        stagger: spreads the refreshes of the weights evenly over `update_proj_gap` steps; else all fall in one step.
    Raises:
        BadInput: nothing matches, or a rank above a weight's short side.
    """
    kinds = (nn.Linear, nn.Embedding, nn.Conv2d)
    chosen: dict[int, str] = {}
    for name, module in model.named_modules():
        if isinstance(module, kinds) and any(t in name for t in target_modules) and module.weight.requires_grad:
            chosen.setdefault(id(module.weight), f"{name}.weight")
    if not chosen:
        raise bad("target_modules", "part of the name of a layer", tuple(target_modules))
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]  # a shared weight comes once
    inside = [(n, p) for n, p in named if id(p) in chosen]
    offsets = [i * update_proj_gap // len(inside) for i in range(len(inside))] if stagger else 0
    group = {"params": inside, "rank": rank, "update_proj_gap": update_proj_gap, "scale": scale, "offset": offsets}
    group |= {"proj_type": proj_type, "subspace": subspace, "on_switch": on_switch, "residual": residual, "seed": seed}
    for name, parameter in inside:
        sub.check_rank(rank, sub.as_matrix(parameter, name).shape, name)
    outside = [(n, p) for n, p in named if id(p) not in chosen]
    return [group, {"params": outside}] if outside else [group]


def _adam_settings(
    lr: float, betas: tuple[float, float], eps: float, weight_decay: float, correct_bias: bool
) -> dict[str, Any]:
    """Defaults of a group. Raises BadInput for betas that cannot be."""
    if len(betas) != 2 or not all(0 <= b < 1 for b in betas):
        raise bad("betas", "two numbers in [0, 1)", betas)
    return {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "correct_bias": correct_bias}


def _adam_direction(grad: Tensor, first: Tensor, second: Tensor, state: Mapping[str, Any], group: Any) -> Tensor:
    """Moves both moments in place; their corrected values are temporaries."""
    beta1, beta2 = group["betas"]
    first.lerp_(grad, 1 - beta1)
    second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    count = state["step"] + 1 - state.get("moments_since", 0)
    c1, c2 = (1 - beta1**count, 1 - beta2**count) if group["correct_bias"] else (1.0, 1.0)
    return first / (second / c2).sqrt_().add_(group["eps"]).mul_(c1)


def _decoded(state: Mapping[str, Any], name: str, like: Tensor | None = None) -> Tensor:
    if name not in state:
        assert like is not None
        return torch.zeros_like(like, dtype=torch.float32, memory_format=torch.contiguous_format)
    kept = state[name]
    return kept if kept.dtype != torch.uint8 else FORMATS[name].decode(Encoded(kept, state[f"{name}_scales"]))


def _encode(state: dict[str, Any], name: str, value: Tensor, group: Mapping[str, Any]) -> None:
    if value.numel() < group["min_8bit_size"]:
        state[name] = value
    else:
        state[name], state[f"{name}_scales"] = FORMATS[name].encode(value)
