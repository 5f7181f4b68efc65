"""A lost stage made anew from its neighbours (CheckFree, 2025, arXiv 2506.15461, algorithm 1).

The residual stream is shared by all stages, so an average of two neighbours is a fair first guess of the stage between
them. The one with the larger gradient has converged less and weighs more.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from smidgen.kit.errors import BadInput, bad
from smidgen.train.recovery.stages import StagedModel

Mode = Literal["weighted", "uniform", "copy", "random"]
MODES: tuple[Mode, ...] = ("weighted", "uniform", "copy", "random")
State = Mapping[str, Tensor]


def recovery_weights(grad_norms: Sequence[float], i: int, power: float = 1.0, eps: float = 1e-4) -> tuple[float, float]:
    """Shares of the stages before and after `i`: gradient norm ** power + eps, divided by their sum.

    Args:
        grad_norms: of all stages, of the last update and before clipping: clipped norms are all alike.
    """
    before, after = _shares((grad_norms[i - 1], grad_norms[i + 1]), power, eps)
    return before, after


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How a lost stage is made.

    Attributes:
        mode: "weighted" (the paper's), "uniform": average of both neighbours; "copy" of the one before; "random":
            `fresh()`, a new stage.
        power, eps: of `recovery_weights`. The paper's text leaves open whether norms are squared; its code does not.
        plus: the first two and the last two are copies of each other, as the model was trained for (`swap_ends`).
    """

    mode: Mode = "weighted"
    power: float = 1.0
    eps: float = 1e-4
    plus: bool = False
    fresh: Callable[[], nn.Module] | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise bad("mode", " or ".join(MODES), self.mode)
        if self.mode == "random" and self.fresh is None:
            raise BadInput("mode 'random' needs fresh=, a function that makes a stage.")
        if not self.eps > 0:
            raise bad("eps", "above 0", self.eps)

    def check(self, model: StagedModel) -> None:
        """Raises BadInput: too few stages for any to have neighbours; stages that swap nothing, with `plus`."""
        least = 4 if self.plus else 3
        if len(model.stages) < least:
            raise bad("stages", f"at least {least}", len(model.stages))
        if self.plus and not model.swap_ends:
            raise BadInput("CheckFree+ needs a model that was made with swap_ends=True.")

    def sources(self, i: int, n_stages: int) -> tuple[int, ...]:
        """The stages that stage `i` is made of."""
        partner = {0: 1, 1: 0, n_stages - 1: n_stages - 2, n_stages - 2: n_stages - 1}
        if self.mode == "random":
            return ()
        if self.plus and i in partner:
            return (partner[i],)
        return (i - 1,) if self.mode == "copy" else (i - 1, i + 1)

    def made(self, states: Sequence[State], norms: Sequence[float]) -> tuple[dict[str, Tensor], float]:
        """Weights of the lost stage, and a gradient norm for it until its next update, from those of its sources."""
        if not states:
            assert self.fresh is not None
            return {k: v.detach() for k, v in self.fresh().state_dict().items()}, 0.0
        uniform = self.mode == "uniform" or len(states) == 1
        shares = [1 / len(states)] * len(states) if uniform else _shares(norms, self.power, self.eps)
        return blend(states, shares), math.fsum(s * n for s, n in zip(shares, norms, strict=True))


def recover_stage(
    model: StagedModel,
    i: int,
    grad_norms: Sequence[float],
    mode: Mode = "weighted",
    power: float = 1.0,
    eps: float = 1e-4,
    fresh: Callable[[], nn.Module] | None = None,
) -> None:
    """Gives stage `i` new weights from its neighbours, in place. Arguments as of `Rule`.

    Raises:
        BadInput: the stage has no two neighbours and the model was not trained with swapped ends; neighbours differ
            in names or shapes; a norm is negative or not finite.
    """
    rule = Rule(mode=mode, power=power, eps=eps, plus=model.swap_ends, fresh=fresh)
    n_stages = len(model.stages)
    rule.check(model)
    if not (0 if rule.plus else 1) <= i < n_stages - (0 if rule.plus else 1):
        raise bad("stage", "one between two others (or a model with swap_ends)", i)
    chosen = rule.sources(i, n_stages)
    state, _ = rule.made([model.stages[j].state_dict() for j in chosen], [grad_norms[j] for j in chosen])
    _same(state, model.stages[i].state_dict())
    model.stages[i].load_state_dict(state)


def blend(states: Sequence[State], shares: Sequence[float]) -> dict[str, Tensor]:
    """The weighted sum of equal structures, at least in float32; what is no floating-point number is the first's.

    Raises:
        BadInput: names or shapes differ.
    """
    first = states[0]
    for other in states[1:]:
        _same(first, other)
    if len(states) == 1:
        return dict(first)
    return {name: _sum([s[name] for s in states], shares) for name in first}


def _sum(tensors: list[Tensor], shares: Sequence[float]) -> Tensor:
    if not tensors[0].is_floating_point():
        return tensors[0].clone()
    exact = torch.promote_types(tensors[0].dtype, torch.float32)
    parts = [share * tensor.to(exact) for tensor, share in zip(tensors, shares, strict=True)]
    return torch.stack(parts).sum(0).to(tensors[0].dtype)


def _shares(norms: Sequence[float], power: float, eps: float) -> list[float]:
    if not all(math.isfinite(n) and n >= 0 for n in norms):
        raise bad("gradient norms", "finite numbers, 0 or more", list(norms))
    weights = [norm**power + eps for norm in norms]
    return [w / math.fsum(weights) for w in weights]


def _same(a: State, b: State) -> None:
    if {k: v.shape for k, v in a.items()} != {k: v.shape for k, v in b.items()}:
        differ = sorted(k for k in {*a, *b} if k not in a or k not in b or a[k].shape != b[k].shape)
        raise BadInput(f"Stages differ in '{differ[0]}': they must have the same parameter names and shapes.")
