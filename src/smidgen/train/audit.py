"""What a training curve hides: how far updates go, whether they pull the same way, how curved the way is.

In the fall of the rate steps shrink, the gradients of consecutive updates turn from opposing to agreeing, and the
curvature along the way rises while the loss falls (MiniCPM, Hu et al., 2024, arXiv 2404.06395, section 4): the run
settles into a valley whose walls it bounced off before.

No Hessian: along a step d the loss's mean curvature is d.(g(x + d) - g(x)) / d.d with gradients of one and the same
batch, exactly; two backward passes each time one looks. Dims: P all parameters.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from smidgen.kit.errors import bad
from smidgen.train.loop import Update


@dataclass(frozen=True)
class Look:
    """At one update.

    Attributes:
        step: updates done with it. loss: its own. lr: of the first group.
        step_norm: length of the step over all weights. largest: farthest that a single weight went.
        gradient_cosine: of this update's gradient with the next one's, on their own batches; -1 to 1.
        slope: change of the probe's loss for each unit of the way, as it begins; below 0 downhill.
        curvature: change of that slope for each unit of the way, mean over the step.
    """

    step: int
    loss: float
    lr: float
    step_norm: float
    largest: float
    gradient_cosine: float
    slope: float
    curvature: float


class CurveAudit:
    """Looks at every `every`-th update of a run; give its two methods to `train.loop.train`. Changes no bit of the run.

    Args:
        model: that is trained. probe: its loss on a batch that stays the same.
    Attributes:
        looks: so far; that at an update is complete when the next one comes.

    Holds four copies of the weights' size.
    """

    def __init__(self, model: nn.Module, probe: Callable[[nn.Module], Tensor], every: int = 1) -> None:
        if every < 1:
            raise bad("every", "at least 1 update", every)
        self.model, self.probe, self.every = model, probe, every
        self.looks: list[Look] = []
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._count = 0
        self._begun: tuple[Tensor, Tensor, Tensor] | None = None  # weights, gradient, the probe's gradient
        self._waiting: tuple[Look, Tensor] | None = None  # for the next update's gradient

    def before_update(self) -> None:
        """Between the gradients and the step."""
        if self._waiting:
            look, gradient_P = self._waiting
            cosine = gradient_cosine(gradient_P, self._gradient())
            self.looks.append(Look(**{**vars(look), "gradient_cosine": cosine}))
            self._waiting = None
        if self._count % self.every == 0:
            self._begun = self._weights(), self._gradient(), self._probed()
        self._count += 1

    def on_update(self, update: Update) -> None:
        """After the step. Where the guard kept it from happening there was no `before_update` and is no look."""
        if self._begun is None:
            return
        before_P, gradient_P, slope_P = self._begun
        step_P = self._weights() - before_P
        length = float(step_P.norm())
        look = Look(
            step=update.step,
            loss=update.loss,
            lr=update.lr,
            step_norm=length,
            largest=float(step_P.abs().max()),
            gradient_cosine=math.nan,
            slope=float(slope_P @ step_P) / length if length else math.nan,
            curvature=curvature_along(step_P, slope_P, self._probed()),
        )
        self._begun, self._waiting = None, (look, gradient_P)

    def _weights(self) -> Tensor:
        return _flat([p.detach() for p in self._parameters])

    def _gradient(self) -> Tensor:
        return _flat([torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters])

    def _probed(self) -> Tensor:
        training = self.model.training
        self.model.eval()  # dropout would draw random numbers that the run is to have
        grads = torch.autograd.grad(self.probe(self.model), self._parameters, allow_unused=True, materialize_grads=True)
        self.model.train(training)
        return _flat(list(grads))


def gradient_cosine(a_P: Tensor, b_P: Tensor) -> float:
    """NaN where one of them is 0."""
    norm = float(a_P.norm() * b_P.norm())
    return float(a_P @ b_P) / norm if norm else math.nan


def curvature_along(step_P: Tensor, before_P: Tensor, after_P: Tensor) -> float:
    """Mean second derivative of the loss along a step, in units of its length, from the gradients at its two ends.

    NaN where there was no step.
    """
    square = float(step_P @ step_P)
    return float(step_P @ (after_P - before_P)) / square if square else math.nan


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.flatten().float() for t in tensors])
