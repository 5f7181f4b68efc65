"""Losses of learning from preferences, DPO and KTO, and a guard that tells when DPO makes the good answers unlikely.

All take log-likelihoods of whole answers, in nats: the sum over an answer's own tokens with its end, as
`likelihood.log_likelihoods` gives it. The prompt and what fills up a row are not in it, and it is not divided by the
length: a mean per token would be another loss.

DPO: Rafailov et al., 2023, arXiv 2305.18290, eq. 7. KTO: Ethayarajh et al., 2024, arXiv 2402.01306, eq. 8.
Displacement: Razin et al., 2024, arXiv 2410.08847.

Dims: B pairs, or answers, of a batch; M answers put under other prompts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from smidgen.kit.errors import bad

Action = Literal["tell", "stop"]


def dpo_losses(
    chosen_B: Tensor, rejected_B: Tensor, reference_chosen_B: Tensor, reference_rejected_B: Tensor, beta: float = 0.1
) -> Tensor:
    """-log sigmoid(beta (log-likelihood gained by the chosen answer - by the rejected one)) `[B]`; log 2 at first.

    Args:
        chosen_B, rejected_B: log-likelihoods under the model, nats. reference_...: under the reference.
        beta: how much a gain weighs: the larger, the nearer the model stays to the reference.
    """
    gained_B = (chosen_B - reference_chosen_B) - (rejected_B - reference_rejected_B)
    return -F.logsigmoid(beta * gained_B)


def smoothed_dpo_losses(
    chosen_B: Tensor,
    rejected_B: Tensor,
    reference_chosen_B: Tensor,
    reference_rejected_B: Tensor,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> Tensor:
    """DPO's loss `[B]` where a share of the pairs is expected to be the wrong way round.

    (1 - s) L(chosen, rejected) + s L(rejected, chosen), L as of `dpo_losses`; log 2 at first, whatever s is.
    With s > 0 it has its least value at a finite margin, log((1 - s) / s) / beta.

    Args:
        chosen_B, rejected_B: log-likelihoods under the model. reference_...: under the frozen reference.
        label_smoothing: s, that share; 0 trusts every pair.
    Raises:
        BadInput: beta not above 0, s not from 0 to below a half, or tensors of different shapes.
    """
    given = (chosen_B, rejected_B, reference_chosen_B, reference_rejected_B)
    if not beta > 0:
        raise bad("beta", "above 0", beta)
    if not 0 <= label_smoothing < 0.5:
        raise bad("label_smoothing", "from 0 to below 0.5", label_smoothing)
    if len({t.shape for t in given}) > 1:
        raise bad("log-likelihoods", "as many of each kind", [tuple(t.shape) for t in given])
    losses_B = dpo_losses(*given, beta)
    if label_smoothing == 0:
        return losses_B
    swapped_B = dpo_losses(rejected_B, chosen_B, reference_rejected_B, reference_chosen_B, beta)
    return (1 - label_smoothing) * losses_B + label_smoothing * swapped_B


def kto_losses(
    gained_B: Tensor,
    good_B: Tensor,
    drift: Tensor | float,
    beta: float = 0.1,
    good_weight: float = 1.0,
    bad_weight: float = 1.0,
) -> Tensor:
    """KTO's loss `[B]` of answers that are each said to be good or bad, without a partner.

    weight (1 - sigmoid(beta (gained - drift))) of a good one, weight (1 - sigmoid(beta (drift - gained))) of a bad one.

    Args:
        gained_B: log-likelihood under the model less that under the reference.
        good_B: whether an answer is good, bool.
        drift: how far the model is from the reference on any answer, see `reference_drift`; no gradient goes into it.
        good_weight, bad_weight: where one kind is rarer, choose them so that weight times number is alike for both.
    Raises:
        BadInput: beta or a weight not above 0, marks that are not bool or of another shape.
    """
    for name, value in (("beta", beta), ("good_weight", good_weight), ("bad_weight", bad_weight)):
        if not value > 0:
            raise bad(name, "above 0", value)
    if good_B.dtype != torch.bool or good_B.shape != gained_B.shape:
        raise bad("good_B", f"bool {tuple(gained_B.shape)}", f"{good_B.dtype} {tuple(good_B.shape)}")
    drift = drift.detach() if isinstance(drift, Tensor) else drift
    ahead_B = torch.where(good_B, gained_B - drift, drift - gained_B)
    weights_B = torch.where(good_B, good_weight, bad_weight).to(gained_B.dtype)
    return weights_B * torch.sigmoid(-beta * ahead_B)  # 1 - sigmoid(x) = sigmoid(-x), exact where x is large


def reference_drift(mismatched_M: Tensor) -> Tensor:
    """KTO's estimate of the divergence from the reference: the mean of what answers gained under prompts of others, but
    not below 0; without a gradient."""
    return mismatched_M.detach().mean().clamp_min(0.0)


class Look(NamedTuple):
    """What an update of a preference stage saw, before it: its loss; mean log-likelihoods of its good (chosen) and bad
    (rejected) answers; what these gained over the reference. NaN where a batch has none of a kind."""

    step: int
    loss: float
    chosen: float
    rejected: float
    chosen_gain: float
    rejected_gain: float


class Displaced(NamedTuple):
    """From this update on good answers were less likely than under the reference (`chosen_gain` < 0), though further
    ahead of the bad ones; means over the guard's window."""

    step: int
    chosen_gain: float
    rejected_gain: float


@dataclass(frozen=True, kw_only=True)
class DisplacementGuard:
    """Tells of likelihood displacement: DPO's loss asks for a margin alone, and both log-likelihoods may fall for it;
    what they lose goes to answers that nobody wrote.

    Attributes:
        tolerance: nats an answer that good ones may lose. window: updates that are averaged.
        action: "tell" notes it, "stop" also ends the stage.
    """

    tolerance: float = 1.0
    window: int = 20
    action: Action = "tell"

    def __post_init__(self) -> None:
        if not self.tolerance >= 0:
            raise bad("tolerance", "0 nats or more", self.tolerance)
        if self.window < 1:
            raise bad("window", "at least 1 update", self.window)
        if self.action not in ("tell", "stop"):
            raise bad("action", "'tell' or 'stop'", self.action)

    def check(self, looks: Sequence[Look]) -> Displaced | None:
        """Of all looks so far, the newest last; it depends on nothing else, so that a resumed run is told the same."""
        if len(looks) < self.window:
            return None
        newest = looks[-self.window :]
        chosen, rejected = (mean([x[i] for x in newest]) for i in (4, 5))
        if chosen < -self.tolerance and chosen > rejected:
            return Displaced(newest[-1].step, chosen, rejected)
        return None


def mean(values: Sequence[float]) -> float:
    """Of those that are numbers; NaN where none is."""
    known = [v for v in values if not math.isnan(v)]
    return math.fsum(known) / len(known) if known else math.nan
